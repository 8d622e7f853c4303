# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils import _gate
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.tests.unit import small


def question(cluster):
    return resolve(cluster, "shop/web-0", "shop/api-0", "tcp", 8080)


@pytest.mark.parametrize(
    ("node", "texts"),
    [
        ("k8s01", ["shop/web-0 > shop/api-0 icmp", "shop/web-0 > shop/api-0 tcp/8080", "node/k8s01 > shop/api-0 icmp", "node/k8s01 > node/k8s02 icmp"]),
        ("k8s02", ["shop/api-0 > shop/web-0 icmp", "node/k8s02 > shop/web-0 icmp", "node/k8s02 > node/k8s01 icmp"]),
    ],
)
def test_the_question_s_own_way_and_the_ways_to_other_nodes(node, texts):
    cluster = small.documents().cluster
    sent = _gate.packets(cluster, question(cluster), node)
    assert [packet.text for packet in sent] == texts
    given = _gate.arguments("0" * 32, sent)
    assert [cell["inside"] for cell in given["cells"]] == [not text.startswith("node/") for text in texts]
    assert len({cell["flow"] for cell in given["cells"]}) == len(texts), "answers of one flow are told apart by nothing"
    assert given["pod"]["ip"] == {"k8s01": "10.253.1.5", "k8s02": "10.253.2.7"}[node]


def test_no_pod_of_the_question_here():
    cluster = small.documents().cluster
    asked = question(cluster)
    elsewhere = replace(asked, source=replace(asked.source, node="k8s09"), destination=replace(asked.destination, node="k8s08"))
    sent = _gate.packets(cluster, elsewhere, "k8s01")
    assert [packet.text for packet in sent] == ["node/k8s01 > shop/api-0 icmp", "node/k8s01 > node/k8s02 icmp"]
    assert "pod" not in _gate.arguments("0" * 32, sent)


def test_of_a_large_cluster_a_few_nodes_are_sent_to():
    document = small.cluster_document()
    for number in range(3, 40):
        (other,) = (dict(node) for node in document["nodes"] if node["metadata"]["name"] == "k8s02")
        status = {"addresses": [{"type": "InternalIP", "address": f"10.2.7.{number}"}]}
        document["nodes"].append({**other, "metadata": {"name": f"k8s{number:02d}", "annotations": {}}, "status": status})
        document["pods"].append(small.pod(f"shop/more-{number}", f"k8s{number:02d}", f"10.253.9.{number}"))
    cluster = Cluster(document)
    sent = _gate.packets(cluster, question(cluster), "k8s01")
    assert len(sent) == 2 + 2 * _gate.OTHERS <= _gate.MOST


def test_a_refusal_is_an_answer():
    cells = [{"name": "a", "replied": 1}, {"name": "b", "replied": 0, "refused": 3}, {"name": "c", "replied": 0, "error": "no answer"}]
    assert _gate.answered({"cells": cells}) == ["a", "b"]
    assert _gate.answered({"fired": [], "reason": "there is no sandbox"}) == []
