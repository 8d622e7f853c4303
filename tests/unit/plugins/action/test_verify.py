# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest

from ansible_collections.podnet.doctor.plugins.action import verify
from ansible_collections.podnet.doctor.plugins.module_utils._kube import KubeError
from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import host_interface
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins import support

WRONG = small.diagnose(k8s02=lambda document: document["sysctls"].update({"net/ipv4/ip_forward": "0"})).findings[0]


class World:
    """What the API and the node say, and what they were asked."""

    def __init__(self):
        self.document, self.node, self.errors, self.calls, self.silent = small.cluster_document(), small.node_document("k8s02"), [], [], []

    def read(self, options, sections, narrow=None, timeout=None):
        self.calls.append(narrow)
        for error in self.errors:
            raise error
        return self.document

    def execute(self, module_name, module_args, task_vars):
        self.calls.append((module_name, module_args))
        if module_name == "podnet.doctor.path_probe":
            return {"cells": [{"name": cell["name"], "replied": int(cell["name"] not in self.silent)} for cell in module_args["cells"]]}
        return {"packed": pack(self.node)} if "schema" in self.node else self.node


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.setattr(verify._kube, "read_cluster", made.read)
    return made


@pytest.fixture
def run(world, question):
    def one(node="k8s02", findings=(WRONG.id,), **arguments):
        made = support.action(verify, {"question": question, "node": node, "findings": list(findings), **arguments})
        made._execute_module = world.execute
        return made.run(None, {"inventory_hostname": "two"})

    return one


def test_nothing_is_left(run, world):
    result = run()
    assert (result["done"], result["left"], result["changed"]) == (True, [], False)
    narrow, (name, asked) = world.calls
    assert narrow == {"endpoints": ["shop/web-0", "shop/api-0"], "nodes": ["k8s02"]}
    assert name == "podnet.doctor.node_info"
    assert asked["node"] == "k8s02" and asked["packed"] is True and asked["pyroute2"]
    assert {"dst": "10.253.1.5", "src": "10.253.2.7", "iif": asked["pods"][0]["ifname"]} in asked["flows"]
    assert not {"question", "findings", "kubeconfig"} & set(asked)


def test_it_is_still_there(run, world):
    world.node["sysctls"]["net/ipv4/ip_forward"] = "0"
    assert run()["left"] == ["net.ipv4.ip_forward = 0"]
    assert run()["done"] is False


def test_another_critical_finding_is_no_success(run, world):
    world.node["routes"] = [route for route in world.node["routes"] if route["dst"] != "10.253.1.0/26"]
    result = run()
    assert result["done"] is False
    assert any("10.253.1.0/26" in line for line in result["left"])


def test_what_cannot_be_read_is_no_success(run, world):
    world.node["sysctls"] = {"error": "Permission denied"}
    result = run()
    assert result["done"] is False
    assert "Permission denied" in result["left"][0]


def test_another_node_of_the_path_is_judged_by_its_own(run, world):
    world.node = small.node_document("k8s01")
    world.node["sysctls"]["net/ipv4/ip_forward"] = "0"
    assert run(node="k8s01", findings=[])["left"] == ["net.ipv4.ip_forward = 0"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"node": {"unreachable": True, "msg": "timed out"}}, "k8s02 is unreachable (timed out)"),
        ({"errors": [KubeError("the kubeconfig /nowhere does not exist")]}, "the kubeconfig /nowhere does not exist"),
        ({"document": {"reachable": False, "error": "Connection refused"}}, "the Kubernetes API cannot be read: Connection refused"),
    ],
)
def test_no_answer_is_no_success(run, world, change, sentence):
    vars(world).update(change)
    result = run()
    assert (result["failed"], result["done"], result["msg"], result["left"]) == (True, False, sentence, [sentence])


def test_a_finding_of_another_cause_is_not_waited_for(run, world):
    world.node["sysctls"]["net/ipv4/ip_forward"] = "0"
    assert run(findings=[])["done"] is False
    assert run(findings=[], known=[WRONG.id])["done"] is True
    assert run(known=[WRONG.id])["done"] is False, "what is asked for counts all the same"


FROM_NODE = ["node/k8s02 > shop/web-0 icmp", "node/k8s02 > node/k8s01 icmp"]
FROM_POD = ["shop/api-0 > shop/web-0 icmp"]


def test_what_was_answered_before_must_be_answered_again(run, world):
    before = run(restart=True, packets=True)
    assert sorted(before["answered"]) == sorted(FROM_NODE + FROM_POD)
    assert run(findings=[], answered=before["answered"])["done"] is True
    world.silent = FROM_NODE[:1]
    result = run(findings=[], answered=before["answered"])
    assert (result["done"], result["left"]) == (False, [f"no answer any more: {FROM_NODE[0]}"])
    assert run(findings=[], answered=FROM_POD)["done"] is True, "what was silent before is not asked for"


def test_packets_are_sent_only_where_nothing_else_is_wrong(run, world):
    world.node["sysctls"]["net/ipv4/ip_forward"] = "0"
    assert run(answered=FROM_NODE)["done"] is False
    assert [call[0] for call in world.calls if isinstance(call, tuple)] == ["podnet.doctor.node_info"]


def test_a_restart_is_looked_at_with_the_facts_of_now(run, world):
    assert (run(restart=True)["done"], run(restart=True)["left"]) == (True, [])
    world.node["addresses"] = {"error": "no answer"}
    refused = run(restart=True)
    assert refused["done"] is False and "by hand, once it is known which address it would take" in refused["left"][0]


def no_default_route(document):
    document["sandboxes"][0]["network"]["routes"] = []


def test_the_successor_of_a_pod_takes_its_place(run, world):
    """The node is judged with its name, and a finding about it is one of the pod before it."""
    (wrong,) = [finding for finding in small.diagnose(k8s01=no_default_route).findings if finding.check == "pod.route.missing"]
    links = [host_interface("shop", name) for name in ("web-0", "web-x2x9v")]
    world.node = json.loads(json.dumps(small.node_document("k8s01")).replace(*links))
    world.document["pods"][0]["metadata"]["name"] = "web-x2x9v"
    given = {"node": "k8s01", "findings": [wrong.id], "others": "none"}
    successors = {"shop/web-0": "shop/web-x2x9v"}
    assert run(**given, successors=successors)["done"] is True
    assert world.calls[0]["endpoints"] == ["shop/web-x2x9v", "shop/api-0"]
    no_default_route(world.node)
    assert run(**given, successors=successors)["left"] == [wrong.evidence.replace("web-0", "web-x2x9v")]
    assert run(**{**given, "findings": []}, successors=successors)["done"] is True


def test_a_node_that_was_restarted_must_be_well_altogether(run, world):
    world.node["bird"] = {"ipv4": {"error": "nobody listens", "reason": "dead"}}
    world.node["calico"]["bird"]["running"] = False
    assert run(findings=[])["done"] is True, "of no cause of this plan, and not critical"
    assert run(findings=[], others="any")["done"] is False


def test_without_the_api_the_node_is_judged_by_what_all_nodes_told_before(run, world, question, monkeypatch):
    asked = verify.Question.from_json(question["question"])
    monkeypatch.setattr(verify, "silent_question", lambda given, variables: (small.documents().cluster, asked))
    world.errors.append(KubeError("silent"))
    question["api"] = {"server": "https://192.0.2.1:6443", "error": "silent"}
    assert run()["done"] is True
    world.node["sysctls"]["net/ipv4/ip_forward"] = "0"
    assert run()["done"] is False
    assert len(world.calls) == 2, "the API was not asked"
