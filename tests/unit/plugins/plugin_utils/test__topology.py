# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import parse_network
from ansible_collections.podnet.doctor.plugins.plugin_utils._topology import (
    encapsulation,
    intended_address,
    peer_addresses,
    pod_prefixes,
    same_subnet,
    uses_bird,
    uses_encapsulation,
)
from ansible_collections.podnet.doctor.tests.unit import small

SECOND_NIC = '[{"name": "eth0", "addresses": ["10.2.7.202"]}, {"name": "eth1", "addresses": ["fd00::2", "172.16.0.2"]}]'


def cluster(method=None, announced=None, pool=None, change=None, mask="24"):
    document = small.cluster_document()
    if method is not None:
        env = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
        env.append({"name": "IP_AUTODETECTION_METHOD", "value": method})
    for node in document["nodes"]:
        annotations = node["metadata"]["annotations"]
        address = (announced or {}).get(node["metadata"]["name"]) or annotations["projectcalico.org/IPv4Address"].split("/")[0]
        annotations["projectcalico.org/IPv4Address"] = f"{address}/{mask}"
        annotations["projectcalico.org/Interfaces"] = SECOND_NIC.replace(".2\"", f".{node['metadata']['name'][-1]}\"")
    if pool:
        document["ippools"][0]["spec"] = {"cidr": "10.253.0.0/16", **pool}
    if change:
        change(document)
    return Cluster(document)


def intended(known, name="k8s02"):
    return intended_address(known, known.nodes[name])


def test_first_found_means_the_kubernetes_address():
    assert intended(cluster()) == "10.2.7.202"
    assert intended(cluster(announced={"k8s02": "192.188.1.1"})) == "10.2.7.202"


def test_first_found_where_every_node_has_the_same_other_network():
    both = {"k8s01": "172.16.0.1", "k8s02": "172.16.0.2"}
    assert intended(cluster(announced=both)) == "172.16.0.2"
    assert intended(cluster(announced={"k8s01": "172.16.0.1", "k8s02": "172.17.0.2"})) == "10.2.7.202"


@pytest.mark.parametrize(
    ("method", "announced", "address"),
    [
        ("kubernetes-internal-ip", "172.16.0.2", "10.2.7.202"),
        ("interface=eth1", "172.16.0.2", "172.16.0.2"),
        ("interface=eth1", "192.188.1.1", "172.16.0.2"),
        ("interface=eth.*", "10.2.7.202", "10.2.7.202"),
        ("interface=nothing", "192.188.1.1", "192.188.1.1"),  # nothing better is known
        ("interface=(", "192.188.1.1", "192.188.1.1"),
        ("cidr=172.16.0.0/24", "172.16.0.2", "172.16.0.2"),
        ("cidr=192.0.2.0/24, 172.16.0.0/24", "192.188.1.1", "172.16.0.2"),
        ("cidr=junk", "192.188.1.1", None),
    ],
)
def test_a_configured_method_says_which(method, announced, address):
    assert intended(cluster(method, {"k8s02": announced})) == address


def test_peers_are_the_nodes_that_run_calico():
    def no_calico(document):
        document["nodes"][0]["metadata"]["annotations"].clear()

    assert peer_addresses(cluster()) == small.ADDRESSES
    assert peer_addresses(cluster(change=no_calico)) == {"k8s02": "10.2.7.202"}


@pytest.mark.parametrize(
    ("pool", "mask", "expected"),
    [
        ({"ipipMode": "Never"}, "24", "none"),
        ({"ipipMode": "Always"}, "24", "ipip"),
        ({"vxlanMode": "Always"}, "24", "vxlan"),
        ({"ipipMode": "CrossSubnet"}, "24", "none"),
        ({"ipipMode": "CrossSubnet"}, "32", "ipip"),  # the mask of the annotation decides
        ({"vxlanMode": "CrossSubnet"}, "32", "vxlan"),
    ],
)
def test_encapsulation(pool, mask, expected):
    assert encapsulation(cluster(pool=pool, mask=mask), parse_network("10.253.2.0/26"), "k8s01", "k8s02") == expected


def test_encapsulation_is_not_guessed():
    known = cluster(pool={"ipipMode": "CrossSubnet"})
    assert encapsulation(known, parse_network("10.9.0.0/26"), "k8s01", "k8s02") is None
    assert encapsulation(known, parse_network("10.253.2.0/26"), "k8s99", "k8s02") is None
    assert encapsulation(known, parse_network("10.253.2.0/26"), "k8s01", "k8s99") is None


def test_a_wrong_annotation_does_not_decide_on_the_subnet():
    """The node that announces a stray address is judged by the other one's subnet."""
    known = cluster(announced={"k8s02": "192.188.1.1"})
    assert same_subnet(known, "k8s02", "k8s01") is True
    assert same_subnet(known, "k8s01", "k8s02") is True
    lost = cluster(announced={"k8s01": "192.188.2.1", "k8s02": "192.188.1.1"})
    assert same_subnet(lost, "k8s01", "k8s02") is None


def test_prefixes_of_pods():
    def change(document):
        document["blockaffinities"][1]["spec"]["state"] = "pending"
        document["ipamblocks"].append({"spec": {"cidr": "fd00::/122", "affinity": "host:k8s01"}})
        document["pods"].append(small.pod("shop/guest", "k8s01", "10.253.2.9"))

    found = pod_prefixes(cluster(change=change))
    assert [(p.prefix, p.node, p.borrowed and p.borrowed.key) for p in found] == [
        ("10.253.1.0/26", "k8s01", None),
        ("10.253.2.9/32", "k8s01", "shop/guest"),
    ]


def test_who_carries_the_routes():
    assert uses_bird(cluster())
    assert uses_bird(cluster(change=lambda document: document.update(daemonsets={"error": "Forbidden"})))
    assert not uses_bird(cluster(change=lambda document: document.update(daemonsets=[])))
    assert uses_encapsulation(cluster(), "ipip", "ipv4")
    assert not uses_encapsulation(cluster(pool={"ipipMode": "Never"}), "ipip", "ipv4")
    assert not uses_encapsulation(cluster(pool={"ipipMode": "Always", "disabled": True}), "ipip", "ipv4")
