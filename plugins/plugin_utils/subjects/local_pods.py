# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The host side of a node's own pods: veth, route, neighbour, forwarding (calico.md section 2; F17, F20, F21, F52, F53).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster, Pod
from .._collection import HOST_LINK_LOCAL
from .._dataplane import typha_service
from .._documents import Documents
from .._flannel import BRIDGE, bridged
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import FAMILIES, Family, NotCollected, as_list, as_mapping, family_of, objects, parse_address, parse_network, tagged
from .._question import Scope, aliens, host_interface
from .._remedies import dead_felix, felix_first, recreate_pod, restart_calico_node, restart_typha, set_sysctl, wait_first
from .._routes import hops, route_line
from .._topology import host_prefix
from .bridge import bridged_veth
from .network_manager import PODS

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

AFTER_TYPHA = 30  # seconds: Felix connects to Typha again within 10 s, gets everything anew, and writes what is missing
CNI_MAC = "ee:ee:ee:ee:ee:ee"  # cni-plugin/pkg/dataplane/linux/dataplane_linux.go


@expects("veth", "route.local", "neighbour.pod", "sysctl.forwarding", "sysctl.proxy_arp", "sysctl.ipv6", "veth.link_local")
def local_pods(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not cluster.backend:
        return
    for node in scope.core:
        for pod in cluster.workloads_on(node):
            ifname = host_interface(pod.namespace, pod.name, cluster.interface_prefix)
            alone = (FactId("link.steady", node, pod.key), FactId("network_manager", node, PODS))
            yield Fact("veth", node, pod.key, {"ifname": ifname, "state": "up"}, needs=alone)
            for family in FAMILIES:
                address = pod.address_in(family)
                if address is not None:
                    yield from _pod_in(cluster, scope, node, pod, ifname, family, address)


def _pod_in(cluster: Cluster, scope: Scope, node: str, pod: Pod, ifname: str, family: Family, address: str) -> Iterator[Fact]:
    """What one address of a pod needs on its node."""
    tag, veth = tagged(pod.key, family), (FactId("veth", node, pod.key), FactId("link.steady", node, pod.key), FactId("network_manager", node, PODS))
    block = cluster.block_of(address)
    # BIRD of another node can announce an alien route of its own, and then it wins here, too
    foreign = [FactId("route.alien", other, str(block.cidr)) for other in aliens(scope, str(block.cidr)) if other != node] if block is not None else []
    yield Fact("route.local", node, tag, {"dst": host_prefix(address), "dev": ifname, "pod": pod.key}, needs=(*veth, *foreign))
    yield Fact("neighbour.pod", node, tag, {"dst": address, "dev": ifname, "pod": pod.key}, needs=veth)
    if family == "ipv4":
        yield Fact("sysctl.forwarding", node, pod.key, {"path": f"net/ipv4/conf/{ifname}/forwarding", "value": "1", "ifname": ifname},
                   needs=(FactId("sysctl.ip_forward", node), *veth))  # fmt: skip
        yield Fact("sysctl.proxy_arp", node, pod.key, {"path": f"net/ipv4/conf/{ifname}/proxy_arp", "value": "1", "ifname": ifname}, needs=veth)
    else:
        yield Fact("sysctl.ipv6", node, pod.key, {"path": f"net/ipv6/conf/{ifname}/disable_ipv6", "value": "0", "ifname": ifname}, needs=veth)
        yield Fact("veth.link_local", node, pod.key, {"address": HOST_LINK_LOCAL, "ifname": ifname}, needs=(FactId("sysctl.ipv6", node, pod.key), *veth))


@expects("sysctl.ip_forward", "felix.running", "route.gateway")
def per_node(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for node in scope.core:
        for family in {family_of(address) for pod in cluster.workloads_on(node) for address in pod.addresses} or {"ipv4"}:
            yield Fact("sysctl.ip_forward", node, tagged("", family), value="1")
        if cluster.backend:
            yield Fact("felix.running", node, value="running")
            yield Fact("route.gateway", node, value="a route to 169.254.1.1")


@check("veth.missing", "veth.down", fact="veth")
def veth_up(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    if bridged(documents.cluster):
        return bridged_veth(fact, documents)
    ifname, source = fact.value["ifname"], (f"kernel {fact.node}", "api")
    link = documents.node(fact.node).links.get(ifname)
    if link is None:
        return Finding("veth.missing", fact, None, f"no interface {ifname} on {fact.node}, where pod {fact.object} runs", source)
    if "UP" not in as_list(link.get("flags")):
        flags = ",".join(map(str, as_list(link.get("flags"))))
        return Finding("veth.down", fact, "down", f"{ifname}: <{flags}> state {link.get('operstate')}", source)
    return None


@check("route.local.missing", "route.local.different", fact="route.local")
def local_route(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, wanted = documents.node(fact.node), fact.value
    source = (f"kernel {fact.node}", "api")
    found = facts.routes_to(wanted["dst"])
    if not found:
        evidence = f"no route {wanted['dst']} dev {wanted['dev']} on {fact.node}, where pod {wanted['pod']} runs"
        return Finding("route.local.missing", fact, None, evidence, source)
    best = min(found, key=lambda route: route.get("metric") or 0)
    if [device for _gateway, device in hops(best)] == [wanted["dev"]]:
        return None
    return Finding("route.local.different", fact, route_line(best), route_line(best), source)


@check("neighbour.pod.wrong", fact="neighbour.pod")
def pod_neighbour(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """The node's entry for the pod must carry the MAC of the pod's own eth0; no entry is fine, the kernel asks when it needs one."""
    facts, wanted = documents.node(fact.node), fact.value
    entry = next((n for n in facts.neighbours_at(wanted["dst"]) if n.get("dev") == wanted["dev"]), None)
    if entry is None or not entry.get("lladdr"):
        return None
    if fact.value["pod"] not in scope.labels:
        if "PERMANENT" not in as_list(entry.get("state")):
            return None
    mac = _pod_mac(documents, fact.node, fact.value["pod"], wanted["dev"])
    if mac is None and fact.value["pod"] in scope.labels:
        raise NotCollected(f"{fact.node}: the MAC of pod {fact.value['pod']} could not be read")
    if mac is None or mac == entry.get("lladdr"):
        return None
    evidence = f"{wanted['dst']} dev {wanted['dev']} lladdr {entry.get('lladdr')} {' '.join(map(str, as_list(entry.get('state'))))}; the pod's eth0 has {mac}"
    return Finding("neighbour.pod.wrong", fact, entry.get("lladdr"), evidence, (f"kernel {fact.node}", f"pod {fact.value['pod']}"))


def _pod_mac(documents: Documents, node: str, pod: str, ifname: str) -> str | None:
    network = as_mapping(documents.sandbox_of(node, pod, ifname).get("network"))
    return next((link["address"] for link in objects(network.get("links")) if link.get("ifname") == "eth0" and isinstance(link.get("address"), str)), None)


def _sysctl(fact: Fact, documents: Documents, check_id: str, path: str, wanted: str = "1") -> Finding | None:
    value = documents.node(fact.node).sysctl(path)
    if value == wanted:
        return None
    return Finding(check_id, fact, value, f"{path.replace('/', '.')} = {value}", (f"kernel {fact.node}",))


FORWARDING: dict[Family, str] = {"ipv4": "net/ipv4/ip_forward", "ipv6": "net/ipv6/conf/all/forwarding"}


@check("forwarding.off", fact="sysctl.ip_forward")
def ip_forward(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    return _sysctl(fact, documents, "forwarding.off", FORWARDING[fact.family])


@check("forwarding.interface.off", fact="sysctl.forwarding")
def interface_forwarding(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    if fact.value["ifname"] not in documents.node(fact.node).links:
        raise NotCollected(f"{fact.node}: {fact.value['ifname']} does not exist")
    return _sysctl(fact, documents, "forwarding.interface.off", fact.value["path"])


@check("proxy_arp.off", fact="sysctl.proxy_arp")
def proxy_arp(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """The kernel answers for 169.254.1.1 if proxy_arp is set on the interface or on all (Documentation/networking/ip-sysctl)."""
    facts = documents.node(fact.node)
    if fact.value["ifname"] not in facts.links:
        raise NotCollected(f"{fact.node}: {fact.value['ifname']} does not exist")
    if facts.sysctl("net/ipv4/conf/all/proxy_arp") == "1":
        return None
    return _sysctl(fact, documents, "proxy_arp.off", fact.value["path"])


@check("ipv6.disabled", fact="sysctl.ipv6")
def ipv6_enabled(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    if fact.value["ifname"] not in documents.node(fact.node).links:
        raise NotCollected(f"{fact.node}: {fact.value['ifname']} does not exist")
    return _sysctl(fact, documents, "ipv6.disabled", fact.value["path"], "0")


@check("veth.link_local.missing", fact="veth.link_local")
def host_link_local(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """The pod's IPv6 default route points at it."""
    facts, ifname = documents.node(fact.node), fact.value["ifname"]
    link = facts.links.get(ifname)
    if link is None:
        raise NotCollected(f"{fact.node}: {ifname} does not exist")
    held = [str(a.get("local")) for a in facts.addresses if a.get("ifname") == ifname and str(a.get("local")).startswith("fe80:")]
    if fact.value["address"] in held:
        return None
    if link.get("address") != CNI_MAC:
        raise NotApplicable(f"{ifname} has a MAC of its own, so the pod's gateway is another address")
    evidence = f"{ifname} of {fact.node}: {', '.join(held) or 'no link-local address'}, the pod's gateway is {fact.value['address']}"
    return Finding("veth.link_local.missing", fact, held, evidence, (f"kernel {fact.node}",))


@check("route.gateway.missing", fact="route.gateway")
def link_local_gateway_routed(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Proxy ARP answers for 169.254.1.1 only where the node has some route to it, normally its default route (calico.md trap 10)."""
    facts = documents.node(fact.node)
    try:
        answer = facts.lookup(dst="169.254.1.1")
    except NotCollected:
        if any(_covers(route, "169.254.1.1") for route in facts.routes):
            return None
        evidence = f"no route of {fact.node} covers 169.254.1.1, not even a default route"
        return Finding("route.gateway.missing", fact, None, evidence, (f"kernel {fact.node}",))
    if not answer.get("error"):
        return None
    return Finding("route.gateway.missing", fact, answer["error"], f"ip route get 169.254.1.1: {answer['error']}", (f"kernel {fact.node}",))


def _covers(route: t.Mapping[str, t.Any], address: str) -> bool:
    network = parse_network(route.get("dst"))
    return route.get("type") == "unicast" and network is not None and parse_address(address) in network


@check("felix.down", fact="felix.running")
def felix_runs(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    felix = documents.node(fact.node).process("felix")
    if felix.get("running") is not False:
        return None
    return Finding("felix.down", fact, "not running", f"no Felix process on {fact.node}", (f"processes {fact.node}",), severity="latent")


# --------------------------------------------------------------------------- causes


@cause(roots=("route.local.missing", "route.local.different"))
def local_route_broken(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    stale = [finding for finding in findings if finding.check == "route.local.missing" and not dead_felix(diagnosis, finding.fact.node)]
    nodes = sorted({finding.fact.node for finding in stale})
    if len(nodes) > 1 and typha_service(diagnosis.documents.cluster):
        pods = sorted({str(finding.fact.value["pod"]) for finding in stale})
        verify = "Typha has told Felix of the pods again"
        advice = Remedy("advise_typha_restart", "R0", "restart the Typha pods one by one, then calico-node on the nodes whose routes stay away", "")
        typha = restart_typha(diagnosis.documents, verify)
        restarts = [remedy for node in nodes for remedy in _after_typha(diagnosis, node)] if typha else []
        yield Cause(
            "stale_typha_data", "F45", nodes[0], f"{', '.join(nodes)} have lost the routes to {len(pods)} of their own pods at once, and Felix runs there.",
            stale, objects=pods, heuristic=True, remedies=[*typha, *restarts] or [advice],
            why=["Felix gets its data from Typha here: one that has missed updates of the API takes them away from many nodes."],
        )  # fmt: skip
        findings = [finding for finding in findings if finding not in stale]
    for finding in findings:
        node, pod = finding.fact.node, finding.fact.value["pod"]
        dead = dead_felix(diagnosis, node)
        missing = finding.check == "route.local.missing"
        wanted = f"{finding.fact.value['dst']} dev {finding.fact.value['dev']}"
        summary = f"{node} has no route to its own pod {pod}." if missing else f"{node} sends packets for its own pod {pod} into another interface."
        why = [f"Expected: {wanted}" + ("." if missing else f"; found: {finding.actual}.")]
        if finding.fact.value["dev"] == BRIDGE:
            yield Cause("local_pod_route_missing" if missing else "pod_route_wrong_iface", "F20" if missing else "F21", node, summary, [finding], objects=[pod],
                        why=[*why, f"The kernel makes it with the address of {BRIDGE}."])  # fmt: skip
            continue
        why.append(f"Felix on {node} is dead; it would write the route." if dead else "Felix writes it again within 90 s if it is well.")
        verify = f"{node} has the route {wanted}"
        again = restart_calico_node(diagnosis.documents, node, verify)
        yield Cause(
            "local_pod_route_missing" if missing else "pod_route_wrong_iface", "F20" if missing else "F21", node, summary, [finding],
            objects=[pod], why=why, also=dead, remedies=again if dead else felix_first(node, verify, again),
        )  # fmt: skip


def _after_typha(diagnosis: Diagnosis, node: str) -> list[Remedy]:
    verify = f"{node} has the routes to its pods"
    return wait_first(node, f"Felix on {node}", AFTER_TYPHA, verify, restart_calico_node(diagnosis.documents, node, verify))


@cause(roots=("forwarding.off", "forwarding.interface.off", "proxy_arp.off", "ipv6.disabled"))
def sysctl_cleared(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, six = finding.fact.node, finding.fact.family == "ipv6" or finding.check == "ipv6.disabled"
        path = FORWARDING[finding.fact.family] if finding.check == "forwarding.off" else finding.fact.value["path"]
        wanted = "0" if finding.check == "ipv6.disabled" else "1"
        name = path.replace("/", ".")
        what = {
            "ipv6.disabled": f"{node} has IPv6 switched off on the interface of pod {finding.fact.object}",
            "forwarding.off": f"{node} forwards no {'IPv6 ' if six else ''}packets at all",
            "forwarding.interface.off": f"{node} forwards nothing that comes from pod {finding.fact.object}",
            "proxy_arp.off": f"{node} does not answer ARP for the gateway of pod {finding.fact.object}",
        }[finding.check]
        yield Cause(
            "ipv6_disabled_or_no_ll" if six else "proxy_arp_or_forwarding_cleared", "F74" if six else "F17", node, f"{what}: {name} is {finding.actual}.",
            [finding], objects=[name],
            why=[("Felix sets it when an interface comes up and never again" if diagnosis.documents.cluster.backend else "Nothing sets it a second time")
                 + "; sysctl --system or a hardening script clears it."],
            remedies=[
                set_sysctl(node, path, finding.actual, wanted, f"{name} is {wanted} on {node}", f"{node} forwards again"),
            ],
        )  # fmt: skip


@cause(roots=("veth.link_local.missing",))
def no_link_local(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, pod, ifname = finding.fact.node, finding.fact.object, finding.fact.value["ifname"]
        yield Cause("ipv6_disabled_or_no_ll", "F74", node, f"{ifname} on {node} lacks the address that pod {pod} uses as its IPv6 gateway.", [finding],
                    objects=[pod],
                    remedies=recreate_pod(diagnosis.documents, pod, node))  # fmt: skip


@cause(roots=("route.gateway.missing",))
def no_default_route(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        yield Cause("no_route_to_169_254_1_1", "F18", node, f"{node} has no route to 169.254.1.1, so it does not answer its pods' ARP.", [finding],
                    why=["Proxy ARP needs some route to the address, normally the default route."],
                    remedies=[*_gateway_route(diagnosis, node),
                              Remedy("advise_default_route", "R0", f"for good: give {node} its default route back", "", node=node)])  # fmt: skip


def _gateway_route(diagnosis: Diagnosis, node: str) -> Iterator[Remedy]:
    """The route to the pods' gateway alone, over the interface of the node's own address."""
    cluster = diagnosis.documents.cluster
    address = cluster.nodes[node].internal_ip if node in cluster.nodes else None
    try:
        device = diagnosis.documents.node(node).link_holding(str(address))
    except NotCollected:
        device = None
    if device:
        line = f"169.254.1.1/32 dev {device} scope link"
        yield Remedy(
            "add_gateway_route", "R1", f"ip route add {line} on {node}", f"ip route del {line}", node=node, object=line, change=("", line),
            parameters={"dev": device}, verify=f"{node} answers its pods' ARP", blast_radius=f"{node} answers its pods' ARP for their gateway",
            preconditions=("there is no route to 169.254.1.1",), wait_seconds=20,
        )  # fmt: skip


@cause(roots=("veth.missing", "veth.down"))
def veth_broken(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, pod, ifname = finding.fact.node, finding.fact.object, finding.hint.get("ifname") or finding.fact.value["ifname"]
        missing = finding.check == "veth.missing"
        remedies = (
            recreate_pod(diagnosis.documents, pod, node)
            if missing
            else [Remedy("set_link_up", "R1", f"ip link set {ifname} up on {node}", f"ip link set {ifname} down", node=node, object=ifname,
                         change=("down", "up"), parameters={"ifname": ifname}, verify=f"{ifname} is up on {node}",
                         blast_radius=f"pod {pod} only", preconditions=(f"{ifname} is down",), wait_seconds=20)]
        )  # fmt: skip
        state = "is gone" if missing else "is down"
        name = f" {ifname}" if ifname else ""
        yield Cause("host_veth_missing", "F52", node, f"The host interface{name} of pod {pod} on {node} {state}.", [finding], objects=[pod],
                    remedies=remedies)  # fmt: skip


@cause(roots=("neighbour.pod.wrong",))
def stale_neighbour(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, pod = finding.fact.node, finding.fact.value["pod"]
        address, ifname = finding.fact.value["dst"], finding.fact.value["dev"]
        yield Cause("stale_host_neighbour", "F53", node, f"{node} sends packets for pod {pod} to a MAC that the pod does not have.", [finding], objects=[pod],
                    remedies=[Remedy("delete_neighbour", "R1", f"ip neigh del {address} dev {ifname} on {node}",
                                     f"ip neigh replace {address} lladdr {finding.actual} dev {ifname}", node=node, object=f"{address} dev {ifname}",
                                     change=(str(finding.actual), ""), parameters={"dst": address, "dev": ifname},
                                     verify=f"{address} resolves to the pod's MAC", blast_radius=f"pod {pod} only",
                                     preconditions=("the entry is not the pod's own MAC",), wait_seconds=20)])  # fmt: skip


@cause(roots=("felix.down",))
def felix_dead(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        if diagnosis.unseen_on(node):  # what it has not written may be the cause, and what it has may be broken
            continue
        yield Cause("felix_not_ready", "F43", node, f"Felix does not run on {node}: existing pods work, nothing new is programmed.", [finding],
                    remedies=restart_calico_node(diagnosis.documents, node, f"Felix runs on {node}"))  # fmt: skip
