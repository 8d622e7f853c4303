# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what was read of the hops, held against where packets were seen. Where the two disagree, the packet is right.

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ._documents import Evidence
from ._graph import Fact, FactId, Finding, Judged
from ._json import as_mapping
from ._path import Hop
from ._question import Question, Scope

CHECK, KIND = "probe.contradicts", "probe.agreement"


def agreement_fact(node: str | None, object_name: str) -> FactId:
    return FactId(KIND, node or "", object_name)


def object_of(direction: str, pair: Question, scope: Scope) -> str:
    """What facts about the packets of a direction are about: the direction, and behind a Service which endpoint's it is."""
    first = scope.whole is None or pair == scope.whole.lead
    return direction if first else f"{direction} {pair.destination.address}:{pair.port}"


def direction_of(fact: FactId | Fact) -> str:
    return fact.object.partition(" ")[0]


def confront(judged: dict[FactId, Judged], ways: Mapping[str, Sequence[Hop]], evidence: Evidence) -> None:
    """Turns the verdicts of the facts KIND, which were found right as far as they go by themselves, into findings."""
    for fact_id, verdict in list(judged.items()):
        if fact_id.kind != KIND or fact_id.object not in ways or verdict.outcome != "ok":
            continue
        hops = ways[fact_id.object]
        finding = _lost_without_reason(verdict, hops, judged, evidence) or _passed_all_the_same(verdict, hops, judged, evidence)
        if finding is not None:
            judged[fact_id] = Judged(verdict.fact, CHECK, "finding", finding)


def _critical(hop: Hop, judged: Mapping[FactId, Judged]) -> list[Finding]:
    found = (judged[fact].finding for fact in hop.facts if fact in judged and fact.kind != KIND)
    return [finding for finding in found if finding is not None and finding.severity == "critical"]


def _lost_without_reason(verdict: Judged, hops: Sequence[Hop], judged: Mapping[FactId, Judged], evidence: Evidence) -> Finding | None:
    """Packets did not pass a hop of a node, and nothing that was read of it, or of what it needs, is wrong."""
    lost = evidence.lost(direction_of(verdict.fact))
    position = next((number for number, hop in enumerate(hops) if lost is not None and hop.id == lost["hop"]), None)
    if lost is None or position is None or hops[position].kind in ("wire", "beyond", "pod"):
        return None
    hop = hops[position]
    upto = hops[: position + 2]  # a tunnel is left by what the wire needs
    if any(_critical(one, judged) for one in upto) or _explained(verdict, judged):
        return None
    mine = [judged[fact] for fact in hop.facts if fact in judged]
    right, untold = sum(one.outcome == "ok" for one in mine), [one.reason for one in mine if one.outcome == "not_checked"]
    read = f"{right} checks of this hop found nothing wrong" + (f", {len(untold)} could not look" if untold else "")
    places = {str(one.get("hop")): one for one in evidence.way(direction_of(verdict.fact))}
    after, missed = (as_mapping(places.get(str(lost[name]))) for name in ("after", "hop"))
    seen = f"{after.get('packets')} packets were seen on {_place(after)} and none on {_place(missed)}"
    hint = {"node": hop.node, "after": _place(after), "before": _place(missed), "devices": [after.get("device"), missed.get("device")], "untold": untold}
    sources = tuple(dict.fromkeys(f"capture {one.get('node')}" for one in (after, missed)))
    return Finding(CHECK, verdict.fact, {"hop": hop.id, "packets": 0}, f"{seen}; {read}", sources, hint=hint)


def _explained(verdict: Judged, judged: Mapping[FactId, Judged]) -> bool:
    """Whether anything that the way needs ends packets."""
    above, stack = set(verdict.fact.needs), list(verdict.fact.needs)
    while stack:
        needed = judged.get(stack.pop())
        more = set(needed.fact.needs) - above if needed is not None else set()
        above |= more
        stack += more
    return any(v.finding is not None and v.finding.severity == "critical" for fact in above if (v := judged.get(fact)) is not None)


def _passed_all_the_same(verdict: Judged, hops: Sequence[Hop], judged: Mapping[FactId, Judged], evidence: Evidence) -> Finding | None:
    """Something was found that ends packets at a hop, and packets passed it."""
    passed = evidence.passed(direction_of(verdict.fact), asked_only=True)
    for hop in hops:
        wrong = _critical(hop, judged) if passed.get(hop.id) else []
        if wrong:
            evidence_line = f"{wrong[0].check} should end packets at {hop.id}, and they were seen to pass it: {wrong[0].evidence}"
            return Finding(CHECK, verdict.fact, {"hop": hop.id, "check": wrong[0].check}, evidence_line, (f"capture {hop.node}",), severity="latent")
    return None


def _place(entry: Mapping[str, object]) -> str:
    name = str(entry.get("hop"))
    where = name.rpartition("/")[2] if name.startswith("pod:") else str(entry.get("node"))
    return f"{entry.get('device') or 'the NIC'} of {where}"
