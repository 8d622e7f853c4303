# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._allocations import Allocation, allocations, holder
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster

POD = {"namespace": "shop", "pod": "web-0", "node": "k8s01"}
TUNNEL = {"type": "ipipTunnelAddress", "node": "k8s01"}
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "10.0.0.0/30", "namespace", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["secondary", "namespace", "pod", "type", "node"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


def cluster(**spec):
    return Cluster({"schema": "podnet.doctor/cluster/1", "ipamblocks": [{"spec": {"cidr": "10.253.1.0/30", **spec}}]})


def test_pods_and_tunnels():
    found = cluster(allocations=[1, 0, None, 7], attributes=[{"secondary": POD}, {"secondary": TUNNEL}])
    tunnel = Allocation("10.253.1.0", "10.253.1.0/30", "k8s01", "", True)
    assert allocations(found) == [tunnel, Allocation("10.253.1.1", "10.253.1.0/30", "k8s01", "shop/web-0")]
    assert holder(found, "10.253.1.0") == tunnel
    assert holder(found, "10.253.1.2") is None, "it is free"


def test_a_block_that_is_going_tells_nothing():
    assert allocations(cluster(allocations=[0], attributes=[{"secondary": POD}], deleted=True)) == []


def test_nobody_is_named_where_the_books_cannot_be_read():
    assert holder(Cluster({"ipamblocks": {"error": "forbidden"}}), "10.253.1.1") is None


@given(ANY, ANY, ANY)
def test_property_whatever_stands_there_is_read(places, attributes, cidr):
    assert all(one.pod or one.tunnel for one in allocations(cluster(allocations=places, attributes=attributes, cidr=cidr)))


@given(st.lists(st.none() | st.integers(0, 1), max_size=4))
def test_property_each_place_is_its_address(places):
    found = allocations(cluster(allocations=places, attributes=[{"secondary": POD}, {"secondary": TUNNEL}]))
    assert [(one.address, one.tunnel) for one in found] == [(f"10.253.1.{place}", number == 1) for place, number in enumerate(places) if number is not None]
