# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# An address belongs to one running pod (F61).

from __future__ import annotations

import typing as t

from .._allocations import holder
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, FactId, Finding
from .._question import Scope
from .._remedies import recreate_pod

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


@expects("pod.address")
def one_pod_each(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for pod in scope.pods:
        yield Fact("pod.address", "", pod.label, {"address": pod.address, "pods": [pod.label]}, needs=(FactId("podcidr", str(pod.node)),))


@check("pod.address.duplicate", fact="pod.address")
def nobody_else_has_it(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    holders = documents.cluster.pods_at(fact.value["address"])
    if len(holders) < 2:
        return None
    evidence = f"{fact.value['address']}: " + ", ".join(f"{pod.key} on {pod.node}" for pod in holders)
    return Finding("pod.address.duplicate", fact, [pod.key for pod in holders], evidence, ("api",))


@cause(roots=("pod.address.duplicate",))
def duplicate(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    if diagnosis.documents.cluster.plugin == "flannel" and any(finding.check == "podcidr.duplicate" for finding in diagnosis.findings):
        return  # two nodes with one podCIDR (F78) is the cause
    by_address: dict[str, list[Finding]] = {}
    for finding in findings:
        by_address.setdefault(str(finding.fact.value["address"]), []).append(finding)
    for address, mine in by_address.items():
        pods = diagnosis.documents.cluster.pods_at(address)
        if diagnosis.documents.cluster.rebuilt:  # which of them is the newest is not known
            both = " and ".join(pod.key for pod in pods)
            yield Cause("duplicate_pod_ip", "F61", "", f"{both} have the same address {address}.", mine,
                        objects=[pod.key for pod in pods], why=["Whichever of them answers first gets the packets: an echo is no test."],
                        remedies=[Remedy("advise_delete_pod", "R0", "find out which of them the address management knows, and delete the other", "")])
            continue
        given = holder(diagnosis.documents.cluster, address)
        without = [pod for pod in pods if given is not None and pod.key != given.pod]
        if given is not None and len(without) == len(pods) - 1:
            yield Cause(
                "duplicate_pod_ip", "F61", str(without[0].node), f"{' and '.join(pod.key for pod in pods)} have the same address {address}.", mine,
                objects=[pod.key for pod in pods],
                why=["Whichever of them answers first gets the packets: an echo is no test.", f"IPAM has given it to {given.pod}."],
                remedies=[remedy for pod in without for remedy in recreate_pod(diagnosis.documents, pod.key, str(pod.node))],
            )  # fmt: skip
            continue
        newest = max(pods, key=lambda pod: pod.created or "")
        yield Cause(
            "duplicate_pod_ip", "F61", str(newest.node), f"{' and '.join(pod.key for pod in pods)} have the same address {address}.", mine,
            objects=[pod.key for pod in pods],
            why=["Whichever of them answers first gets the packets: an echo is no test.", f"{newest.key} is the newest of them."],
            remedies=[Remedy("advise_delete_pod", "R0", f"find out which of them the address management knows, and delete the other one, likely {newest.key}",
                             "", node=str(newest.node))],
        )  # fmt: skip
