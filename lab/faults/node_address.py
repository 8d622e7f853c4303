"""Faults of the node: its address, its Felix."""

from __future__ import annotations

from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import BIRD_ROUTES, CALICO, FELIX, Modes, fault
from lab.faults.steps import annotate, cut_off, kill
from lab.processes import wait_for

STRAY = "192.188.1.1"


def _peers_lost(lab: Lab, node: str) -> bool:
    """Is every session of and towards the node dead?"""
    if any(session.established for session in lab.sessions(node)):
        return False
    own = lab.node(node)
    for other in lab.nodes:
        if other.name == node:
            continue
        if other not in lab.description.peers(own):
            continue
        mine = [session for session in lab.sessions(other.name) if session.name.endswith("_" + STRAY.replace(".", "_"))]
        if not mine or mine[0].established:
            return False
    return True


def _block_lost(lab: Lab, node: str) -> bool:
    block = lab.node(node).block
    return not any(route["dst"] == block for other in lab.nodes if other.name != node for route in lab.routes(other.name))


def _own_routes_lost(lab: Lab, node: str) -> bool:
    blocks = {other.block for other in lab.nodes if other.name != node}
    return not any(route["dst"] in blocks for route in lab.routes(node))


@fault(
    "node_ip_wrong_nic",
    number="F01",
    breaks="node.address.wrong",
    objects=("br0", f"{STRAY}/24"),
    modes=CALICO,
    question=("shop/web-1", "shop/web-0", 8080),
)
def stray_nic(lab: Lab) -> Iterator[None]:
    """A bridge br0 with 192.188.1.1/24 comes up on k8s02, calico-node restarts and takes that address."""
    lab.run("k8s02", "ip", "link", "add", "br0", "type", "bridge")
    lab.run("k8s02", "ip", "addr", "add", f"{STRAY}/24", "dev", "br0")
    lab.run("k8s02", "ip", "link", "set", "br0", "up")
    lab.restart_calico("k8s02")
    wait_for(lambda: lab.address("k8s02") == f"{STRAY}/24", "k8s02 announces the stray address", 20)
    if lab.description.calico.bird:
        wait_for(lambda: _peers_lost(lab, "k8s02"), "all BGP sessions of k8s02 are dead", 60)
    if lab.mode in BIRD_ROUTES.names:
        wait_for(lambda: _block_lost(lab, "k8s02"), "the others have no route to the block of k8s02", 60)
        wait_for(lambda: _own_routes_lost(lab, "k8s02"), "the block routes of k8s02 are gone", 300)
    cut_off(lab, "shop/web-1", "shop/web-0")
    yield
    lab.run("k8s02", "ip", "link", "del", "br0", check=False)
    good = f"{lab.node('k8s02').address}/24"
    if lab.address("k8s02") != good:
        lab.restart_calico("k8s02")
        wait_for(lambda: lab.address("k8s02") == good, "k8s02 announces its own address again", 20)


@fault(
    "node_mask_32",
    number="F26",
    breaks="node.address.mask",
    question=("shop/web-1", "shop/web-0", 8080),
    works=True,
    modes=CALICO,
)
def mask(lab: Lab) -> Iterator[None]:
    """The address of k8s02 has lost its mask in the API, and nothing corrects it: calico-node's monitor there is dead."""
    kill(lab, "k8s02", "node-services")
    annotate(lab, "k8s02", "IPv4Address", f"{lab.node('k8s02').address}/32")
    wait_for(lambda: lab.address("k8s02").endswith("/32"), "k8s02 announces a /32", 10)
    wait_for(lambda: lab.answers("shop/web-1", "shop/web-0"), "traffic still flows", 20)
    yield
    lab.revive("k8s02")


@fault(
    "duplicate_node_ip",
    number="F50",
    breaks="node.address.duplicate",
    node="k8s03",
    question=("shop/web-0", "shop/web-2", 8080),
    modes=Modes(tuple(name for name in CALICO.names if name != "felixroutes"), "k8s02 keeps its route to k8s03, and hands on what comes to it"),
)
def duplicate(lab: Lab) -> Iterator[None]:
    """k8s03 announces the address of k8s02; its BIRD restarts with that."""
    kill(lab, "k8s03", "node-services")
    annotate(lab, "k8s03", "IPv4Address", lab.address("k8s02"))
    if lab.description.calico.bird:
        wait_for(lambda: not any(session.established for session in lab.sessions("k8s03")), "k8s03 has no session", 60)
    cut_off(lab, "shop/web-0", "shop/web-2", 300)
    yield
    lab.revive("k8s03")
    wait_for(lambda: lab.address("k8s03").startswith(f"{lab.node('k8s03').address}/"), "k8s03 announces its own address", 20)


@fault(
    "felix_not_ready",
    number="F43",
    breaks="felix.down",
    question=("shop/web-1", "shop/web-0", 8080),
    works=True,
    modes=FELIX,
)
def felix_dead(lab: Lab) -> Iterator[None]:
    """Felix of k8s02 is dead: what it has written works, what comes new does not."""
    kill(lab, "k8s02", "felix")
    yield
    lab.revive("k8s02")
