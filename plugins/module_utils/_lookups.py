# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's own answer to "which way would this packet go" (RTM_GETROUTE).

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _rtnames as names
from ansible_collections.podnet.doctor.plugins.module_utils._address import LENGTHS, canonical, family_of
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import NetlinkError, Rtnetlink, attribute
from ansible_collections.podnet.doctor.plugins.module_utils._routes import HEADER, RTM_GETROUTE, decode

RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_MARK, RTA_IP_PROTO, RTA_SPORT, RTA_DPORT = 1, 2, 3, 4, 16, 27, 28, 29
RTM_F_LOOKUP_TABLE, RTM_F_FIB_MATCH = 0x1000, 0x2000
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}
ASKED = ("dst", "src", "iif", "oif", "mark", "protocol", "sport", "dport", "netns_of")


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _body(flow: dict[str, t.Any], indexes: t.Mapping[str, int], flags: int) -> bytes:
    dst, src = canonical(flow.get("dst")), canonical(flow.get("src"))
    if dst is None:
        raise ValueError(f"not an address: {flow.get('dst')!r}")
    if flow.get("src") and src is None:
        raise ValueError(f"not an address: {flow['src']!r}")
    family = family_of(dst)
    length = LENGTHS[family]
    if family == "inet6":  # the kernel always answers with the table there, and refuses the flag that asks for it
        flags &= ~RTM_F_LOOKUP_TABLE
    body = HEADER.pack(names.NUMBERS[family], length, length if src else 0, 0, 0, 0, 0, 0, flags)
    body += attribute(RTA_DST, _packed(dst))
    if src:
        body += attribute(RTA_SRC, _packed(src))
    for name, kind in (("iif", RTA_IIF), ("oif", RTA_OIF)):
        if flow.get(name):
            if flow[name] not in indexes:
                raise ValueError(f"no interface {flow[name]}")
            body += attribute(kind, struct.pack("=I", indexes[flow[name]]))
    if flow.get("mark"):
        body += attribute(RTA_MARK, struct.pack("=I", int(flow["mark"]) & 0xFFFFFFFF))
    if flow.get("protocol") in PROTOCOLS:
        body += attribute(RTA_IP_PROTO, bytes((PROTOCOLS[flow["protocol"]],)))
        for name, kind in (("sport", RTA_SPORT), ("dport", RTA_DPORT)):
            if flow.get(name):
                body += attribute(kind, struct.pack("!H", int(flow[name]) & 0xFFFF))
    return body


def _refused(error: NetlinkError) -> dict[str, t.Any]:
    return {"error": str(error.strerror), "errno": error.errno}


def lookup(kernel: Rtnetlink, flow: dict[str, t.Any], links: t.Mapping[int, str]) -> dict[str, t.Any]:
    """The asked flow with ``route``: what the kernel answered, with the FIB entry that it used as ``match``."""
    result: dict[str, t.Any] = {name: flow[name] for name in ASKED if flow.get(name) not in (None, "")}
    indexes = {name: index for index, name in links.items()}
    try:
        body = _body(flow, indexes, RTM_F_LOOKUP_TABLE)
        payload = kernel.request(RTM_GETROUTE, body)
    except NetlinkError as error:
        result["route"] = _refused(error)
        return result
    except ValueError as error:
        result["route"] = {"error": str(error)}
        return result
    found = decode(payload, links, cached=True) or {}
    route: dict[str, t.Any] = {name: found[name] for name in ("type", "gateway", "dev", "prefsrc", "table", "mtu", "flags") if name in found}
    route["dst"] = result["dst"] = str(canonical(flow["dst"]))
    try:
        match = decode(kernel.request(RTM_GETROUTE, _body(flow, indexes, RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH)), links, cached=True)
    except NetlinkError:  # a kernel before 4.13, or a route that changed in between
        match = None
    if match is not None:
        route["match"] = {name: match[name] for name in ("dst", "table", "type", "protocol", "metric", "scope", "nexthops") if name in match}
    result["route"] = route
    return result
