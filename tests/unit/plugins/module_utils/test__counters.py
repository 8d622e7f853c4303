# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import socket
import typing as t

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _counters

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:238B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   2: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   3: 0100007F:00B3 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
"""
TCP6 = "head\n   0: 00000000000000000000000001000000:00B3 0:0 0A 0 0\n"


def test_sockets() -> None:
    assert _counters.sockets(TCP, "inet") == [
        {"family": "inet", "address": "127.0.0.1", "port": 9099, "protocol": "tcp"},
        {"family": "inet", "address": "0.0.0.0", "port": 179, "protocol": "tcp"},
    ]
    assert _counters.sockets(TCP6, "inet6") == [{"family": "inet6", "address": "::1", "port": 179, "protocol": "tcp"}]


def test_pairs() -> None:
    text = "Ip: Forwarding DefaultTTL\nIp: 1 64\nIcmp: InMsgs\nIcmp: x\nOdd: A B\nOdd: 1\n"
    assert _counters.pairs(text) == {"Ip": {"Forwarding": 1, "DefaultTTL": 64}}
    assert _counters.pairs(text, ("Icmp",)) == {}


def test_read() -> None:
    found = _counters.read()
    assert "Forwarding" in found["snmp"]["Ip"] and "InOctets" in found["netstat"]["IpExt"]
    assert isinstance(_counters.listeners(), list)


def test_udp_sockets_that_take_from_anybody() -> None:
    text = "head\n 1: 00000000:0035 00000000:0000 07 0\n 2: 0100007F:9C40 0100007F:0035 01 0\n"
    assert _counters.sockets(text, "inet", None, "udp") == [{"family": "inet", "address": "0.0.0.0", "port": 53, "protocol": "udp"}]


def test_all_that_is_served_here() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        found = {(one["protocol"], one["port"]) for one in _counters.served()}
        assert ("tcp", tcp.getsockname()[1]) in found or len(found) == _counters.MOST_SERVED


@given(st.text() | st.lists(st.sampled_from(["Ip:", " 1", " a", "\n", "0100007F:238B", " 0A ", "x: "])).map("".join))
def test_property_any_text(text: str) -> None:
    _counters.pairs(text)
    _counters.sockets(text, "inet")
    _counters.sockets(text, "inet6", None, "udp")


def test_recorded(captures: t.Callable[..., t.Any]) -> None:
    folder = captures("bgp-noencap-healthy")
    for path in folder.glob("bgp-noencap-healthy/nodes/*/proc-net-snmp.txt"):
        assert _counters.pairs(path.read_text())["Ip"]["Forwarding"] == 1


def test_wrong_checksums_are_counted_from_the_beginning_on(monkeypatch, tmp_path) -> None:
    def write(tcp: int) -> None:
        (tmp_path / "snmp").write_text(f"Tcp: InErrs InCsumErrors\nTcp: 9 {tcp}\nUdp: InErrors InCsumErrors\nUdp: 1 4\n")

    monkeypatch.setattr(_counters, "NET", str(tmp_path))
    write(20)
    errors = _counters.ChecksumErrors()
    write(23)
    assert errors.since() == {"tcp": 3, "udp": 0}


def test_wrong_checksums_of_the_real_kernel() -> None:
    assert set(_counters.ChecksumErrors().since()) == {"tcp", "udp"}


def test_losses_of_all_cpus_together() -> None:
    stat = "entries found insert_failed drop early_drop\n0000000a 00 01 02 00\n0000000a 00 01 10 00\n"
    assert _counters.conntrack_losses(stat) == {"insert_failed": 2, "drop": 18, "early_drop": 0}
    assert _counters.softnet("011536c6 00000001 0000000f 0\n00fdcbf0 00000002 0000000c 0\n") == {"dropped": 3, "squeezed": 27}
    assert (_counters.conntrack_losses(""), _counters.softnet(""), _counters.softnet("12 x 3")) == ({}, None, None)
    assert _counters.read()["softnet"] is not None


@given(st.text(alphabet="0123456789abcdef entris\n", max_size=120))
def test_any_text_gives_numbers_or_nothing_property(text: str) -> None:
    assert set(_counters.conntrack_losses(text)) <= set(_counters.LOSSES)
    assert _counters.softnet(text) is None or all(number >= 0 for number in t.cast("dict[str, int]", _counters.softnet(text)).values())
    assert _counters.arp_cache(text) is None or "entries" in text
