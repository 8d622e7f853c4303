# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes of all tables, decoded from raw rtnetlink messages: a node may have very many of them.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _rtnames as names
from ansible_collections.podnet.doctor.plugins.module_utils._address import ANY, from_bytes
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Rtnetlink, attribute, attributes

RTM_GETROUTE = 26
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS, RTA_MULTIPATH, RTA_TABLE, RTA_VIA = 1, 4, 5, 6, 7, 8, 9, 15, 18
RTAX_MTU = 2
RTM_F_CLONED = 0x200
HEADER = struct.Struct("=BBBBBBBBI")
_NEXTHOP = struct.Struct("=HBBi")
_NUMBER = struct.Struct("=I")


def _number(value: bytes | None) -> int | None:
    return _NUMBER.unpack_from(value)[0] if value is not None and len(value) >= 4 else None


def _words(mask: int) -> list[str]:
    return names.words(names.ROUTE_FLAGS, mask) if mask else []


def _gateway(found: dict[int, bytes]) -> str | None:
    if RTA_GATEWAY in found:
        return from_bytes(found[RTA_GATEWAY])
    return from_bytes(found[RTA_VIA][2:]) if RTA_VIA in found else None


def _nexthops(data: bytes, links: t.Mapping[int, str]) -> list[dict[str, t.Any]]:
    hops: list[dict[str, t.Any]] = []
    offset = 0
    while offset + 8 <= len(data):
        length, flags, weight, index = _NEXTHOP.unpack_from(data, offset)
        if length < 8 or offset + length > len(data):
            break
        hop: dict[str, t.Any] = {}
        gateway = _gateway(attributes(data[offset : offset + length], 8))
        if gateway:
            hop["gateway"] = gateway
        hop["dev"] = links.get(index) or f"if{index}"
        hop["weight"] = weight + 1
        hop["flags"] = _words(flags)
        hops.append(hop)
        offset += (length + 3) & ~3
    return hops


def decode(payload: bytes, links: t.Mapping[int, str], cached: bool = False) -> dict[str, t.Any] | None:
    """One route message; None if it is not a route of IPv4 or IPv6, or only a ``cached`` copy of one that was not asked for."""
    if len(payload) < 12:
        return None
    number, length, _source, _tos, table, protocol, scope, kind, flags = HEADER.unpack_from(payload)
    family = names.FAMILIES.get(number)
    if family is None or (flags & RTM_F_CLONED and not cached):
        return None
    found = attributes(payload, 12)
    dst = from_bytes(found[RTA_DST]) if RTA_DST in found else ANY[family]
    if dst is None:
        return None
    long_table = _number(found.get(RTA_TABLE))
    route: dict[str, t.Any] = {
        "family": family,
        "table": table if long_table is None else long_table,
        "type": names.ROUTE_TYPES.get(kind) or str(kind),
        "dst": f"{dst}/{length}",
    }
    gateway = _gateway(found)
    if gateway:
        route["gateway"] = gateway
    index = _number(found.get(RTA_OIF))
    if index:
        route["dev"] = links.get(index) or f"if{index}"
    route["protocol"] = names.PROTOCOLS.get(protocol) or str(protocol)
    route["scope"] = names.SCOPES.get(scope) or str(scope)
    route["metric"] = _number(found.get(RTA_PRIORITY)) or 0
    prefsrc = from_bytes(found[RTA_PREFSRC]) if RTA_PREFSRC in found else None
    if prefsrc:
        route["prefsrc"] = prefsrc
    route["flags"] = _words(flags)
    if RTA_METRICS in found:
        mtu = _number(attributes(found[RTA_METRICS]).get(RTAX_MTU))
        if mtu is not None:
            route["mtu"] = mtu
    if RTA_MULTIPATH in found:
        hops = _nexthops(found[RTA_MULTIPATH], links)
        if hops:
            route["nexthops"] = hops
            route.pop("gateway", None)
            route.pop("dev", None)
    return route


# The kernel writes a route's table first and then its destination: (family, header of the first attribute, header of the second) -> (family, the second's end).
_ENDS_OF_DST = {
    (bytes((names.NUMBERS[family],)), struct.pack("=HH", 8, RTA_TABLE), struct.pack("=HH", 4 + size, RTA_DST)): (names.NUMBERS[family], 24 + size)
    for family, size in (("inet", 4), ("inet6", 16))
}


def decode_all(payloads: t.Iterable[bytes], links: t.Mapping[int, str]) -> list[dict[str, t.Any]]:
    """Many routes. Those that differ in nothing but their destination are decoded once and copied; they share their lists."""
    known: dict[bytes, dict[str, t.Any]] = {}
    result: list[dict[str, t.Any]] = []
    for payload in payloads:
        number, end = _ENDS_OF_DST.get((payload[:1], payload[12:16], payload[20:24]), (0, 0))
        if not end or len(payload) < end:
            route = decode(payload, links)
            if route is not None:
                result.append(route)
            continue
        alike, dst = payload[:1] + payload[2:20] + payload[end:], f"{socket.inet_ntop(number, payload[24:end])}/{payload[1]}"
        like = known.get(alike)
        if like is None:
            route = decode(payload, links)
            if route is not None:
                result.append(route)
                if route["dst"] == dst:
                    known[alike] = route
            continue
        route = like.copy()
        route["dst"] = dst
        result.append(route)
    return result


def read(
    kernel: Rtnetlink,
    links: t.Mapping[int, str],
    families: t.Iterable[str] = ("inet", "inet6"),
    table: int | None = None,
) -> list[dict[str, t.Any]]:
    """All routes, of all tables or of one."""
    result: list[dict[str, t.Any]] = []
    wanted = b"" if table is None else attribute(RTA_TABLE, _NUMBER.pack(table & 0xFFFFFFFF))
    for family in families:
        try:
            payloads = kernel.dump(RTM_GETROUTE, HEADER.pack(names.NUMBERS[family], 0, 0, 0, 0, 0, 0, 0, 0) + wanted)
        except OSError as error:
            if table is not None and error.errno == errno.ENOENT:  # the kernel has no such table
                continue
            raise
        result.extend(route for route in decode_all(payloads, links) if table in (None, route["table"]))
    return result
