# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: packets of several nodes as one pcapng file (draft-ietf-opsawg-pcapng): one interface for each link, comments with hops.

from __future__ import annotations

import struct
import typing as t
from collections.abc import Iterable

SECTION, INTERFACE, PACKET = 0x0A0D0D0A, 1, 6
MAGIC = 0x1A2B3C4D
FAMILY_FIRST = 0  # LINKTYPE_NULL: the family of addresses, then the IP header. libpcap does not take several interfaces of LINKTYPE_RAW
FAMILIES = {4: struct.pack("<I", 2), 6: struct.pack("<I", 30)}
SNAP = 512
COMMENT, NAME, DESCRIPTION, FLAGS, APPLICATION = 1, 2, 3, 2, 4
LATEST = 1 << 40  # seconds since 1970
WAYS = {"in": 1, "out": 2}


class Packet(t.NamedTuple):
    """One packet as it was captured. link: of which namespace, like `k8s01 eth0`; at: seconds since 1970 by the clock of its node."""

    link: str
    about: str
    way: str
    at: float
    data: bytes
    comment: str


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _options(*options: tuple[int, bytes]) -> bytes:
    return b"".join(_option(code, value) for code, value in options) + struct.pack("<HH", 0, 0)


def _text(text: str) -> bytes:
    return text.encode("utf-8", "replace")[:1000]


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _length(data: bytes) -> int:
    """The length that the packet had before it was cut, as its header says."""
    version = data[0] >> 4 if data else 0
    told = int.from_bytes(data[2:4], "big") if version == 4 and len(data) >= 4 else 40 + int.from_bytes(data[4:6], "big") if len(data) >= 6 else 0
    return max(told, len(data))


def written(packets: Iterable[Packet], application: str) -> bytes:
    """The file, in the order of time."""
    ordered = sorted(packets, key=lambda packet: packet.at)
    links: dict[str, int] = {}
    blocks = [_block(SECTION, struct.pack("<IHHq", MAGIC, 1, 0, -1) + _options((APPLICATION, _text(application))))]
    for packet in ordered:
        if packet.link not in links:
            links[packet.link] = len(links)
            about = _options((NAME, _text(packet.link)), (DESCRIPTION, _text(packet.about)))
            blocks.append(_block(INTERFACE, struct.pack("<HHI", FAMILY_FIRST, 0, SNAP + len(FAMILIES[4])) + about))
    for packet in ordered:
        microseconds = int(packet.at * 1_000_000)
        family = FAMILIES.get(packet.data[0] >> 4 if packet.data else 0, FAMILIES[4])
        data, length = family + packet.data, len(family) + _length(packet.data)
        head = struct.pack("<IIIII", links[packet.link], microseconds >> 32, microseconds & 0xFFFFFFFF, len(data), length)
        flags = struct.pack("<I", WAYS.get(packet.way, 0))
        blocks.append(_block(PACKET, head + data + bytes(-len(data) % 4) + _options((COMMENT, _text(packet.comment)), (FLAGS, flags))))
    return b"".join(blocks)
