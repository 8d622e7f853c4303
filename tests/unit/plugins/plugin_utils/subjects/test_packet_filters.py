# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import recorded, small

FORWARD, REVERSE = "10.253.1.5>10.253.2.7", "10.253.2.7>10.253.1.5"
CALI = {node: small.host_interface(*pod.split("/")) for pod, (node, _address) in small.PODS.items()}
MARK = "-j MARK --set-xmark 0x10000/0x10000"


UNTOLD = small.lost("networkpolicies")  # what the API says is not known


def iptables(*rules, table="filter", policy="ACCEPT", backend="nft"):
    own = sorted({rule.split()[1] for rule in rules} - {"FORWARD", "INPUT", "PREROUTING"})
    chains = [f":FORWARD {policy} [7:700]", ":INPUT ACCEPT [0:0]", ":PREROUTING ACCEPT [0:0]", *(f":{chain} - [0:0]" for chain in own)]
    return {"backend": backend, "family": "inet", "text": "\n".join([f"*{table}", *chains, *(f"[5:300] {rule}" for rule in rules), "COMMIT", ""])}


def filters(*saved, nft=()):
    def change(document):
        document["netfilter"] = {"iptables": list(saved), "nft": list(nft), "ipsets": []}

    return change


def felix(node, way, *rules, drop="End of tier default. Drop if no policies passed packet"):
    """Felix's chains for a pod, tw: to it, fw: from it; rules are those of its one policy."""
    device, direction, letter = ("-o", "ingress", "i") if way == "tw" else ("-i", "egress", "o")
    chain, policy = f"cali-{way}-{CALI[node]}", f"cali-p{letter}-np/shop/web-only"
    return iptables(
        "-A FORWARD -j cali-FORWARD", '-A FORWARD -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT',
        f"-A cali-FORWARD {device} {CALI[node]} -g {chain}",
        f"-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-A {chain} -m conntrack --ctstate INVALID -j DROP",
        f"-A {chain} -j MARK --set-xmark 0x0/0x30000",
        f"-A {chain} -j {policy}",
        f"-A {chain} -m mark --mark 0x10000/0x10000 -j RETURN",
        f'-A {chain} -m comment --comment "{drop}" -m mark --mark 0x0/0x20000 -j DROP',
        *(f'-A {policy} -m comment --comment "cali:abc" -m comment --comment "NetworkPolicy shop/web-only {direction}" {rule}' for rule in rules or ("",)),
    )  # fmt: skip


def policies(*rules):
    """A NetworkPolicy of the API that selects every pod of the namespace."""

    def change(cluster):
        spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": list(rules)}
        cluster["networkpolicies"] = [{"metadata": {"name": "web-only", "namespace": "shop"}, "spec": spec}]

    return change


def test_nothing_in_the_way_is_ok_in_both_directions():
    diagnosis = small.diagnose()
    for node in ("k8s01", "k8s02"):
        for flow in (FORWARD, REVERSE):
            assert small.verdict(diagnosis, "policy", node, flow).outcome == "ok"


def test_what_the_rules_deny_is_told_and_its_cause_left_open_where_the_policies_are_not_known():
    diagnosis = small.diagnose(k8s02=filters(felix("k8s02", "tw", f"-p udp {MARK}")), cluster=UNTOLD)
    assert diagnosis.outcome == "broken" and not diagnosis.causes
    (finding,) = diagnosis.unexplained
    assert (finding.check, finding.fact.node, "(5 packets)" in finding.evidence, "line 6" in finding.evidence) == ("policy.denied", "k8s02", True, True)
    assert finding.hint["blame"].policies == ("NetworkPolicy shop/web-only",) and finding.hint["blame"].tier == "default"
    assert small.verdict(diagnosis, "policy", "k8s01", FORWARD).outcome == "ok"
    assert small.verdict(diagnosis, "policy", "k8s02", REVERSE).outcome in ("not_checked", "not_reached")


def test_a_rule_of_a_policy_denies():
    rules = ("-p tcp -j MARK --set-xmark 0x40000/0x40000", "-m mark --mark 0x40000/0x40000 -j DROP")
    (finding,) = small.diagnose(k8s01=filters(felix("k8s01", "fw", *rules)), cluster=UNTOLD).unexplained
    assert (finding.hint["blame"].owner, finding.hint["blame"].policies) == ("policy", ("NetworkPolicy shop/web-only",))
    assert "NetworkPolicy shop/web-only egress" in finding.evidence and "0x40000/0x40000" in finding.evidence


def test_the_api_agrees_or_the_dataplane_lags():
    end = filters(felix("k8s02", "tw", f"-p udp {MARK}"))
    agreed = small.diagnose(k8s02=end, cluster=policies({"ports": [{"protocol": "UDP"}]}))
    (cause,) = agreed.causes
    assert (cause.id, agreed.confidence(cause)) == ("policy_denies", "certain")
    assert [finding.check for finding in agreed.explained_by(cause)] == ["policy.denied"]
    (cause,) = small.diagnose(k8s02=end, cluster=policies({})).causes
    assert (cause.id, cause.fault, cause.node) == ("dataplane_lags_intent", "F60", "k8s02")


def test_allowed_by_policy():
    assert small.diagnose(k8s02=filters(felix("k8s02", "tw", MARK))).findings == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (filters(iptables("-A FORWARD -p tcp -j REJECT --reject-with icmp-host-prohibited")), "rejects the packet"),
        (filters(iptables("-A FORWARD -p tcp -j DROP")), "line 1"),
        (filters(iptables(policy="DROP")), "policy drop (7 packets)"),
    ],
)
def test_foreign_rules(change, words):
    (cause,) = small.diagnose(k8s02=change).causes
    assert (cause.id, cause.fault, cause.node) == ("forward_reject_between_calico_rules", "F08", "k8s02")
    assert words in " ".join((cause.summary, *cause.why))


def test_a_foreign_rule_that_ends_the_answer():
    diagnosis = small.diagnose(k8s02=filters(iptables("-A FORWARD -p tcp -m tcp --sport 8080 -j DROP")))
    assert small.verdict(diagnosis, "policy", "k8s02", FORWARD).outcome == "ok"
    assert small.verdict(diagnosis, "policy", "k8s02", REVERSE).finding.check == "netfilter.dropped"


def test_unknown_interface():
    rules = ("-A FORWARD -j cali-to-wl-dispatch", '-A cali-to-wl-dispatch -m comment --comment "Unknown interface" -j DROP')
    (cause,) = small.diagnose(k8s02=filters(iptables(*rules))).causes
    assert (cause.id, cause.fault) == ("unknown_interface_drop", "F46")


RPF = iptables("-A PREROUTING -j cali-PREROUTING", f"-A cali-PREROUTING -i {CALI['k8s01']} -m rpfilter --validmark --invert -j DROP", table="raw")


@pytest.mark.parametrize(("priority", "fault"), [(30400, "F10"), (99, "F32")])
def test_reverse_path_by_a_rule(priority, fault):
    def change(document):
        filters(RPF)(document)
        document["rules"] = [{"family": "inet", "priority": priority, "src": "10.253.2.0/24", "table": 77, "action": "to_tbl"},
                             {"family": "inet", "priority": 32766, "table": 254, "action": "to_tbl"}]  # fmt: skip
        document["routes"].append(small.route("0.0.0.0/0", "eth0", gateway="10.2.7.254", table=77))

    (cause,) = small.diagnose(k8s01=change).causes
    assert (cause.fault, cause.node) == (fault, "k8s01") and f"ip rule {priority}" in cause.summary


@pytest.mark.parametrize(("rule", "remedies"), [
    ({"src": "10.253.2.7/32", "table": 30400}, ["delete_rule", "advise_cloud_setup"]), ({"src": "10.253.2.0/24", "table": 30400}, ["advise_ip_rule"]),
    ({"src": "10.253.2.7/32", "table": 77}, ["advise_ip_rule"]),
])  # fmt: skip
def test_only_a_rule_of_the_form_of_nm_cloud_setup_is_deleted(rule, remedies):
    def change(document):
        filters(RPF)(document)
        document["rules"] = [{"family": "inet", "priority": 30400, "action": "to_tbl", **rule},
                             {"family": "inet", "priority": 32766, "table": 254, "action": "to_tbl"}]  # fmt: skip
        document["routes"].append(small.route("0.0.0.0/0", "eth0", gateway="10.2.7.254", table=rule["table"]))

    (cause,) = small.diagnose(k8s01=change).causes
    assert [remedy.id for remedy in cause.remedies] == remedies
    assert all(remedy.parameters == {"rule": {"family": "inet", "priority": 30400, "action": "to_tbl", **rule}} for remedy in cause.remedies[:-1])


def test_host_endpoint_and_invalid():
    drop = iptables("-A FORWARD -j cali-thfw-eth0", '-A cali-thfw-eth0 -m comment --comment "Drop if no profiles matched" -j DROP')
    (cause,) = small.diagnose(k8s01=filters(drop)).causes
    assert (cause.id, cause.fault) == ("hostendpoint_blocks_infra", "F58")
    untracked = iptables("-A PREROUTING -i tunl0 -j NOTRACK", table="raw")
    (cause,) = small.diagnose(k8s02=filters(untracked, felix("k8s02", "fw", MARK))).causes
    assert (cause.id, cause.fault) == ("ct_invalid_drop", "F57")


def test_what_cannot_be_told_is_not_checked():
    diagnosis = small.diagnose(k8s02=filters(iptables("-A FORWARD -m strange --thing 1 -j DROP")))
    verdict = small.verdict(diagnosis, "policy", "k8s02", FORWARD)
    assert verdict.outcome == "not_checked" and "--thing" in verdict.reason and not diagnosis.findings


@pytest.mark.parametrize(
    ("name", "cause", "policy"),
    [
        ("bgp-f12-gnp-deny-port", "policy_denies", "GlobalNetworkPolicy quarantine-echo"),
        ("nftables-f12-default-deny", "policy_denies", "NetworkPolicy ops/default-deny-all"),
        ("v328-ipip-f12-default-deny", "policy_denies", "NetworkPolicy ops/default-deny-ingress"),
        ("bgp-f60-felix-hung-stale-ipset", "dataplane_lags_intent", "KubernetesNetworkPolicy data/allow-api-to-db"),
        ("bgp-f08-firewalld-reject", "forward_reject_between_calico_rules", None),
        ("nftables-f07-legacy-forward-drop", "iptables_backend_split", None),
        ("bgp-f58-hostendpoint-without-policy", "hostendpoint_blocks_infra", None),
    ],
)
def test_recorded_drops_are_named(name, cause, policy):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    first = recorded.diagnose(name).causes[0]
    assert first.id == cause and (policy is None or policy in first.objects)
