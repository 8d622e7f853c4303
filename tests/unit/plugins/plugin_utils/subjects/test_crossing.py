# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins.plugin_utils.subjects.test_path import answer, no_tunnel

ONE, TWO = "10.253.1.5", "10.253.2.7"


def entry(*flags, protocol="tcp", timeout=119, sport=4000, **more):
    ends = {"sport": sport, "dport": 8080} if protocol != "icmp" else {"type": 8, "code": 0, "id": sport}
    return {"family": "inet", "protocol": protocol, "src": ONE, "dst": TWO, **ends, "reply": {}, "flags": list(flags), "timeout": timeout, **more}


INVALID = "-A FORWARD -m conntrack --ctstate INVALID -j DROP"


def tracks(*entries, rules="", tracking=INVALID):
    def change(document):
        document["conntrack"] = {"pairs": [[ONE, TWO], [TWO, ONE]], "entries": list(entries), "left_out": 0}
        text = f"*filter\n:FORWARD ACCEPT [0:0]\n{tracking}\n{rules}\nCOMMIT\n"
        document["netfilter"] = {"iptables": [{"backend": "nft", "family": "inet", "text": text}], "nft": []}

    return change


def judged(diagnosis):
    return small.verdict(diagnosis, "flow.crossing", "k8s02", f"{ONE}>{TWO}")


def direct(far, gateway):
    return small.together(
        lambda d: d.update(routes=[{**r, "dev": "eth0", "flags": []} if r.get("dev") == "tunl0" else r for r in d["routes"]]),
        answer(far, dev="eth0", gateway=gateway),
    )


WITHOUT_TUNNEL = {"k8s01": direct(TWO, small.ADDRESSES["k8s02"]), "k8s02": direct(ONE, small.ADDRESSES["k8s01"])}


def in_cloud(provider):
    def change(document):
        no_tunnel(document)
        for node in document["nodes"]:
            node["spec"]["providerID"] = provider

    return change


def test_what_left_one_node_and_never_reached_the_other():
    diagnosis = small.diagnose(k8s01=tracks(entry()), k8s02=tracks())
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, diagnosis.outcome) == ("tunnel_blocked_ipip", "F03", "broken") and diagnosis.confidence(cause) != "possible"
    assert judged(diagnosis).finding.sources == ("conntrack k8s01", "conntrack k8s02")


@pytest.mark.parametrize(("packets", "outcome"), [(3, "ok"), (0, "finding")])
def test_packets_that_crossed_later_are_right(packets, outcome):
    """The receiver was read before the sender sent it."""
    seen = small.probe("forward", bool(packets), hops=[{"hop": "wire:k8s01:k8s02", "node": "k8s02", "packets": packets}])
    assert judged(small.diagnose({"probes": [seen]}, k8s01=tracks(entry()), k8s02=tracks())).outcome == outcome


def test_the_direction_that_is_lost_is_told():
    back = {**entry(), "src": TWO, "dst": ONE}
    (cause,) = small.diagnose(k8s01=tracks(), k8s02=tracks(back)).causes
    assert (cause.node, cause.summary) == ("k8s02", "The network between k8s02 and k8s01 drops IPIP (IP protocol 4).")


@pytest.mark.parametrize(
    ("sent", "seen", "outcome"),
    [
        ([], [], "not_applicable"),
        ([entry("seen_reply")], [], "ok"),
        ([entry()], [entry()], "ok"),
        ([entry()], [entry(sport=4001)], "finding"),
        ([entry(timeout=100)], [], "not_applicable"),  # of something before
        ([entry(timeout=100), entry("seen_reply", sport=4001)], [], "ok"),
        ([entry(), entry("seen_reply", sport=4001)], [], "not_applicable"),  # nothing is counted, so it may have been a large one
        ([entry(state="SYN_SENT"), entry("seen_reply", sport=4001)], [], "finding"),
        ([entry(packets=1, bytes=60), entry("seen_reply", sport=4001)], [], "finding"),
        ([entry(packets=2, bytes=3000)], [], "not_applicable"),
        ([entry(protocol="icmp", timeout=28)], [], "finding"),
        ([entry(protocol="icmp", timeout=15), entry(timeout=None)], [], "not_applicable"),
    ],
)
def test_the_newest_that_waits_decides(sent, seen, outcome):
    assert judged(small.diagnose(k8s01=tracks(*sent), k8s02=tracks(*seen))).outcome == outcome


def test_a_rule_of_the_receiver_is_no_loss_between():
    blocked = small.diagnose(k8s01=tracks(entry()), k8s02=tracks(rules="-A FORWARD -p tcp -m tcp --dport 8080 -j DROP"))
    assert judged(blocked).outcome == "not_applicable"
    strange = small.diagnose(k8s01=tracks(entry()), k8s02=tracks(rules="-A FORWARD -m mystery --of life -j DROP"))
    assert judged(strange).outcome == "not_checked"


def test_a_receiver_that_tracks_nothing_has_no_entries():
    assert judged(small.diagnose(k8s01=tracks(entry()), k8s02=tracks(tracking=""))).outcome == "not_applicable"


@pytest.mark.parametrize("side", ["k8s01", "k8s02"])
def test_not_read_is_not_checked(side):
    read = {"k8s01": tracks(entry()), "k8s02": tracks()}
    assert judged(small.diagnose(**{**read, side: small.together(read[side], small.lost("conntrack"))})).outcome == "not_checked"


@pytest.mark.parametrize(("provider", "sure"), [("aws:///eu-central-1a/i-0abc", True), ("kind://docker/one", False), (None, False)])
def test_without_a_tunnel_it_is_the_check_of_source_addresses(provider, sure):
    changes = {"k8s01": small.together(WITHOUT_TUNNEL["k8s01"], tracks(entry())), "k8s02": small.together(WITHOUT_TUNNEL["k8s02"], tracks())}
    diagnosis = small.diagnose(cluster=in_cloud(provider), **changes)
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, diagnosis.confidence(cause) != "possible") == ("cloud_src_dst_check", "F71", sure)


@pytest.mark.parametrize(("provider", "named"), [("aws:///eu-central-1a/i-0abc", ["cloud_src_dst_check"]), ("kind://docker/one", []), (None, [])])
def test_lost_packets_alone_speak_only_in_a_cloud_that_looks_at_addresses(provider, named):
    lost = {"probes": [small.probe("forward", False), small.probe("reverse", False)]}
    diagnosis = small.diagnose(evidence=lost, cluster=in_cloud(provider), **WITHOUT_TUNNEL)
    assert small.named(diagnosis) == named
    assert diagnosis.outcome == "broken"
    assert [diagnosis.confidence(cause) for cause in diagnosis.causes] == ["possible"] * len(named)
