# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _services
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion, Question
from ansible_collections.podnet.doctor.tests.unit import small, small_services

NAMED = {
    "svc/shop/api": ("shop/api", ""), "service/shop/api": ("shop/api", ""), "svc/shop/api:http": ("shop/api", "http"),
    "api.shop.svc": ("shop/api", ""), "api.shop.svc.cluster.local": ("shop/api", ""), "api.shop.svc.cluster.local.": ("shop/api", ""),
    "shop/api": None, "node/k8s01": None, "10.96.0.7": None, "api.shop": None, "www.example.com": None, "svc/shop": None, "": None,
}  # fmt: skip


def ask(*changes, destination="svc/shop/api", source="shop/web-0", protocol=None, port=None):
    document = small.cluster_document()
    small.together(small_services.service(), *changes)(document)
    return _services.resolve(Cluster(document), source, destination, protocol, port)


@pytest.mark.parametrize("text", NAMED)
def test_what_names_a_service(text):
    assert _services.service_named(text) == NAMED[text]


@given(st.text(alphabet="svc/ai.:-0 ", max_size=30))
def test_any_text_names_a_service_or_not(text):
    found = _services.service_named(text)
    assert found is None or found[0].count("/") == 1


@pytest.mark.parametrize("destination", ["svc/shop/api", "svc/shop/api:http", "api.shop.svc.cluster.local", small_services.ADDRESS])
def test_every_way_to_name_a_service(destination):
    question = ask(destination=destination)
    end = question.destination
    assert (end.kind, end.label, end.address, end.node) == ("service", "svc shop/api", small_services.ADDRESS, None)
    assert (question.port, question.protocol) == (80, "tcp")
    assert [(way.destination.label, way.port) for way in question.ways] == [("shop/api-0", 8080)]
    assert question.nodes == ("k8s01", "k8s02")
    assert Question.from_json(json.loads(json.dumps(question.to_json()))) == question


def test_what_is_no_service_is_resolved_as_ever():
    question = ask(destination="shop/api-0", port=8080)
    assert (question.asked, question.pairs, question.destination.label) == (None, (question,), "shop/api-0")
    assert ask(destination="192.0.2.1").destination.kind == "address"


@pytest.mark.parametrize(
    ("change", "given", "sentence"),
    [
        (small_services.service(name="other"), {}, "knows no Service shop/api"),
        (small_services.service(type="ExternalName", externalName="db.example.com", clusterIP=None), {}, "DNS answers with db.example.com"),
        (small_services.service(ports=[{"port": 80}, {"port": 443}]), {}, "is not said; it has tcp/80, tcp/443, such as svc/shop/api:80"),
        (small_services.service(), {"port": 81}, "has no such port; it has tcp/80 (http)"),
        (small_services.service(), {"protocol": "udp"}, "has no such port"),
        (small_services.service(), {"source": "svc/shop/api"}, "sends nothing itself"),
        (small.lost("endpointslices"), {}, "did not tell"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(change, given, sentence):
    document = small.cluster_document()
    small.together(small_services.service(), change)(document)
    asked = {"source": "shop/web-0", "destination": "svc/shop/api", "protocol": None, "port": None, **given}
    with pytest.raises(BadQuestion, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        _services.resolve(Cluster(document), **asked)


def test_a_headless_service_is_its_endpoints():
    question = ask(small_services.service(clusterIP="None"))
    assert question.asked.headless and [way.destination.label for way in question.ways] == ["shop/api-0"]
    assert "headless" in question.asked.notes[0]


def test_many_endpoints_are_sampled_over_the_nodes_and_that_is_said():
    ends = [(f"10.253.2.{number}", "k8s02") for number in range(10, 20)] + [("10.253.1.9", "k8s01")]
    question = ask(small_services.endpoints(*ends))
    assert len(question.ways) == _services.MOST_WAYS and question.asked.left_out == 6
    assert "10.253.1.9" in {way.destination.address for way in question.ways}
    assert question.asked.notes[0].startswith("6 more ready endpoints")


def test_what_decides_who_answers_is_noticed():
    notes = ask(small_services.service(sessionAffinity="ClientIP", externalTrafficPolicy="Local", type="NodePort")).asked.notes
    assert notes[0].startswith("session affinity") and notes[1] == (
        "externalTrafficPolicy is Local: clients outside reach only endpoints of the entered node; k8s02 has some"
    )


BY_PORT = {"type": "NodePort", "ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080}]}
TWO = (("10.253.2.7", "k8s02"), ("10.253.1.9", "k8s01"))


def by_node_port(node, ends=TWO, source="shop/web-0", port=30080, **spec):
    return ask(small_services.service(ends=ends, **BY_PORT, **spec), destination=node, source=source, port=port)


@pytest.mark.parametrize("destination", ["node/k8s02", "10.2.7.202"])
def test_the_port_of_another_node_begins_with_the_way_to_it(destination):
    question = by_node_port(destination)
    assert (question.destination.kind, question.destination.node, question.port, question.asked.key) == ("service", "k8s02", 30080, "shop/api")
    assert question.entry.destination.label == "node/k8s02" and question.translator == "k8s02"
    assert {way.source.label for way in question.ways} == {"node/k8s02"} and {way.port for way in question.ways} == {8080}
    assert question.pairs == (question.entry, *question.ways)
    assert Question.from_json(json.loads(json.dumps(question.to_json()))) == question


def test_the_port_of_its_own_node_begins_at_the_source():
    question = by_node_port("node/k8s01")
    assert question.entry is None and {way.source.label for way in question.ways} == {"shop/web-0"}


def test_a_local_external_traffic_policy_leaves_the_endpoints_of_other_nodes_out():
    assert [way.destination.node for way in by_node_port("node/k8s02", externalTrafficPolicy="Local").ways] == ["k8s02"]
    assert by_node_port("node/k8s02", ends=TWO[1:], externalTrafficPolicy="Local").ways == ()


def test_another_port_of_a_node_is_no_service():
    assert (by_node_port("node/k8s02", port=30081).asked, by_node_port("shop/api-0", port=30080).asked) == (None, None)


def test_an_internal_traffic_policy_leaves_the_endpoints_of_other_nodes_out():
    assert ask(small_services.service(internalTrafficPolicy="Local")).ways == ()


def test_endpoints_that_are_not_ready_are_none():
    assert ask(small_services.endpoints(("10.253.2.7", "k8s02"), ready=False)).ways == ()
