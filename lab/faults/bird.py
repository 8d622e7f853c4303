"""Faults of BIRD and of its sessions."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

from lab.api.client import CALICO
from lab.cluster import Lab
from lab.errors import LabError
from lab.faults import BGP, BIRD_ROUTES, MESH, REFLECTORS, Modes, fault
from lab.faults.steps import annotate, cut_off, kill, removed_machine, switch_drops
from lab.processes import send, stopped_by_signal, wait_for

BIRD = "bird -R"


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
    kill(lab, "k8s02", "bird", signal.SIGTERM)
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
    kill(lab, "k8s02", "bird", signal.SIGKILL)
    wait_for(lambda: _session_lost(lab, "k8s02"), "the peers have lost their sessions", 10)
    yield
    lab.revive("k8s02")


@fault("bird_down_or_config_rejected.hung", number="F49", breaks="bird.running", modes=BGP, question=("shop/web-0", "shop/web-1", 8080), works=True)
def hung(lab: Lab) -> Iterator[None]:
    """BIRD of k8s02 lives and does nothing any more (SIGSTOP): its peers keep its routes until the hold time ends."""
    pid = lab.process("k8s02", BIRD)
    send(pid, signal.SIGSTOP)
    wait_for(lambda: stopped_by_signal(pid), "BIRD of k8s02 is stopped", 10)
    yield
    if lab.process("k8s02", BIRD) == pid:
        send(pid, signal.SIGCONT)


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
    _begin_anew(lab, "k8s02")
    wait_for(lambda: _session_lost(lab, "k8s02"), "the sessions are dead", 20)
    wait_for(lambda: not _block_known(lab, "k8s02"), "the peers have withdrawn the block", 20)
    yield
    for rule in rules:
        lab.run("k8s02", "iptables", "-D", *rule, check=False)
    _restart_sessions(lab)


def _begin_anew(lab: Lab, node: str) -> None:
    """Every session of a node ends and is tried again. persist keeps the routes of a BIRD that is stopped; a session that is disabled withdraws them."""
    own = _sessions(lab, node)
    for name in own:
        lab.bird(node, f"disable {name}")
    for other in lab.nodes:
        for name in _sessions(lab, other.name, node):
            lab.bird(other.name, f"restart {name}")
    for name in own:
        lab.bird(node, f"enable {name}")


def _restart_sessions(lab: Lab) -> None:
    for other in lab.nodes:
        for name in _sessions(lab, other.name):
            lab.bird(other.name, f"restart {name}")


FAILSAFE = (22, 68, 2379, 2380, 5473, 6443, 6666, 6667)  # Felix's default without 179


def _host_endpoint(failsafe: str) -> list[str]:
    """Felix's rules for a HostEndpoint of eth0 that no policy selects, in the form of iptables-restore (felix/rules/endpoints.go)."""
    lines = ["*filter"]
    for way, end, hook, match in (("from", "fh", "INPUT", "-i"), ("to", "th", "OUTPUT", "-o")):
        lines += [
            f":cali-{way}-host-endpoint - [0:0]", f":cali-{end}-eth0 - [0:0]",
            f"-I {hook} -j cali-{way}-host-endpoint",
            f"-A cali-{way}-host-endpoint {match} eth0 -g cali-{end}-eth0",
            f"-A cali-{end}-eth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            f"-A cali-{end}-eth0 -m conntrack --ctstate INVALID -j DROP",
            f"-A cali-{end}-eth0 -p tcp -m multiport --dports {failsafe} -j ACCEPT",
            f'-A cali-{end}-eth0 -m comment --comment "Drop if no profiles matched" -j DROP',
        ]  # fmt: skip
    return [*lines, "COMMIT", ""]


@fault("hostendpoint_blocks_infra", number="F58", node="k8s02", breaks="netfilter.bgp", modes=BGP, question=("shop/web-1", "shop/web-0", 8080), only_bgp=True)
def host_endpoint(lab: Lab) -> Iterator[None]:
    """k8s02 has a HostEndpoint that no policy selects, and port 179 is not among the failsafe ports: BGP is dropped when a session begins anew."""
    ports = [*FAILSAFE, lab.description.port]
    address = lab.node("k8s02").address
    body = {"apiVersion": CALICO, "kind": "HostEndpoint", "metadata": {"name": "k8s02-eth0"},
            "spec": {"node": "k8s02", "interfaceName": "eth0", "expectedIPs": [address]}}  # fmt: skip
    lab.client.create("hostendpoints", body)
    rules = "\n".join(_host_endpoint(",".join(map(str, ports))))
    subprocess.run([*lab.enter("k8s02"), "iptables-restore", "-w", "--noflush"], input=rules, text=True, check=True, capture_output=True)
    _begin_anew(lab, "k8s02")
    wait_for(lambda: _session_lost(lab, "k8s02"), "the sessions are dead", 20)
    wait_for(lambda: not _block_known(lab, "k8s02"), "the peers have withdrawn the block", 20)
    yield
    for way, end, hook in (("from", "fh", "INPUT"), ("to", "th", "OUTPUT")):
        lab.run("k8s02", "iptables", "-w", "-D", hook, "-j", f"cali-{way}-host-endpoint", check=False)
        for command in ("-F", "-X"):
            for chain in (f"cali-{way}-host-endpoint", f"cali-{end}-eth0"):
                lab.run("k8s02", "iptables", "-w", command, chain, check=False)
    lab.client.delete("hostendpoints", "k8s02-eth0")
    _restart_sessions(lab)


@fault(
    "bgp_tcp179_blocked.one_side",
    number="F02",
    breaks="underlay.tcp179",
    objects=("tcp/179",),
    question=("shop/web-1", "shop/web-0", 8080),
    works=True,
    modes=BGP,
)
def one_side(lab: Lab) -> Iterator[None]:
    """A firewall of k8s02 drops TCP 179, and BIRD there was killed: k8s02 has no session, the others believe theirs to be up."""
    rules = [[chain, "-p", "tcp", port, "179", "-j", "DROP"] for chain in ("INPUT", "OUTPUT") for port in ("--dport", "--sport")]
    for rule in rules:
        lab.run("k8s02", "iptables", "-I", *rule)
    kill(lab, "k8s02", "bird", signal.SIGKILL)
    lab.revive("k8s02")
    wait_for(lambda: bool(_sessions(lab, "k8s02")), "BIRD of k8s02 runs again", 20)
    yield
    for rule in rules:
        lab.run("k8s02", "iptables", "-D", *rule, check=False)
    _restart_sessions(lab)


@fault(
    "bgp_session_disabled",
    number="x",
    breaks="bgp.session.down",
    objects=("k8s01",),
    question=("shop/web-1", "shop/web-0", 8080),
    modes=MESH,
    only_bgp=True,
)
def disabled(lab: Lab) -> Iterator[None]:
    """Somebody disabled the session with k8s01 on k8s02, and has forgotten it."""
    (session,) = _sessions(lab, "k8s02", "k8s01")
    lab.bird("k8s02", f"disable {session}")
    wait_for(lambda: not any(s.established for s in lab.sessions("k8s01") if s.name in _sessions(lab, "k8s01", "k8s02")), "k8s01 has lost it", 20)
    if not lab.description.calico.felix_routes:
        cut_off(lab, "shop/web-1", "shop/web-0")
    yield
    lab.bird("k8s02", f"enable {session}")


@fault(
    "bgp_session_one_sided",
    number="x",
    breaks="bgp.session.down",
    node="k8s01",
    objects=("k8s02",),
    question=("shop/web-0", "shop/web-1", 8080),
    modes=MESH,
    only_bgp=True,
)
def half_open(lab: Lab) -> Iterator[None]:
    """A firewall between the nodes has forgotten the connection of k8s02 to k8s01, and k8s01 began its session anew: it waits to be called."""
    here, there = (lab.node(name).address for name in ("k8s01", "k8s02"))
    local, _remote = lab.run("k8s02", "ss", "-Hnt", "state", "established", "dst", f"{here}:179").split()[2:]
    port = local.rpartition(":")[2]
    ends = f"ip saddr . tcp sport . ip daddr . tcp dport {{ {here} . 179 . {there} . {port}, {there} . {port} . {here} . 179 }}"
    (mine,), (other,) = _sessions(lab, "k8s01", "k8s02"), _sessions(lab, "k8s02", "k8s01")
    with switch_drops(lab, ends):
        lab.bird("k8s01", f"restart {mine}")
        wait_for(lambda: "Passive" in str(lab.sessions("k8s01")), "k8s01 waits for k8s02", 20)
        if not lab.description.calico.felix_routes:
            cut_off(lab, "shop/web-0", "shop/web-1")
        yield
    lab.bird("k8s02", f"restart {other}")


@fault(
    "stale_node_peer",
    number="F06",
    breaks="bgp.session.down",
    node="k8s09",
    question=("shop/web-1", "shop/web-0", 8080),
    works=True,
    modes=BGP,
)
def removed_node(lab: Lab) -> Iterator[None]:
    """The machine of k8s09 was taken away, its Node was not: all the others wait for a session with it."""
    removed_machine(lab, "k8s09", "10.2.7.209")
    mine = [node.name for node in lab.nodes if not lab.description.calico.reflectors or node.reflector]
    wait_for(lambda: all(any(name.endswith("_10_2_7_209") for name in _sessions(lab, node)) for node in mine), "the others have it as a peer", 20)
    yield
    lab.client.delete("nodes", "k8s09")


@fault(
    "bgp_gr_stuck_after_restart",
    number="F19",
    breaks="bgp.graceful_restart",
    question=("shop/web-1", "shop/web-0", 8080),
    modes=Modes(tuple(name for name in BIRD_ROUTES.names if name in MESH.names), "BIRD has no routes to write, or no peer that it waits for"),
)
def graceful_restart(lab: Lab) -> Iterator[None]:
    """BIRD of k8s02 was killed and its routes were flushed; started again, it waits for a peer that is no more, and writes none."""
    removed_machine(lab, "k8s09", "10.2.7.209")
    wait_for(lambda: any(name.endswith("_10_2_7_209") for name in _sessions(lab, "k8s02")), "k8s02 has k8s09 as a peer", 20)
    kill(lab, "k8s02", "bird", signal.SIGKILL)
    lab.run("k8s02", "ip", "route", "flush", "proto", "bird")
    lab.revive("k8s02")
    wait_for(lambda: "Graceful restart recovery in progress" in _status(lab, "k8s02"), "BIRD of k8s02 waits", 20)
    cut_off(lab, "shop/web-1", "shop/web-0")
    yield
    lab.client.delete("nodes", "k8s09")


def _status(lab: Lab, node: str) -> str:
    try:
        return lab.bird(node, "show status")
    except LabError:
        return ""


@fault(
    "rr_or_peer_topology_gap.label",
    number="F69",
    breaks="bgp.topology",
    node="",
    question=("shop/web-2", "shop/web-1", 8080),
    modes=REFLECTORS,
)
def label_lost(lab: Lab) -> Iterator[None]:
    """The label of the only route reflector is gone, so no node has a peer."""
    lab.client.patch("nodes", "k8s01", {"metadata": {"labels": {"route-reflector": None}}})
    wait_for(lambda: not any(lab.sessions(node.name) for node in lab.nodes), "no node has a peer", 20)
    cut_off(lab, "shop/web-2", "shop/web-1")
    yield
    lab.client.patch("nodes", "k8s01", {"metadata": {"labels": {"route-reflector": "true"}}})


@fault(
    "rr_or_peer_topology_gap.mesh_off",
    number="F69",
    breaks="bgp.topology",
    node="",
    question=("shop/web-2", "shop/web-1", 8080),
    modes=MESH,
    only_bgp=True,
)
def mesh_off(lab: Lab) -> Iterator[None]:
    """The mesh of all nodes was switched off, and nothing put in its place."""
    lab.client.patch("bgpconfigurations", "default", {"spec": {"nodeToNodeMeshEnabled": False}})
    wait_for(lambda: not any(lab.sessions(node.name) for node in lab.nodes), "no node has a peer", 20)
    if not lab.description.calico.felix_routes:
        cut_off(lab, "shop/web-2", "shop/web-1")
    yield
    lab.client.patch("bgpconfigurations", "default", {"spec": {"nodeToNodeMeshEnabled": None}})


@fault(
    "bgp_as_or_password_mismatch",
    number="F70",
    breaks="bgp.session.down",
    question=("shop/web-1", "shop/web-0", 8080),
    modes=MESH,
    only_bgp=True,
)
def other_as(lab: Lab) -> Iterator[None]:
    """k8s02 has an AS number of its own, by its annotation, in a mesh of one AS."""
    annotate(lab, "k8s02", "ASNumber", "65001")
    wait_for(lambda: _session_lost(lab, "k8s02") and "Bad peer AS" in str(lab.sessions("k8s02")), "its sessions are refused", 30)
    if not lab.description.calico.felix_routes:
        cut_off(lab, "shop/web-1", "shop/web-0")
    yield
    annotate(lab, "k8s02", "ASNumber", None)
    for other in lab.nodes:
        for name in _sessions(lab, other.name):
            lab.bird(other.name, f"restart {name}")
