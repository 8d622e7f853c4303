# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: two lists of kernel objects held against each other, and one node against what the API says it must be.

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ._catalogue import catalogue
from ._cluster import Cluster
from ._documents import Documents, NodeFacts
from ._graph import Fact, judge
from ._json import Json, NotCollected, as_mapping, objects
from ._question import Endpoint, Question, Scope

Entry = Mapping[str, Json]

# section -> (what makes two entries the same object, what is compared)
KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "routes": (("family", "table", "dst", "metric"), ("type", "gateway", "dev", "protocol", "scope", "prefsrc", "nexthops")),
    "neighbours": (("family", "dst", "dev"), ("lladdr", "state")),
    "peers": (("address",), ("name", "state", "info")),
    "links": (("ifname",), ("flags", "mtu", "operstate", "master", "kind")),
}


def entries(value: Json, section: str) -> list[Entry]:
    """A section, a whole node document, or the result of a module. Errors: ValueError, one sentence."""
    if isinstance(value, Mapping):
        document = value.get("node") if isinstance(value.get("node"), Mapping) else value
        value = as_mapping(document).get("bird" if section == "peers" else section)
    if section == "peers" and isinstance(value, Mapping):
        value = as_mapping(value.get("ipv4")).get("protocols", as_mapping(value.get("ipv4")).get("error"))
    if isinstance(value, Mapping) and "error" in value:
        raise ValueError(f"{section} were not read: {value['error']}")
    if not isinstance(value, list):
        raise ValueError(f"expected a list of {section}, or a node document that holds them, got {type(value).__name__}")
    found = objects(value)
    if section == "peers":
        return [
            {"address": as_mapping(p.get("bgp")).get("neighbor_address"), "name": p.get("name"), "state": p.get("state"), "info": p.get("info")}
            for p in found
            if p.get("proto") == "BGP"
        ]
    if section == "links":
        return [{**link, "kind": as_mapping(link.get("linkinfo")).get("info_kind")} for link in found]
    return found


def compare(first: Json, second: Json, section: str) -> dict[str, list[Json]]:
    """{only_first, only_second, different: [{object, first, second}]}; all three empty where both are the same."""
    identity, compared = KEYS[section]
    left, right = (_by_key(entries(value, section), identity) for value in (first, second))
    different = []
    for key in left.keys() & right.keys():
        a, b = ({name: item.get(name) for name in compared} for item in (left[key], right[key]))
        if a != b:
            changed = [name for name in compared if a[name] != b[name]]
            different.append({"object": dict(zip(identity, key)), "first": {n: a[n] for n in changed}, "second": {n: b[n] for n in changed}})
    return {
        "only_first": [dict(left[key]) for key in sorted(left.keys() - right.keys(), key=str)],
        "only_second": [dict(right[key]) for key in sorted(right.keys() - left.keys(), key=str)],
        "different": sorted(different, key=lambda entry: str(entry["object"])),
    }


def _by_key(items: Sequence[Entry], identity: Sequence[str]) -> dict[tuple[str, ...], Entry]:
    return {tuple(str(item.get(name)) if item.get(name) is not None else "" for name in identity): item for item in items}


def _scope(node: str) -> Scope:
    nobody = Endpoint(node, "address", "0.0.0.0")
    return Scope(Question(nobody, nobody, "icmp"), (node,))


def _expect(cluster: Cluster, scope: Scope) -> list[Fact]:
    """Errors: NotCollected where the nodes were not read: then nothing at all can be expected."""
    cluster.section("nodes")
    return catalogue().expect(cluster, scope)[0]


def expected(cluster: Json, node: str) -> list[dict[str, Json]]:
    """[{kind, object, value}]: what the cluster document says must be true on the node. Errors: ValueError."""
    try:
        facts = _expect(_cluster(cluster), _scope(node))
    except NotCollected as exc:
        raise ValueError(exc.reason) from exc
    return [{"kind": fact.kind, "object": fact.object, "value": fact.value} for fact in facts if fact.node == node and fact.kind not in ("probe",)]


def differences(node: Json, cluster: Json, name: str) -> list[dict[str, Json]]:
    """[{check, object, outcome: finding | not_checked, expected, actual, evidence}]: where a node is not, or could not be seen to be, as it must be."""
    document = as_mapping(node.get("node")) if isinstance(node, Mapping) and isinstance(node.get("node"), Mapping) else node
    if not isinstance(document, Mapping):
        raise ValueError(f"expected a node document, got {type(node).__name__}")
    known = _cluster(cluster)
    scope = _scope(name)
    try:
        facts = [fact for fact in _expect(known, scope) if fact.node == name and fact.kind != "probe"]
    except NotCollected as exc:
        raise ValueError(exc.reason) from exc
    judged = judge(facts, catalogue().checks, Documents(known, {name: NodeFacts(name, document)}), scope)
    result: list[dict[str, Json]] = []
    for verdict in judged.values():
        entry = {"check": verdict.check, "object": verdict.fact.object, "outcome": verdict.outcome, "expected": verdict.fact.value}
        if verdict.finding is not None:
            result.append({**entry, "actual": verdict.finding.actual, "evidence": verdict.finding.evidence})
        elif verdict.outcome == "not_checked":
            result.append({**entry, "actual": None, "evidence": verdict.reason})
    return result


def _cluster(value: Json) -> Cluster:
    document = value.get("cluster") if isinstance(value, Mapping) and isinstance(value.get("cluster"), Mapping) else value
    if not isinstance(document, Mapping) or "schema" not in document:
        raise ValueError(f"expected a cluster document, as podnet.doctor.cluster_info returns it, got {type(value).__name__}")
    return Cluster(t.cast("Mapping[str, Json]", document))
