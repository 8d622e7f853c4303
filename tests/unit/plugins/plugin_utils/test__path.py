# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._graph import Fact, FactId, Finding, Judged
from ansible_collections.podnet.doctor.plugins.plugin_utils._path import Hop, delivery_fact, settle, walk
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.tests.unit import small


def ways(source, destination, change=None):
    document = small.cluster_document()
    if change:
        change(document)
    known = Cluster(document)
    path = walk(known, resolve(known, source, destination, None, None))
    return [[f"{hop.kind}:{hop.node}" for hop in way] for way in (path.forward, path.reverse)]


def no_tunnel(document):
    document["ippools"][0]["spec"] = {"cidr": "10.253.0.0/16"}


THERE = ["pod:k8s01", "veth:k8s01", "node:k8s01", "tunnel:k8s01", "wire:None", "tunnel:k8s02", "node:k8s02", "veth:k8s02", "pod:k8s02"]


def test_between_two_nodes():
    forward, reverse = ways("shop/web-0", "shop/api-0")
    assert forward == THERE
    assert reverse == [hop.replace("k8s01", "x").replace("k8s02", "k8s01").replace("x", "k8s02") for hop in THERE]


def test_without_a_tunnel():
    assert ways("shop/web-0", "shop/api-0", no_tunnel)[0] == [hop for hop in THERE if "tunnel" not in hop]


def test_on_one_node():
    forward, reverse = ways("shop/web-0", "shop/web-1", lambda d: d["pods"].append(small.pod("shop/web-1", "k8s01", "10.253.1.6")))
    assert forward == reverse == ["pod:k8s01", "veth:k8s01", "node:k8s01", "veth:k8s01", "pod:k8s01"]


def test_to_and_from_a_node():
    forward, reverse = ways("shop/web-0", "node/k8s02")
    assert forward == ["pod:k8s01", "veth:k8s01", "node:k8s01", "wire:None", "node:k8s02"]
    assert reverse == ["node:k8s02", "tunnel:k8s02", "wire:None", "tunnel:k8s01", "node:k8s01", "veth:k8s01", "pod:k8s01"]
    assert ways("node/k8s01", "shop/web-0")[0] == ["node:k8s01", "veth:k8s01", "pod:k8s01"]


def test_out_of_the_cluster():
    forward, reverse = ways("shop/web-0", "192.0.2.9")
    assert forward == ["pod:k8s01", "veth:k8s01", "node:k8s01", "beyond:None"]
    assert reverse == ["beyond:None", "node:k8s01", "veth:k8s01", "pod:k8s01"]


def test_the_route_that_delivers():
    document = small.cluster_document()
    document["pods"].append(small.pod("shop/guest", "k8s01", "10.253.2.9"))
    known = Cluster(document)
    question = resolve(known, "shop/web-0", "shop/api-0", None, None)
    assert delivery_fact(known, "k8s01", question.destination) == FactId("route.block", "k8s01", "10.253.2.0/26")
    assert delivery_fact(known, "k8s02", question.destination) == FactId("route.local", "k8s02", "shop/api-0")
    guest = resolve(known, "shop/api-0", "shop/guest", None, None).destination
    assert delivery_fact(known, "k8s02", guest) == FactId("route.block", "k8s02", "10.253.2.9/32")  # borrowed: not its block
    outside = resolve(known, "shop/web-0", "192.0.2.9", None, None).destination
    assert delivery_fact(known, "k8s01", outside) is None
    document["ipamblocks"] = {"error": "Forbidden"}
    assert delivery_fact(Cluster(document), "k8s01", question.destination) is None


# -------------------------------------------------------------------------- outcomes


def hops(*outcomes):
    """One hop for each tuple of outcomes; `warning` is a finding that does not stop the packet."""
    result, judged = [], {}
    for number, group in enumerate(outcomes):
        facts = []
        for place, outcome in enumerate(group):
            fact = Fact("k", str(number), str(place))
            severity = "warning" if outcome == "warning" else "critical"
            finding = Finding("k.wrong", fact, None, "", (), severity) if outcome in ("finding", "warning") else None
            judged[fact.id] = Judged(fact, "k.wrong", "finding" if finding else outcome, finding)
            facts.append(fact.id)
        result.append(Hop(str(number), "node", f"n{number}", "eth0", tuple(facts)))
    return result, judged


def settled(*outcomes, evidence=None):
    found, judged = hops(*outcomes)
    settle(found, judged, Evidence(evidence), "forward")
    return found


def test_a_hop_is_its_worst_check():
    found = settled(("ok", "not_applicable"), ("ok", "not_checked"), ("not_checked", "warning"), ())
    assert [hop.outcome for hop in found] == ["ok", "not_checked", "finding", "not_checked"]
    assert found[0].checks == ("k.wrong",)


@pytest.mark.parametrize(("first", "last"), [("finding", "not_reached"), ("warning", "not_checked")])
def test_what_was_not_read_after_the_packet_died(first, last):
    assert [hop.outcome for hop in settled((first,), ("ok",), ("not_checked",))] == ["finding", "ok", last]


def test_where_the_packet_was_seen():
    hops = [{"hop": "0", "packets": 2}, {"hop": "1", "packets": None, "reason": "not reached"}, {"hop": "2", "packets": 0}]
    lost = {**small.probe("forward", False), "hops": hops}
    assert [hop.seen for hop in settled(("ok",), ("ok",), ("ok",), evidence={"probes": [lost]})] == [True, None, False]
    crossed = {"probes": [small.probe("forward", True)]}
    assert [hop.seen for hop in settled(("ok",), ("finding",), evidence=crossed)] == [True, True]
    other = {"probes": [{**lost, "direction": "reverse"}]}
    assert [hop.seen for hop in settled(("ok",), ("ok",), evidence=other)] == [None, None]


def test_a_hop_as_json():
    assert Hop("beyond", "beyond", None, None, note="outside").to_json()["note"] == "outside"
    assert set(Hop("x", "node", "n", None).to_json()) == {"id", "kind", "node", "device", "outcome", "checks", "seen"}
