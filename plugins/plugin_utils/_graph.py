# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: expected facts, what they need, and the root causes among the wrong ones.

from __future__ import annotations

import hashlib
import typing as t
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ._json import NOT_ASKED, Family, Json, NotCollected

Severity = t.Literal["critical", "warning", "latent"]


class FactId(t.NamedTuple):
    """`kind` such as `route.block`, the node that it is true on, and the object there."""

    kind: str
    node: str
    object: str = ""


@dataclass(frozen=True)
class Fact:
    """Something that must be true. `value` is what is expected; `needs` are the facts without which it cannot be."""

    kind: str
    node: str
    object: str = ""
    value: Json = None
    needs: tuple[FactId, ...] = ()

    @cached_property
    def id(self) -> FactId:
        return FactId(self.kind, self.node, self.object)

    @property
    def family(self) -> Family:
        """Of the address or prefix that the object is, or of its tag (see `tagged`)."""
        return "ipv6" if ":" in self.object or self.object.rpartition(" ")[2] == "ipv6" else "ipv4"


class NotApplicable(Exception):
    """This mode has no such thing, or there is nothing to compare."""


@dataclass(frozen=True)
class Finding:
    """A fact that is not true.

    evidence: the line as an operator would see it. sources: the independent witnesses, such as `api`, `kernel k8s01`, `bird k8s02`, `probe`.
    critical: traffic that needs the fact does not flow; warning: it may not; latent: it flows now. A check that looks at something that carries no
    packets itself (a session, a daemon, an annotation) says latent; the diagnosis raises that where something critical follows from it.
    hint: for the rules that name causes, never shown.
    """

    check: str
    fact: Fact
    actual: Json
    evidence: str
    sources: tuple[str, ...]
    severity: Severity = "critical"
    hint: Mapping[str, Json] = field(default_factory=dict, hash=False, compare=False)

    @property
    def id(self) -> str:
        text = "\0".join((self.check, self.fact.node, self.fact.object))
        return f"{self.check}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Judged:
    """What became of one fact. Exactly one of finding and reason is set where the outcome asks for it."""

    fact: Fact
    check: str
    outcome: t.Literal["ok", "finding", "not_checked", "not_applicable", "not_reached"]
    finding: Finding | None = None
    reason: str = ""
    absent: bool = False  # not checked, because nobody had asked for it


Check = t.Callable[..., "Finding | None"]


def judge(facts: Iterable[Fact], checks: Mapping[str, tuple[str, Check]], *context: t.Any) -> dict[FactId, Judged]:
    """Hold every fact against the documents. checks: fact kind -> (check id, function)."""
    result: dict[FactId, Judged] = {}
    for fact in facts:
        check_id, check = checks[fact.kind]
        try:
            finding = check(fact, *context)
        except NotCollected as exc:
            result[fact.id] = Judged(fact, check_id, "not_checked", reason=exc.reason, absent=exc.absent)
        except NotApplicable as exc:
            result[fact.id] = Judged(fact, check_id, "not_applicable", reason=str(exc))
        else:
            if finding is None:
                result[fact.id] = Judged(fact, check_id, "ok")
            else:
                result[fact.id] = Judged(fact, finding.check, "finding", finding)
    return result


def wrong_ancestors(start: FactId, judged: Mapping[FactId, Judged]) -> tuple[set[FactId], set[FactId]]:
    """The nearest wrong facts above a fact, and the unread ones on the way there.

    Through an unread fact the search goes on, since it may well be wrong; a fact that was seen to be right ends it.
    """
    wrong: set[FactId] = set()
    unread: set[FactId] = set()
    seen = {start}
    stack = list(judged[start].fact.needs) if start in judged else []
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        verdict = judged.get(current)
        if verdict is None:
            continue
        if verdict.outcome == "finding":
            wrong.add(current)
        elif verdict.outcome in ("not_checked", "not_reached"):
            if verdict.outcome == "not_checked" or not verdict.reason.endswith(NOT_ASKED):
                unread.add(current)
            stack.extend(verdict.fact.needs)
    return wrong, unread


@dataclass(frozen=True)
class Explanation:
    """roots: wrong facts that nothing wrong stands above. explains: root -> the findings that follow from it.
    unread_above: wrong fact -> facts that it needs and that could not be read."""

    roots: tuple[FactId, ...]
    explains: Mapping[FactId, frozenset[FactId]]
    unread_above: Mapping[FactId, frozenset[FactId]]


def explain(judged: Mapping[FactId, Judged]) -> Explanation:
    wrong = [fact_id for fact_id, verdict in judged.items() if verdict.outcome == "finding"]
    parents: dict[FactId, set[FactId]] = {}
    unread: dict[FactId, frozenset[FactId]] = {}
    for fact_id in wrong:
        parents[fact_id], missing = wrong_ancestors(fact_id, judged)
        unread[fact_id] = frozenset(missing)
    roots = tuple(fact_id for fact_id in wrong if not parents[fact_id])
    explains: dict[FactId, set[FactId]] = {root: set() for root in roots}
    for fact_id in wrong:
        for root in _roots_above(fact_id, parents):
            if root != fact_id:
                explains[root].add(fact_id)
    return Explanation(roots, {root: frozenset(found) for root, found in explains.items()}, unread)


def settle_severity(judged: dict[FactId, Judged], on_path: Container[FactId]) -> None:
    """A latent finding that something critical follows from is critical; one whose consequences on the path could not be read is a warning."""
    worst: dict[FactId, Severity] = {}
    for verdict in judged.values():
        critical = verdict.finding is not None and verdict.finding.severity == "critical"
        if critical or (verdict.outcome == "not_checked" and verdict.fact.id in on_path):
            for above in _wrong_above(verdict.fact.id, judged):
                if worst.get(above) != "critical":
                    worst[above] = "critical" if critical else "warning"
    for fact_id, severity in worst.items():
        verdict = judged[fact_id]
        if verdict.finding is not None and verdict.finding.severity == "latent":
            judged[fact_id] = replace(verdict, finding=replace(verdict.finding, severity=severity))


def _wrong_above(start: FactId, judged: Mapping[FactId, Judged]) -> set[FactId]:
    """All wrong facts above a fact, the nearest ones and those that they follow from."""
    found: set[FactId] = set()
    stack = [start]
    while stack:
        nearest = wrong_ancestors(stack.pop(), judged)[0]
        stack += nearest - found
        found |= nearest
    return found


def _roots_above(start: FactId, parents: Mapping[FactId, set[FactId]]) -> set[FactId]:
    roots: set[FactId] = set()
    seen: set[FactId] = set()
    stack = [start]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        above = parents.get(current, set())
        if not above:
            roots.add(current)
        stack.extend(above)
    return roots


def closure(start: Iterable[FactId], facts: Mapping[FactId, Fact]) -> set[FactId]:
    """Every fact that the given ones need, themselves included."""
    result: set[FactId] = set()
    stack = list(start)
    while stack:
        current = stack.pop()
        if current in result or current not in facts:
            continue
        result.add(current)
        stack.extend(facts[current].needs)
    return result


def by_common_end(findings: Iterable[Finding]) -> Iterator[tuple[str, list[str], list[Finding]]]:
    """(node, the others, findings): what is wrong between two nodes each, grouped by the node that most of it has in common. fact.value: {peer}"""
    left = list(findings)
    while left:
        ends: dict[str, int] = {}
        for finding in left:
            for end in (finding.fact.node, finding.fact.value["peer"]):
                ends[end] = ends.get(end, 0) + 1
        culprit = max(sorted(ends), key=lambda name: ends[name])
        mine = [f for f in left if culprit in (f.fact.node, f.fact.value["peer"])]
        left = [f for f in left if culprit not in (f.fact.node, f.fact.value["peer"])]
        yield culprit, sorted({f.fact.value["peer"] if f.fact.node == culprit else f.fact.node for f in mine}), mine
