# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ARP about the next hops of a way is seen by the same capture, and no other."""

from __future__ import annotations

import os
import socket
import time
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _capture, _marks, _packets, _probe
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.tests.unit.plugins import support

POD, NOBODY = "10.244.1.2", "10.244.1.99"


@pytest.fixture
def network(namespaces: t.Any) -> t.Iterator[support.Network]:
    made = support.Network(namespaces)
    try:
        yield made
    finally:
        made.close()


def test_questions_and_answers_are_told_by_the_address(network: support.Network) -> None:
    probe = os.urandom(16).hex()
    marks, far = _marks.of(probe, 3), network.nodes[1]
    far.ip(f"route add {NOBODY}/32 dev cali01")
    far.ip("neigh flush dev cali01")
    order = _capture.Order(probe, [_capture.Place("host")], marks, (4789,), 20, next_hops=["203.0.113.1", POD, NOBODY])
    assert inside(far.path, lambda: _capture.arm(order), Deadline(20)) is None
    for address in (POD, NOBODY):
        inside(far.path, lambda address=address: _probe.icmp(address, None, marks, 0.3), Deadline(20))  # type: ignore[misc]
    seen = inside(far.path, lambda: _capture.collect(probe, 5), Deadline(20))["seen"]
    arp = {(one["kind"], one["way"], number) for one in seen if one["train"] == "arp" and one["ifname"] == "cali01" for number, _at in one["numbers"]}
    assert {("request", "out", 1), ("request", "out", 2), ("reply", "in", 1)} <= arp
    assert not [one for one in arp if one[0] == "reply" and one[2] != 1]


def packet(operation: int, sender: str, target: str) -> bytes:
    ends = (socket.inet_aton(sender), socket.inet_aton(target))
    return bytes([0, 1, 8, 0, 6, 4]) + operation.to_bytes(2, "big") + bytes(6) + ends[0] + bytes(6) + ends[1]


@pytest.mark.parametrize(
    ("data", "kind", "number"),
    [
        (packet(1, "10.0.0.9", "10.0.0.2"), "request", 1),
        (packet(2, "10.0.0.1", "10.0.0.9"), "reply", 0),
        (packet(1, "10.0.0.1", "10.0.0.9"), None, 0),  # one of them asks for somebody else
        (packet(1, "10.0.0.2", "10.0.0.2"), None, 0),  # an announcement
        (packet(3, "10.0.0.1", "10.0.0.2"), None, 0),
        (packet(1, "10.0.0.9", "10.0.0.2")[:27], None, 0),
    ],
)
def test_a_packet(data: bytes, kind: str | None, number: int) -> None:
    seen = _packets.decode_arp(data, ["10.0.0.1", "10.0.0.2"])
    assert (None if seen is None else (seen.kind, seen.number)) == (None if kind is None else (kind, number))


@given(st.binary(max_size=40))
def test_property_any_bytes_are_a_packet_or_none(data: bytes) -> None:
    seen = _packets.decode_arp(data, ["0.0.0.0"])
    assert seen is None or (seen.train, seen.number) == ("arp", 0)


def discovery(kind: int, source: str, target: str, protocol: int = 58) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:2")
    return bytes([0x60, 0, 0, 0, 0, 24, protocol, 255]) + ends + bytes([kind, 0, 0, 0]) + bytes(4) + socket.inet_pton(socket.AF_INET6, target)


@pytest.mark.parametrize(
    ("data", "kind", "number"),
    [
        (discovery(135, "fd00::9", "fd00::2"), "request", 1),
        (discovery(136, "fd00::1", "fd00::1"), "reply", 0),
        (discovery(135, "fd00::9", "fd00::3"), None, 0),
        (discovery(135, "::", "fd00::2"), None, 0),  # who looks whether the address is free
        (discovery(133, "fd00::9", "fd00::2"), None, 0),
        (discovery(135, "fd00::9", "fd00::2", 17), None, 0),
        (discovery(135, "fd00::9", "fd00::2")[:60], None, 0),
    ],
)
def test_a_packet_of_ipv6(data: bytes, kind: str | None, number: int) -> None:
    seen = _packets.decode_neighbour(data, ["fd00::1", "fd00::2"])
    assert (None if seen is None else (seen.train, seen.kind, seen.number)) == (None if kind is None else ("ndp", kind, number))


@given(st.binary(max_size=80))
def test_property_any_bytes_of_ipv6_are_a_packet_or_none(data: bytes) -> None:
    seen = _packets.decode_neighbour(b"\x60" + data, ["::", "::1"])
    assert seen is None or (seen.train, seen.number in (0, 1)) == ("ndp", True)


NEIGHBOUR, ABSENT = "fd00:9::2", "fd00:9::99"


def test_neighbour_solicitations_and_their_answers(network: support.Network) -> None:
    """Between the nodes, and behind a full list of other addresses: the filter finds each."""
    probe, (one, two) = os.urandom(16).hex(), network.nodes
    marks = _marks.of(probe, 3)
    for number, node in enumerate(network.nodes, 1):
        node.ip(f"addr add fd00:9::{number}/64 dev eth0 nodad")
    end = time.monotonic() + 20
    while one.ip("-6 addr show tentative") or two.ip("-6 addr show tentative"):
        assert time.monotonic() < end, "duplicate address detection does not end"
        time.sleep(0.05)
    one.ip("-6 neigh flush dev eth0")
    others = [f"192.0.2.{number}" for number in range(7)] + [f"fd00:8::{number:x}" for number in range(7)]
    order = _capture.Order(probe, [_capture.Place("host")], marks, (4789,), 20, next_hops=[*others, NEIGHBOUR, ABSENT])
    assert inside(one.path, lambda: _capture.arm(order), Deadline(20)) is None
    for address in (NEIGHBOUR, ABSENT):
        inside(one.path, lambda address=address: _probe.icmp(address, None, marks, 0.3), Deadline(20))  # type: ignore[misc]
    seen = inside(one.path, lambda: _capture.collect(probe, 5), Deadline(20))["seen"]
    mine = [entry for entry in seen if entry["train"] == "ndp" and entry["ifname"] == "eth0"]
    asked = {(entry["kind"], entry["way"], number) for entry in mine for number, _at in entry["numbers"]}
    assert {("request", "out", 14), ("request", "out", 15), ("reply", "in", 14)} <= asked
    assert not [entry for entry in asked if entry[0] == "reply" and entry[2] == 15]
