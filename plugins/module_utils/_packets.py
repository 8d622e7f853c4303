# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a captured packet is: which packet of which train of a probe, or an answer or an error about it, and in which encapsulation.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _icmp
from ansible_collections.podnet.doctor.plugins.module_utils._address import from_bytes
from ansible_collections.podnet.doctor.plugins.module_utils._capture_filter import (
    ARP_LENGTH,
    ARP_SENDER,
    ARP_TARGET,
    DEPTH,
    NDP_ANSWERS,
    NDP_ASKS,
    VXLAN_HEADERS,
)
from ansible_collections.podnet.doctor.plugins.module_utils._marks import FULL_SIZE, MOST_WATCHED, WATCHED, Marks

SYN, RST, ACK = 0x02, 0x04, 0x10
ICMP, IPIP, TCP, UDP, IPV6_IN, ICMP6 = 1, 4, 6, 17, 41, 58
MSS_OPTION = 2
ARP_OF_IPV4 = bytes([0, 1, 8, 0, 6, 4])  # Ethernet, IPv4, and the lengths of their addresses
# of echoes: the first sequence number, and how many there are (0: as many as a train has)
TRAINS = (("watch", WATCHED, MOST_WATCHED), ("full", FULL_SIZE, 0), ("icmp", 0, 0))
_TCP = struct.Struct("!HHIIBB")


class Header(t.NamedTuple):
    """Of an IP packet: what matters of its header, and what it carries."""

    version: int
    protocol: int
    ttl: int
    source: str
    destination: str
    inner: bytes


class Seen(t.NamedTuple):
    """One packet of the probe. kind: request, reply, reset or error; port: the one that is not the probe's own."""

    train: str
    kind: str
    flow: int
    number: int
    source: str
    destination: str
    ttl: int
    encapsulation: str | None = None
    text: str = ""
    port: int = 0


def header(data: bytes) -> Header | None:
    """The IP header that a packet begins with; None if it has none, or is a later fragment."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        if (data[6] & 0x1F) or data[7]:
            return None
        length, protocol, ttl = (data[0] & 0xF) * 4, data[9], data[8]
        source, destination = from_bytes(data[12:16]), from_bytes(data[16:20])
    elif version == 6 and len(data) >= 40:
        length, protocol, ttl = 40, data[6], data[7]
        source, destination = from_bytes(data[8:24]), from_bytes(data[24:40])
    else:
        return None
    return Header(version, protocol, ttl, str(source), str(destination), data[length:])


def _segment_size(segment: bytes) -> int | None:
    """The maximum segment size that a SYN asks for."""
    options = segment[20 : (segment[12] >> 4) * 4] if len(segment) >= 20 else b""
    while len(options) >= 2 and options[0]:
        if options[0] == MSS_OPTION and len(options) >= 4:
            return int.from_bytes(options[2:4], "big")
        options = options[1:] if options[0] == 1 else options[max(options[1], 2) :]
    return None


def _tcp(segment: bytes, marks: Marks, quoted: bool) -> tuple[str, int, int] | None:
    """(kind, own port, other port). A quoted segment may be cut after its ports."""
    if len(segment) < 4:
        return None
    source, destination = struct.unpack_from("!HH", segment)
    if quoted:
        return ("request", source, destination) if source in marks.ports else None
    if len(segment) < _TCP.size:
        return None
    flags = _TCP.unpack_from(segment)[5]
    if source in marks.ports and flags & SYN and not flags & ACK:
        size = _segment_size(segment)
        # a rule that clamps it only makes it smaller
        return ("request", source, destination) if size is not None and size <= marks.segment else None
    if destination in marks.ports:
        if flags & RST:
            return "reset", destination, source
        return ("reply", destination, source) if flags & SYN and flags & ACK else None
    return None


def _udp(datagram: bytes, marks: Marks, quoted: bool) -> tuple[str, int, int] | None:
    if len(datagram) < 8:
        return None
    source, destination = struct.unpack_from("!HH", datagram)
    if source in marks.ports and (quoted or marks.payload in datagram):
        return "request", source, destination
    return ("reply", destination, source) if destination in marks.ports and not quoted else None


def _marked(found: Header, marks: Marks, quoted: bool) -> Seen | None:
    """A packet that bears the marks itself."""
    if found.protocol in (ICMP, ICMP6):
        message = _icmp.echo_of(found.version, found.inner)
        flow = marks.flow_of(message.identifier) if message is not None else None
        if message is None or flow is None or not (quoted or message.payload.startswith(marks.payload)):
            return None
        train, first, most = next(one for one in TRAINS if message.sequence >= one[1])
        number = message.sequence - first
        return Seen(train, message.kind, flow, number, found.source, found.destination, found.ttl) if number < (most or marks.length) else None
    if found.protocol not in (TCP, UDP):
        return None
    said = (_tcp if found.protocol == TCP else _udp)(found.inner, marks, quoted)
    if said is None:
        return None
    flow, number = marks.place_of(said[1])
    train = "tcp" if found.protocol == TCP else "udp"
    return Seen(train, said[0], flow, number, found.source, found.destination, found.ttl, port=said[2])


def decode_arp(data: bytes, addresses: t.Sequence[str]) -> Seen | None:
    """A question for one of the addresses, or its answer; the number is the place of the address among them."""
    if len(data) < ARP_LENGTH or data[:6] != ARP_OF_IPV4:
        return None
    kind = {1: "request", 2: "reply"}.get(int.from_bytes(data[6:8], "big"))
    sender, target = (str(from_bytes(data[place : place + 4])) for place in (ARP_SENDER, ARP_TARGET))
    wanted = sender if kind == "reply" else target
    if kind is None or wanted not in addresses or sender == target:  # an announcement asks for nobody
        return None
    return Seen("arp", kind, 0, addresses.index(wanted), sender, target, 0)


def decode_ndp(data: bytes, addresses: t.Sequence[str]) -> Seen | None:
    """As decode_arp, of IPv6: a neighbour solicitation for one of the addresses, or an advertisement of it."""
    found = header(data)
    if found is None or found.version != 6 or found.protocol != ICMP6 or len(found.inner) < 24:
        return None
    kind = {NDP_ASKS: "request", NDP_ANSWERS: "reply"}.get(found.inner[0])
    target = str(from_bytes(found.inner[8:24]))
    if kind is None or target not in addresses or found.source == "::":  # who looks whether his own address is free asks for nobody
        return None
    return Seen("ndp", kind, 0, addresses.index(target), found.source, found.destination, found.ttl)


def decode_neighbour(data: bytes, addresses: t.Sequence[str]) -> Seen | None:
    """A question for the link-layer address of one of these, or its answer."""
    return decode_ndp(data, addresses) if data and data[0] >> 4 == 6 else decode_arp(data, addresses)


def decode(data: bytes, marks: Marks, vxlan_ports: t.Container[int]) -> Seen | None:
    """A packet that begins with its IP header; None if it is not of this probe."""
    encapsulation: str | None = None
    error: Header | None = None
    text = ""
    for _depth in range(DEPTH):
        found = header(data)
        if found is None:
            return None
        said = _icmp.error_text(found.version, found.inner) if found.protocol in (ICMP, ICMP6) and error is None else None
        if said is not None:
            error, text, data = found, said, found.inner[8:]
        elif found.protocol in (IPIP, IPV6_IN):
            encapsulation, data = encapsulation or ("ipip" if error is None else None), found.inner
        elif found.protocol == UDP and len(found.inner) >= 8 and int.from_bytes(found.inner[2:4], "big") in vxlan_ports:
            encapsulation, data = encapsulation or ("vxlan" if error is None else None), found.inner[VXLAN_HEADERS:]
        else:
            seen = _marked(found, marks, error is not None)
            if seen is None or (error is not None and seen.kind != "request"):
                return None
            if error is not None:
                seen = seen._replace(kind="error", source=error.source, destination=error.destination, ttl=error.ttl, text=text)
            return seen._replace(encapsulation=encapsulation)
    return None
