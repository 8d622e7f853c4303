# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _capture, _icmp, _marks, _probe
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


class Shot(t.NamedTuple):
    """One probe: what was fired and what was seen, by place and protocol."""

    fired: dict[str, dict[str, t.Any]]
    seen: dict[tuple[str, str, str], dict[str, t.Any]]


def shoot(network: support.Network, port: int = 8080, wait: float = 0.5) -> Shot:
    probe = os.urandom(16).hex()
    marks = _marks.of(probe, 3)
    deadline = Deadline(20)
    far = network.nodes[1].path
    places = [_capture.Place("host", None, "cali01"), _capture.Place("pod", network.pods[1].path)]
    assert inside(far, lambda: _capture.arm(probe, places, marks, 20), deadline) is None

    def fire() -> list[dict[str, t.Any]]:
        return [_probe.icmp("10.244.1.2", None, marks, wait), _probe.tcp("10.244.1.2", port, None, marks, wait)]

    fired = inside(network.pods[0].path, fire, deadline)
    found = inside(far, lambda: _capture.collect(probe, 5), deadline)
    assert not os.path.exists(f"/proc/{found['pid']}")
    with pytest.raises(ConnectionRefusedError):
        inside(far, lambda: _capture.collect(probe, 5), deadline)
    return Shot({one["protocol"]: one for one in fired}, {(one["where"], one["ifname"], one["protocol"]): one for one in found["seen"]})


def test_healthy_path(network: support.Network) -> None:
    network.serve(network.pods[1], 8080)
    shot = shoot(network)
    for protocol in ("icmp", "tcp"):
        assert (shot.fired[protocol]["sent"], shot.fired[protocol]["replied"], shot.fired[protocol]["errors"]) == (3, 3, [])
        assert 0 < shot.fired[protocol]["rtt"]["min"] < 1
        for where, ifname in (("pod", "eth0"), ("host", "cali01")):
            seen = shot.seen[(where, ifname, protocol)]
            assert (seen["requests"], seen["replies"], seen["resets"]) == (3, 3, 0)
    assert shot.seen[("pod", "eth0", "icmp")]["packets"][0]["source"] == "10.244.0.2"
    assert shot.seen[("pod", "eth0", "icmp")]["packets"][0]["ttl"] == 62


def test_refused_port_has_arrived(network: support.Network) -> None:
    shot = shoot(network, 81)
    assert (shot.fired["tcp"]["replied"], shot.fired["tcp"]["refused"], shot.fired["tcp"]["error"]) == (0, 3, "Connection refused")
    assert (shot.seen[("pod", "eth0", "tcp")]["requests"], shot.seen[("pod", "eth0", "tcp")]["resets"]) == (3, 3)


def test_broken_path(network: support.Network) -> None:
    """The last hop is lost: seen nowhere, and the source hears why."""
    network.nodes[1].ip("route add unreachable 10.244.1.2/32 metric 0 table 77")
    network.nodes[1].ip("rule add to 10.244.1.2 lookup 77 pref 10")
    shot = shoot(network)
    assert shot.fired["icmp"]["replied"] == 0 and shot.fired["icmp"]["error"] == "host unreachable"
    assert shot.fired["tcp"]["replied"] == 0 and shot.fired["tcp"]["error"]
    assert all(seen["requests"] == 0 for seen in shot.seen.values()) and ("host", "cali01", "icmp") in shot.seen


def test_answer_lost(network: support.Network) -> None:
    """Only the way back is broken: arrived, though nothing was answered."""
    network.serve(network.pods[1], 8080)
    network.nodes[1].ip("route del 10.244.0.0/26")
    network.nodes[1].ip("route add blackhole 10.244.0.0/26")
    shot = shoot(network)
    assert shot.fired["icmp"]["replied"] == 0 and "no answer within 0.5 s" in shot.fired["tcp"]["errors"]
    assert shot.seen[("pod", "eth0", "icmp")]["requests"] == 3 and shot.seen[("pod", "eth0", "tcp")]["requests"] == 3


def test_source_without_route(network: support.Network) -> None:
    network.pods[0].ip("route del default")
    shot = shoot(network)
    assert (shot.fired["icmp"]["sent"], shot.fired["icmp"]["error"]) == (0, "Network is unreachable")


def test_capture_ends_by_itself(network: support.Network) -> None:
    node, place, deadline = network.nodes[1].path, [_capture.Place("pod", network.pods[1].path)], Deadline(20)

    def listens(probe: str) -> bool:
        with open("/proc/thread-self/net/unix", encoding="utf-8", errors="replace") as sockets:
            return any(probe in line for line in sockets)

    long, short = os.urandom(16).hex(), os.urandom(16).hex()
    assert inside(node, lambda: _capture.arm(long, place, _marks.of(long, 1), 20), deadline) is None
    assert inside(node, lambda: _capture.arm(long, place, _marks.of(long, 1), 20), deadline) == "Address already in use"
    assert inside(node, lambda: listens(long), deadline)
    inside(node, lambda: _capture.collect(long, 5), deadline)
    assert inside(node, lambda: _capture.arm(short, place, _marks.of(short, 1), 0.2), deadline) is None
    while inside(node, lambda: listens(short), deadline):  # the deadline ends it
        time.sleep(0.02)
    with pytest.raises(ConnectionRefusedError):
        inside(node, lambda: _capture.collect(short, 1), deadline)


def test_capture_that_cannot_listen(network: support.Network) -> None:
    probe = os.urandom(16).hex()
    refused = inside(network.nodes[1].path, lambda: _capture.arm(probe, [_capture.Place("host", None, "gone0")], _marks.of(probe, 1), 5), Deadline(5))
    assert refused is not None and refused.startswith("gone0: ")


def test_others_see_nothing_of_a_probe(network: support.Network) -> None:
    """The filter in the kernel lets only the probe's own packets through."""
    probe, other = os.urandom(16).hex(), os.urandom(16).hex()
    deadline = Deadline(20)
    far = network.nodes[1].path
    assert inside(far, lambda: _capture.arm(probe, [_capture.Place("pod", network.pods[1].path)], _marks.of(probe, 3), 10), deadline) is None
    inside(network.pods[0].path, lambda: _probe.icmp("10.244.1.2", None, _marks.of(other, 3), 0.2), deadline)
    found = inside(far, lambda: _capture.collect(probe, 5), deadline)
    assert all(seen["requests"] == 0 for seen in found["seen"])


@pytest.mark.parametrize(
    ("probe", "count"), [("", 3), ("XYZ", 3), ("0123456789abcde", 3), ("0123456789ABCDEF", 3), ("0123456789abcdef", 0), ("0123456789abcdef", 33)]
)
def test_bad_marks(probe: str, count: int) -> None:
    with pytest.raises(ValueError):
        _marks.of(probe, count)


@given(st.binary(min_size=8, max_size=32))
def test_property_marks(data: bytes) -> None:
    marks = _marks.of(data.hex(), 32)
    assert 0 < marks.identifier < 65536 and marks.ports[0] > 1024 and marks.ports[-1] < 65536
    assert marks == _marks.of(data.hex(), 32)


MARKS = _marks.of("0123456789abcdef", 3)
ECHO = _icmp.echo(4, MARKS.identifier, 1, MARKS.payload + b"x")
IP4 = bytes([0x45, 0, 0, 60, 0, 0, 0, 0, 62, 1, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2])
ERROR = IP4 + bytes([3, 13, 0, 0, 0, 0, 0, 0]) + IP4 + ECHO


def test_decode() -> None:
    seen = _capture.decode(IP4 + ECHO, MARKS)
    assert seen == _capture.Seen("icmp", "request", 1, "10.0.0.1", "10.0.0.2", 62)
    assert _capture.decode(IP4 + _icmp.echo(4, MARKS.identifier, 1, b"other"), MARKS) is None
    error = _capture.decode(ERROR, MARKS)
    assert error is not None and error.kind == "error"
    message = _icmp.decode(4, ERROR[20:])
    assert message is not None and message.text == "administratively prohibited"


@given(
    st.binary(max_size=120)
    | st.tuples(st.sampled_from([IP4 + ECHO, ERROR]), st.integers(0, 90), st.integers(0, 255)).map(
        lambda given: given[0][: given[1]] + bytes([given[2]]) + given[0][given[1] + 1 :]
    )
)
def test_property_any_packet(data: bytes) -> None:
    _capture.decode(data, MARKS)
    for version in (4, 6):
        _icmp.decode(version, data)
        _icmp.without_ip_header(version, data)
