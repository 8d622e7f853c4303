# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the grid that runbooks try by hand, from both nodes and the source pod, and what its pattern says.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ._cluster import Cluster, Pod
from ._json import Family, Json, NotCollected, as_list, family_of, objects
from ._question import Question

# each cell that is captured at its end has a flow of its own
NEAR_TO_POD, FAR_TO_POD, POD_TO_NEAR, NEAR_TO_FAR, TO_SERVICE = "near-pod", "far-pod", "pod-near", "near-far", "service"
FLOWS = {NEAR_TO_POD: 2, FAR_TO_POD: 3, POD_TO_NEAR: 4, NEAR_TO_FAR: 5, TO_SERVICE: 6}
PODS = "pod-pod"
DNS = "dns:"
MOST_DNS = 4
CONTROL = "kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class Cell:
    """One cell: who sends to whom. seen_in: the node, and the pod or "", where its arrival can be captured."""

    name: str
    source: str
    destination: str
    sender: str  # the node
    arguments: Mapping[str, Json]
    seen_in: tuple[str, str] | None = None

    def to_json(self) -> dict[str, Json]:
        return {"cell": self.name, "source": self.source, "destination": self.destination, "protocol": self.arguments.get("protocol", "icmp"),
                **({"port": self.arguments["port"]} if self.arguments.get("port") else {})}  # fmt: skip


def cells(cluster: Cluster, whole: Question) -> list[Cell]:
    """What is tried beside the trains of a question about two pods."""
    pair = whole.lead
    near, far = pair.source, pair.destination
    if near.kind != "pod" or far.kind != "pod" or not near.node or not far.node:
        return []
    transport: dict[str, Json] = {"protocol": pair.protocol, "port": pair.port} if pair.port and pair.protocol in ("tcp", "udp") else {"protocol": "icmp"}

    def cell(name: str, source: str, destination: str, dst: str, sender: str, seen: tuple[str, str] | None = None, **more: Json) -> Cell:
        return Cell(name, source, destination, sender, {"name": name, "dst": dst, "flow": FLOWS.get(name, 0), **more}, seen)

    found = [cell(NEAR_TO_POD, f"node/{near.node}", far.label, far.address, near.node, (far.node, far.label), **transport)]
    if near.node != far.node:
        found.append(cell(FAR_TO_POD, f"node/{far.node}", far.label, far.address, far.node, (far.node, far.label), **transport))
    addresses = {node: address for node in (near.node, far.node) if (address := node_address(cluster, node, family_of(near.address)))}
    if near.node in addresses:
        found.append(cell(POD_TO_NEAR, near.label, f"node/{near.node}", addresses[near.node], near.node, (near.node, ""), inside=True))
    if far.node in addresses and near.node != far.node:
        found.append(cell(NEAR_TO_FAR, f"node/{near.node}", f"node/{far.node}", addresses[far.node], near.node, (far.node, "")))
    name = CONTROL
    if whole.asked is not None and whole.destination.kind == "service":
        key = f"{whole.destination.namespace}/{whole.destination.name}"
        name = f"{whole.destination.name}.{whole.destination.namespace}.svc.cluster.local"
        if whole.port and whole.protocol in ("tcp", "udp") and not whole.asked.headless:
            to: dict[str, Json] = {"protocol": whole.protocol, "port": whole.port, "inside": True}
            found.append(cell(TO_SERVICE, near.label, f"svc {key}", whole.destination.address, near.node, **to))
    for pod in _dns_pods(cluster):
        if pod.address and (":" in pod.address) == (":" in near.address):
            found.append(cell(DNS + pod.key, near.label, pod.key, pod.address, near.node, inside=True, protocol="dns", question=name))
    return found


def _dns_pods(cluster: Cluster) -> list[Pod]:
    try:
        return cluster.dns_pods()[:MOST_DNS]
    except NotCollected:
        return []


def node_address(cluster: Cluster, node: str, family: Family) -> str | None:
    """The address that Kubernetes has for a node, where the API tells it."""
    try:
        known = cluster.nodes.get(node)
    except NotCollected:
        return None
    return known.internal_ip_in(family) if known is not None else None


def measured(cell: Cell, told: Mapping[str, Json] | None, arrived: bool | None, trouble: str) -> dict[str, Json]:
    """A cell as the evidence document tells it."""
    entry = {**cell.to_json(), "outcome": "not sent"}
    if told is None or not told.get("sent"):
        return {**entry, "error": trouble or str((told or {}).get("error") or "it was not tried")}
    replied, refused = (told.get(name) if isinstance(told.get(name), int) else 0 for name in ("replied", "refused"))
    entry["outcome"] = "answered" if replied else "refused" if refused else "silent"
    if told.get("rcode"):
        entry["rcode"] = str(told["rcode"])
        entry["addresses"] = [str(address) for address in as_list(told.get("addresses"))]
    if arrived is not None:
        entry["arrived"] = arrived
    if told.get("error") and not replied:
        entry["error"] = str(told["error"])
    return entry


@dataclass(frozen=True)
class Pattern:
    """What the cells say together. nodes: where it is, as far as they tell."""

    text: str = ""
    nodes: tuple[str, ...] = field(default=())


def pattern(grid: Sequence[Mapping[str, Json]], near: str, far: str) -> Pattern:
    """The reading that runbooks give the grid; nothing where the cells do not speak."""
    worked = {str(cell.get("cell")): cell.get("outcome") in ("answered", "refused") for cell in grid if cell.get("outcome") not in (None, "not sent")}

    def works(name: str) -> bool:
        return worked.get(name) is True

    def fails(name: str) -> bool:
        return worked.get(name) is False

    if fails(PODS):
        if fails(POD_TO_NEAR):
            return Pattern(f"The source pod does not even reach its own node: look on {near}.", (near,))
        if fails(NEAR_TO_FAR):
            return Pattern(f"The nodes {near} and {far} do not reach each other: look at the network between them.", (near, far))
        if fails(FAR_TO_POD):
            return Pattern(f"Not even {far} reaches its own pod: look on {far}.", (far,))
        if works(FAR_TO_POD) and fails(NEAR_TO_POD):
            text = f"{far} reaches its pod and {near} does not, and the nodes reach each other: look at what carries pods' packets between them."
            return Pattern(text, (near, far))
        if works(NEAR_TO_POD):
            return Pattern("The nodes reach the pod and the source pod does not: look at policies, and at what treats the source's address.")
    if works(PODS) and fails(TO_SERVICE):
        return Pattern(f"The pod is reached and its Service is not: look at kube-proxy and the endpoints on {near}.", (near,))
    servers = [works(name) for name in worked if name.startswith(DNS)]
    if works(PODS) and servers and not all(servers):
        return Pattern(f"{servers.count(False)} of {len(servers)} DNS servers do not answer the source pod.")
    return Pattern()


def lines(grid: Sequence[Mapping[str, Json]]) -> list[str]:
    """The grid on the screen: who reaches whom."""
    words = {"answered": "ok", "refused": "refused", "silent": "NO ANSWER", "not sent": "not sent"}
    found = []
    for cell in objects(list(grid)):
        what = f"{cell.get('protocol')}{'/' + str(cell['port']) if cell.get('port') else ''}"
        arrived = " (arrived)" if cell.get("outcome") == "silent" and cell.get("arrived") else ""
        code = f" {cell['rcode']}" if cell.get("rcode") not in (None, "NOERROR") else ""
        found.append(f"{cell.get('source')} > {cell.get('destination')} {what}: {words.get(str(cell.get('outcome')), '?')}{code}{arrived}")
    return found
