# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shutil
import socket
import struct
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _conntrack
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import attribute
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside

ONE, TWO, SERVICE = "10.1.1.1", "10.1.1.2", "10.9.9.9"


def _send(source: str, destination: str, port: int, listen: bool = False) -> int:
    """One UDP packet; the port that it came from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        if listen:
            receiver.bind((destination, port))
        sender.bind((source, 0))
        sender.sendto(b"x", (destination, port))
        if listen:
            receiver.settimeout(5)
            receiver.sendto(b"y", receiver.recvfrom(9)[1])
        return int(sender.getsockname()[1])


def test_the_kernel_entries_of_a_pair(namespaces: t.Any) -> None:
    if os.geteuid() != 0 or not shutil.which("iptables"):
        pytest.skip("needs root and iptables")
    space = namespaces()
    space.ip("link set lo up")
    for address in (ONE, TWO, "10.1.1.3"):
        space.ip(f"addr add {address}/32 dev lo")
    space.ip("route add default dev lo")
    space.run("iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
    space.run("iptables", "-t", "nat", "-A", "OUTPUT", "-d", SERVICE, "-p", "udp", "-j", "DNAT", "--to", f"{TWO}:53")

    def talk() -> tuple[int, int, dict[str, t.Any]]:
        answered = _send(ONE, TWO, 99, listen=True)
        translated = _send(ONE, SERVICE, 80)
        _send(ONE, "10.1.1.3", 7)
        return answered, translated, _conntrack.read(Deadline(10), _conntrack.pairs([{"src": ONE, "dst": TWO}, {"dst": TWO}]))

    answered, translated, found = inside(space.path, talk, Deadline(30))
    assert found["pairs"] == [[ONE, TWO], [TWO, ONE]] and found["left_out"] == 0
    entries = {(entry["dst"], entry["dport"]): entry for entry in found["entries"]}
    assert set(entries) == {(TWO, 99), (SERVICE, 80)}
    seen = entries[TWO, 99]
    assert (seen["protocol"], seen["src"], seen["sport"], seen["flags"]) == ("udp", ONE, answered, ["seen_reply"])
    assert seen["reply"] == {"src": TWO, "dst": ONE, "sport": 99, "dport": answered} and 0 < seen["timeout"] <= 30
    assert entries[SERVICE, 80]["flags"] == ["dst_nat"]
    assert entries[SERVICE, 80]["reply"] == {"src": TWO, "dst": ONE, "sport": 53, "dport": translated}


def test_each_pair_is_asked_in_both_directions_once() -> None:
    other = [{"src": ONE, "dst": "fd00::2"}, {"src": ONE, "dst": ONE}, {"dst": TWO}]
    flows = [{"src": "fd00::0:1", "dst": "fd00::2"}, {"src": "fd00::2", "dst": "fd00::1"}, *other]
    assert _conntrack.pairs(flows) == [("fd00::1", "fd00::2"), ("fd00::2", "fd00::1")]


def test_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_conntrack, "has_module", lambda name: False)
    with pytest.raises(OSError, match="nothing is loaded for it"):
        _conntrack.read(Deadline(1), [(ONE, TWO)])


def test_a_tcp_entry_is_decoded() -> None:
    def ends(source: bytes, destination: bytes, sport: int, dport: int) -> bytes:
        ports = attribute(1, b"\x06") + attribute(2, struct.pack("!H", sport)) + attribute(3, struct.pack("!H", dport))
        return attribute(1, attribute(1, source) + attribute(2, destination)) + attribute(2, ports)

    payload = (
        struct.pack("=BBH", 2, 0, 0)
        + attribute(_conntrack.TUPLE_ORIG, ends(b"\x0a\x01\x01\x01", b"\x0a\x01\x01\x02", 4000, 80))
        + attribute(_conntrack.TUPLE_REPLY, ends(b"\x0a\x01\x01\x02", b"\x0a\x01\x01\x01", 80, 4000))
        + attribute(_conntrack.STATUS, struct.pack("!I", 1 << 3 | 1 << 5))
        + attribute(_conntrack.PROTOINFO, attribute(1, attribute(1, b"\x01")))
        + attribute(_conntrack.TIMEOUT, struct.pack("!I", 99))
        + attribute(_conntrack.MARK, struct.pack("!I", 0))
        + attribute(_conntrack.COUNTERS_ORIG, attribute(1, struct.pack("!Q", 3)) + attribute(2, struct.pack("!Q", 180)))
    )
    assert _conntrack.decode(payload) == {
        "family": "inet", "protocol": "tcp", "src": ONE, "dst": TWO, "sport": 4000, "dport": 80, "flags": ["dst_nat"], "state": "SYN_SENT", "timeout": 99,
        "reply": {"src": TWO, "dst": ONE, "sport": 80, "dport": 4000}, "packets": 3, "bytes": 180,
    }  # fmt: skip


@given(st.binary(max_size=200))
def test_property_any_payload(data: bytes) -> None:
    entry = _conntrack.decode(data)
    assert entry is None or {"src", "dst", "protocol", "reply", "flags"} <= set(entry)
