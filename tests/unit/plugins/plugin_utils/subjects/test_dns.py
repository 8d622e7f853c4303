# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion
from ansible_collections.podnet.doctor.plugins.plugin_utils._services import dns_name, resolve
from ansible_collections.podnet.doctor.tests.unit import small, small_services

SERVICE, END = small_services.ADDRESS, "10.253.2.7"
PORTS = [{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53}, {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53}]
RESOLVER = {"nameservers": [SERVICE], "search": ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"], "ndots": 5}


def is_dns(cluster):
    small_services.service(ports=PORTS)(cluster)
    cluster["services"][0]["metadata"]["labels"] = {"k8s-app": "kube-dns"}
    cluster["endpointslices"][0]["ports"] = [{"name": "dns", "protocol": "UDP", "port": 53}, {"name": "dns-tcp", "protocol": "TCP", "port": 53}]


def rules(document):
    small_services.rules(f"{END}:53")(document)
    saved = document["netfilter"]["iptables"][0]
    saved["text"] = saved["text"].replace("--dport 80", "--dport 53").replace("-p tcp -m tcp", "-p udp -m udp")


def asked(search=(), resolver=None, **said):
    """said: service_udp, end_tcp and so on: the rcode of an answer, or another outcome."""

    def change(document):
        queries = []
        for server, name in ((SERVICE, "service"), (END, "end")):
            for protocol in ("udp", "tcp"):
                word = said.get(f"{name}_{protocol}", said.get(name, "NOERROR"))
                answer = {"outcome": "answered", "rcode": word} if word.isupper() else {"outcome": word}
                queries.append({"server": server, "protocol": protocol, "name": "kubernetes.default.svc.cluster.local", **answer})
        document["dns"] = [{"netns_of": "uid-web-0", "name": "x", "control": "kubernetes.default.svc.cluster.local", "resolver": resolver or RESOLVER,
                            "queries": queries, "search": list(search)}]  # fmt: skip

    return change


def looked_up(*ends):
    """(name, rcode or outcome, addresses)"""
    made = []
    for name, word, *addresses in ends:
        answer = {"outcome": "answered", "rcode": word, "addresses": addresses} if word.isupper() else {"outcome": word}
        made.append({"server": SERVICE, "protocol": "udp", "name": name, **answer})
    return made


def diagnose(*here, destination="svc/shop/api", cluster=()):
    found = small.documents(cluster=small.together(is_dns, *cluster), k8s01=small.together(rules, *here))
    question = resolve(found.cluster, "shop/web-0", destination, None, None)
    return Diagnosis(question, Documents(found.cluster, found.nodes, Evidence(None)))


def test_dns_that_answers_everywhere_is_healthy():
    diagnosis = diagnose(asked(looked_up(("x.shop.svc.cluster.local", "NOERROR", "10.96.0.9"))), destination="dns/x")
    assert (diagnosis.outcome, diagnosis.findings) == ("healthy", [])
    assert diagnosis.report(version="test")["pairs"][0]["answered"] is True


@pytest.mark.parametrize("text", ["dns/www.example.com", "dns/web", "www.example.com", "www.example.com.", "_sip._udp.example.com"])
def test_names(text):
    question = diagnose(destination=text).question
    assert (question.asked.dns, question.asked.name, question.service) == (True, text.removeprefix("dns/"), "udp/53")


@pytest.mark.parametrize("text", ["web", "shop/web", "10.0.0.1", "api.shop.svc", "node/k8s01", "dns/", "dns/a b", "..", "1.2.3"])
def test_no_names(text):
    assert dns_name(text) == ""


def test_without_a_dns_service_there_is_nobody_to_ask():
    document = small.cluster_document()
    with pytest.raises(BadQuestion, match="k8s-app=kube-dns"):
        resolve(small.documents().cluster.__class__(document), "shop/web-0", "dns/web", None, None)


def test_what_was_not_asked_is_not_judged():
    diagnosis = diagnose()
    assert not diagnosis.findings and {v.outcome for f, v in diagnosis.judged.items() if f.kind.startswith("dns.a")} == {"not_applicable"}
    diagnosis = diagnose(lambda document: document.update(dns=[{"netns_of": "uid-web-0", "error": "no sandbox"}]))
    assert {v.outcome for f, v in diagnosis.judged.items() if f.kind.startswith("dns.a")} == {"not_checked"}


@pytest.mark.parametrize(
    ("said", "cause", "node"),
    [
        ({"end": "timeout", "service": "timeout"}, "dns_unanswered", "k8s02"),
        ({"end": "REFUSED", "service": "REFUSED"}, "dns_refused", "k8s02"),
        ({"end": "SERVFAIL", "service": "SERVFAIL"}, "dns_servfail", "k8s02"),
        ({"end": "NXDOMAIN", "service": "NXDOMAIN"}, "dns_zone_unknown", "k8s02"),
    ],
)
def test_a_leg_that_fails(said, cause, node):
    diagnosis = diagnose(asked(**said))
    assert (small.named(diagnosis), diagnosis.causes[0].node, diagnosis.outcome) == ([cause], node, "broken")
    assert not diagnosis.unexplained


@pytest.mark.parametrize(
    ("said", "remedies"),
    [
        ({"end": "timeout", "service": "timeout"}, ["recreate_pod", "advise_dns"]),
        ({"end_udp": "timeout", "service_udp": "timeout"}, ["advise_dns"]),
        ({"end": "SERVFAIL", "service": "SERVFAIL"}, ["advise_dns"]),
    ],
)
def test_only_a_server_that_says_nothing_at_all_is_made_again(said, remedies):
    (cause,) = diagnose(asked(**said)).causes
    assert [remedy.id for remedy in cause.remedies] == remedies
    assert cause.remedies[0].parameters == ({"component": "pod", "pod": "shop/api-0"} if len(remedies) > 1 else {})


def test_tcp_alone_is_latent():
    diagnosis = diagnose(asked(end_tcp="timeout", service_tcp="timeout"))
    assert small.named(diagnosis) == ["dns_unanswered"] and diagnosis.severity(diagnosis.causes[0]) == "latent" and diagnosis.outcome != "broken"


def test_missing_rules_explain_that_the_service_does_not_answer():
    diagnosis = diagnose(small_services.rules(), asked(service="timeout"))
    assert small.named(diagnosis) == ["kube_proxy_rules_missing"] and not diagnosis.unexplained


@pytest.mark.parametrize(
    ("ends", "cause"),
    [
        ([("x.shop.svc.cluster.local", "NXDOMAIN"), ("x", "SERVFAIL")], "dns_upstream_dead"),
        ([("x.shop.svc.cluster.local", "NXDOMAIN"), ("x", "timeout")], "dns_upstream_dead"),
        ([("x.shop.svc.cluster.local", "NXDOMAIN"), ("x", "REFUSED")], "dns_name_refused"),
        ([("x.shop.svc.cluster.local", "NXDOMAIN"), ("x", "NXDOMAIN")], "dns_name_unknown"),
        ([("x", "NOERROR")], "dns_name_unknown"),
    ],
)
def test_a_name_that_has_no_address(ends, cause):
    diagnosis = diagnose(asked(looked_up(*ends)), destination="dns/x")
    assert (small.named(diagnosis), diagnosis.outcome) == ([cause], "broken")


def test_what_the_corefile_says_is_shown():
    def corefile(cluster):
        cluster["configmaps"] = [{"metadata": {"name": "coredns"}, "data": {"Corefile": ".:53 {\n  forward . 192.0.2.1 {\n  }\n}\n"}}]

    diagnosis = diagnose(asked(looked_up(("x", "SERVFAIL"))), destination="dns/x", cluster=[corefile])
    assert diagnosis.causes[0].why == ["The Corefile says: forward . 192.0.2.1."]


@pytest.mark.parametrize(
    ("resolver", "causes"),
    [
        ({**RESOLVER, "search": [f"d{number}.example" for number in range(7)]}, ["dns_search_too_deep"]),
        ({**RESOLVER, "search": ["a" * 130 + ".example", "b" * 130 + ".example"]}, ["dns_search_too_deep"]),
        ({**RESOLVER, "nameservers": ["192.0.2.53"]}, ["dns_resolver_foreign"]),
        ({**RESOLVER, "nameservers": ["169.254.20.10"]}, []),
        ({**RESOLVER, "nameservers": [SERVICE, "192.0.2.53"]}, []),
    ],
)
def test_the_pods_own_resolver(resolver, causes):
    assert small.named(diagnose(asked(resolver=resolver))) == causes


def test_a_pod_that_wants_another_resolver():
    def wants(cluster):
        cluster["pods"][0]["spec"]["dnsPolicy"] = "Default"

    assert not diagnose(asked(resolver={**RESOLVER, "nameservers": ["192.0.2.53"]}), cluster=[wants]).findings
