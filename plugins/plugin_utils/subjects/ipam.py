# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Who owns which block (calico.md section 4.4; F23, F28, F29).

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._objects import holders

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, Finding, NotApplicable
from .._json import NotCollected, as_mapping
from .._question import Scope
from .._services import addresses_of, services
from .._topology import families, peer_addresses

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis


@expects("ipam.affinity")
def affinities(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """One for each block and owner, whichever of IPAMBlock and BlockAffinity says so."""
    if not cluster.backend:
        return
    known = {name for family in families(cluster) for name in peer_addresses(cluster, family)}
    owned = {(str(block.node), str(block.cidr)) for block in cluster.blocks if block.node in known}
    for node, prefix in sorted(owned | {pair for pair in cluster.confirmed_affinities if pair[0] in known}):
        yield Fact("ipam.affinity", node, prefix, value=node)


@check("ipam.affinity.missing", "ipam.affinity.contradicts", "ipam.affinity.dangling", fact="ipam.affinity")
def affinity_agrees(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """IPAMBlock.spec.affinity and the confirmed BlockAffinity must name the same node."""
    cluster = documents.cluster
    block = cluster.blocks_by_prefix.get(fact.object)
    confirmed = (fact.node, fact.object) in cluster.confirmed_affinities
    if block is None:
        if not cluster.is_whole("ipamblocks"):
            raise NotCollected("the IPAM blocks were read for this question only")
        evidence = f"BlockAffinity of {fact.node} for {fact.object}: confirmed; there is no such IPAMBlock"
        return Finding("ipam.affinity.dangling", fact, None, evidence, ("api",), severity="latent")
    if block.node == fact.node:
        if confirmed:
            return None
        if not cluster.is_whole("blockaffinities"):
            raise NotCollected("the BlockAffinities were read for this question only")
        evidence = f"IPAMBlock {fact.object}: affinity host:{fact.node}; {fact.node} has no confirmed BlockAffinity for it"
        return Finding("ipam.affinity.missing", fact, None, evidence, ("api",), severity="latent")
    evidence = f"BlockAffinity of {fact.node} for {fact.object}: confirmed; IPAMBlock: affinity {f'host:{block.node}' if block.node else 'none'}"
    return Finding("ipam.affinity.contradicts", fact, block.node, evidence, ("api",), severity="latent")


@expects("pool.services")
def services_apart(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if cluster.backend and cluster.pools:
        yield Fact("pool.services", "", value="no Service has its address in an IP pool")


@check("pool.holds.service", fact="pool.services")
def no_service_inside(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """A Service's address that lies in a pool may be given to a pod, too (calico.md F65)."""
    cluster = documents.cluster
    known = services(cluster)
    if not known:
        raise NotApplicable("no Service was read for this question")
    pools = [pool for pool in cluster.pools if not pool.disabled]
    for key in sorted(known):
        for address in addresses_of(known[key]):
            pool = next((pool for pool in pools if ipaddress.ip_address(address) in pool.cidr), None)
            if pool is not None:
                evidence = f"Service {key} has the address {address}, which lies in the IP pool {pool.name} ({pool.cidr})"
                return Finding("pool.holds.service", fact, address, evidence, ("api",), severity="latent", hint={"pool": f"{pool.name} ({pool.cidr})"})
    return None


@cause(roots=("pool.holds.service",))
def pool_over_services(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        pool = finding.hint["pool"]
        yield Cause("pool_overlaps_services", "F65", "", f"The IP pool {pool} overlaps the network of the Services.", [finding], objects=[f"IPPool {pool}"],
                    why=["A pod that gets the address of a Service is never reached: kube-proxy takes its packets first.",
                         "Services in a pool are not masqueraded as what is outside of the pools."],
                    remedies=[Remedy("advise_overlap", "R0", "make another pool outside of the Services' network, disable this one, and move its pods", "",
                                     object=f"IPPool {pool}")])  # fmt: skip


@cause(roots=("ipam.affinity.missing",))
def affinity_removed(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, prefix = finding.fact.node, finding.fact.object
        yield Cause("remote_block_route_missing_not_learned", "F23", node, f"{node} does not announce its block {prefix}: its BlockAffinity is missing.",
                    [finding], objects=[prefix], why=["BIRD announces each pod's address by itself instead, so traffic may go on."],
                    remedies=[Remedy("advise_affinity", "R0", f"restart calico-node on {node}, or let IPAM make the BlockAffinity of {prefix} again with the"
                                     f" next pod there", "", node=node)])  # fmt: skip


@cause(roots=("ipam.affinity.contradicts",))
def two_owners(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, prefix = finding.fact.node, finding.fact.object
        yield Cause("blackhole_wrong_block", "F28", node, f"{node} claims {prefix}, a block of {finding.actual or 'no node'}.", [finding], objects=[prefix],
                    why=["It throws away what is not for its own pods there, and announces the block too."],
                    remedies=[_delete_affinity(diagnosis.documents.cluster, node, prefix, finding.actual)])  # fmt: skip


@cause(roots=("ipam.affinity.dangling",))
def affinity_without_block(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, prefix = finding.fact.node, finding.fact.object
        yield Cause("affinity_without_block", "F29", node, f"{node} has a BlockAffinity for {prefix}, a block that does not exist.", [finding],
                    objects=[prefix], why=["All nodes have a route to an empty block; nothing else comes of it."],
                    remedies=[_delete_affinity(diagnosis.documents.cluster, node, prefix)])  # fmt: skip


def _delete_affinity(cluster: Cluster, node: str, prefix: str, owner: str | None = None) -> Remedy:
    """Delete a BlockAffinity of a block that does not exist, or is another node's (owner) and has no address of this one (R3)."""
    try:
        found = [as_mapping(raw.get("metadata")).get("name") for raw in cluster.section("blockaffinities")
                 if (as_mapping(raw.get("spec")).get("node"), as_mapping(raw.get("spec")).get("cidr")) == (node, prefix)]  # fmt: skip
        block = cluster.blocks_by_prefix.get(prefix)
        used = block is not None and (owner is None or _uses(cluster, node, prefix))
    except NotCollected:
        found, used = [], True
    served = cluster.document.get("calico_api")
    if used or len(found) != 1 or not found[0] or not served:
        condition = f"if no pod on {node} has an address of {prefix}: " if used else ""
        return Remedy("advise_delete_affinity", "R0", f"{condition}delete the BlockAffinity of {node} for {prefix}", "", node=node)
    name = str(found[0])
    condition = f"{prefix} is a block of {owner}, and no address of it is {node}'s" if owner else f"there is no block {prefix}"
    radius = f"the route of all nodes to {prefix} by {node}" if owner else f"the route of all nodes to {prefix}, which has no pods"
    return Remedy(
        "delete_block_affinity", "R3", f"kubectl delete blockaffinities.{str(served).partition('/')[0]} {name}", "kubectl create, with the object as it is in"
        " the trail", node=node, object=f"BlockAffinity/{name}", change=(f"{prefix} of {node}", ""),
        parameters={"api": str(served), "name": name, "node": node, "cidr": prefix, **({"owner": owner} if owner else {})},
        verify=f"{node} does not claim {prefix} any more", blast_radius=radius, preconditions=(condition,), wait_seconds=60,
    )  # fmt: skip


def _uses(cluster: Cluster, node: str, prefix: str) -> bool:
    """Whether an address of the block is this node's, or may be."""
    network = ipaddress.ip_network(prefix)
    if any(ipaddress.ip_address(address) in network for pod in cluster.workloads_on(node) for address in pod.addresses):
        return True
    specs = [as_mapping(raw.get("spec")) for raw in cluster.section("ipamblocks")]
    return any(holders(spec) & {node, ""} for spec in specs if spec.get("cidr") == prefix)
