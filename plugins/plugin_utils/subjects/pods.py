# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The inside of the asked pods' network namespaces (calico.md section 2.3; F51).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._collection import HOST_LINK_LOCAL
from .._documents import SHAPES, Documents
from .._graph import Fact, FactId, Finding, Severity
from .._json import Json, NotCollected, as_list, as_mapping, family_of, parse_address, parse_network, section_of, shaped, tagged
from .._question import Scope
from .._remedies import recreate_pod
from .._routes import hops, route_line
from .local_pods import CNI_MAC

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

GATEWAY = "169.254.1.1"  # the gateway that Calico's CNI plugin gives every IPv4 pod


@expects("pod.link", "pod.route", "pod.gateway")
def inside(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """What the pod must have of the family that is asked for; the gateway's neighbour entry is IPv4's, IPv6 resolves as anywhere."""
    if not cluster.backend:
        return
    for pod in scope.pods:
        node, family = str(pod.node), family_of(pod.address)
        tag, veth, steady = tagged(pod.label, family), FactId("veth", node, pod.label), FactId("link.steady", node, pod.label)
        link = FactId("pod.link", node, tag)
        value = {"host": pod.ifname, "pod": pod.label}
        yield Fact("pod.link", node, tag, {"ifname": "eth0", "address": pod.address, **value}, needs=(veth, steady))
        anywhere, gateway = ("0.0.0.0/0", GATEWAY) if family == "ipv4" else ("::/0", HOST_LINK_LOCAL)
        yield Fact("pod.route", node, tag, {"dst": anywhere, "gateway": gateway, "dev": "eth0", **value}, needs=(link, steady))
        if family == "ipv4":
            sysctls = (FactId("sysctl.proxy_arp", node, pod.label), FactId("sysctl.forwarding", node, pod.label))
            needs = (link, veth, steady, *sysctls, FactId("route.gateway", node))
            yield Fact("pod.gateway", node, tag, {"dst": GATEWAY, "lladdr": CNI_MAC, **value}, needs=needs)


def _network(fact: Fact, documents: Documents, part: str) -> t.Sequence[t.Mapping[str, Json]]:
    sandbox = documents.sandbox_of(fact.node, fact.value["pod"], fact.value["host"])
    whose = f"{fact.node}: pod {fact.value['pod']}"
    network = as_mapping(section_of(sandbox, "network", whose))
    return shaped(section_of(network, part, whose), SHAPES[part], f"{whose}: {part}")


def _sources(fact: Fact) -> tuple[str, ...]:
    return (f"pod {fact.value['pod']}",)


@check("pod.link.down", "pod.address.missing", fact="pod.link")
def eth0(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    link = next((li for li in _network(fact, documents, "links") if li.get("ifname") == "eth0"), None)
    if link is None or "UP" not in as_list(link.get("flags")):
        return Finding("pod.link.down", fact, "missing" if link is None else "down", f"eth0 of {fact.value['pod']}: {'missing' if link is None else 'down'}",
                       _sources(fact))  # fmt: skip
    held = [f"{a.get('local')}/{a.get('prefixlen')}" for a in _network(fact, documents, "addresses") if a.get("ifname") == "eth0"]
    if not any(text.split("/")[0] == fact.value["address"] for text in held):
        evidence = f"eth0 of {fact.value['pod']} has {', '.join(held) or 'no address'}; the API says {fact.value['address']}"
        return Finding("pod.address.missing", fact, held, evidence, (*_sources(fact), "api"))
    return None


@check("pod.route.missing", "pod.route.different", "pod.source.foreign", fact="pod.route")
def default_route(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    routes = _network(fact, documents, "routes")
    defaults = [r for r in routes if r.get("dst") == fact.value["dst"] and r.get("table") in (None, 254)]
    if not defaults:
        lines = "; ".join(route_line(r) for r in routes if r.get("table") in (None, 254)) or "none"
        evidence = f"no default route in {fact.value['pod']}; its routes: {lines}"
        severity: Severity = "warning" if _reaches_the_other_end(fact, routes, scope) else "critical"
        return Finding("pod.route.missing", fact, None, evidence, _sources(fact), severity=severity)
    best = min(defaults, key=lambda route: route.get("metric") or 0)
    if hops(best) != [(fact.value["gateway"], fact.value["dev"])]:
        return Finding("pod.route.different", fact, route_line(best), f"in {fact.value['pod']}: {route_line(best)}", _sources(fact))
    pod, source = documents.cluster.pods.get(fact.value["pod"]), best.get("prefsrc")
    if pod is not None and source and source not in pod.addresses:
        return Finding("pod.source.foreign", fact, source, f"in {fact.value['pod']}: {route_line(best)} src {source}", (*_sources(fact), "api"))
    return None


def _reaches_the_other_end(fact: Fact, routes: t.Sequence[t.Mapping[str, Json]], scope: Scope) -> bool:
    """Whether another route through the gateway covers the other end of the question; flannel's CNI plugin gives pods one to all pods."""
    ends = (scope.question.source, scope.question.destination)
    others = [parse_address(end.address) for end in ends if end.label != fact.value["pod"]]
    networks = [parse_network(r.get("dst")) for r in routes if r.get("table") in (None, 254) and (fact.value["gateway"], fact.value["dev"]) in hops(r)]
    return all(any(network is not None and other in network for network in networks) for other in others if other is not None)


@check("pod.gateway.unresolved", "pod.gateway.wrong", fact="pod.gateway")
def gateway_neighbour(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """No entry is fine: the pod asks when it sends. FAILED or INCOMPLETE: it asked and nobody answered."""
    for entry in _network(fact, documents, "neighbours"):
        if entry.get("dst") != fact.value["dst"]:
            continue
        state, lladdr = as_list(entry.get("state")), entry.get("lladdr")
        line = f"in {fact.value['pod']}: {entry['dst']} dev {entry.get('dev')} {'lladdr ' + str(lladdr) + ' ' if lladdr else ''}{' '.join(map(str, state))}"
        if lladdr and lladdr != fact.value["lladdr"] and _host_mac(fact, documents) not in (None, lladdr):
            return Finding("pod.gateway.wrong", fact, lladdr, line, _sources(fact))
        if "FAILED" in state or "INCOMPLETE" in state:
            return Finding("pod.gateway.unresolved", fact, state[0], line, _sources(fact), severity="warning")
    return None


def _host_mac(fact: Fact, documents: Documents) -> str | None:
    try:
        link = documents.node(fact.node).links.get(fact.value["host"])
    except NotCollected:
        return None
    return str(link.get("address")) if link else None


@cause(roots=("pod.link.down", "pod.address.missing", "pod.route.missing", "pod.route.different", "pod.gateway.wrong"))
def broken_inside(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    what = {
        "pod.link.down": "its eth0 is not up", "pod.address.missing": "its eth0 does not have the pod's address",
        "pod.route.missing": "its default route is gone", "pod.route.different": "its default route goes elsewhere",
        "pod.gateway.wrong": "it sends packets for its gateway to a wrong MAC",
    }  # fmt: skip
    for finding in findings:
        pod, node = finding.fact.value["pod"], finding.fact.node
        yield Cause(
            "pod_side_broken", "F51", node, f"Inside pod {pod} on {node}: {what[finding.check]}.", [finding], objects=[pod],
            why=["Nothing on the node repairs the inside of a pod."],
            remedies=recreate_pod(diagnosis.documents, pod, node),
        )  # fmt: skip


@cause(roots=("pod.source.foreign",))
def foreign_source(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        pod, node, source = finding.fact.value["pod"], finding.fact.node, str(finding.actual)
        yield Cause(
            "workload_rpf_drop", "F16", node, f"Pod {pod} on {node} sends from {source}, which is not its address.", [finding], objects=[pod, source],
            why=[f"Felix on {node} drops what a pod sends from another address (rpfilter, table raw), and answers to {source} do not come to the pod."],
            remedies=[Remedy("advise_pod_source", "R0", f"take the src {source} out of the default route inside of {pod}; a pod that really sends for others"
                             " needs cni.projectcalico.org/allowedSourcePrefixes", "", node=node)],
        )  # fmt: skip
