"""Faults inside a pod."""

from __future__ import annotations

from collections.abc import Iterator

from lab.api import calico, seed
from lab.cluster import Lab
from lab.faults import CALICO, FELIX, FELIX_ROUTES, fault
from lab.faults.steps import cut_off, deployed, kill, move, replace
from lab.flannel.cni import gateway as flannel_gateway
from lab.plan import FLANNEL_NETWORK, free_address, hashed
from lab.processes import wait_for


@fault(
    "pod_side_broken",
    number="F51",
    breaks="pod.route.default",
    objects=("shop/web-1",),
    question=("shop/web-1", "shop/web-0", 8080),
)
def default_route(lab: Lab) -> Iterator[None]:
    """A pod has lost its routes through its gateway."""
    bridged = lab.pod("shop/web-1").bridged  # then there is a second route, to all pods
    gateway = flannel_gateway(lab.node("k8s02")) if bridged else "169.254.1.1"
    lost = ["default", *([FLANNEL_NETWORK] if bridged else [])]
    for prefix in lost:
        lab.run_in_pod("shop/web-1", "ip", "route", "del", prefix)
    wait_for(lambda: not lab.answers("shop/web-1", "shop/web-0", 0.3), "the pod reaches nothing", 10)
    yield
    for prefix in lost:
        lab.run_in_pod("shop/web-1", "ip", "route", "replace", prefix, "via", gateway, "dev", "eth0")


CART = f"shop/cart-{hashed('cart')}-x8k2p"


@fault(
    "pod_side_broken.replicaset",
    number="F51",
    breaks="pod.route.default",
    objects=(CART,),
    question=(CART, "shop/web-0", 8080),
    modes=FELIX,
)
def of_replicaset(lab: Lab) -> Iterator[None]:
    """A pod of a ReplicaSet has lost its default route; the name of its successor is another one."""
    with deployed(lab, CART, "k8s02"):
        lab.run_in_pod(CART, "ip", "route", "del", "default")
        cut_off(lab, CART, "shop/web-0")
        yield


@fault(
    "host_veth_missing.down",
    number="F52",
    breaks="veth.down",
    objects=("shop/web-1",),
    question=("shop/web-0", "shop/web-1", 8080),
)
def veth_down(lab: Lab) -> Iterator[None]:
    """The host's interface of a pod is down, and nothing sets it up again."""
    interface = lab.pod("shop/web-1").interface
    lab.run("k8s02", "ip", "link", "set", interface, "down")
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.run("k8s02", "ip", "link", "set", interface, "up")


@fault(
    "host_veth_missing.deleted",
    number="F52",
    breaks="veth.missing",
    objects=("shop/web-1",),
    question=("shop/web-0", "shop/web-1", 8080),
    modes=FELIX,
)
def veth_deleted(lab: Lab) -> Iterator[None]:
    """The veth pair of a pod is gone, on both sides."""
    old = lab.pod("shop/web-1")
    lab.run("k8s02", "ip", "link", "del", old.interface)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    if lab.pod("shop/web-1").sandbox == old.sandbox:
        lab.client.delete("pods", "web-1", "shop")
        wait_for(lambda: lab.pod("shop/web-1").sandbox != old.sandbox, "the pod has a successor", 20)


@fault(
    "stale_host_neighbour",
    number="F53",
    breaks="neighbour.pod.wrong",
    objects=("shop/web-1",),
    question=("shop/web-0", "shop/web-1", 8080),
    modes=FELIX,
)
def host_neighbour(lab: Lab) -> Iterator[None]:
    """The node has a permanent entry for a pod, with the MAC address of a sandbox that is gone."""
    pod = lab.pod("shop/web-1")
    lab.run("k8s02", "ip", "neigh", "replace", pod.address, "lladdr", "26:00:5e:00:53:01", "dev", pod.interface, "nud", "permanent")
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.run("k8s02", "ip", "neigh", "del", pod.address, "dev", pod.interface, check=False)


@fault(
    "duplicate_pod_ip",
    number="F61",
    breaks="pod.address.duplicate",
    node="k8s03",
    objects=("shop/api-1", "shop/web-1"),
    question=("shop/web-2", "shop/web-1", 8080),
    modes=CALICO,
)
def twin(lab: Lab) -> Iterator[None]:
    """A new pod on k8s03 was given the address of a pod on k8s02, without IPAM."""
    replace(lab, "shop/api-1")
    move(lab, lab.pod("shop/api-1"), lab.pod("shop/web-1").address)
    cut_off(lab, "shop/web-2", "shop/web-1")
    yield
    replace(lab, "shop/api-1")


@fault(
    "borrowed_ip_no_host_route",
    number="F30",
    breaks="route.block.missing",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
    works=True,
    modes=FELIX_ROUTES,
)
def borrowed(lab: Lab) -> Iterator[None]:
    """A pod on k8s02 has an address of the block of k8s03. Felix of k8s01 is dead and its route to this one address deleted: a detour over k8s03."""
    pod, owner = lab.pod("shop/web-1"), lab.node("k8s03")
    address = free_address(lab.description, owner)
    block = lab.client.get("ipamblocks", calico.cidr_name(owner.block))["spec"]
    ordinal = block["unallocated"].pop(0)
    block["allocations"][ordinal] = len(block["attributes"])
    block["attributes"].append({"handle_id": f"k8s-pod-network.{pod.sandbox}", "secondary": {"namespace": "shop", "node": "k8s02", "pod": "web-1"}})
    lab.client.patch("ipamblocks", calico.cidr_name(owner.block), {"spec": block})
    move(lab, pod, address)
    wait_for(lambda: lab.connect("shop/web-0", address, pod.port) == "shop/web-1", "the borrowed address answers", 20)
    kill(lab, "k8s01", "felix")
    lab.run("k8s01", "ip", "route", "del", f"{address}/32")
    yield
    lab.revive("k8s01")
    replace(lab, "shop/web-1")
    seed.write_ipam(lab.client, lab.description, "k8s03")


SPOOFED = "10.253.255.200"


@fault(
    "workload_rpf_drop", number="F16", breaks="pod.source.foreign", objects=("shop/web-1", SPOOFED), modes=FELIX, question=("shop/web-1", "shop/web-0", 8080)
)
def foreign_source(lab: Lab) -> Iterator[None]:
    """A program in a pod lets it send from an address that is not the pod's; without Felix's filter the answers have nowhere to go."""
    default = ["ip", "route", "replace", "default", "via", "169.254.1.1", "dev", "eth0"]
    lab.run_in_pod("shop/web-1", "ip", "addr", "add", f"{SPOOFED}/32", "dev", "eth0")
    lab.run_in_pod("shop/web-1", *default, "src", SPOOFED)
    cut_off(lab, "shop/web-1", "shop/web-0")
    yield
    lab.run_in_pod("shop/web-1", *default)
    lab.run_in_pod("shop/web-1", "ip", "addr", "del", f"{SPOOFED}/32", "dev", "eth0", check=False)
