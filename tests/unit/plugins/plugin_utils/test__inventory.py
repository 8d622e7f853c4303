# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._inventory import machine_of, match, not_matched
from ansible_collections.podnet.doctor.tests.unit import small


def cluster(**names):
    document = small.cluster_document()
    for node in document["nodes"]:
        node["metadata"]["name"] = names.get(node["metadata"]["name"], node["metadata"]["name"])
    return Cluster(document)


@pytest.mark.parametrize(
    ("host", "variables"),
    [
        ("k8s02", {}),
        ("k8s02.example.org", {}),
        ("worker", {"podnet_node_name": "k8s02"}),
        ("worker", {"ansible_host": "10.2.7.202"}),
        ("10.2.7.202", {}),
        ("k8s02", {"ansible_host": "10.2.7.201"}),  # a name counts more than an address
    ],
)
def test_by_variable_name_label_or_address(host, variables):
    assert match(cluster(), [(host, variables)]) == {"k8s02": host}


def test_long_names_of_nodes():
    known = cluster(k8s01="k8s01.a.example", k8s02="k8s01.b.example")
    assert match(known, [("k8s01.a.example", {})]) == {"k8s01.a.example": "k8s01.a.example"}
    assert match(known, [("k8s01", {})]) == {}  # it may be either


def test_a_declared_name_that_does_not_exist_is_no_match():
    assert match(cluster(), [("k8s02", {"podnet_node_name": "k8s99"})]) == {}


def test_the_first_host_stays():
    assert match(cluster(), [("k8s01", {}), ("twin", {"ansible_host": "10.2.7.201"})]) == {"k8s01": "k8s01"}


def test_what_is_missing_says_what_to_do():
    assert list(not_matched(["k8s01", "k8s02"], {"k8s01": "a"})) == ["k8s02"]
    assert "add a host named k8s02" in not_matched(["k8s02"], {})["k8s02"]


def machines(**ids):
    document = small.cluster_document()
    for node in document["nodes"]:
        node["status"]["nodeInfo"] = {"machineID": ids.get(node["metadata"]["name"], "")}
    return Cluster(document)


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ({"machine_id": "aa11"}, ("same", ["k8s01"])),
        ({"machine_id": "bb22"}, ("other", ["k8s02"])),
        ({"machine_id": "cc33"}, ("other", [])),
        ({}, ("unknown", [])),
    ],
)
def test_which_machine_answered(identity, expected):
    assert machine_of(machines(k8s01="aa11", k8s02="bb22"), "k8s01", {"identity": identity}) == expected


def test_machines_made_from_one_image_have_one_identity():
    assert machine_of(machines(k8s01="aa11", k8s02="aa11"), "k8s02", {"identity": {"machine_id": "aa11"}})[0] == "same"
