# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy

import pytest
import yaml

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._policy import End, end_at, intended, worst
from ansible_collections.podnet.doctor.plugins.plugin_utils._policy_advice import section_of_manifest
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text
from ansible_collections.podnet.doctor.tests.unit import recorded, small, small_policy

FLOW = "10.253.1.5>10.253.2.7"
DENY = small_policy.policy("deny-all")
UNSEEN = {"k8s01": small.lost("netfilter"), "k8s02": small.lost("netfilter")}  # what the nodes do about it


def having(*policies, section="networkpolicies"):
    def change(document):
        document[section] = list(policies)

    return change


def test_what_is_allowed_is_right_on_both_nodes():
    diagnosis = small.diagnose()
    assert [small.verdict(diagnosis, "policy.intent", node, FLOW).outcome for node in ("k8s01", "k8s02")] == ["ok", "ok"]


@pytest.mark.parametrize(("way", "node", "pod"), [("Ingress", "k8s02", "shop/api-0"), ("Egress", "k8s01", "shop/web-0")])
def test_a_policy_that_allows_nothing_is_the_cause(way, node, pod):
    diagnosis = small.diagnose(cluster=having({**DENY, "spec": {"podSelector": {}, "policyTypes": [way]}}), **UNSEEN)
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.node, diagnosis.outcome) == ("policy_denies", "F12", node, "broken")
    assert cause.objects == ["NetworkPolicy shop/deny-all", pod] and "NetworkPolicy shop/deny-all" in cause.summary
    hop = next(hop for hop in diagnosis.path.forward if hop.kind == "node" and hop.node == node)
    assert hop.outcome == "finding" and all("policy.denies" not in hop.checks for hop in diagnosis.path.reverse)
    (remedy,) = cause.remedies
    assert (remedy.risk, remedy.parameters["manifest"]["kind"]) == ("R4", "NetworkPolicy")
    assert yaml.safe_load(remedy.change[1]) == remedy.parameters["manifest"]


def test_a_rule_that_denies_is_named_with_its_number():
    deny = small_policy.calico("no", order=5, ingress=[{"action": "Allow", "protocol": "UDP"}, {"action": "Deny"}])
    before = small_policy.calico("before", order=1, ingress=[{"action": "Allow", "protocol": "UDP"}])

    def change(document):
        having(deny, before, section="globalnetworkpolicies")(document)
        having(DENY)(document)

    (cause,) = small.diagnose(cluster=change, **UNSEEN).causes
    assert cause.summary == "GlobalNetworkPolicy no denies tcp/8080 from shop/web-0 to shop/api-0: ingress rule 2, tier default."
    assert cause.why == ["Asked before it, and deciding nothing: GlobalNetworkPolicy before.", "Not asked any more: NetworkPolicy shop/deny-all."]


def of_policies(diagnosis):
    """What is said of the policies themselves: the small nodes have no chains of Felix."""
    return [cause for cause in diagnosis.causes if cause.id != "policy_not_enforced"]


def test_rules_that_do_not_enforce_it():
    diagnosis = small.diagnose(cluster=having(DENY))
    (cause,) = of_policies(diagnosis)
    assert diagnosis.severity(cause) == "latent" and "do not enforce it" in cause.why[-1] and diagnosis.outcome == "unknown"


def with_chains(document):
    document["netfilter"]["iptables"][0]["text"] = "*filter\n:FORWARD ACCEPT [0:0]\n:cali-to-wl-dispatch - [0:0]\nCOMMIT\n"


def test_policies_that_nothing_enforces():
    diagnosis = small.diagnose(cluster=having(DENY))
    (found,) = [cause for cause in diagnosis.causes if cause.id == "policy_not_enforced"]
    assert (found.node, found.objects, diagnosis.severity(found)) == ("k8s02", ["NetworkPolicy shop/deny-all"], "latent")
    assert small.verdict(diagnosis, "policy.enforced", "k8s01").outcome == "not_applicable"  # no policy selects the pod there


def test_chains_that_are_there_enforce():
    assert small.verdict(small.diagnose(cluster=having(DENY), k8s02=with_chains), "policy.enforced", "k8s02").outcome == "ok"


def test_a_dead_felix_is_why_nothing_is_enforced():
    def dead(document):
        document["calico"]["felix"]["running"] = False

    assert "policy_not_enforced" not in [cause.id for cause in small.diagnose(cluster=having(DENY), k8s02=dead).causes]


def test_both_ends_that_deny_are_two_causes():
    sealed = {**DENY, "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
    diagnosis = small.diagnose(cluster=having(sealed))
    assert [(cause.id, cause.node) for cause in of_policies(diagnosis)] == [("policy_denies", "k8s01"), ("policy_denies", "k8s02")]


def test_the_screen_shows_the_policy_that_would_allow_it():
    diagnosis = small.diagnose(cluster=having(DENY))
    text = _text.screen(diagnosis.report(created_at="2026-11-21T09:30:42Z", version="test"))
    assert "         kind: NetworkPolicy" in text and any("never" in line and line.endswith("R4") for line in text)


def test_packets_that_cross_all_the_same():
    evidence = {"probes": [small.probe("forward", True), small.probe("reverse", True)]}
    diagnosis = small.diagnose(evidence, cluster=having(DENY))
    (cause,) = of_policies(diagnosis)
    assert (diagnosis.outcome, diagnosis.severity(cause)) == ("healthy", "latent") and "do not enforce" in cause.why[-1]


def test_lost_packets_are_explained_by_the_policy():
    evidence = {"probes": [small.probe("forward", False), small.probe("reverse", True)]}
    diagnosis = small.diagnose(evidence, cluster=having(DENY))
    (cause,) = of_policies(diagnosis)
    assert {finding.check for finding in diagnosis.explained_by(cause)} == {"probe.lost"} and diagnosis.confidence(cause) == "certain"


def test_what_the_other_end_may_not_send_by_itself_proves_nothing():
    """web may open connections to api, and not the other way round: an echo of api is kept back, its answers are not."""
    closed = small_policy.policy("closed", podSelector={}, policyTypes=["Egress"])
    evidence = {"probes": [small.probe("forward", True, replied=0), small.probe("reverse", False, "icmp")]}

    def change(document):
        closed["spec"]["podSelector"] = {"matchLabels": {"app": "api"}}
        document["pods"][1]["metadata"]["labels"] = {"app": "api"}
        having(closed)(document)

    diagnosis = small.diagnose(evidence, cluster=change)
    assert small.verdict(diagnosis, "probe", "k8s02", "reverse").outcome == "not_applicable" and diagnosis.outcome != "broken"
    assert small.diagnose(evidence).outcome == "broken"


def test_not_read_is_not_checked():
    verdict = small.verdict(small.diagnose(cluster=small.lost("globalnetworkpolicies")), "policy.intent", "k8s02", FLOW)
    assert verdict.outcome == "not_checked" and "globalnetworkpolicies: Permission denied" in verdict.reason


def test_flannel_enforces_none():
    diagnosis = recorded.report("flannel-vxlan-healthy") if recorded.folder() else None
    if diagnosis is None:
        pytest.skip(recorded.ABSENT)
    assert {entry["outcome"] for entry in diagnosis["check_list"] if entry["check"] == "policy.denies"} <= {"not_applicable"}


def host_endpoint(document):
    document["hostendpoints"] = [small_policy.named("k8s02-eth0", {"node": "k8s02", "interfaceName": "eth0"})]
    for node in document["nodes"]:
        name = node["metadata"]["name"]
        node["metadata"]["annotations"]["projectcalico.org/Interfaces"] = f'[{{"name": "eth0", "addresses": ["{small.ADDRESSES[name]}"]}}]'


def test_a_host_endpoint_that_lets_nothing_in():
    found = small.documents(cluster=host_endpoint)
    diagnosis = Diagnosis(resolve(found.cluster, "node/k8s01", "node/k8s02", "tcp", 8080), found)
    cause = next(cause for cause in diagnosis.causes if cause.fault == "F58")
    assert (cause.id, cause.node, cause.objects) == ("hostendpoint_blocks_infra", "k8s02", ["HostEndpoint k8s02-eth0"])
    assert [remedy.risk for remedy in cause.remedies] == ["R0"]  # it has no labels that a policy could select it by


F12 = {
    "bgp-f12-default-deny": "NetworkPolicy ops/default-deny-ingress",
    "bgp-f12-egress-policy": "NetworkPolicy shop/web-egress-dns-and-api-only-with-quite-a-long-policy-name-to-force-hashing",
    "bgp-f12-gnp-deny-port": "GlobalNetworkPolicy quarantine-echo",
    "bgp-f12-namespace-label-lost": "NetworkPolicy data/allow-api-to-db",
    "canal-f12-default-deny": "NetworkPolicy ops/default-deny-ingress",
    "dns-f12-policy-blocks-dns": "NetworkPolicy ops/only-own-namespace",
    "nftables-f12-default-deny": "NetworkPolicy ops/default-deny-all",
    "v328-bgp-legacy-f12-default-deny": "NetworkPolicy ops/default-deny-ingress",
    "v333-ipip-f12-default-deny": "NetworkPolicy ops/default-deny-ingress",
}


@pytest.mark.parametrize("name", F12)
def test_recorded_denials_are_named_with_their_policy(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    report = recorded.report(name)
    first = report["verdict"]["causes"][0]
    assert (report["verdict"]["outcome"], first["fault"]) == ("broken", "F12") and F12[name] in first["objects"]


def measured(name):
    """(measured, source, destination) of everything that was tried between pods and addresses."""
    told = recorded.about(name)
    truth = told.get("truth") or {}
    for entry in [*(told.get("real_traffic") or ()), truth.get("symptom") or {}, *(truth.get("also_measured") or ())]:
        if entry.get("source") and entry.get("destination_ip"):
            yield entry, truth.get("fault")


@pytest.mark.parametrize("name", recorded.names() or ["absent"])
def test_measured_traffic_is_what_the_policies_say(name):
    """What works is allowed; in a healthy cluster what does not work is denied. Where Felix is dead or another rule drops, only the first holds."""
    if name == "absent":
        pytest.skip(recorded.ABSENT)
    cluster = Cluster(recorded.cluster(name))
    compared = 0
    for entry, fault in measured(name):
        pod = cluster.pods.get(entry["source"])
        if pod is None or pod.host_network:
            continue
        address = entry["destination_ip"]
        source = End("pod", str(pod.address_in("ipv6" if ":" in address else "ipv4")), pod.node, pod.key)
        found = worst(intended(cluster, source, end_at(cluster, address), entry["protocol"].split()[0], entry.get("port")))
        if entry["works"]:
            assert found.outcome == "works" or (found.outcome == "unknown" and name.startswith("canal")), (entry, found.why)
        elif fault is None or fault.startswith("F12"):
            assert found.outcome == "timeout", (entry, found.why)
        compared += 1
    assert compared or not (recorded.about(name).get("truth") or {"symptom": {}}).get("symptom")


def test_the_advice_of_recorded_denials_opens_exactly_them():
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    for name in F12:
        cause = recorded.report(name)["verdict"]["causes"][0]
        manifest = cause["remedies"][0]["parameters"]["manifest"]
        document = copy.deepcopy(recorded.cluster(name))
        document[section_of_manifest(manifest)].append({"metadata": manifest["metadata"], "spec": manifest["spec"]})
        question = recorded.question(name, Cluster(document))
        ends = [End(end.kind, end.address, end.node, end.label) for end in (question.source, question.destination)]
        denied = worst(intended(Cluster(document), *ends, question.protocol, question.port)).denied
        assert not [point for point in denied if point.node == cause["node"]], name
