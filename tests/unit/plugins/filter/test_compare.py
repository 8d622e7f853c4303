# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.podnet.doctor.plugins.filter.compare import FilterModule
from ansible_collections.podnet.doctor.tests.unit import small

FILTERS = FilterModule().filters()
EMPTY = {"only_first": [], "only_second": [], "different": []}


@pytest.mark.parametrize("name", ["routes_diff", "neighbors_diff", "peers_diff", "links_diff"])
def test_a_node_equals_itself(name):
    node = small.node_document("k8s01")
    assert FILTERS[name](node, copy.deepcopy(node)) == EMPTY
    assert FILTERS[name]({"node": node}, node) == EMPTY


def test_routes_that_differ():
    first, second = small.node_document("k8s01"), small.node_document("k8s01")
    second["routes"][0]["gateway"] = "10.2.7.1"
    lost = second["routes"].pop()
    found = FILTERS["routes_diff"](first, second)
    assert [route["dst"] for route in found["only_first"]] == [lost["dst"]]
    assert found["different"][0]["first"] == {"gateway": "10.2.7.254"}
    assert found["different"][0]["second"] == {"gateway": "10.2.7.1"}


def test_peers_that_differ():
    first, second = small.node_document("k8s01"), small.node_document("k8s01")
    second["bird"]["ipv4"]["protocols"][0].update(state="start", info="Connect")
    found = FILTERS["peers_diff"](first, second)
    assert found["different"][0]["second"] == {"state": "start", "info": "Connect"}


def test_expected_and_actual():
    cluster, node = small.cluster_document(), small.node_document("k8s01")
    facts = FILTERS["expected_facts"](cluster, "k8s01")
    block = next(fact for fact in facts if fact["kind"] == "route.block")
    assert block["object"] == "10.253.2.0/26"
    assert block["value"]["gateway"] == "10.2.7.202"
    assert not [e for e in FILTERS["unexpected"](node, cluster, "k8s01") if e["outcome"] == "finding"]
    node["routes"] = [r for r in node["routes"] if r["dst"] != "10.253.2.0/26"]
    found = [e for e in FILTERS["unexpected"](node, cluster, "k8s01") if e["outcome"] == "finding"]
    assert [e["check"] for e in found] == ["route.block.missing"]


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("routes_diff", (3, []), "podnet.doctor.routes_diff: expected a list of routes"),
        ("links_diff", ({"links": {"error": "Permission denied"}}, []), "links were not read: Permission denied"),
        ("expected_facts", ({}, "k8s01"), "expected a cluster document"),
        ("expected_facts", ({"schema": "x"}, "k8s01"), "nodes was not asked for"),
        ("expected_facts", (small.cluster_document(), 3), "give the Kubernetes name of the node"),
        ("unexpected", ("text", small.cluster_document(), "k8s01"), "expected a node document"),
    ],
)
def test_bad_input_is_one_sentence(name, arguments, sentence):
    with pytest.raises(AnsibleFilterError, match=sentence):
        FILTERS[name](*arguments)
