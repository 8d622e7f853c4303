# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small

HOPS = [(hop.id, hop.node) for hop in small.diagnose().path.forward]
BACK = [(hop.id, hop.node) for hop in small.diagnose().path.reverse]


def way(hops, passed):
    return [
        {"hop": hop, "node": node, "device": f"dev{number}", "way": "out", "packets": 3 if number < passed else 0}
        for number, (hop, node) in enumerate(hops)
    ]  # fmt: skip


def lost(passed, **more):
    """A forward probe that passed so many hops."""
    hops = way(HOPS, passed)
    return small.probe("forward", False, hops=hops, lost={"what": "requests", "after": HOPS[passed - 1][0], "hop": HOPS[passed][0]}, **more)


def of(diagnosis, check="probe.contradicts"):
    return [finding for finding in diagnosis.findings if finding.check == check]


@pytest.mark.parametrize("hop", ["node:k8s01", "tunnel:k8s02", "node:k8s02"])
def test_lost_on_a_node_though_nothing_there_is_wrong(hop):
    at = [name for name, _node in HOPS].index(hop)
    diagnosis = small.diagnose(evidence={"probes": [lost(at)]})
    (finding,) = of(diagnosis)
    assert finding.actual == {"hop": hop, "packets": 0} and finding.severity == "critical"
    assert f"3 packets were seen on dev{at - 1} of" in finding.evidence and "found nothing wrong" in finding.evidence
    assert diagnosis.outcome == "broken"
    (cause,) = diagnosis.causes
    assert (cause.id, cause.node) == ("unseen_drop", hop.partition(":")[2])
    assert {one.check for one in diagnosis.explained_by(cause)} == {"probe.lost"} and not diagnosis.unexplained


def test_what_else_was_seen_there_is_told_with_it():
    at = [name for name, _node in HOPS].index("node:k8s02")
    asked = {"node": "k8s02", "device": f"dev{at}", "address": "10.253.2.7"}
    rule = {"node": "k8s02", "filter": "iptables (nft)", "table": "filter", "chain": "FORWARD", "rule": "-A FORWARD -j DROP", "packets": 9}
    evidence = {"probes": [lost(at)], "arp": [asked, {**asked, "node": "k8s01"}], "rules": [rule, {**rule, "node": "k8s01"}]}
    (cause,) = small.diagnose(evidence=evidence).causes
    assert cause.why[1:] == [
        f"It asked on dev{at} who has 10.253.2.7, and nobody answered.", "9 packets were counted meanwhile by -A FORWARD -j DROP (filter, FORWARD)."
    ]  # fmt: skip


def test_answers_that_a_node_loses():
    at = [name for name, _node in BACK].index("node:k8s01")
    told = {"what": "replies", "after": BACK[at - 1][0], "hop": "node:k8s01"}
    probe = small.probe("forward", True, replied=0, hops=way(HOPS, len(HOPS)), back=way(BACK, at), lost=told)
    diagnosis = small.diagnose(evidence={"probes": [probe, small.probe("reverse", True, "icmp")]})
    assert diagnosis.outcome == "broken"  # though what the other end sends by itself arrives
    assert [(finding.fact.object, finding.actual["hop"]) for finding in of(diagnosis)] == [("reverse", "node:k8s01")]
    assert [cause.id for cause in diagnosis.causes] == ["unseen_drop"]


def test_what_the_network_between_loses_no_look_at_nodes_could_tell():
    at = [name for name, _node in HOPS].index("wire:k8s01:k8s02")
    diagnosis = small.diagnose(evidence={"probes": [lost(at)]})
    assert not of(diagnosis)
    assert [cause.id for cause in diagnosis.causes] == ["tunnel_blocked_ipip"]


def test_a_loss_that_is_explained_is_no_contradiction():
    at = [name for name, _node in HOPS].index("node:k8s01")
    diagnosis = small.diagnose(evidence={"probes": [lost(at)]}, k8s01=lambda document: document["sysctls"].update({"net/ipv4/ip_forward": "0"}))
    assert not of(diagnosis) and [cause.id for cause in diagnosis.causes] == ["proxy_arp_or_forwarding_cleared"]


def test_packets_that_pass_what_should_end_them():
    probe = small.probe("forward", True, hops=way(HOPS, len(HOPS)), back=way(BACK, len(BACK)))
    diagnosis = small.diagnose(evidence={"probes": [probe]}, k8s01=lambda document: document["sysctls"].update({"net/ipv4/ip_forward": "0"}))
    assert {finding.actual["check"] for finding in of(diagnosis)} == {"forwarding.off"}
    assert diagnosis.outcome == "healthy" and [cause.id for cause in diagnosis.causes] == ["proxy_arp_or_forwarding_cleared"]


def test_without_a_watch_there_is_nothing_to_hold_it_against():
    for probes in ([], [small.probe("forward", True)], [small.probe("forward", None, reason="not reached")]):
        diagnosis = small.diagnose(evidence={"probes": probes})
        assert {verdict.outcome for fact, verdict in diagnosis.judged.items() if fact.kind == "probe.agreement"} == {"not_applicable"}
