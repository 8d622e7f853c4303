# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins.plugin_utils.subjects.test_packet_filters import MARK, felix, filters, iptables


def test_left_over_in_the_other_backend():
    live = felix("k8s02", "tw", MARK)
    for left in (iptables(policy="DROP", backend="legacy"), iptables('-A FORWARD -m comment --comment "Unknown interface" -j DROP', backend="legacy")):
        (cause,) = small.diagnose(k8s02=filters(live, left)).causes
        assert (cause.id, cause.fault) == ("iptables_backend_split", "F07")
    (cause,) = small.diagnose(k8s02=filters(iptables(policy="DROP", backend="legacy"))).causes
    assert cause.fault == "F08"  # there is no other


def kube_proxy(backend, policy="ACCEPT"):
    return iptables("-A FORWARD -j KUBE-FORWARD", "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP", backend=backend, policy=policy)


def served(**spec):
    def change(document):
        document.update(calico_api="crd.projectcalico.org/v1", felixconfigurations=[{"metadata": {"name": "default"}, "spec": spec}])

    return change


@pytest.mark.parametrize(
    ("change", "near", "far", "pinned"),
    [
        (served(), "nft", "nft", "NFT"), (served(iptablesBackend="Auto"), "nft", "nft", "NFT"), (served(iptablesBackend="NFT"), "nft", "nft", None),
        (served(), "nft", "legacy", None), (served(), None, None, None), (None, "nft", "nft", None), (small.lost("felixconfigurations"), "nft", "nft", None),
    ],
)  # fmt: skip
def test_felix_is_kept_to_the_backend_of_kube_proxy_where_the_nodes_agree(change, near, far, pinned):
    left = iptables('-A FORWARD -m comment --comment "Unknown interface" -j DROP', backend="legacy")
    first, second = ([kube_proxy(backend)] if backend else [] for backend in (near, far))
    more = {"cluster": change} if change else {}
    causes = small.diagnose(k8s01=filters(*first), k8s02=filters(felix("k8s02", "tw", MARK), *second, left), **more).causes
    (advice,) = next(cause for cause in causes if cause.id == "iptables_backend_split").remedies
    assert advice.risk == "R0" and ("iptablesBackend" in advice.action) is (pinned is not None)
    assert pinned is None or f'{{"spec":{{"iptablesBackend":"{pinned}"}}}}' in advice.action


# ---- Felix writes elsewhere


def in_legacy(node):
    return {**felix(node, "tw", MARK), "backend": "legacy"}


def node_of(name, near="nft"):
    """A node where kube-proxy writes into a backend in which FORWARD drops, and Felix into iptables-legacy."""
    return filters(in_legacy(name), *([kube_proxy(near, "DROP")] if near else []))


def named(cluster=None, **nodes):
    changes = {"k8s01": node_of("k8s01"), "k8s02": node_of("k8s02"), **nodes}
    diagnosis = small.diagnose(**changes, **({"cluster": cluster} if cluster else {}))
    (found,) = diagnosis.causes
    return diagnosis, found


def own(**spec):
    """The FelixConfiguration of the node where the packet ends, besides the default one."""

    def change(document):
        served(iptablesBackend="Auto")(document)
        document["felixconfigurations"].append({"metadata": {"name": "node.k8s01"}, "spec": spec})

    return change


def environment(**values):
    def change(document):
        served()(document)
        container = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [*container.get("env", []), *({"name": name, "value": value} for name, value in values.items())]

    return change


@pytest.mark.parametrize(
    ("change", "name", "was"),
    [(served(), "default", None), (served(iptablesBackend="Legacy"), "default", "Legacy"), (own(iptablesBackend="Legacy"), "node.k8s01", "Legacy"),
     (own(logSeverityScreen="Info"), "default", "Auto")],
)  # fmt: skip
def test_felix_is_told_to_write_where_kube_proxy_does(change, name, was):
    diagnosis, found = named(change)
    assert (found.id, found.fault, found.node, list(found.objects)) == ("iptables_backend_split", "F07", "k8s01", [f"FelixConfiguration {name}"])
    assert "writes into iptables-legacy, kube-proxy into iptables-nft" in found.summary and not diagnosis.unexplained
    assert [finding.fact.node for finding in found.also] == ["k8s01", "k8s02"]
    remedy, flush = found.remedies
    assert (remedy.id, remedy.risk, remedy.change) == ("set_felix_backend", "R3", (was or "", "NFT"))
    assert remedy.parameters == {"api": "crd.projectcalico.org/v1", "name": name, "value": "NFT", "was": was}
    assert f"Felix of {'k8s01' if name != 'default' else 'all 2 nodes'} starts anew" in remedy.blast_radius and "stays there" in remedy.blast_radius
    assert "kube-proxy writes into iptables-nft on k8s01, k8s02" in remedy.preconditions
    assert (flush.risk, "iptables-legacy" in flush.action) == ("R0", True)


@pytest.mark.parametrize(
    ("change", "nodes", "reason"),
    [
        (served(), {"k8s02": node_of("k8s02", None)}, "kube-proxy on k8s02 writes into no iptables"),
        (served(), {"k8s02": node_of("k8s02", "legacy")}, "kube-proxy on k8s02 writes into iptables-legacy"),
        (served(nftablesMode="Enabled"), {}, "nftablesMode"),
        (environment(FELIX_IPTABLESBACKEND="Legacy"), {}, "FELIX_IPTABLESBACKEND of calico-node's DaemonSet decides"),
        (small.lost("felixconfigurations"), {}, "no FelixConfiguration default was read"),
    ],
)
def test_only_advice_where_the_setting_may_be_wrong_or_does_not_decide(change, nodes, reason):
    _diagnosis, found = named(change, **nodes)
    (advice,) = found.remedies
    assert (found.fault, advice.risk) == ("F07", "R0") and reason in advice.action and '{"iptablesBackend": "NFT"}' in advice.action


def test_a_felix_that_has_not_heard_of_the_setting_is_restarted():
    _diagnosis, found = named(served(iptablesBackend="nft"))
    assert [remedy.id for remedy in found.remedies] == ["restart_calico_node"]


def test_kube_proxy_in_legacy():
    def change(name):
        return filters(felix(name, "tw", MARK), kube_proxy("legacy", "DROP"))

    _diagnosis, found = named(served(iptablesBackend="NFT"), k8s01=change("k8s01"), k8s02=change("k8s02"))
    assert found.remedies[0].change == ("NFT", "Legacy")


@pytest.mark.parametrize(
    ("saved", "outcome"),
    [
        ((in_legacy("k8s01"), kube_proxy("nft")), "ok"),
        ((in_legacy("k8s01"),), "not_applicable"),
        ((kube_proxy("nft", "DROP"),), "not_applicable"),
        ((felix("k8s01", "tw", MARK), in_legacy("k8s01"), kube_proxy("nft")), "ok"),
        ((in_legacy("k8s01"), kube_proxy("nft", "DROP")), "finding"),
    ],
)
def test_apart_is_only_what_ends_packets(saved, outcome):
    assert small.verdict(small.diagnose(k8s01=filters(*saved)), "felix.backend", "k8s01").outcome == outcome


def test_a_rule_before_felix_is_no_matter_of_the_backend():
    rules = iptables("-A FORWARD -p tcp -j DROP", "-A FORWARD -j KUBE-FORWARD", "-A KUBE-FORWARD -j RETURN", backend="nft")
    (found,) = small.diagnose(k8s01=filters(in_legacy("k8s01"), rules)).causes
    assert found.fault == "F08"
