# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import json
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Expired
from ansible_collections.podnet.doctor.plugins.module_utils._kube_exec import Finished
from ansible_collections.podnet.doctor.plugins.module_utils._kube_options import KubeError
from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack
from ansible_collections.podnet.doctor.plugins.plugin_utils import _indirect, _run
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text
from ansible_collections.podnet.doctor.tests.unit import small

NOW = datetime.datetime(2026, 11, 21, 12, 0, 0, tzinfo=datetime.timezone.utc)
SCHEMA = Draft202012Validator(json.loads((pathlib.Path(__file__).resolve().parents[4] / "docs/schemas/node-1.json").read_text(encoding="utf-8")))
STATUS = {
    "metadata": {"name": "status-b"},
    "spec": {"node": "node-b", "classes": ["Agent", "BGP"], "updatePeriodSeconds": 10},
    "status": {
        "lastUpdated": "2026-11-21T11:59:45Z",
        "agent": {"birdV4": {"state": "Ready", "version": "v0.3.3+birdv1.6.8", "routerID": "10.2.7.2", "lastBootTime": "2026-11-21 10:00:00"}},
        "bgp": {"peersV4": [{"peerIP": "10.2.7.1", "type": "NodeMesh", "state": "Established", "since": "2026-11-21"}, {"peerIP": "none"}]},
    },
}  # fmt: skip


def test_a_calico_node_status_tells_the_sessions():
    document = _indirect.of_status(STATUS, NOW)
    SCHEMA.validate(document)
    facts = NodeFacts("node-b", document)
    (session,) = facts.bgp_sessions("10.2.7.1")
    assert (session["name"], session["info"]) == ("Mesh_10_2_7_1", "Established")
    assert facts.bird("ipv4")["status"]["router_id"] == "10.2.7.2"
    assert "error" in document["bird"]["ipv6"] and "error" in document["routes"]


@pytest.mark.parametrize(
    ("status", "said"),
    [({"lastUpdated": "2026-11-21T11:00:00Z"}, "is 3600 s old"), ({}, "was never filled"), ({"lastUpdated": "yesterday"}, "was never filled")],
)
def test_an_old_status_tells_nothing(status, said):
    assert said in _indirect.of_status({**STATUS, "status": status}, NOW)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12))
def test_any_status_is_a_document_or_a_reason(status):
    assert isinstance(_indirect.of_status({**STATUS, "status": status}, NOW), (dict, str))
    assert isinstance(_indirect.of_status({"spec": status, "status": STATUS["status"]}, NOW), (dict, str))


def cluster(ready: str = "True") -> Cluster:
    document = small.cluster_document()
    name = document["nodes"][0]["metadata"]["name"]
    document["nodes"][0].setdefault("status", {})["conditions"] = [{"type": "Ready", "status": ready}]
    agent = small.pod("kube-system/calico-node-x", name, None)
    agent["metadata"]["labels"] = {"k8s-app": "calico-node"}
    agent["metadata"]["ownerReferences"] = [{"kind": "DaemonSet", "name": "calico-node"}]
    document["pods"] = [pod for pod in document["pods"] if "calico-node" not in pod["metadata"]["name"]] + [agent]
    return Cluster(document)


class Runner:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def run(self, container, argv, deadline):
        if self.error:
            raise self.error
        return Finished("", "", 1)


def test_through_which_pod_and_why_not():
    known = cluster()
    name = next(iter(known.nodes))
    pods = _indirect.agent_pods(known)
    assert pods[name].key == "kube-system/calico-node-x"
    assert _indirect._one(known, name, pods[name], Runner(), None)["via"]["pod"] == "kube-system/calico-node-x"
    assert "runs no pod of calico-node" in _indirect._one(known, name, None, Runner(), None)
    for error in (KubeError("forbidden"), Expired("no answer within 1 s")):
        assert str(error) in _indirect._one(known, name, pods[name], Runner(error), None)
    assert "is not Ready" in _indirect._one(cluster("Unknown"), name, pods[name], Runner(), None)


def test_what_was_heard_takes_the_place_of_an_answer_that_is_not_there():
    silent = NodeFacts("n1", None, "is unreachable (Connection refused)")
    document = {"schema": "podnet.doctor/node/1", "via": {"by": "calico-node", "pod": "kube-system/calico-node-x"}}
    facts = _run._indirectly("n1", silent, {"documents": {"n1": pack(document)}})
    assert facts.via == {"by": "calico-node", "pod": "kube-system/calico-node-x", "because": silent.reason}
    assert _run._indirectly("n1", silent, {"reasons": {"n1": "runs no pod"}}).reason == f"{silent.reason}, and runs no pod"
    assert _run._indirectly("n1", silent, {}) is silent
    answered = NodeFacts("n1", {})
    assert _run._indirectly("n1", answered, {"documents": {"n1": pack(document)}}) is answered


def test_nothing_that_was_heard_like_this_is_certain_or_repaired():
    name = next(iter(small.documents().nodes))

    def wrong(document):
        document["sysctls"]["net/ipv4/ip_forward"] = "0"

    def indirect(document):
        wrong(document)
        document["via"] = {"by": "calico-node", "pod": "kube-system/calico-node-x", "because": "is unreachable"}

    direct = small.diagnose(**{name: wrong}).report()
    report = small.diagnose(**{name: indirect}).report()
    (before,), (cause,) = direct["verdict"]["causes"], report["verdict"]["causes"]
    assert before["id"] == cause["id"] and cause["confidence"] != "certain"
    assert {remedy["class"] for remedy in before["remedies"]} != {"R0"} == {remedy["class"] for remedy in cause["remedies"]}
    assert all("by hand" in remedy["action"] for remedy in cause["remedies"] if remedy["id"].startswith("advise_"))
    report["collected"] = [{"node": name, "via": {"pod": "kube-system/calico-node-x", "because": "is unreachable"}}]
    assert _text.indirect(report) == [f"{name} is unreachable; read through kube-system/calico-node-x instead, so nothing of it is certain."]
