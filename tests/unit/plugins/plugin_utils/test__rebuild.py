# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Kubernetes API is silent: what the nodes alone tell of the cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _rebuild
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import AUDIT, BadQuestion, resolve
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text
from ansible_collections.podnet.doctor.tests.unit import recorded, small
from ansible_collections.podnet.doctor.tests.unit.plugins import support

SILENT = {"error": "the API at https://10.0.0.1:6443 does not answer: Connection refused"}
EMPTY = {"schema": "podnet.doctor/cluster/1", "reachable": False, "server": "https://10.0.0.1:6443", "narrowed": [], **SILENT,
         **dict.fromkeys((*_rebuild.SECTIONS, "events", "deployments", "felixconfigurations", "clusterinformations", "configmaps"), SILENT)}  # fmt: skip


def nodes(**changes):
    found = small.documents(**changes)
    for name, facts in recorded.with_cni_results(found).nodes.items():
        facts.document["bird"]["ipv4"]["status"]["router_id"] = small.ADDRESSES[name]
        facts.document["bird"]["ipv4"]["protocols"][0]["name"] = "Mesh_x"
    return found.nodes


def rebuilt(**changes):
    found = nodes(**changes)
    return Documents(Cluster(_rebuild.rebuilt(EMPTY, found, {})), found)


def test_what_a_node_tells_of_itself():
    cluster = rebuilt().cluster
    assert set(cluster.document["rebuilt"]["sections"]) == set(_rebuild.SECTIONS)
    assert {name: (node.calico_address(), node.internal_ip) for name, node in cluster.nodes.items()} == {n: (a, a) for n, a in small.ADDRESSES.items()}
    assert {pod.key: (pod.node, pod.address) for pod in cluster.workloads} == small.PODS
    assert {str(block.cidr): block.node for block in cluster.blocks} == {cidr: node for node, cidr in small.BLOCKS.items()}
    assert {pool.ipip for pool in cluster.pools} == {"Always"} and cluster.mesh and cluster.backend == "bird"


def test_the_inventory_knows_which_address_is_the_node_s_own():
    def two(document):
        document["addresses"].append({"ifname": "eth1", "family": "inet", "local": "192.0.2.9", "prefixlen": 24})

    found = nodes(k8s01=two)
    at = {"k8s01": "192.0.2.9", "k8s02": "198.51.100.7"}  # the second is no address of the node: a jump host's, say
    cluster = Cluster(_rebuild.rebuilt(EMPTY, found, at))
    assert [cluster.nodes[name].internal_ip for name in ("k8s01", "k8s02")] == ["192.0.2.9", small.ADDRESSES["k8s02"]]


def test_a_pod_whose_sandbox_is_gone_is_none():
    def gone(document):
        document["sandboxes"] = []

    found = nodes()
    gone(found["k8s02"].document)
    known = Cluster(_rebuild.rebuilt(EMPTY, found, {}))
    assert set(known.pods) == {"shop/web-0"}
    with pytest.raises(BadQuestion):
        resolve(known, "shop/web-0", "shop/api-0", None, None)


def test_what_the_api_did_tell_stays():
    known = small.cluster_document()
    document = _rebuild.rebuilt({**known, "pods": SILENT}, nodes(), {})
    assert document["rebuilt"]["sections"] == ["pods"] and document["nodes"] is known["nodes"]
    assert _rebuild.needed({**known, "pods": SILENT}) == SILENT["error"]
    assert _rebuild.needed(known) is None


def test_a_pair_given_as_addresses_is_diagnosed_but_nothing_is_certain():
    found = rebuilt(k8s02=lambda document: document["sysctls"].update({"net/ipv4/ip_forward": "0"}))
    addresses = [address for _node, address in small.PODS.values()]
    diagnosis = Diagnosis(resolve(found.cluster, *addresses, "tcp", 8080), found)
    assert small.named(diagnosis) == ["proxy_arp_or_forwarding_cleared"]
    report = diagnosis.report()
    support.valid("report", report)
    (remedy,) = report["verdict"]["causes"][0]["remedies"]  # the kernel alone shows it
    assert remedy["class"] == "R1" and remedy["preconditions"][-1].startswith("the Kubernetes API is silent")
    assert report["verdict"]["causes"][0]["confidence"] != "certain"
    assert report["api"]["error"] == SILENT["error"]
    assert "is silent" in " ".join(_text.screen(report)) and "kube-apiserver" in " ".join(_text.screen(report))


def test_only_packets_make_it_healthy():
    found = rebuilt()
    question = resolve(found.cluster, "shop/web-0", "shop/api-0", "tcp", 8080)
    assert Diagnosis(question, found).outcome == "unknown"
    seen = Evidence({"probes": [small.probe("forward", True), small.probe("reverse", True)]})
    assert Diagnosis(question, Documents(found.cluster, found.nodes, seen)).outcome == "healthy"
    assert Diagnosis(AUDIT, found).outcome == "unknown"


def test_a_silent_bird_s_address_is_what_all_others_peer_with():
    found = nodes()
    found["k8s02"].document["bird"] = {"ipv4": {"error": "refused"}}
    found["k8s01"].document["bird"]["ipv4"]["protocols"][0]["bgp"]["neighbor_address"] = "192.188.1.1"
    assert Cluster(_rebuild.rebuilt(EMPTY, found, {})).nodes["k8s02"].calico_address() == "192.188.1.1"


def test_nothing_is_made_of_nodes_that_were_not_seen():
    found = {name: NodeFacts(name, None, "is unreachable") for name in small.ADDRESSES}
    document = _rebuild.rebuilt(EMPTY, found, {})
    assert document["rebuilt"]["sections"] == []
    diagnosis = Diagnosis(AUDIT, Documents(Cluster(document), found))
    assert diagnosis.outcome == "unknown" and {entry["node"] for entry in diagnosis.not_checked()} >= set(small.ADDRESSES)
    assert _text.screen(diagnosis.report())[0].startswith("whole cluster, 2 nodes, 0 seen")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8)  # fmt: skip


READ = ["links", "addresses", "routes", "neighbours", "fdb", "bird", "calico", "cni", "flannel", "sandboxes"]


@given(st.dictionaries(st.sampled_from(READ), JSON, max_size=6))
def test_property_no_document_of_a_node_stops_it(sections):
    found = {"one": NodeFacts("one", {"schema": "podnet.doctor/node/1", **sections}), **nodes()}
    _rebuild.rebuilt(EMPTY, found, {})


@pytest.mark.parametrize("name", recorded.names() or ["absent"])
def test_recorded_clusters_without_their_api(name):
    """The named causes stay, or become fewer; none is another one, and no cluster is healthy."""
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    before, after = Diagnosis(AUDIT, recorded.documents(name)), Diagnosis(AUDIT, recorded.without_api(name))
    known = {(cause.id, cause.node) for cause in before.causes}
    assert {(cause.id, cause.node or next((node for one, node in known if one == cause.id), "")) for cause in after.causes} <= known
    assert after.outcome == ("broken" if after.findings else "unknown")
    assert before.findings or not after.findings
    assert "certain" not in {after.confidence(cause) for cause in after.causes}
