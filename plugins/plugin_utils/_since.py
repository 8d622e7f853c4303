# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what changed on the path since an earlier report or bundle, oldest first.

from __future__ import annotations

import datetime
import json
import pathlib
import textwrap
import typing as t
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from . import _bundle
from ._cluster import Cluster
from ._documents import Documents, NodeFacts
from ._fib import MAIN_TABLE
from ._json import FAMILIES, Json, NotCollected, as_list, as_mapping, objects
from ._question import BadQuestion
from ._run import read_document

LONGEST = 160  # characters of a value that is told
MOST_OF_ONE = 6  # changes of one object that are told one by one
UNREADY_KINDS = ("NetworkUnavailable", "Ready")
CALICOS_NOTES = ("projectcalico.org/", "flannel.alpha.coreos.com/", "cni.projectcalico.org/")
OWNED_CHAINS = ("cali", "KUBE-", "FLANNEL-")
# The sections of the cluster document whose objects are settings, and the word for one of them. Of the others, pods and events are looked at by themselves.
SETTINGS = {
    "ippools": "IPPool", "blockaffinities": "BlockAffinity", "bgpconfigurations": "BGPConfiguration", "bgppeers": "BGPPeer",
    "felixconfigurations": "FelixConfiguration", "clusterinformations": "ClusterInformation", "networkpolicies": "NetworkPolicy",
    "calico_networkpolicies": "NetworkPolicy of Calico", "globalnetworkpolicies": "GlobalNetworkPolicy", "tiers": "Tier", "networksets": "NetworkSet",
    "globalnetworksets": "GlobalNetworkSet", "hostendpoints": "HostEndpoint", "daemonsets": "DaemonSet", "configmaps": "ConfigMap",
    "clusternetworkpolicies": "ClusterNetworkPolicy", "services": "Service", "ipamblocks": "IPAMBlock",
}  # fmt: skip
UNTOLD_FIELDS = {"ipamblocks": ("spec.allocations", "spec.attributes", "spec.unallocated", "spec.sequenceNumber", "spec.sequenceNumberForAllocation")}


@dataclass(frozen=True)
class Thing:
    """One object as it was at one time: what is told of it by name, and lines of which it has each or not."""

    values: Mapping[str, str] = field(default_factory=dict)
    lines: frozenset[str] = frozenset()
    at: str | None = None  # when it became as it is, RFC 3339, where something tells
    again: str = ""  # what to say where only that time is another
    folded: bool = False  # its lines are counted, not told


class Change(t.NamedTuple):
    """at: when, RFC 3339; None: at some time between both documents. before, after: None: it was, or is, not there."""

    at: str | None
    node: str | None
    section: str
    object: str
    before: str | None
    after: str | None
    again: str = ""

    @property
    def text(self) -> str:
        if self.again:
            return f"{self.object} {self.again}"
        if self.before is None:
            return f"{self.object} is new" + (f": {self.after}" if self.after else "")
        if self.after is None:
            return f"{self.object} is gone" + (f": it was {self.before}" if self.before else "")
        return f"{self.object}: {self.before or 'nothing'} before, now {self.after or 'nothing'}"

    def to_json(self) -> dict[str, Json]:
        return {"at": self.at, "node": self.node, "section": self.section, "object": self.object, "before": self.before, "after": self.after, "text": self.text}


Things = dict[str, Thing]


class Scope(t.NamedTuple):
    """What of a node the question is about: addresses and host links of its pods. prefix: of the links of all pods."""

    addresses: frozenset[str]
    ifnames: frozenset[str]
    prefix: str


def _told(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return textwrap.shorten(text, LONGEST, placeholder=" ...") if len(text) > LONGEST else text


def _joined(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}".strip() for name, value in values.items() if value)


def compared(before: Things, after: Things, node: str | None, section: str) -> Iterator[Change]:
    """What of one section is not as it was."""
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if old is None and new is not None:
            yield Change(new.at, node, section, name, None, _joined(new.values))
        elif new is None and old is not None:
            yield Change(None, node, section, name, _joined(old.values), None)
        elif old is not None and new is not None:
            yield from _between(name, old, new, node, section)


def _between(name: str, old: Thing, new: Thing, node: str | None, section: str) -> Iterator[Change]:
    at = new.at if new.at != old.at else None
    names = [key for key in dict.fromkeys((*old.values, *new.values)) if old.values.get(key) != new.values.get(key)]
    for key in names[:MOST_OF_ONE]:
        yield Change(at, node, section, f"{name} {key}".strip(), old.values.get(key, ""), new.values.get(key, ""))
    if len(names) > MOST_OF_ONE:
        yield Change(at, node, section, name, "", f"{len(names) - MOST_OF_ONE} more fields are different")
    if at is not None and new.again and not names:
        yield Change(at, node, section, name, old.at, at, new.again)
    gone, come = sorted(old.lines - new.lines), sorted(new.lines - old.lines)
    if new.folded and (gone or come):
        yield Change(at, node, section, name, f"{len(old.lines)} rules", f"{len(new.lines)} rules, {len(come)} of them new, {len(gone)} gone")
        return
    for line in gone:
        yield Change(None, node, section, f"{name} {line}", "", None)
    for line in come:
        yield Change(at, node, section, f"{name} {line}", None, "")


# What one node's document tells


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
        values = {"": state, **{key: _told(link[key]) for key in ("mtu", "address", "master") if link.get(key) is not None}}
        data = as_mapping(as_mapping(link.get("linkinfo")).get("info_data"))
        found[f"link {name}"] = Thing({**values, **{str(key): _told(value) for key, value in data.items() if key in TUNNEL_FIELDS}})
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

        found[f"{name} router id"] = Thing({"": _told(status.get("router_id"))})
        found[name] = Thing(at=when(status.get("last_reboot")), again="was started again")
        found[f"configuration of {name}"] = Thing(at=when(status.get("last_reconfiguration")), again="was read again")
        for protocol in protocols:
            established = protocol.get("info") == "Established"
            state = Thing({"": "Established" if established else "not Established"}, at=when(protocol.get("since")), again="came back" if established else "")
            found[f"{name} session {protocol.get('name')}"] = state
    return found


def _identity(facts: NodeFacts, _scope: Scope) -> Things:
    known = as_mapping(facts.section("identity"))
    return {f"{key} of the node": Thing({"": _told(known.get(key))}) for key in ("boot_id", "kernel", "machine_id")}


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


# What the API tells


def _leaves(value: Json, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{place}]")
    else:
        yield path, _told(value)


def _metadata(raw: Mapping[str, Json]) -> tuple[str, Mapping[str, Json]]:
    metadata = as_mapping(raw.get("metadata"))
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata.get('name')}" if namespace else str(metadata.get("name")), metadata


def _time(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _settings(cluster: Cluster, section: str) -> Things:
    found = {}
    for raw in cluster.section(section):
        name, metadata = _metadata(raw)
        untold = UNTOLD_FIELDS.get(section, ())
        values = {path: text for path, text in _leaves(raw.get("spec") or raw.get("data"), "spec") if not path.startswith(untold)}
        if metadata.get("deletionTimestamp"):
            values["being deleted since"] = _told(metadata["deletionTimestamp"])
        found[f"{SETTINGS[section]} {name}"] = Thing(values, at=_time(metadata.get("creationTimestamp")))
    return found


def _nodes(cluster: Cluster) -> Things:
    found = {}
    for raw in cluster.section("nodes"):
        name, metadata = _metadata(raw)
        notes = {str(key): _told(value) for key, value in as_mapping(metadata.get("annotations")).items() if str(key).startswith(CALICOS_NOTES)}
        status = as_mapping(raw.get("status"))
        places = {f"address {a.get('type')}": _told(a.get("address")) for a in objects(status.get("addresses"))}
        found[f"Node {name}"] = Thing({**notes, **places, **dict(_leaves(raw.get("spec") or {}, "spec"))}, at=_time(metadata.get("creationTimestamp")))
        for condition in objects(status.get("conditions")):
            if condition.get("type") in UNREADY_KINDS:
                told = Thing({"": _told(condition.get("status"))}, at=_time(condition.get("lastTransitionTime")))
                found[f"Node {name} condition {condition['type']}"] = told
    return found


def _pods(cluster: Cluster, asked: frozenset[str]) -> Things:
    found = {}
    for raw in cluster.section("pods"):
        name, metadata = _metadata(raw)
        if name not in asked:
            continue
        status, spec = as_mapping(raw.get("status")), as_mapping(raw.get("spec"))
        places = {"uid": metadata.get("uid"), "node": spec.get("nodeName"), "address": status.get("podIP"), "phase": status.get("phase")}
        values = {key: _told(value) for key, value in places.items()}
        values.update({f"label {key}": _told(value) for key, value in as_mapping(metadata.get("labels")).items()})
        found[f"Pod {name}"] = Thing(values, at=_time(metadata.get("creationTimestamp")))
        for container in objects(status.get("containerStatuses")):
            at = _time(as_mapping(as_mapping(container.get("state")).get("running")).get("startedAt"))
            words = {"": "ready" if container.get("ready") else "not ready", "restarts": _told(container.get("restartCount"))}
            found[f"Pod {name} container {container.get('name')}"] = Thing(words, at=at, again="was started again")
    return found


def _events(cluster: Cluster, after: Json) -> Iterator[Change]:
    for raw in cluster.section("events"):
        at = _time(raw.get("lastTimestamp"))
        if at is not None and isinstance(after, str) and at > after:
            about = as_mapping(raw.get("involvedObject"))
            name = f"event {raw.get('reason')} of {about.get('namespace')}/{about.get('name')}"
            yield Change(at, None, "events", name, None, _told(raw.get("message")))


def _section(earlier: NodeFacts, facts: NodeFacts, scope: Scope, section: str) -> Iterator[Change]:
    yield from compared(SECTIONS[section](earlier, scope), SECTIONS[section](facts, scope), facts.name, section)


def _objects(before: Cluster, after: Cluster, section: str) -> Iterator[Change]:
    """Where a section does not hold everything, only what both hold: the rest may merely not have been asked for."""
    old, new = _settings(before, section), _settings(after, section)
    if not before.is_whole(section) or not after.is_whole(section):
        old, new = ({name: things[name] for name in things if name in old and name in new} for things in (old, new))
    yield from compared(old, new, None, section)


def _of_cluster(before: Cluster, after: Cluster, asked: frozenset[str]) -> Iterator[Callable[[], Iterator[Change]]]:
    for section in SETTINGS:
        yield partial(_objects, before, after, section)
    yield lambda: compared(_nodes(before), _nodes(after), None, "nodes")
    yield lambda: compared(_pods(before, asked), _pods(after, asked), None, "pods")
    yield lambda: _events(after, before.document.get("collected_at"))


def between(before: Documents, after: Documents, asked: frozenset[str], addresses: frozenset[str], ifnames: frozenset[str]) -> tuple[list[Change], list[str]]:
    """The changes, oldest first, those without a time last, and what could not be compared. asked: pods; addresses, ifnames: of both ends."""
    scope = Scope(addresses, ifnames, after.cluster.interface_prefix)
    left: list[str] = []
    comparisons: list[Callable[[], Iterator[Change]]] = []
    for name, facts in after.nodes.items():
        earlier = before.node(name)
        if earlier.collected and facts.collected:
            comparisons += [partial(_section, earlier, facts, scope, section) for section in SECTIONS]
        else:
            left.append(f"{name} {facts.reason}" if not facts.collected else f"{name} is not in the earlier documents")
    changes: list[Change] = []
    for comparison in (*comparisons, *_of_cluster(before.cluster, after.cluster, asked)):
        try:
            changes += comparison()
        except NotCollected as exc:
            if not exc.absent:
                left.append(exc.reason)
    return in_order(changes), list(dict.fromkeys(left))


def in_order(changes: list[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: (change.at is None, change.at or ""))


# What two reports tell


def _of_report(report: Mapping[str, Json]) -> Iterator[tuple[str, Things]]:
    ends = {role: as_mapping(as_mapping(report.get("question")).get(role)) for role in ("source", "destination")}
    told = {f"{role} {end.get('asked')}": {key: _told(end[key]) for key in ("node", "address", "uid", "ifname") if end.get(key)} for role, end in ends.items()}
    yield "question", {name: Thing(values) for name, values in told.items()}
    hops: Things = {}
    for direction in ("forward", "reverse"):
        for hop in objects(as_mapping(report.get("path")).get(direction)):
            hops[f"{direction} hop {hop.get('id')}"] = Thing({"": _told(hop.get("outcome")), **({"device": str(hop["device"])} if hop.get("device") else {})})
    yield "path", hops
    findings = objects(report.get("findings"))
    yield "findings", {f"finding {f.get('check')} of {f.get('object')} on {f.get('node')}": Thing({"": _told(f.get("evidence"))}) for f in findings}


def between_reports(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[Change]:
    """What two reports say differently. Neither tells when."""
    earlier = dict(_of_report(before))
    return [change for section, things in _of_report(after) for change in compared(earlier[section], things, None, section)]


# The section `since` of a report


class Baseline(t.NamedTuple):
    """An earlier diagnosis: its report, and its documents where there is a bundle of it."""

    report: Mapping[str, Json]
    documents: Documents | None


def read(path: str) -> Baseline:
    """A report or a bundle. Errors: BadQuestion, one sentence that names the file."""
    where = pathlib.Path(path).expanduser()
    if not where.exists():
        raise BadQuestion(f"there is no baseline {path}; give an earlier report (reports/<id>.json), or a bundle that was kept with -e podnet_bundle=<file>")
    if zipfile.is_zipfile(where):
        diagnosis, _collected = _bundle.load(path)
        return Baseline({}, diagnosis.documents)
    return Baseline(read_document(str(where), "podnet.doctor/report/1"), None)


def since(path: str, report: Mapping[str, Json], documents: Documents) -> dict[str, Json]:
    """The section `since` of the report; what is wrong with the baseline is told there, so that no report is lost by it."""
    try:
        baseline = read(path)
    except BadQuestion as exc:
        return {"baseline": path, "error": str(exc)}
    collected_at: Json
    if baseline.documents is None:
        if (baseline.report.get("question") is None) != (report.get("question") is None):
            return {"baseline": path, "error": f"{path} and this report are about different things, an audit and a pair; keep a bundle to compare these"}
        changes, left = between_reports(baseline.report, report), ["the nodes and the API: a report keeps no documents, a bundle does (-e podnet_bundle=FILE)"]
        collected_at = baseline.report.get("created_at")
    else:
        ends = [as_mapping(as_mapping(report.get("question")).get(role)) for role in ("source", "destination")]
        asked = frozenset(f"{end.get('namespace')}/{end.get('name')}" for end in ends if end.get("kind") == "pod")
        addresses, ifnames = (frozenset(str(end[key]) for end in ends if end.get(key)) for key in ("address", "ifname"))
        changes, left = between(baseline.documents, documents, asked, addresses, ifnames)
        collected_at = baseline.documents.cluster.document.get("collected_at")
    return {"baseline": path, "collected_at": _time(collected_at), "changes": [change.to_json() for change in changes], "not_compared": left}
