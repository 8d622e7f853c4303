# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._dataplane import felix_setting
from ansible_collections.podnet.doctor.tests.unit import small


def felix(name="default", **spec):
    return lambda document: document["felixconfigurations"].append({"metadata": {"name": name}, "spec": spec})


def environment(**values):
    def change(document):
        container = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]
        container["env"] += [{"name": name, "value": value} for name, value in values.items()]

    return change


def windows(document):
    document["nodes"][1]["metadata"]["labels"] = {"kubernetes.io/os": "windows"}


def forwards_elsewhere(document):
    document["lookups"][2]["route"] = {"gateway": "10.2.7.254", "dev": "eth0"}


def no_block_route(document):
    del document["routes"][1]


SEEN = {"probes": [small.probe("forward", True), small.probe("reverse", True)]}
EBPF, WIREGUARD, WINDOWS = "eBPF dataplane (bpfEnabled)", "WireGuard (wireguardEnabled)", "Windows node"


@pytest.mark.parametrize(
    ("change", "nodes", "words"),
    [
        (felix(bpfEnabled=True), ("k8s01", "k8s02"), EBPF),
        (felix("node.k8s02", bpfEnabled=True), ("k8s02",), EBPF),
        (environment(FELIX_BPFENABLED="true"), ("k8s01", "k8s02"), EBPF),
        (felix(wireguardEnabled=True), ("k8s01", "k8s02"), WIREGUARD),
        (felix(wireguardEnabledV6=True), ("k8s01", "k8s02"), WIREGUARD),
        (windows, ("k8s02",), WINDOWS),
    ],
)
def test_it_is_told_and_never_called_healthy(change, nodes, words):
    diagnosis = small.diagnose(cluster=change)
    assert diagnosis.outcome == "unknown" and not diagnosis.findings
    for node in ("k8s01", "k8s02"):
        told = [entry for entry in diagnosis.not_checked() if entry["check"] == "dataplane.unmodelled" and entry["node"] == node]
        assert [words in entry["reason"] for entry in told] == ([True] if node in nodes else [])
        hops = [hop for hop in diagnosis.path.forward + diagnosis.path.reverse if hop.id == f"node:{node}"]
        assert hops and all("dataplane.unmodelled" in hop.checks for hop in hops)
        assert all(hop.outcome == "not_checked" for hop in hops) or node not in nodes
    assert words in diagnosis.summary


def test_what_it_decides_otherwise_is_not_judged():
    assert small.diagnose(k8s01=forwards_elsewhere).findings
    for change in (felix(bpfEnabled=True), felix(wireguardEnabled=True)):
        diagnosis = small.diagnose(cluster=change, k8s01=forwards_elsewhere)
        assert not diagnosis.findings and diagnosis.outcome == "unknown"
    assert small.diagnose(k8s01=no_block_route).outcome == "broken"
    diagnosis = small.diagnose(cluster=felix(wireguardEnabled=True), k8s01=no_block_route)
    assert not diagnosis.findings and diagnosis.outcome == "unknown"


def test_the_rest_is_still_judged():
    def down(document):
        document["links"][2]["flags"] = []

    diagnosis = small.diagnose(cluster=felix(bpfEnabled=True, wireguardEnabled=True), k8s01=down)
    assert small.named(diagnosis) == ["host_veth_missing"] and diagnosis.outcome == "broken"


def test_packets_that_were_seen_to_cross_are_believed():
    diagnosis = small.diagnose(SEEN, cluster=felix(bpfEnabled=True))
    assert diagnosis.outcome == "healthy" and any(EBPF in entry["reason"] for entry in diagnosis.not_checked())


def test_nothing_on_a_windows_node_is_judged():
    diagnosis = small.diagnose(cluster=windows, k8s02=no_block_route)
    assert not diagnosis.findings
    mine = [verdict for verdict in diagnosis.judged.values() if verdict.fact.node == "k8s02"]
    assert mine and not {"ok", "finding"} & {verdict.outcome for verdict in mine}


def test_settings():
    known = small.documents(cluster=small.together(felix(bpfEnabled=True), felix("node.k8s02", bpfEnabled=False))).cluster
    assert (felix_setting(known, "k8s01", "bpfEnabled"), felix_setting(known, "k8s02", "bpfEnabled")) == (True, False)
    known = small.documents(cluster=small.together(felix(bpfEnabled=True), environment(FELIX_BPFENABLED="false"))).cluster
    assert felix_setting(known, "k8s01", "bpfEnabled") == "false"
    diagnosis = small.diagnose(cluster=environment(FELIX_BPFENABLED="false"))
    assert not [entry for entry in diagnosis.not_checked() if entry["check"] == "dataplane.unmodelled"]


def test_a_lost_section_is_not_checked():
    diagnosis = small.diagnose(cluster=small.lost("felixconfigurations"))
    assert {small.verdict(diagnosis, "dataplane", node).outcome for node in ("k8s01", "k8s02")} == {"not_checked"}
