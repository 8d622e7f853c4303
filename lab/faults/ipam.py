"""Faults of IPAM's books: no traffic suffers of them yet."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from lab import kube_proxy
from lab.api import calico, seed
from lab.api.client import CALICO as CALICO_API
from lab.cluster import Lab
from lab.faults import BGP, CALICO, Modes, fault
from lab.modes import MODES

POD, NODE = "shop/web-1", "k8s02"
QUESTION = ("shop/web-0", POD, 8080)
GONE = "ops/gone-x2x9v"
ONLY_ROUTED = Modes(
    tuple(name for name in BGP.names if not MODES[name].tunnel), "what carries the packets would change with the pool, or no pod has an address of a pool"
)
LEAKED = 60  # of the 64 addresses of a block


@fault("used_not_allocated", number="F62", node=NODE, breaks="ipam.address.unallocated", objects=(POD,), modes=CALICO, question=QUESTION, works=True)
def released(lab: Lab) -> Iterator[None]:
    """Somebody has released the address of a running pod."""
    host, pod = lab.node(NODE), lab.pod(POD)
    spec = calico.block_spec(lab.description, host, host.block)
    spec["allocations"][int(ipaddress.ip_address(pod.address)) - int(ipaddress.ip_network(host.block)[0])] = None
    lab.client.patch("ipamblocks", calico.cidr_name(host.block), {"spec": spec})
    yield
    seed.write_ipam(lab.client, lab.description, NODE)


@fault("leaked_ips", number="F63", node=NODE, breaks="ipam.leaked", modes=CALICO, question=QUESTION, works=True)
def leaked(lab: Lab) -> Iterator[None]:
    """A pod was deleted while its node was off, and IPAM still keeps an address for it."""
    host = lab.node(NODE)
    spec = calico.block_spec(lab.description, host, host.block)
    namespace, name = GONE.split("/")
    spec["allocations"][LEAKED] = len(spec["attributes"])
    spec["attributes"].append({"handle_id": "k8s-pod-network.gone", "secondary": {"namespace": namespace, "node": NODE, "pod": name}})
    lab.client.patch("ipamblocks", calico.cidr_name(host.block), {"spec": spec})
    yield
    seed.write_ipam(lab.client, lab.description, NODE)


@fault("pool_overlaps_services", number="F65", node="", breaks="pool.holds.service", modes=CALICO, question=("shop/web-0", "svc/shop/api", 80), works=None)
def over_services(lab: Lab) -> Iterator[None]:
    """A new pool covers the network of the Services. No node may take of it yet, so that nothing else changes."""
    spec = {"cidr": "10.96.0.0/16", "blockSize": 26, "ipipMode": "Never", "vxlanMode": "Never", "natOutgoing": False, "nodeSelector": "!all()"}
    lab.client.create("ippools", {"apiVersion": CALICO_API, "kind": "IPPool", "metadata": {"name": "over-services"}, "spec": spec})
    with kube_proxy.running(lab):
        yield
    lab.client.delete("ippools", "over-services")


@fault(
    "pool_outside_cluster_cidr", number="F68", node=NODE, breaks="ipam.address.outside", objects=(POD,), modes=ONLY_ROUTED, question=QUESTION, works=True
)
def pool_gone(lab: Lab) -> Iterator[None]:
    """The pool is replaced by one for each node's block, but for one that is forgotten."""
    name = "default-ipv4-ippool"
    spec = calico.pool(lab.description, 4)
    fresh = {f"pool-{node.name}": node.block for node in lab.nodes if node.name != NODE}
    for each, block in fresh.items():
        lab.client.create("ippools", calico.calico("IPPool", each, {**spec, "cidr": block}))
    lab.client.delete("ippools", name)
    yield
    for item in lab.client.list("ippools"):
        if ":" not in item["spec"]["cidr"]:
            lab.client.delete("ippools", item["metadata"]["name"])
    lab.client.create("ippools", calico.calico("IPPool", name, spec))
