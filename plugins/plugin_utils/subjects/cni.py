# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Whether new pods are set up: what the CNI plugin told kubelet (F44, F47, F48, F63, F67), and whether Felix knows the endpoint (F43).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Block, Cluster, Pool
from .._dataplane import typha_service
from .._documents import Documents
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import Json, NotCollected, as_mapping, objects
from .._question import Scope
from .._remedies import dead_felix, restart_calico_node, restart_typha

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._diagnosis import Diagnosis

# words of the CNI plugin's errors -> check id (cni-plugin, libcalico-go/lib/ipam; all seen from a real plugin)
ERRORS = (
    ("cni.unauthorized", ("connection is unauthorized",)),
    ("cni.node_unknown", ("resource does not exist: Node(",)),
    ("cni.datastore_locked", ("currently not ready to process requests",)),
    ("cni.no_address", ("No IPs available", "Assigned 0 out of", "no configured Calico pools")),
    ("cni.api_unreachable", ("i/o timeout", "connect: connection refused", "connect: no route to host", "connect: network is unreachable")),
)


@expects("cni.add")
def new_pods(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if cluster.backend:
        for node in scope.core:
            yield Fact("cni.add", node, value="the CNI plugin sets up new pods")


@check("cni.failed", *(check_id for check_id, _words in ERRORS), fact="cni.add")
def sandboxes_are_made(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Events FailedCreatePodSandBox of pods that still wait on the node; events of pods that came up, or are gone, are history."""
    cluster = documents.cluster
    waiting = [e for e in cluster.section("events") if as_mapping(e.get("source")).get("host") == fact.node and _still_waits(cluster, e)]
    if not waiting:
        return None
    last = max(waiting, key=lambda e: str(e.get("lastTimestamp") or ""))
    message, pod = str(last.get("message") or ""), _pod_of(last)
    check_id = next((check_id for check_id, words in ERRORS if any(word in message for word in words)), "cni.failed")
    said = message.partition("failed (add): ")[2] or message
    return Finding(check_id, fact, said[:300], f"pod {pod}: {said[:200]}", ("api",), severity="latent", hint={"pod": pod})


def _pod_of(event: Mapping[str, Json]) -> str:
    about = as_mapping(event.get("involvedObject"))
    return f"{about.get('namespace')}/{about.get('name')}"


def _still_waits(cluster: Cluster, event: Mapping[str, Json]) -> bool:
    pod = cluster.pods.get(_pod_of(event))
    return pod is not None and pod.phase == "Pending" and not pod.addresses and not pod.deleting


@expects("endpoint.programmed")
def programmed(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Felix drops what comes from, or goes to, a workload interface that it has no chain for ("Unknown interface")."""
    if cluster.backend:
        for pod in scope.pods:
            needs = (FactId("veth", str(pod.node), pod.label), FactId("link.steady", str(pod.node), pod.label))
            yield Fact("endpoint.programmed", str(pod.node), pod.label, value={"ifname": pod.ifname}, needs=needs)


@check("endpoint.unknown", fact="endpoint.programmed")
def felix_knows_the_pod(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    netfilter = as_mapping(documents.node(fact.node).section("netfilter"))
    texts = []
    for entry in [*objects(netfilter.get("iptables")), *objects(netfilter.get("nft"))]:
        if isinstance(entry.get("error"), str):
            raise NotCollected(f"{fact.node}: netfilter: {entry['error']}")
        texts.append(str(entry.get("text") or entry.get("json") or ""))
    dispatching = [text for text in texts if "cali-from-wl-dispatch" in text]
    if not dispatching:
        raise NotApplicable(f"{fact.node} has no rules of Felix for workloads")
    ifname = fact.value["ifname"]
    if any(f"cali-tw-{ifname}" in text for text in dispatching):
        return None
    evidence = f"no chain cali-tw-{ifname} on {fact.node}: Felix does not know {fact.object}, its packets are dropped (Unknown interface)"
    return Finding("endpoint.unknown", fact, None, evidence, (f"netfilter {fact.node}", "api"))


@cause(roots=("endpoint.unknown",))
def not_adopted(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    cluster = diagnosis.documents.cluster
    for finding in findings:
        node, pod = finding.fact.node, finding.fact.object
        dead = dead_felix(diagnosis, node)
        running = diagnosis.judged.get(FactId("felix.running", node))
        if not dead and (cluster.rebuilt or running is None or running.outcome != "ok"):  # whether Felix runs, or there is a Typha, is not known
            continue
        typha = typha_service(cluster)
        remedies = restart_calico_node(diagnosis.documents, node, f"Felix on {node} has chains for {pod}")
        drops = ["Its rules drop what comes from or goes to an interface that they do not know."]
        if dead:
            yield Cause("felix_not_ready", "F43", node, f"Felix does not run on {node} and has never seen pod {pod}.", [finding], objects=[pod], also=dead,
                        why=drops, remedies=remedies)  # fmt: skip
        elif not typha:
            yield Cause("unknown_interface_drop", "F46", node, f"Felix on {node} runs and has no chain for pod {pod}.", [finding], objects=[pod], why=drops,
                        remedies=remedies)  # fmt: skip
        else:
            yield Cause("typha_unreachable", "F44", node, f"Felix on {node} runs but does not know pod {pod}: it gets no updates from Typha.", [finding],
                        objects=[pod, typha], heuristic=True, why=["Pods that were there before go on working."],
                        remedies=[*restart_typha(diagnosis.documents, "the pods of Typha are Ready", only_not_ready=True),
                                  Remedy("advise_typha", "R0", f"see whether {node} reaches TCP 5473 of the Typha pods", "", node=node)])  # fmt: skip


@cause(roots=("cni.unauthorized", "cni.node_unknown", "cni.datastore_locked", "cni.no_address", "cni.api_unreachable", "cni.failed"))
def new_pods_fail(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, pod = finding.fact.node, str(finding.hint["pod"])
        name, fault, what, advice = {
            "cni.unauthorized": ("cni_unauthorized", "F48", "the API refuses the token of its CNI plugin", ""),
            "cni.node_unknown": ("nodename_mismatch", "F47", "its CNI plugin asks for a node that does not exist",
                                 f"correct the nodename in /etc/cni/net.d/10-calico.conflist on {node}"),
            "cni.datastore_locked": ("datastore_locked", "F67", "Calico's datastore is locked", "end the migration: calicoctl datastore migrate unlock"),
            "cni.no_address": ("pool_exhausted", "F63", "no pool has an address left for it", "calicoctl ipam check; release leaked addresses or add a pool"),
            "cni.api_unreachable": ("typha_unreachable", "F44", "the node does not reach the Kubernetes API",
                                    f"see whether {node} reaches the API server (its own firewall, kube-proxy, the route)"),
            "cni.failed": ("cni_failed", None, "its CNI plugin fails", f"kubectl -n {pod.partition('/')[0]} describe pod {pod.partition('/')[2]}"),
        }[finding.check]  # fmt: skip
        limit = ""
        if finding.check == "cni.no_address":
            limit = _limit(diagnosis.documents.cluster, node)
            if _all_disabled(diagnosis.documents.cluster):
                what, advice = "every IP pool is disabled", "enable an IP pool (disabled: false), or add one"
        if limit:
            name, fault, what = "strict_affinity_or_block_limit", "F64", limit
            advice = "calicoctl ipam show --show-blocks; switch strictAffinity off, raise maxBlocksPerHost (IPAMConfig), or add a pool"
        yield Cause(name, fault, node, f"New pods on {node} are not set up: {what}.", [finding], objects=[pod],
                    why=[f"The CNI plugin says: {finding.actual}", "Pods that run already are not concerned."],
                    remedies=restart_calico_node(diagnosis.documents, node, f"pods on {node} are set up") if finding.check == "cni.unauthorized"
                    else [Remedy("advise_cni", "R0", advice, "", node=node)])  # fmt: skip


def _limit(cluster: Cluster, node: str) -> str:
    """Why the node may not take addresses that are free (IPAMConfig, calico.md 4.1); "" where none is, or the API does not tell."""
    try:
        specs = [as_mapping(raw.get("spec")) for raw in cluster.section("ipamconfigs")]
        if not specs:
            return ""
        own = [block for block in cluster.blocks if block.node == node]
        most, pools = specs[0].get("maxBlocksPerHost"), [pool for pool in cluster.pools if not pool.disabled]
        free = sum(pool.cidr.num_addresses - sum(len(block.allocated) for block in cluster.blocks if _inside(block, pool)) for pool in pools)
    except NotCollected:
        return ""
    if free <= 0:
        return ""
    if isinstance(most, int) and 0 < most <= len(own):
        return f"it has {len(own)} blocks of addresses, and maxBlocksPerHost is {most}, so it may take no more, though {free} addresses are free"
    if specs[0].get("strictAffinity") is True:
        return f"strictAffinity lets it take addresses only from blocks of its own, its {len(own)} are full, and {free} addresses are free elsewhere"
    return ""


def _all_disabled(cluster: Cluster) -> bool:
    try:
        return bool(cluster.pools) and all(pool.disabled for pool in cluster.pools)
    except NotCollected:
        return False


def _inside(block: Block, pool: Pool) -> bool:
    return block.cidr.version == pool.cidr.version and block.cidr.subnet_of(pool.cidr)  # type: ignore[arg-type]
