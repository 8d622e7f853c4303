# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: finds the subjects (plugin_utils/subjects/*.py) and what each declares. Nothing else imports a subject by name.

from __future__ import annotations

import importlib
import pathlib
import typing as t
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ._documents import Documents
from ._graph import Check, Fact, Finding
from ._json import Json, NotCollected
from ._question import Scope

if t.TYPE_CHECKING:
    from ._diagnosis import Diagnosis

Expectation = Callable[[t.Any, Scope], Iterable[Fact]]


@dataclass(frozen=True)
class Remedy:
    """One action. `change` is the exact difference {before, after}; `parameters` is what the remediation needs to carry it out."""

    id: str
    risk: str  # R0 .. R4, design.md section 5
    action: str
    way_back: str
    node: str = ""
    object: str = ""
    change: tuple[str, str] = ("", "")
    parameters: t.Mapping[str, Json] = field(default_factory=dict)
    verify: str = ""
    blast_radius: str = ""
    preconditions: tuple[str, ...] = ()
    wait_seconds: float = 0
    only_if: str = ""


def remedy_json(remedy: Remedy) -> dict[str, Json]:
    return {
        "id": remedy.id, "class": remedy.risk, "action": remedy.action, "way_back": remedy.way_back, "node": remedy.node, "object": remedy.object,
        "change": {"before": remedy.change[0], "after": remedy.change[1]}, "parameters": dict(remedy.parameters), "verify": remedy.verify,
        "blast_radius": remedy.blast_radius, "preconditions": list(remedy.preconditions), "wait_seconds": remedy.wait_seconds, "only_if": remedy.only_if,
    }  # fmt: skip


@dataclass
class Cause:
    """A named root. `roots` are the findings it is made of; `also` are findings that belong to it without following from it."""

    id: str
    fault: str | None
    node: str
    summary: str
    roots: Sequence[Finding]
    objects: Sequence[str] = ()
    why: Sequence[str] = ()
    also: Sequence[Finding] = ()
    remedies: Sequence[Remedy] = ()
    heuristic: bool = False  # the signature is a pattern, not a proof: never better than possible


CauseRule = Callable[[list[Finding], "Diagnosis"], Iterator[Cause]]


@dataclass
class Catalogue:
    expectations: list[tuple[tuple[str, ...], Expectation]] = field(default_factory=list)
    checks: dict[str, tuple[str, Check]] = field(default_factory=dict)
    check_ids: dict[str, str] = field(default_factory=dict)  # check id -> fact kind
    causes: list[tuple[tuple[str, ...], CauseRule]] = field(default_factory=list)

    def expect(self, cluster: t.Any, scope: Scope) -> tuple[list[Fact], dict[str, str]]:
        """All expected facts, and for each kind of fact whose expectation the cluster document could not give: why."""
        facts: dict[t.Any, Fact] = {}
        untold: dict[str, str] = {}
        for kinds, expectation in self.expectations:
            try:
                for fact in expectation(cluster, scope):
                    facts.setdefault(fact.id, fact)
            except NotCollected as exc:
                untold.update(dict.fromkeys(kinds, exc.reason))
        return list(facts.values()), untold


_building = Catalogue()


def expects(*kinds: str) -> Callable[[Expectation], Expectation]:
    """Declare a function (cluster, scope) -> facts of these kinds, from the cluster document alone."""

    def register(function: Expectation) -> Expectation:
        _building.expectations.append((kinds, function))
        return function

    return register


def check(*ids: str, fact: str) -> Callable[[Check], Check]:
    """Declare a function (fact, documents) -> Finding | None for one kind of fact; `ids` are the check ids it may report, the main one first."""

    def register(function: Check) -> Check:
        _building.checks[fact] = (ids[0], function)
        for check_id in ids:
            _building.check_ids[check_id] = fact
        return function

    return register


def cause(*, roots: Sequence[str]) -> Callable[[CauseRule], CauseRule]:
    """Declare a function (root findings of these checks, diagnosis) -> causes."""

    def register(function: CauseRule) -> CauseRule:
        _building.causes.append((tuple(roots), function))
        return function

    return register


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    folder = pathlib.Path(__file__).parent / "subjects"
    for path in sorted(folder.glob("*.py")):
        importlib.import_module(f"{__package__}.subjects.{path.stem}")
    return _building


__all__ = ["Catalogue", "Cause", "Documents", "Remedy", "catalogue", "cause", "check", "expects"]
