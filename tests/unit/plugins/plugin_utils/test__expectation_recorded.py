# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what the API of a real cluster says, its nodes' routes, peers and interfaces are predicted: nothing missing, nothing left over."""

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._catalogue import catalogue
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import parse_network
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import Scope
from ansible_collections.podnet.doctor.plugins.plugin_utils._routes import hops
from ansible_collections.podnet.doctor.tests.unit import recorded

# the modes that this version covers; the others are told apart and stay silent (test__diagnosis_recorded.py)
COVERED = [
    "bgp-borrowed-healthy", "bgp-noencap-healthy", "dns-healthy", "ipip-healthy", "legacy-iptables-healthy", "nftables-dataplane-healthy", "typha-healthy",
    "v328-bgp-legacy-healthy", "v328-ipip-healthy", "v333-ipip-healthy",
]  # fmt: skip


@pytest.fixture(params=COVERED)
def real(request):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    documents = recorded.documents(request.param)
    question = recorded.question(request.param, documents.cluster)
    facts = catalogue().expect(documents.cluster, Scope(question, tuple(documents.nodes)))[0]
    return documents, facts


def expected(facts, kind, node):
    return [fact for fact in facts if fact.kind == kind and fact.node == node]


def test_block_routes(real):
    documents, facts = real
    pools = [pool.cidr for pool in documents.cluster.pools]
    for name, node in documents.nodes.items():
        uplink = node.link_holding(documents.cluster.nodes[name].calico_address())
        predicted = {(f.object, f.value["gateway"], f.value["dev"] or uplink) for f in expected(facts, "route.block", name)}
        found = set()
        for route in node.routes:
            prefix = parse_network(route["dst"])
            gateway, device = hops(route)[0]
            if route["table"] == 254 and gateway and prefix.version == 4 and any(prefix.subnet_of(pool) for pool in pools if pool.version == 4):
                found.add((route["dst"], gateway, device))
        assert predicted == found
        assert predicted


def test_own_blocks_and_local_routes(real):
    documents, facts = real
    for name, node in documents.nodes.items():
        holes = {r["dst"] for r in node.routes if r["type"] == "blackhole" and r["table"] == 254 and r["family"] == "inet"}
        assert {f.object for f in expected(facts, "route.blackhole", name)} == holes
        local = {(r["dst"], r.get("dev")) for r in node.routes if str(r.get("dev", "")).startswith("cali") and r["table"] == 254 and r["family"] == "inet"}
        assert {(f.value["dst"], f.value["dev"]) for f in expected(facts, "route.local", name)} == local


def test_interfaces(real):
    documents, facts = real
    for name, node in documents.nodes.items():
        found = {ifname for ifname in node.links if ifname.startswith("cali")}
        assert {f.value["ifname"] for f in expected(facts, "veth", name)} == found


def test_peers(real):
    documents, facts = real
    for name, node in documents.nodes.items():
        found = {p["bgp"]["neighbor_address"] for p in node.bgp_protocols()}
        assert {f.value["address"] for f in expected(facts, "bgp.session", name)} == found
