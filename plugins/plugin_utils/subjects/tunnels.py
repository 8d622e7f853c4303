# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# tunl0, vxlan.calico and what Felix writes for the other ends (calico.md sections 2.5 and 3.4; F34 to F40).

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._allocations import holder
from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster, Node
from .._documents import Documents
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import FAMILIES, Family, NotCollected, as_list, as_mapping, tagged
from .._question import Scope
from .._remedies import dead_felix, felix_first, recreate_pod, restart_calico_node
from .._topology import VTEP_ADDRESS, default_vtep_mac, encapsulation, felix_programs, peer_addresses, tunnel_device, uses_encapsulation
from .network_manager import TUNNELS

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._diagnosis import Diagnosis
    from .._json import Json

VTEP_MAC: Mapping[Family, str] = {"ipv4": "VXLANTunnelMACAddr", "ipv6": "VXLANTunnelMACAddrV6"}


def vtep_mac(node: Node, family: Family) -> str:
    """Annotation VXLANTunnelMACAddr, else computed from the node's name."""
    announced = node.annotation(VTEP_MAC[family])
    return announced.lower() if announced else default_vtep_mac(node.name, family)


def vteps(cluster: Cluster, family: Family) -> Mapping[str, tuple[str, str]]:
    """Node -> (address, MAC) of its VXLAN tunnel end, for those that announce one."""

    def read() -> dict[str, tuple[str, str]]:
        return {
            node.name: (address, vtep_mac(node, family))
            for node in cluster.nodes.values()
            if (address := node.annotation(VTEP_ADDRESS[family])) is not None
        }

    return cluster.once(f"vteps {family}", read)


@expects("tunnel.device", "tunnel.address", "tunnel.unique", "tunnel.conflict")
def devices(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not cluster.backend:
        return
    for name in scope.core:
        node = cluster.nodes.get(name)
        if node is None:
            continue
        for family in FAMILIES:
            tag, vxlan = tagged("", family), uses_encapsulation(cluster, "vxlan", family)
            if node.calico_interface(family) is None:
                continue
            if vxlan:
                value = {"ifname": tunnel_device("vxlan", family), "address": node.annotation(VTEP_ADDRESS[family]), "mac": vtep_mac(node, family)}
                yield Fact("tunnel.conflict", name, tag, {"ifname": value["ifname"], **vxlan_settings(cluster)})
                yield Fact("tunnel.device", name, tag, value, needs=(FactId("tunnel.conflict", name, tag), FactId("network_manager", name, TUNNELS)))
            elif family == "ipv4" and uses_encapsulation(cluster, "ipip", family):
                value = {"ifname": "tunl0", "address": node.annotation("IPv4IPIPTunnelAddr"), "mac": None}
                yield Fact("tunnel.device", name, tag, value, needs=(FactId("network_manager", name, TUNNELS),))
            else:
                continue
            yield Fact("tunnel.unique", name, tag, value)
            yield Fact("tunnel.address", name, tag, value, needs=(FactId("tunnel.device", name, tag), FactId("vtep", name, tag)))


def vxlan_settings(cluster: Cluster) -> dict[str, int]:
    """VNI and UDP port of FelixConfiguration; Calico's defaults are 4096 and 4789."""
    felix = cluster.felix_configuration() if not cluster.rebuilt else {}
    return {"vni": int(felix.get("vxlanVNI") or 4096), "port": int(felix.get("vxlanPort") or 4789)}


@expects("vtep", "vtep.allocated")
def tunnel_ends(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    if not cluster.backend:
        return
    for family in FAMILIES:
        if uses_encapsulation(cluster, "vxlan", family):
            for name in peer_addresses(cluster, family):
                tag = tagged("", family)
                yield Fact("vtep", name, tag, value="an address and a MAC that no other node has")
                yield Fact("vtep.allocated", name, tag, value="an address that IPAM gave out", needs=(FactId("vtep", name, tag),))


@expects("vxlan.neighbour", "vxlan.fdb")
def other_ends(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    """On each asked node, for each other one that is reached through the tunnel from there."""
    if not cluster.backend:
        return
    for family in FAMILIES:
        if not uses_encapsulation(cluster, "vxlan", family):
            continue
        addresses, ends = peer_addresses(cluster, family), vteps(cluster, family)
        networks = {block.node: block.cidr for block in cluster.blocks if (block.cidr.version == 6) == (family == "ipv6")}
        for local, peer in scope.pairs(addresses):
            if peer not in ends or local not in addresses or peer not in networks or encapsulation(cluster, networks[peer], local, peer) != "vxlan":
                continue
            address, mac = ends[peer]
            tag, object_name = tagged("", family), tagged(peer, family)
            device = str(tunnel_device("vxlan", family))
            needs = (FactId("tunnel.device", local, tag), FactId("vtep", peer, tag), FactId("node.address", peer, tag))
            yield Fact("vxlan.neighbour", local, object_name, {"dst": address, "lladdr": mac, "dev": device, "peer": peer}, needs=needs)
            yield Fact("vxlan.fdb", local, object_name, {"mac": mac, "dst": addresses[peer], "ifname": device, "peer": peer}, needs=needs)


def _flags(link: Mapping[str, Json]) -> str:
    return ",".join(map(str, as_list(link.get("flags"))))


@check("tunnel.device.missing", "tunnel.device.down", "tunnel.mac.different", fact="tunnel.device")
def tunnel_up(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, source, ifname = documents.node(fact.node), (f"kernel {fact.node}",), fact.value["ifname"]
    link = facts.links.get(ifname)
    if link is None:
        return Finding("tunnel.device.missing", fact, None, f"no interface {ifname} on {fact.node}", source)
    if "UP" not in as_list(link.get("flags")):
        return Finding("tunnel.device.down", fact, "down", f"{ifname}: <{_flags(link)}>", source)
    mac = fact.value["mac"]
    if mac and link.get("address") not in (None, mac):
        evidence = f"{ifname} of {fact.node} has the MAC {link.get('address')}, all other nodes send to {mac}"
        return Finding("tunnel.mac.different", fact, link.get("address"), evidence, (*source, "api"))
    return None


@check("tunnel.address.different", fact="tunnel.address")
def tunnel_address_held(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, ifname, wanted = documents.node(fact.node), fact.value["ifname"], fact.value["address"]
    if not wanted:
        raise NotApplicable(f"{fact.node} announces no tunnel address")
    held = [str(a.get("local")) for a in facts.addresses if a.get("ifname") == ifname and not str(a.get("local")).startswith("fe80:")]
    if wanted in held:
        return None
    evidence = f"{ifname} of {fact.node} has {', '.join(held) or 'no address'}; its annotation says {wanted}"
    return Finding("tunnel.address.different", fact, held, evidence, (f"kernel {fact.node}", "api"), severity="latent")


@check("tunnel.address.of_a_pod", fact="tunnel.unique")
def tunnel_address_of_no_pod(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    address = fact.value["address"]
    if not address:
        raise NotApplicable(f"{fact.node} announces no tunnel address")
    pods = [pod.key for pod in documents.cluster.pods_at(str(address))]
    if not pods:
        return None
    return Finding("tunnel.address.of_a_pod", fact, pods, f"{fact.value['ifname']} of {fact.node} and pod {', '.join(pods)} have {address}", ("api",),
                   severity="critical" if scope.labels.intersection(pods) else "latent")  # fmt: skip


@cause(roots=("tunnel.address.of_a_pod",))
def tunnel_and_pod(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, pods, address = finding.fact.node, ", ".join(finding.actual), finding.fact.value["address"]
        yield Cause("tunnel_ip_equals_pod_ip", "F36", node, f"Pod {pods} has {address}, the tunnel address of {node}.", [finding], objects=list(finding.actual),
                    why=["Packets for the pod end at the tunnel device."], remedies=list(_apart(diagnosis.documents, finding)))  # fmt: skip


def _apart(documents: Documents, finding: Finding) -> Iterator[Remedy]:
    """Whoever IPAM has not given the address to gets another one."""
    node, pods, address = finding.fact.node, [str(pod) for pod in finding.actual], str(finding.fact.value["address"])
    given = holder(documents.cluster, address)
    if given is not None and given.tunnel and given.node == node:
        for pod in pods:
            yield from recreate_pod(documents, pod, node)
    elif given is not None and given.pod in pods:
        yield from restart_calico_node(documents, node, f"the tunnel of {node} has an address of its own")
    else:
        yield Remedy("advise_recreate_pod", "R0", f"find out whom IPAM has given {address} to (calicoctl ipam show --ip={address}); if it is the tunnel, delete"
                     f" pod {', '.join(pods)} so that it gets another address, otherwise restart calico-node on {node}", "", node=node)  # fmt: skip


@check("tunnel.conflict", fact="tunnel.conflict")
def no_second_vxlan(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """The kernel allows one VXLAN device for each VNI and UDP port (drivers/net/vxlan: EEXIST)."""
    for ifname, link in documents.node(fact.node).links.items():
        info = as_mapping(link.get("linkinfo"))
        data = as_mapping(info.get("info_data"))
        if ifname != fact.value["ifname"] and info.get("info_kind") == "vxlan" and not str(ifname).startswith("vxlan-v6.calico"):
            if data.get("id") == fact.value["vni"] and data.get("port") == fact.value["port"] and ifname != "vxlan.calico":
                evidence = f"{ifname} of {fact.node}: vxlan id {data.get('id')} dstport {data.get('port')}"
                return Finding("tunnel.conflict", fact, ifname, evidence, (f"kernel {fact.node}",), severity="latent")
    return None


@check("vtep.address.duplicate", "vtep.mac.duplicate", "vtep.absent", fact="vtep")
def tunnel_end_is_unique(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    cluster, family = documents.cluster, fact.family
    ends = vteps(cluster, family)
    mine = ends.get(fact.node)
    annotation = VTEP_ADDRESS[family]
    if mine is None and cluster.rebuilt:
        raise NotCollected(f"{fact.node}: neither the Kubernetes API nor its own device tells its tunnel address")
    if mine is None:
        return Finding("vtep.absent", fact, None, f"node {fact.node} has no annotation projectcalico.org/{annotation}", ("api",), severity="latent")
    address, mac = mine
    for index, check_id, value in ((0, "vtep.address.duplicate", address), (1, "vtep.mac.duplicate", mac)):
        holders = cluster.once(f"vtep holders {family} {index}", lambda index=index: _holders(ends, index))[value]  # type: ignore[misc]
        twins = [name for name in holders if name != fact.node]
        if twins:
            what = f"{annotation} {value}" if index == 0 else f"{VTEP_MAC[family]} {value}"
            return Finding(check_id, fact, value, f"{what} on {fact.node} and on {', '.join(twins)}", ("api",), severity="latent", hint={"twins": twins})
    return None


@check("vtep.address.unallocated", fact="vtep.allocated")
def tunnel_end_is_allocated(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    cluster = documents.cluster
    address = vteps(cluster, fact.family).get(fact.node, ("", ""))[0]
    block = cluster.block_of(address)
    if not address or not cluster.blocks:
        raise NotApplicable(f"{fact.node} announces no tunnel address" if not address else "IPAM has no blocks")
    if block is not None and address in block.allocated:
        return None
    evidence = f"projectcalico.org/{VTEP_ADDRESS[fact.family]} of {fact.node}: {address}; IPAM has not given out this address"
    return Finding("vtep.address.unallocated", fact, address, evidence, ("api",), severity="latent")


def _holders(ends: Mapping[str, tuple[str, str]], index: int) -> dict[str, list[str]]:
    result: dict[str, list[str]] = {}
    for name, end in ends.items():
        result.setdefault(end[index], []).append(name)
    return result


@check("vxlan.neighbour.missing", "vxlan.neighbour.different", fact="vxlan.neighbour")
def neighbour_written(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, wanted = documents.node(fact.node), fact.value
    line = f"{wanted['dst']} dev {wanted['dev']}"
    entry = next((n for n in facts.neighbours_at(wanted["dst"]) if n.get("dev") == wanted["dev"] and n.get("lladdr")), None)
    if entry is None:
        return Finding("vxlan.neighbour.missing", fact, None, f"no neighbour {line} lladdr {wanted['lladdr']} on {fact.node}", (f"kernel {fact.node}", "api"))
    if entry.get("lladdr") == wanted["lladdr"]:
        return None
    evidence = f"neighbour {line} lladdr {entry.get('lladdr')} on {fact.node}; the tunnel end of {wanted['peer']} is {wanted['lladdr']}"
    return Finding("vxlan.neighbour.different", fact, entry.get("lladdr"), evidence, (f"kernel {fact.node}", "api"))


@check("vxlan.fdb.missing", "vxlan.fdb.different", fact="vxlan.fdb")
def fdb_written(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    facts, wanted = documents.node(fact.node), fact.value
    found = [str(e.get("dst")) for e in facts.fdb_of(wanted["mac"]) if e.get("ifname") == wanted["ifname"] and e.get("dst")]
    if wanted["dst"] in found:
        return None
    if not found:
        evidence = f"no FDB entry {wanted['mac']} dev {wanted['ifname']} dst {wanted['dst']} on {fact.node}"
        return Finding("vxlan.fdb.missing", fact, None, evidence, (f"kernel {fact.node}", "api"))
    evidence = f"FDB entry {wanted['mac']} dev {wanted['ifname']} dst {', '.join(found)} on {fact.node}; {wanted['peer']} is {wanted['dst']}"
    return Finding("vxlan.fdb.different", fact, found, evidence, (f"kernel {fact.node}", "api"))


@cause(roots=("tunnel.device.missing", "tunnel.device.down", "tunnel.mac.different"))
def tunnel_broken(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, ifname = finding.fact.node, str(finding.fact.value["ifname"])
        dead = dead_felix(diagnosis, node)
        why = [f"Felix on {node} is dead; it would put the device in order." if dead else "Felix puts it in order within seconds if it is well."]
        restart = restart_calico_node(diagnosis.documents, node, f"{ifname} is up on {node}")
        if finding.check == "tunnel.mac.different":
            yield Cause("duplicate_vtep_mac", "F40", node, f"{ifname} on {node} has another MAC than the one that all nodes send to.", [finding],
                        objects=[ifname], also=dead, why=[f"{finding.evidence}."], remedies=restart)  # fmt: skip
            continue
        down = finding.check == "tunnel.device.down"
        set_up = Remedy(
            "set_link_up", "R1", f"ip link set {ifname} up on {node}", f"ip link set {ifname} down", node=node, object=ifname, change=("down", "up"),
            parameters={"ifname": ifname}, verify=f"{ifname} is up on {node}", blast_radius=f"tunnel traffic of {node}", preconditions=(f"{ifname} is down",),
            wait_seconds=20,
        )  # fmt: skip
        late = f"what the kernel took away with {ifname} is not back"  # routes and neighbours, which a dead Felix does not write again
        owner = dead and felix_programs(diagnosis.documents.cluster, "vxlan" if ifname.startswith("vxlan") else "ipip")
        up_again = [set_up, *([replace(remedy, only_if=late) for remedy in restart if remedy.risk != "R0"] if owner else [])]
        yield Cause("tunnel_device_missing_or_down", "F34", node, f"The tunnel device {ifname} {'is down' if down else 'is missing'} on {node}.", [finding],
                    objects=[ifname], also=dead, why=why, remedies=up_again if down else restart)  # fmt: skip


@cause(roots=("tunnel.address.different", "vtep.address.unallocated", "vtep.absent"))
def tunnel_address(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    by_node: dict[str, list[Finding]] = {}
    for finding in findings:
        by_node.setdefault(finding.fact.node, []).append(finding)
    for node, mine in by_node.items():
        dead = dead_felix(diagnosis, node) if any(finding.check == "tunnel.address.different" for finding in mine) else []
        yield Cause("tunnel_address_missing_or_mismatch", "F35", node, f"The tunnel address of {node} is not what it should be: {mine[0].evidence}.", mine,
                    objects=[str(mine[0].actual)], also=dead, why=["Between pods this does no harm; from the node itself, and in IPAM's books, it does."],
                    remedies=restart_calico_node(diagnosis.documents, node, f"the tunnel address of {node} is one that IPAM gave it"))  # fmt: skip


@cause(roots=("tunnel.conflict",))
def conflicting_device(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, other, ours = finding.fact.node, str(finding.actual), finding.fact.value["ifname"]
        yield Cause("vxlan_conflicting_device", "F39", node, f"{other} on {node} has the VNI and port of {ours}, which cannot exist beside it.", [finding],
                    objects=[other], why=[f"{finding.evidence}.", f"Felix tries again every 10 s and makes {ours} once {other} is gone."],
                    remedies=[_delete_device(diagnosis.documents.cluster, node, other, str(ours))])  # fmt: skip


def _delete_device(cluster: Cluster, node: str, other: str, ours: str) -> Remedy:
    """Only where no flannel runs here, whose device it may be."""
    text = f"find out who made {other} on {node} and remove it (ip link del {other})"
    try:
        made_here = cluster.flannel_daemonset is not None or cluster.plugin != "calico"
    except NotCollected:
        made_here = True
    if made_here:
        return Remedy("advise_delete_device", "R0", text, "", node=node)
    return Remedy(
        "delete_link", "R2", f"delete the interface {other} on {node}", "none: the interface is gone", node=node, object=other, change=(f"link {other}", ""),
        parameters={"ifname": other, "kind": "vxlan"}, verify=f"Felix on {node} has made {ours}", wait_seconds=60,
        blast_radius=f"what {other} carries, whoever made it", preconditions=("no flannel runs in this cluster", f"no route uses {other}"),
    )  # fmt: skip


def _twins(findings: list[Finding], diagnosis: Diagnosis, name: str, fault: str, what: str) -> Iterator[Cause]:
    """Named at the node whose value is not its own: IPAM's for an address, the computed one for a MAC."""
    cluster = diagnosis.documents.cluster
    left = list(findings)
    while left:
        group = [f for f in left if f.actual == left[0].actual and f.fact.family == left[0].fact.family]
        left = [f for f in left if f not in group]
        nodes = [f.fact.node for f in group]

        def guilty(node: str, value: str = str(group[0].actual), family: Family = group[0].fact.family) -> bool:
            if fault == "F37":
                block = cluster.block_of(value)
                return block is None or block.node != node
            own = cluster.node(node).annotation(VTEP_MAC[family])
            return own is not None and own.lower() == value

        culprit = next((node for node in nodes if guilty(node)), nodes[0])
        others = [node for node in nodes if node != culprit]
        yield Cause(name, fault, culprit, f"{culprit} has the {what} {group[0].actual}, which is that of {', '.join(others)} too.", group,
                    objects=[str(group[0].actual), *others],
                    why=["Packets for one of them reach the other."],
                    remedies=restart_calico_node(diagnosis.documents, culprit, f"{culprit} has a {what} of its own"))  # fmt: skip


@cause(roots=("vtep.address.duplicate",))
def duplicate_tunnel_address(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    yield from _twins(findings, diagnosis, "duplicate_tunnel_ip", "F37", "tunnel address")


@cause(roots=("vtep.mac.duplicate",))
def duplicate_tunnel_mac(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    yield from _twins(findings, diagnosis, "duplicate_vtep_mac", "F40", "tunnel MAC")


@cause(roots=("vxlan.neighbour.missing", "vxlan.neighbour.different", "vxlan.fdb.missing", "vxlan.fdb.different"))
def drift(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    by_node: dict[str, list[Finding]] = {}
    for finding in findings:
        by_node.setdefault(finding.fact.node, []).append(finding)
    for node, mine in by_node.items():
        peers = sorted({str(f.fact.value["peer"]) for f in mine})
        dead = dead_felix(diagnosis, node)
        verify = f"{node} sends to the tunnel ends of {', '.join(peers)}"
        restart = restart_calico_node(diagnosis.documents, node, verify)
        yield Cause("vxlan_fdb_or_neigh_drift", "F38", node, f"{node} does not know the tunnel end of {', '.join(peers)} as it is.", mine, objects=peers,
                    also=dead, why=[*(f"{f.evidence}." for f in mine[:2]),
                                    f"Felix on {node} is dead." if dead else "Felix corrects such entries within 90 s if it is well."],
                    remedies=restart if dead else felix_first(node, verify, restart))  # fmt: skip
