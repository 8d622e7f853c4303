# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: NetworkPolicy, ClusterNetworkPolicy and AdminNetworkPolicy of Kubernetes in Calico's words.
# Each rule becomes as many rules as it has pairs of a peer and a port; all carry the number of the one that was written.

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping

from ._json import Json, NotCollected, as_list, as_mapping, objects
from ._policy_members import ORCHESTRATOR, protocol_name
from ._policy_rules import Rule

Way = t.Literal["ingress", "egress"]
PODS = f"{ORCHESTRATOR} == 'k8s'"
# the end of the packet that a peer or a port is about: (the part of Calico's rule that a peer fills, the word of NetworkPolicy for it)
PEERS: Mapping[Way, tuple[str, str]] = {"ingress": ("source", "from"), "egress": ("destination", "to")}
ACTIONS = {"Accept": "allow", "Allow": "allow", "Deny": "deny", "Pass": "pass"}


def label_selector(value: Json) -> str:
    """A LabelSelector in Calico's language; an empty one selects all. Errors: NotCollected."""
    spec = as_mapping(value)
    strange = set(spec) - {"matchLabels", "matchExpressions"}
    if strange:
        raise NotCollected(f"a label selector has {', '.join(sorted(map(str, strange)))}, which is not known here")
    terms = [f"{key} == {_quoted(text)}" for key, text in sorted(as_mapping(spec.get("matchLabels")).items())]
    for expression in objects(spec.get("matchExpressions")):
        key, operator, values = expression.get("key"), expression.get("operator"), ", ".join(map(_quoted, as_list(expression.get("values"))))
        forms = {"In": f"{key} in {{{values}}}", "NotIn": f"{key} not in {{{values}}}", "Exists": f"has({key})", "DoesNotExist": f"!has({key})"}
        if operator not in forms:
            raise NotCollected(f"the operator {str(operator)[:30]!r} of a label selector is not known here")
        terms.append(forms[operator])
    return " && ".join(terms) or "all()"


def _quoted(value: Json) -> str:
    text = str(value)
    return f'"{text}"' if "'" in text else f"'{text}'"


def pod_selector(value: Json) -> str:
    chosen = label_selector(value)
    return PODS if chosen == "all()" else f"{PODS} && {chosen}"


def directions(spec: Mapping[str, Json]) -> frozenset[str]:
    """policyTypes, as the API server would fill it in."""
    if isinstance(spec.get("policyTypes"), list):
        return frozenset(str(way).lower() for way in spec["policyTypes"])
    return frozenset({"ingress", "egress"}) if spec.get("egress") else frozenset({"ingress"})


# ---------------------------------------------------------------- NetworkPolicy


def network_policy_rules(spec: Mapping[str, Json], way: Way, namespace: str) -> Iterator[Rule]:
    part, word = PEERS[way]
    for number, rule in enumerate(objects(spec.get(way)), 1):
        peers = [_peer(peer) for peer in objects(rule.get(word))] or [{}]
        for peer in peers:
            for port in [_port(entry) for entry in objects(rule.get("ports"))] or [{}]:
                yield Rule(number, "allow", namespace, _joined(part, peer, port))


def _joined(part: str, peer: Mapping[str, Json], port: Mapping[str, Json]) -> dict[str, Json]:
    """peer: the entity at the other end; port: {protocol, ports}, of the destination in either direction."""
    spec: dict[str, Json] = {part: dict(peer)} if peer else {}
    if port.get("protocol"):
        spec["protocol"] = port["protocol"]
    if port.get("ports"):
        spec["destination"] = {**spec.get("destination", {}), "ports": port["ports"]}
    return spec


def _peer(peer: Mapping[str, Json]) -> dict[str, Json]:
    strange = set(peer) - {"ipBlock", "podSelector", "namespaceSelector"}
    if strange:
        return {"selector": _unknown(f"a peer has {', '.join(sorted(map(str, strange)))}")}
    if peer.get("ipBlock") is not None:
        block = as_mapping(peer["ipBlock"])
        return {"nets": [block.get("cidr")], **({"notNets": as_list(block["except"])} if block.get("except") else {})}
    entity = {"selector": pod_selector(peer.get("podSelector"))}
    if peer.get("namespaceSelector") is not None:
        entity["namespaceSelector"] = label_selector(peer["namespaceSelector"])
    return entity


def _unknown(reason: str) -> Json:
    raise NotCollected(f"{reason}, which is not known here")


def _port(entry: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {"protocol": entry.get("protocol") or "TCP"}
    if entry.get("port") is not None:
        last = entry.get("endPort")
        found["ports"] = [entry["port"] if last is None else f"{entry['port']}:{last}"]
    return found


# ---------------------------------------------------------------- ClusterNetworkPolicy, AdminNetworkPolicy, BaselineAdminNetworkPolicy


def subject(spec: Mapping[str, Json]) -> tuple[str, str]:
    """(selector, namespaceSelector) of the pods that it applies to."""
    chosen = as_mapping(spec.get("subject"))
    if chosen.get("pods") is not None:
        pods = as_mapping(chosen["pods"])
        return pod_selector(pods.get("podSelector")), label_selector(pods.get("namespaceSelector"))
    if chosen.get("namespaces") is not None:
        return PODS, label_selector(chosen["namespaces"])
    raise NotCollected("a policy of the cluster has a subject that is neither pods nor namespaces")


def cluster_policy_rules(spec: Mapping[str, Json], way: Way) -> Iterator[Rule]:
    part, word = PEERS[way]
    for number, rule in enumerate(objects(spec.get(way)), 1):
        action = ACTIONS.get(str(rule.get("action")))
        if action is None:
            _unknown(f"a rule has the action {str(rule.get('action'))[:30]!r}")
        for peer in [_cluster_peer(peer) for peer in objects(rule.get(word))] or [{}]:
            for port in list(_cluster_ports(rule)) or [{}]:
                yield Rule(number, str(action), "", _joined(part, peer, port))


def _cluster_peer(peer: Mapping[str, Json]) -> dict[str, Json]:
    if peer.get("pods") is not None:
        pods = as_mapping(peer["pods"])
        return {"selector": pod_selector(pods.get("podSelector")), "namespaceSelector": label_selector(pods.get("namespaceSelector"))}
    if peer.get("namespaces") is not None:
        return {"selector": PODS, "namespaceSelector": label_selector(peer["namespaces"])}
    if peer.get("networks") is not None:
        return {"nets": as_list(peer["networks"])}
    return {"": f"a peer of {', '.join(sorted(map(str, peer))) or 'nothing'}"}  # no field of Calico's rules: matching it is unknown


def _cluster_ports(rule: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    """`protocols` of ClusterNetworkPolicy, `ports` of AdminNetworkPolicy."""
    for entry in objects(rule.get("protocols")):
        for name, value in entry.items():
            if name == "destinationNamedPort":
                for protocol in ("TCP", "UDP", "SCTP"):
                    yield {"protocol": protocol, "ports": [value]}
            else:
                yield {"protocol": protocol_name(name), "ports": _destination_ports(as_mapping(value).get("destinationPort"))}
    for entry in objects(rule.get("ports")):
        number, span = as_mapping(entry.get("portNumber")), as_mapping(entry.get("portRange"))
        if number:
            yield {"protocol": number.get("protocol") or "TCP", "ports": [number.get("port")]}
        elif span:
            yield {"protocol": span.get("protocol") or "TCP", "ports": [f"{span.get('start')}:{span.get('end')}"]}
        else:
            for protocol in ("TCP", "UDP", "SCTP"):
                yield {"protocol": protocol, "ports": [entry.get("namedPort")]}


def _destination_ports(value: Json) -> list[Json]:
    wanted = as_mapping(value)
    span = as_mapping(wanted.get("range"))
    if span:
        return [f"{span.get('start')}:{span.get('end')}"]
    return [wanted["number"]] if wanted.get("number") is not None else []
