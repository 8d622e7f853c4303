# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _capture, _capture_filter, _icmp, _marks, _packets, _probe
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.tests.unit.plugins import support


@pytest.fixture
def network(namespaces: t.Any) -> t.Iterator[support.Network]:
    made = support.Network(namespaces)
    try:
        yield made
    finally:
        made.close()


VXLAN_PORTS = (4789, 8472)
Place = tuple[str, str, str]  # where, ifname, way


class Shot(t.NamedTuple):
    """One probe: what was fired, and how many packets of each kind were seen, by place, train and kind."""

    fired: dict[str, dict[str, t.Any]]
    seen: dict[tuple[str, str, str, str, str], dict[str, t.Any]]

    def count(self, place: Place, train: str, kind: str = "request") -> int:
        return len(self.seen.get((*place, train, kind), {"numbers": ()})["numbers"])


IN_POD, OUT_OF_POD, TO_POD = ("pod", "eth0", "in"), ("pod", "eth0", "out"), ("host", "cali01", "out")


def order(probe: str, network: support.Network, count: int = 3, limit: float = 20) -> _capture.Order:
    places = [_capture.Place("pod", network.pods[1].path, 0), _capture.Place("host")]
    return _capture.Order(probe, places, _marks.of(probe, count), VXLAN_PORTS, limit)


def shoot(network: support.Network, port: int = 8080, wait: float = 0.5, flow: int = 0) -> Shot:
    probe = os.urandom(16).hex()
    marks = _marks.of(probe, 3)
    deadline = Deadline(20)
    far = network.nodes[1].path
    assert inside(far, lambda: _capture.arm(order(probe, network)), deadline) is None

    def fire() -> list[dict[str, t.Any]]:
        return [_probe.icmp("10.244.1.2", None, marks, wait, flow), _probe.tcp("10.244.1.2", port, None, marks, wait, flow)]

    fired = inside(network.pods[0].path, fire, deadline)
    found = inside(far, lambda: _capture.collect(probe, 5), deadline)
    assert not os.path.exists(f"/proc/{found['pid']}")
    with pytest.raises(ConnectionRefusedError):
        inside(far, lambda: _capture.collect(probe, 5), deadline)
    assert {one["flow"] for one in found["seen"]} <= {flow}
    names = ("where", "ifname", "way", "train", "kind")
    return Shot({one["protocol"]: one for one in fired}, {(*(one[name] for name in names),): one for one in found["seen"]})


@pytest.mark.parametrize("flow", [0, 7])
def test_healthy_path(network: support.Network, flow: int) -> None:
    network.serve(network.pods[1], 8080)
    shot = shoot(network, flow=flow)
    for train in ("icmp", "tcp"):
        assert (shot.fired[train]["sent"], shot.fired[train]["replied"], shot.fired[train]["errors"]) == (3, 3, [])
        assert 0 < shot.fired[train]["rtt"]["min"] < 1
        for place, back in ((("host", "eth0", "in"), ("host", "eth0", "out")), (TO_POD, ("host", "cali01", "in")), (IN_POD, OUT_OF_POD)):
            assert (shot.count(place, train), shot.count(back, train, "reply"), shot.count(back, train)) == (3, 3, 0)
    seen = shot.seen[(*IN_POD, "icmp", "request")]
    assert (seen["sources"], seen["destinations"], seen["ttl"], seen["repeated"], seen["encapsulation"]) == (["10.244.0.2"], ["10.244.1.2"], 62, 0, None)
    assert [number for number, _seconds in seen["numbers"]] == [0, 1, 2]


def test_refused_port_has_arrived(network: support.Network) -> None:
    shot = shoot(network, 81)
    assert (shot.fired["tcp"]["replied"], shot.fired["tcp"]["refused"], shot.fired["tcp"]["error"]) == (0, 3, "Connection refused")
    assert (shot.count(IN_POD, "tcp"), shot.count(OUT_OF_POD, "tcp", "reset")) == (3, 3)


def test_broken_path(network: support.Network) -> None:
    """The last hop is lost: seen on the wire and not behind it, and who says so."""
    network.nodes[1].ip("route add unreachable 10.244.1.2/32 metric 0 table 77")
    network.nodes[1].ip("rule add to 10.244.1.2 lookup 77 pref 10")
    shot = shoot(network)
    assert shot.fired["icmp"]["replied"] == 0 and shot.fired["icmp"]["error"] == "host unreachable"
    assert shot.fired["tcp"]["replied"] == 0 and shot.fired["tcp"]["error"]
    for train in ("icmp", "tcp"):
        assert (shot.count(("host", "eth0", "in"), train), shot.count(TO_POD, train), shot.count(IN_POD, train)) == (3, 0, 0)
    said = shot.seen[("host", "eth0", "out", "icmp", "error")]
    assert (said["texts"], said["sources"], said["destinations"]) == (["host unreachable"], ["192.0.2.12"], ["10.244.0.2"])


def test_answer_lost(network: support.Network) -> None:
    """Only the way back is broken: arrived, though nothing was answered."""
    network.serve(network.pods[1], 8080)
    network.nodes[1].ip("route del 10.244.0.0/26")
    network.nodes[1].ip("route add blackhole 10.244.0.0/26")
    shot = shoot(network)
    assert shot.fired["icmp"]["replied"] == 0 and "no answer within 0.5 s" in shot.fired["tcp"]["errors"]
    for train in ("icmp", "tcp"):
        assert (shot.count(IN_POD, train), shot.count(OUT_OF_POD, train, "reply"), shot.count(("host", "cali01", "in"), train, "reply")) == (3, 3, 3)
        assert shot.count(("host", "eth0", "out"), train, "reply") == 0


@pytest.mark.parametrize("device", ["vxlan", "ipip"])
def test_inside_of_a_tunnel(network: support.Network, device: str) -> None:
    """On the wire the packets are recognized inside of those that carry them."""
    for number, node in enumerate(network.nodes):
        there = f"192.0.2.1{2 - number}"
        if device == "vxlan":
            node.ip(f"link add vxlan.calico type vxlan id 4096 dstport 4789 local 192.0.2.1{number + 1} remote {there} nolearning")
        elif not node.offer(f"link add vxlan.calico type ipip local 192.0.2.1{number + 1} remote {there}"):
            pytest.skip("this kernel has no ipip")
        node.ip(f"addr add 198.51.100.{number + 1}/24 dev vxlan.calico")
        node.ip("link set vxlan.calico up")
        node.ip(f"route replace 10.244.{1 - number}.0/26 via 198.51.100.{2 - number} dev vxlan.calico proto bird onlink")
    network.serve(network.pods[1], 8080)
    shot = shoot(network)
    for train in ("icmp", "tcp"):
        on_wire, inner = shot.seen[("host", "eth0", "in", train, "request")], shot.seen[("host", "vxlan.calico", "in", train, "request")]
        assert (on_wire["encapsulation"], len(on_wire["numbers"]), on_wire["sources"]) == (device, 3, ["10.244.0.2"])
        assert (inner["encapsulation"], len(inner["numbers"])) == (None, 3)
        assert shot.count(("host", "eth0", "out"), train, "reply") == 3


def in_pod(network: support.Network, work: t.Callable[[], t.Any]) -> t.Any:
    return inside(network.pods[0].path, work, Deadline(20))


def test_full_size_fits(network: support.Network) -> None:
    result = in_pod(network, lambda: _probe.full_size("10.244.1.2", None, _marks.of("0" * 32, 3), 0.5))
    assert (result["protocol"], result["size"], result["sent"], result["replied"]) == ("icmp", 1500, 3, 3)


def test_full_size_shrinks_where_somebody_says_so(network: support.Network) -> None:
    for node in network.nodes:
        node.ip("link set eth0 mtu 1400")
    result = in_pod(network, lambda: _probe.full_size("10.244.1.2", None, _marks.of("0" * 32, 3), 0.5))
    assert (result["size"], result["replied"]) == (1400, 3)


def test_full_size_that_nobody_speaks_of(network: support.Network) -> None:
    """The far NIC is narrower than the near one: it throws away what is too large."""
    network.nodes[1].ip("link set eth0 mtu 1400")
    result = in_pod(network, lambda: _probe.full_size("10.244.1.2", None, _marks.of("0" * 32, 3), 0.3))
    assert (result["size"], result["sent"], result["replied"], result["errors"]) == (1500, 3, 0, [])
    assert in_pod(network, lambda: _probe.icmp("10.244.1.2", None, _marks.of("1" * 32, 3), 0.5))["replied"] == 3


@pytest.mark.parametrize("port", [53, 5000])
def test_udp(network: support.Network, port: int) -> None:
    refused = in_pod(network, lambda: _probe.udp("10.244.1.2", port, None, _marks.of("0" * 32, 3), 2))
    assert refused["sent"] == 3 and refused["replied"] == 0 and refused["refused"] >= 1  # the kernel limits how often it says so
    program = f"import socket\ns=socket.socket(2,2)\ns.bind(('',{port}))\nprint('up',flush=True)\nwhile True: s.sendto(*s.recvfrom(999))"
    network.run(network.pods[1], program)
    probe = os.urandom(16).hex()
    far = network.nodes[1].path
    assert inside(far, lambda: _capture.arm(order(probe, network)), Deadline(20)) is None
    result = in_pod(network, lambda: _probe.udp("10.244.1.2", port, None, _marks.of(probe, 3), 2, 5))
    found = inside(far, lambda: _capture.collect(probe, 5), Deadline(20))
    assert (result["sent"], result["replied"], result["port"]) == (3, 3, port)
    counts = {(one["ifname"], one["way"], one["kind"], one["flow"]): len(one["numbers"]) for one in found["seen"] if one["where"] == "pod"}
    assert counts == {("eth0", "in", "request", 5): 3, ("eth0", "out", "reply", 5): 3}


def test_source_without_route(network: support.Network) -> None:
    network.pods[0].ip("route del default")
    shot = shoot(network)
    assert (shot.fired["icmp"]["sent"], shot.fired["icmp"]["error"]) == (0, "Network is unreachable")


def test_capture_ends_by_itself(network: support.Network) -> None:
    node, deadline = network.nodes[1].path, Deadline(20)

    def listens(probe: str) -> bool:
        with open("/proc/thread-self/net/unix", encoding="utf-8", errors="replace") as sockets:
            return any(probe in line for line in sockets)

    long, short = os.urandom(16).hex(), os.urandom(16).hex()
    assert inside(node, lambda: _capture.arm(order(long, network)), deadline) is None
    assert inside(node, lambda: _capture.arm(order(long, network)), deadline) == "Address already in use"
    assert inside(node, lambda: listens(long), deadline)
    inside(node, lambda: _capture.collect(long, 5), deadline)
    assert inside(node, lambda: _capture.arm(order(short, network, limit=0.2)), deadline) is None
    while inside(node, lambda: listens(short), deadline):  # the deadline ends it
        time.sleep(0.02)
    with pytest.raises(ConnectionRefusedError):
        inside(node, lambda: _capture.collect(short, 1), deadline)


def test_capture_that_cannot_listen(network: support.Network) -> None:
    probe = os.urandom(16).hex()
    gone = order(probe, network)._replace(places=[_capture.Place("pod", "/proc/0/ns/net", 0)])
    refused = inside(network.nodes[1].path, lambda: _capture.arm(gone), Deadline(5))
    assert refused is not None and "No such file or directory" in refused


def test_others_see_nothing_of_a_probe(network: support.Network) -> None:
    """The filter in the kernel lets only the probe's own packets through."""
    probe = "0" * 32
    deadline = Deadline(20)
    far = network.nodes[1].path
    assert inside(far, lambda: _capture.arm(order(probe, network)), deadline) is None
    inside(network.pods[0].path, lambda: _probe.icmp("10.244.1.2", None, _marks.of("f" * 32, 3), 0.2), deadline)
    found = inside(far, lambda: _capture.collect(probe, 5), deadline)
    assert found["seen"] == []


@pytest.mark.parametrize(
    ("probe", "count"), [("", 3), ("XYZ", 3), ("0123456789abcde", 3), ("0123456789ABCDEF", 3), ("0123456789abcdef", 0), ("0123456789abcdef", 33)]
)
def test_bad_marks(probe: str, count: int) -> None:
    with pytest.raises(ValueError):
        _marks.of(probe, count)


@given(st.binary(min_size=8, max_size=32))
def test_property_marks(data: bytes) -> None:
    marks = _marks.of(data.hex(), 32)
    assert 0 < marks.identifier < 65536 - _marks.FLOWS and marks.ports[0] > 1024 and marks.ports[-1] < 65536
    assert marks == _marks.of(data.hex(), 32)
    for flow in range(_marks.FLOWS):
        assert marks.flow_of(marks.identifier_of(flow)) == flow
        assert [marks.place_of(port) for port in marks.ports_of(flow)] == [(flow, number) for number in range(32)]


MARKS = _marks.of("0123456789abcdef", 3)
ECHO = _icmp.echo(4, MARKS.identifier, 1, MARKS.payload + b"x")
FULL = _icmp.echo(4, MARKS.identifier_of(2), _marks.FULL_SIZE + 2, MARKS.payload + bytes(1400))
SEGMENT = MARKS.segment.to_bytes(2, "big")
SYN = bytes([*MARKS.ports[4].to_bytes(2, "big"), 31, 144, 0, 0, 0, 0, 0, 0, 0, 0, 0x60, 2, 0, 0, 0, 0, 0, 0, 2, 4, *SEGMENT])
SYN_ACK = bytes([31, 144, *MARKS.ports[4].to_bytes(2, "big"), 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0])


def ip4(inner: bytes, protocol: int, source: int = 1, destination: int = 2) -> bytes:
    length = (20 + len(inner)).to_bytes(2, "big")
    return bytes([0x45, 0, *length, 0, 0, 0x40, 0, 62, protocol, 0, 0, 10, 0, 0, source, 10, 0, 0, destination]) + inner


def ip6(inner: bytes, protocol: int) -> bytes:
    return bytes([0x60, 0, 0, 0, *len(inner).to_bytes(2, "big"), protocol, 61]) + bytes(15) + b"\x01" + bytes(15) + b"\x02" + inner


def vxlan(inner: bytes, port: int = 4789) -> bytes:
    return bytes([0xC0, 0, *port.to_bytes(2, "big"), 0, 0, 0, 0]) + bytes([8, 0, 0, 0, 0, 16, 0, 0]) + bytes(12) + b"\x08\x00" + inner


def error(about: bytes, kind: int = 3, code: int = 13) -> bytes:
    return bytes([kind, code, 0, 0, 0, 0, 0, 0]) + about[:128]


REQUEST = ip4(ECHO, 1)
PACKETS: dict[str, tuple[bytes, tuple[t.Any, ...]]] = {
    "an echo": (REQUEST, ("icmp", "request", 0, 1, "10.0.0.1", 62, None, "")),
    "an echo of full size": (ip4(FULL, 1), ("full", "request", 2, 2, "10.0.0.1", 62, None, "")),
    "a SYN": (ip4(SYN, 6), ("tcp", "request", 1, 1, "10.0.0.1", 62, None, "")),
    "its answer": (ip4(SYN_ACK, 6), ("tcp", "reply", 1, 1, "10.0.0.1", 62, None, "")),
    "in IPv6": (ip6(SYN, 6), ("tcp", "request", 1, 1, "::1", 61, None, "")),
    "in IPIP": (ip4(REQUEST, 4, 7, 8), ("icmp", "request", 0, 1, "10.0.0.1", 62, "ipip", "")),
    "in VXLAN": (ip4(vxlan(REQUEST), 17, 7, 8), ("icmp", "request", 0, 1, "10.0.0.1", 62, "vxlan", "")),
    "in VXLAN over IPv6": (ip6(vxlan(ip4(SYN, 6)), 17), ("tcp", "request", 1, 1, "10.0.0.1", 62, "vxlan", "")),
    "an error": (ip4(error(REQUEST), 1, 9, 1), ("icmp", "error", 0, 1, "10.0.0.9", 62, None, "administratively prohibited")),
    "an error about a SYN": (ip4(error(ip4(SYN, 6)), 1, 9, 1), ("tcp", "error", 1, 1, "10.0.0.9", 62, None, "administratively prohibited")),
    "an error in IPIP": (ip4(ip4(error(REQUEST), 1, 9, 1), 4), ("icmp", "error", 0, 1, "10.0.0.9", 62, "ipip", "administratively prohibited")),
    "an error about what carries it": (ip4(error(ip4(REQUEST, 4)), 1, 9), ("icmp", "error", 0, 1, "10.0.0.9", 62, None, "administratively prohibited")),
}
OTHERS: dict[str, bytes] = {
    "another payload": ip4(_icmp.echo(4, MARKS.identifier, 1, b"other"), 1),
    "another size of segments": ip4(SYN[:22] + b"\x05\xb4", 6),
    "a later fragment": REQUEST[:6] + b"\x20\x10" + REQUEST[8:],
    "another port than VXLAN's": ip4(vxlan(REQUEST, 4790), 17),
    "nothing": b"",
}


@pytest.mark.parametrize("what", PACKETS)
def test_decode(what: str) -> None:
    data, wanted = PACKETS[what]
    seen = _packets.decode(data, MARKS, VXLAN_PORTS)
    assert seen is not None
    assert (seen.train, seen.kind, seen.flow, seen.number, seen.source, seen.ttl, seen.encapsulation, seen.text) == wanted


@pytest.mark.parametrize("what", OTHERS)
def test_decode_of_others(what: str) -> None:
    assert _packets.decode(OTHERS[what], MARKS, VXLAN_PORTS) is None


def passes(data: bytes) -> bool:
    """Whether the kernel itself lets a packet through the filter."""
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with receiver, sender:
        _capture_filter.attach(receiver, _capture_filter.program(MARKS, VXLAN_PORTS))
        receiver.setblocking(False)
        try:
            sender.send(data)
            return receiver.recv(4096) == data[: _capture_filter.SNAP]
        except (BlockingIOError, PermissionError):
            return False


@pytest.mark.parametrize("what", PACKETS)
def test_the_filter_lets_through(what: str) -> None:
    assert passes(PACKETS[what][0])


@pytest.mark.parametrize("what", ["a later fragment", "another port than VXLAN's"])
def test_the_filter_keeps_away(what: str) -> None:
    assert not passes(OTHERS[what])


mutated = st.tuples(st.sampled_from([data for data, _seen in PACKETS.values()]), st.integers(0, 110), st.integers(0, 255)).map(
    lambda given: given[0][: given[1]] + bytes([given[2]]) + given[0][given[1] + 1 :]
)


@given(st.binary(max_size=120) | mutated)
def test_property_any_packet(data: bytes) -> None:
    _packets.decode(data, MARKS, VXLAN_PORTS)
    for version in (4, 6):
        _icmp.decode(version, data)
        _icmp.error_text(version, data)
        _icmp.without_ip_header(version, data)


@given(mutated)
def test_property_what_is_understood_passes_the_filter(data: bytes) -> None:
    if _packets.decode(data, MARKS, VXLAN_PORTS) is not None:
        assert passes(data)


def test_a_record_keeps_what_is_its_own() -> None:
    record = _capture.Record(_capture.Place("host"))
    request, reply = (_packets.decode(ip4(data, 6), MARKS, ()) for data in (SYN, SYN_ACK))
    assert request is not None and reply is not None
    record.add(reply, "eth0", "in", 0.5)
    assert record.result() == []  # an answer to a question that nobody has seen
    for seconds in (1.0, 2.0):
        record.add(request, "eth0", "out", seconds)
    record.add(reply, "eth0", "in", 2.5)
    asked, answered = record.result()
    assert (asked["kind"], asked["numbers"], asked["repeated"]) == ("request", [(1, 1.0)], 1)
    assert (answered["kind"], answered["numbers"]) == ("reply", [(1, 2.5)])


def test_icmp_that_is_too_big() -> None:
    message = _icmp.decode(4, error(REQUEST, 3, 4)[:6] + (1400).to_bytes(2, "big") + error(REQUEST)[8:])
    assert message is not None and message.text == "fragmentation needed, MTU 1400"
    assert _icmp.decode(4, error(REQUEST, 5, 1)) is None  # a redirect: what it is about was forwarded
