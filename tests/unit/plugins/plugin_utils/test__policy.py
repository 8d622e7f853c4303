# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a flow meets on its way. The numbers are those of the quirks in the README of the recorded truth tables."""

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._policy import intended, worst
from ansible_collections.podnet.doctor.tests.unit.small_policy import (
    NODES,
    OUTSIDE,
    PODS,
    calico,
    document,
    end,
    host_endpoint,
    named,
    outcome,
    policy,
    verdict,
)

DENY_ALL = policy("deny-all")
ALLOW_WEB = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"port": 80}]}


def test_without_a_policy_everything_works():
    for source in (*PODS, *NODES, "outside"):
        for destination in (*PODS, *NODES, OUTSIDE):
            if source != destination and (source, destination) != ("outside", OUTSIDE):
                assert outcome(source, destination) == outcome(source, destination, "icmp") == "works", (source, destination)


def test_both_ends_must_allow_it():
    found = verdict("shop/web", "shop/api", networkpolicies=[policy("sealed", policyTypes=["Ingress", "Egress"])])
    assert (found.outcome, [(point.way, point.at) for point in found.denied]) == ("timeout", [("egress", "shop/web"), ("ingress", "shop/api")])


def test_a_denial_names_the_policies_that_select_the_pod():
    found = verdict("shop/web", "shop/api", networkpolicies=[DENY_ALL, policy("other", podSelector={"matchLabels": {"app": "web"}})])
    (point,) = found.denied
    assert [one.label for one in point.decision.asked] == ["NetworkPolicy shop/deny-all"] and point.decision.by is None
    found = verdict("shop/web", "shop/api", globalnetworkpolicies=[calico("no", ingress=[{"action": "Allow", "protocol": "UDP"}, {"action": "Deny"}])])
    (point,) = found.denied
    assert (point.decision.by.label, point.decision.rule, point.decision.tier) == ("GlobalNetworkPolicy no", 2, "default")


def test_3_types_that_are_missing_mean_both_directions():
    missing = named("both", {"selector": "app == 'api'", "ingress": [{"action": "Allow"}]}, "shop")
    assert outcome("shop/web", "shop/api", calico_networkpolicies=[missing]) == "works"
    assert outcome("shop/api", "shop/web", calico_networkpolicies=[missing]) == "timeout"


@pytest.mark.parametrize(("name", "expected"), [("aaa", "timeout"), ("zzz", "works")])
def test_4_the_name_decides_between_policies_of_one_order(name, expected):
    kubernetes = policy("mmm", ingress=[{}])
    deny = calico(name, order=1000, ingress=[{"action": "Deny"}])
    assert outcome("shop/web", "shop/api", networkpolicies=[kubernetes], globalnetworkpolicies=[deny]) == expected


def test_4_before_version_3_32_the_stored_names_decide():
    sections = {"networkpolicies": [policy("aaa", ingress=[{}])], "globalnetworkpolicies": [calico("zzz", order=1000, ingress=[{"action": "Deny"}])]}
    old = [named("default", {"calicoVersion": "v3.28.5"})]
    assert outcome("shop/web", "shop/api", **sections) == "works"
    assert outcome("shop/web", "shop/api", **sections, clusterinformations=old) == "timeout"


def test_5_a_bare_not_selector_of_a_namespaced_policy_stays_in_its_namespace():
    rule = {"action": "Allow", "source": {"notSelector": "app == 'job'"}}
    spaced = {"calico_networkpolicies": [calico("not", "shop", ingress=[rule])]}
    everywhere = {"globalnetworkpolicies": [calico("not", selector="app == 'api'", ingress=[rule])]}
    assert [outcome(source, "shop/api", **spaced) for source in ("shop/web", "data/db", "outside", "k8s01")] == ["works", "timeout", "timeout", "timeout"]
    assert [outcome(source, "shop/api", **everywhere) for source in ("shop/web", "data/db", "outside", "k8s01")] == ["works"] * 4


def test_6_a_namespace_selector_keeps_host_endpoints_out():
    chosen = calico("all", namespaceSelector="has(projectcalico.org/name)", selector="all()")
    host = host_endpoint("host", "k8s02", profiles=["projectcalico-default-allow"])
    assert outcome("shop/web", "shop/api", globalnetworkpolicies=[chosen], hostendpoints=[host]) == "timeout"
    assert outcome("outside", "k8s02", globalnetworkpolicies=[chosen], hostendpoints=[host]) == "works"
    assert outcome("outside", "k8s02", globalnetworkpolicies=[calico("all")], hostendpoints=[host]) == "timeout"  # 10: all() alone does not


def test_7_a_node_is_never_policed_towards_its_own_pods():
    assert outcome("k8s02", "shop/api", networkpolicies=[DENY_ALL]) == "works"
    assert outcome("k8s01", "shop/api", networkpolicies=[DENY_ALL]) == "timeout"


def test_8_nor_by_a_host_endpoint_for_all_interfaces():
    star = [host_endpoint("star", "k8s02", "*")]
    assert outcome("shop/api", "k8s02", hostendpoints=star) == outcome("k8s02", "shop/api", hostendpoints=star) == "works"
    assert outcome("shop/web", "k8s02", hostendpoints=star) == "timeout"
    assert outcome("k8s02", "k8s02", hostendpoints=star) == "unknown"


@pytest.mark.parametrize(("action", "expected"), [("Drop", "timeout"), ("DROP", "timeout"), ("Return", "works"), ("Accept", "works")])
def test_8_default_endpoint_to_host_action(action, expected):
    sections = {"felixconfigurations": [named("default", {"defaultEndpointToHostAction": action})], "daemonsets": [named("calico-node", {})]}
    allowed = [calico("all", types=["Egress"], egress=[{"action": "Allow"}])]
    assert outcome("shop/api", "k8s02", **sections, globalnetworkpolicies=allowed) == expected
    assert outcome("shop/api", "k8s01", **sections) == "works"
    assert outcome("shop/api", "k8s02", daemonsets=[named("calico-node", {})]) == "timeout"  # Felix's own default


def test_10_selectors_find_host_endpoints_by_their_expected_addresses():
    rule = {"action": "Allow", "source": {"selector": "host == 'k8s01'"}}
    host = host_endpoint("host", "k8s01", profiles=["projectcalico-default-allow"])
    sections = {"globalnetworkpolicies": [calico("in", selector="app == 'api'", ingress=[rule])], "hostendpoints": [host]}
    assert [outcome(source, "shop/api", **sections) for source in ("k8s01", "k8s03")] == ["works", "timeout"]


def test_11_global_means_global_sets_and_a_bare_selector_all_sets():
    sets = {
        "networksets": [named("mine", {"nets": [f"{NODES['k8s01']}/32"]}, "shop", {"list": "mine"})],
        "globalnetworksets": [named("ours", {"nets": [f"{OUTSIDE}/32"]}, labels={"list": "ours"})],
    }
    only_global = calico("in", "shop", ingress=[{"action": "Allow", "source": {"selector": "has(list)", "namespaceSelector": "global()"}}])
    both = calico("in", selector="app == 'api'", ingress=[{"action": "Allow", "source": {"selector": "has(list)"}}])
    own = calico("in", "shop", ingress=[{"action": "Allow", "source": {"selector": "has(list)"}}])
    found = {
        name: [outcome(source, "shop/api", **sets, **{section: [chosen]}) for source in ("outside", "k8s01")]
        for name, section, chosen in (
            ("global", "calico_networkpolicies", only_global), ("both", "globalnetworkpolicies", both), ("own", "calico_networkpolicies", own),
        )
    }  # fmt: skip
    assert found == {"global": ["works", "timeout"], "both": ["works", "works"], "own": ["timeout", "works"]}


def test_12_a_named_port_is_one_of_the_pods_that_define_it():
    out = policy("out", policyTypes=["Egress"], egress=[{"ports": [{"port": "http"}]}])
    assert [outcome("shop/web", to, "tcp/8080", networkpolicies=[out]) for to in ("shop/api", "k8s02", OUTSIDE)] == ["works", "timeout", "timeout"]
    assert outcome("shop/web", "shop/api", "tcp/8125", networkpolicies=[out]) == "timeout"
    wrong = policy("out", policyTypes=["Egress"], egress=[{"ports": [{"port": "stats", "protocol": "TCP"}]}])
    assert [outcome("shop/web", "shop/api", service, networkpolicies=[wrong]) for service in ("tcp/8125", "udp/8125")] == ["timeout", "timeout"]


SERVICE = named("api", {"type": "NodePort", "clusterIP": "10.96.0.8", "ports": [{"port": 88, "nodePort": 30080}]}, "shop")
SLICE = {
    "metadata": {"name": "api-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "api"}},
    "addressType": "IPv4",
    "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    "endpoints": [{"addresses": ["10.253.2.7"], "nodeName": "k8s02", "conditions": {"ready": True}}],
}
BEHIND = {"services": [SERVICE], "endpointslices": [SLICE]}


def local(service):
    return {**service, "spec": {**service["spec"], "externalTrafficPolicy": "Local"}}


def test_13_policy_sees_a_service_after_its_translation():
    by_address = policy("out", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": {"cidr": "10.96.0.8/32"}}]}])
    by_service = calico("out", "shop", types=["Egress"], egress=[{"action": "Allow", "destination": {"services": {"name": "api", "namespace": "shop"}}}])
    assert outcome("shop/web", "10.96.0.8", "tcp/88", **BEHIND, networkpolicies=[by_address]) == "timeout"
    sections = {**BEHIND, "calico_networkpolicies": [by_service]}
    assert outcome("shop/web", "10.96.0.8", "tcp/88", **sections) == outcome("shop/web", "shop/api", "tcp/80", **sections) == "works"
    assert outcome("shop/web", "shop/api", "tcp/81", **sections) == outcome("shop/web", "data/db", **sections) == "timeout"
    found = verdict("shop/web", "10.96.0.8", "tcp/88", **BEHIND)
    assert (found.to.key, found.port) == ("shop/api", 80)


def test_13_as_a_source_a_service_is_its_addresses_alone():
    rule = {"action": "Allow", "source": {"services": {"name": "api", "namespace": "shop"}}}
    sections = {**BEHIND, "calico_networkpolicies": [calico("in", "data", ingress=[rule])]}
    assert [outcome(source, "data/db", "tcp/9999", **sections) for source in ("shop/api", "shop/job")] == ["works", "timeout"]


def test_13_preDNAT_sees_the_port_of_the_node_and_applyOnForward_that_of_the_pod():
    rule = {"action": "Deny", "protocol": "TCP", "destination": {"ports": [30080]}}
    host = [host_endpoint("host", "k8s02", profiles=["projectcalico-default-allow"])]
    before = calico("pre", selector="has(host)", preDNAT=True, applyOnForward=True, ingress=[rule])
    after = calico("fwd", selector="has(host)", applyOnForward=True, ingress=[rule, {"action": "Allow"}])
    asked = ("outside", NODES["k8s02"], "tcp/30080")
    assert outcome(*asked, **BEHIND, hostendpoints=host, globalnetworkpolicies=[before]) == "timeout"
    assert outcome(*asked, **BEHIND, hostendpoints=host, globalnetworkpolicies=[after]) == "works"


def test_14_a_port_of_another_node_hides_the_client():
    sections = {**BEHIND, "networkpolicies": [policy("in", ingress=[{"from": [{"ipBlock": {"cidr": f"{OUTSIDE}/32"}}]}])]}
    assert outcome("outside", NODES["k8s02"], "tcp/30080", **sections) == "works"
    assert outcome("outside", NODES["k8s01"], "tcp/30080", **sections) == "timeout"
    point = verdict("outside", NODES["k8s01"], "tcp/30080", **sections).denied[0]
    assert (point.packet.src, point.packet.dst, point.packet.dport) == (NODES["k8s01"], "10.253.2.7", 80)
    kept = {**sections, "services": [local(SERVICE)]}
    assert outcome("outside", NODES["k8s02"], "tcp/30080", **kept) == "works"
    assert outcome("outside", NODES["k8s01"], "tcp/30080", **kept) == "timeout"  # no endpoint there


def test_a_service_without_endpoints_refuses():
    assert outcome("shop/web", "10.96.0.8", "tcp/88", services=[SERVICE]) == "refused"
    not_ready = {**SLICE, "endpoints": [{"addresses": ["10.253.2.7"], "conditions": {"ready": False}}]}
    assert outcome("shop/web", "10.96.0.8", "tcp/88", services=[SERVICE], endpointslices=[not_ready]) == "refused"
    assert outcome("shop/web", "10.96.0.8", "tcp/89", **BEHIND) == "unknown"
    assert outcome("outside", "10.96.0.8", "tcp/88", **BEHIND) == "unknown"


def test_one_of_several_endpoints_is_enough_to_fail():
    two = {**SLICE, "endpoints": [*SLICE["endpoints"], {"addresses": ["10.253.2.8"], "nodeName": "k8s02"}]}
    deny = policy("job", podSelector={"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]})
    cluster = Cluster(document(services=[SERVICE], endpointslices=[two], networkpolicies=[deny]))
    found = intended(cluster, end(cluster, "shop/web"), end(cluster, "10.96.0.8"), "tcp", 88)
    assert [(one.to.key, one.outcome) for one in found] == [("shop/api", "works"), ("shop/job", "timeout")] and worst(found).outcome == "timeout"


def test_15_rules_with_ports_allow_no_icmp_and_rules_without_all_protocols():
    assert outcome("shop/web", "shop/api", "icmp", networkpolicies=[policy("in", ingress=[ALLOW_WEB])]) == "timeout"
    assert outcome("shop/web", "shop/api", "icmp", networkpolicies=[policy("in", ingress=[{"from": ALLOW_WEB["from"]}])]) == "works"
    assert outcome("shop/web", "shop/api", networkpolicies=[policy("in", ingress=[ALLOW_WEB])]) == "works"


def test_16_apply_on_forward_meets_what_comes_in_by_the_interface():
    host = [host_endpoint("host", "k8s02")]
    rules = [{"action": "Deny", "protocol": "TCP", "destination": {"ports": [22]}}, {"action": "Allow"}]
    sections = {"hostendpoints": host, "globalnetworkpolicies": [calico("fwd", selector="has(host)", applyOnForward=True, ingress=rules)]}
    assert outcome("shop/web", "shop/api", "tcp/22", **sections) == "timeout"  # a failsafe port does not open forwarded traffic
    assert outcome("shop/job", "shop/api", "tcp/22", **sections) == outcome("shop/web", "shop/api", "tcp/23", **sections) == "works"
    unmatched = [calico("fwd", selector="has(host)", applyOnForward=True, ingress=[{"action": "Allow", "protocol": "UDP"}])]
    assert outcome("shop/web", "shop/api", hostendpoints=host, globalnetworkpolicies=unmatched) == "timeout"
    assert outcome("shop/web", "shop/api", hostendpoints=host) == "works"  # without such a policy forwarded traffic is free


def test_a_host_endpoint_without_policy_leaves_failsafe_ports():
    host = {"hostendpoints": [host_endpoint("host", "k8s02")]}
    assert [outcome("outside", "k8s02", f"tcp/{port}", **host) for port in (22, 80)] == ["works", "timeout"]
    assert [outcome("k8s02", "outside", service, **host) for service in ("tcp/6443", "tcp/80", "udp/80", "icmp")] == ["works", "timeout", "eperm", "eperm"]
    changed = [named("default", {"failsafeInboundHostPorts": [{"port": 80, "protocol": "tcp", "net": f"{OUTSIDE}/32"}]})]
    assert [outcome("outside", "k8s02", f"tcp/{port}", **host, felixconfigurations=changed) for port in (22, 80)] == ["timeout", "works"]
    assert outcome("k8s01", "k8s02", "tcp/80", **host, felixconfigurations=changed) == "timeout"
    none = [named("default", {"failsafeInboundHostPorts": []})]
    assert outcome("outside", "k8s02", "tcp/22", **host, felixconfigurations=none) == "timeout"


def test_failsafe_ports_of_the_environment():
    def answer(text, source="outside"):
        container = {"name": "calico-node", "env": [{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "value": text}]}
        template = {"metadata": {"labels": {"k8s-app": "calico-node"}}, "spec": {"containers": [container]}}
        return outcome(source, "k8s02", hostendpoints=[host_endpoint("host", "k8s02")], daemonsets=[named("calico-node", {"template": template})])

    assert [answer(text) for text in ("tcp:80", "80", "udp:80", "none", f"tcp:{OUTSIDE}/32:80", "tcp:10.9.0.0/16:80", "tcp:http")] == [
        "works", "works", "timeout", "timeout", "works", "timeout", "unknown",
    ]  # fmt: skip


def test_what_a_pod_sends_to_another_node_has_its_own_nodes_address():
    host = [host_endpoint("host", "k8s02")]
    by_node = [calico("in", selector="has(host)", ingress=[{"action": "Allow", "source": {"nets": [f"{NODES['k8s01']}/32"]}}])]
    assert outcome("shop/web", "k8s02", hostendpoints=host, globalnetworkpolicies=by_node) == "works"
    kept = [named("pool", {"cidr": "10.253.0.0/16"})]
    assert outcome("shop/web", "k8s02", hostendpoints=host, globalnetworkpolicies=by_node, ippools=kept) == "timeout"


def test_2_an_untracked_allow_needs_one_for_the_answer():
    host = [host_endpoint("host", "k8s02", profiles=["projectcalico-default-allow"])]
    rules = [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [80]}}, {"action": "Deny", "protocol": "UDP"}]
    answers = [{"action": "Allow", "protocol": "TCP", "source": {"ports": [80]}}]
    one_way = calico("raw", selector="has(host)", doNotTrack=True, applyOnForward=True, ingress=rules)
    both = calico("raw", selector="has(host)", doNotTrack=True, applyOnForward=True, types=["Ingress", "Egress"], ingress=rules, egress=answers)
    assert outcome("outside", "k8s02", hostendpoints=host, globalnetworkpolicies=[one_way]) == "timeout"
    assert outcome("outside", "k8s02", hostendpoints=host, globalnetworkpolicies=[both]) == "works"
    assert outcome("outside", "shop/api", "udp/81", hostendpoints=host, globalnetworkpolicies=[both]) == "timeout"


@pytest.mark.parametrize("chain", ["preDNAT", "doNotTrack"])
def test_what_an_early_policy_accepts_no_other_of_the_host_endpoint_is_asked(chain):
    early = {chain: True, "applyOnForward": True, "ingress": [{"action": "Allow"}]}
    if chain == "doNotTrack":
        early |= {"types": ["Ingress", "Egress"], "egress": [{"action": "Allow"}]}
    first = calico("early", selector="has(host)", order=10, **early)
    later = calico("later", selector="has(host)", order=1, applyOnForward=True, ingress=[{"action": "Deny"}])
    host = [host_endpoint("host", "k8s02")]
    for destination in ("k8s02", "shop/api"):
        assert outcome("outside", destination, hostendpoints=host, globalnetworkpolicies=[later]) == "timeout"
        assert outcome("outside", destination, hostendpoints=host, globalnetworkpolicies=[later, first]) == "works"
    assert outcome("outside", "shop/api", hostendpoints=host, globalnetworkpolicies=[first], networkpolicies=[DENY_ALL]) == "timeout"


def test_17_pass_in_the_last_tier_ends_in_the_profile():
    skip = calico("skip", order=10, ingress=[{"action": "Pass"}])
    assert outcome("shop/web", "shop/api", globalnetworkpolicies=[skip], networkpolicies=[DENY_ALL]) == "works"


def cluster_policy(name, tier, priority, action, **more):
    subject = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
    peer = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
    return named(name, {"tier": tier, "priority": priority, "subject": subject, "ingress": [{"action": action, "from": [peer], **more}]})


def test_18_policies_of_the_administrator_stand_before_and_after_the_others():
    def answer(*cluster_policies, **sections):
        return outcome("shop/web", "shop/api", clusternetworkpolicies=list(cluster_policies), **sections)

    allow_web = {"networkpolicies": [policy("in", ingress=[ALLOW_WEB])]}
    assert answer(cluster_policy("a", "Admin", 1, "Deny"), **allow_web) == "timeout"
    assert answer(cluster_policy("a", "Admin", 1, "Accept"), networkpolicies=[DENY_ALL]) == "works"
    assert answer(cluster_policy("a", "Admin", 1, "Pass"), networkpolicies=[DENY_ALL]) == "timeout"
    assert answer(cluster_policy("a", "Admin", 2, "Deny"), cluster_policy("z", "Admin", 1, "Accept")) == "works"
    baseline = cluster_policy("b", "Baseline", 1, "Deny")
    assert (answer(baseline), answer(baseline, **allow_web)) == ("timeout", "works")
    ports = {"protocols": [{"tcp": {"destinationPort": {"range": {"start": 81, "end": 90}}}}]}
    assert answer(cluster_policy("a", "Admin", 1, "Deny", **ports)) == "works"
    assert answer(cluster_policy("a", "Admin", 1, "Forbid")) == "unknown"


def test_18_admin_network_policies():
    spec = cluster_policy("a", "", 1, "Deny", ports=[{"portNumber": {"protocol": "TCP", "port": 80}}])
    sections = {"adminnetworkpolicies": [spec]}
    assert (outcome("shop/web", "shop/api", **sections), outcome("shop/web", "shop/api", "tcp/81", **sections)) == ("timeout", "works")
    baseline = {"baselineadminnetworkpolicies": [cluster_policy("default", "", None, "Deny")]}
    assert outcome("shop/web", "shop/api", **baseline) == "timeout"
    assert outcome("shop/web", "shop/api", **baseline, networkpolicies=[policy("in", ingress=[{}])]) == "works"


def test_tiers_in_their_order():
    tiers = [named("early", {"order": 10, "defaultAction": "Deny"}), named("late", {"order": 20}), named("default", {"order": 1000})]
    allow = calico("allow", tier="early", ingress=[{"action": "Allow", "protocol": "TCP"}])
    deny = calico("deny", tier="late", ingress=[{"action": "Deny"}])
    sections = {"tiers": tiers, "globalnetworkpolicies": [deny, allow]}
    assert [outcome("shop/web", "shop/api", service, **sections) for service in ("tcp/80", "udp/80")] == ["works", "timeout"]
    tiers[0]["spec"]["defaultAction"] = "Pass"
    assert verdict("shop/web", "shop/api", "udp/80", **sections).denied[0].decision.by.name == "deny"
    unknown = calico("lost", tier="nowhere", ingress=[{"action": "Allow"}])
    assert outcome("shop/web", "shop/api", globalnetworkpolicies=[unknown]) == "unknown"


@pytest.mark.parametrize("section", ["networkpolicies", "globalnetworkpolicies", "calico_networkpolicies", "clusternetworkpolicies", "namespaces",
                                     "hostendpoints"])  # fmt: skip
def test_what_was_not_read_is_unknown_and_never_allowed(section):
    assert outcome("shop/web", "shop/api", **{section: {"error": "the API forbids it"}}) == "unknown"


def test_services_matter_only_where_the_destination_is_no_pod():
    unread = {"error": "the API forbids it"}
    assert [outcome("shop/web", to, services=unread) for to in ("shop/api", "k8s02", "10.96.0.8")] == ["works", "unknown", "unknown"]


@pytest.mark.parametrize("section", ["tiers", "networksets", "pods"])
def test_what_a_policy_needs_and_was_not_read(section):
    allowed = policy("in", ingress=[{"from": [{"podSelector": {}}]}])
    assert outcome("shop/web", "shop/api", networkpolicies=[allowed], **{section: {"error": "the API forbids it"}}) == "unknown"


def test_what_is_not_served_has_no_objects():
    absent = {"error": "not found", "reason": "absent"}
    assert outcome("shop/web", "shop/api", tiers=absent, hostendpoints=absent, networksets=absent, globalnetworksets=absent) == "works"


def test_a_certain_denial_counts_beside_something_unknown():
    odd = calico("odd", types=["Egress"], egress=[{"action": "Allow", "destination": {"domains": ["example.com"]}}])
    assert outcome("shop/web", "data/db", globalnetworkpolicies=[odd]) == "unknown"
    assert outcome("shop/web", "shop/api", globalnetworkpolicies=[odd], networkpolicies=[DENY_ALL]) == "timeout"


def test_a_tunnel_is_an_interface_of_its_own():
    pool = [named("pool", {"cidr": "10.253.0.0/16", "ipipMode": "Always"})]
    rule = {"action": "Deny", "protocol": "TCP"}
    forward = [calico("fwd", selector="has(host)", applyOnForward=True, ingress=[rule, {"action": "Allow"}])]
    for interface, expected in (("eth0", "works"), ("*", "timeout"), ("tunl0", "timeout")):
        host = [host_endpoint("host", "k8s02", interface)]
        assert outcome("shop/web", "shop/api", ippools=pool, hostendpoints=host, globalnetworkpolicies=forward) == expected, interface


def test_a_node_sends_into_a_tunnel_with_the_tunnels_address():
    pool = [named("pool", {"cidr": "10.253.0.0/16", "ipipMode": "Always"})]
    allowed = [policy("in", ingress=[{"from": [{"ipBlock": {"cidr": "10.253.1.0/32"}}]}])]
    nodes = document()["nodes"]
    assert outcome("k8s01", "shop/api", ippools=pool, networkpolicies=allowed, nodes=nodes) == "unknown"
    nodes[0]["metadata"]["annotations"]["projectcalico.org/IPv4IPIPTunnelAddr"] = "10.253.1.0"
    assert outcome("k8s01", "shop/api", ippools=pool, networkpolicies=allowed, nodes=nodes) == "works"
