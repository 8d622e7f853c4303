# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import struct
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _half_open, _reachability
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: raw sockets")


def knock(space: t.Any, address: str, port: int = 179, timeout: float = 2.0) -> dict[str, t.Any]:
    return inside(space.path, lambda: _reachability.tcp(address, port, None, timeout), Deadline(20))


def listen(address: str) -> socket.socket:
    """A socket that accepts nothing, so that a completed connection would stay in its queue."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.bind((address, 179))
    made.listen(4)
    made.setblocking(False)
    return made


@needs_root
def test_a_listener_answers_and_never_gets_a_connection(namespaces: t.Any) -> None:
    space = namespaces()
    for address in ("127.0.0.1", "::1"):
        with inside(space.path, lambda one=address: listen(one), Deadline(10)) as made:
            for _turn in range(3):
                assert knock(space, address) == {"outcome": "answered"}
            with pytest.raises(BlockingIOError):
                made.accept()
            left = space.run("ss", "-Htan", "sport", "=", ":179").stdout.splitlines()
            assert [line.split()[0] for line in left] == ["LISTEN"]  # neither half open nor established
            assert knock(space, address, 180) == {"outcome": "refused"}


@needs_root
def test_dropped_without_a_word(namespaces: t.Any) -> None:
    near, far = namespaces(), namespaces()
    near.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", far.name)
    for space, number in ((near, 1), (far, 2)):
        space.ip("link set eth0 up")
        space.ip(f"addr add 192.0.2.{number}/24 dev eth0")
    far.ip("route add blackhole 192.0.2.1/32")
    assert knock(near, "192.0.2.2", timeout=0.7) == {"outcome": "timeout"}
    assert knock(near, "198.51.100.1", timeout=0.7)["outcome"] == "unreachable"  # no route: the kernel refuses to send


def flags(sport: int, dport: int, acknowledged: int, bits: int) -> bytes:
    return _half_open.TCP_HEADER.pack(sport, dport, 7, acknowledged, 5 << 4, bits, 0, 0, 0)


IP = b"\x45" + bytes(19)
ASKED = (4, 40000, 179, 1000)


@pytest.mark.parametrize(
    ("packet", "outcome"),
    [
        (IP + flags(179, 40000, 1001, 0x12), "answered"),
        (IP + flags(179, 40000, 1001, 0x14), "refused"),
        (b"\x46" + bytes(23) + flags(179, 40000, 1001, 0x12), "answered"),  # IP options
        (IP + flags(179, 40000, 1001, 0x10), None),
        (IP + flags(179, 40000, 1001, 0x02), None),
        (IP + flags(179, 40000, 1002, 0x12), None),  # of another SYN
        (IP + flags(179, 40001, 1001, 0x12), None),
        (IP + flags(180, 40000, 1001, 0x12), None),
        (IP, None),
        (b"", None),
    ],
)
def test_only_the_answer_to_this_syn_counts(packet: bytes, outcome: str | None) -> None:
    assert _half_open.answer(packet, *ASKED) == outcome


def test_sequence_numbers_turn_over() -> None:
    assert _half_open.answer(flags(179, 40000, 0, 0x12), 6, 40000, 179, 0xFFFFFFFF) == "answered"


@given(st.binary(max_size=80), st.sampled_from([4, 6]))
def test_property_any_packet_is_read(packet: bytes, version: int) -> None:
    assert _half_open.answer(packet, version, 40000, 179, 1000) in (None, "answered", "refused")


@given(st.binary(max_size=60))
def test_property_a_checksum_checks(data: bytes) -> None:
    padded = data + b"\0" * (len(data) % 2)
    assert _half_open.checksum(padded + struct.pack("!H", _half_open.checksum(data))) == 0


def test_a_syn_and_nothing_else() -> None:
    made = _half_open.segment("192.0.2.1", "192.0.2.2", 40000, 179, 1000)
    sport, dport, sequence, acknowledged, offset, bits, *_rest = _half_open.TCP_HEADER.unpack_from(made)
    assert (sport, dport, sequence, acknowledged, offset >> 4, bits) == (40000, 179, 1000, 0, len(made) // 4, _half_open.SYN)
    pseudo = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + struct.pack("!BBH", 0, 6, len(made))
    assert _half_open.checksum(pseudo + made) == 0
