# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``ip -d -j`` and ``bridge -j`` print, brought into the shapes of the node document.

Every function is total: entries that are not what the tool prints are left out, and nothing raises.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._address import (
    canonical,
    canonical_prefix,
    family_of,
)

TABLES = {"unspec": 0, "default": 253, "main": 254, "local": 255}
DETAILS = {  # the fields of linkinfo that the document keeps, by kind
    "vxlan": ("id", "local", "local6", "group", "remote", "remote6", "link", "port", "learning", "external"),
    "ipip": ("local", "remote", "ttl", "pmtudisc", "link", "external"),
    "tun": ("type",),
    "bridge": ("stp_state", "vlan_filtering"),
    "vlan": ("protocol", "id"),
    "vrf": ("table",),
    "bond": ("mode", "active_slave"),
    "wireguard": (),
}
SLAVE_DETAILS = {
    "bridge": ("state", "hairpin", "learning", "flood", "neigh_suppress", "isolated"),
    "bond": ("state", "mii_status"),
    "vrf": ("table",),
}
LINK = ("ifindex", "ifname", "flags", "mtu", "operstate", "link_type", "address", "master", "link", "link_index", "link_netnsid")
ADDRESS_FLAGS = (
    "secondary",
    "temporary",
    "nodad",
    "optimistic",
    "dadfailed",
    "home",
    "deprecated",
    "tentative",
    "dynamic",
    "mngtmpaddr",
    "noprefixroute",
    "autojoin",
    "stable-privacy",
)
COUNTERS = ("bytes", "packets", "errors", "dropped")


def parse(text: str | bytes) -> list[t.Any] | None:
    """The JSON list in the text; an empty output is an empty list, anything else is None."""
    try:
        if not text.strip():
            return []
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, list) else None


def _entries(data: t.Any) -> t.Iterator[dict[str, t.Any]]:
    if isinstance(data, (str, bytes)):
        data = parse(data)
    if isinstance(data, list):
        yield from (entry for entry in data if isinstance(entry, dict) and entry)


def _number(value: t.Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            return None
    return None


def _texts(value: t.Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _some(entry: dict[str, t.Any], names: t.Iterable[str]) -> dict[str, t.Any]:
    return {name: entry[name] for name in names if entry.get(name) is not None}


def _counters(stats: t.Any) -> dict[str, t.Any] | None:
    if not isinstance(stats, dict):
        return None
    sides = {side: stats.get(side) for side in ("rx", "tx")}
    return {side: _some(counters, COUNTERS) for side, counters in sides.items() if isinstance(counters, dict)}


def linkinfo(info: t.Any) -> dict[str, t.Any] | None:
    """The part of ``linkinfo`` that the document keeps."""
    if not isinstance(info, dict):
        return None
    result: dict[str, t.Any] = {}
    for kind, data, kept in (("info_kind", "info_data", DETAILS), ("info_slave_kind", "info_slave_data", SLAVE_DETAILS)):
        name, details = info.get(kind), info.get(data)
        if not isinstance(name, str):
            continue
        result[kind] = name
        if isinstance(details, dict):
            chosen = _some(details, kept.get(name, ()))
            if chosen:
                result[data] = chosen
    return result or None


def links(data: t.Any) -> list[dict[str, t.Any]]:
    """``ip -d -s -j link``."""
    result = []
    for entry in _entries(data):
        if not isinstance(entry.get("ifname"), str):
            continue
        link = _some(entry, LINK)
        link["flags"] = _texts(entry.get("flags"))
        for name, value in (("linkinfo", linkinfo(entry.get("linkinfo"))), ("stats64", _counters(entry.get("stats64")))):
            if value:
                link[name] = value
        result.append(link)
    return result


def addresses(data: t.Any) -> list[dict[str, t.Any]]:
    """``ip -j addr``."""
    result = []
    for entry in _entries(data):
        ifname = entry.get("ifname")
        if not isinstance(ifname, str):
            continue
        for info in _entries(entry.get("addr_info")):
            local = canonical(info.get("local"))
            if local is None:
                continue
            address: dict[str, t.Any] = {
                "ifname": ifname,
                "family": family_of(local),
                "local": local,
                "prefixlen": _number(info.get("prefixlen")),
                "scope": info.get("scope"),
            }
            peer = canonical(info.get("address"))
            if peer:
                address["peer"] = peer
            address.update(_some(info, ("broadcast", "label")))
            flags = [flag for flag in ADDRESS_FLAGS if info.get(flag)]
            if flags:
                address["flags"] = flags
            result.append(address)
    return result


def table(value: t.Any) -> int | None:
    """The number of a routing table; None for a name that only the node's own /etc/iproute2 knows."""
    if isinstance(value, str) and value in TABLES:
        return TABLES[value]
    return _number(value)


def _gateway(entry: dict[str, t.Any]) -> str | None:
    via = entry.get("via")
    if isinstance(via, dict):
        return canonical(via.get("host"))
    return canonical(entry.get("gateway"))


def _nexthop(entry: dict[str, t.Any]) -> dict[str, t.Any]:
    hop: dict[str, t.Any] = {}
    gateway = _gateway(entry)
    if gateway:
        hop["gateway"] = gateway
    if isinstance(entry.get("dev"), str):
        hop["dev"] = entry["dev"]
    hop["weight"] = _number(entry.get("weight")) or 1
    hop["flags"] = _texts(entry.get("flags"))
    return hop


def route(entry: dict[str, t.Any], family: str) -> dict[str, t.Any] | None:
    """One entry of ``ip -d -j route``."""
    dst = canonical_prefix(entry.get("dst"), family)
    if dst is None:
        return None
    result: dict[str, t.Any] = {"family": family_of(dst)}
    number = table(entry.get("table", "main"))
    if number is not None:
        result["table"] = number
    result["type"] = entry["type"] if isinstance(entry.get("type"), str) else "unicast"
    result["dst"] = dst
    gateway = _gateway(entry)
    if gateway:
        result["gateway"] = gateway
    result.update({name: entry[name] for name in ("dev", "protocol", "scope") if isinstance(entry.get(name), str)})
    result["metric"] = _number(entry.get("metric")) or 0
    prefsrc = canonical(entry.get("prefsrc"))
    if prefsrc:
        result["prefsrc"] = prefsrc
    result["flags"] = _texts(entry.get("flags"))
    for metrics in _entries(entry.get("metrics")):
        mtu = _number(metrics.get("mtu"))
        if mtu is not None:
            result["mtu"] = mtu
    hops = [_nexthop(hop) for hop in _entries(entry.get("nexthops"))]
    if hops:
        result["nexthops"] = hops
        result.pop("gateway", None)
        result.pop("dev", None)
    return result


def routes(data: t.Any, family: str) -> list[dict[str, t.Any]]:
    """``ip -d -j route show table all`` of one family (``inet`` or ``inet6``)."""
    return [result for entry in _entries(data) if (result := route(entry, family)) is not None]


def rules(data: t.Any, family: str) -> list[dict[str, t.Any]]:
    """``ip -d -j rule`` of one family."""
    result = []
    for entry in _entries(data):
        priority = _number(entry.get("priority"))
        if priority is None:
            continue
        rule: dict[str, t.Any] = {"family": family, "priority": priority}
        for name, length in (("src", "srclen"), ("dst", "dstlen")):
            text = entry.get(name)
            if isinstance(text, str) and text != "all":
                if "/" not in text and entry.get(length) is not None:
                    text = f"{text}/{entry[length]}"
                prefix = canonical_prefix(text, family)
                if prefix:
                    rule[name] = prefix
        rule.update({name: entry[name] for name in ("iif", "oif") if isinstance(entry.get(name), str)})
        for name in ("fwmark", "fwmask"):
            number = _number(entry.get(name))
            if number is not None:
                rule[name] = number
        if "fwmark" in rule:
            rule.setdefault("fwmask", 0xFFFFFFFF)
        if "not" in entry:
            rule["not"] = True
        number = table(entry.get("table"))
        if number is not None:
            rule["table"] = number
        goto, suppressed = _number(entry.get("goto")), _number(entry.get("suppress_prefixlen"))
        if goto is not None:
            rule["goto"] = goto
        if suppressed is not None:
            rule["suppress_prefixlen"] = suppressed
        action = entry.get("action")
        if not isinstance(action, str):
            action = "goto" if goto is not None else "nop" if "nop" in entry else "to_tbl"
        rule["action"] = action
        result.append(rule)
    return result


NEIGHBOUR_FLAGS = ("router", "proxy", "extern_learn", "offload", "managed", "locked")


def neighbours(data: t.Any, family: str | None = None) -> list[dict[str, t.Any]]:
    """``ip -j neigh``; with a family only the entries of that one."""
    result = []
    for entry in _entries(data):
        dst = canonical(entry.get("dst"))
        if dst is None or not isinstance(entry.get("dev"), str) or family not in (None, family_of(dst)):
            continue
        neighbour: dict[str, t.Any] = {"family": family_of(dst), "dst": dst, "dev": entry["dev"]}
        if isinstance(entry.get("lladdr"), str):
            neighbour["lladdr"] = entry["lladdr"].lower()
        neighbour["state"] = _texts(entry.get("state"))
        flags = [flag for flag in NEIGHBOUR_FLAGS if flag in entry]
        if flags:
            neighbour["flags"] = flags
        result.append(neighbour)
    return result


def fdb(data: t.Any) -> list[dict[str, t.Any]]:
    """``bridge -j fdb``."""
    result = []
    for entry in _entries(data):
        if not isinstance(entry.get("mac"), str) or not isinstance(entry.get("ifname"), str):
            continue
        row: dict[str, t.Any] = {"mac": entry["mac"].lower(), "ifname": entry["ifname"]}
        dst = canonical(entry.get("dst"))
        if dst:
            row["dst"] = dst
        row["state"] = entry["state"] if isinstance(entry.get("state"), str) else ""
        row["flags"] = _texts(entry.get("flags"))
        if isinstance(entry.get("master"), str):
            row["master"] = entry["master"]
        vlan = _number(entry.get("vlan"))
        if vlan is not None:
            row["vlan"] = vlan
        result.append(row)
    return result
