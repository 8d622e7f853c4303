# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what changed on the path since an earlier report or bundle, oldest first.

from __future__ import annotations

import pathlib
import typing as t
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from . import _bundle
from ._changes import Change, Scope, Thing, Things, compared, told
from ._changes_of_cluster import SETTINGS, events, moment_of, nodes, pods, settings
from ._changes_of_node import SECTIONS
from ._cluster import Cluster
from ._documents import Documents, NodeFacts
from ._json import Json, NotCollected, as_mapping, objects
from ._question import BadQuestion
from ._run import read_document


def _section(earlier: NodeFacts, facts: NodeFacts, scope: Scope, section: str) -> Iterator[Change]:
    yield from compared(SECTIONS[section](earlier, scope), SECTIONS[section](facts, scope), facts.name, section)


def _objects(before: Cluster, after: Cluster, section: str) -> Iterator[Change]:
    """Where a section does not hold everything, only what both hold: the rest may merely not have been asked for."""
    old, new = settings(before, section), settings(after, section)
    if not before.is_whole(section) or not after.is_whole(section):
        old, new = ({name: things[name] for name in things if name in old and name in new} for things in (old, new))
    yield from compared(old, new, None, section)


def _of_cluster(before: Cluster, after: Cluster, asked: frozenset[str]) -> Iterator[Callable[[], Iterator[Change]]]:
    for section in SETTINGS:
        yield partial(_objects, before, after, section)
    yield lambda: compared(nodes(before), nodes(after), None, "nodes")
    yield lambda: compared(pods(before, asked), pods(after, asked), None, "pods")
    yield lambda: events(after, before.document.get("collected_at"))


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
    asked = {f"{role} {end.get('asked')}": {key: told(end[key]) for key in ("node", "address", "uid", "ifname") if end.get(key)} for role, end in ends.items()}
    yield "question", {name: Thing(values) for name, values in asked.items()}
    hops: Things = {}
    for direction in ("forward", "reverse"):
        for hop in objects(as_mapping(report.get("path")).get(direction)):
            hops[f"{direction} hop {hop.get('id')}"] = Thing({"": told(hop.get("outcome")), **({"device": str(hop["device"])} if hop.get("device") else {})})
    yield "path", hops
    findings = objects(report.get("findings"))
    yield "findings", {f"finding {f.get('check')} of {f.get('object')} on {f.get('node')}": Thing({"": told(f.get("evidence"))}) for f in findings}


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
    return {"baseline": path, "collected_at": moment_of(collected_at), "changes": [change.to_json() for change in changes], "not_compared": left}
