# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Where packets were seen says something else than what was read of the hops (_confront.py holds one against the other).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._confront import agreement_fact, direction_of, object_of
from .._documents import Documents
from .._graph import Fact, Finding, NotApplicable
from .._json import as_mapping, objects
from .._path import walk
from .._question import Scope

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


@expects("probe.agreement")
def agreement(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if scope.audit:
        return
    pair = scope.question.lead
    path = walk(cluster, pair)
    for direction, hops, origin in (("forward", path.forward, pair.source), ("reverse", path.reverse, pair.destination)):
        needs = tuple(fact for hop in hops for fact in hop.facts)
        yield Fact(*agreement_fact(origin.node, object_of(direction, pair, scope)), value="as it was read", needs=needs)


@check("probe.contradicts", fact="probe.agreement")
def watched(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """By itself it is right as soon as packets were watched at any hop."""
    if not documents.evidence.passed(direction_of(fact)):
        raise NotApplicable("no packets were watched on their way")
    return None


def _witnesses(diagnosis: Diagnosis, node: str, devices: list[str]) -> list[str]:
    """What else was seen there while packets were lost: questions that nobody answered, rules that drop and have counted."""
    evidence = as_mapping(diagnosis.documents.evidence.document)
    arp = [one for one in objects(evidence.get("arp")) if one.get("node") == node and one.get("device") in devices and not one.get("pod")]
    rules = [one for one in objects(evidence.get("rules")) if one.get("node") == node]
    traced = [rule for one in objects(evidence.get("trace")) if one.get("node") == node for rule in objects(one.get("rules")) if rule.get("verdict") == "drop"]
    return [f"The trace says who dropped them: {one.get('family')} {one.get('table')} {one.get('chain')}, {one.get('rule') or 'its policy'}."
            for one in traced[:1]] + [f"It asked on {one.get('device')} who has {one.get('address')}, and nobody answered." for one in arp[:2]] + [
        f"{one.get('packets')} packets were counted meanwhile by {one.get('rule')} ({one.get('table')}, {one.get('chain')})." for one in rules[:2]
    ]


@cause(roots=("probe.contradicts",))
def lost_unseen(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """The packets say where, and nothing says why."""
    by_node: dict[str, list[Finding]] = {}
    for finding in findings:
        if "node" in finding.hint:
            by_node.setdefault(str(finding.hint["node"]), []).append(finding)
    for node, mine in by_node.items():
        hint = mine[0].hint
        devices = [str(device) for device in dict.fromkeys(hint["devices"]) if device]
        untold = [str(reason).removeprefix(f"{node}: ") for reason in hint["untold"]]
        looked = f"Not checked there: {untold[0]}." if untold else "Everything that was read of this hop is as it must be."
        why = [looked, *_witnesses(diagnosis, node, devices)]
        after, before = (str(hint[name]).removesuffix(f" of {node}") for name in ("after", "before"))
        commands = "; ".join(["nft list ruleset", *(f"tc filter show dev {device} egress" for device in devices[:2]), "bpftool net"])
        yield Cause(
            "unseen_drop", None, node, f"{node} loses the packets between {after} and {before}.", mine, objects=devices, why=why,
            remedies=[Remedy("advise_unseen_drop", "R0", f"on {node}, look for what this does not read: {commands}", "", node=node)],
        )  # fmt: skip
