# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: which way a packet goes, worked out from rules and routes, for documents in which the kernel was not asked.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ._json import Json, NotCollected, family_of, objects, parse_address, parse_network

Route = Mapping[str, Json]
LOCAL_TABLE, MAIN_TABLE, DEFAULT_TABLE = 255, 254, 253  # linux/rtnetlink.h
DEFAULT_RULES: tuple[Mapping[str, Json], ...] = tuple({"priority": p, "table": n} for p, n in ((0, LOCAL_TABLE), (32766, MAIN_TABLE), (32767, DEFAULT_TABLE)))
# what RTM_GETROUTE answers for a route of this type (net/ipv4/fib_semantics.c, fib_props)
REFUSALS = {"blackhole": "Invalid argument", "unreachable": "No route to host", "prohibit": "Permission denied"}
UNREACHABLE = "Network is unreachable"


def route_to(rules: Sequence[Mapping[str, Json]], routes: Iterable[Route], dst: str, src: str | None = None, iif: str | None = None) -> dict[str, Json]:
    """The shape of a look-up's `route` (docs/documents.md); an error text where there is no way. Errors: NotCollected for a rule with unknown meaning."""
    family = "inet6" if family_of(dst) == "ipv6" else "inet"
    mine = sorted((r for r in rules if r.get("family") in (None, family)), key=lambda r: r.get("priority") or 0) or list(DEFAULT_RULES)
    tables: dict[int, list[Route]] = {}
    for route in routes:
        if route.get("family") in (None, family) and _covers(route, dst) and "dead" not in (route.get("flags") or ()):
            tables.setdefault(int(route.get("table") or MAIN_TABLE), []).append(route)
    lowest = -1
    for rule in mine:
        priority = int(rule.get("priority") or 0)
        if priority < lowest or not _matches(rule, dst, src, iif):
            continue
        action = rule.get("action")
        if isinstance(rule.get("goto"), int):
            lowest = int(rule["goto"])
            continue
        if action in REFUSALS:
            return {"dst": dst, "error": REFUSALS[str(action)]}
        if action == "nop":
            continue
        if not isinstance(rule.get("table"), int):
            raise NotCollected(f"ip rule {priority} cannot be understood")
        best = _best(tables.get(rule["table"], ()))
        if best is None or best.get("type") == "throw":
            continue
        shortest = rule.get("suppress_prefixlen")
        if isinstance(shortest, int) and _length(best) <= shortest:
            continue
        return _answer(best, dst)
    return {"dst": dst, "error": UNREACHABLE, "errno": 101}


def _covers(route: Route, dst: str) -> bool:
    network, address = parse_network(route.get("dst")), parse_address(dst)
    return network is not None and address is not None and address in network


def _length(route: Route) -> int:
    network = parse_network(route.get("dst"))
    return network.prefixlen if network is not None else 0


def _best(routes: Iterable[Route]) -> Route | None:
    return min(routes, key=lambda route: (-_length(route), route.get("metric") or 0), default=None)


def _matches(rule: Mapping[str, Json], dst: str, src: str | None, iif: str | None) -> bool:
    """Of a packet without a mark, and not bound to an output device."""
    inside = True
    for name, text in (("src", src), ("dst", dst)):
        network = parse_network(rule.get(name))
        if network is not None and network.prefixlen:
            address = parse_address(text)
            inside = inside and address is not None and address in network
    if rule.get("iif"):
        inside = inside and rule["iif"] == iif
    if rule.get("oif") or rule.get("fwmark"):
        inside = False
    return inside != bool(rule.get("not"))


def _answer(route: Route, dst: str) -> dict[str, Json]:
    kind = str(route.get("type") or "unicast")
    match = {name: route[name] for name in ("dst", "table", "type", "protocol", "metric", "scope", "nexthops") if name in route}
    if kind in REFUSALS:
        return {"dst": dst, "error": REFUSALS[kind], "match": match}
    hops = objects(route.get("nexthops"))
    answer: dict[str, Json] = {"type": kind, "dst": dst, "table": route.get("table"), "match": match}
    for name in ("gateway", "dev", "prefsrc", "mtu", "flags"):
        value = route.get(name) if route.get(name) is not None else (hops[0].get(name) if hops else None)
        if value is not None:
            answer[name] = value
    return answer
