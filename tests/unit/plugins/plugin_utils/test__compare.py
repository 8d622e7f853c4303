# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the filters do not show: the ways that a section can arrive (test_compare.py of the filters has the rest)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _compare
from ansible_collections.podnet.doctor.tests.unit import small


@pytest.mark.parametrize("section", sorted(_compare.KEYS))
def test_a_list_a_document_and_a_result_are_the_same(section):
    document = small.node_document("k8s01")
    document["neighbours"] = [{"family": "inet", "dst": "10.2.7.254", "dev": "eth0", "state": ["REACHABLE"]}]
    plain = _compare.entries(document, section)
    assert plain
    assert _compare.entries({"node": document}, section) == plain
    assert section == "peers" or _compare.entries(document[section], section) == plain


def test_a_bird_that_said_nothing_is_no_empty_list():
    with pytest.raises(ValueError, match="peers were not read: Connection refused"):
        _compare.entries({"bird": {"ipv4": {"protocols": {"error": "Connection refused"}}}}, "peers")
    with pytest.raises(ValueError, match="peers"):
        _compare.entries({"bird": {"ipv4": {"error": "Connection refused"}}}, "peers")


def test_the_same_prefix_in_two_tables_is_two_routes():
    first = [small.route("10.0.0.0/8", "eth0"), small.route("10.0.0.0/8", "eth0", table=100)]
    assert _compare.compare(first, first[:1], "routes")["only_first"] == [first[1]]


def test_what_could_not_be_seen_is_not_called_different():
    node = small.node_document("k8s01")
    node["routes"] = {"error": "Permission denied"}
    found = _compare.differences(node, small.cluster_document(), "k8s01")
    lost = [entry for entry in found if entry["check"].startswith("route.block")]
    assert lost
    assert {entry["outcome"] for entry in lost} == {"not_checked"}
    assert all("Permission denied" in entry["evidence"] for entry in lost)


ENTRY = st.fixed_dictionaries({"dst": st.sampled_from(["a", "b", "c"]), "metric": st.integers(0, 1), "gateway": st.sampled_from(["x", "y"])})


@given(st.lists(ENTRY, max_size=6), st.lists(ENTRY, max_size=6))
def test_property_a_comparison_turned_round(first, second):
    there, back = _compare.compare(first, second, "routes"), _compare.compare(second, first, "routes")
    assert there["only_first"] == back["only_second"]
    assert there["only_second"] == back["only_first"]
    assert [(e["object"], e["first"], e["second"]) for e in there["different"]] == [(e["object"], e["second"], e["first"]) for e in back["different"]]
    assert _compare.compare(first, first, "routes") == {"only_first": [], "only_second": [], "different": []}
