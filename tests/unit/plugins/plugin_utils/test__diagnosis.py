# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.tests.unit import small


def lose_route(prefix):
    def change(document):
        document["routes"] = [r for r in document["routes"] if r["dst"] != prefix]

    return change


def test_static_facts_alone_are_never_healthy():
    diagnosis = small.diagnose()
    assert diagnosis.findings == []
    assert diagnosis.outcome == "unknown"
    assert "no fault found" in diagnosis.summary


def test_a_packet_seen_in_both_directions_is_healthy():
    diagnosis = small.diagnose(evidence={"probes": [small.probe("forward", True)]})
    assert diagnosis.outcome == "healthy"
    assert all(hop.seen for hop in diagnosis.path.forward + diagnosis.path.reverse)


def test_an_echo_that_arrives_proves_nothing_for_a_tcp_port():
    probes = [small.probe("forward", True, "icmp"), small.probe("forward", False)]
    diagnosis = small.diagnose(evidence={"probes": probes})
    assert diagnosis.outcome == "broken"


def test_a_probe_that_nobody_could_watch_is_unknown():
    diagnosis = small.diagnose(evidence={"probes": [small.probe("forward", None, reason="no raw sockets")]})
    assert diagnosis.outcome == "unknown"
    assert any("no raw sockets" in entry["reason"] for entry in diagnosis.not_checked())


def test_the_packet_is_trusted_over_the_static_judgement():
    diagnosis = small.diagnose(evidence={"probes": [small.probe("forward", True)]}, k8s01=lose_route("10.253.2.0/26"))
    assert diagnosis.outcome == "healthy"
    assert diagnosis.findings
    assert "findings" in diagnosis.summary


def test_one_wrong_thing_is_named_once():
    def stray(document):
        document["nodes"][1]["metadata"]["annotations"]["projectcalico.org/IPv4Address"] = "192.188.1.1/24"

    def victim(document):
        document["bird"]["ipv4"]["protocols"] = []
        lose_route("10.253.2.0/26")(document)

    def culprit(document):
        document["links"].append(small.link(20, "br0"))
        document["addresses"].append({"ifname": "br0", "family": "inet", "local": "192.188.1.1", "prefixlen": 24})
        document["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = "Connect"
        lose_route("10.253.1.0/26")(document)

    diagnosis = small.diagnose(cluster=stray, k8s01=victim, k8s02=culprit)
    assert [cause.id for cause in diagnosis.causes] == ["node_ip_wrong_nic"]
    assert not diagnosis.unexplained
    cause = diagnosis.report()["verdict"]["causes"][0]
    assert cause["confidence"] == "certain"
    assert cause["remedies"][0]["id"] == "delete_address"
    assert cause["remedies"][1]["id"] == "restart_calico_node"
    assert cause["remedies"][1]["only_if"]


def test_two_independent_faults_are_both_named():
    def no_proxy_arp(document):
        for name in document["sysctls"]:
            if name.endswith("/proxy_arp"):
                document["sysctls"][name] = "0"

    def dead_bird(document):
        document["bird"] = {"ipv4": {"error": "connect: Connection refused", "errno": "ECONNREFUSED"}}
        document["calico"]["bird"] = {"running": False}

    diagnosis = small.diagnose(k8s01=no_proxy_arp, k8s02=dead_bird)
    assert sorted(cause.id for cause in diagnosis.causes) == ["bird_down_or_config_rejected", "proxy_arp_or_forwarding_cleared"]


def test_a_socket_that_may_not_be_opened_is_not_a_dead_bird():
    def forbidden(document):
        document["bird"] = {"ipv4": {"error": "Permission denied", "errno": "EACCES"}}

    diagnosis = small.diagnose(k8s02=forbidden)
    assert not diagnosis.findings
    assert any(entry["check"] == "bird.down" for entry in diagnosis.not_checked())


def test_checks_after_the_hop_where_the_packet_dies_are_not_reached():
    diagnosis = small.diagnose(k8s01=lose_route("10.253.2.0/26"))
    outcomes = [hop.outcome for hop in diagnosis.path.forward]
    assert outcomes.index("finding") < outcomes.index("not_reached")
    assert diagnosis.report()["checks"]["not_reached"] > 0


def test_counts_are_the_number_of_facts():
    report = small.diagnose().report()
    assert sum(report["checks"].values()) == sum(entry["compared"] for entry in report["check_list"])


# ----------------------------------------------------------------------------- whatever a node says, it never raises

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)


def places(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def put(value, path, junk):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = junk


NODE_PLACES = [p for p in places(small.node_document("k8s01")) if p]
CLUSTER_PLACES = [p for p in places(small.cluster_document()) if p]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(NODE_PLACES), JUNK), min_size=1, max_size=3))
def test_property_a_mutated_node_document_never_raises(changes):
    def mutate(document):
        for path, junk in changes:
            try:
                put(document, path, copy.deepcopy(junk))
            except (KeyError, IndexError, TypeError):
                continue

    report = small.diagnose(k8s01=mutate).report()
    assert report["verdict"]["outcome"] in ("broken", "unknown")
    json.dumps(report)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(CLUSTER_PLACES), JUNK), min_size=1, max_size=3))
def test_property_a_mutated_cluster_document_never_raises(changes):
    question = small.diagnose().question
    found = small.documents()
    document = small.cluster_document()
    for path, junk in changes:
        try:
            put(document, path, copy.deepcopy(junk))
        except (KeyError, IndexError, TypeError):
            continue
    report = Diagnosis(question, Documents(type(found.cluster)(document), found.nodes)).report()
    assert report["verdict"]["outcome"] in ("broken", "unknown")
    json.dumps(report)


@pytest.mark.parametrize("document", [{}, {"links": None}, {"schema": "x", "bird": []}])
def test_a_node_that_says_almost_nothing(document):
    found = small.documents()
    diagnosis = Diagnosis(small.diagnose().question, Documents(found.cluster, {**found.nodes, "k8s01": NodeFacts("k8s01", document)}))
    assert diagnosis.outcome == "unknown"
