# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the packets that a node must send and get answered before the next one is restarted.

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ._evidence import directions, pod_of
from ._grid import node_address
from ._json import FAMILIES, Json, as_list, objects

if t.TYPE_CHECKING:
    from ._cluster import Cluster
    from ._question import Endpoint, Question

OTHERS = 3  # nodes that are sent to
MOST = 15  # flows of a probe, beside its own train
TRANSPORTS = ("tcp", "udp")


@dataclass(frozen=True)
class Packet:
    """Who sends to whom. pod: the sender, where it is not the node itself."""

    source: str
    destination: str
    dst: str
    protocol: str = "icmp"
    port: int | None = None
    pod: Endpoint | None = None

    @property
    def text(self) -> str:
        return f"{self.source} > {self.destination} {self.protocol}{f'/{self.port}' if self.port else ''}"


def packets(cluster: Cluster, question: Question, node: str) -> list[Packet]:
    """From a node: those of the question that begin there, and from the node itself to pods of other nodes, and to these nodes."""
    return [*_of_the_question(question, node), *_to_others(cluster, node)][:MOST]


def _of_the_question(question: Question, node: str) -> Iterator[Packet]:
    lead = question.lead
    if lead.destination.kind == "service":  # which has no endpoint
        return
    for direction, near, far in directions(lead):
        if near.kind == "pod" and near.node == node and (direction == "forward" or not lead.same_node):
            yield Packet(near.label, far.label, far.address, pod=near)
            if direction == "forward" and lead.port and lead.protocol in TRANSPORTS:
                yield Packet(near.label, far.label, far.address, lead.protocol, lead.port, near)


def _to_others(cluster: Cluster, node: str) -> Iterator[Packet]:
    others = sorted(name for name in cluster.nodes if name != node)
    with_pods = [name for name in others if cluster.workloads_on(name)]
    for name in with_pods[:OTHERS]:
        pods = sorted(cluster.workloads_on(name), key=lambda pod: pod.key)
        for family in FAMILIES:
            held = [(pod.key, address) for pod in pods if (address := pod.address_in(family))]
            yield from (Packet(f"node/{node}", key, address) for key, address in held[:1])
    for name in [*with_pods, *(name for name in others if name not in with_pods)][:OTHERS]:
        for family in FAMILIES:
            address = node_address(cluster, name, family)
            if address:
                yield Packet(f"node/{node}", f"node/{name}", address)


def arguments(name: str, sent: Sequence[Packet]) -> dict[str, Json]:
    """Of path_probe, which sends them all at once. name: a random one of the probe."""
    pod = next((packet.pod for packet in sent if packet.pod is not None), None)
    cells = [
        {"name": packet.text, "inside": packet.pod is not None, "dst": packet.dst, "protocol": packet.protocol, "flow": number,
         **({"port": packet.port} if packet.port else {})}
        for number, packet in enumerate(sent, 1)
    ]  # fmt: skip
    return {"phase": "fire", "id": name, "dst": sent[0].dst, "cells": cells, **({"pod": pod_of(pod)} if pod is not None else {})}


def answered(told: Mapping[str, Json]) -> list[str]:
    """The packets that were answered, of what path_probe told; a port that refuses answers, too."""
    return [str(cell.get("name")) for cell in objects(as_list(told.get("cells"))) if cell.get("replied") or cell.get("refused")]
