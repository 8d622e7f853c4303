# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small

FACT = ("tunnel.checksum", "k8s02", "10.253.1.5>10.253.2.7")


def vxlan(cluster):
    cluster["ippools"][0]["spec"].update(ipipMode="Never", vxlanMode="Always")


def leaves_checksums(document):
    document["links"].append({"ifindex": 77, "ifname": "vxlan.calico", "flags": ["UP"], "tx_checksum": True})


def diagnose(tcp, errors, cluster=vxlan):
    echo = small.probe("forward", True, "icmp")
    asked = small.probe("forward", tcp, **({"checksum_errors": errors} if errors is not None else {}))
    return small.diagnose({"probes": [echo, asked]}, cluster=cluster, k8s01=leaves_checksums)


@pytest.mark.parametrize(("answered", "severity"), [(False, "critical"), (True, "warning")])
def test_what_was_thrown_away_while_packets_were_sent(answered, severity):
    diagnosis = diagnose(answered, {"tcp": 3})
    finding = small.verdict(diagnosis, *FACT).finding
    assert finding.severity == severity and "3 TCP in shop/api-0; vxlan.calico of k8s01 leaves checksums to its driver" in finding.evidence
    cause = next(cause for cause in diagnosis.causes if cause.id == "vxlan_checksum_offload")
    assert (cause.fault, cause.node, cause.objects) == ("F05", "k8s01", ["vxlan.calico"])
    assert [(remedy.id, remedy.risk, remedy.node) for remedy in cause.remedies] == [("set_offload", "R1", "k8s01"), ("advise_checksum_offload", "R0", "k8s01")]
    elsewhere = small.diagnose({"probes": [small.probe("forward", True, checksum_errors={"tcp": 3})]}, cluster=vxlan)
    (cause,) = [cause for cause in elsewhere.causes if cause.id == "vxlan_checksum_offload"]
    assert [remedy.id for remedy in cause.remedies] == ["advise_checksum_offload"], "its VXLAN device does not leave them to the driver"


def test_without_errors_without_probes_and_without_vxlan():
    assert small.verdict(diagnose(True, {}), *FACT).outcome == "ok"
    assert small.verdict(diagnose(True, None), *FACT).outcome == "not_checked"
    assert small.verdict(small.diagnose(cluster=vxlan), *FACT).outcome == "not_applicable"
    assert not [fact for fact in diagnose(False, {"tcp": 3}, cluster=lambda cluster: None).judged if fact.kind == "tunnel.checksum"]
