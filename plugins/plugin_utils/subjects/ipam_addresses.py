# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Which addresses Calico's IPAM has given out, and who has them (calico.md F62, F63, F68): what `calicoctl ipam check` says of pods, and which pod suffers.

from __future__ import annotations

import typing as t

from .._allocations import Allocation, allocations
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, Finding, NotApplicable
from .._json import NotCollected
from .._question import Scope
from .._remedies import recreate_pod

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

SHOWN = 3


def given_to(cluster: Cluster, address: str) -> bool:
    """Has a block given out the address of a pod? Errors: NotApplicable, where nobody keeps such books; NotCollected."""
    if cluster.pool_of(address) is None or not cluster.section("ipamblocks"):
        raise NotApplicable("Calico's IPAM does not give out this address")
    block = cluster.block_of(address)
    if block is None:
        if not cluster.is_whole("ipamblocks"):
            raise NotCollected("the IPAM blocks were read for this question only")
        return False
    if not block.told:
        raise NotApplicable(f"the block {block.cidr} does not say what it has given out")
    return address in block.allocated


@expects("ipam.address")
def given_out(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Each address of the pods that are asked for."""
    if not cluster.backend or cluster.rebuilt:
        return
    for end in scope.pods:
        for pod in cluster.workloads_on(str(end.node)) if end.node else ():
            if pod.key == end.label:
                for address in pod.addresses:
                    yield Fact("ipam.address", str(pod.node), f"{pod.key} {address}", {"pod": pod.key, "address": address})


@check("ipam.address.unallocated", "ipam.address.outside", fact="ipam.address")
def pod_address_is_given_out(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    cluster = documents.cluster
    address, pod = fact.value["address"], fact.value["pod"]
    if cluster.pool_of(address) is None:
        if not any(cluster.pool_of(held) for each in cluster.workloads for held in each.addresses):
            raise NotApplicable("no pod has an address of Calico's pools: another IPAM gives them out")
        evidence = f"{pod} has {address}, which is in none of the IP pools {', '.join(str(pool.cidr) for pool in cluster.pools)}"
        return Finding("ipam.address.outside", fact, address, evidence, ("api",), severity="latent")
    if given_to(cluster, address):
        return None
    block = cluster.block_of(address)
    where = f"block {block.cidr} of {block.node or 'no node'} has it free" if block is not None else "no block holds it"
    return Finding("ipam.address.unallocated", fact, address, f"{pod} has {address}, which IPAM has not given out: {where}", ("api",), severity="latent")


@cause(roots=("ipam.address.unallocated",))
def used_not_allocated(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        pod, address, node = finding.fact.value["pod"], finding.fact.value["address"], finding.fact.node
        yield Cause("used_not_allocated", "F62", node, f"{pod} has {address}, which IPAM holds to be free: the next pod there may get it, too.", [finding],
                    objects=[pod], why=["Until then nothing is lost; from then on answers go to one of the two pods.",
                                        "It comes of an address that was released by hand, or of a block that was restored from a backup."],
                    remedies=recreate_pod(diagnosis.documents, pod, node))  # fmt: skip


@cause(roots=("ipam.address.outside",))
def pool_gone(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        pod, address, node = finding.fact.value["pod"], finding.fact.value["address"], finding.fact.node
        yield Cause("pool_outside_cluster_cidr", "F68", node, f"{pod} has {address}, which is in no IP pool any more.", [finding], objects=[pod],
                    why=["Felix neither masquerades what such a pod sends out of the cluster, nor leaves out of masquerading what others send to it."],
                    remedies=[_make_pool_again(diagnosis.documents.cluster, str(address), pod, node)])  # fmt: skip


def _make_pool_again(cluster: Cluster, address: str, pod: str, node: str) -> Remedy:
    """A disabled pool of the block that the address is of (R3), where the other pools leave no doubt what it must be like; otherwise advice."""
    advice = "make the pool again with disabled: true until no pod has an address of it, or delete such pods"
    block, served = cluster.block_of(address), cluster.document.get("calico_api")
    if block is None or not served or any(pool.cidr.version == block.cidr.version and pool.cidr.overlaps(block.cidr) for pool in cluster.pools):
        return Remedy("advise_pool", "R0", advice, "", node=node, object=pod)
    modes = {(pool.ipip, pool.vxlan, pool.nat_outgoing) for pool in cluster.pools if pool.cidr.version == block.cidr.version}
    if len(modes) != 1:
        return Remedy("advise_pool", "R0", f"{advice}; the other pools differ, so it is not known what it was like", "", node=node, object=pod)
    ((ipip, vxlan, nat),) = modes
    parameters = {"api": str(served), "cidr": str(block.cidr), "ipip": ipip, "vxlan": vxlan, "nat": nat}
    like = f"ipipMode {ipip}, vxlanMode {vxlan}, natOutgoing {str(nat).lower()}"
    others = sum(1 for other in cluster.blocks if other.cidr != block.cidr and cluster.pool_of(other.cidr) is None)
    return Remedy(
        "create_pool", "R3", f"create a disabled IPPool of {block.cidr} ({like})", "kubectl delete ippools, by its name", node=node,
        object=f"IPPool of {block.cidr}", change=("", f"{block.cidr} disabled, {like}"), parameters=parameters, verify=f"{address} is in an IP pool",
        blast_radius=f"all nodes treat {block.cidr} as they treat the other pools" + (f"; {others} more blocks are in no pool" if others else ""),
        preconditions=(f"the block {block.cidr} is in no IP pool", f"all other pools have {like}"), wait_seconds=30,
    )  # fmt: skip


@expects("ipam.leak")
def returned(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Only where all pods were read: a pod that is not there must not be one that was not asked for."""
    if not cluster.backend or cluster.rebuilt or not cluster.is_whole("pods") or not cluster.is_whole("ipamblocks"):
        return
    for node in scope.core:
        yield Fact("ipam.leak", node, value="no address is given to a pod that does not exist")


def _gone(cluster: Cluster, one: Allocation) -> bool:
    """Nobody has the address: its pod is not there, or is there with other addresses."""
    if not one.pod or cluster.pods_at(one.address):
        return False
    pod = cluster.pods.get(one.pod)
    return pod is None or bool(pod.addresses and pod.running and not pod.deleting)


@check("ipam.leaked", fact="ipam.leak")
def addresses_come_back(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    cluster = documents.cluster
    mine = [one for one in allocations(cluster) if one.pod and one.node == fact.node]
    if not mine:
        raise NotApplicable(f"IPAM has given no address to pods of {fact.node}")
    leaked = [one for one in mine if _gone(cluster, one)]
    if not leaked:
        return None
    shown = ", ".join(f"{one.address} to {one.pod}" for one in leaked[:SHOWN]) + (f" and {len(leaked) - SHOWN} more" if len(leaked) > SHOWN else "")
    return Finding("ipam.leaked", fact, len(leaked), f"IPAM has given {shown}: no pod has it", ("api",), severity="latent",
                   hint={"leaked": leaked, "room": _room(cluster, leaked)})  # fmt: skip


def _room(cluster: Cluster, leaked: list[Allocation]) -> str:
    """How many addresses the blocks of the leaked ones have left."""
    told = []
    for prefix in sorted({one.block for one in leaked}):
        block = cluster.blocks_by_prefix.get(prefix)
        if block is not None:
            told.append(f"{block.cidr.num_addresses - len(block.allocated)} of {block.cidr.num_addresses} addresses of {prefix}")
    return ", ".join(told)


@cause(roots=("ipam.leaked",))
def leaked_addresses(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, leaked = finding.fact.node, t.cast("list[Allocation]", finding.hint["leaked"])
        names = [f"{one.address} ({one.pod})" for one in leaked]
        room = finding.hint["room"]
        noun = "an address" if len(leaked) == 1 else f"{len(leaked)} addresses"
        advice = "see that calico-kube-controllers runs, which gives them back"
        by_hand = "calicoctl ipam check -o report.json, and calicoctl ipam release --from-report=report.json"
        yield Cause("leaked_ips", "F63", node, f"IPAM keeps {noun} of {node} for pods that do not exist: {', '.join(names[:SHOWN])}.", [finding],
                    objects=[one.address for one in leaked], why=[f"No pod suffers yet: {room} are free." if room else "No pod suffers yet."],
                    remedies=[Remedy("advise_release", "R0", f"{advice}; or {by_hand}", "", node=node)])  # fmt: skip
