# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: remedies that more than one subject offers.

from __future__ import annotations

import re
import shlex
import typing as t
from dataclasses import replace

from ansible_collections.podnet.doctor.plugins.module_utils._detection import INTERNAL_IP, detects_by
from ansible_collections.podnet.doctor.plugins.module_utils._object_steps import Refused

from ._autodetection import autodetect
from ._catalogue import Remedy
from ._cluster import ADDRESS_ANNOTATION
from ._dataplane import typha_pods
from ._documents import Documents
from ._json import NotCollected, as_mapping, objects, parse_address
from ._topology import families, intended_address, is_reflector, uses_bird

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._cluster import Cluster
    from ._diagnosis import Diagnosis
    from ._graph import Finding
    from ._json import Family, Json


RESTART_TIME = 120  # seconds: BIRD's own, real peers kept the routes for 121 to 126 s
RECOVERY = 240  # seconds: BIRD's "graceful restart wait"
FOR_GOOD = "IP_AUTODETECTION_METHOD=kubernetes-internal-ip, or nodeAddressAutodetectionV4 of the operator's Installation"
CLOUD_RULES, CLOUD_SETUP = range(30000, 31000), "nm-cloud-setup writes such rules."  # their priorities
FELIX_REFRESH = 100  # seconds: it looks at its routes, neighbours and FDB entries every 90 s (measured: at most 88)


def dead_felix(diagnosis: Diagnosis, node: str) -> list[Finding]:
    """The finding that Felix is dead there: why what it owns is not repaired."""
    return [finding for finding in diagnosis.findings if finding.check == "felix.down" and finding.fact.node == node]


def restart_calico_node(documents: Documents, node: str, verify: str) -> list[Remedy]:
    """Restart calico-node on one node (R2), or advice where the node would come back with a wrong address.

    A restart runs the address autodetection again, so it is simulated first on the node's own facts (calico.md section 7.4).
    """
    cluster = documents.cluster
    if cluster.backend == "none" or "ipv4" not in families(cluster):
        return [_restart(node, verify, None, f"new pods on {node} wait some seconds", ())]
    if node in cluster.nodes and is_reflector(cluster.nodes[node]) and not any(is_reflector(n) for name, n in cluster.nodes.items() if name != node):
        text = f"restart calico-node on {node} by hand, when the sessions of all nodes may drop: it is the only route reflector"
        return [Remedy("advise_restart", "R0", text, "", node=node)]
    intended = intended_address(cluster, cluster.nodes[node]) if node in cluster.nodes else None
    try:
        if not cluster.autodetection:
            chosen: str | None = cluster.node(node).calico_address()
        else:
            chosen = autodetect(cluster, node, documents.node(node))
    except NotCollected as exc:
        text = f"restart calico-node on {node} by hand, once it is known which address it would take ({exc.reason})"
        return [Remedy("advise_restart", "R0", text, "", node=node)]
    if chosen != intended:
        text = f"do not restart calico-node on {node}: its autodetection would choose {chosen or 'no address'}, not {intended}"
        return [Remedy("advise_no_restart", "R0", text, "", node=node)]
    precondition = f"autodetection {cluster.autodetection or 'off'} keeps {intended} on {node}"
    radius = f"{sessions_meanwhile(documents, node)}new pods on {node} wait some seconds"
    return [_restart(node, verify, intended, radius, (precondition,))]


def sessions_meanwhile(documents: Documents, node: str) -> str:
    """What becomes of a node's BGP sessions while its calico-node is made again, and of the routes that its peers have from it.

    The first process of the container, runsvdir, ends at SIGTERM without a word to its services, so the kernel kills BIRD: it says goodbye to nobody, and
    the peers that know graceful restart keep its routes. (A BIRD that is told to stop does say goodbye, and they drop them at once.)
    """
    cluster = documents.cluster
    if not uses_bird(cluster):
        return ""
    try:
        facts = documents.node(node)
        found = [as_mapping(protocol.get("bgp")) for family in families(cluster) for protocol in facts.bgp_protocols(family)]
    except NotCollected:
        return f"the BGP sessions of {node} drop; whether its peers keep its routes meanwhile is not known; "
    up = [bgp for bgp in found if bgp.get("state") == "Established"]
    if not up:
        return f"{node} has no BGP session that could drop; "
    drop = f"{len(up)} BGP session{'s' if len(up) > 1 else ''} of {node} drop{'s' if len(up) == 1 else ''}"
    patience = f"up to {restart_time(cluster)} s (graceful restart)"
    forgetful = sorted(str(bgp.get("neighbor_address")) for bgp in up if "restart-a" not in str(bgp.get("neighbor_caps") or "restart-a"))
    if not all(bgp.get("neighbor_caps") for bgp in up):
        kept = "whether all peers keep its routes meanwhile is not known"
    elif forgetful:
        kept = f"{', '.join(forgetful)} forget its routes meanwhile" + (f", the other peers keep them for {patience}" if len(forgetful) < len(up) else "")
    else:
        kept = f"its peers keep its routes meanwhile, for {patience}"
    dead = sorted(str(bgp.get("neighbor_address")) for bgp in found if bgp.get("state") != "Established")
    late = f"; BIRD takes and tells no new routes until {', '.join(dead)} answers, for up to {RECOVERY} s" if dead else ""
    return f"{drop}; {kept}{late}; "


def restart_time(cluster: Cluster) -> int:
    """Seconds for which peers keep the routes of a node whose BIRD is gone: BIRD's 120, or less where a BGPPeer says so."""
    try:
        texts = [str(as_mapping(raw.get("spec")).get("maxRestartTime") or "") for raw in cluster.section("bgppeers")]
    except NotCollected:
        texts = []
    told = [re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text) for text in texts]
    seconds = [int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + int(found[3] or 0) for found in told if found and found[0]]
    return min([RESTART_TIME, *seconds])


def _peers_keep(cluster: Cluster) -> str:
    return f"peers that know graceful restart keep its routes for up to {restart_time(cluster)} s"


def _in_turn(cluster: Cluster) -> str:
    return f"; the BGP sessions of each drop in turn, and {_peers_keep(cluster)}" if uses_bird(cluster) else ""


def restart_when_asked(cluster: Cluster, node: str) -> Remedy:
    """Restart calico-node of a node where nothing is wrong. Whether it would come back with its address is looked at right before."""
    intended = intended_address(cluster, cluster.nodes[node])
    precondition = f"right before, the facts of {node} say that it comes back with {intended or 'its address'}"
    meanwhile = f"the BGP sessions of {node} drop; {_peers_keep(cluster)}; "
    radius = f"{meanwhile if uses_bird(cluster) else ''}new pods on {node} wait some seconds"
    return _restart(node, f"{node} has its sessions and its routes again, and nothing new is wrong there", intended, radius, (precondition,))


def restart_objection(documents: Documents, node: str) -> str:
    """Why calico-node of a node must not be restarted as its facts are now; empty: it may."""
    return "; ".join(remedy.action for remedy in restart_calico_node(documents, node, "") if remedy.risk == "R0")


def _restart(node: str, verify: str, intended: str | None, blast_radius: str, preconditions: tuple[str, ...]) -> Remedy:
    return Remedy(
        "restart_calico_node", "R2", f"restart calico-node on {node}", "none needed: its DaemonSet keeps it running", node=node,
        object=f"calico-node on {node}", change=("running", "restarted"), parameters={"component": "calico-node", "intended": intended}, verify=verify,
        blast_radius=blast_radius, preconditions=preconditions, wait_seconds=120,
    )  # fmt: skip


def restart_flannel(documents: Documents, node: str, verify: str) -> list[Remedy]:
    """Restart flanneld on one node (R2), which writes all its entries anew; canal's pod holds calico-node, too. Advice where no DaemonSet runs it."""
    cluster = documents.cluster
    if cluster.flannel_daemonset is None:
        return [Remedy("advise_restart", "R0", f"restart the program that runs flannel on {node} (k3s: systemctl restart k3s or k3s-agent)", "", node=node)]
    component, pod = ("calico-node", "canal") if cluster.plugin == "canal" else ("flannel", "flannel")
    return [
        Remedy(
            "restart_flannel", "R2", f"restart the {pod} pod on {node}", "none needed: its DaemonSet keeps it running", node=node, object=f"{pod} on {node}",
            change=("running", "restarted"), parameters={"component": component}, verify=verify, blast_radius=f"new pods on {node} wait some seconds",
            wait_seconds=60,
        )
    ]  # fmt: skip


def restart_typha(documents: Documents, verify: str, only_not_ready: bool = False) -> list[Remedy]:
    """Restart the pods of Typha one by one (R2), or only those that are not Ready; nothing where there are none that a controller owns."""
    try:
        found = [pod for pod in typha_pods(documents.cluster) if not (only_not_ready and pod.ready is not False)]
    except NotCollected:
        found = []
    if not found or not all(pod.owner for pod in found):
        return []
    which, names = "not Ready, of Typha" if only_not_ready else "of Typha", ", ".join(sorted(pod.key for pod in found))
    return [
        Remedy(
            "restart_typha", "R2", f"restart the pods {which}, one by one", "none needed: its Deployment makes them again", object=f"Typha: {names}",
            change=("running", "restarted"), parameters={"component": "typha", "only_not_ready": only_not_ready}, verify=verify,
            blast_radius="each Felix and confd that has its data from that pod connects to another one",
            preconditions=("the next one goes when the successor of the one before is Ready",), wait_seconds=60 + 60 * len(found),
        )
    ]  # fmt: skip


def recreate_pod(documents: Documents, pod: str, node: str) -> list[Remedy]:
    """Delete a pod so that its controller makes it again (R2); advice where nobody would."""
    by_hand = f"kubectl -n {pod.partition('/')[0]} delete pod {pod.partition('/')[2]}"
    try:
        known = documents.cluster.pods.get(pod)
    except NotCollected:
        known = None
    if known is None or known.owner not in ("StatefulSet", "DaemonSet", "ReplicaSet"):
        return [Remedy("advise_recreate_pod", "R0", f"make pod {pod} again ({by_hand}); no controller does it by itself", "", node=node)]
    elsewhere = "" if known.owner == "DaemonSet" else ", and may come up on another node"
    renamed = "" if known.owner == "StatefulSet" else "; its successor gets another name"
    return [
        Remedy(
            "recreate_pod", "R2", f"delete pod {pod} so that its owner makes it again", f"none needed: its {known.owner} makes it again", node=node,
            object=f"Pod {pod}", change=("running", "made again"), parameters={"component": "pod", "pod": pod}, verify=f"pod {pod} is as it must be",
            blast_radius=f"pod {pod} restarts{elsewhere}{renamed}", preconditions=(f"a {known.owner} owns pod {pod}",), wait_seconds=90,
        )
    ]  # fmt: skip


def set_sysctl(node: str, path: str, found: object, wanted: str, verify: str, blast_radius: str) -> Remedy:
    """Set one kernel setting (R1)."""
    name = path.replace("/", ".")
    return Remedy(
        "set_sysctl", "R1", f"sysctl -w {name}={wanted} on {node}", f"sysctl -w {name}={found}", node=node, object=name, change=(str(found), wanted),
        parameters={"path": path, "value": wanted}, verify=verify, blast_radius=blast_radius, preconditions=(f"{name} is {found}",), wait_seconds=20,
    )  # fmt: skip


def set_node_address(documents: Documents, node: str, family: Family, address: str, verify: str) -> list[Remedy]:
    """Write the address, with its interface's mask, that a node announces (R3); advice where no interface of it is known to have the address."""
    name = f"projectcalico.org/{ADDRESS_ANNOTATION[family]}"
    try:
        held, was = documents.node(node).address_on_node(address), documents.cluster.node(node).annotation(ADDRESS_ANNOTATION[family])
    except NotCollected:
        held = was = None
    if not held or not isinstance(was, str):
        text = f"correct {name} of {node} to {address} and its mask, or let calico-node detect it (IP=autodetect)"
        return [Remedy("advise_node_address", "R0", text, "", node=node)]
    value = f"{address}/{held.get('prefixlen')}"
    command = f"kubectl annotate --overwrite node {node} {name}={{}}"
    return [
        Remedy(
            "set_node_address", "R3", command.format(value), command.format(was), node=node, object=f"Node/{node} {name}", change=(was, value),
            parameters={"node": node, "annotation": name, "value": value, "was": was}, verify=verify,
            blast_radius=f"BIRD of {node} and of its peers is configured anew", preconditions=(f"{name} of {node} is {was}",), wait_seconds=90,
        )
    ]  # fmt: skip


def set_flannel_address(documents: Documents, node: str, found: str, wanted: str, verify: str) -> list[Remedy]:
    """Where public-ip-overwrite is wrong, write it and what was announced (R3), which the others take at once. Otherwise a restart writes it (R2)."""
    known, name = documents.cluster.node(node), "flannel.alpha.coreos.com/public-ip"
    if known.flannel("public-ip-overwrite") is None:
        advice = f"if it comes again: choose the interface of flanneld on {node} with its --iface"
        return [*restart_flannel(documents, node, verify), Remedy("advise_public_ip", "R0", advice, "", node=node)]
    told = known.flannel("public-ip-overwrite") == found and parse_address(found) is not None and ":" not in found
    if not told or wanted not in known.internal_ips or ":" in wanted or documents.cluster.rebuilt:
        text = f"correct the annotation {name}-overwrite of node {node} to {wanted}, or remove it, then restart the flannel pod on {node}"
        return [Remedy("advise_public_ip", "R0", text, "", node=node)]
    command = f"kubectl annotate --overwrite node {node} {name}={{0}} {name}-overwrite={{0}}"
    return [
        Remedy(
            "set_flannel_address", "R3", command.format(wanted), command.format(found), node=node, object=f"Node/{node} {name}", change=(found, wanted),
            parameters={"node": node, "value": wanted, "was": found}, verify=verify,
            blast_radius=f"the other nodes send the packets for pods on {node} to {wanted}", preconditions=(f"{name} and -overwrite of {node} are {found}",),
            wait_seconds=30,
        )
    ]  # fmt: skip


def set_autodetection(documents: Documents, node: str, verify: str) -> list[Remedy]:
    """Let calico-node of all nodes take the Kubernetes address (R3), where that is what each of them must announce; otherwise advice. None where it does."""
    cluster = documents.cluster
    daemonset, method, wanted = cluster.calico_daemonset, cluster.autodetection, INTERNAL_IP
    if daemonset is None or method in ("", wanted):
        return []
    objections = [*cluster.once("objections to the Kubernetes address", lambda: list(_objections_to_internal_ip(documents)))]
    metadata, spec = as_mapping(daemonset.get("metadata")), as_mapping(daemonset.get("spec"))
    makers = {str(owner.get("kind")) for owner in objects(metadata.get("ownerReferences"))}
    strategy = as_mapping(spec.get("updateStrategy"))
    if cluster.rebuilt or metadata.get("name") != "calico-node" or not metadata.get("namespace"):
        objections = ["the DaemonSet calico-node was not read"]
    elif makers - {"Installation"}:
        objections.append(f"{', '.join(sorted(makers))} makes its DaemonSet, and would write it anew")
    elif strategy.get("type") == "OnDelete":
        objections.append("its pods are made again only when somebody deletes them (OnDelete)")
    else:
        try:
            detects_by(daemonset)
        except Refused as exc:
            objections.append(str(exc))
    if objections:
        shown = "; ".join(objections[:3]) + (f"; and {len(objections) - 3} more" if len(objections) > 3 else "")
        text = f"for good: let calico-node use the Kubernetes address ({FOR_GOOD}), once it fits all nodes: {shown}"
        return [Remedy("advise_autodetection", "R0", text, "", node=node)]
    namespace, count = str(metadata["namespace"]), len(cluster.nodes)
    if makers:
        target, change = "Installation/default spec.calicoNetwork.nodeAddressAutodetectionV4", "kubectl patch installation default --type=json -p "
        change += '\'[{"op":"replace","path":"/spec/calicoNetwork/nodeAddressAutodetectionV4","value":{"kubernetes":"NodeInternalIP"}}]\''
        back = "kubectl patch, with the value as it is in the trail"
    else:
        target, change = f"DaemonSet/calico-node IP_AUTODETECTION_METHOD in {namespace}", f"kubectl -n {namespace} set env ds/calico-node -c calico-node"
        named = "IP_AUTODETECTION_METHOD" in cluster.calico_environment
        back = f"{change} {shlex.quote(f'IP_AUTODETECTION_METHOD={method}') if named else 'IP_AUTODETECTION_METHOD-'}"
        change += f" IP_AUTODETECTION_METHOD={wanted}"
    at_once = _at_once(as_mapping(strategy.get("rollingUpdate")).get("maxUnavailable"), count)
    return [
        Remedy(
            "set_autodetection", "R3", change, back, node=node, object=target, change=(method, wanted), parameters={"namespace": namespace, "was": method},
            verify=verify, blast_radius=f"calico-node of all {count} nodes is made again, {at_once} at a time{_in_turn(cluster)}",
            preconditions=(f"calico-node detects addresses by {method}", f"{wanted} gives each of {count} nodes the address that it must announce"),
            wait_seconds=60 + 60 * -(-count // at_once),
        )
    ]  # fmt: skip


def _at_once(given: Json, nodes: int) -> int:
    """How many pods of a DaemonSet are made again at a time: maxUnavailable, a number or a share of the nodes that is rounded up; 1 where it is not told."""
    share = re.match(r"([0-9]{1,3})%\Z", given) if isinstance(given, str) else None
    wanted = -(-nodes * int(share[1]) // 100) if share else given
    return max(1, wanted) if isinstance(wanted, int) else 1


def _objections_to_internal_ip(documents: Documents) -> Iterator[str]:
    """The nodes that would announce another address than they must, or one of which no interface is known."""
    cluster = documents.cluster
    for name, node in cluster.nodes.items():
        facts, intended = documents.node(name), intended_address(cluster, node)
        chosen = autodetect(cluster, name, facts, by=INTERNAL_IP)
        if chosen is None or chosen != intended:
            yield f"{name} would announce {chosen or 'no address'}, not {intended}"
            continue
        try:
            held = facts.address_on_node(chosen) is not None if facts.collected else node.interface_of(chosen) is not None
        except NotCollected:
            held = node.interface_of(chosen) is not None
        if not held:
            yield f"no interface of {name} is known to have {chosen}"
    only = [name for name, node in cluster.nodes.items() if is_reflector(node)]
    if len(only) == 1 and len(cluster.nodes) > 1:
        yield f"{only[0]} is the only route reflector, so all sessions would drop when it restarts"


def felix_first(node: str, verify: str, then: list[Remedy]) -> list[Remedy]:
    """What a Felix that is well puts right by itself is waited for; only then the rest."""
    return wait_first(node, f"Felix on {node}", FELIX_REFRESH, verify, then)


def wait_first(node: str, who: str, seconds: float, verify: str, then: list[Remedy]) -> list[Remedy]:
    waiting = Remedy(
        "wait", "R0", f"wait: {who} puts it right within {seconds:.0f} s if it is well", "none needed: nothing is changed", node=node, object=who,
        change=("", ""), verify=verify, blast_radius="nothing", wait_seconds=seconds,
    )  # fmt: skip
    late = f"{who} has not put it right within {seconds:.0f} s, so it hangs"
    return [waiting, *(replace(remedy, only_if=remedy.only_if or late) if remedy.risk != "R0" else remedy for remedy in then)]


def restart_session(node: str, peer: str, family: Family, protocol: Mapping[str, Json], verify: str, up: bool = False) -> Remedy:
    """Restart one BGP session (R1) that is not established; up: that is, and whose peer has none any more."""
    name = str(protocol.get("name"))
    parameters = {"protocol": name, "family": family, **({"since": protocol.get("since")} if up else {})}
    given = f"{name} is {'' if up else 'not '}established"
    return Remedy(
        "restart_protocol", "R1", f'birdc restart "{name}" on {node}', "none needed: the session is made anew", node=node, object=name,
        change=("established at this end only" if up else "not established", "restarted"), parameters=parameters, verify=verify,
        blast_radius=f"the routes of {node} from {peer}, until the session is back", preconditions=(given,), wait_seconds=60,
    )  # fmt: skip


def delete_cloud_rule(node: str, rule: Mapping[str, Json], text: str) -> list[Remedy]:
    """Delete a rule of nm-cloud-setup (R1), which would write it again as long as its timer runs."""
    command = f"from {rule.get('src')} lookup {rule.get('table')} priority {rule.get('priority')}"
    return [
        Remedy(
            "delete_rule", "R1", f"ip rule del {command} on {node}", f"ip rule add {command}", node=node, object=text, change=(text, ""),
            parameters={"rule": dict(rule)}, verify=f"{node} routes its answers to its own pods by its main table", wait_seconds=20,
            blast_radius=f"packets that {node} sends from {rule.get('src')} take the way of its main table",
            preconditions=("the rule has the form of nm-cloud-setup's",),
        ),
        Remedy("advise_cloud_setup", "R0", f"for good, on {node}: systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service", "", node=node),
    ]  # fmt: skip


def reload_in(node: str, peer: str, family: Family, protocol: str, prefix: str) -> Remedy:
    """Ask a BGP peer for all of its routes again (R1)."""
    given = f"{protocol} gave {node} no route to {prefix}"
    return _reload("in", node, node, family, protocol, prefix, f"none: {peer} sends its routes once more", given)


def reload_out(node: str, peer: str, needs: str, family: Family, protocol: str, prefix: str) -> Remedy:
    """Tell a BGP peer that is no node of the cluster, and cannot be made to ask, all routes again (R1). needs: the node that has no route."""
    return _reload("out", node, needs, family, protocol, prefix, f"none: {node} sends its routes once more", f"BIRD of {node} announces {prefix} to {peer}")


def _reload(way: str, node: str, needs: str, family: Family, protocol: str, prefix: str, blast_radius: str, given: str) -> Remedy:
    return Remedy(
        "reload_protocol", "R1", f'birdc reload {way} "{protocol}" on {node}', "none needed: the session and its routes stay", node=node, object=protocol,
        change=(f"no route to {prefix} on {needs}", f"reloaded {way}"), verify=f"{needs} has a route to {prefix}", blast_radius=blast_radius,
        parameters={"protocol": protocol, "family": family, "prefix": prefix, "direction": way}, wait_seconds=30,
        preconditions=(f"{protocol} is established", given),
    )  # fmt: skip


def bird_first(cluster: Cluster, node: str, family: Family, verify: str, then: list[Remedy]) -> list[Remedy]:
    """Restart a BIRD that does not answer (R2), which runit starts again; only if that does not help the rest."""
    name = "bird6" if family == "ipv6" else "bird"
    restart = Remedy(
        "restart_bird", "R2", f"kill -KILL {name} on {node}, which runit starts again", "none needed: runit keeps it running", node=node,
        object=f"{name} on {node}", change=("does not answer", "restarted"), parameters={"family": family}, verify=verify,
        blast_radius=f"the BGP sessions of {node} drop; {_peers_keep(cluster)}",
        preconditions=(f"{name} on {node} does not answer", f"runit started {name}"),
        wait_seconds=60,
    )  # fmt: skip
    return [restart, *(replace(remedy, only_if=remedy.only_if or f"{name} on {node} does not answer even then") for remedy in then)]


def set_neighbour(node: str, dst: str, dev: str, lladdr: str, found: str | None) -> Remedy:
    """Write the permanent neighbour entry of a tunnel's other end (R1). found: the MAC that is there now."""
    command = f"ip neigh replace {dst} lladdr {{}} dev {dev} nud permanent"
    return Remedy(
        "set_neighbour", "R1", f"{command.format(lladdr)} on {node}", command.format(found) if found else f"ip neigh del {dst} dev {dev}", node=node,
        object=f"{dst} dev {dev}", change=(found or "", lladdr), parameters={"dst": dst, "dev": dev, "lladdr": lladdr},
        verify=f"{dst} dev {dev} has {lladdr} on {node}", blast_radius=f"packets of {node} to one other node",
    )  # fmt: skip


def set_fdb(node: str, mac: str, dev: str, dst: str, found: str | None) -> Remedy:
    """Write the forwarding entry of a tunnel's other end (R1). found: the address that is there now."""
    command = f"bridge fdb replace {mac} dev {dev} dst {{}} self permanent"
    return Remedy(
        "set_fdb", "R1", f"{command.format(dst)} on {node}", command.format(found) if found else f"bridge fdb del {mac} dev {dev} dst {dst} self", node=node,
        object=f"{mac} dev {dev}", change=(found or "", dst), parameters={"mac": mac, "dev": dev, "dst": dst},
        verify=f"{mac} dev {dev} leads to {dst} on {node}", blast_radius=f"packets of {node} to one other node",
    )  # fmt: skip


def add_tunnel_route(node: str, dst: str, gateway: str, dev: str) -> Remedy:
    """Add the route to another node's pods through a tunnel (R1)."""
    line = f"{dst} via {gateway} dev {dev} onlink"
    return Remedy(
        "add_route", "R1", f"ip route add {line} on {node}", f"ip route del {dst} via {gateway} dev {dev}", node=node, object=line, change=("", line),
        parameters={"dst": dst, "gateway": gateway, "dev": dev}, verify=f"{node} has the route {line}", blast_radius=f"packets of {node} to {dst}",
        preconditions=(f"there is no route to {dst}",),
    )  # fmt: skip
