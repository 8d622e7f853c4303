# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import stat

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils import _trail
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _plan_text

PLAN = {"actions": [{"cause": "a", "cause_node": "n1", "node": "n3"}]}  # repaired on another node than it is found on


def test_each_event_is_a_line_that_only_the_owner_reads(tmp_path):
    path = _trail.new(str(tmp_path), "0123456789ab")
    _trail.append(path, "plan", plan=PLAN)
    _trail.append(path, "step", results={"text": "two\nlines"})
    with open(path, encoding="utf-8") as stream:
        events = [json.loads(line) for line in stream]
    assert [event["event"] for event in events] == ["plan", "step"] and all(event["at"].endswith("Z") for event in events)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_who_it_was():
    assert _trail.who({"awx_user_name": "ann", "awx_job_id": 7}) == {"where": "awx", "user": "ann", "job": 7}
    assert _trail.who({})["where"] == "terminal" and _trail.who({})["user"]


def test_a_result_is_told_without_what_it_may_hold_besides():
    results = {"change": {"changed": True, "before": "x", "after": "", "invocation": {"module_args": {"kubeconfig": "secret"}}}, "restart": {"skipped": True}}
    assert _trail.told(results) == {"change": {"changed": True, "before": "x"}}


@pytest.mark.parametrize(
    ("outcome", "causes", "came", "says"),
    [
        ("healthy", [], ("repaired", [], []), "REPAIRED"),
        ("broken", [{"id": "a", "node": "n1"}], ("not repaired", ["a on n1"], []), "NOT REPAIRED: still found is a on n1"),
        ("broken", [{"id": "b", "node": "n2"}], ("partly", [], ["b on n2"]), "now named: b on n2"),
        ("unknown", [], ("partly", [], []), "PARTLY"),
        ("healthy", [{"id": "b", "node": "n2", "affects_path": False}], ("repaired", [], []), "REPAIRED"),
        ("healthy", [{"id": "a", "node": "n1", "affects_path": False}], ("not repaired", ["a on n1"], []), "NOT REPAIRED: still found is a on n1"),
    ],
)
def test_what_came_of_it(outcome, causes, came, says):
    report = {"verdict": {"outcome": outcome, "causes": causes}}
    assert tuple(_trail.came_of(PLAN, report)) == came
    lines = _plan_text.outcome(_trail.Came(*came), report, "reports/x.json", "reports/trail.jsonl")
    assert says in " ".join(lines)
    assert any("remediate -e report=reports/x.json" in " ".join(lines) for _once in (0,)) is (came[0] != "repaired")


def test_a_cause_at_the_successor_is_the_cause_at_the_pod_before_it():
    plan = {"actions": [{"cause": "pod_side_broken", "cause_node": "n1", "node": "n1", "parameters": {"pod": "shop/cart-x"}}]}
    cause = {"id": "pod_side_broken", "node": "n2", "objects": ["shop/cart-y"]}
    report = {"verdict": {"outcome": "broken", "causes": [cause]}}
    assert _trail.came_of(plan, report, "", {"shop/cart-x": "shop/cart-y"}) == ("not repaired", ["pod_side_broken on n2"], [])
    assert _trail.came_of(plan, report, "", {"shop/cart-x": "shop/cart-z"}).outcome == "partly", "of another pod"
    assert _trail.came_of(plan, report).outcome == "partly"


def test_who_a_pod_became_is_said():
    assert _plan_text.became({"before": "shop/cart-x", "after": "shop/cart-y"}) == ["BECAME   pod shop/cart-x is pod shop/cart-y now"]
    assert _plan_text.became({"before": "shop/web-0", "after": "shop/web-0"}) == [] == _plan_text.became({})


def test_what_was_not_verified_is_said():
    report = {"verdict": {"outcome": "unknown"}, "api": {"error": "no answer"}}
    lines = _plan_text.outcome(_trail.Came("partly", [], []), report, "reports/x.json", "t.jsonl")
    said = " ".join(" ".join(lines).split())
    assert "that the path is healthy is not proven" in said and "not verified: what only the Kubernetes API knows" in said


def test_a_step_that_failed_is_said_before_the_outcome():
    came = _trail.Came("partly", [], [])
    lines = _plan_text.outcome(came, {}, "reports/x.json", "t.jsonl", "sysctl -w x=1: n1 did not answer")
    assert lines[0].startswith("STOPPED  no further step was taken: sysctl")


def test_ways_back_are_taken_or_offered():
    actions = [
        {"cause": "a", "cause_node": "n1", "node": "n1", "class": "R1", "action": "delete x", "way_back": "add x"},
        {"cause": "a", "cause_node": "n1", "node": "n1", "class": "R2", "action": "restart y", "way_back": "none needed"},
        {"cause": "b", "cause_node": "n1", "node": "n1", "class": "R2", "action": "restart z", "way_back": "none needed"},
    ]
    assert _trail.offered({"actions": actions}, _trail.Came("not repaired", ["a on n1"], [])) == ["restart y: none needed"]
    results = [
        {"remediate_back": {"node": "n1", "way_back": "add x"}, "changed": True},
        {"remediate_back": {"node": "n2", "way_back": "add y"}, "failed": True, "msg": "No such device"},
        {"remediate_back": {"node": "n3", "way_back": "add z"}, "skipped": True},
    ]
    backs = _trail.taken_back({"results": results})
    assert backs == [_trail.Back("n1", "add x", ""), _trail.Back("n2", "add y", "No such device")]
    assert _plan_text.taken_back(backs) == ["BACK     taken on n1: add x", "BACK     FAILED on n2: add y: No such device"]
    assert _trail.taken_back({}) == []


def test_an_event_for_each_node():
    action = {"node": "k8s02", "class": "R1", "action": "delete x"}
    plan = {"id": "0123456789ab", "actions": [{**action, "class": "R0", "action": "wait"}, action, {**action, "node": ""}]}
    (event,) = _trail.events(plan, _trail.Came("partly", [], []), "2026-11-21T09:30:42Z")
    assert event["involvedObject"]["name"] == "k8s02" and event["type"] == "Warning"
    assert event["message"] == "partly, plan 0123456789ab: delete x"
    assert event["metadata"]["name"] == "k8s02.podnet-0123456789ab-20261121t093042z"
    assert _trail.events(plan, _trail.Came("repaired", [], []), "2026-11-21T09:30:42Z")[0]["type"] == "Normal"
