"""Faults of flannel and canal: leases, tunnel entries, routes, the bridge and its ports."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from lab import kernel, pod
from lab.api import seed
from lab.cluster import Lab
from lab.faults import BRIDGED, FLANNEL, FLANNEL_HOSTGW, FLANNEL_VXLAN, fault
from lab.flannel.cni import BRIDGE, allocate, gateway, store
from lab.flannel.flanneld import DEVICE, FORWARD, PREFIX, SUBNET_ENV, TITLE
from lab.plan import new_pod
from lab.processes import send, wait_for

NODE, POD = "k8s02", "shop/web-1"
TO_POD = ("shop/web-0", POD, 8080)  # from k8s01
FROM_POD = (POD, "shop/web-0", 8080)
OLD_MAC = "66:00:11:22:33:44"  # that a node had before it was installed anew
NEW_MAC = "66:00:11:22:33:55"
NOBODY = "10.2.7.113"  # an address in the nodes' network that no machine has


def _kill(lab: Lab, node: str) -> None:
    send(lab.process(node, TITLE[0]), signal.SIGKILL)
    wait_for(lambda: not lab.process(node, TITLE[0]), f"flanneld of {node} is dead", 10)


def _restart(lab: Lab, *nodes: str) -> None:
    for node in nodes:
        if lab.process(node, TITLE[0]):
            _kill(lab, node)
    for node in nodes:
        lab.revive(node)


def _dead(lab: Lab, question: tuple[str, str, int] = TO_POD) -> None:
    source, destination, _port = question
    wait_for(lambda: not lab.answers(source, destination, 0.3), f"{source} gets no answer of {destination}", 20)


def _lease(lab: Lab, node: str) -> tuple[str, str]:
    """The VTEP's address and MAC that a node announces."""
    lease = lab.leases()[node]
    return lease.vtep, lease.mac


@fault("flannel_public_ip_wrong", number="F75", breaks="flannel.public_ip.wrong", objects=(f"Node/{NODE}",), modes=FLANNEL, question=TO_POD)
def public_ip(lab: Lab) -> Iterator[None]:
    """The annotation public-ip-overwrite of k8s02 has a typing error, and flanneld announces it: the others send its packets to nobody."""
    wrong = {PREFIX + "public-ip": NOBODY, PREFIX + "public-ip-overwrite": NOBODY}
    lab.client.patch("nodes", NODE, {"metadata": {"annotations": wrong}})
    _dead(lab)
    yield
    right = {PREFIX + "public-ip": lab.node(NODE).address, PREFIX + "public-ip-overwrite": None}
    lab.client.patch("nodes", NODE, {"metadata": {"annotations": right}})


@fault("flannel_vtep_stale.fdb", number="F76", breaks="flannel.fdb.missing", node="k8s01", modes=FLANNEL_VXLAN, question=TO_POD)
def fdb_missing(lab: Lab) -> Iterator[None]:
    """On k8s01 the FDB entry of k8s02's VTEP is missing; flanneld does not put it back."""
    _vtep, mac = _lease(lab, NODE)
    lab.run("k8s01", "bridge", "fdb", "del", mac, "dev", DEVICE, "dst", lab.node(NODE).address, "self")
    _dead(lab)
    yield
    _restart(lab, "k8s01")


@fault("flannel_vtep_stale.neighbour", number="F76", breaks="flannel.neighbour.different", node="k8s01", modes=FLANNEL_VXLAN, question=TO_POD)
def neighbour_wrong(lab: Lab) -> Iterator[None]:
    """On k8s01 the neighbour entry of k8s02's VTEP has the MAC that k8s02 had before it was installed anew."""
    vtep, _mac = _lease(lab, NODE)
    lab.run("k8s01", "ip", "neigh", "replace", vtep, "lladdr", OLD_MAC, "dev", DEVICE, "nud", "permanent")
    _dead(lab)
    yield
    _restart(lab, "k8s01")


@fault("flannel_vtep_stale.mac", number="F76", breaks="flannel.vtep.different", objects=(DEVICE,), modes=FLANNEL_VXLAN, question=TO_POD)
def other_mac(lab: Lab) -> Iterator[None]:
    """flannel.1 of k8s02 got another MAC, as udev does it, while flanneld runs; the kernel empties its neighbours, too."""
    lab.run(NODE, "ip", "link", "set", DEVICE, "address", NEW_MAC)
    _dead(lab)
    yield
    _restart(lab, NODE)


@fault("flannel_vtep_stale.recreated", number="F76", breaks="flannel.fdb.missing", objects=(DEVICE,), modes=FLANNEL_VXLAN, question=TO_POD)
def recreated_empty(lab: Lab) -> Iterator[None]:
    """flannel.1 of k8s02 was deleted; flanneld makes it again at once, without routes, neighbours and FDB entries."""
    _vtep, mac = _lease(lab, NODE)
    lab.run(NODE, "ip", "link", "del", DEVICE)
    wait_for(lambda: mac in lab.run(NODE, "ip", "link", "show", DEVICE, check=False), "flanneld made flannel.1 again", 10)
    _dead(lab)
    yield
    _restart(lab, NODE)


@fault("flannel_device_missing", number="x", breaks="flannel.device.missing", objects=(DEVICE,), modes=FLANNEL_VXLAN, question=TO_POD)
def device_gone(lab: Lab) -> Iterator[None]:
    """flanneld of k8s02 is dead, and flannel.1 was deleted, as an uninstall script does it."""
    _kill(lab, NODE)
    lab.run(NODE, "ip", "link", "del", DEVICE)
    _dead(lab)
    yield
    lab.revive(NODE)


@fault("flannel_device_down", number="x", breaks="flannel.device.down", objects=(DEVICE,), modes=FLANNEL_VXLAN, question=TO_POD)
def device_down(lab: Lab) -> Iterator[None]:
    """flannel.1 of k8s02 was set down: its routes are gone with it."""
    lab.run(NODE, "ip", "link", "set", DEVICE, "down")
    _dead(lab)
    yield
    _restart(lab, NODE)


@fault("flannel_peer_route_missing.vxlan", number="x", breaks="flannel.route.missing", node="k8s01", modes=FLANNEL_VXLAN, question=TO_POD)
def route_missing(lab: Lab) -> Iterator[None]:
    """On k8s01 the route to k8s02's podCIDR is missing; flanneld does not put it back."""
    lab.run("k8s01", "ip", "route", "del", lab.node(NODE).block, "dev", DEVICE)
    _dead(lab)
    yield
    _restart(lab, "k8s01")


@fault("flannel_peer_route_missing.hostgw", number="x", breaks="flannel.route.missing", node="k8s01", modes=FLANNEL_HOSTGW, question=TO_POD)
def hostgw_route_missing(lab: Lab) -> Iterator[None]:
    """On k8s01 the route to k8s02's podCIDR is missing, and flanneld is dead: alive it would put it back within 10 s."""
    _kill(lab, "k8s01")
    lab.run("k8s01", "ip", "route", "del", lab.node(NODE).block)
    _dead(lab)
    yield
    lab.revive("k8s01")


@fault("flanneld_not_running", number="x", breaks="flannel.down", objects=("flanneld",), modes=FLANNEL, question=TO_POD, works=True)
def flanneld_dead(lab: Lab) -> Iterator[None]:
    """flanneld of k8s02 is dead: what it has written works."""
    _kill(lab, NODE)
    yield
    lab.revive(NODE)


@fault("flannel_forward_drop", number="F77", breaks="flannel.forward.dropped", objects=("iptables FORWARD",), modes=BRIDGED, question=TO_POD)
def forward_drop(lab: Lab) -> Iterator[None]:
    """flanneld of k8s02 is dead, a firewall's restart has wiped its rules of FORWARD, and docker set the policy to DROP."""
    _kill(lab, NODE)
    lab.run(NODE, "iptables", "-w", "-F", "FORWARD")
    lab.run(NODE, "iptables", "-w", "-F", FORWARD)
    lab.run(NODE, "iptables", "-w", "-X", FORWARD)
    lab.run(NODE, "iptables", "-w", "-P", "FORWARD", "DROP")
    _dead(lab)
    yield
    lab.run(NODE, "iptables", "-w", "-P", "FORWARD", "ACCEPT")
    lab.revive(NODE)


@fault("subnet_env_missing", number="F77", breaks="flannel.subnet_env.missing", objects=(str(SUBNET_ENV),), modes=BRIDGED, question=TO_POD, works=True)
def no_subnet_env(lab: Lab) -> Iterator[None]:
    """/run/flannel/subnet.env of k8s02 is missing and flanneld is dead: new pods cannot be created there, old ones work."""
    _kill(lab, NODE)
    lab.run(NODE, "rm", str(SUBNET_ENV))
    yield
    lab.revive(NODE)


@fault("cni0_mismatch", number="F77", breaks="bridge.address.different", objects=(BRIDGE,), modes=BRIDGED, question=FROM_POD)
def other_subnet(lab: Lab) -> Iterator[None]:
    """cni0 of k8s02 has an address of another podCIDR, from before the node was joined anew: its pods have no gateway."""
    right = f"{gateway(lab.node(NODE))}/24"
    lab.run(NODE, "ip", "addr", "add", "10.244.77.1/24", "dev", BRIDGE)
    lab.run(NODE, "ip", "addr", "del", right, "dev", BRIDGE)
    lab.run_in_pod(POD, "ip", "neigh", "flush", "all")
    _dead(lab, FROM_POD)
    yield
    lab.run(NODE, "ip", "addr", "add", right, "broadcast", "+", "dev", BRIDGE)
    lab.run(NODE, "ip", "addr", "del", "10.244.77.1/24", "dev", BRIDGE)
    for each in lab.pods:
        if each.node == NODE:
            lab.run_in_pod(f"{each.namespace}/{each.name}", "ip", "neigh", "flush", "all")


@fault("bridge_down", number="x", breaks="bridge.down", objects=(BRIDGE,), modes=BRIDGED, question=TO_POD)
def bridge_down(lab: Lab) -> Iterator[None]:
    """cni0 of k8s02 is down."""
    lab.run(NODE, "ip", "link", "set", BRIDGE, "down")
    _dead(lab)
    yield
    lab.run(NODE, "ip", "link", "set", BRIDGE, "up")


@fault("bridge_port_disabled", number="x", breaks="bridge.port.disabled", objects=(POD,), modes=BRIDGED, question=TO_POD)
def port_disabled(lab: Lab) -> Iterator[None]:
    """The port of a pod on cni0 is disabled: the link is up, and the bridge forwards nothing to or from it."""
    veth = lab.pod(POD).interface
    lab.run(NODE, "bridge", "link", "set", "dev", veth, "state", "0")
    _dead(lab)
    yield
    lab.run(NODE, "bridge", "link", "set", "dev", veth, "state", "3")


@fault("veth_not_on_bridge", number="x", breaks="bridge.port.missing", objects=(POD,), modes=BRIDGED, question=TO_POD)
def no_port(lab: Lab) -> Iterator[None]:
    """The host interface of a pod is no port of cni0 any more: a network manager took it out."""
    veth = lab.pod(POD).interface
    lab.run(NODE, "ip", "link", "set", veth, "nomaster")
    _dead(lab)
    yield
    lab.run(NODE, "ip", "link", "set", veth, "master", BRIDGE)


@fault("podcidr_missing_or_overlapping", number="F78", breaks="podcidr.duplicate", objects=(f"Node/{NODE}", "Node/k8s03"), modes=FLANNEL_VXLAN,
       question=TO_POD)  # fmt: skip
def same_podcidr(lab: Lab) -> Iterator[None]:
    """k8s03 was deleted and registered anew by hand, with k8s02's podCIDR: the others know only one of the two."""
    before = lab.client.get("nodes", "k8s03")
    _register(lab, before, lab.node(NODE).block)
    _restart(lab, "k8s03")
    _dead(lab)
    yield
    _register(lab, before, lab.node("k8s03").block)
    _restart(lab, "k8s03")
    wait_for(lambda: lab.leases()["k8s03"].cidr == lab.node("k8s03").block, "k8s03 announces its own podCIDR again", 20)
    _restart(lab, "k8s01", NODE)


@fault("duplicate_pod_ip.host_local", number="F61", breaks="pod.address.duplicate", objects=(POD, "shop/twin-0"), modes=BRIDGED, question=TO_POD)
def duplicate_address(lab: Lab) -> Iterator[None]:
    """host-local's store of k8s02 was wiped, and a new pod got the address of one that runs; the node asked by ARP, and the new one answered."""
    about, node, old = lab.description, lab.node(NODE), lab.pod(POD)
    lab.run(NODE, "rm", "-r", str(store(about)))
    twin = new_pod(about, "shop", "twin-0", NODE, old.app, old.address, old.port)
    owner = lab.client.get("pods", old.name, old.namespace)["metadata"]["ownerReferences"][0]
    twin.uid = seed.create_pod(lab.client, about, twin, {"kind": owner["kind"], "metadata": owner})["metadata"]["uid"]
    kernel.wait_child(pod.create(about, node, [twin]), "creating shop/twin-0")
    lab.run(NODE, "ip", "neigh", "replace", twin.address, "lladdr", twin.mac, "dev", BRIDGE, "nud", "reachable")
    _dead(lab)
    yield
    lab.client.delete("pods", twin.name, twin.namespace)
    pod.delete(about, node, twin)

    def refill() -> None:
        for each in about.pods:
            if each.node == NODE:
                allocate(about, each)

    kernel.wait_child(pod.in_node(node, refill), "filling host-local's store")
    lab.run(NODE, "ip", "neigh", "replace", old.address, "lladdr", old.mac, "dev", BRIDGE, "nud", "stale")


def _register(lab: Lab, item: dict[str, object], cidr: str) -> None:
    """Delete a Node and create it again with a podCIDR, which cannot be changed otherwise."""
    meta = item["metadata"]
    assert isinstance(meta, dict)
    fresh = {key: meta[key] for key in ("name", "labels", "annotations") if key in meta}
    lab.client.delete("nodes", str(meta["name"]))
    lab.client.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": fresh, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}})
    lab.client.patch("nodes", str(meta["name"]), {"status": item["status"]}, part="status")
    lab.client.patch("nodes", str(meta["name"]), {"spec": {"taints": None}})
