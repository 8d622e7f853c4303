# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster, Node, Pod
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected
from ansible_collections.podnet.doctor.tests.unit import recorded, small


def cluster(change=None):
    document = small.cluster_document()
    if change:
        change(document)
    return Cluster(document)


def with_environment(*pairs):
    def change(document):
        container = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": name, "value": value} for name, value in pairs]

    return cluster(change)


# ------------------------------------------------------------------------- pods and nodes


def pod(**status):
    raw = small.pod("shop/p", "k8s01", None)
    raw["status"].update(status)
    return raw


def test_the_first_ipv4_address_of_a_pod():
    assert Pod.of(pod(podIPs=[{"ip": "fd00::5"}, {"ip": "10.253.1.5"}])).address == "10.253.1.5"
    assert Pod.of(pod(podIPs=[{"ip": "fd00::5"}])).address == "fd00::5"
    assert Pod.of(pod(podIP="10.253.1.5")).address == "10.253.1.5"
    assert Pod.of(pod(podIPs=[{"ip": "no address"}])).address is None


def test_calicos_annotation_is_earlier_than_the_kubelet():
    raw = pod()
    raw["metadata"]["annotations"] = {"cni.projectcalico.org/podIPs": "10.253.1.9/32,fd00::9/128"}
    assert Pod.of(raw).addresses == ("10.253.1.9", "fd00::9")


def test_pods_that_are_no_workloads():
    def change(document):
        document["pods"] += [
            small.pod("shop/host", "k8s01", "10.2.7.201", spec={"hostNetwork": True}),
            small.pod("shop/done", "k8s01", "10.253.1.8", status={"phase": "Succeeded"}),
            small.pod("shop/new", "k8s01", None),
            small.pod("shop/leaving", "k8s01", "10.253.1.10"),
        ]
        document["pods"][-1]["metadata"]["deletionTimestamp"] = "2026-11-21T09:30:42Z"

    known = cluster(change)
    assert [p.key for p in known.workloads] == list(small.PODS)
    assert [p.key for p in known.workloads_on("k8s01")] == ["shop/web-0"]
    assert known.workloads_on("k8s99") == []


def node(annotations=None, **status):
    return Node.of({"metadata": {"name": "n", "annotations": {f"projectcalico.org/{k}": v for k, v in (annotations or {}).items()}}, "status": status})


@pytest.mark.parametrize(("text", "address"), [("10.2.7.201/24", "10.2.7.201"), ("10.2.7.201", "10.2.7.201"), ("junk", None), ("", None), ("fd00::1/64", None)])
def test_the_announced_address(text, address):
    assert node({"IPv4Address": text}).calico_address() == address


def test_the_interfaces_that_calico_node_saw():
    found = node({"Interfaces": '[{"name": "br0", "addresses": ["192.188.1.1"]}, {"name": "eth0"}, 7]'})
    assert found.interface_of("192.188.1.1") == "br0"
    assert found.interface_of("10.0.0.1") is None
    assert node({"Interfaces": "[{"}).listed_interfaces == {}


def test_a_node_in_two_families():
    found = node(addresses=[{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "fd00::1"}, {"type": "InternalIP", "address": "10.0.0.1"}])
    assert (found.internal_ip, found.internal_ips) == ("10.0.0.1", ("fd00::1", "10.0.0.1"))
    assert node(conditions=[{"type": "Ready", "status": "Unknown"}]).ready is False
    assert node().ready is None


def test_a_node_that_the_api_does_not_know():
    with pytest.raises(NotCollected, match="knows no node k8s99"):
        cluster().node("k8s99")


# ------------------------------------------------------------------------- pools and blocks


def test_blocks_and_their_owners():
    def change(document):
        document["ipamblocks"] += [
            {"spec": {"cidr": "10.253.3.0/26", "affinity": "host:k8s02", "deleted": True}},
            {"spec": {"cidr": "10.253.4.0/26", "affinity": "virtual:load-balancer", "allocations": [0, None, 1]}},
            {"spec": {"cidr": "junk"}},
        ]

    known = cluster(change)
    assert [(str(b.cidr), b.node) for b in known.blocks] == [("10.253.1.0/26", "k8s01"), ("10.253.2.0/26", "k8s02"), ("10.253.4.0/26", None)]
    assert known.blocks[2].allocated == {"10.253.4.0", "10.253.4.2"}
    assert known.block_of("10.253.2.7").node == "k8s02"
    assert known.block_of("192.0.2.1") is known.block_of("junk") is None


def test_affinities_that_count():
    def change(document):
        document["blockaffinities"] = [
            {"spec": {"cidr": "10.253.1.0/26", "node": "k8s01", "state": "confirmed"}},
            {"spec": {"cidr": "10.253.2.0/26", "node": "k8s02", "state": "pending"}},
            {"spec": {"cidr": "10.253.3.0/26", "node": "k8s01", "state": "confirmed", "deleted": "true"}},
            {"spec": {"cidr": "10.253.4.0/26", "node": "lb", "state": "confirmed", "type": "virtual"}},
        ]

    assert cluster(change).confirmed_affinities == {("k8s01", "10.253.1.0/26")}


def test_the_pool_of_an_address_and_of_a_prefix():
    known = cluster()
    assert known.pool_of("10.253.1.5").name == "pool"
    assert known.pool_of(known.blocks[0].cidr).ipip == "Always"
    assert known.pool_of("10.254.0.1") is known.pool_of("fd00::1") is known.pool_of("x") is None


# ------------------------------------------------------------------------- settings


def test_settings_of_calico_node():
    known = with_environment(("IP_AUTODETECTION_METHOD", "interface=eth1"), ("AUTODETECT_POLL_INTERVAL", "10s"), ("FELIX_INTERFACEPREFIX", "eni,cali"))
    assert (known.autodetection, known.monitor_interval, known.interface_prefix, known.backend) == ("interface=eth1", 10.0, "eni", "bird")


def test_defaults():
    known = with_environment()
    assert (known.autodetection, known.monitor_interval, known.interface_prefix, known.mesh) == ("first-found", 60.0, "cali", True)
    assert with_environment(("IP", "10.0.0.1")).autodetection == ""
    assert with_environment(("AUTODETECT_POLL_INTERVAL", "soon")).monitor_interval == 60.0
    assert with_environment(("CALICO_NETWORKING_BACKEND", "vxlan")).backend == "vxlan"


def test_no_calico_is_not_the_same_as_not_told():
    assert cluster(lambda document: document.update(daemonsets=[])).backend == ""
    lost = cluster(lambda document: document.update(daemonsets={"error": "Forbidden"}))
    with pytest.raises(NotCollected, match="Forbidden"):
        lost.backend  # noqa: B018
    assert lost.interface_prefix == "cali"


def test_the_mesh_can_be_switched_off():
    configuration = {"metadata": {"name": "default"}, "spec": {"nodeToNodeMeshEnabled": False}}
    assert cluster(lambda document: document.update(bgpconfigurations=[configuration])).mesh is False
    other = {"metadata": {"name": "node.k8s01"}, "spec": {"nodeToNodeMeshEnabled": False}}
    assert cluster(lambda document: document.update(bgpconfigurations=[other])).mesh is True


def test_a_narrowed_section_is_not_whole():
    known = cluster(lambda document: document.update(narrowed=["pods"]))
    assert not known.is_whole("pods")
    assert known.is_whole("nodes")


def test_the_pods_of_dns():
    def change(document):
        document["pods"].append(small.pod("kube-system/coredns-1", "k8s02", "10.253.2.53"))
        document["pods"][-1]["metadata"]["labels"] = {"k8s-app": "kube-dns"}

    assert [p.key for p in cluster(change).dns_pods()] == ["kube-system/coredns-1"]


def test_the_version():
    assert cluster().calico_version is None
    assert cluster(lambda document: document.update(clusterinformations=[{"spec": {"calicoVersion": "v3.32.1"}}])).calico_version == "v3.32.1"


PLUGINS = {
    "flannel-vxlan-healthy": "flannel", "flannel-hostgw-healthy": "flannel", "canal-healthy": "canal", "bgp-noencap-healthy": "calico",
    "vxlan-healthy": "calico", "v333-ipip-healthy": "calico",
}  # fmt: skip


@pytest.mark.parametrize("name", PLUGINS)
def test_the_network_plugin_is_told_by_the_api(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    assert Cluster(recorded.cluster(name)).plugin == PLUGINS[name]


def test_annotations_that_flannel_left_behind_do_not_make_calico_flannel():
    document = small.cluster_document()
    document["nodes"][0]["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-type"] = "vxlan"
    assert Cluster(document).plugin == "calico"
    assert Cluster({**document, "daemonsets": []}).plugin == "flannel"  # k3s: no DaemonSet runs flannel there
    assert Cluster({"nodes": [], "daemonsets": []}).plugin == ""


def test_calico_sections_are_empty_where_the_api_serves_none():
    lost = {"ippools": {"error": "the API serves no Calico resources"}}
    assert Cluster({**lost, "calico_api": None}).pools == []
    with pytest.raises(NotCollected):
        Cluster({**lost, "calico_api": None, "reachable": False}).section("ippools")


PREFIXES = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 255), st.integers(24, 32)).map(lambda p: str(ipaddress.ip_network((0x0A000000 + p[0], p[1]), strict=False))),
        st.tuples(st.integers(0, 255), st.integers(120, 128)).map(lambda p: str(ipaddress.ip_network((0xFD << 120 | p[0], p[1]), strict=False))),
    ),
    max_size=12,
)


@given(prefixes=PREFIXES, last=st.integers(0, 255), version=st.sampled_from((4, 6)))
def test_property_the_block_of_an_address_is_the_first_that_holds_it(prefixes, last, version):
    cluster = Cluster({"schema": "podnet.doctor/cluster/1", "ipamblocks": [{"metadata": {}, "spec": {"cidr": prefix}} for prefix in prefixes]})
    address = ipaddress.ip_address(0x0A000000 + last) if version == 4 else ipaddress.ip_address(0xFD << 120 | last)
    found = cluster.block_of(str(address))
    assert (str(found.cidr) if found else None) == next((prefix for prefix in prefixes if address in ipaddress.ip_network(prefix)), None)
