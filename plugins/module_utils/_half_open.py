# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a TCP port answers, without a connection: one SYN from a raw socket, whose answer the kernel itself resets.

A completed connection would be seen by the program behind the port. BIRD takes one from a configured peer for a new session and drops the old one,
so a test of port 179 must never complete it (proto/bgp/bgp.c, bgp_incoming_connection).
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import time
import typing as t

TCP_HEADER = struct.Struct("!HHIIBBHHH")
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
IPV6_CHECKSUM = 7  # linux/in6.h
WINDOW = 64240
MSS_OPTION = b"\x02\x04\x05\xb4"
RETRY_SECONDS = 0.5


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = int(sum(struct.unpack(f"!{len(data) // 2}H", data)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(source: str, dst: str, sport: int, dport: int, sequence: int) -> bytes:
    """A SYN with its checksum (IPv6: the kernel fills it in)."""
    offset = (TCP_HEADER.size + len(MSS_OPTION)) // 4
    header = TCP_HEADER.pack(sport, dport, sequence, 0, offset << 4, SYN, WINDOW, 0, 0)
    if ":" in dst:
        return header + MSS_OPTION
    pseudo = socket.inet_aton(source) + socket.inet_aton(dst) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(header) + len(MSS_OPTION))
    value = checksum(pseudo + header + MSS_OPTION)
    return TCP_HEADER.pack(sport, dport, sequence, 0, offset << 4, SYN, WINDOW, value, 0) + MSS_OPTION


def source_towards(dst: str) -> str:
    """The address that the kernel would use. Errors: OSError."""
    with socket.socket(socket.AF_INET6 if ":" in dst else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        probe.connect((dst, 9))
        return str(probe.getsockname()[0])


def answer(packet: bytes, version: int, sport: int, dport: int, sequence: int) -> str | None:
    """`answered` or `refused` if the packet answers this SYN."""
    start = (packet[0] & 0x0F) * 4 if version == 4 and packet else 0
    if len(packet) < start + TCP_HEADER.size:
        return None
    far, near, _seq, acknowledged, _offset, flags, _window, _sum, _urgent = TCP_HEADER.unpack_from(packet, start)
    if (far, near) != (dport, sport) or not flags & ACK or acknowledged != (sequence + 1) & 0xFFFFFFFF:
        return None
    if flags & RST:
        return "refused"
    return "answered" if flags & SYN else None


def knock(dst: str, port: int, source: str | None, timeout: float) -> str:
    """`answered`, `refused` or `timeout`. Errors: OSError, where the kernel refuses to send or an ICMP error came back."""
    version = 6 if ":" in dst else 4
    own = source or source_towards(dst)
    sport, sequence = random.SystemRandom().randrange(33000, 60000), int.from_bytes(os.urandom(4), "big")
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    end = time.monotonic() + timeout
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_TCP) as raw:
        if version == 6:
            raw.setsockopt(socket.IPPROTO_IPV6, IPV6_CHECKSUM, 16)
        raw.bind((own, 0))
        raw.connect((dst, 0))
        while time.monotonic() < end:
            raw.send(segment(own, dst, sport, port, sequence))
            outcome = _listen(raw, version, sport, port, sequence, min(end, time.monotonic() + RETRY_SECONDS))
            if outcome:
                return outcome
    return "timeout"


def _listen(raw: t.Any, version: int, sport: int, port: int, sequence: int, until: float) -> str | None:
    while True:
        left = until - time.monotonic()
        if left <= 0:
            return None
        raw.settimeout(left)
        try:
            outcome = answer(raw.recv(2048), version, sport, port, sequence)
        except socket.timeout:
            return None
        if outcome:
            return outcome
