# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _evidence, _grid
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins import support

HOSTS = {"k8s01": "one", "k8s02": "two"}
CLUSTER = Cluster(small.cluster_document())
QUESTION = resolve(CLUSTER, "shop/web-0", "shop/api-0", "tcp", 8080)
OWN = [_grid.NEAR_TO_POD, _grid.FAR_TO_POD, _grid.POD_TO_NEAR, _grid.NEAR_TO_FAR]


def test_each_cell_is_sent_by_the_node_that_it_begins_on():
    found = _evidence.probes(CLUSTER, QUESTION, HOSTS, grid=True)
    (one,), (two,) = found["one"]["fire"], found["two"]["fire"]
    own = {cell["name"]: cell for cell in one["cells"] if not cell["name"].startswith(_grid.DNS)}
    assert set(own) == {_grid.NEAR_TO_POD, _grid.POD_TO_NEAR, _grid.NEAR_TO_FAR}
    assert [cell["name"] for cell in two["cells"]] == [_grid.FAR_TO_POD]
    assert (own[_grid.NEAR_TO_POD]["dst"], own[_grid.NEAR_TO_POD]["port"]) == ("10.253.2.7", 8080)
    assert own[_grid.POD_TO_NEAR]["inside"] is True and "inside" not in own[_grid.NEAR_TO_FAR]
    flows = [cell["flow"] for cell in (*own.values(), *two["cells"])]
    assert len(set(flows)) == len(flows) and not set(flows) & {0, 1}
    without = _evidence.probes(CLUSTER, QUESTION, HOSTS)
    assert without["one"]["fire"][0]["cells"] == []


def test_dns_pods_are_asked_from_the_source_pod():
    document = small.cluster_document()
    pod = next(pod for pod in document["pods"] if pod["metadata"]["name"] == "api-0")
    pod["metadata"]["labels"] = {"k8s-app": "kube-dns"}
    cluster = Cluster(document)
    (cell,) = [cell for cell in _grid.cells(cluster, QUESTION) if cell.name.startswith(_grid.DNS)]
    assert (cell.destination, cell.arguments["question"], cell.arguments["inside"]) == ("shop/api-0", _grid.CONTROL, True)


def test_a_node_has_no_grid():
    assert _grid.cells(CLUSTER, resolve(CLUSTER, "node/k8s01", "shop/api-0", "tcp", 8080)) == []


def grid(**failed):
    names = [_grid.PODS, *OWN, _grid.TO_SERVICE, "dns:kube-system/one", "dns:kube-system/two"]
    return [{"cell": name, "outcome": failed.get(name.replace("-", "_").replace(":", "_").partition("/")[0], "answered")} for name in names]


@pytest.mark.parametrize(
    ("failed", "nodes", "text"),
    [
        ([], (), ""),
        (["pod_pod", "near_pod"], ("near", "far"), "far reaches its pod and near does not"),
        (["pod_pod", "near_pod", "far_pod"], ("far",), "Not even far"),
        (["pod_pod", "near_pod", "near_far"], ("near", "far"), "network between"),
        (["pod_pod", "pod_near"], ("near",), "own node"),
        (["pod_pod"], (), "policies"),
        (["service"], ("near",), "kube-proxy"),
        (["dns_kube_system"], (), "2 of 2 DNS servers"),
    ],
)
def test_what_the_pattern_says(failed, nodes, text):
    said = _grid.pattern(grid(**dict.fromkeys(failed, "silent")), "near", "far")
    assert said.nodes == nodes
    assert text in said.text and bool(said.text) is bool(text)
    assert _grid.pattern(grid(**dict.fromkeys(failed, "refused")), "near", "far").text == ""  # a refusal came from the other end


def test_what_was_not_sent_says_nothing():
    cells = [{"cell": name, "outcome": "not sent"} for name in (_grid.PODS, *OWN)]
    assert _grid.pattern(cells, "near", "far") == _grid.Pattern()


def fired(name, cells):
    return {"id": "0" * 32, "fired": [{"protocol": "tcp", "port": 8080, "sent": 3, "replied": 0}], "cells": cells}


def test_cells_are_evidence_of_the_node_that_they_point_to():
    found = _evidence.Registered({
        "forward": fired("forward", [{"name": _grid.NEAR_TO_POD, "sent": 3, "replied": 0}, {"name": _grid.POD_TO_NEAR, "sent": 3, "replied": 3},
                                     {"name": _grid.NEAR_TO_FAR, "sent": 3, "replied": 3}]),
        "reverse": fired("reverse", [{"name": _grid.FAR_TO_POD, "sent": 3, "replied": 0, "error": "no answer within 2 s"}]),
    })  # fmt: skip
    for node in ("k8s01", "k8s02"):
        captures = [{"where": "host"}, {"where": "pod", "pod": 0}]
        found.armed[node] = {"id": "0" * 32, "armed": True, "captures": captures, "missing": []}
        found.collected[node] = {"id": "0" * 32, "captured": True, "seen": []}
    flow = _grid.FLOWS[_grid.FAR_TO_POD]
    sight = {"where": "pod", "pod": 0, "ifname": "eth0", "way": "in", "flow": flow, "train": "tcp", "kind": "request", "numbers": [[0, 1.0]]}
    found.collected["k8s02"]["seen"] = [sight]
    document = _evidence.document(CLUSTER, QUESTION, found, "2026-11-21T09:30:42Z")
    support.valid("evidence", document)
    cells = {cell["cell"]: cell for cell in document["grid"]["cells"]}
    assert [(cells[name]["outcome"], cells[name].get("arrived")) for name in (_grid.PODS, *OWN)] == [
        ("silent", False), ("silent", False), ("silent", True), ("answered", False), ("answered", False),
    ]  # fmt: skip
    assert document["grid"]["nodes"] == ["k8s02"]
    screen = _text.screen(small.diagnose(evidence=document).report([]))
    assert any("node/k8s02 > shop/api-0 tcp/8080: NO ANSWER (arrived)" in line for line in screen)


def test_a_witness_makes_a_cause_more_certain():
    def off(document):
        document["sysctls"]["net/ipv4/ip_forward"] = "0"

    alone = small.diagnose(k8s02=off)
    pointed = small.diagnose(evidence={"probes": [], "grid": {"cells": [], "pattern": "x", "nodes": ["k8s02"]}}, k8s02=off)
    (before,), (after,) = alone.causes, pointed.causes
    assert (before.node, alone.confidence(before), pointed.confidence(after)) == ("k8s02", "likely", "certain")


junk = st.none() | st.integers() | st.text(max_size=6) | st.lists(st.text(max_size=3), max_size=2)


@given(st.lists(st.dictionaries(st.sampled_from(["name", "sent", "replied", "refused", "error", "rcode", "addresses"]), junk), max_size=6))
def test_property_any_cells_of_a_node_are_understood(told):
    found = _evidence.Registered({"forward": fired("forward", [{**cell, "name": name} for cell, name in zip(told, OWN)])})
    document = _evidence.document(CLUSTER, QUESTION, found, "2026-11-21T09:30:42Z")
    support.valid("evidence", document)
