# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import recorded, small


def filters(*rules, packets=5):
    text = "\n".join(["*filter", ":INPUT ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]", *(f"[{packets}:300] {rule}" for rule in rules), "COMMIT", ""])

    def change(document):
        document["netfilter"] = {"iptables": [{"backend": "nft", "family": "inet", "text": text}], "nft": []}

    return change


def dead_session(document):
    document["bird"]["ipv4"]["protocols"][0].update(info="Active", bgp={"state": "Active", "neighbor_address": "10.2.7.202"})


DROP = "-A INPUT -p tcp -m tcp --dport 179 -j DROP"


def test_a_rule_that_drops_bgp_is_the_cause_of_the_dead_session():
    diagnosis = small.diagnose(k8s02=filters(DROP), k8s01=dead_session)
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.node) == ("bgp_tcp179_blocked", "F02", "k8s02")
    assert DROP in cause.objects and "5 packets" in cause.summary and "chain INPUT" in cause.why[0]
    assert {finding.check for finding in diagnosis.explained_by(cause)} == {"bgp.session.down"} and not diagnosis.unexplained


def test_the_rule_that_dropped_most_is_shown_first():
    def both(document):
        filters(DROP)(document)
        text = document["netfilter"]["iptables"][0]["text"]
        document["netfilter"]["iptables"][0]["text"] = text.replace("COMMIT", "[9:540] -A OUTPUT -p tcp -m tcp --dport 179 -j DROP\nCOMMIT")

    (cause,) = small.diagnose(k8s02=both, k8s01=dead_session).causes
    assert cause.summary.endswith("-A OUTPUT -p tcp -m tcp --dport 179 -j DROP (9 packets)") and f"So do: {DROP} (5 packets)" in cause.why[0]


def test_a_rule_that_has_counted_nothing_is_latent():
    finding = small.verdict(small.diagnose(k8s02=filters(DROP, packets=0)), "netfilter.bgp", "k8s02", "k8s01").finding
    assert (finding.severity, finding.hint["counted"]) == ("latent", False)


def test_a_rule_for_somebody_else_is_none():
    diagnosis = small.diagnose(k8s02=filters("-A INPUT -s 192.0.2.0/24 -p tcp -m tcp --dport 179 -j DROP"))
    assert small.verdict(diagnosis, "netfilter.bgp", "k8s02", "k8s01").outcome == "ok"


def test_not_read_is_not_checked():
    verdict = small.verdict(small.diagnose(k8s02=small.lost("netfilter")), "netfilter.bgp", "k8s02", "k8s01")
    assert (verdict.outcome, verdict.reason) == ("not_checked", "k8s02: netfilter: Permission denied")

    def no_tool(document):
        document["netfilter"]["nft"] = {"error": "nft is not installed"}

    verdict = small.verdict(small.diagnose(k8s02=no_tool), "netfilter.bgp", "k8s02", "k8s01")
    assert (verdict.outcome, verdict.reason) == ("not_checked", "k8s02: nftables: nft is not installed")


@pytest.mark.parametrize(
    ("name", "node", "rule"),
    [
        ("bgp-f02-tcp179-dropped", "node-b", "-A INPUT -p tcp -m tcp --dport 179 -j DROP"),
        (
            "bgp-two-faults-forwarding-and-bgp",
            "node-a",
            "-A INPUT -i eth0 -p tcp -m tcp --dport 179 -j REJECT --reject-with icmp-port-unreachable",
        ),
    ],
)
def test_recorded(name, node, rule):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    diagnosis = recorded.diagnose(name)
    (cause,) = [cause for cause in diagnosis.causes if cause.id == "bgp_tcp179_blocked"]
    assert cause.node == node and rule in cause.objects and diagnosis.confidence(cause) == "certain"
    assert "iptables (nft), table filter, chain INPUT" in cause.why[0] and " packets)" in cause.summary
    assert not diagnosis.unexplained


# ---------------------------------------------------------------------- the packets that carry others


@pytest.mark.parametrize(
    ("node", "rule"), [("k8s02", "-A INPUT -p ipencap -j DROP"), ("k8s01", "-A OUTPUT -p 4 -d 10.2.7.202/32 -j DROP")]
)
def test_a_rule_that_drops_ipip(node, rule):
    diagnosis = small.diagnose(**{node: filters(rule)})
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.node, list(cause.objects)) == ("tunnel_blocked_ipip", "F03", node, [rule])
    assert diagnosis.outcome == "broken" and "5 packets" in cause.summary


def test_felix_does_not_know_the_address_that_the_packets_carry():
    rules = ("-A INPUT -p ipencap -s 10.2.7.202/32 -j ACCEPT", '-A INPUT -p ipencap -m comment --comment "Drop IPIP packets from non-Calico hosts" -j DROP')

    def another_source(document):
        for one in document["lookups"]:
            if one["dst"] == "10.2.7.201":
                one["route"] = {**one["route"], "prefsrc": "172.16.0.2"}

    assert small.named(small.diagnose(k8s01=filters(*rules))) == []
    (cause,) = small.diagnose(k8s01=filters(*rules), k8s02=another_source).causes
    assert (cause.id, cause.fault, cause.node, list(cause.objects)) == ("tunnel_source_not_allowed", "F41", "k8s01", ["172.16.0.2"])
    assert [remedy.id for remedy in cause.remedies] == ["restart_calico_node"]


def test_without_a_tunnel_nothing_is_carried():
    from ansible_collections.podnet.doctor.tests.unit.plugins.plugin_utils.subjects.test_path import no_tunnel

    assert not [fact for fact in small.diagnose(cluster=no_tunnel).facts if fact.kind == "netfilter.tunnel"]


def test_a_host_endpoint_that_ends_bgp_or_the_tunnel_is_named_as_such():
    chains = ("-A INPUT -j cali-from-host-endpoint", "-A cali-from-host-endpoint -i eth0 -j cali-fh-eth0")
    end = '-A cali-fh-eth0 -m comment --comment "Drop if no profiles matched" -j DROP'
    (cause,) = small.diagnose(k8s02=filters(*chains, end), k8s01=dead_session).causes[:1]
    assert (cause.id, cause.fault, cause.node) == ("hostendpoint_blocks_infra", "F58", "k8s02") and cause.objects == ["cali-fh-eth0"]
    assert {found.id for found in small.diagnose(k8s02=filters(*chains, end)).causes} == {"hostendpoint_blocks_infra"}
