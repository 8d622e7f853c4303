# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small, small_flannel


@pytest.mark.parametrize(("cluster", "node", "address"), [(small, "k8s02", "10.253.2.7"), (small_flannel, "fl-2", "10.244.1.2")])
def test_two_pods_with_one_address(cluster, node, address):
    def twin(document):
        document["pods"].append(small.pod("shop/twin-0", node, address))
        document["pods"][-1]["metadata"]["creationTimestamp"] = "2026-11-21T10:00:00Z"

    diagnosis = cluster.diagnose(cluster=twin)
    cause = next(c for c in diagnosis.causes if c.id == "duplicate_pod_ip")
    assert (cause.fault, cause.node, sorted(cause.objects)) == ("F61", node, ["shop/api-0", "shop/twin-0"])
    assert "shop/twin-0 is the newest of them." in cause.why
    assert diagnosis.affects_path(cause) and diagnosis.outcome == "broken"


@pytest.mark.parametrize(
    ("given", "made_again"), [("shop/api-0", ["shop/twin-0"]), ("shop/twin-0", ["shop/api-0"]), ("shop/gone", []), (None, [])]
)
def test_the_pod_that_ipam_has_not_given_the_address_to_is_made_again(given, made_again):
    def twin(document):
        document["pods"].append(small.pod("shop/twin-0", "k8s01", "10.253.2.7"))
        (spec,) = (block["spec"] for block in document["ipamblocks"] if block["spec"]["cidr"] == "10.253.2.0/26")
        names = dict(zip(("namespace", "pod"), (given or "shop/x").split("/"), strict=True), node="k8s02")
        spec.update(allocations=[*[None] * 7, 0 if given else None], attributes=[{"handle_id": "k8s-pod-network.x", "secondary": names}])

    (cause,) = (c for c in small.diagnose(cluster=twin).causes if c.id == "duplicate_pod_ip")
    assert [remedy.parameters.get("pod") for remedy in cause.remedies if remedy.id == "recreate_pod"] == made_again
    assert all(remedy.risk == "R2" for remedy in cause.remedies) is bool(made_again)
    assert cause.node == {"shop/twin-0": "k8s01", "shop/api-0": "k8s02"}.get("".join(made_again), cause.node)


@pytest.mark.parametrize("change", [{"spec": {"hostNetwork": True}}, {"status": {"phase": "Succeeded"}}, {"metadata": {"deletionTimestamp": "now"}}])
def test_pods_that_do_not_hold_the_address(change):
    def other(document):
        document["pods"].append(small.pod("shop/twin-0", "k8s02", "10.253.2.7"))
        for part, values in change.items():
            document["pods"][-1][part].update(values)

    assert small.diagnose(cluster=other).findings == []
