# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports and plans of every recorded cluster are as their published schemas and the contract say."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from ansible_collections.podnet.doctor.plugins.plugin_utils import _plan
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _plan_text
from ansible_collections.podnet.doctor.tests.unit import recorded, small
from ansible_collections.podnet.doctor.tests.unit.plugins import support

CONTRACT = {
    (): {"question", "verdict", "path", "findings", "checks", "not_checked", "collected", "wanted"},
    ("question",): {"source", "destination", "protocol", "port"},
    ("verdict",): {"outcome", "summary", "unexplained", "causes"},
    ("verdict", "causes", 0): {"id", "fault", "confidence", "node", "objects", "summary", "explains", "remedies"},
    ("verdict", "causes", 0, "remedies", 0): {"id", "class", "action", "way_back"},
    ("path",): {"forward", "reverse"},
    ("path", "forward", 0): {"id", "kind", "node", "device", "outcome", "checks", "seen"},
    ("findings", 0): {"id", "check", "node", "object", "expected", "actual", "evidence", "severity", "docs"},
    ("checks",): {"ok", "finding", "not_checked", "not_applicable", "not_reached"},
    ("not_checked", 0): {"check", "node", "object", "reason"},
    ("collected", 0): {"host", "sections", "errors", "seconds"},
    ("wanted", 0): {"node", "subset", "flows", "why"},
}


@pytest.mark.parametrize("name", ["cluster", "evidence", "node", "plan", "report"])
def test_schemas_are_schemas(name):
    schema = json.loads((recorded.ROOT / "docs" / "schemas" / f"{name}-1.json").read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == f"podnet.doctor/{name}/1"


def full():
    """A report in which every list holds something."""
    def broken(document):
        document["sysctls"]["net/ipv4/ip_forward"] = "0"
        document["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = "Connect"

    diagnosis = small.diagnose(evidence={"probes": [small.probe("forward", False)]}, k8s01=broken)
    return diagnosis.report([{"host": "one", "node": "k8s01", "sections": ["links"], "errors": [{"section": "bird", "error": "no"}], "seconds": 0.1}])


@pytest.mark.parametrize("place", CONTRACT, ids=lambda place: "/".join(map(str, place)) or "report")
def test_what_every_reader_may_rely_on(place):
    value = full()
    for key in place:
        value = value[key]
    assert CONTRACT[place] <= set(value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("verdict", "outcome"), "fine"),
        (("verdict", "causes", 0, "confidence"), "sure"),
        (("verdict", "causes", 0, "fault"), "17"),
        (("verdict", "causes", 0, "remedies", 0, "way_back"), ""),
        (("findings", 0, "severity"), "bad"),
        (("path", "forward", 0, "seen"), "yes"),
        (("checks", "ok"), -1),
        (("not_checked", 0, "reason"), ""),
        (("created_at",), "yesterday"),
    ],
)
def test_the_schema_refuses_what_a_reader_would_stumble_over(place, value):
    report = full()
    support.valid("report", report)
    target = report
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    with pytest.raises(ValueError, match="/".join(map(str, place))):
        support.valid("report", report)


@pytest.mark.parametrize("name", recorded.asked())
def test_a_recorded_cluster(name):
    if name == "absent":
        pytest.skip(recorded.ABSENT)
    report = recorded.report(name)
    support.valid("report", report)
    ids = {finding["id"] for finding in report["findings"]}
    assert len(ids) == len(report["findings"])
    causes = report["verdict"]["causes"]
    told = set(report["verdict"]["unexplained"]).union(*({*cause["roots"], *cause["explains"]} for cause in causes))
    assert told == ids  # each finding is named, explained or unexplained, and nothing else is
    assert not any(set(cause["roots"]) & set(report["verdict"]["unexplained"]) for cause in causes)
    assert sum(report["checks"].values()) == sum(entry["compared"] for entry in report["check_list"])
    assert report["checks"]["finding"] == len(ids)
    cluster = Cluster(recorded.cluster(name))
    plan = _plan.plan(report, cluster, {node: f"host-{node}" for node in cluster.nodes})
    support.valid("plan", plan)
    remedies = [remedy["id"] for cause in causes for remedy in cause["remedies"]]
    assert sorted(remedies) == sorted(entry["remedy"] for entry in plan["actions"] + plan["refused"])
    assert _plan_text.screen(plan)[0].startswith("PLAN ")


@pytest.mark.parametrize("options", [{}, {"delete_interface": True}, {"at_once": True}])
def test_a_plan_of_a_stray_address(options):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    report, cluster = recorded.report("ipip-f01-stray-nic"), Cluster(recorded.cluster("ipip-f01-stray-nic"))
    plan = _plan.plan(report, cluster, {node: node for node in cluster.nodes}, _plan.Wishes(**options))
    support.valid("plan", plan)
    first, second = plan["actions"]
    assert first["remedy"] == ("delete_link" if options.get("delete_interface") else "delete_address")
    assert (second["remedy"], bool(second["only_if"])) == ("restart_calico_node", not options.get("at_once"))
