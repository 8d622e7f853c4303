# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Checksums that a NIC or its driver computes wrongly for what VXLAN carries (calico.md F05).

from __future__ import annotations

import typing as t

from .._carrying import carried
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, Finding, NotApplicable, Severity
from .._json import NotCollected, as_mapping
from .._question import Scope

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .._diagnosis import Diagnosis


@expects("tunnel.checksum")
def checksums_hold(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Of what VXLAN carries to the pods that are asked for."""
    pair = scope.question
    if scope.audit:
        return
    for direction, source, destination in (("forward", pair.source, pair.destination), ("reverse", pair.destination, pair.source)):
        how = carried(cluster, source, destination) if source.kind == "pod" else None
        if how is not None and how.kind == "vxlan":
            value = {"from": how.sender, "to": destination.label, "direction": direction}
            yield Fact("tunnel.checksum", how.receiver, f"{source.address}>{destination.address}", value)


@check("tunnel.checksum.wrong", fact="tunnel.checksum")
def no_wrong_checksums(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """A kernel throws away what has a wrong checksum and counts it (InCsumErrors, RFC 9293 3.1); between machines of one network there is none."""
    probes = [probe for probe in documents.evidence.probes if probe.get("direction") == fact.value["direction"]]
    if not probes:
        raise NotApplicable("no packets were sent in this run")
    told = [as_mapping(probe["checksum_errors"]) for probe in probes if "checksum_errors" in probe]
    if not told:
        raise NotCollected(f"{fact.node}: packets that are thrown away for a wrong checksum were not counted")
    counted = next((one for one in told if one), {})
    if not counted:
        return None
    sender, end = str(fact.value["from"]), str(fact.value["to"])
    words = {"tcp": f"TCP in {end}", "udp": f"UDP in {end}", "node_tcp": f"TCP on {fact.node}", "node_udp": f"UDP on {fact.node}"}
    found = ", ".join(f"{counted[name]} {words[name]}" for name in words if counted.get(name))
    devices = [name for name, link in documents.node(sender).links.items() if link.get("tx_checksum")]
    offload = f"; {devices[0]} of {sender} leaves checksums to its driver (tx-checksumming: on)" if devices else ""
    evidence = f"thrown away for a wrong checksum while packets were sent: {found}{offload}"
    return Finding("tunnel.checksum.wrong", fact, dict(counted), evidence, ("probe", f"kernel {fact.node}"), severity=_severity(probes),
                   hint={"device": devices[0] if devices else ""})  # fmt: skip


def _severity(probes: Sequence[Mapping[str, t.Any]]) -> Severity:
    """It is what is wrong where echoes came back, and what has a checksum of its own did not."""
    echoes = [probe for probe in probes if probe.get("protocol") == "icmp" and not probe.get("size")]
    others = [probe for probe in probes if probe.get("protocol") in ("tcp", "udp")]
    answered = any(probe.get("replied") or probe.get("refused") for probe in others)
    return "critical" if others and not answered and any(probe.get("replied") for probe in echoes) else "warning"


@cause(roots=("tunnel.checksum.wrong",))
def broken_offload(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, leaves = str(finding.fact.value["from"]), str(finding.hint["device"])
        device = leaves or "its VXLAN device"
        kernel = str(as_mapping(diagnosis.documents.node(node).section("identity")).get("kernel") or "unknown")
        for_good = "FelixConfiguration featureDetectOverride ChecksumOffloadBroken=true"
        advice = f"for good: {for_good}" if leaves else f"on {node}: ethtool -K NIC tx off for the NIC that carries VXLAN; for good, if that helps: {for_good}"
        summary = f"What {node} sends through {device} arrives with wrong checksums, so {finding.fact.node} throws it away."
        yield Cause("vxlan_checksum_offload", "F05", node, summary, [finding], objects=[device],
                    why=["Pings work, TCP and UDP hang: the NIC or its driver computes the checksum of a packet inside of VXLAN wrongly.",
                         f"Kernel {kernel}; Felix switches the offload off by itself only before 5.8."],
                    remedies=[*([_switch_off(node, leaves)] if leaves else []),
                              Remedy("advise_checksum_offload", "R0", advice, "", node=node, object=device)])  # fmt: skip


def _switch_off(node: str, device: str) -> Remedy:
    return Remedy(
        "set_offload", "R1", f"ethtool -K {device} tx off on {node}", f"ethtool -K {device} tx on", node=node, object=device,
        change=("tx-checksumming on", "tx-checksumming off"), parameters={"ifname": device}, verify=f"what {node} sends through {device} has right checksums",
        blast_radius=f"the kernel of {node} computes the checksums of what it sends through {device}; no packet is lost",
        preconditions=(f"{device} leaves checksums to its driver",), wait_seconds=10,
    )  # fmt: skip
