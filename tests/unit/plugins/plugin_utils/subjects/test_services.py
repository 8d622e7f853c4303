# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._services import resolve
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text
from ansible_collections.podnet.doctor.tests import captures
from ansible_collections.podnet.doctor.tests.unit import recorded, small, small_services
from ansible_collections.podnet.doctor.tests.unit.small_services import listens, rules, tried

END, SERVICE = "10.253.2.7:8080", f"{small_services.ADDRESS}:80"
SEEN = {"probes": [small.probe("forward", True), small.probe("reverse", True)]}


def diagnose(*here, there=(), cluster=(), evidence=None, destination="svc/shop/api"):
    """here: changes of the source's node, over rules that lead to the endpoint; there: of the endpoint's."""
    found = small.documents(
        cluster=small.together(small_services.service(), *cluster), k8s01=small.together(rules(END), *here), k8s02=small.together(rules(END), *there)
    )
    question = resolve(found.cluster, "shop/web-0", destination, None, None)
    return Diagnosis(question, Documents(found.cluster, found.nodes, Evidence(evidence)))


def judged(diagnosis, kind):
    return next(verdict for fact, verdict in diagnosis.judged.items() if fact.kind == f"service.{kind}")


def checks(diagnosis):
    return sorted(finding.check for finding in diagnosis.findings)


def test_a_service_that_answered_is_healthy():
    diagnosis = diagnose(tried("answered", END, SERVICE), there=[listens(8080)], evidence=SEEN)
    assert (diagnosis.outcome, diagnosis.findings) == ("healthy", [])
    assert {verdict.outcome for fact, verdict in diagnosis.judged.items() if fact.kind.startswith("service.")} == {"ok"}
    report = diagnosis.report(version="test")
    assert [(pair["outcome"], pair["answered"], pair["destination"]["name"]) for pair in report["pairs"]] == [("healthy", True, "api-0")]
    screen = _text.screen(report)
    assert screen[0].startswith("shop/web-0 on k8s01  →  svc shop/api, tcp/80") and screen[0].endswith("HEALTHY")
    assert "BACKENDS 10.253.2.7:8080 (shop/api-0 on k8s02): ok, answered" in screen


def test_rules_that_are_right_are_not_enough_to_be_healthy():
    diagnosis = diagnose(there=[listens(8080)], evidence=SEEN)
    assert (diagnosis.outcome, diagnosis.findings) == ("unknown", [])
    assert judged(diagnosis, "answer").outcome == "not_applicable"


def test_without_rules_kube_proxy_is_named():
    diagnosis = diagnose(rules(), tried("timeout", SERVICE), tried("answered", END))
    assert small.named(diagnosis) == ["kube_proxy_rules_missing"] and diagnosis.causes[0].node == "k8s01"
    assert not diagnosis.unexplained and diagnosis.outcome == "broken"
    assert diagnosis.confidence(diagnosis.causes[0]) == "certain"


def test_what_answers_without_rules_is_translated_by_something_else():
    diagnosis = diagnose(rules(), tried("answered", END, SERVICE))
    assert not diagnosis.findings and "something else" in judged(diagnosis, "rules").reason


def test_stale_rules_are_broken_also_where_some_connections_were_lucky():
    diagnosis = diagnose(rules(END, "10.253.2.99:8080"), tried("answered", END, SERVICE), there=[listens(8080)], evidence=SEEN)
    assert (diagnosis.outcome, small.named(diagnosis)) == ("broken", ["kube_proxy_rules_stale"])


def test_rules_of_another_node_do_not_matter():
    diagnosis = diagnose(there=[rules()])
    assert not diagnosis.findings


def test_rules_to_an_endpoint_that_is_gone():
    diagnosis = diagnose(rules(END, "10.253.2.99:8080"))
    assert small.named(diagnosis) == ["kube_proxy_rules_stale"]
    assert "still sends to 10.253.2.99:8080" in diagnosis.causes[0].summary and diagnosis.outcome == "broken"


def test_rules_that_leave_a_new_endpoint_out_are_latent():
    ends = [("10.253.2.7", "k8s02"), ("10.253.1.5", "k8s01")]
    diagnosis = diagnose(cluster=[small_services.endpoints(*ends)])
    assert small.named(diagnosis) == ["kube_proxy_rules_stale"]
    assert diagnosis.severity(diagnosis.causes[0]) == "latent" and diagnosis.outcome != "broken"


def test_rules_that_refuse_what_has_an_endpoint_are_behind():
    refusal = f'-A KUBE-SERVICES -d {small_services.ADDRESS}/32 -p tcp -m comment --comment "shop/api:http has no endpoints" -m tcp --dport 80 -j REJECT'
    diagnosis = diagnose(rules(filters=["-A FORWARD -j KUBE-SERVICES", refusal]))
    assert small.named(diagnosis) == ["kube_proxy_rules_stale"] and "has no endpoints" in judged(diagnosis, "rules").finding.evidence


def ipvs(*ends, address=small_services.ADDRESS):
    """A change of a node document: kube-proxy works with IPVS. ends: (address, weight) of the real servers."""

    def change(document):
        document["links"].append(small.link(12, "kube-ipvs0"))
        servers = [{"address": end, "port": 8080, "forward": "Masq", "weight": weight, "active": 0, "inactive": 0} for end, weight in ends]
        document["netfilter"]["ipvs"] = [{"protocol": "tcp", "address": address, "port": 80, "scheduler": "rr", "persistent": False, "servers": servers}]

    return change


def test_virtual_servers_that_were_not_read_are_not_checked():
    diagnosis = diagnose(rules(), lambda document: document["links"].append(small.link(12, "kube-ipvs0")))
    assert not diagnosis.findings and diagnosis.outcome == "unknown"
    assert "IPVS" in judged(diagnosis, "rules").reason and judged(diagnosis, "rules").outcome == "not_checked"


def test_a_virtual_server_with_the_ready_endpoints_is_right():
    diagnosis = diagnose(rules(), ipvs(("10.253.2.7", 1)))
    assert not diagnosis.findings and judged(diagnosis, "rules").outcome == "ok" and judged(diagnosis, "way").outcome == "not_checked"


@pytest.mark.parametrize(
    ("change", "check", "severity"),
    [
        (ipvs(("10.253.2.7", 1), address="10.96.0.99"), "service.rules.missing", "critical"),
        (ipvs(), "service.rules.stale", "critical"),
        (ipvs(("10.253.2.7", 0)), "service.rules.stale", "critical"),
        (ipvs(("10.253.2.7", 1), ("10.253.2.99", 1)), "service.rules.stale", "critical"),
    ],
)
def test_a_virtual_server_that_is_missing_empty_or_wrong(change, check, severity):
    (finding,) = diagnose(rules(), change).findings
    assert (finding.check, finding.severity) == (check, severity)


def test_without_the_rules_of_the_node_nothing_is_said_of_them():
    diagnosis = diagnose(small.lost("netfilter"))
    assert judged(diagnosis, "rules").outcome == judged(diagnosis, "way").outcome == "not_checked"


@pytest.mark.parametrize("labels", [{}, {"app": "api"}])
def test_no_ready_endpoint(labels):
    def label(cluster):
        cluster["pods"][1]["metadata"]["labels"] = labels
        waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
        cluster["pods"][1]["status"]["containerStatuses"] = [{"name": "api", "state": waiting, "restartCount": 4}]

    diagnosis = diagnose(rules(), tried("refused", SERVICE), cluster=[small_services.endpoints(), label])
    assert small.named(diagnosis) == ["service_without_endpoints"] and not diagnosis.unexplained
    told = " ".join([diagnosis.causes[0].summary, *diagnosis.causes[0].why])
    assert ("shop/api-0: CrashLoopBackOff (4 restarts)" if labels else "its selector app=api means no pod") in told


def test_a_port_on_which_nobody_listens():
    diagnosis = diagnose(tried("refused", END, SERVICE), there=[listens(8443)])
    assert small.named(diagnosis) == ["service_target_port_wrong"] and not diagnosis.unexplained
    assert "and nothing listens there: shop/api-0 listens on 8443" in diagnosis.causes[0].summary


def test_ports_that_containers_name_prove_nothing_by_themselves():
    def name(cluster):
        cluster["pods"][1]["spec"]["containers"] = [{"name": "api", "ports": [{"containerPort": 8443}]}]

    assert diagnose(cluster=[name]).severity(diagnose(cluster=[name]).causes[0]) == "latent"
    assert not diagnose(there=[listens(8080)], cluster=[name]).findings
    assert not diagnose(tried("answered", END), cluster=[name]).findings


def test_an_endpoint_that_does_not_answer_without_a_reason_is_unnamed():
    diagnosis = diagnose(tried("timeout", END), tried("answered", SERVICE), there=[listens(8080)])
    assert checks(diagnosis) == ["service.unanswered"] and diagnosis.unexplained and diagnosis.outcome == "broken"


def test_an_endpoint_that_listens_on_nothing_is_named():
    diagnosis = diagnose(tried("refused", END, SERVICE), there=[listens()])
    assert small.named(diagnosis) == ["port_not_listened"] and not diagnosis.unexplained and diagnosis.outcome == "broken"


def test_some_answers_are_not_all():
    diagnosis = diagnose(tried("answered", END, SERVICE), tried("timeout", SERVICE), there=[listens(8080)])
    assert "1 of 2 connections" in diagnosis.unexplained[0].evidence


def test_a_service_that_hides_the_source_from_a_policy_of_the_far_node():
    masquerade = [f"-A KUBE-SERVICES -d {small_services.ADDRESS}/32 -j KUBE-MARK-MASQ", "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
                  "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE"]  # fmt: skip

    def first(document):
        rules(END, more=masquerade)(document)
        saved, lines = document["netfilter"]["iptables"][0], []
        for line in saved["text"].splitlines():
            lines += [masquerade[0], line] if line.startswith("-A KUBE-SERVICES") and line != masquerade[0] else [] if line == masquerade[0] else [line]
        saved["text"] = "\n".join(lines) + "\n"

    only_the_pod = ["-A FORWARD -s 10.253.1.5/32 -j ACCEPT", "-A FORWARD -p tcp -m tcp --dport 8080 -j DROP"]
    diagnosis = diagnose(first, there=[rules(END, filters=only_the_pod)])
    assert small.named(diagnosis) == ["snat_hides_source_from_policy"]
    cause = diagnosis.causes[0]
    assert (cause.fault, cause.node) == ("F13", "k8s01") and "KUBE-MARK-MASQ" in cause.why[0]


def test_what_is_dropped_before_it_is_translated_is_lost_through_the_service_only():
    def drop(document):
        saved = document["netfilter"]["iptables"][0]
        saved["text"] += f"*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d {small_services.ADDRESS}/32 -j DROP\nCOMMIT\n"

    diagnosis = diagnose(drop)
    assert (diagnosis.outcome, small.named(diagnosis)) == ("broken", ["filter_drops"])


@pytest.mark.parametrize("name", [*captures.SERVICES, "bgp-f13-masquerade-all"])
def test_recorded_services(name):
    recorded.unpacked(name)
    row = captures.judge(name)
    assert row["right"] and not row["unexplained"], row


# ------------------------------------------------------------------ a port of a node

NODE_PORT = ["-A KUBE-SERVICES -p tcp -m tcp --dport 30080 -m addrtype --dst-type LOCAL -j KUBE-SVC-API"]


def by_node_port(*there, ends=(("10.253.2.7", "k8s02"),), **spec):
    """shop/web-0 on k8s01 asks the port of k8s02. there: changes of k8s02."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080}]
    cluster = small_services.service(ends=ends, type="NodePort", ports=ports, **spec)
    found = small.documents(cluster=cluster, k8s01=rules(END, more=NODE_PORT), k8s02=small.together(rules(END, more=NODE_PORT), *there))
    question = resolve(found.cluster, "shop/web-0", "node/k8s02", None, 30080)
    return Diagnosis(question, Documents(found.cluster, found.nodes, Evidence()))


def test_the_rules_of_the_entered_node_translate():
    diagnosis = by_node_port()
    assert not diagnosis.findings and judged(diagnosis, "rules").outcome == "ok"
    assert next(fact for fact in diagnosis.judged if fact.kind == "service.rules").node == "k8s02"


def test_the_entered_node_without_rules_is_named():
    diagnosis = by_node_port(rules(END))
    assert small.named(diagnosis) == ["kube_proxy_rules_missing"] and diagnosis.causes[0].node == "k8s02"


def test_a_node_without_a_local_endpoint_is_named():
    diagnosis = by_node_port(ends=(("10.253.1.9", "k8s01"),), externalTrafficPolicy="Local")
    assert small.named(diagnosis) == ["service_without_local_endpoint"] and diagnosis.causes[0].node == "k8s02"
    assert diagnosis.causes[0].why == ["It has ready endpoints on k8s01."]
    report = diagnosis.report(version="test")
    assert report["pairs"] == [] and report["question"]["entry"]["node"] == "k8s02"
    assert "by its port on k8s02" in _text.screen(report)[0]


def test_a_pod_of_a_node_without_a_local_endpoint_is_told_of_the_internal_policy():
    diagnosis = diagnose(cluster=[small_services.service(ends=(("10.253.2.7", "k8s02"),), internalTrafficPolicy="Local")])
    assert small.named(diagnosis) == ["service_without_local_endpoint"]
    assert "internalTrafficPolicy: Local" in diagnosis.causes[0].summary and diagnosis.causes[0].node == "k8s01"
