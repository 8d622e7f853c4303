# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Absence of evidence is never health: whatever is taken away, no ok appears that was not there, and no fault is invented."""

from __future__ import annotations

import copy

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._catalogue import catalogue
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.tests.unit import recorded

SECTIONS = ["links", "addresses", "routes", "neighbours", "sysctls", "bird", "calico", "netfilter", "conntrack", "sandboxes"]
LOST = {"error": "Permission denied"}


@pytest.fixture(scope="module")
def healthy():
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    whole = recorded.documents("ipip-healthy")
    question = recorded.question("ipip-healthy", whole.cluster)
    return Documents(whole.cluster, {name: whole.nodes[name] for name in question.nodes}), question


def without(documents, question, section):
    nodes = {}
    for name, facts in documents.nodes.items():
        changed = dict(facts.document)
        if section in ("sandboxes.network",):
            changed["sandboxes"] = [{**s, "network": LOST} for s in changed["sandboxes"]]
        elif section == "bird.protocols":
            changed["bird"] = {"ipv4": {**changed["bird"]["ipv4"], "protocols": LOST}}
        else:
            changed[section] = LOST
        nodes[name] = NodeFacts(name, changed)
    return Diagnosis(question, Documents(documents.cluster, nodes))


def from_the_api_alone(documents, question):
    return {v.check for v in Diagnosis(question, Documents(documents.cluster, {})).judged.values() if v.outcome == "ok"}


@pytest.mark.parametrize("section", [*SECTIONS, "sandboxes.network", "bird.protocols"])
def test_a_lost_section_is_not_checked_and_never_a_fault(healthy, section):
    documents, question = healthy
    before = Diagnosis(question, documents).judged
    after = without(documents, question, section).judged
    assert not [v for v in after.values() if v.outcome == "finding"]
    changed = [fact for fact, verdict in before.items() if verdict.outcome == "ok" and after[fact].outcome != "ok"]
    assert changed, f"no check reads {section}"
    assert {after[fact].outcome for fact in changed} == {"not_checked"}
    assert all(after[fact].reason for fact in changed)


def test_every_check_that_is_ok_depends_on_something_that_can_be_taken_away(healthy):
    documents, question = healthy
    before = Diagnosis(question, documents).judged
    ok = {v.check for v in before.values() if v.outcome == "ok"} - from_the_api_alone(documents, question)
    touched = set()
    for section in [*SECTIONS, "sandboxes.network"]:
        after = without(documents, question, section).judged
        touched |= {v.check for fact, v in before.items() if v.outcome == "ok" and after[fact].outcome == "not_checked"}
    assert ok - touched == set()


def test_a_node_that_gave_nothing_is_not_checked_everywhere(healthy):
    documents, question = healthy
    lost = question.nodes[0]
    nodes = {**documents.nodes, lost: NodeFacts(lost, None, "is unreachable (ssh timeout)")}
    diagnosis = Diagnosis(question, Documents(documents.cluster, nodes))
    told = from_the_api_alone(documents, question)
    mine = [v for v in diagnosis.judged.values() if v.fact.node == lost and v.check not in told]
    assert {v.outcome for v in mine} <= {"not_checked", "not_applicable", "not_reached"}
    assert diagnosis.outcome == "unknown"
    assert not diagnosis.findings


@pytest.mark.parametrize("section", ["nodes", "pods", "ipamblocks", "ippools", "daemonsets", "blockaffinities", "bgpconfigurations"])
def test_a_lost_api_section_never_raises_and_never_accuses(healthy, section):
    documents, question = healthy
    cluster = Cluster({**documents.cluster.document, section: {"error": "Forbidden"}})
    diagnosis = Diagnosis(question, Documents(cluster, documents.nodes))
    assert diagnosis.outcome == "unknown"
    assert not diagnosis.findings
    assert diagnosis.not_checked()


def test_every_check_has_a_page():
    catalogue()
    pages = {path.stem for path in (recorded.ROOT / "docs" / "findings").glob("*.md")}
    assert set(catalogue().check_ids) == pages - {"README"}


@pytest.mark.parametrize("section", ["## What it means", "## How it looks by hand", "## Repair", "## Source"])
def test_every_page_has_its_sections(section):
    pages = [path for path in (recorded.ROOT / "docs" / "findings").glob("*.md") if path.stem != "README"]
    lacking = [path.stem for path in pages if section not in path.read_text(encoding="utf-8").splitlines()]
    assert pages and not lacking


def test_documents_are_left_as_they_were(healthy):
    documents, question = healthy
    before = copy.deepcopy({n: f.document for n, f in documents.nodes.items()})
    Diagnosis(question, documents).report()
    assert before == {n: f.document for n, f in documents.nodes.items()}
