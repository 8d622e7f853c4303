# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import re

from ansible_collections.podnet.doctor.plugins.plugin_utils import _catalogue
from ansible_collections.podnet.doctor.plugins.plugin_utils._catalogue import Catalogue, catalogue
from ansible_collections.podnet.doctor.plugins.plugin_utils._graph import Fact
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected
from ansible_collections.podnet.doctor.tests.unit import recorded, small, small_flannel

SUBJECTS = sorted((pathlib.Path(_catalogue.__file__).parent / "subjects").glob("*.py"))


def test_each_subject_declares_something():
    known = catalogue()
    functions = [function for _name, function in (*known.expectations, *known.checks.values(), *known.causes)]
    assert {function.__module__.rpartition(".")[2] for function in functions} == {path.stem for path in SUBJECTS}


def test_nobody_else_imports_a_subject():
    """Subjects may share something among themselves; the catalogue finds them by their files."""
    for path in (recorded.ROOT / "plugins").rglob("*.py"):
        if path.parent.name != "subjects":
            assert not re.search(r"(from|import) \S*subjects", path.read_text()), path


def test_each_fact_has_a_check_and_each_cause_a_known_root():
    known = catalogue()
    assert {kind for kinds, _rule in known.expectations for kind in kinds} == set(known.checks)
    for roots, _rule in known.causes:
        assert set(roots) <= set(known.check_ids)
    assert {known.check_ids[main] for main, _function in known.checks.values()} == set(known.checks)


def every_fact():
    return [*small.diagnose(cluster=with_dns).facts.values(), *small_flannel.diagnose().facts.values()]


def with_dns(document):
    document["pods"].append(small.pod("kube-system/coredns-1", "k8s02", "10.253.2.53"))
    document["pods"][-1]["metadata"]["labels"] = {"k8s-app": "kube-dns"}


def test_needs_name_kinds_that_exist():
    kinds = set(catalogue().checks)
    assert {need.kind for fact in every_fact() for need in fact.needs} <= kinds


def test_what_the_api_does_not_tell_takes_only_its_own_kinds_away():
    def forbidden(cluster, scope):
        raise NotCollected("Forbidden")

    book = Catalogue(expectations=[(("a", "b"), forbidden), (("k",), lambda cluster, scope: [Fact("k", "n")])])
    facts, untold = book.expect(None, None)
    assert [fact.kind for fact in facts] == ["k"]
    assert untold == {"a": "Forbidden", "b": "Forbidden"}


def test_the_first_to_expect_a_fact_wins():
    rules = (lambda cluster, scope: [Fact("k", "n", value=1)], lambda cluster, scope: [Fact("k", "n", value=2), Fact("k", "m")])
    book = Catalogue(expectations=[(("k",), rule) for rule in rules])
    assert [(fact.node, fact.value) for fact in book.expect(None, None)[0]] == [("n", 1), ("m", None)]
