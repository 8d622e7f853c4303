# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.podnet.doctor.plugins.plugin_utils import _collection
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._collection import Wanted, first_wave, flows
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import Scope, host_interface, resolve
from ansible_collections.podnet.doctor.tests.unit import small

WEB = host_interface("shop", "web-0")


def asked(source="shop/web-0", destination="shop/api-0", change=None):
    document = small.cluster_document()
    if change:
        change(document)
    known = Cluster(document)
    return known, resolve(known, source, destination, None, None)


def test_the_first_wave_is_the_path():
    wave = first_wave(*asked())
    assert [(w.node, w.why) for w in wave] == [("k8s01", "on the path"), ("k8s02", "on the path")]
    assert wave[0].pods == [{"ifname": WEB, "uid": "uid-web-0", "ip": "10.253.1.5"}]
    assert [w.node for w in first_wave(*asked(destination="192.0.2.9"))] == ["k8s01"]


def test_the_kernel_is_asked_with_the_real_source_and_interface():
    wave = first_wave(*asked())
    assert {"dst": "10.253.2.7", "src": "10.253.1.5", "iif": WEB} in wave[0].flows
    assert {"dst": "10.253.1.5"} in wave[0].flows  # the answer, as it comes in from the wire
    assert {"dst": "10.2.7.202"} in wave[0].flows
    assert {"dst": "169.254.1.1"} in wave[0].flows
    assert {"dst": "10.2.7.201"} not in wave[0].flows
    assert {"dst": "10.253.1.5", "src": "10.2.7.201"} in first_wave(*asked("node/k8s01", "shop/web-0"))[0].flows


def test_every_check_finds_its_answer():
    """Each look-up that a check asks for is one that was sent, in every kind of question."""
    def dns(document):
        document["pods"].append(small.pod("kube-system/coredns-1", "k8s02", "10.253.2.53"))
        document["pods"][-1]["metadata"]["labels"] = {"k8s-app": "kube-dns"}

    for ends in (("shop/web-0", "shop/api-0"), ("node/k8s01", "shop/api-0"), ("shop/web-0", "node/k8s02"), ("shop/web-0", "192.0.2.9")):
        known, question = asked(*ends, change=dns)
        nodes = {}
        for wanted in first_wave(known, question):
            document = small.node_document(wanted.node)
            document["lookups"] = [{**flow, "route": {"dev": "eth0"}} for flow in wanted.flows]
            nodes[wanted.node] = NodeFacts(wanted.node, document)
        reasons = [entry["reason"] for entry in Diagnosis(question, Documents(known, nodes)).not_checked()]
        assert not [reason for reason in reasons if "was not asked for a route" in reason], ends


def test_can_reach_and_dns_are_looked_up():
    def change(document):
        env = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
        env.append({"name": "IP_AUTODETECTION_METHOD", "value": "can-reach=8.8.8.8"})
        document["pods"].append(small.pod("kube-system/coredns-1", "k8s02", "10.253.2.53"))
        document["pods"][-1]["metadata"]["labels"] = {"k8s-app": "kube-dns"}

    first, second = first_wave(*asked(change=change))
    assert {"dst": "8.8.8.8"} in first.flows
    assert {"dst": "10.253.2.53"} in first.flows
    assert {"dst": "10.253.2.53"} not in second.flows  # its own pod


def test_a_large_cluster_is_not_looked_up_as_a_whole():
    def change(document):
        for number in range(_collection.MOST_PEERS + 1):
            extra = small.cluster_document()["nodes"][0]
            extra["metadata"]["name"] = f"n{number}"
            extra["metadata"]["annotations"] = {"projectcalico.org/IPv4Address": f"10.2.8.{number}/22"}
            extra["status"]["addresses"][0]["address"] = f"10.2.8.{number}"
            document["nodes"].append(extra)

    known, question = asked(change=change)
    found = [flow["dst"] for flow in flows(known, Scope(question, question.nodes), "k8s01")]
    assert "10.2.7.202" in found
    assert not [dst for dst in found if dst.startswith("10.2.8.")]


def test_nothing_is_asked_twice():
    found = flows(*_same_node(), "k8s01")
    assert len(found) == len({tuple(sorted(flow.items())) for flow in found})


def _same_node():
    known, question = asked(destination="shop/web-1", change=lambda d: d["pods"].append(small.pod("shop/web-1", "k8s01", "10.253.1.6")))
    return known, Scope(question, question.nodes)


def test_an_api_that_tells_half_is_asked_for_the_rest():
    def forbidden(document):
        document["daemonsets"] = {"error": "Forbidden"}

    known, question = asked()
    forbidden(known.document)
    blind = Cluster(known.document)
    assert {"dst": "10.253.2.7", "src": "10.253.1.5", "iif": WEB} in first_wave(blind, question)[0].flows


def test_wanted_survives_json():
    wanted = Wanted("k8s01", ("links",), "because", [{"dst": "x"}], [], [{"dst": "y", "port": 179}])
    assert Wanted.from_json(wanted.to_json()) == wanted
