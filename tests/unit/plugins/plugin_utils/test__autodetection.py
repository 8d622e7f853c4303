# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._autodetection import autodetect, candidates
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected
from ansible_collections.podnet.doctor.tests.unit import small


def cluster(method):
    document = small.cluster_document()
    env = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
    env.append({"name": "IP_AUTODETECTION_METHOD", "value": method})
    return Cluster(document)


def node(*held, **more):
    """held: (ifindex, interface, address), in the kernel's order."""
    document = small.node_document("k8s01")
    document["links"] = [small.link(index, name) for index, name, _address in held]
    document["addresses"] = [
        {"ifname": name, "family": "inet6" if ":" in address else "inet", "local": address, "prefixlen": 24} for _index, name, address in held
    ]
    return NodeFacts("k8s01", {**document, **more})


HELD = ((1, "lo", "127.0.0.1"), (2, "eth0", "10.2.7.201"), (3, "eth1", "172.16.0.1"), (4, "docker0", "172.17.0.1"), (9, "br0", "192.188.1.1"))


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("first-found", "192.188.1.1"),  # the newest interface first: how a stray one wins
        ("kubernetes-internal-ip", "10.2.7.201"),
        ("interface=eth1", "172.16.0.1"),
        ("interface=nothing,eth0", "10.2.7.201"),
        ("interface=eth", "172.16.0.1"),  # unanchored
        ("interface=docker0", "172.17.0.1"),  # named, it is not left out
        ("interface=nothing", None),
        ("skip-interface=br0", "172.16.0.1"),
        ("skip-interface=br.*, eth1", "10.2.7.201"),
        ("cidr=10.0.0.0/8", "10.2.7.201"),
        ("cidr=192.0.2.0/24, 172.16.0.0/16", "172.16.0.1"),
        ("cidr=192.0.2.0/24", None),
    ],
)
def test_methods(method, address):
    assert autodetect(cluster(method), "k8s01", node(*HELD)) == address


def test_as_if_an_address_were_not_there():
    assert autodetect(cluster("first-found"), "k8s01", node(*HELD), without="192.188.1.1") == "172.16.0.1"


LEFT_OUT = ["docker0", "br-12ab", "cali12345", "tunl0", "vxlan.calico", "flannel.1", "cni0", "veth1", "dummy0", "kube-ipvs0", "nodelocaldns"]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_interfaces_that_calico_leaves_out(name):
    assert autodetect(cluster("first-found"), "k8s01", node((2, "eth0", "10.2.7.201"), (9, name, "192.188.1.1"))) == "10.2.7.201"


@pytest.mark.parametrize("name", ["br0", "eth0.7", "bond0", "mydocker0", "wg0"])
def test_interfaces_that_it_takes(name):
    assert autodetect(cluster("first-found"), "k8s01", node((2, "eth0", "10.2.7.201"), (9, name, "192.188.1.1"))) == "192.188.1.1"


def test_addresses_that_are_none_of_a_node():
    found = node((2, "a", "169.254.7.7"), (3, "b", "fd00::1"), (4, "c", "127.0.0.5"), (5, "d", "10.0.0.1"), (5, "d", "10.0.0.2"))
    assert candidates(found) == [("d", "10.0.0.1"), ("d", "10.0.0.2")]


def test_can_reach_is_what_the_kernel_says():
    answer = {"dst": "10.2.7.202", "route": {"dev": "eth0", "prefsrc": "10.2.7.201"}}
    asked = node(*HELD, lookups=[answer])
    assert autodetect(cluster("can-reach=10.2.7.202"), "k8s01", asked) == "10.2.7.201"
    assert autodetect(cluster("can-reach=10.2.7.202"), "k8s01", asked, without="10.2.7.201") is None
    with pytest.raises(NotCollected, match=r"was not asked which address it would use towards 8\.8\.8\.8"):
        autodetect(cluster("can-reach=8.8.8.8"), "k8s01", asked)


@pytest.mark.parametrize("method", ["cidr=junk", "interface=(", "skip-interface=("])
def test_a_method_that_is_none(method):
    with pytest.raises(NotCollected, match="cannot be understood"):
        autodetect(cluster(method), "k8s01", node(*HELD))


@pytest.mark.parametrize("section", ["links", "addresses"])
def test_without_its_data_nothing_is_chosen(section):
    with pytest.raises(NotCollected, match="Permission denied"):
        autodetect(cluster("first-found"), "k8s01", node(*HELD, **{section: {"error": "Permission denied"}}))
