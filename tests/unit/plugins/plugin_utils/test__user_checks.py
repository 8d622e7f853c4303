# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils import _user_checks
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._user_checks import UserCheckError, run_checks
from ansible_collections.podnet.doctor.tests.unit import small

CHECK = {"id": "mtu", "severity": "critical", "message": "small MTU", "expression": "links[?mtu < `1500`].ifname"}


def run(*checks, **changes):
    return run_checks(checks, small.documents(**changes), {"findings": [{"id": "x"}]})


def test_one_result_for_each_node():
    found = run(CHECK, k8s02=lambda document: document.update(links=[{"ifname": "eth0", "mtu": 9000}]))
    assert [(e["node"], e["outcome"], e["severity"]) for e in found] == [("k8s01", "finding", "critical"), ("k8s02", "ok", "critical")]
    assert found[0]["matches"][0] == "eth0"
    assert found[1]["matches"] is None


COUNTS = {"`0`": "finding", "`true`": "finding", "`false`": "ok", "`null`": "ok", "`[]`": "ok", "`{}`": "ok", "''": "ok", "nothing.here": "ok"}


@pytest.mark.parametrize(("expression", "outcome"), COUNTS.items())
def test_what_counts_as_a_finding(expression, outcome):
    assert run({**CHECK, "expression": expression, "document": "cluster"})[0]["outcome"] == outcome


def test_the_other_documents():
    assert run({**CHECK, "document": "cluster", "expression": "nodes[].metadata.name"})[0]["matches"] == ["k8s01", "k8s02"]
    assert run({**CHECK, "document": "report", "expression": "findings[].id"})[0]["matches"] == ["x"]


def test_a_node_that_said_nothing_is_not_checked():
    found = small.documents()
    nodes = {"k8s01": NodeFacts("k8s01", None, "is unreachable (gone)")}
    (entry,) = run_checks([CHECK], Documents(found.cluster, nodes), {})
    assert (entry["outcome"], entry["reason"]) == ("not_checked", "k8s01 is unreachable (gone)")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": None}, "a check of yours has no id"),
        ({"sevrity": "x"}, "check mtu: unknown field sevrity; known are document, expression"),
        ({"expression": None}, "check mtu: expression and message must both be texts"),
        ({"message": 7}, "check mtu: expression and message must both be texts"),
        ({"severity": "fatal"}, "check mtu: severity 'fatal' is not one of critical, warning, info"),
        ({"document": "pods"}, "check mtu: document 'pods' is not one of cluster, node, report"),
        ({"expression": "links[?"}, "check mtu: its expression is no JMESPath"),
        ({"expression": "length(`7`)"}, "check mtu: its expression fails on k8s01"),
        ({"expression": "nosuch(links)"}, "check mtu: its expression fails on k8s01"),
    ],
)
def test_a_wrong_check_is_named(change, sentence):
    with pytest.raises(UserCheckError) as caught:
        run({**CHECK, **change})
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_without_jmespath(monkeypatch):
    monkeypatch.setattr(_user_checks, "jmespath", None)
    assert run() == []
    with pytest.raises(UserCheckError, match="needs the Python library jmespath on the controller"):
        run(CHECK)
