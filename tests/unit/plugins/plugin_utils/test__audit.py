# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An audit: the whole cluster judged without a question."""

from __future__ import annotations

import json
import re

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _compact
from ansible_collections.podnet.doctor.plugins.plugin_utils import _audit, _collection, _doubts, _question, _tables
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import AUDIT, Question
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text
from ansible_collections.podnet.doctor.tests import captures
from ansible_collections.podnet.doctor.tests.unit import recorded, small
from ansible_collections.podnet.doctor.tests.unit.plugins import support


def answered(outcome="answered"):
    """A change: what the node was asked to try was answered so."""

    def change(document):
        wave = {wanted.node: wanted for wanted in _collection.audit_wave(known, _audit.scope_of(known))}
        document["reachability"] = [{**test, "outcome": outcome} for test in wave[document["node"]].reachability]

    known = small.documents().cluster
    return change


def audit(**changes):
    return Diagnosis(AUDIT, small.documents(**{"k8s01": answered(), "k8s02": answered(), **changes}))


def without(diagnosis, *gone, reason="is unreachable (no route to host)"):
    nodes = {name: facts if name not in gone else NodeFacts(name, None, reason) for name, facts in diagnosis.documents.nodes.items()}
    return Diagnosis(AUDIT, Documents(diagnosis.documents.cluster, nodes))


def no_forwarding(document):
    document["sysctls"]["net/ipv4/ip_forward"] = "0"


def test_healthy_means_that_all_nodes_were_read_and_echoes_answered():
    diagnosis = audit()
    assert (diagnosis.outcome, diagnosis.findings, diagnosis.not_checked()) == ("healthy", [], [])
    report = diagnosis.report()
    support.valid("report", report)
    assert report["question"] is None and report["path"] == {"forward": [], "reverse": []}
    assert report["audit"]["nodes"] == [
        {"node": name, "address": small.ADDRESSES[name], "seen": True, "findings": 0, "sessions": {"right": 1, "of": 1}, "routes": {"right": 1, "of": 1},
         "pods": report["audit"]["nodes"][0]["pods"]} for name in small.ADDRESSES
    ]  # fmt: skip
    assert not report["audit"]["sessions"]


@pytest.mark.parametrize("change", [answered("timeout"), lambda document: None], ids=["timeout", "not sent"])
def test_without_an_answered_echo_nothing_is_healthy(change):
    diagnosis = audit(k8s01=change)
    assert (diagnosis.outcome, diagnosis.findings) == ("unknown", [])
    assert [entry["check"] for entry in diagnosis.not_checked()] == ["echo.unanswered"]


def test_a_node_that_was_not_seen_is_one_entry_and_no_cluster_is_healthy():
    diagnosis = without(audit(), "k8s02")
    assert (diagnosis.outcome, diagnosis.findings) == ("unknown", [])
    everything = [entry for entry in diagnosis.not_checked() if entry["check"] == "everything"]
    assert everything == [{"check": "everything", "node": "k8s02", "object": "", "reason": "k8s02 is unreachable (no route to host)"}]
    assert not [entry for entry in diagnosis.not_checked() if entry["node"] == "k8s02" and entry["check"] != "everything"]
    screen = "\n".join(_text.screen(diagnosis.report()))
    assert "whole cluster, 2 nodes, 1 seen" in screen and "NOT SEEN" in screen and "k8s02 is unreachable" in screen


@pytest.mark.parametrize("section", ["routes", "bird", "links", "sysctls", "neighbours", "sandboxes"])
def test_a_section_that_was_not_read_keeps_the_cluster_from_being_healthy(section):
    diagnosis = audit(k8s02=small.together(answered(), small.lost(section)))
    assert (diagnosis.outcome, diagnosis.findings) == ("unknown", [])


def test_a_fault_is_named_without_a_pair():
    diagnosis = audit(k8s02=small.together(answered("timeout"), no_forwarding))
    assert diagnosis.outcome == "broken"
    assert [(cause.id, cause.node) for cause in diagnosis.causes] == [("proxy_arp_or_forwarding_cleared", "k8s02")]
    assert not diagnosis.not_checked()  # what follows from it is not reached
    assert diagnosis.affects_path(diagnosis.causes[0])
    screen = _text.screen(diagnosis.report())
    assert screen[0] == "whole cluster, 2 nodes".ljust(74) + "BROKEN"
    assert max(map(len, screen)) <= 80


def test_the_same_cause_on_several_nodes_is_shown_once():
    diagnosis = audit(k8s01=no_forwarding, k8s02=no_forwarding)
    screen = "\n".join(_text.screen(diagnosis.report()))
    assert len(diagnosis.causes) == 2
    assert screen.count("forwards no packets at all") == 1 + screen.partition("CAUSE")[0].count("forwards no packets at all")
    assert "The same on k8s02." in screen


def test_a_dead_session_is_told_from_both_sides():
    def dead(document):
        document["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = "Connect"

    diagnosis = audit(k8s01=small.together(answered(), dead))
    assert diagnosis.report()["audit"]["sessions"] == [{"ends": ["k8s01", "k8s02"], "family": "ipv4", "said": {"k8s01": "Connect", "k8s02": "Established"}}]
    wanted = {entry.node: entry for entry in diagnosis.wanted()}
    assert "netfilter" in wanted["k8s01"].subset and wanted["k8s01"].reachability[0]["port"] == 179


def test_every_node_is_asked_for_all_its_pods():
    known = small.documents().cluster
    wave = _collection.audit_wave(known, _audit.scope_of(known))
    assert [entry.node for entry in wave] == list(small.ADDRESSES)
    for entry in wave:
        assert [pod["uid"] for pod in entry.pods] == [known.workloads_on(entry.node)[0].uid]
        assert "netfilter" not in entry.subset and len(entry.reachability) == 1


def test_an_audit_survives_a_bundle():
    assert Question.from_json(AUDIT.to_json()) == AUDIT


def test_rows_are_folded_and_counted():
    rows = [{"node": f"n{i}", "address": None, "seen": True, "findings": i % 2, **{c: {"right": 1, "of": 1} for c in _audit.COLUMNS}} for i in range(1000)]
    dead = [{"ends": [f"n{i}", "n1"], "family": "ipv4", "said": {f"n{i}": "Connect", "n1": None}} for i in range(2, 1000)]
    report = {**audit().report(), "audit": {"nodes": rows, "sessions": dead}}
    screen = "\n".join(_text.screen(report))
    assert "and 488 more that are not all right" in screen and "500 nodes all right" in screen and "and 986 more sessions dead" in screen
    assert len(screen.splitlines()) < 50


def everything(name):
    return Diagnosis(AUDIT, recorded.documents(name))


@pytest.mark.parametrize("name", recorded.names() or ["absent"])
def test_recorded_clusters(name, monkeypatch):
    """The truth of the ground is named first, nothing else is misnamed, and none is healthy: the recordings hold no echoes.

    And looking only at pairs in doubt finds the same.
    """
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    whole = everything(name)
    named_rightly(recorded.about(name).get("truth"), whole, name)
    monkeypatch.setattr(_doubts, "ALL_PAIRS", 0)
    monkeypatch.setattr(_question, "PART", 1)
    pruned = everything(name)
    assert [(cause.id, cause.node) for cause in pruned.causes] == [(cause.id, cause.node) for cause in whole.causes]
    assert {finding.id for finding in pruned.findings} == {finding.id for finding in whole.findings}
    unread = [sorted(json.dumps(entry) for entry in one.not_checked()) for one in (pruned, whole)]
    assert unread[0] == unread[1]
    if not whole.findings and pruned.scope.doubts is not None:
        assert not pruned.scope.doubts.pairs


def named_rightly(truth, diagnosis, name):
    support.valid("report", diagnosis.report())
    expected = set(re.findall(r"F\d+", truth["fault"])) if truth else set()
    faults = [cause.fault for cause in diagnosis.causes]
    assert diagnosis.outcome == ("broken" if diagnosis.findings else "unknown")
    if truth is None:
        assert not diagnosis.findings
    elif expected & (captures.GROUND - captures.PAIR) and name not in ("crosssubnet-f71-cloud-source-check",):
        assert faults and faults[0] in expected
    else:
        assert {fault for fault in faults if fault} <= expected


def by_rows(name, wide):
    """A recorded cluster whose nodes gave their answers by the rows of tables; wide: from how many rows on these are not made into entries."""
    whole = everything(name).documents
    scope, shared, expander = _audit.scope_of(whole.cluster), _tables.shared(whole.cluster), _compact.Expander(wide)
    nodes = dict(whole.nodes)
    for facts in whole.collected():
        rows = {**shared, **_tables.of_node([pod for pod in scope.everyone if pod.node == facts.name])}
        nodes[facts.name] = NodeFacts(facts.name, _compact.expand(json.loads(json.dumps(_compact.compact(facts.document, rows))), rows, expander))
    return Diagnosis(AUDIT, Documents(whole.cluster, nodes))


@pytest.mark.parametrize("name", recorded.names()[::4] or ["absent"])
def test_rows_that_are_judged_at_once_are_judged_as_entries_are(name, monkeypatch):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    monkeypatch.setattr(_doubts, "ALL_PAIRS", 0)
    each, rows = by_rows(name, 1 << 30), by_rows(name, 1)
    assert each.scope.doubts == rows.scope.doubts
    if rows.scope.doubts is not None and any(row["routes"] for row in rows.scope.doubts.right.values()):
        assert any(facts.main_routes.wide for facts in rows.documents.collected())
    assert [finding.id for finding in rows.findings] == [finding.id for finding in each.findings]
    assert rows.report()["verdict"] == each.report()["verdict"] and rows.not_checked() == each.not_checked()


def test_more_pairs_in_doubt_than_are_looked_at_are_said(monkeypatch):
    def dead(document):
        document["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = "Connect"

    monkeypatch.setattr(_doubts, "ALL_PAIRS", 0)
    monkeypatch.setattr(_doubts, "MOST_PAIRS", 1)
    diagnosis = audit(k8s01=small.together(answered(), dead))
    assert diagnosis.scope.doubts.left_out == 1
    assert any(entry["check"] == "pairs" and entry["reason"].startswith("1 more pairs of nodes") for entry in diagnosis.not_checked())


def test_rows_count_what_was_plainly_right(monkeypatch):
    monkeypatch.setattr(_doubts, "ALL_PAIRS", 0)
    diagnosis = audit()
    assert diagnosis.scope.doubts.pairs == () and diagnosis.outcome == "healthy"
    assert [(row["sessions"], row["routes"]) for row in diagnosis.report()["audit"]["nodes"]] == [({"right": 1, "of": 1}, {"right": 1, "of": 1})] * 2
