# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# flannel and canal: leases, the VXLAN device and its entries, routes to other nodes' pods, flanneld (real-calico.md 57 to 76; F75, F76, F77, F78).

from __future__ import annotations

import typing as t
from dataclasses import replace

from ...module_utils import _iptables
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._flannel import Lease, bridged, carries, direct_routing, leases, port
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import Json, NotCollected, as_list, as_mapping, objects, parse_network
from .._question import Scope
from .._remedies import add_tunnel_route, restart_flannel, set_fdb, set_flannel_address, set_neighbour
from .._routes import hops, route_line

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

ANNOTATION = "flannel.alpha.coreos.com"
MOST_ENTRIES = 3  # written one by one; with more of them missing, a restart of flanneld is the smaller step


# --------------------------------------------------------------------------- leases and podCIDRs


@expects("flannel.lease", "podcidr")
def node_objects(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not carries(cluster):
        return
    known = leases(cluster)
    shared = overlapping(known.values())
    for name in dict.fromkeys((*scope.core, *known)):
        lease = known.get(name)
        node = cluster.nodes.get(name)
        yield Fact("flannel.lease", name, value={"public_ip": lease.address if lease is not None else node.internal_ip if node is not None else None})
        if name in scope.mine or name in shared:
            yield Fact("podcidr", name, value={"shared_with": []})


def overlapping(all_leases: t.Iterable[Lease]) -> dict[str, list[str]]:
    """Node -> the nodes whose podCIDR overlaps with its own."""
    in_order = sorted(((lease.cidr, lease.node) for lease in all_leases if lease.cidr is not None), key=lambda entry: (entry[0], entry[1]))
    result: dict[str, list[str]] = {}
    for index, (cidr, node) in enumerate(in_order):
        for other_cidr, other in in_order[index + 1 :]:
            if other_cidr.network_address > cidr.broadcast_address:
                break
            result.setdefault(node, []).append(other)
            result.setdefault(other, []).append(node)
    return result


@check("flannel.public_ip.wrong", "flannel.lease.missing", fact="flannel.lease")
def announced(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    node, wanted = documents.cluster.node(fact.node), fact.value["public_ip"]
    found = node.flannel("public-ip")
    if found is None and documents.cluster.rebuilt:
        raise NotCollected(f"{fact.node}: neither the Kubernetes API nor the other nodes tell its lease")
    if found is None:
        return Finding("flannel.lease.missing", fact, None, f"node {fact.node} has no annotation {ANNOTATION}/public-ip", ("api",))
    if wanted is None:
        raise NotCollected(f"{fact.node}: the Kubernetes API tells no InternalIP")
    if found == wanted:
        return None
    if _packets_arrive_at(fact.node, documents, scope):
        raise NotApplicable(f"{fact.node} announces {found} instead of {wanted}, and packets to its pods arrive")
    evidence = f"{ANNOTATION}/public-ip: {found}; InternalIP: {', '.join(node.internal_ips)}"
    hint = {"overwrite": node.flannel("public-ip-overwrite") == found}
    return Finding("flannel.public_ip.wrong", fact, found, evidence, ("api",), hint=hint)


def _packets_arrive_at(node: str, documents: Documents, scope: Scope) -> bool:
    """Whether marked packets from another node were seen in a pod of this one."""
    ends = {"forward": scope.question.destination, "reverse": scope.question.source}
    return not scope.question.same_node and any(
        end.kind == "pod" and end.node == node and documents.evidence.arrived(direction) is True for direction, end in ends.items()
    )  # fmt: skip


def _as_announced(peer: str, address: Json, documents: Documents, scope: Scope) -> bool:
    """Whether packets go to the address that the peer announces, and arrive there."""
    return address is not None and documents.cluster.node(peer).flannel("public-ip") == address and _packets_arrive_at(peer, documents, scope)


@check("podcidr.duplicate", "podcidr.missing", fact="podcidr")
def own_pod_network(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    node = documents.cluster.node(fact.node)
    if not node.pod_cidrs and documents.cluster.rebuilt:
        raise NotCollected(f"{fact.node}: neither the Kubernetes API nor its own files tell its podCIDR")
    if not node.pod_cidrs:
        return Finding("podcidr.missing", fact, None, f"node {fact.node} has no spec.podCIDR", ("api",))
    others = overlapping(leases(documents.cluster).values()).get(fact.node)
    if not others:
        return None
    text = "; ".join(f"{other}: {', '.join(documents.cluster.node(other).pod_cidrs)}" for other in others)
    return Finding("podcidr.duplicate", fact, list(others), f"spec.podCIDR of {fact.node}: {', '.join(node.pod_cidrs)}; of {text}", ("api",))


# --------------------------------------------------------------------------- flanneld and what it writes for the CNI plugin


@expects("flannel.running", "flannel.subnet_env")
def daemon(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not carries(cluster):
        return
    known = leases(cluster)
    for node in scope.core:
        if cluster.flannel_daemonset is not None:
            yield Fact("flannel.running", node, value="running")
        if bridged(cluster) and node in known and known[node].cidr is not None:  # canal's CNI plugin takes the podCIDR from the API
            yield Fact("flannel.subnet_env", node, value={"FLANNEL_SUBNET": str(known[node].cidr)}, needs=(FactId("podcidr", node),))


@check("flannel.down", fact="flannel.running")
def flanneld_runs(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    flanneld = documents.node(fact.node).flannel("flanneld")
    if not isinstance(as_mapping(flanneld).get("running"), bool):
        raise NotCollected(f"{fact.node}: whether flanneld runs cannot be understood")
    if flanneld["running"]:
        return None
    return Finding("flannel.down", fact, "not running", f"no flanneld process on {fact.node}", (f"processes {fact.node}",), severity="warning")


@check("flannel.subnet_env.missing", "flannel.subnet_env.different", fact="flannel.subnet_env")
def subnet_env(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    found, wanted, source = documents.node(fact.node).flannel("subnet_env"), fact.value["FLANNEL_SUBNET"], (f"files {fact.node}",)
    if found is None:
        return Finding("flannel.subnet_env.missing", fact, None, f"/run/flannel/subnet.env does not exist on {fact.node}", source, severity="warning")
    subnet = as_mapping(found).get("FLANNEL_SUBNET")
    if str(parse_network(subnet)) == wanted:
        return None
    evidence = f"/run/flannel/subnet.env on {fact.node}: FLANNEL_SUBNET={subnet}; its podCIDR is {wanted}"
    return Finding("flannel.subnet_env.different", fact, subnet, evidence, (*source, "api"), severity="warning")


# --------------------------------------------------------------------------- the VXLAN device and its entries


@expects("flannel.device", "flannel.vtep")
def devices(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not carries(cluster):
        return
    known = leases(cluster)
    for node in scope.asked_nodes:
        lease = known.get(node)
        if lease is not None and lease.device is not None:
            value = {"ifname": lease.device, "id": lease.vni, "port": port(cluster), "address": lease.vtep_address}
            yield Fact("flannel.device", node, value=value)
            yield Fact("flannel.vtep", node, value={"ifname": lease.device, "address": lease.vtep_mac}, needs=(FactId("flannel.device", node),))


@check("flannel.device.missing", "flannel.device.down", "flannel.device.different", "flannel.address.different", fact="flannel.device")
def device_up(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, wanted, source = documents.node(fact.node), fact.value, (f"kernel {fact.node}",)
    ifname = wanted["ifname"]
    link = facts.links.get(ifname)
    if link is None:
        return Finding("flannel.device.missing", fact, None, f"no interface {ifname} on {fact.node}", source)
    if "UP" not in as_list(link.get("flags")):
        return Finding("flannel.device.down", fact, "down", f"{ifname}: <{','.join(map(str, as_list(link.get('flags'))))}>", source)
    data = as_mapping(as_mapping(link.get("linkinfo")).get("info_data"))
    wrong = [name for name in ("id", "port") if wanted[name] is not None and data.get(name) is not None and data[name] != wanted[name]]
    if wrong:
        evidence = f"{ifname} of {fact.node}: " + ", ".join(f"{name} {data[name]}, expected {wanted[name]}" for name in wrong)
        return Finding("flannel.device.different", fact, {name: data[name] for name in wrong}, evidence, (*source, "api"))
    held = [str(a.get("local")) for a in facts.addresses if a.get("ifname") == ifname and a.get("family") == "inet"]
    if wanted["address"] is not None and wanted["address"] not in held:
        evidence = f"{ifname} of {fact.node} has {', '.join(held) or 'no address'}, expected {wanted['address']}/32"
        return Finding("flannel.address.different", fact, held, evidence, (*source, "api"), severity="warning")
    return None


@check("flannel.vtep.different", fact="flannel.vtep")
def own_mac(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Peers address their packets to the MAC that the annotation tells; the kernel drops those for another one."""
    ifname, wanted = fact.value["ifname"], fact.value["address"]
    link = documents.node(fact.node).links.get(ifname)
    if link is None:
        raise NotCollected(f"{fact.node}: {ifname} does not exist")
    if wanted is None:
        raise NotCollected(f"{fact.node}: its annotation {ANNOTATION}/backend-data tells no VtepMAC")
    if link.get("address") == wanted:
        return None
    evidence = f"{ifname} of {fact.node}: link/ether {link.get('address')}; {ANNOTATION}/backend-data: VtepMAC {wanted}"
    return Finding("flannel.vtep.different", fact, link.get("address"), evidence, (f"kernel {fact.node}", "api"))


@expects("flannel.route", "flannel.neighbour", "flannel.fdb", "underlay.route")
def towards_others(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not carries(cluster):
        return
    known = leases(cluster)
    for local, peer in scope.pairs(known):
        mine, other = known.get(local), known[peer]
        if mine is None or other.cidr is None:
            continue
        base = (FactId("flannel.lease", peer), FactId("podcidr", local), FactId("podcidr", peer))
        device = (FactId("flannel.device", local), FactId("flannel.vtep", local)) if mine.device else ()
        if other.cidr != mine.cidr:
            yield Fact("flannel.route", local, str(other.cidr), route_value(cluster, mine, other), needs=(*base, *device[:1]))
        if peer in scope.asked and other.address is not None:
            yield Fact("underlay.route", local, peer, {"address": other.address, "peer": peer})
        if mine.device is not None and other.backend == "vxlan":
            entry = {"dev": mine.device, "prefix": str(other.cidr), "direct": direct_routing(cluster) is not False}
            yield Fact("flannel.neighbour", local, peer, {**entry, "dst": other.vtep_address, "lladdr": other.vtep_mac}, needs=(*base, *device))
            yield Fact("flannel.fdb", local, peer, {**entry, "mac": other.vtep_mac, "dst": other.address}, needs=(*base, *device))


def route_value(cluster: Cluster, mine: Lease, other: Lease) -> dict[str, Json]:
    """`ways`: each [gateway, device] that is right; a device of None is any."""
    direct = [other.address, None]
    tunnel = [other.vtep_address, mine.device]
    if mine.device is None:
        ways = [direct]
    else:
        ways = [tunnel] if direct_routing(cluster) is False else [tunnel, direct]
    return {"owner": other.node, "backend": mine.backend, "ways": ways}


def _right(route: t.Mapping[str, Json], ways: list[list[Json]]) -> bool:
    found = hops(route)
    return route.get("type") == "unicast" and len(found) == 1 and any(
        found[0][0] == gateway and device in (None, found[0][1]) for gateway, device in ways
    )  # fmt: skip


@check("flannel.route.missing", "flannel.route.different", fact="flannel.route")
def peer_route(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, value, source = documents.node(fact.node), fact.value, (f"kernel {fact.node}",)
    if value["backend"] not in ("vxlan", "host-gw"):
        raise NotCollected(f"{fact.node}: flannel's backend {value['backend']} is not judged by this version")
    found = facts.routes_to(fact.object)
    if not found:
        return Finding("flannel.route.missing", fact, None, f"no route to {fact.object} on {fact.node}, the pods of {value['owner']}", (*source, "api"))
    best = min(found, key=lambda route: route.get("metric") or 0)
    if any(gateway is None for gateway, _device in value["ways"]):
        raise NotCollected(f"the Kubernetes API does not tell where {value['owner']} is")
    if _right(best, value["ways"]) or _as_announced(value["owner"], best.get("gateway"), documents, scope):
        return None
    return Finding("flannel.route.different", fact, route_line(best), route_line(best), (*source, "api"))


def _unless_direct(fact: Fact, documents: Documents) -> None:
    """With DirectRouting, nodes in one subnet need no entries for each other."""
    if fact.value["direct"]:
        routes = documents.node(fact.node).routes_to(fact.value["prefix"])
        if routes and all(device != fact.value["dev"] for route in routes for _gateway, device in hops(route)):
            raise NotApplicable(f"{fact.node} sends to {fact.object} without a tunnel")


@check("flannel.neighbour.missing", "flannel.neighbour.different", fact="flannel.neighbour")
def vtep_neighbour(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, value, source = documents.node(fact.node), fact.value, (f"kernel {fact.node}",)
    _unless_direct(fact, documents)
    if value["lladdr"] is None:
        raise NotCollected(f"{fact.object}: its annotation {ANNOTATION}/backend-data tells no VtepMAC")
    entry = next((n for n in facts.neighbours_at(value["dst"]) if n.get("dev") == value["dev"] and n.get("lladdr")), None)
    if entry is None:
        evidence = f"no neighbour {value['dst']} dev {value['dev']} on {fact.node}, the VTEP of {fact.object}"
        return Finding("flannel.neighbour.missing", fact, None, evidence, (*source, "api"))
    if entry["lladdr"] == value["lladdr"]:
        return None
    line = f"{value['dst']} dev {value['dev']} lladdr {entry['lladdr']} {' '.join(map(str, as_list(entry.get('state'))))}"
    evidence = f"{line}; VtepMAC of {fact.object}: {value['lladdr']}"
    return Finding("flannel.neighbour.different", fact, entry["lladdr"], evidence, (*source, "api"))


@check("flannel.fdb.missing", "flannel.fdb.different", fact="flannel.fdb")
def vtep_fdb(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Only the entry of the peer's present MAC counts: an old one with the same dst stays behind and does no harm (real-calico.md 61)."""
    facts, value, source = documents.node(fact.node), fact.value, (f"kernel {fact.node}",)
    _unless_direct(fact, documents)
    if value["mac"] is None or value["dst"] is None:
        raise NotCollected(f"the Kubernetes API does not tell the VtepMAC or the address of {fact.object}")
    found = [str(e.get("dst")) for e in facts.fdb_of(value["mac"]) if e.get("ifname") == value["dev"] and e.get("dst")]
    if not found:
        evidence = f"no FDB entry {value['mac']} dev {value['dev']} on {fact.node}, the VTEP of {fact.object}"
        return Finding("flannel.fdb.missing", fact, None, evidence, (*source, "api"))
    if found == [value["dst"]] or (len(found) == 1 and _as_announced(fact.object, found[0], documents, scope)):
        return None
    evidence = f"{value['mac']} dev {value['dev']} dst {', '.join(found)} on {fact.node}; {fact.object} is {value['dst']}"
    return Finding("flannel.fdb.different", fact, found, evidence, (*source, "api"))


# --------------------------------------------------------------------------- causes


def dead_flanneld(diagnosis: Diagnosis, node: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.check == "flannel.down" and finding.fact.node == node]


@cause(roots=("flannel.public_ip.wrong", "flannel.lease.missing"))
def public_ip(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, wanted = finding.fact.node, finding.fact.value["public_ip"]
        if finding.check == "flannel.lease.missing":
            yield Cause("flannel_lease_missing", None, node, f"flanneld has never written a lease for {node}, the other nodes do not know it.", [finding],
                        objects=[f"Node/{node}"], also=dead_flanneld(diagnosis, node),
                        remedies=[Remedy("advise_flannel_log", "R0", f"look at the log of the flannel pod on {node}", "", node=node)])  # fmt: skip
            continue
        yield Cause(
            "flannel_public_ip_wrong", "F75", node, f"flannel on {node} announces {finding.actual}, not its Kubernetes address {wanted}.", [finding],
            objects=[f"Node/{node}"],
            why=["The other nodes send everything for its pods to that address."]
            + (["public-ip-overwrite tells flanneld so, and a restart keeps it."] if finding.hint.get("overwrite") else []),
            remedies=set_flannel_address(diagnosis.documents, node, str(finding.actual), str(wanted), f"flannel on {node} announces {wanted}"),
        )  # fmt: skip


@cause(roots=("podcidr.duplicate", "podcidr.missing"))
def pod_networks(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        if finding.check == "podcidr.missing":
            advice = "run kube-controller-manager with --allocate-node-cidrs and --cluster-cidr"
            yield Cause("podcidr_missing_or_overlapping", "F78", node, f"{node} has no podCIDR, so flannel cannot run there.", [finding],
                        objects=[f"Node/{node}"], remedies=[Remedy("advise_podcidr", "R0", advice, "", node=node)])  # fmt: skip
    shared = [finding for finding in findings if finding.check == "podcidr.duplicate"]
    while shared:
        group, mine = {shared[0].fact.node}, []
        while fresh := [finding for finding in shared if group & {finding.fact.node, *finding.actual}]:
            mine += fresh
            shared = [finding for finding in shared if finding not in fresh]
            group.update(name for finding in fresh for name in (finding.fact.node, *finding.actual))
        names = sorted(group)
        node, cidrs = mine[0].fact.node, {name: ", ".join(diagnosis.documents.cluster.node(name).pod_cidrs) for name in names}
        same = f"the same podCIDR ({cidrs[node]})" if len(set(cidrs.values())) == 1 else f"podCIDRs that overlap ({', '.join(cidrs.values())})"
        yield Cause(
            "podcidr_missing_or_overlapping", "F78", node, f"{' and '.join(names)} have {same}: they give their pods the same addresses.",
            mine, objects=[f"Node/{name}" for name in names],
            why=["The other nodes know only the one whose lease came last."],
            remedies=[Remedy("advise_podcidr", "R0", f"drain one of {', '.join(names)}, delete its Node object and let it register anew: a podCIDR cannot be"
                             " changed", "", node=node)],
        )  # fmt: skip


@cause(roots=("flannel.subnet_env.missing", "flannel.subnet_env.different"))
def no_subnet_env(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        state = "is missing" if finding.check == "flannel.subnet_env.missing" else "is of another podCIDR"
        yield Cause(
            "subnet_env_missing", "F77", node, f"/run/flannel/subnet.env on {node} {state}: new pods there cannot be created.", [finding],
            objects=["/run/flannel/subnet.env"], also=dead_flanneld(diagnosis, node),
            why=["flanneld writes it only when it starts; running pods do not need it."],
            remedies=restart_flannel(diagnosis.documents, node, f"/run/flannel/subnet.env on {node} is of its podCIDR"),
        )  # fmt: skip


@cause(roots=("flannel.device.missing", "flannel.device.down", "flannel.device.different", "flannel.address.different"))
def device_broken(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, ifname = finding.fact.node, finding.fact.value["ifname"]
        state = {
            "flannel.device.missing": ("flannel_device_missing", "is gone"), "flannel.device.down": ("flannel_device_down", "is down"),
            "flannel.device.different": ("flannel_device_different", "has another VNI or port than its configuration says"),
            "flannel.address.different": ("flannel_device_different", f"does not have its address {finding.fact.value['address']}"),
        }[finding.check]  # fmt: skip
        yield Cause(
            state[0], None, node, f"{ifname} {state[1]} on {node}.", [finding], objects=[ifname], also=dead_flanneld(diagnosis, node),
            why=["Without it, no packet leaves for the pods of other nodes."] if finding.severity == "critical" else [],
            remedies=restart_flannel(diagnosis.documents, node, f"{ifname} on {node} is as it must be"),
        )  # fmt: skip


@cause(roots=("flannel.vtep.different",))
def other_mac(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, ifname = finding.fact.node, finding.fact.value["ifname"]
        yield Cause(
            "flannel_vtep_stale", "F76", node, f"{ifname} of {node} has another MAC than flannel told the other nodes.", [finding], objects=[ifname],
            why=[f"What arrives for {finding.fact.value['address']} is dropped.",
                 "Writing the old MAC back does not heal: the change emptied the neighbour table of the device."],
            remedies=restart_flannel(diagnosis.documents, node, f"{ifname} of {node} has the MAC that its annotation tells"),
        )  # fmt: skip


@cause(roots=("flannel.route.missing", "flannel.route.different", "flannel.neighbour.missing", "flannel.neighbour.different", "flannel.fdb.missing",
              "flannel.fdb.different"))  # fmt: skip
def stale_entries(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """One cause for each node: entries of the tunnel (F76), or else only routes."""
    for node in dict.fromkeys(finding.fact.node for finding in findings):
        mine = [finding for finding in findings if finding.fact.node == node]
        entries = [finding for finding in mine if finding.fact.kind != "flannel.route"]
        dead = dead_flanneld(diagnosis, node)
        if entries:
            yield _entries_stale(node, entries, mine, dead, diagnosis)
            continue
        missing = all(finding.check == "flannel.route.missing" for finding in mine)
        prefixes = [finding.fact.object for finding in mine]
        owners = ", ".join(dict.fromkeys(str(finding.fact.value["owner"]) for finding in mine))
        state = "has no route" if missing else "has a wrong route"
        why = "flanneld is dead there." if dead else "With VXLAN, flanneld writes a route only when the other node's lease changes."
        yield Cause(
            "flannel_peer_route_missing" if missing else "flannel_peer_route_wrong", None, node,
            f"{node} {state} to {', '.join(prefixes)}, the pods of {owners}.", mine, objects=prefixes, also=dead, why=[why],
            remedies=_write_entries(diagnosis, node, mine, dead, f"{node} has the route to {', '.join(prefixes)}"),
        )  # fmt: skip


def _entries_stale(node: str, entries: list[Finding], mine: list[Finding], dead: list[Finding], diagnosis: Diagnosis) -> Cause:
    dev = entries[0].fact.value["dev"]
    peers = list(dict.fromkeys(finding.fact.object for finding in entries))
    lost = [finding for finding in entries if finding.check.endswith(".missing")]
    emptied = len(lost) == len(entries) > 2
    if emptied:
        summary, objects = f"{dev} on {node} has lost its entries for {', '.join(peers)}, as if it had been made anew.", [dev]
    else:
        what = {"flannel.neighbour": "neighbour", "flannel.fdb": "FDB entry"}
        words = list(dict.fromkeys(f"{'no' if f.check.endswith('.missing') else 'a wrong'} {what[f.fact.kind]}" for f in entries))
        summary = f"{node} has {' and '.join(words)} for the VTEP of {', '.join(peers)} on {dev}."
        objects = [str(f.fact.value["mac" if f.fact.kind == "flannel.fdb" else "dst"]) for f in entries]
    return Cause(
        "flannel_vtep_stale", "F76", node, summary, mine, objects=objects, also=dead,
        why=["flanneld with VXLAN writes these entries when another node's lease changes, and never again."],
        remedies=_write_entries(diagnosis, node, mine, dead, f"{dev} on {node} has its entries for {', '.join(peers)}"),
    )  # fmt: skip


def _write_entries(diagnosis: Diagnosis, node: str, mine: list[Finding], dead: list[Finding], verify: str) -> list[Remedy]:
    """The few entries that are wrong, one by one, where flanneld lives; else its restart, which writes all of them."""
    exact = [_exact(finding, node) for finding in mine]
    if dead or len(mine) > MOST_ENTRIES or None in exact:
        return restart_flannel(diagnosis.documents, node, verify)
    *first, last = (remedy for remedy in exact if remedy is not None)
    return [*first, replace(last, wait_seconds=10)]


def _exact(finding: Finding, node: str) -> Remedy | None:
    value = finding.fact.value
    if finding.fact.kind == "flannel.neighbour":
        return set_neighbour(node, value["dst"], value["dev"], value["lladdr"], finding.actual)
    if finding.fact.kind == "flannel.fdb":
        found = as_list(finding.actual)
        return set_fdb(node, value["mac"], value["dev"], value["dst"], found[0] if found else None) if len(found) < 2 else None
    [gateway, dev], *others = value["ways"]
    if finding.check == "flannel.route.missing" and dev is not None and not others:
        return add_tunnel_route(node, finding.fact.object, gateway, dev)
    return None


@expects("flannel.forward")
def forwarded(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """Where the policy of FORWARD is DROP, flanneld's own rules must let the pods' packets through (real-calico.md 63)."""
    if bridged(cluster):
        for node in scope.core:
            yield Fact("flannel.forward", node, value="FORWARD lets the pods' packets through")


@check("flannel.forward.dropped", fact="flannel.forward")
def forward_accepts(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    for entry in objects(as_mapping(documents.node(fact.node).section("netfilter")).get("iptables")):
        if entry.get("family") != "inet":
            continue
        if not isinstance(entry.get("text"), str):
            raise NotCollected(f"{fact.node}: netfilter: {entry.get('error')}")
        table = _iptables.parse(entry["text"]).tables.get("filter")
        chain = table.chains.get("FORWARD") if table is not None else None
        if chain is not None and chain.policy == "DROP" and not any(rule.target == "FLANNEL-FWD" for rule in chain.rules):
            evidence = f"{fact.node}: iptables ({entry.get('backend')}) -P FORWARD DROP ({chain.packets} packets), no rule -j FLANNEL-FWD"
            return Finding("flannel.forward.dropped", fact, "DROP", evidence, (f"netfilter {fact.node}",))
    return None


@cause(roots=("flannel.forward.dropped",))
def forward_drop(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        dead = dead_flanneld(diagnosis, node)
        yield Cause(
            "flannel_forward_drop", "F77", node, f"{node} drops what it forwards for its pods: the policy of FORWARD is DROP and flannel's rules are gone.",
            [finding], objects=["iptables FORWARD"], also=dead,
            why=["docker sets this policy; flanneld lets the pods through it, and puts its rules back every 5 s while it lives."],
            remedies=restart_flannel(diagnosis.documents, node, f"FORWARD on {node} lets the pods' packets through"),
        )  # fmt: skip


@cause(roots=("flannel.down",))
def flanneld_dead(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node = finding.fact.node
        if diagnosis.unseen_on(node):  # what it has not written may be the cause, and what it has may be broken
            continue
        yield Cause("flanneld_not_running", None, node, f"flanneld does not run on {node}: what is there works, nothing new is written.", [finding],
                    objects=["flanneld"], remedies=restart_flannel(diagnosis.documents, node, f"flanneld runs on {node}"))  # fmt: skip
