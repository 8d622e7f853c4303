# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what of a node's document is compared with an earlier one.

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping

from ._changes import Scope, Thing, Things, told
from ._documents import NodeFacts
from ._fib import MAIN_TABLE
from ._json import FAMILIES, Json, NotCollected, as_list, as_mapping, objects

OWNED_CHAINS = ("cali", "KUBE-", "FLANNEL-")


def _of_a_pod(name: str, scope: Scope) -> bool:
    """A link of a pod that the question is not about."""
    return name.startswith(scope.prefix) and name not in scope.ifnames


def _links(facts: NodeFacts, scope: Scope) -> Things:
    found = {}
    for name, link in facts.links.items():
        if _of_a_pod(name, scope):
            continue
        flags = as_list(link.get("flags"))
        state = "down" if "UP" not in flags else "up" if "LOWER_UP" in flags else "up, without a carrier"
        values = {"": state, **{key: told(link[key]) for key in ("mtu", "address", "master") if link.get(key) is not None}}
        data = as_mapping(as_mapping(link.get("linkinfo")).get("info_data"))
        found[f"link {name}"] = Thing({**values, **{str(key): told(value) for key, value in data.items() if key in TUNNEL_FIELDS}})
    return found


TUNNEL_FIELDS = ("id", "local", "remote", "port", "link", "mode")


def _addresses(facts: NodeFacts, scope: Scope) -> Things:
    mine = (a for a in facts.addresses if not str(a.get("local")).startswith("fe80:") and not _of_a_pod(str(a.get("ifname")), scope))
    return {f"address {a.get('local')}/{a.get('prefixlen')} on {a.get('ifname')}": Thing() for a in mine}


def _route_text(route: Mapping[str, Json]) -> str:
    words = [str(route.get("type"))] if route.get("type") != "unicast" else []
    for hop in objects(route.get("nexthops")) or [route]:
        words += [f"{word} {hop[key]}" for key, word in (("gateway", "via"), ("dev", "dev")) if hop.get(key)]
    words += [f"{word} {route[key]}" for key, word in (("protocol", "proto"), ("prefsrc", "src"), ("mtu", "mtu")) if route.get(key)]
    return " ".join([*words, *(str(flag) for flag in as_list(route.get("flags")) if flag == "onlink")])


def _routes(facts: NodeFacts, scope: Scope) -> Things:
    found: dict[str, list[str]] = {}
    for route in facts.routes:
        dst, table = str(route.get("dst")), route.get("table")
        if table == 255 or dst.startswith(("fe80:", "ff00:")):
            continue
        if _of_a_pod(str(route.get("dev")), scope) and dst.partition("/")[0] not in scope.addresses:
            continue
        name = f"route {dst}" + (f" of table {table}" if table != MAIN_TABLE else "") + (f" metric {route['metric']}" if route.get("metric") else "")
        found.setdefault(name, []).append(_route_text(route))
    return {name: Thing({"": "; ".join(sorted(texts))}) for name, texts in found.items()}


def _rules(facts: NodeFacts, _scope: Scope) -> Things:
    names = ("src", "dst", "iif", "oif", "fwmark", "fwmask", "table", "goto", "action")
    found = {}
    for rule in facts.rules:
        words = " ".join(f"{key} {rule[key]}" for key in names if rule.get(key) is not None)
        found[f"rule {rule.get('family')} {rule.get('priority')}: {words}"] = Thing()
    return found


def _neighbours(facts: NodeFacts, scope: Scope) -> Things:
    """Entries that are set for good, and the link-layer address of the others; these come and go by themselves."""
    found = {}
    for entry in facts.neighbours:
        if entry.get("lladdr") and not _of_a_pod(str(entry.get("dev")), scope) and not str(entry.get("dst")).startswith(("fe80:", "ff0")):
            fixed = "PERMANENT" in as_list(entry.get("state"))
            found[f"neighbour {entry.get('dst')} on {entry.get('dev')}"] = Thing({"": str(entry["lladdr"]), **({"set": "PERMANENT"} if fixed else {})})
    return found


def _fdb(facts: NodeFacts, _scope: Scope) -> Things:
    found: dict[str, list[str]] = {}
    for entry in facts.fdb:
        if entry.get("dst"):
            found.setdefault(f"FDB entry {entry.get('mac')} on {entry.get('ifname')}", []).append(f"to {entry['dst']}")
    return {name: Thing({"": ", ".join(sorted(texts))}) for name, texts in found.items()}


def _sysctls(facts: NodeFacts, scope: Scope) -> Things:
    values = as_mapping(facts.section("sysctls"))
    return {f"sysctl {key}": Thing({"": str(value)}) for key, value in values.items() if not any(_of_a_pod(part, scope) for part in str(key).split("/"))}


def _daemons(facts: NodeFacts, section: str) -> Things:
    found = {}
    for name, process in as_mapping(facts.section(section)).items():
        if isinstance(process, Mapping) and "running" in process and not process.get("error"):
            started = process.get("started_at")
            at = started if isinstance(started, str) else None
            found[name] = Thing({"": "runs" if process["running"] else "does not run"}, at=at, again="was started again")
    return found


def moment(said: Json, server_time: Json, collected_at: Json) -> str | None:
    """A time as BIRD gives it (`17:45:42`, `2026-11-21 17:45:42`, in the node's own zone) as RFC 3339, UTC. None: it is no such time."""
    try:
        here = datetime.datetime.fromisoformat(str(server_time))
        utc = datetime.datetime.fromisoformat(str(collected_at).replace("Z", "")).replace(tzinfo=None)
        text = str(said).partition(".")[0]
        if len(text) == 8 and ":" in text:
            told = datetime.datetime.combine(here.date(), datetime.time.fromisoformat(text))
            told -= datetime.timedelta(days=told > here + datetime.timedelta(seconds=5))
        elif len(text) == 19:
            told = datetime.datetime.fromisoformat(text)
        else:
            return None
        zone = datetime.timedelta(minutes=round((here - utc).total_seconds() / 900) * 15)
        return f"{(told - zone).isoformat(timespec='seconds')}Z"
    except (ValueError, OverflowError):
        return None


def _bird(facts: NodeFacts, _scope: Scope) -> Things:
    found = {}
    for family in FAMILIES:
        try:
            status = as_mapping(facts.bird_part("status", family))
            protocols = facts.bgp_protocols(family)
        except NotCollected:
            continue
        name = "BIRD" if family == "ipv4" else "BIRD of IPv6"

        def when(said: Json, status: Mapping[str, Json] = status) -> str | None:
            return moment(said, status.get("server_time"), as_mapping(facts.document).get("collected_at"))

        found[f"{name} router id"] = Thing({"": told(status.get("router_id"))})
        found[name] = Thing(at=when(status.get("last_reboot")), again="was started again")
        found[f"configuration of {name}"] = Thing(at=when(status.get("last_reconfiguration")), again="was read again")
        for protocol in protocols:
            established = protocol.get("info") == "Established"
            state = Thing({"": "Established" if established else "not Established"}, at=when(protocol.get("since")), again="came back" if established else "")
            found[f"{name} session {protocol.get('name')}"] = state
    return found


def _identity(facts: NodeFacts, _scope: Scope) -> Things:
    known = as_mapping(facts.section("identity"))
    return {f"{key} of the node": Thing({"": told(known.get(key))}) for key in ("boot_id", "kernel", "machine_id")}


def _filters(facts: NodeFacts, _scope: Scope) -> Things:
    found = {}
    for family in ("inet", "inet6"):
        for base in facts.filters(family).bases:
            where = f"of {base.table} ({base.backend}{', IPv6' if family == 'inet6' else ''})"
            found[f"policy of {base.chain} {where}"] = Thing({"": base.policy})
            for chain, rules in base.chains.items():
                found[f"{chain} {where}"] = Thing(lines=frozenset(rule.line for rule in rules), folded=chain.startswith(OWNED_CHAINS))
    return found


Reader = Callable[[NodeFacts, Scope], Things]
SECTIONS: Mapping[str, Reader] = {
    "identity": _identity, "links": _links, "addresses": _addresses, "routes": _routes, "rules": _rules, "neighbours": _neighbours, "fdb": _fdb,
    "sysctls": _sysctls, "bird": _bird, "calico": lambda facts, scope: _daemons(facts, "calico"), "flannel": lambda facts, scope: _daemons(facts, "flannel"),
    "netfilter": _filters,
}  # fmt: skip
