# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._remedies import felix_first, recreate_pod, restart_calico_node, restart_time, restart_typha
from ansible_collections.podnet.doctor.tests.unit import small


def remedies(node="k8s02", **changes):
    return restart_calico_node(small.documents(**changes), node, "it is well")


def test_a_restart_that_keeps_the_address():
    (found,) = remedies()
    assert (found.id, found.risk, found.node, found.verify) == ("restart_calico_node", "R2", "k8s02", "it is well")
    assert found.parameters == {"component": "calico-node", "intended": "10.2.7.202"}
    assert "first-found keeps 10.2.7.202" in found.preconditions[0]


CAPS = "refresh enhanced-refresh restart-able llgr-aware AS4"


def sessions(*peers, bgppeers=()):
    """The radius of a restart of k8s02, with sessions: (address, state, what the neighbour can)."""

    def change(document):
        rows = [{"state": state, "neighbor_address": address, **({"neighbor_caps": caps} if caps else {})} for address, state, caps in peers]
        (mesh,) = document["bird"]["ipv4"]["protocols"]
        document["bird"]["ipv4"]["protocols"] = [{**mesh, "name": f"Mesh_{number}", "bgp": row} for number, row in enumerate(rows)]

    def times(document):
        document["bgppeers"] = [{"metadata": {"name": "x"}, "spec": {"maxRestartTime": text}} for text in bgppeers]

    (found,) = restart_calico_node(small.documents(k8s02=change, cluster=times), "k8s02", "it is well")
    return found.blast_radius.removesuffix("; new pods on k8s02 wait some seconds")


UP = ("10.2.7.201", "Established", CAPS)


@pytest.mark.parametrize(
    ("peers", "says"),
    [
        ([UP], "1 BGP session of k8s02 drops; its peers keep its routes meanwhile, for up to 120 s (graceful restart)"),
        (
            [UP, ("10.2.7.9", "Established", "refresh AS4")],
            "2 BGP sessions of k8s02 drop; 10.2.7.9 forget its routes meanwhile, the other peers keep them for up to 120 s (graceful restart)",
        ),
        ([("10.2.7.9", "Established", "refresh AS4")], "1 BGP session of k8s02 drops; 10.2.7.9 forget its routes meanwhile"),
        ([("10.2.7.9", "Established", None)], "1 BGP session of k8s02 drops; whether all peers keep its routes meanwhile is not known"),
        ([("10.2.7.9", "Active", None)], "k8s02 has no BGP session that could drop"),
        (
            [UP, ("10.2.7.9", "Active", None)],
            "1 BGP session of k8s02 drops; its peers keep its routes meanwhile, for up to 120 s (graceful restart); BIRD takes and tells no new routes until"
            " 10.2.7.9 answers, for up to 240 s",
        ),
    ],
)
def test_what_becomes_of_the_sessions_meanwhile(peers, says):
    assert sessions(*peers) == says


@pytest.mark.parametrize(("texts", "seconds"), [(("60s",), 60), (("1m30s", "10m"), 90), (("soon", ""), 120), (("1h",), 120)])
def test_peers_keep_the_routes_as_long_as_they_are_told(texts, seconds):
    assert f"for up to {seconds} s" in sessions(UP, bgppeers=texts)


@given(st.text() | st.from_regex(r"[0-9]{1,3}[hms]([0-9]{1,2}[ms])?"))
def test_property_a_restart_time_is_never_longer_than_bird_s_own(text):
    document = {**small.cluster_document(), "bgppeers": [{"metadata": {"name": "x"}, "spec": {"maxRestartTime": text}}]}
    assert 0 <= restart_time(Cluster(document)) <= 120


def test_without_an_answer_of_bird_nothing_is_claimed():
    (found,) = restart_calico_node(small.documents(k8s02=lambda d: d.update(bird={"error": "no answer"})), "k8s02", "it is well")
    assert "whether its peers keep its routes meanwhile is not known" in found.blast_radius


def test_a_restart_that_would_come_back_wrong_is_refused():
    def stray(document):
        document["links"].append(small.link(20, "br0"))
        document["addresses"].append({"ifname": "br0", "family": "inet", "local": "192.188.1.1", "prefixlen": 24})

    (found,) = remedies(k8s02=stray)
    assert (found.id, found.risk) == ("advise_no_restart", "R0")
    assert "would choose 192.188.1.1, not 10.2.7.202" in found.action
    (found,) = remedies(k8s02=lambda document: document.update(addresses=[]))
    assert "would choose no address" in found.action


def test_what_cannot_be_simulated_is_advice():
    (found,) = remedies(k8s02=lambda document: document.update(addresses={"error": "Permission denied"}))
    assert (found.id, found.risk) == ("advise_restart", "R0")
    assert "Permission denied" in found.action


def test_without_autodetection_the_address_stays():
    def fixed(document):
        document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "IP", "value": "10.2.7.202"}]

    (found,) = remedies(cluster=fixed, k8s02=lambda document: document.update(addresses={"error": "no"}))
    assert found.id == "restart_calico_node"


def test_a_node_that_the_api_does_not_know():
    assert [found.risk for found in remedies(node="k8s99")] == ["R0"]


def test_the_only_route_reflector_is_not_restarted():
    def reflector(document):
        document["nodes"][1]["metadata"]["annotations"]["projectcalico.org/RouteReflectorClusterID"] = "244.0.0.1"

    (found,) = remedies(cluster=reflector)
    assert found.risk == "R0" and "it is the only route reflector" in found.action
    (found,) = remedies("k8s01", cluster=reflector)
    assert found.id == "restart_calico_node"


def recreate(kind, pod="shop/web-0"):
    def owned(document):
        document["pods"][0]["metadata"]["ownerReferences"] = [{"kind": kind, "controller": True}] if kind else []

    (found,) = recreate_pod(small.documents(cluster=owned), pod, "k8s01")
    return found


def test_a_pod_is_made_again_by_whoever_owns_it():
    found = recreate("StatefulSet")
    assert (found.id, found.risk, found.parameters["pod"]) == ("recreate_pod", "R2", "shop/web-0")
    assert found.blast_radius == "pod shop/web-0 restarts, and may come up on another node"
    assert recreate("ReplicaSet").blast_radius.endswith("may come up on another node; its successor gets another name")
    assert recreate("DaemonSet").blast_radius == "pod shop/web-0 restarts; its successor gets another name"
    assert "no controller does it by itself" in recreate(None).action
    assert recreate("StatefulSet", "shop/gone-0").risk == "R0"


def with_typha(**ready):
    """Pods of Typha, and whether each is ready; without a word of it where that is None."""

    def change(document):
        for name, state in ready.items():
            pod = small.pod(f"kube-system/{name}", "k8s01", None)
            pod["metadata"]["labels"] = {"k8s-app": "calico-typha"}
            if state is not None:
                pod["status"]["conditions"] = [{"type": "Ready", "status": str(state)}]
            document["pods"].append(pod)

    return small.documents(cluster=change)


def test_typha_is_restarted_pod_by_pod_or_only_what_is_not_ready():
    (found,) = restart_typha(with_typha(a=True, b=False), "it is well")
    assert (found.risk, found.object, found.node, found.wait_seconds) == ("R2", "Typha: kube-system/a, kube-system/b", "", 180)
    (sick,) = restart_typha(with_typha(a=True, b=False, c=None), "it is well", only_not_ready=True)
    assert (sick.object, sick.parameters["only_not_ready"]) == ("Typha: kube-system/b", True)
    assert restart_typha(with_typha(a=True), "it is well", only_not_ready=True) == [] == restart_typha(with_typha(), "it is well")


def test_what_felix_does_by_itself_comes_first():
    wait, restart = felix_first("k8s02", "it is well", remedies())
    assert (wait.id, wait.risk, wait.wait_seconds) == ("wait", "R0", 100)
    assert restart.only_if == "Felix on k8s02 has not put it right within 100 s, so it hangs"
    (wait, advice) = felix_first("k8s99", "it is well", remedies("k8s99"))
    assert advice.risk == "R0" and not advice.only_if
