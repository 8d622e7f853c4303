# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ICMP echo and the error messages that come back, of IPv4 and IPv6.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import socket
import struct
import typing as t

ECHO = {4: (8, 0), 6: (128, 129)}  # request, reply
UNREACHABLE = {
    (4, 3, 0): "network unreachable",
    (4, 3, 1): "host unreachable",
    (4, 3, 2): "protocol unreachable",
    (4, 3, 3): "port unreachable",
    (4, 3, 4): "fragmentation needed",
    (4, 3, 9): "network administratively prohibited",
    (4, 3, 10): "host administratively prohibited",
    (4, 3, 13): "administratively prohibited",
    (4, 11, 0): "time to live exceeded",
    (6, 1, 0): "no route to destination",
    (6, 1, 1): "administratively prohibited",
    (6, 1, 3): "address unreachable",
    (6, 1, 4): "port unreachable",
    (6, 2, 0): "packet too big",
    (6, 3, 0): "hop limit exceeded",
}
REDIRECT = "redirect"
TOO_BIG = {(4, 3, 4): 6, (6, 2, 0): 4}  # where the MTU begins that they tell
_HEADER = struct.Struct("!BBHHH")


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo(version: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """An echo request; the kernel fills in the checksum of IPv6."""
    kind = ECHO[version][0]
    message = _HEADER.pack(kind, 0, 0, identifier, sequence) + payload
    return _HEADER.pack(kind, 0, checksum(message) if version == 4 else 0, identifier, sequence) + payload


class Message(t.NamedTuple):
    """What one ICMP message says about an echo: kind is ``request``, ``reply`` or ``error``."""

    kind: str
    identifier: int
    sequence: int
    payload: bytes
    text: str


def echo_of(version: int, data: bytes) -> Message | None:
    """An echo request or its reply (without IP header)."""
    if len(data) < 8:
        return None
    kind, _code, _sum, identifier, sequence = _HEADER.unpack_from(data)
    request, reply = ECHO[version]
    if kind not in (request, reply):
        return None
    return Message("request" if kind == request else "reply", identifier, sequence, data[8:], "")


def error_text(version: int, data: bytes) -> str | None:
    """What an ICMP error (without IP header) says; None if the message is none."""
    if len(data) < 8:
        return None
    kind, code = data[0], data[1]
    text = UNREACHABLE.get((version, kind, code))
    if text is None and not (version == 4 and kind in (3, 5, 11)) and not (version == 6 and kind in (1, 2, 3)):
        return None
    if (version, kind) == (4, 5):
        return REDIRECT
    if (version, kind, code) in TOO_BIG:
        return f"{text}, MTU {int.from_bytes(data[TOO_BIG[(version, kind, code)] : 8], 'big')}"
    return text or f"ICMP type {kind} code {code}"


def decode(version: int, data: bytes) -> Message | None:
    """An ICMP message (without IP header) that is an echo or about one; for errors the echo request that they are about."""
    message = echo_of(version, data)
    text = error_text(version, data) if message is None else None
    if text is None or text == REDIRECT:  # what was redirected is forwarded all the same
        return message
    inner = data[8:]
    skip = (inner[0] & 0xF) * 4 if version == 4 and inner else 40
    about = echo_of(version, inner[skip:])
    return about._replace(kind="error", payload=b"", text=text) if about is not None and about.kind == "request" else None


def without_ip_header(version: int, data: bytes) -> bytes:
    """What a raw ICMP socket received; only IPv4's carries the IP header."""
    if version == 6 or not data:
        return data
    return data[(data[0] & 0xF) * 4 :]


def raw_socket(version: int, source: str | None = None) -> socket.socket:
    """A socket for echo requests and everything that answers them."""
    if version == 4:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMP)
    else:
        made = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6)
    try:
        if source:
            made.bind((source, 0))
    except OSError:
        made.close()
        raise
    return made


def random_identifier() -> int:
    """An echo identifier that nobody else is likely to use at the moment."""
    return int.from_bytes(os.urandom(2), "big") | 1
