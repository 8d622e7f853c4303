# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _export
from ansible_collections.podnet.doctor.tests.unit import small

SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (\d+)')


def report(**changes):
    return small.diagnose(**changes).report(created_at="2026-11-21T09:30:42Z", version="test")


def no_forwarding(document):
    document["sysctls"]["net/ipv4/ip_forward"] = "0"


@pytest.fixture(scope="module")
def broken():
    return report(k8s02=no_forwarding)


def cases(text):
    return {case.get("name"): case for case in ElementTree.fromstring(text).iter("testcase")}


def test_junit_fails_where_the_path_is_broken(broken):
    suite = ElementTree.fromstring(_export.junit(broken)).find("testsuite")
    found = cases(_export.junit(broken))
    verdict = found["shop/web-0 to shop/api-0 tcp/8080"]
    assert verdict.find("failure").get("message") == broken["verdict"]["summary"]
    failed = [case for case in found.values() if case.find("failure") is not None]
    assert len(failed) == len(broken["findings"]) + 1 == int(suite.get("failures"))
    assert int(suite.get("tests")) == len(found)
    skipped = [case for case in found.values() if case.find("skipped") is not None]
    assert len(skipped) == len(broken["not_checked"]) == int(suite.get("skipped"))


def test_junit_of_what_is_unknown_is_an_error_and_of_what_is_healthy_passes():
    unknown = report(k8s02=small.lost("routes"))
    assert unknown["verdict"]["outcome"] == "unknown"
    verdict = cases(_export.junit(unknown))["shop/web-0 to shop/api-0 tcp/8080"]
    assert verdict.find("error") is not None and verdict.find("failure") is None
    healthy = {**unknown, "verdict": {**unknown["verdict"], "outcome": "healthy"}, "not_checked": []}
    found = cases(_export.junit(healthy))
    assert len(found) > 10 and not any(len(case) for case in found.values())


def test_prometheus_tells_the_outcome_and_the_causes(broken):
    text = _export.prometheus(broken, {"cluster": 'a "b"\\c\n'})
    samples = {(name, labels): value for name, labels, value in SAMPLE.findall(text)}
    assert len(samples) == sum(not line.startswith("#") for line in text.splitlines())
    about = r'cluster="a \"b\"\\c\n"'
    question = 'question="shop/web-0 to shop/api-0 tcp/8080"'
    assert samples[("podnet_report_outcome", f'{about},outcome="broken",{question}')] == "1"
    assert samples[("podnet_report_outcome", f'{about},outcome="healthy",{question}')] == "0"
    assert samples[("podnet_report_created_timestamp_seconds", f"{about},{question}")] == "1795253442"
    assert [labels for name, labels in samples if name == "podnet_report_cause" and 'node="k8s02"' in labels]


def test_prometheus_of_several_reports_has_each_family_once(broken):
    audit = {**broken, "question": None}
    text = _export.prometheus([broken, audit])
    assert text.count("# TYPE podnet_report_outcome gauge") == 1
    assert text.count('question="whole cluster"') == text.count('question="shop/web-0')


def test_markdown_names_cause_repair_and_what_was_not_checked(broken):
    text = _export.markdown(broken)
    assert text.startswith("## shop/web\\-0 to shop/api\\-0 tcp/8080: BROKEN\n")
    assert "`proxy_arp_or_forwarding_cleared`" in text and "* Repair (R" in text and "Way back:" in text
    assert text.count("\n| ") >= len(broken["findings"])
    many = {**broken, "findings": broken["findings"] * 100}
    assert f"and {len(broken['findings']) * 100 - _export.MOST_ROWS} more" in _export.markdown(many)


@pytest.mark.parametrize("make", [_export.junit, _export.prometheus, _export.markdown])
@pytest.mark.parametrize("wrong", [{}, {"schema": "podnet.doctor/node/1"}, "text", ["text"], 3])
def test_what_is_no_report_is_refused(make, wrong):
    with pytest.raises((ValueError, TypeError)):
        make(wrong)


def test_a_label_has_a_name_of_prometheus(broken):
    with pytest.raises(ValueError, match="no name of a label"):
        _export.prometheus(broken, {'a="b"': "c"})


@given(st.text())
def test_property_no_text_leaves_its_place(text):
    finding = {"id": "x", "check": "route.block.missing", "node": text, "object": text, "expected": text, "actual": None, "evidence": text,
               "severity": "critical", "docs": ""}  # fmt: skip
    cause = {"id": "x", "fault": None, "node": text, "summary": text, "confidence": "likely", "severity": "critical", "why": [text], "explains": [],
             "remedies": [{"class": "R0", "action": text, "way_back": text}]}  # fmt: skip
    one = {"schema": _export.SCHEMA, "id": "12345678", "created_at": "2026-11-21T09:30:42Z", "question": None, "findings": [finding],
           "verdict": {"outcome": "broken", "summary": text, "unexplained": [], "causes": [cause]}, "checks": {"finding": 1}, "not_checked": [],
           "check_list": [], "collected": []}  # fmt: skip
    assert len(cases(_export.junit(one))) == 2
    for line in _export.prometheus(one).split("\n")[:-1]:
        assert line.startswith("# ") or SAMPLE.fullmatch(line), line
    ordinary = json.loads(json.dumps(one).replace(json.dumps(text), '"x"')) if text else one
    assert len(_export.markdown(one).split("\n")) == len(_export.markdown(ordinary).split("\n"))
    summary = _export.markdown({**one, "findings": [], "verdict": {**one["verdict"], "causes": []}}).split("\n")[2]
    assert not re.search(r"(?<!\\)[<>|`*\[\]]", summary)
