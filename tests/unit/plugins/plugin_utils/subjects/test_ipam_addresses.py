# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._graph import NotApplicable
from ansible_collections.podnet.doctor.plugins.plugin_utils.subjects import ipam_addresses
from ansible_collections.podnet.doctor.tests.unit import recorded, small


def given(**taken):
    """Blocks whose addresses belong to pods: node -> {place: namespace/name}."""

    def change(document):
        for block in document["ipamblocks"]:
            spec = block["spec"]
            mine = taken.get(spec["affinity"][5:], {})
            names = [dict(zip(("namespace", "pod"), pod.split("/"), strict=True), node=spec["affinity"][5:]) for pod in mine.values()]
            numbers = {place: number for number, place in enumerate(mine)}
            spec["allocations"] = [numbers.get(place) for place in range(64)]
            spec["attributes"] = [{"handle_id": "k8s-pod-network.x", "secondary": one} for one in names]

    return change


RIGHT = {"k8s01": {5: "shop/web-0"}, "k8s02": {7: "shop/api-0"}}


def test_what_pods_have_is_given_out_and_nothing_else():
    diagnosis = small.diagnose(cluster=given(**RIGHT))
    assert diagnosis.findings == []
    assert small.verdict(diagnosis, "ipam.address", "k8s02", "shop/api-0 10.253.2.7").outcome == "ok"
    assert small.verdict(diagnosis, "ipam.leak", "k8s01").outcome == "ok"


@pytest.mark.parametrize(
    ("taken", "cause", "fault", "objects", "said"),
    [
        ({**RIGHT, "k8s02": {}}, "used_not_allocated", "F62", ["shop/api-0"], "block 10.253.2.0/26 of k8s02 has it free"),
        ({**RIGHT, "k8s01": {5: "shop/web-0", 9: "shop/gone"}}, "leaked_ips", "F63", ["10.253.1.9"], "IPAM has given 10.253.1.9 to shop/gone"),
        ({**RIGHT, "k8s01": {5: "shop/web-0", 9: "shop/web-0"}}, "leaked_ips", "F63", ["10.253.1.9"], "IPAM has given 10.253.1.9 to shop/web-0"),
    ],
)
def test_the_books_and_the_pods_differ(taken, cause, fault, objects, said):
    diagnosis = small.diagnose(cluster=given(**taken))
    (found,) = diagnosis.causes
    assert (found.id, found.fault, list(found.objects)) == (cause, fault, objects)
    assert said in found.roots[0].evidence
    assert diagnosis.severity(found) == "latent"


def test_a_pod_whose_address_is_not_given_out_is_made_again():
    (cause,) = small.diagnose(cluster=given(**{**RIGHT, "k8s02": {}})).causes
    assert [(remedy.id, remedy.parameters["pod"]) for remedy in cause.remedies] == [("recreate_pod", "shop/api-0")]


def test_the_room_that_is_left_is_told():
    (found,) = small.diagnose(cluster=given(**{**RIGHT, "k8s01": {5: "shop/web-0", 9: "shop/gone"}})).causes
    assert found.why == ["No pod suffers yet: 62 of 64 addresses of 10.253.1.0/26 are free."]


def test_a_pod_of_a_pool_that_is_gone():
    def change(document):
        given(**RIGHT)(document)
        document["ippools"][0]["spec"]["cidr"] = "10.253.1.0/24"

    found = {cause.id: cause for cause in small.diagnose(cluster=change).causes}["pool_outside_cluster_cidr"]
    assert (found.fault, found.node, list(found.objects)) == ("F68", "k8s02", ["shop/api-0"])
    assert [remedy.id for remedy in found.remedies] == ["advise_pool"], "which API serves the pools is not known"


@pytest.mark.parametrize(
    ("pools", "blocks", "remedy"),
    [
        ([{"cidr": "10.253.1.0/24", "ipipMode": "Always", "natOutgoing": True}], None, "create_pool"),
        ([{"cidr": "10.253.1.0/24", "ipipMode": "Always"}, {"cidr": "10.9.0.0/16"}], None, "advise_pool"),
        ([{"cidr": "10.253.1.0/24", "ipipMode": "Always"}, {"cidr": "10.253.2.32/27", "ipipMode": "Always"}], None, "advise_pool"),
        ([{"cidr": "10.253.1.0/24", "ipipMode": "Always"}], [], "advise_pool"),
    ],
)
def test_a_pool_is_made_again_where_nothing_about_it_is_in_doubt(pools, blocks, remedy):
    def change(document):
        given(**RIGHT)(document)
        document.update(ippools=[{"metadata": {"name": f"pool-{i}"}, "spec": spec} for i, spec in enumerate(pools)], calico_api="crd.projectcalico.org/v1")
        if blocks is not None:
            document["ipamblocks"] = [raw for raw in document["ipamblocks"] if raw["spec"]["cidr"] != "10.253.2.0/26"]

    found = {cause.id: cause for cause in small.diagnose(cluster=change).causes}["pool_outside_cluster_cidr"]
    assert [each.id for each in found.remedies] == [remedy]
    if remedy == "create_pool":
        made = {"api": "crd.projectcalico.org/v1", "cidr": "10.253.2.0/26", "ipip": "Always", "vxlan": "Never", "nat": True}
        assert found.remedies[0].parameters == made and found.remedies[0].risk == "R3"


def test_addresses_that_another_ipam_gives_out_are_not_compared():
    diagnosis = small.diagnose(cluster=lambda document: document.update(ippools=[{"metadata": {}, "spec": {"cidr": "192.168.0.0/16"}}]))
    assert small.verdict(diagnosis, "ipam.address", "k8s02", "shop/api-0 10.253.2.7").outcome == "not_applicable"


def test_a_block_that_does_not_say_what_it_gave_out_proves_nothing():
    assert small.verdict(small.diagnose(), "ipam.address", "k8s02", "shop/api-0 10.253.2.7").outcome == "not_applicable"


@pytest.mark.parametrize("section", ["pods", "ipamblocks"])
def test_what_was_read_for_one_question_proves_no_leak(section):
    def change(document):
        given(**{**RIGHT, "k8s01": {5: "shop/web-0", 9: "shop/gone"}})(document)
        document["narrowed"] = [section]

    assert "leaked_ips" not in [cause.id for cause in small.diagnose(cluster=change).causes]


@pytest.mark.parametrize("name", recorded.names())
def test_the_same_answers_as_calicoctl(name):
    """But for the addresses of tunnels, which are looked at with the tunnels (and of which calicoctl calls those of IPv6 leaked)."""
    path = recorded.unpacked(name) / "tools" / "calicoctl-ipam-check.txt"
    if not path.is_file():
        pytest.skip("calicoctl ipam check was not recorded")
    text = path.read_text(encoding="utf-8")
    cluster = Cluster(recorded.cluster(name))
    leaked = {one.address for one in ipam_addresses.allocations(cluster) if ipam_addresses._gone(cluster, one)}
    assert leaked == set(re.findall(r"^ +(\S+) leaked; attrs Main:k8s-pod-network", text, re.M))
    unallocated = {address for pod in cluster.workloads for address in pod.addresses if unknown(cluster, address)}
    assert unallocated == set(re.findall(r"^ +(\S+) in use by Workload\(.*has no IPAM allocation", text, re.M))


def unknown(cluster, address):
    try:
        return ipam_addresses.given_to(cluster, address) is False
    except NotApplicable:
        return False
