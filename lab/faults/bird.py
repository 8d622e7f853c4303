"""Faults of BIRD and of its sessions."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import BGP, fault
from lab.processes import send, wait_for

BIRD = "bird -R"


def _kill(lab: Lab, node: str, number: signal.Signals) -> None:
    send(lab.process(node, BIRD), number)
    wait_for(lambda: not lab.process(node, BIRD), f"BIRD of {node} is dead", 10)


def _sessions(lab: Lab, node: str, peer: str = "") -> list[str]:
    """The names of a node's sessions, or of the one with a peer."""
    ending = lab.node(peer).address.replace(".", "_") if peer else ""
    return [session.name for session in lab.sessions(node) if session.name.endswith(ending)]


def _session_lost(lab: Lab, node: str) -> bool:
    """No other node has a session with this one."""
    others = [other.name for other in lab.nodes if other.name != node]
    return not any(s.established for other in others for s in lab.sessions(other) if s.name in _sessions(lab, other, node))


def _block_known(lab: Lab, node: str) -> bool:
    """Has another node a route of BIRD's to this one's block?"""
    block = lab.node(node).block
    others = [other.name for other in lab.nodes if other.name != node]
    return any(route["dst"] == block and route.get("protocol") == "bird" for other in others for route in lab.routes(other))


@fault(
    "bird_down_or_config_rejected.stopped",
    number="F49",
    breaks="bird.running",
    modes=BGP,
    question=("shop/web-0", "shop/web-1", 8080),
    only_bgp=True,
)
def stopped(lab: Lab) -> Iterator[None]:
    """BIRD of k8s02 is stopped cleanly (SIGTERM): its peers withdraw its block at once."""
    _kill(lab, "k8s02", signal.SIGTERM)
    wait_for(lambda: _session_lost(lab, "k8s02"), "the peers have lost their sessions", 10)
    wait_for(lambda: not _block_known(lab, "k8s02"), "the peers have withdrawn the block", 20)
    yield
    lab.revive("k8s02")


@fault(
    "bird_down_or_config_rejected.killed",
    number="F49",
    breaks="bird.running",
    modes=BGP,
    question=("shop/web-0", "shop/web-1", 8080),
    works=True,
)
def killed(lab: Lab) -> Iterator[None]:
    """BIRD of k8s02 is killed (SIGKILL): its peers keep its routes for the graceful restart time, so traffic still flows."""
    _kill(lab, "k8s02", signal.SIGKILL)
    wait_for(lambda: _session_lost(lab, "k8s02"), "the peers have lost their sessions", 10)
    yield
    lab.revive("k8s02")


@fault(
    "bgp_tcp179_blocked",
    number="F02",
    breaks="netfilter.bgp",
    objects=("tcp/179",),
    modes=BGP,
    question=("shop/web-1", "shop/web-0", 8080),
    only_bgp=True,
)
def port_blocked(lab: Lab) -> Iterator[None]:
    """A firewall of k8s02 drops TCP 179 both ways, and BIRD restarts: no session of k8s02 comes up again."""
    rules = [
        [chain, "-p", "tcp", port, "179", "-j", "DROP"] for chain in ("INPUT", "OUTPUT") for port in ("--dport", "--sport")
    ]
    for rule in rules:
        lab.run("k8s02", "iptables", "-I", *rule)
    # persist keeps the routes of a BIRD that is stopped; a session that is disabled withdraws them
    own = _sessions(lab, "k8s02")
    for name in own:
        lab.bird("k8s02", f"disable {name}")
    for other in lab.nodes:
        for name in _sessions(lab, other.name, "k8s02"):
            lab.bird(other.name, f"restart {name}")
    for name in own:
        lab.bird("k8s02", f"enable {name}")
    wait_for(lambda: _session_lost(lab, "k8s02"), "the sessions are dead", 20)
    wait_for(lambda: not _block_known(lab, "k8s02"), "the peers have withdrawn the block", 20)
    yield
    for rule in rules:
        lab.run("k8s02", "iptables", "-D", *rule, check=False)
    for other in lab.nodes:
        for name in _sessions(lab, other.name):
            lab.bird(other.name, f"restart {name}")
