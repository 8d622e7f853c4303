# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every recorded real cluster: a healthy one raises nothing, a fault of the ground is named first, nothing else is misnamed (tests/captures.py)."""

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests import captures
from ansible_collections.podnet.doctor.tests.unit import recorded


@pytest.mark.parametrize("name", recorded.names() or ["absent"])
def test_the_truth_is_named_and_nothing_else(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    row = captures.judge(name)
    assert row["right"], row


# whose finding must name the very object that the fault was put into
OBJECTS = [
    "bgp-f30-borrowed-address-no-host-route", "bgp-f49-bird-dead-late", "bgp-f52-host-veth-down", "bgp-f70-as-mismatch", "dualstack-f74-ipv6-forwarding-off",
    "ipip-f25-route-wrong-encap", "routereflector-f69-label-lost", "vxlan-f38-wrong-vtep-neighbour", "vxlan-f39-conflicting-device", "canal-f76-fdb-missing",
]  # fmt: skip


@pytest.mark.parametrize("name", OBJECTS)
def test_the_cause_names_what_was_broken(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    first = recorded.diagnose(name).causes[0]
    told = " ".join((first.node, first.summary, *first.objects, *(root.evidence for root in first.roots)))
    truth = recorded.about(name)["truth"]["objects"]
    assert any(word.partition("/")[2] in told or word in told for text in truth for word in text.split() if word not in ("on", "route", "Node", "interface"))


@pytest.mark.parametrize("name", [n for n in recorded.names() if "healthy" in n] or ["absent"])
def test_a_healthy_cluster_is_never_called_healthy_on_static_facts_alone(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    assert recorded.diagnose(name).outcome == "unknown"


@pytest.mark.parametrize("name", ["bgp-f23-block-affinity-removed", "bgp-f49-bird-dead-early", "vxlan-f35-wrong-tunnel-address", "crosssubnet-f26-mask-32"])
def test_what_still_works_is_latent(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    diagnosis = recorded.diagnose(name)
    assert diagnosis.severity(diagnosis.causes[0]) == "latent" and not diagnosis.affects_path(diagnosis.causes[0])
    assert {finding.severity for finding in diagnosis.findings} == {"latent"}


@pytest.mark.parametrize(("name", "origin", "victim"), [("bgp-f22-alien-static-route", "node-a", "node-c"), ("bgp-f28-blackhole-leftover", "node-a", "node-c")])
def test_the_origin_is_named_and_not_the_victim(name, origin, victim):
    """BIRD announces an alien route to all: the others' routes follow from it."""
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    diagnosis = recorded.diagnose(name)
    assert {cause.node for cause in diagnosis.causes} == {origin}
    assert victim in {finding.fact.node for finding in diagnosis.explained_by(diagnosis.causes[0])}


def judged(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    return recorded.diagnose(name)


def sessions(diagnosis):
    """Of every node whose BIRD answered."""
    answering = [facts for facts in diagnosis.documents.collected() if "error" not in facts.document["bird"]["ipv4"]]
    return [protocol for facts in answering for protocol in facts.bgp_protocols()]


def test_established_is_no_proof_of_reachability():
    diagnosis = judged("bgp-f33-underlay-dead")
    assert {protocol["bgp"]["state"] for protocol in sessions(diagnosis)} == {"Established"}
    assert (diagnosis.outcome, diagnosis.causes[0].id) == ("broken", "host_route_missing_underlay")


@pytest.mark.parametrize(("name", "cause"), [("bgp-f06-stale-node-peer", "stale_node_peer"), ("bgp-f01-stale-node-address", "node_ip_wrong_nic")])
def test_passive_without_an_error_can_be_a_dead_address(name, cause):
    diagnosis = judged(name)
    assert any(protocol["info"] == "Passive" and not protocol["bgp"].get("last_error") for protocol in sessions(diagnosis))
    assert diagnosis.causes[0].id == cause


def test_a_route_that_bird_could_not_install_can_be_harmless():
    diagnosis = judged("bgp-f31-program-cluster-routes-both")
    refused = [route for facts in diagnosis.documents.collected() for route in facts.bird_routes() if route.get("state") == "!"]
    assert refused
    assert [finding.check for finding in diagnosis.findings] == ["routes.programming.both"]


def test_a_session_that_came_back_to_a_waiting_bird_brings_no_routes():
    diagnosis = judged("bgp-f19-graceful-restart-wait")
    assert any(protocol["state"] == "wait" and protocol["bgp"]["state"] == "Established" for protocol in sessions(diagnosis))
    assert diagnosis.causes[0].id == "bgp_gr_stuck_after_restart"
