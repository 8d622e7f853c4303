# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the smallest policy that lets a denied flow through at one place. It selects no pod that no policy selected there before, so
# that nothing else is denied by it. It is shown and never applied.

from __future__ import annotations

import hashlib
import math
import typing as t
from collections.abc import Mapping

from ._json import Json, NotCollected, as_mapping, objects
from ._policy_kubernetes import label_selector
from ._policy_members import Member, Members, texts
from ._policy_order import Policy
from ._policy_rules import WITH_PORTS, Packet

if t.TYPE_CHECKING:
    from ._policy import Point

Manifest = dict[str, Json]
METADATA_NAME = "kubernetes.io/metadata.name"
# labels that a controller gives to each pod anew
PASSING = frozenset({"pod-template-hash", "controller-revision-hash", "pod-template-generation", "controller-uid", "batch.kubernetes.io/controller-uid"})
ICMP_TYPES = ("ICMP", "ICMPV6")
SPELLED = {"ICMPV6": "ICMPv6", "UDPLITE": "UDPLite"}


def smallest_allow(members: Members, point: Point) -> Manifest | None:
    """The object for the API; None where no policy can say it."""
    member, decision = point.member, point.decision
    if member is None or decision is None:
        return None
    remote = point.packet.src if point.way == "ingress" else point.packet.dst
    if remote is None:
        return None
    own = [policy for policy in decision.asked if policy.tier == decision.tier]
    if decision.by is not None and decision.by.kind == "ClusterNetworkPolicy":
        return _cluster_policy(members, point, member, decision.by, remote)
    if decision.by is not None and decision.by.kind.endswith("AdminNetworkPolicy"):
        return None
    isolating = next((policy for policy in own if policy.kind == "NetworkPolicy" and policy.api.startswith("networking")), None)
    if decision.by is None and isolating is not None and point.packet.protocol in WITH_PORTS:
        return _network_policy(members, point, member, isolating, remote)
    return _calico_policy(members, point, member, decision.by or next(iter(own), None), remote, decision.tier or "default")


def lasting(member: Member) -> dict[str, str]:
    """The labels of a pod that its successor will have too."""
    return {key: text for key, text in sorted(member.labels.items()) if key not in PASSING and not key.startswith("projectcalico.org/")}


def _name(point: Point, remote: str) -> str:
    told = f"{point.at} {point.way} {remote} {point.packet.protocol} {point.packet.dport}"
    return f"allow-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def _peer_pod(members: Members, remote: str) -> tuple[str, dict[str, str]] | None:
    """The namespace and the labels of the one pod at the other end, where that says who it is."""
    try:
        found = [member for member in members.at(remote) if member.kind == "pod"]
    except NotCollected:
        return None
    if len(found) != 1 or not lasting(found[0]):
        return None
    return found[0].namespace, lasting(found[0])


def _single(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


# ---------------------------------------------------------------- Kubernetes


def _kubernetes_peer(members: Members, remote: str) -> Manifest:
    found = _peer_pod(members, remote)
    if found is not None:
        namespace, labels = found
        try:
            named = members.namespace_labels(namespace).get(METADATA_NAME) == namespace
        except NotCollected:
            named = False
        if named:
            return {"namespaceSelector": {"matchLabels": {METADATA_NAME: namespace}}, "podSelector": {"matchLabels": labels}}
    return {"ipBlock": {"cidr": _single(remote)}}


def _network_policy(members: Members, point: Point, member: Member, isolating: Policy, remote: str) -> Manifest:
    chosen = as_mapping(isolating.spec.get("podSelector"))
    selector: Manifest = {"matchLabels": {**texts(chosen.get("matchLabels")), **lasting(member)}}
    if objects(chosen.get("matchExpressions")):
        selector["matchExpressions"] = [dict(expression) for expression in objects(chosen["matchExpressions"])]
    if not selector["matchLabels"]:
        del selector["matchLabels"]
    port = {"protocol": point.packet.protocol, **({"port": point.packet.dport} if point.packet.dport is not None else {})}
    word = "from" if point.way == "ingress" else "to"
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": _name(point, remote), "namespace": member.namespace},
        "spec": {"podSelector": selector, "policyTypes": [point.way.capitalize()], point.way: [{word: [_kubernetes_peer(members, remote)], "ports": [port]}]},
    }


def _cluster_policy(members: Members, point: Point, member: Member, by: Policy, remote: str) -> Manifest | None:
    """One that is asked before the one that denies."""
    if by.order < 1 or point.packet.protocol not in ("TCP", "UDP", "SCTP") or not lasting(member):
        return None
    peer = _kubernetes_peer(members, remote)
    if "ipBlock" in peer:
        if point.way == "ingress":
            return None
        peer = {"networks": [peer["ipBlock"]["cidr"]]}
    else:
        peer = {"pods": peer}
    port = {"destinationPort": {"number": point.packet.dport}} if point.packet.dport is not None else {}
    rule = {"name": "allow", "action": "Accept", "from" if point.way == "ingress" else "to": [peer], "protocols": [{point.packet.protocol.lower(): port}]}
    subject = {"namespaceSelector": {"matchLabels": {METADATA_NAME: member.namespace}}, "podSelector": {"matchLabels": lasting(member)}}
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": _name(point, remote)},
        "spec": {"tier": by.spec.get("tier") or "Admin", "priority": int(by.order) - 1, "subject": {"pods": subject}, point.way: [rule]},
    }


# ---------------------------------------------------------------- Calico


def _calico_policy(members: Members, point: Point, member: Member, before: Policy | None, remote: str, tier: str) -> Manifest | None:
    """before: the policy that denies, or one of those that select the endpoint without allowing."""
    labels = lasting(member)
    if member.kind != "pod" and not labels:
        return None  # nothing tells this HostEndpoint from the others
    terms = [label_selector({"matchLabels": {key: text}}) for key, text in labels.items()]
    if before is not None:
        chosen = label_selector(before.spec.get("podSelector")) if before.kind == "NetworkPolicy" and "podSelector" in before.spec else before.selector
        if chosen.strip() not in ("", "all()", *terms):
            terms.append(f"({chosen})")
    spec: Manifest = {"tier": tier, "selector": " && ".join(terms) or "all()"}
    if before is not None and math.isfinite(before.order):
        spec["order"] = int(before.order) - 1 if before.order.is_integer() else before.order - 1
    elif point.decision is not None and point.decision.by is not None:
        spec["order"] = 1000  # a policy without an order comes after all that have one
    if before is not None and before.account_selector:
        spec["serviceAccountSelector"] = before.account_selector
    if point.chain != "normal":
        spec |= {"applyOnForward": True, **{"prednat": {"preDNAT": True}, "untracked": {"doNotTrack": True}}.get(point.chain, {})}
    spec |= {"types": [point.way.capitalize()], point.way: [_calico_rule(members, point.packet, point.way, remote)]}
    name = _name(point, remote)
    metadata = {"name": name if tier == "default" else f"{tier}.{name}", **({"namespace": member.namespace} if member.namespace else {})}
    return {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy" if member.namespace else "GlobalNetworkPolicy", "metadata": metadata, "spec": spec}


def _calico_rule(members: Members, packet: Packet, way: str, remote: str) -> Manifest:
    found = _peer_pod(members, remote)
    entity: Manifest = {"nets": [_single(remote)]}
    if found is not None:
        entity = {"namespaceSelector": f"projectcalico.org/name == '{found[0]}'", "selector": label_selector({"matchLabels": found[1]})}
    rule: Manifest = {"action": "Allow", "protocol": SPELLED.get(packet.protocol, packet.protocol), "source" if way == "ingress" else "destination": entity}
    if packet.protocol in WITH_PORTS and packet.dport is not None:
        rule["destination"] = {**as_mapping(rule.get("destination")), "ports": [packet.dport]}
    if packet.protocol in ICMP_TYPES and packet.icmp_type is not None:
        rule["icmp"] = {"type": packet.icmp_type}
    return rule


def section_of_manifest(manifest: Mapping[str, Json]) -> str:
    """The section of the cluster document that such an object belongs to."""
    if str(manifest.get("apiVersion")).startswith("networking"):
        return "networkpolicies"
    kinds = {"NetworkPolicy": "calico_networkpolicies", "GlobalNetworkPolicy": "globalnetworkpolicies", "ClusterNetworkPolicy": "clusternetworkpolicies"}
    return kinds[str(manifest.get("kind"))]
