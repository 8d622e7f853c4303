# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: which way a packet goes, worked out from rules and routes, for documents in which the kernel was not asked.

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..module_utils._entries import Entries, Shape
from ._json import Json, NotCollected, family_of, objects, parse_address
from ._prefixes import Prefixes, network, number

Route = Mapping[str, Json]
LOCAL_TABLE, MAIN_TABLE, DEFAULT_TABLE = 255, 254, 253  # linux/rtnetlink.h
DEFAULT_RULES: tuple[Mapping[str, Json], ...] = tuple({"priority": p, "table": n} for p, n in ((0, LOCAL_TABLE), (32766, MAIN_TABLE), (32767, DEFAULT_TABLE)))
# what RTM_GETROUTE answers for a route of this type (net/ipv4/fib_semantics.c, fib_props)
REFUSALS = {"blackhole": "Invalid argument", "unreachable": "No route to host", "prohibit": "Permission denied"}
UNREACHABLE = "Network is unreachable"


class Fib:
    """Rules and routes of one node, in both families."""

    def __init__(self, rules: Sequence[Mapping[str, Json]], routes: Iterable[Route]) -> None:
        self._rules = {family: _in_order(rules, family) for family in ("inet", "inet6")}
        self._tables: dict[int, Prefixes[list[Route]]] = {}
        self._wide = [pair for pair in routes.wide if not _is_dead(pair[0].template)] if isinstance(routes, Entries) else []
        for route in routes.few if isinstance(routes, Entries) else routes:
            prefix = network(str(route.get("dst")))
            if prefix is None or _is_dead(route):
                continue
            table = self._tables.setdefault(int(route.get("table") or MAIN_TABLE), Prefixes())
            same = table.get(prefix)
            if same is None:
                table.add(prefix, [route])
            else:
                same.append(route)

    def route_to(self, dst: str, src: str | None = None, iif: str | None = None, mark: int = 0) -> dict[str, Json]:
        """The shape of a look-up's `route` (docs/documents.md); an error text where there is no way. Errors: NotCollected for a rule with unknown meaning."""
        lowest = -1
        for rule in self._rules["inet6" if family_of(dst) == "ipv6" else "inet"]:
            priority = int(rule.get("priority") or 0)
            if priority < lowest or not _matches(rule, dst, src, iif, mark):
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
            best = self._best(rule["table"], dst)
            if best is None or best.get("type") == "throw":
                continue
            shortest = rule.get("suppress_prefixlen")
            if isinstance(shortest, int) and _length(best) <= shortest:
                continue
            return _answer(best, dst)
        return {"dst": dst, "error": UNREACHABLE, "errno": 101}

    def type_in(self, table: int, dst: str) -> str | None:
        """The type of the route of one table that an address has."""
        best = self._best(table, dst)
        return None if best is None else str(best.get("type") or "unicast")

    def _best(self, table: int, dst: str) -> Route | None:
        address = number(dst)
        if address is None:
            return None
        family = "inet6" if address[0] == 128 else "inet"
        found: list[Route] = []
        for same in self._tables[table].covering(address) if table in self._tables else ():
            found += [route for route in same if route.get("family") in (None, family)]
            if found:
                break
        for shape, bits in self._wide:
            if (shape.template.get("table") or MAIN_TABLE) == table and shape.template.get("family") in (None, family):
                found += [shape.entry(place) for place in _covering(shape, bits, address)]
        return min(found, key=lambda route: (-_length(route), route.get("metric") or 0), default=None)


def _is_dead(route: Route) -> bool:
    return "dead" in (route.get("flags") or ())


def _covering(shape: Shape, bits: int, address: tuple[int, int]) -> list[int]:
    """The rows of the narrowest routes of a shape that hold the address."""

    def tree() -> Prefixes[list[int]]:
        result: Prefixes[list[int]] = Prefixes()
        for place in range(len(shape.table.rows)):
            prefix = network(str(shape.make(place).get("dst")))
            if prefix is not None:
                same = result.get(prefix)
                if same is None:
                    result.add(prefix, [place])
                else:
                    same.append(place)
        return result

    known: Prefixes[list[int]] = shape.once("prefixes", tree)
    return next((mine for places in known.covering(address) if (mine := [place for place in places if bits >> place & 1])), [])


def _in_order(rules: Sequence[Mapping[str, Json]], family: str) -> list[Mapping[str, Json]]:
    return sorted((r for r in rules if r.get("family") in (None, family)), key=lambda r: r.get("priority") or 0) or list(DEFAULT_RULES)


def _length(route: Route) -> int:
    prefix = network(str(route.get("dst")))
    return prefix.prefixlen if prefix is not None else 0


def _matches(rule: Mapping[str, Json], dst: str, src: str | None, iif: str | None, mark: int) -> bool:
    """Of a packet that is not bound to an output device."""
    inside = True
    for name, text in (("src", src), ("dst", dst)):
        prefix = network(str(rule.get(name))) if rule.get(name) else None
        if prefix is not None and prefix.prefixlen:
            address = parse_address(text)
            inside = inside and address is not None and address in prefix
    if rule.get("iif"):
        inside = inside and rule["iif"] == iif
    if rule.get("oif"):
        inside = False
    if rule.get("fwmark") or rule.get("fwmask"):
        inside = inside and mark & _bits(rule.get("fwmask"), 0xFFFFFFFF) == _bits(rule.get("fwmark"), 0)
    return inside != bool(rule.get("not"))


def _bits(value: Json, absent: int) -> int:
    """A mark as a number, or as the text that `ip` prints."""
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            raise NotCollected(f"an ip rule has the mark {value[:20]}") from None
    return value if isinstance(value, int) else absent


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
