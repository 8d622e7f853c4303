# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: which HostEndpoint stands at a device of a node, and the ports that Felix keeps open there.

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator

from ._cluster import Cluster
from ._dataplane import felix_setting
from ._json import Family, Json, NotCollected, objects, parse_address, parse_network
from ._policy_members import Member, Members, protocol_name
from ._policy_rules import Packet

FAILSAFE = {
    "ingress": (("TCP", 22), ("UDP", 68), ("TCP", 179), ("TCP", 2379), ("TCP", 2380), ("TCP", 5473), ("TCP", 6443), ("TCP", 6666), ("TCP", 6667)),
    "egress": (("UDP", 53), ("UDP", 67), ("TCP", 179), ("TCP", 2379), ("TCP", 2380), ("TCP", 5473), ("TCP", 6443), ("TCP", 6666), ("TCP", 6667)),
}
SETTINGS = {"ingress": "failsafeInboundHostPorts", "egress": "failsafeOutboundHostPorts"}


class Device(t.NamedTuple):
    """name "": the NIC with this address, whose name the API does not tell."""

    name: str
    addresses: tuple[str, ...]


def nic(cluster: Cluster, node: str, version: int) -> Device:
    """The interface that has the node's address."""
    family: Family = "ipv6" if version == 6 else "ipv4"
    known = cluster.node(node)
    held = [address for address in (known.calico_address(family), known.internal_ip_in(family)) if address]
    name = next((name for address in held if (name := known.interface_of(address))), "")
    return Device(name, known.listed_interfaces.get(name, ()) or tuple(held))


def host_endpoint(members: Members, node: str, device: Device | str) -> Member | None:
    """The first by name that names the device, or, naming none, has one of its addresses; else the one for all interfaces. Errors: NotCollected."""
    mine = [member for member in members.host_endpoints if member.node == node]
    at = device if isinstance(device, Device) else Device(device, ())
    for member in mine:
        if member.interface == "*":
            continue
        if not member.interface:
            if set(member.addresses) & set(at.addresses):
                return member
        elif at.name == member.interface:
            return member
        elif not at.name:
            if set(member.addresses) & set(at.addresses):
                return member
            raise NotCollected(f"whether {member.interface} of HostEndpoint {member.name} is the interface that has the address of {node} is not known")
    return next((member for member in mine if member.interface == "*"), None)


def failsafe(cluster: Cluster, node: str, way: str, packet: Packet) -> bool:
    """Whether the packet is for a port that no policy of a HostEndpoint can close."""
    setting = felix_setting(cluster, node, SETTINGS[way])
    ports = ((protocol, port, None) for protocol, port in FAILSAFE[way]) if setting is None else _configured(setting)
    address = parse_address(packet.src if way == "ingress" else packet.dst)
    for protocol, port, prefix in ports:
        if protocol == packet.protocol and port == packet.dport:
            network = parse_network(prefix)
            if prefix is None or (network is not None and address is not None and address in network):
                return True
    return False


def _configured(setting: Json) -> Iterator[tuple[str, int, str | None]]:
    """A FelixConfiguration's list, or the text of the environment: `tcp:22,udp:10.0.0.0/8:68,179`, or none."""
    if isinstance(setting, str):
        for piece in setting.split(",") if setting.strip().lower() != "none" else ():
            match = re.fullmatch(r"\s*(?:(?P<protocol>[a-z]+):)?(?:(?P<net>[0-9a-fA-F.:]+(?:/\d+)?):)?(?P<port>\d+)\s*", piece)
            if match is None:
                raise NotCollected(f"the failsafe port {piece[:40]!r} cannot be understood")
            yield protocol_name(match["protocol"] or "tcp"), int(match["port"]), match["net"]
        return
    for entry in objects(setting):
        if isinstance(entry.get("port"), int):
            yield protocol_name(entry.get("protocol") or "TCP"), entry["port"], entry.get("net")
