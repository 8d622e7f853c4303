# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small

BLOCK = small.BLOCKS["k8s02"]


def affinities(*entries):
    return lambda document: document.update(blockaffinities=[{"metadata": {}, "spec": {"cidr": c, "node": n, "state": s}} for c, n, s in entries])


RIGHT = [(cidr, node, "confirmed") for node, cidr in small.BLOCKS.items()]


@pytest.mark.parametrize(
    ("entries", "cause", "fault", "check", "node"),
    [
        ([*RIGHT, (BLOCK, "k8s01", "confirmed")], "blackhole_wrong_block", "F28", "ipam.affinity.contradicts", "k8s01"),
        ([*RIGHT, ("10.253.9.0/26", "k8s01", "confirmed")], "affinity_without_block", "F29", "ipam.affinity.dangling", "k8s01"),
        ([RIGHT[0], (BLOCK, "k8s02", "pending")], "remote_block_route_missing_not_learned", "F23", "ipam.affinity.missing", "k8s02"),
    ],
)
def test_who_owns_a_block(entries, cause, fault, check, node):
    (found,) = [c for c in small.diagnose(cluster=affinities(*entries)).causes if c.roots[0].fact.kind == "ipam.affinity"]
    assert (found.id, found.fault, found.node, found.roots[0].check) == (cause, fault, node, check)


def test_a_pending_affinity_beside_the_right_one_is_normal():
    assert small.diagnose(cluster=affinities(*RIGHT, (BLOCK, "k8s01", "pending"))).findings == []


def test_blocks_that_were_read_for_one_question_prove_no_absence():
    def narrowed(document):
        affinities(*RIGHT, ("10.253.9.0/26", "k8s01", "confirmed"))(document)
        document["narrowed"] = ["ipamblocks"]

    assert small.verdict(small.diagnose(cluster=narrowed), "ipam.affinity", "k8s01", "10.253.9.0/26").outcome == "not_checked"


@pytest.mark.parametrize(("address", "disabled", "is_named"), [("10.253.9.9", False, True), ("10.253.9.9", True, False), ("10.96.0.7", False, False)])
def test_a_service_inside_of_a_pool(address, disabled, is_named):
    def change(cluster):
        cluster["services"] = [{"metadata": {"namespace": "shop", "name": "api"}, "spec": {"clusterIP": address, "ports": []}}]
        cluster["ippools"].append({"metadata": {"name": "wide"}, "spec": {"cidr": "10.253.0.0/16", "disabled": disabled, "ipipMode": "Always"}})
        cluster["ippools"][0]["spec"]["cidr"] = "10.253.0.0/21"

    assert small.named(small.diagnose(cluster=change)) == ["pool_overlaps_services"] * is_named


def test_without_services_nothing_is_said():
    assert small.verdict(small.diagnose(), "pool.services", "").outcome == "not_applicable"


@pytest.mark.parametrize(
    ("given_to", "pod", "remedy"),
    [
        (["k8s02", "k8s03"], "10.253.1.5", "delete_block_affinity"),
        (["k8s02", "k8s01"], "10.253.1.5", "advise_delete_affinity"),
        ([None], "10.253.1.5", "advise_delete_affinity"),
        ([], "10.253.2.9", "advise_delete_affinity"),
    ],
)
def test_a_claim_is_deleted_where_nothing_of_it_is_used(given_to, pod, remedy):
    def change(document):
        affinities(*RIGHT, (BLOCK, "k8s01", "confirmed"))(document)
        for number, entry in enumerate(document["blockaffinities"]):
            entry["metadata"]["name"] = f"affinity-{number}"
        spec = next(raw["spec"] for raw in document["ipamblocks"] if raw["spec"]["cidr"] == BLOCK)
        spec.update(attributes=[{"secondary": {"node": node} if node else {}} for node in given_to], allocations=[None, *range(len(given_to))])
        document["pods"][0]["status"]["podIPs"] = [{"ip": pod}]
        document["calico_api"] = "crd.projectcalico.org/v1"

    (found,) = [cause for cause in small.diagnose(cluster=change).causes if cause.id == "blackhole_wrong_block"]
    assert [each.id for each in found.remedies] == [remedy]
    if remedy == "delete_block_affinity":
        assert found.remedies[0].parameters == {"api": "crd.projectcalico.org/v1", "name": "affinity-2", "node": "k8s01", "cidr": BLOCK, "owner": "k8s02"}
        assert found.remedies[0].preconditions == (f"{BLOCK} is a block of k8s02, and no address of it is k8s01's",)
