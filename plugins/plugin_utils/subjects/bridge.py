# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Pods as ports of flannel's bridge cni0: the bridge, the pod's veth, its port, its gateway (real-calico.md 65, 68; F52, F77).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents, NodeFacts
from .._flannel import BRIDGE, bridged, leases
from .._graph import Fact, FactId, Finding
from .._json import Json, NotCollected, as_list, as_mapping, parse_address, parse_network
from .._question import Scope

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._diagnosis import Diagnosis


@expects("bridge", "bridge.port", "veth", "route.local", "neighbour.pod", "pod.link", "pod.route", "pod.gateway")
def bridged_pods(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not bridged(cluster):
        return
    known = leases(cluster)
    asked = {pod.label for pod in scope.pods}
    for node in scope.core:
        lease = known.get(node)
        pods = [pod for pod in cluster.workloads_on(node) if "." in str(pod.address)]
        if lease is None or lease.cidr is None or not pods:  # the CNI plugin makes the bridge with the first pod
            continue
        bridge = FactId("bridge", node)
        yield Fact("bridge", node, value={"ifname": BRIDGE, "address": f"{lease.bridge_address}/{lease.cidr.prefixlen}"}, needs=(FactId("podcidr", node),))
        for pod in pods:
            veth, link, address = FactId("veth", node, pod.key), FactId("pod.link", node, pod.key), FactId("pod.address", "", pod.key)
            yield Fact("veth", node, pod.key, {"ifname": None, "state": "up"})
            yield Fact("bridge.port", node, pod.key, {"master": BRIDGE, "state": "forwarding"}, needs=(veth, bridge))
            yield Fact("route.local", node, pod.key, {"dst": str(lease.cidr), "dev": BRIDGE, "pod": pod.key}, needs=(bridge,))
            if pod.key in asked:
                needs = (bridge, FactId("bridge.port", node, pod.key), address)
                yield Fact("neighbour.pod", node, pod.key, {"dst": pod.address, "dev": BRIDGE, "pod": pod.key}, needs=needs)
                yield Fact("pod.link", node, pod.key, {"ifname": "eth0", "address": pod.address, "host": BRIDGE, "pod": pod.key}, needs=(veth,))
                yield Fact("pod.route", node, pod.key, {"dst": "0.0.0.0/0", "gateway": lease.bridge_address, "dev": "eth0", "host": BRIDGE, "pod": pod.key},
                           needs=(link, FactId("podcidr", node)))  # fmt: skip
                yield Fact("pod.gateway", node, pod.key, {"dst": lease.bridge_address, "lladdr": None, "host": BRIDGE, "pod": pod.key},
                           needs=(link, bridge, FactId("bridge.port", node, pod.key), FactId("podcidr", node)))  # fmt: skip


def _port(facts: NodeFacts, documents: Documents, pod: str) -> Mapping[str, Json] | None:
    """The host's end of the pod's veth; None where the pod's namespace has none. With several, the one that is a port of the bridge."""
    sandbox = documents.sandbox_of(facts.name, pod, BRIDGE)
    names = [str(name) for name in as_list(sandbox.get("ifnames"))] or [str(name) for name in (sandbox.get("ifname"),) if name]
    links = [link for name, link in facts.links.items() if name in names]
    return next((link for link in links if link.get("master") == BRIDGE), links[0] if links else None)


def bridged_veth(fact: Fact, documents: Documents) -> Finding | None:
    """The check of the fact veth where its name is not told by the API."""
    facts, source = documents.node(fact.node), (f"kernel {fact.node}", "api")
    link = _port(facts, documents, fact.object)
    if link is None:
        return Finding("veth.missing", fact, None, f"no interface of {fact.node} leads into pod {fact.object}", source)
    if "UP" not in as_list(link.get("flags")):
        flags = ",".join(map(str, as_list(link.get("flags"))))
        evidence = f"{link.get('ifname')}: <{flags}> state {link.get('operstate')}"
        return Finding("veth.down", fact, "down", evidence, source, hint={"ifname": link.get("ifname")})
    return None


@check("bridge.missing", "bridge.down", "bridge.address.different", fact="bridge")
def bridge_up(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, ifname, source = documents.node(fact.node), fact.value["ifname"], (f"kernel {fact.node}",)
    link = facts.links.get(ifname)
    if link is None:
        return Finding("bridge.missing", fact, None, f"no interface {ifname} on {fact.node}", source)
    if "UP" not in as_list(link.get("flags")):
        return Finding("bridge.down", fact, "down", f"{ifname}: <{','.join(map(str, as_list(link.get('flags'))))}>", source)
    held = [f"{a.get('local')}/{a.get('prefixlen')}" for a in facts.addresses if a.get("ifname") == ifname and a.get("family") == "inet"]
    if fact.value["address"] in held:
        return None
    evidence = f"{ifname} of {fact.node}: inet {', '.join(held) or 'none'}; its podCIDR asks for {fact.value['address']}"
    return Finding("bridge.address.different", fact, held, evidence, (*source, "api"))


@check("bridge.port.missing", "bridge.port.disabled", fact="bridge.port")
def is_port(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, wanted, source = documents.node(fact.node), fact.value, (f"kernel {fact.node}",)
    link = _port(facts, documents, fact.object)
    if link is None:
        raise NotCollected(f"{fact.node}: no interface leads into pod {fact.object}")
    ifname = link.get("ifname")
    if link.get("master") != wanted["master"]:
        evidence = f"{ifname} of pod {fact.object} on {fact.node}: master {link.get('master') or 'none'}, expected {wanted['master']}"
        return Finding("bridge.port.missing", fact, link.get("master"), evidence, source, hint={"ifname": ifname})
    state = as_mapping(as_mapping(link.get("linkinfo")).get("info_slave_data")).get("state")
    if not isinstance(state, str):
        raise NotCollected(f"{fact.node}: the state of bridge port {ifname} could not be read")
    if state == wanted["state"]:
        return None
    evidence = f"{ifname} of pod {fact.object} on {fact.node}: bridge port state {state}"
    return Finding("bridge.port.disabled", fact, state, evidence, source, hint={"ifname": ifname})


@cause(roots=("bridge.missing", "bridge.down", "bridge.address.different"))
def bridge_broken(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, ifname, wanted = finding.fact.node, finding.fact.value["ifname"], finding.fact.value["address"]
        if finding.check == "bridge.down":
            yield Cause("bridge_down", None, node, f"The bridge {ifname} on {node} is down: none of its pods is reached.", [finding], objects=[ifname],
                        remedies=[Remedy("set_link_up", "R1", f"ip link set {ifname} up on {node}", f"ip link set {ifname} down", node=node, object=ifname,
                                         change=("down", "up"), parameters={"ifname": ifname}, verify=f"{ifname} is up on {node}",
                                         blast_radius=f"the pods of {node}", preconditions=(f"{ifname} is down",), wait_seconds=30)])  # fmt: skip
        elif finding.check == "bridge.missing":
            yield Cause("bridge_missing", None, node, f"The bridge {ifname} on {node} is gone, its pods have lost their links.", [finding], objects=[ifname],
                        remedies=[Remedy("advise_recreate_pods", "R0", f"delete the pods of {node}, one after the other: the CNI plugin makes {ifname} with the"
                                         " first new one", "", node=node)])  # fmt: skip
        else:
            held, inside = [str(text) for text in finding.actual], parse_network(wanted)
            parsed = {text: parse_address(text.partition("/")[0]) for text in held}
            foreign = [text for text, address in parsed.items() if inside is not None and address is not None and address not in inside]
            yield Cause("cni0_mismatch", "F77", node, f"{ifname} on {node} has {', '.join(held) or 'no address'}, its podCIDR asks for {wanted}.", [finding],
                        objects=[ifname], why=["Its pods have no gateway, and new pods cannot be created."],
                        remedies=[Remedy("advise_bridge_address", "R0", f"ip address add {wanted} dev {ifname} on {node}"
                                         + "".join(f"; ip address del {text} dev {ifname}" for text in foreign), "", node=node)])  # fmt: skip


@cause(roots=("bridge.port.missing", "bridge.port.disabled"))
def port_broken(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, pod, ifname, bridge = finding.fact.node, finding.fact.object, finding.hint.get("ifname"), finding.fact.value["master"]
        if finding.check == "bridge.port.missing":
            yield Cause("veth_not_on_bridge", None, node, f"{ifname}, the host interface of pod {pod}, is no port of {bridge} on {node}.", [finding],
                        objects=[pod, str(ifname)], why=["A network manager may have taken it out."],
                        remedies=[_set_port(node, pod, str(ifname), bridge, "") if finding.actual is None else
                                  Remedy("advise_bridge_port", "R0", f"ip link set {ifname} master {bridge} on {node}", "", node=node)])  # fmt: skip
        else:
            yield Cause("bridge_port_disabled", None, node, f"{ifname}, the port of pod {pod} on {bridge} of {node}, is {finding.actual}: nothing passes it.",
                        [finding], objects=[pod, str(ifname)],
                        remedies=[_set_port(node, pod, str(ifname), bridge, str(finding.actual))])  # fmt: skip


def _set_port(node: str, pod: str, ifname: str, bridge: str, state: str) -> Remedy:
    """Make it a port of the bridge that forwards (R1). state: of the port that it is now, empty where it is none."""
    command = f"bridge link set dev {ifname} state 3" if state else f"ip link set {ifname} master {bridge}"
    back = f"bridge link set dev {ifname} state 0" if state else f"ip link set {ifname} nomaster"
    return Remedy(
        "set_bridge_port", "R1", f"{command} on {node}", back, node=node, object=ifname, change=(state, "forwarding"),
        parameters={"ifname": ifname, "master": bridge}, verify=f"{ifname} is a forwarding port of {bridge} on {node}", blast_radius=f"pod {pod} only",
        preconditions=(f"{ifname} is a port of no other bridge",), wait_seconds=30,
    )  # fmt: skip
