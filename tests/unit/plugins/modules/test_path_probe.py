# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ctypes
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time
import types
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.modules import path_probe
from ansible_collections.podnet.doctor.plugins.plugin_utils import _evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import Endpoint, Question
from ansible_collections.podnet.doctor.tests.unit.plugins import support

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")
SOURCE = Endpoint("shop/web-0", "pod", "10.244.0.2", "k8s01", "shop", "web-0")
DESTINATION = Endpoint("shop/api-0", "pod", "10.244.1.2", "k8s02", "shop", "api-0")


def evidence(armed: t.Any, fired: t.Any, collected: t.Any, port: int | None = None) -> list[dict[str, t.Any]]:
    """What was seen of the forward direction by a capture on the far node alone."""
    question = Question(SOURCE, DESTINATION, "tcp" if port else "icmp", port)
    found = _evidence.Registered({"forward": fired}, {"k8s02": armed}, {"k8s02": collected})
    document = _evidence.document(Cluster({}), question, found, "2026-11-21T09:30:42Z")
    support.valid("evidence", document)
    return t.cast("list[dict[str, t.Any]]", document["probes"])


@pytest.fixture
def network(namespaces: t.Any) -> t.Iterator[support.Network]:
    made = support.Network(namespaces)
    try:
        yield made
    finally:
        made.close()


class Probe:
    """Three tasks on two nodes."""

    def __init__(self, run: t.Any, network: support.Network) -> None:
        self.run, self.network, self.id = run, network, os.urandom(16).hex()

    def arm(self, **more: t.Any) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self.run(path_probe, {"phase": "arm", "id": self.id, "limit": 20, **more}, self.network.nodes[1]))

    def fire(self, **more: t.Any) -> dict[str, t.Any]:
        arguments = {"phase": "fire", "id": self.id, "dst": "10.244.1.2", "wait": 0.5, "pod": {"ifname": "cali00"}, **more}
        return t.cast("dict[str, t.Any]", self.run(path_probe, arguments, self.network.nodes[0]))

    def collect(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self.run(path_probe, {"phase": "collect", "id": self.id}, self.network.nodes[1]))


def seen(collected: t.Any, where: str, ifname: str, way: str, train: str = "icmp", kind: str = "request") -> int:
    wanted = (where, ifname, way, train, kind)
    mine = [one for one in collected["seen"] if (one["where"], one["ifname"], one["way"], one["train"], one["kind"]) == wanted]
    return sum(len(one["numbers"]) for one in mine)


def test_three_phases(run: t.Any, network: support.Network) -> None:
    network.serve(network.pods[1], 8080)
    probe = Probe(run, network)
    armed = probe.arm(pods=[{"ip": "10.244.1.2"}])
    assert armed["captures"] == [{"where": "host"}, {"where": "pod", "pod": 0, "ifname": "cali01"}] and armed["missing"] == []
    fired = probe.fire(port=8080)
    collected = probe.collect()
    entries = evidence(armed, fired, collected, 8080)
    assert [(entry["protocol"], entry["sent"], entry["replied"], entry["arrived"]) for entry in entries] == [("icmp", 3, 3, True), ("tcp", 3, 3, True)]
    assert entries[1]["destination"]["port"] == 8080
    for train in ("icmp", "tcp"):
        assert [seen(collected, *place, train) for place in (("host", "eth0", "in"), ("host", "cali01", "out"), ("pod", "eth0", "in"))] == [3, 3, 3]


def test_lost(run: t.Any, network: support.Network) -> None:
    network.nodes[0].ip("route add blackhole 10.244.1.2/32")
    network.nodes[0].ip("route add blackhole 10.244.1.2/32 table 99")
    probe = Probe(run, network)
    armed, fired, collected = probe.arm(pods=[{"ifname": "cali01"}]), probe.fire(), probe.collect()
    (entry,) = evidence(armed, fired, collected)
    assert (entry["arrived"], entry["replied"]) == (False, 0) and "reason" not in entry


def test_unknown_pod(run: t.Any, network: support.Network) -> None:
    """The node listens all the same."""
    probe = Probe(run, network)
    armed = probe.arm(pods=[{"ifname": "cali99", "uid": "nobody"}])
    assert armed["missing"] == [{"pod": 0, "reason": "there is no sandbox of the pod ifname cali99, uid nobody on this node"}]
    nowhere = probe.fire(pod={"ifname": "cali98"})
    assert nowhere["fired"] == [] and "cali98" in nowhere["reason"]
    fired, collected = probe.fire(), probe.collect()
    assert seen(collected, "host", "cali01", "out") == 3
    again = probe.collect()
    assert again["captured"] is False and "not armed" in again["reason"]
    (entry,) = evidence(armed, fired, collected)
    assert entry["arrived"] is None and entry["reason"] == armed["missing"][0]["reason"]
    (entry,) = evidence(armed, nowhere, collected)
    assert entry["arrived"] is None and entry["reason"] == nowhere["reason"]


def test_from_the_node_itself(run: t.Any, network: support.Network) -> None:
    probe = Probe(run, network)
    armed = probe.arm(pods=[{"ifname": "cali01"}])
    fired = probe.fire(pod=None, source="192.0.2.11")
    network.nodes[1].ip("route add 192.0.2.11/32 dev eth0")
    collected = probe.collect()
    assert armed["armed"] and fired["fired"][0]["sent"] == 3
    assert {source for one in collected["seen"] for source in one["sources"]} >= {"192.0.2.11"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"phase": "fire", "id": "0123456789abcdef"}, "phase is fire but all of the following are missing: dst"),
        ({"phase": "collect", "id": "../../x"}, "id: '../../x' is not a random id"),
        ({"phase": "collect", "id": "0123456789abcdef", "count": 99}, "count: 99 is not between 1 and 32"),
        ({"phase": "collect", "id": "0123456789abcdef", "flow": 16}, "flow: 16 is not between 0 and 15"),
        ({"phase": "arm", "id": "0123456789abcdef", "vxlan_ports": [70000]}, "vxlan_ports: [70000] are not at most 8 port numbers"),
        ({"phase": "fire", "id": "0123456789abcdef", "dst": "web-0"}, "dst and source must be addresses, not 'web-0'"),
    ],
)
def test_bad_options(run: t.Any, arguments: dict[str, t.Any], text: str) -> None:
    result = run(path_probe, arguments)
    assert result["failed"] is True and result["msg"].startswith(text)


def test_limit(run: t.Any, network: support.Network) -> None:
    assert Probe(run, network).arm(limit=6000)["reason"] == "limit: 6000 is not between 0 and 600 seconds"


def test_not_root(run: t.Any, no_root: None) -> None:
    result = run(path_probe, {"phase": "collect", "id": "0123456789abcdef"})
    assert "run this task with become: true" in result["msg"]


def test_raw_sockets_refused(run: t.Any, network: support.Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: t.Any) -> t.Any:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("ansible_collections.podnet.doctor.plugins.module_utils._icmp.raw_socket", refused)
    probe = Probe(run, network)
    armed, fired, collected = probe.arm(pods=[{"ifname": "cali01"}]), probe.fire(), probe.collect()
    (entry,) = evidence(armed, fired, collected)
    assert entry["arrived"] is None and entry["reason"] in ("no packet was sent", "raw sockets are refused here")


def test_packet_sockets_refused(run: t.Any, network: support.Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root without CAP_NET_RAW: one sentence, and what the links have counted."""
    real = socket.socket

    def refuse(family: int = socket.AF_INET, *rest: t.Any, **more: t.Any) -> t.Any:
        if family == socket.AF_PACKET:
            raise PermissionError(1, "Operation not permitted")
        return real(family, *rest, **more)

    monkeypatch.setattr("ansible_collections.podnet.doctor.plugins.module_utils._capture.socket.socket", refuse)
    probe = Probe(run, network)
    armed = probe.arm(pods=[{"ifname": "cali01"}])
    assert (armed["armed"], armed["reason"]) == (False, "packet sockets are refused here: root without CAP_NET_RAW")
    assert set(armed["counters"]) == {"cali01"}
    monkeypatch.undo()
    fired = probe.fire()
    collected = run(path_probe, {"phase": "collect", "id": probe.id, "pods": [{"ifname": "cali01"}]}, network.nodes[1])
    (entry,) = evidence(armed, fired, collected)
    assert entry["arrived"] is None and "cali01 counted " in entry["reason"]
    assert collected["counters"]["cali01"]["tx"] - armed["counters"]["cali01"]["tx"] >= 3


CAP_NET_RAW, CAPABILITIES_VERSION = 13, 0x20080522


def without_net_raw() -> None:
    """The module, as a thread of root runs it that has lost CAP_NET_RAW."""
    libc = ctypes.CDLL(None, use_errno=True)
    head, held = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITIES_VERSION, 0)), ctypes.create_string_buffer(24)
    assert libc.capget(head, held) == 0
    low, *rest = struct.unpack("=6I", held.raw)
    assert low & 1 << CAP_NET_RAW
    assert libc.capset(head, ctypes.create_string_buffer(struct.pack("=6I", low & ~(1 << CAP_NET_RAW), *rest))) == 0
    path_probe.main()


def test_root_without_cap_net_raw(run: t.Any, network: support.Network) -> None:
    """The kernel itself refuses: one sentence from either end, and the rest of what is asked goes on."""
    network.serve(network.pods[1], 8080)
    module, identifier = types.SimpleNamespace(main=without_net_raw), os.urandom(16).hex()
    pods = [{"ifname": "cali01"}]
    armed = run(module, {"phase": "arm", "id": identifier, "pods": pods}, network.nodes[1])
    assert (armed["armed"], armed["reason"]) == (False, "packet sockets are refused here: root without CAP_NET_RAW")
    arguments = {"phase": "fire", "id": identifier, "dst": "10.244.1.2", "port": 8080, "wait": 0.5, "pod": {"ifname": "cali00"}}
    fired = run(module, arguments, network.nodes[0])
    collected = run(module, {"phase": "collect", "id": identifier, "pods": pods}, network.nodes[1])
    echoes, connects = evidence(armed, fired, collected, 8080)
    assert (echoes["sent"], echoes["reason"]) == (0, "raw sockets are refused here")
    assert (connects["replied"], connects["arrived"]) == (3, None) and connects["reason"].startswith(armed["reason"])


EMPTY_ROOT = """
import os, signal, sys
os.chroot(sys.argv[1])
os.chdir("/")
os.write(1, b"ready")
os.closerange(0, 3)
signal.pause()
"""
IN_ALL_EVENTS, IN_NONBLOCK = 0xFFF, 0o4000


def test_a_pod_without_a_shell_or_any_file(run: t.Any, network: support.Network, tmp_path: pathlib.Path) -> None:
    """The only process of the pod sees an empty root, and nothing looks into it."""
    root, libc = tmp_path / "root", ctypes.CDLL(None, use_errno=True)
    root.mkdir()
    network.serve(network.pods[1], 8080)
    source = network.pods[0]
    process = subprocess.Popen(["nsenter", f"--net={source.path}", sys.executable, "-c", EMPTY_ROOT, str(root)], stdout=subprocess.PIPE)
    watching = libc.inotify_init1(IN_NONBLOCK)
    try:
        assert process.stdout is not None and process.stdout.read(5) == b"ready" and os.listdir(f"/proc/{process.pid}/root/") == []
        subprocess.run(["ip", "netns", "del", source.name], check=True)  # from now on it is only in the process that it is found
        assert libc.inotify_add_watch(watching, os.fsencode(root), IN_ALL_EVENTS) > 0
        probe = Probe(run, network)
        armed = probe.arm(pods=[{"ifname": "cali01"}])
        fired = probe.fire(port=8080)
        entries = evidence(armed, fired, probe.collect(), 8080)
        assert [(entry["protocol"], entry["replied"], entry["arrived"]) for entry in entries] == [("icmp", 3, True), ("tcp", 3, True)]
        with pytest.raises(BlockingIOError):
            os.read(watching, 4096)
        os.listdir(f"/proc/{process.pid}/root/")
        assert os.read(watching, 4096)  # it would have been seen
    finally:
        os.close(watching)
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_over_ipv6(run: t.Any, network: support.Network) -> None:
    one, two = network.nodes
    for number, (node, pod) in enumerate(zip(network.nodes, network.pods)):
        node.sysctl("net/ipv6/conf/all/forwarding", "1")
        node.ip(f"addr add 2001:db8::1{number}/64 dev eth0 nodad")
        node.ip(f"addr add fe80::1/64 dev cali0{number} nodad")
        node.ip(f"route add fd00:10:{number}::2/128 dev cali0{number}")
        pod.ip(f"addr add fd00:10:{number}::2/128 dev eth0 nodad")
        pod.ip("route add default via fe80::1 dev eth0")
    one.ip("route add fd00:10:1::/64 via 2001:db8::11")
    two.ip("route add fd00:10::/64 via 2001:db8::10")
    server = "s=socket.create_server(('::',8080),family=socket.AF_INET6)"
    network.run(network.pods[1], f"import socket\n{server}\nprint('up',flush=True)\nwhile True: s.accept()[0].close()")
    end = time.monotonic() + 20
    while any(space.ip("-6 addr show tentative") for space in (*network.nodes, *network.pods)):  # link-local ones, which the kernel makes by itself
        assert time.monotonic() < end, "duplicate address detection does not end"
        time.sleep(0.05)
    probe = Probe(run, network)
    armed = probe.arm(pods=[{"ifname": "cali01"}])
    fired = probe.fire(dst="fd00:10:1::2", port=8080, full_size=True)
    collected = probe.collect()
    assert [(train["protocol"], train["sent"], train["replied"]) for train in fired["fired"]] == [("icmp", 3, 3), ("icmp", 3, 3), ("tcp", 3, 3)]
    for train in ("icmp", "full", "tcp"):
        assert [seen(collected, *place, train) for place in (("host", "eth0", "in"), ("host", "cali01", "out"), ("pod", "eth0", "in"))] == [3, 3, 3]
    assert armed["armed"]


# ---------------------------------------------------------------------------- a trace through the rules of a node

DROPPED = "table inet lab {\n chain f {\n  type filter hook forward priority 0\n  tcp dport 8080 drop\n }\n}\n"
FLOWS = [{"src": "10.244.0.2", "dst": "10.244.1.2"}, {"src": "10.244.0.2", "dst": "10.244.1.2", "protocol": "tcp", "port": 8080}]


def tables(node: t.Any) -> str:
    return str(node.run("nft", "list", "tables").stdout)


def test_the_rule_that_ends_packets_is_traced(run: t.Any, network: support.Network) -> None:
    there = network.nodes[1]
    assert there.run("nft", "-f", "-", input=DROPPED).returncode == 0
    before = tables(there)
    probe = Probe(run, network)
    armed = probe.arm(pods=[{"ifname": "cali01"}], trace=FLOWS)
    assert armed["armed"] and f"podnet_doctor_trace_{probe.id[:16]}" in tables(there)
    probe.fire(port=8080)
    traced = probe.collect()["trace"]
    assert tables(there) == before
    met = [(one["protocol"], one["kind"], one["chain"], one["verdict"], one.get("rule"), one["packets"]) for one in traced["rules"]]
    assert ("tcp", "request", "f", "drop", "tcp dport 8080 drop", 3) in met
    assert ("icmp", "reply", "f", "accept", None, 3) in met and "reason" not in traced


def test_without_being_asked_no_rule_is_made(run: t.Any, network: support.Network) -> None:
    probe = Probe(run, network)
    assert probe.arm()["armed"] and tables(network.nodes[1]) == ""
    assert "trace" not in probe.collect()


def test_in_check_mode_no_rule_is_made(run: t.Any, network: support.Network) -> None:
    identifier, node = os.urandom(16).hex(), network.nodes[1]
    assert run(path_probe, {"phase": "arm", "id": identifier, "trace": FLOWS, "limit": 20}, node, check=True)["armed"] and tables(node) == ""
    assert run(path_probe, {"phase": "collect", "id": identifier}, node)["trace"] == {"rules": [], "reason": "no rule is made in check mode"}


def capturing(node: t.Any) -> int | None:
    """The process that captures in the namespace of a node."""
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text() == "podnet-capture\n" and os.stat(comm.parent / "ns/net").st_ino == os.stat(node.path).st_ino:
                return int(comm.parent.name)
        except OSError:  # it has ended
            continue
    return None


@pytest.mark.parametrize("stage", ["armed", "fired", "by itself"])
def test_the_table_goes_with_its_process(run: t.Any, network: support.Network, stage: str) -> None:
    """Killed without a chance to clean up, at every stage, and where nobody ever collects."""
    node, probe = network.nodes[1], Probe(run, network)
    assert probe.arm(trace=FLOWS, limit=1 if stage == "by itself" else 20)["armed"] and probe.id[:16] in tables(node)
    if stage == "fired":
        probe.fire(port=8080)
    if stage != "by itself":
        process = capturing(node)
        assert process is not None
        os.kill(process, signal.SIGKILL)
    end = time.monotonic() + 20
    while tables(node):
        assert time.monotonic() < end, tables(node)
        time.sleep(0.02)


def test_the_router_between_the_nodes_is_asked_for_too(run: t.Any, network: support.Network) -> None:
    """Another node behind a router is nobody's neighbour; a pod's gateway is asked for in the pod, whatever this node would do with it."""
    probe = Probe(run, network)
    armed = probe.arm(next_hops=["169.254.1.1", "10.244.1.2", "192.0.2.11", "198.51.100.7", "nobody"])
    assert armed["next_hops"] == ["169.254.1.1", "10.244.1.2", "192.0.2.11", "198.51.100.7", "192.0.2.254"]
    network.nodes[1].ip("neigh flush dev eth0")
    run(path_probe, {"phase": "fire", "id": probe.id, "dst": "198.51.100.7", "wait": 0.3}, network.nodes[1])
    arp = [(one["ifname"], one["kind"], [number for number, _at in one["numbers"]]) for one in probe.collect()["seen"] if one["train"] == "arp"]
    assert arp == [("eth0", "request", [4])]
