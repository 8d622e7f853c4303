# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import host_interface, resolve
from ansible_collections.podnet.doctor.tests.unit import small

WEB = host_interface("shop", "web-0")
FLOW = "10.253.1.5>10.253.2.7"
DNS_ADDRESS = "10.253.2.53"


def answer(dst, **route):
    def change(document):
        next(entry for entry in document["lookups"] if entry["dst"] == dst)["route"] = route

    return change


def forget(dst):
    def change(document):
        document["lookups"] = [entry for entry in document["lookups"] if entry["dst"] != dst]

    return change


def unchanged(document):
    pass


def no_tunnel(document):
    document["ippools"][0]["spec"] = {"cidr": "10.253.0.0/16"}


DIRECT = small.together(
    lambda d: d.update(routes=[r if r["dst"] != "10.253.2.0/26" else {**r, "dev": "eth0", "flags": []} for r in d["routes"]]),
    answer("10.253.2.7", dev="eth0", gateway="10.2.7.202"),
)


@pytest.mark.parametrize(
    ("change", "cluster", "outcome"),
    [
        (unchanged, unchanged, "ok"),
        (answer("10.253.2.7", error="Network is unreachable"), unchanged, "finding"),
        (answer("10.253.2.7", dev="eth0", gateway="10.2.7.254"), unchanged, "finding"),
        (forget("10.253.2.7"), unchanged, "ok"),  # not asked: worked out from rules and routes
        (small.together(forget("10.253.2.7"), small.lost("routes")), unchanged, "not_checked"),
        (small.lost("lookups"), unchanged, "not_checked"),
        (DIRECT, no_tunnel, "ok"),
        (small.together(DIRECT, answer("10.253.2.7", dev="eth0", gateway="10.2.7.254")), no_tunnel, "finding"),  # the default route instead
        (small.together(DIRECT, answer("10.253.2.7", dev="wg0", gateway="10.2.7.202")), no_tunnel, "finding"),
    ],
)
def test_the_kernels_own_decision(change, cluster, outcome):
    assert small.verdict(small.diagnose(k8s01=change, cluster=cluster), "fib", "k8s01", FLOW).outcome == outcome


def test_on_the_destinations_node_it_goes_to_the_pod():
    flow = "10.253.2.7>10.253.1.5"
    assert small.verdict(small.diagnose(), "fib", "k8s01", flow).outcome == "ok"
    found = small.verdict(small.diagnose(k8s01=answer("10.253.1.5", dev="eth0")), "fib", "k8s01", flow)
    assert f"expected dev {WEB}" in found.finding.evidence


def test_a_policy_rule_before_calicos_routes():
    def rule(document):
        document["rules"] = [{"priority": 0, "table": 255}, {"priority": 100, "src": "10.253.0.0/16", "table": 100}, {"priority": 32766, "table": 254}]

    wrong = answer("10.253.2.7", dev="eth1", gateway="192.0.2.1")
    (cause,) = small.diagnose(k8s01=small.together(rule, wrong)).causes
    assert (cause.id, cause.fault) == ("alien_policy_rule_shadows_main", "F32")
    assert cause.objects == ["ip rule 100 (from 10.253.0.0/16 lookup 100)"]
    assert not small.diagnose(k8s01=wrong).causes  # no rule, no name
    assert small.diagnose(k8s01=wrong).unexplained
    assert not small.diagnose(k8s01=small.together(wrong, small.lost("rules"))).causes


@pytest.mark.parametrize(("others", "remedies"), [([], ["delete_rule", "advise_cloud_setup"]), ([{"family": "inet", "priority": 30410, "table": 7}], [])])
def test_what_a_node_sends_to_its_own_pod_has_its_own_address(others, remedies):
    mine = {"family": "inet", "priority": 30400, "action": "to_tbl", "src": "10.2.7.201/32", "table": 30400}

    def rules(document):
        document["rules"] = [mine, *others, {"family": "inet", "priority": 32766, "table": 254, "action": "to_tbl"}]
        document["routes"].append(small.route("0.0.0.0/0", "eth0", gateway="10.2.7.254", table=30400))

    found = small.documents(k8s01=rules)
    (cause,) = Diagnosis(resolve(found.cluster, "node/k8s01", "shop/web-0", "tcp", 8080), found).causes
    assert (cause.id, cause.fault, cause.node, cause.heuristic) == ("nm_cloud_setup_rules", "F10", "k8s01", bool(others))
    assert "ip route get 10.253.1.5 from 10.2.7.201: via 10.2.7.254 dev eth0" in cause.roots[0].evidence
    assert [remedy.id for remedy in cause.remedies] == remedies


def test_policy_is_said_to_be_unread():
    found = small.verdict(small.diagnose(k8s01=small.lost("netfilter")), "policy", "k8s01", FLOW)
    assert (found.outcome, found.reason.startswith("k8s01: netfilter")) == ("not_checked", True)


# ------------------------------------------------------------------------------- DNS


def dns(document):
    document["pods"].append(small.pod("kube-system/coredns-1", "k8s02", DNS_ADDRESS))
    document["pods"][-1]["metadata"]["labels"] = {"k8s-app": "kube-dns"}


def dns_answer(**route):
    return lambda document: document["lookups"].append({"dst": DNS_ADDRESS, "route": route})


@pytest.mark.parametrize(
    ("change", "cluster", "outcome"),
    [
        (dns_answer(dev="tunl0", gateway="10.2.7.202"), dns, "ok"),
        (dns_answer(dev="eth0", gateway="10.2.7.254"), dns, "finding"),
        (dns_answer(error="Network is unreachable"), dns, "finding"),
        (unchanged, dns, "ok"),
        (small.lost("routes"), dns, "not_checked"),
        (small.together(DIRECT, dns_answer(dev="eth0", gateway="10.2.7.202")), small.together(dns, no_tunnel), "ok"),
        (small.together(DIRECT, dns_answer(dev="eth0", gateway="10.2.7.254")), small.together(dns, no_tunnel), "finding"),
    ],
)
def test_the_way_to_dns(change, cluster, outcome):
    diagnosis = small.diagnose(k8s01=change, cluster=cluster)
    assert small.verdict(diagnosis, "dns.endpoint", "k8s01", "kube-system/coredns-1").outcome == outcome
    assert not [fact for fact in diagnosis.facts if fact.kind == "dns.endpoint" and fact.node == "k8s02"]  # its own pod


def test_dns_follows_from_the_missing_route():
    def no_route(document):
        document["routes"] = [r for r in document["routes"] if r["dst"] != "10.253.2.0/26"]

    diagnosis = small.diagnose(k8s01=small.together(no_route, dns_answer(dev="eth0", gateway="10.2.7.254")), cluster=dns)
    assert "dns.endpoint.unreachable" in {f.check for f in diagnosis.explained_by(diagnosis.causes[0])}


# ------------------------------------------------------------------------------- probes


@pytest.mark.parametrize(
    ("probes", "outcome"),
    [
        ([], "not_applicable"),
        ([small.probe("forward", True)], "ok"),
        ([small.probe("forward", False)], "finding"),
        ([small.probe("forward", None, reason="no raw sockets")], "not_checked"),
        ([small.probe("reverse", False)], "not_applicable"),
    ],
)
def test_a_probe(probes, outcome):
    diagnosis = small.diagnose(evidence={"probes": probes})
    assert small.verdict(diagnosis, "probe", "k8s01", "forward").outcome == outcome


def test_a_lost_probe_alone_is_broken_and_unexplained():
    diagnosis = small.diagnose(evidence={"probes": [small.probe("forward", False)]})
    assert (diagnosis.outcome, small.named(diagnosis)) == ("broken", [])
    assert [finding.check for finding in diagnosis.unexplained] == ["probe.lost"]
    assert "broken, without a named cause" in diagnosis.summary
