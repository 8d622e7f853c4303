# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the whole cluster judged without a question: its scope, and how each node and each session stands.

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ._cluster import Cluster
from ._documents import Documents
from ._doubts import doubts
from ._flannel import carries
from ._graph import FactId, Judged
from ._json import Json, NotCollected, as_mapping
from ._question import AUDIT, Doubts, Scope, pod_endpoint

# what a row of a node counts: its name in the report -> the kinds of facts
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "sessions": ("bgp.session",),
    "routes": ("route.block", "flannel.route"),
    "pods": ("veth", "route.local", "neighbour.pod", "pod.link", "pod.route", "pod.gateway", "endpoint.programmed"),
}


COLUMN = {kind: column for column, kinds in COLUMNS.items() for kind in kinds}
LOOKED_UP = ("bgp.session", "felix.running")  # kinds of facts whose being right is asked for again


def scope_of(cluster: Cluster, documents: Documents | None = None) -> Scope:
    """All nodes, and all pods with a network of their own. Errors: NotCollected."""
    everyone = tuple(pod_endpoint(cluster, pod, pod.key) for pod in cluster.workloads if pod.node in cluster.nodes)
    return Scope(AUDIT, tuple(cluster.nodes), everyone=everyone, doubts=_doubts(cluster, documents))


def _doubts(cluster: Cluster, documents: Documents | None) -> Doubts | None:
    """Without what the API tells of blocks and pools, every pair is in doubt; flannel's pairs have few facts each."""
    try:
        return doubts(cluster, documents) if documents is not None and not carries(cluster) else None
    except NotCollected:
        return None


def unseen(documents: Documents, core: Iterable[str]) -> dict[str, str]:
    """Node -> the reason why nothing of it was read."""
    found = ((name, documents.node(name)) for name in core)
    return {name: f"{name} {facts.reason}" for name, facts in found if not facts.collected}


def folded(entries: Iterable[Mapping[str, str]], nobody: Mapping[str, str]) -> list[dict[str, str]]:
    """What was not checked: all that fails for one unseen node is one entry."""
    nodes = {reason: name for name, reason in nobody.items()}
    result: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for entry in entries:
        name = nodes.get(entry["reason"])
        one = dict(entry) if name is None else {"check": "everything", "node": name, "object": "", "reason": entry["reason"]}
        result.setdefault((one["check"], one["node"], one["object"], one["reason"]), one)
    for name, reason in nobody.items():
        result.setdefault(("everything", name, "", reason), {"check": "everything", "node": name, "object": "", "reason": reason})
    return list(result.values())


@dataclass
class Tally:
    """Of facts that nothing more has to be known about: how many there are of each check and outcome, and how many of each node are right."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    right: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, verdict: Judged) -> bool:
        """Whether it could be counted and forgotten."""
        if verdict.outcome not in ("ok", "not_applicable") or verdict.fact.kind in LOOKED_UP:
            return False
        self.outcomes[verdict.check, verdict.outcome] += 1
        if verdict.outcome == "ok" and verdict.fact.kind in COLUMN:
            self.right[verdict.fact.node, COLUMN[verdict.fact.kind]] += 1
        return True


def rows(scope: Scope, documents: Documents, judged: Mapping[FactId, Judged], tally: Tally) -> list[dict[str, Json]]:
    """How each node stands; `findings` counts what is wrong on it, whatever it is."""
    result: dict[str, dict[str, Json]] = {}
    for name in dict.fromkeys((*scope.core, *documents.nodes)):
        result[name] = {"node": name, "address": _address(documents, name), "seen": documents.node(name).collected, "findings": 0}
        result[name].update({column: {"right": 0, "of": 0} for column in COLUMNS})
    if scope.doubts is not None:
        for name, right in scope.doubts.right.items():
            result[name].update({what: {"right": number, "of": number} for what, number in right.items()})
    for (node, name), number in tally.right.items():
        if node in result:
            for what in ("right", "of"):
                result[node][name][what] += number
    for fact_id, verdict in judged.items():
        row = result.get(fact_id.node)
        if row is None:
            continue
        row["findings"] += verdict.outcome == "finding"
        column = COLUMN.get(fact_id.kind)
        if column is not None and verdict.outcome != "not_applicable":
            row[column]["of"] += 1
            row[column]["right"] += verdict.outcome == "ok"
    return list(result.values())


def _address(documents: Documents, name: str) -> str | None:
    try:
        node = documents.cluster.nodes.get(name)
    except NotCollected:
        return None
    return next(iter((*node.calico_addresses, *node.internal_ips)), None) if node is not None else None


def sessions(judged: Mapping[FactId, Judged], documents: Documents) -> list[dict[str, Json]]:
    """The sessions between two nodes that are not Established, each once, with what either side says."""
    result: dict[tuple[str, ...], dict[str, Json]] = {}
    for fact_id, verdict in judged.items():
        if fact_id.kind != "bgp.session" or verdict.finding is None:
            continue
        peer = str(as_mapping(verdict.fact.value).get("peer") or fact_id.object)
        ends = tuple(sorted((fact_id.node, peer)))
        entry = result.setdefault((*ends, verdict.fact.family), {"ends": list(ends), "family": verdict.fact.family, "said": {}})
        entry["said"][fact_id.node] = str(verdict.finding.actual or "no such peer")
    for entry in result.values():
        first, last = entry["ends"]
        for node, other in ((first, last), (last, first)):
            if node not in entry["said"]:
                entry["said"][node] = _word(node, other, entry["family"], judged, documents)
    return list(result.values())


def _word(node: str, peer: str, family: str, judged: Mapping[FactId, Judged], documents: Documents) -> str | None:
    """What the other side of a dead session says; None where it was not read, or is no node of the cluster."""
    verdict = judged.get(FactId("bgp.session", node, peer if family == "ipv4" else f"{peer} ipv6"))
    if verdict is not None and verdict.outcome == "ok":
        return "Established"
    try:
        documents.node(node).bird(t.cast("t.Any", family))
    except NotCollected:
        return None
    return "not configured" if verdict is None else None
