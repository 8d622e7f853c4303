# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._services import resolve
from ansible_collections.podnet.doctor.tests.unit import small, small_services


def table(count, most):
    return lambda document: document.setdefault("counters", {}).update(nf_conntrack={"count": count, "max": most})


@pytest.mark.parametrize(("count", "outcome"), [(0, "ok"), (94, "ok"), (95, "finding"), (100, "finding")])
def test_room_for_connections(count, outcome):
    assert small.verdict(small.diagnose(k8s01=table(count, 100)), "conntrack.table", "k8s01").outcome == outcome


@pytest.mark.parametrize(("count", "severity"), [(96, "latent"), (100, "critical")])
def test_a_full_table(count, severity):
    (found,) = small.diagnose(k8s01=table(count, 100)).causes
    assert (found.id, found.fault, found.node, found.roots[0].severity) == ("conntrack_full", "F55", "k8s01", severity)


@pytest.mark.parametrize("value", [None, {}, {"count": 3}, {"count": "3", "max": 4}, {"count": 1, "max": 0}])
def test_a_node_that_does_not_say(value):
    diagnosis = small.diagnose(k8s01=lambda document: document.setdefault("counters", {}).update(nf_conntrack=value))
    assert small.verdict(diagnosis, "conntrack.table", "k8s01").outcome == "not_applicable"


# ------------------------------------------------------------------ flows to a Service

DNS = small_services.service(ports=[{"name": "http", "port": 53, "protocol": "UDP", "targetPort": 8080}])


def tracked(end, *flags, sport=40053, protocol="udp"):
    """A change of a node document: what the node tracks of the pod's packets to the Service."""
    asked = {"family": "inet", "protocol": protocol, "src": "10.253.1.5", "dst": small_services.ADDRESS, "sport": sport, "dport": 53}

    def change(document):
        entry = {**asked, "reply": {"src": end, "dst": "10.253.1.5", "sport": 8080, "dport": sport}, "flags": list(flags), "timeout": 20}
        document["conntrack"] = {"pairs": [["10.253.1.5", small_services.ADDRESS]], "entries": [entry], "left_out": 0}

    return change


def of_service(change):
    rules = small_services.rules("10.253.2.7:8080", more=[f"-A KUBE-SERVICES -d {small_services.ADDRESS}/32 -p udp -m udp --dport 53 -j DNS",
                                                          "-A DNS -p udp -m udp -j DNAT --to-destination 10.253.2.7:8080"])  # fmt: skip
    found = small.documents(cluster=DNS, k8s01=small.together(rules, change))
    question = resolve(found.cluster, "shop/web-0", "svc/shop/api", "udp", 53)
    return Diagnosis(question, Documents(found.cluster, found.nodes, Evidence()))


@pytest.mark.parametrize("end", ["10.253.2.99", small_services.ADDRESS])
def test_a_flow_to_an_endpoint_that_is_gone_is_named(end):
    diagnosis = of_service(tracked(end))
    assert small.named(diagnosis) == ["stale_conntrack_udp"] and diagnosis.causes[0].objects == ["udp 10.253.1.5:40053"]
    assert "conntrack -D -p udp -s 10.253.1.5 --sport 40053" in diagnosis.causes[0].remedies[0].action


def test_a_flow_that_had_answers_may_have_ended():
    (finding,) = of_service(tracked("10.253.2.99", "seen_reply")).findings
    assert (finding.check, finding.severity) == ("conntrack.stale", "latent")


@pytest.mark.parametrize("change", [tracked("10.253.2.7"), tracked("10.253.2.99", protocol="tcp")])
def test_a_flow_to_a_ready_endpoint_is_right_and_tcp_begins_anew(change):
    assert not of_service(change).findings
