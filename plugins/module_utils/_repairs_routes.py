# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of a node's routes, neighbours and of what its VXLAN device knows.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _links, _neighbours, _routes
from ansible_collections.podnet.doctor.plugins.module_utils import _rtnames as names
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import attribute, attributes_in_turn
from ansible_collections.podnet.doctor.plugins.module_utils._repairs_links import connections_from
from ansible_collections.podnet.doctor.plugins.module_utils._steps import (
    AS_IT_MUST_BE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTM_NEWRULE,
    TUNNEL,
    Kernel,
    Params,
    Refused,
    State,
    family_of,
    is_cloud_rule,
    message,
    parameter,
)

NDA_DST = 1
POD_GATEWAY = "169.254.1.1/32"
# linux/rtnetlink.h
MAIN_TABLE, RTPROT_BOOT, RTN_UNICAST, RT_SCOPE_LINK, RTNH_F_ONLINK, RTA_CACHEINFO, RTA_NH_ID = 254, 3, 1, 253, 4, 12, 30
OWN_PROTOCOLS = ("bird", "80")
MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")


def _as_new(payload: bytes) -> bytes:
    """A route as the kernel told of it, in the form in which it takes one: without what it reports of its state."""
    size = _routes.HEADER.size
    header = list(_routes.HEADER.unpack_from(payload))
    header[-1] &= RTNH_F_ONLINK
    parts = list(attributes_in_turn(payload, size))
    kinds = {kind for kind, _value in parts}
    left_out = {RTA_CACHEINFO}
    if RTA_NH_ID in kinds:
        left_out |= {_routes.RTA_OIF, _routes.RTA_GATEWAY, _routes.RTA_VIA, _routes.RTA_MULTIPATH}
    body = _routes.HEADER.pack(*header)
    for kind, value in parts:
        if kind not in left_out:
            body += attribute(kind, _alive(value) if kind == _routes.RTA_MULTIPATH else value)
    return body


def _alive(nexthops: bytes) -> bytes:
    """The next hops of a route, without the marks of dead ones."""
    found, offset = bytearray(nexthops), 0
    while offset + 8 <= len(found):
        (length,) = struct.unpack_from("=H", found, offset)
        if length < 8:
            break
        found[offset + 2] &= RTNH_F_ONLINK
        offset += (length + 3) & ~3
    return bytes(found)


def delete_route(kernel: Kernel, params: Params) -> State:
    """parameters: route, as the node document holds it; unused, where no connection may end at an address of its interface.

    Only one that is neither BIRD's, nor Felix's, nor the kernel's.
    """
    wanted = params.get("route")
    if not isinstance(wanted, dict):
        raise Refused("the parameter route is missing")
    connected = wanted.get("protocol") == "kernel" and wanted.get("scope") == "link"
    if connected or wanted.get("protocol") in OWN_PROTOCOLS or str(wanted.get("dev", "")).startswith("cali"):
        raise Refused(f"the route to {wanted.get('dst')} belongs to Calico or to the kernel")
    keys = ("family", "table", "type", "dst", "gateway", "dev", "protocol", "metric")
    for payload in kernel.dump(_routes.RTM_GETROUTE, _routes.HEADER.pack(family_of(str(wanted.get("dst"))), 0, 0, 0, 0, 0, 0, 0, 0)):
        route = _routes.decode(payload, kernel.links)
        if route is not None and all(route.get(key) == wanted.get(key) for key in keys):
            line = f"{route['dst']}{' via ' + route['gateway'] if route.get('gateway') else ''}{' dev ' + route['dev'] if route.get('dev') else ''}"
            before = f"{line} proto {route['protocol']} metric {route['metric']}"
            if params.get("unused"):
                _unused(kernel, route)
            return State(before, "", [message(RTM_DELROUTE, payload)], [message(RTM_NEWROUTE, _as_new(payload), NLM_F_CREATE | NLM_F_EXCL)])
    return AS_IT_MUST_BE


def _unused(kernel: Kernel, route: dict[str, t.Any]) -> None:
    for held in _links.addresses(kernel, kernel.links):
        connections = connections_from(held["local"]) if held["ifname"] == route.get("dev") else 0
        if connections:
            raise Refused(f"the route to {route['dst']} dev {route['dev']} stays: established TCP connections end at {held['local']} ({connections})")


def delete_rule(kernel: Kernel, params: Params) -> State:
    """parameters: rule, as the node document holds it. Only one that has the form of nm-cloud-setup's."""
    wanted = params.get("rule")
    if not isinstance(wanted, dict):
        raise Refused("the parameter rule is missing")
    line = f"ip rule {wanted.get('priority')} (from {wanted.get('src') or 'all'} lookup {wanted.get('table')})"
    if not is_cloud_rule(wanted):
        raise Refused(f"{line} is none of nm-cloud-setup's")
    for payload in _links.dump_rules(kernel, socket.AF_INET):
        if _links.rule(payload) == wanted:
            return State(line, "", [message(RTM_DELRULE, payload)], [message(RTM_NEWRULE, payload, NLM_F_CREATE | NLM_F_EXCL)])
    return AS_IT_MUST_BE


def delete_neighbour(kernel: Kernel, params: Params) -> State:
    """parameters: dst, dev."""
    dst, dev = parameter(params, "dst"), parameter(params, "dev")
    entry = next((n for n in _neighbours.read(kernel, kernel.links) if n["dst"] == dst and n["dev"] == dev), None)
    if entry is None:
        return AS_IT_MUST_BE
    if dev in ("vxlan.calico", "vxlan-v6.calico", "flannel.1"):
        raise Refused(f"the entry of {dst} on {dev} belongs to the tunnel")
    index, packed = kernel.index(dev) or 0, attribute(NDA_DST, ipaddress.ip_address(dst).packed)
    body = struct.pack("=BBHiHBB", family_of(dst), 0, 0, index, 0, 0, 0) + packed
    back = []
    if entry.get("lladdr"):  # what was learned is learned again
        state = _neighbours.NUD_PERMANENT if "PERMANENT" in entry["state"] else _neighbours.NUD_STALE
        old = struct.pack("=BBHiHBB", family_of(dst), 0, 0, index, state, 0, 0) + packed
        back = [message(RTM_NEWNEIGH, old + attribute(_neighbours.NDA_LLADDR, bytes.fromhex(entry["lladdr"].replace(":", ""))), NLM_F_CREATE | NLM_F_EXCL)]
    return State(f"{dst} dev {dev} lladdr {entry.get('lladdr')} {' '.join(entry['state'])}", "", [message(RTM_DELNEIGH, body)], back)


def _tunnel(kernel: Kernel, params: Params) -> tuple[str, int]:
    """The VXLAN device of flannel or Calico that the parameter dev names, and its index."""
    dev = parameter(params, "dev")
    if not TUNNEL.match(dev):
        raise Refused(f"{dev} is no VXLAN device of flannel or Calico")
    index = kernel.index(dev)
    if index is None:
        raise Refused(f"there is no interface {dev}")
    return dev, index


def _ipv4(params: Params, name: str) -> str:
    text = parameter(params, name)
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise Refused(f"{text} is no IPv4 address") from error


def _mac(params: Params, name: str) -> tuple[str, bytes]:
    text = parameter(params, name)
    if not MAC.match(text):
        raise Refused(f"{text} is no MAC address")
    return text, bytes.fromhex(text.replace(":", ""))


def set_neighbour(kernel: Kernel, params: Params) -> State:
    """parameters: dst, dev, lladdr. The permanent entry for the other end of a tunnel."""
    (dev, index), dst, (lladdr, packed) = _tunnel(kernel, params), _ipv4(params, "dst"), _mac(params, "lladdr")
    entry = next((n for n in _neighbours.read(kernel, kernel.links) if n["dst"] == dst and n["dev"] == dev and n.get("lladdr")), None)
    if entry is not None and entry["lladdr"] == lladdr and "PERMANENT" in entry["state"]:
        return AS_IT_MUST_BE
    head, put = attribute(NDA_DST, ipaddress.IPv4Address(dst).packed), NLM_F_CREATE | NLM_F_REPLACE

    def written(lladdr_packed: bytes, state: int) -> bytes:
        return struct.pack("=BBHiHBB", socket.AF_INET, 0, 0, index, state, 0, 0) + head + attribute(_neighbours.NDA_LLADDR, lladdr_packed)

    before, back = "", message(RTM_DELNEIGH, struct.pack("=BBHiHBB", socket.AF_INET, 0, 0, index, 0, 0, 0) + head)
    if entry is not None:
        before = f"{dst} dev {dev} lladdr {entry['lladdr']} {' '.join(entry['state'])}"
        old = _neighbours.NUD_PERMANENT if "PERMANENT" in entry["state"] else _neighbours.NUD_STALE
        back = message(RTM_NEWNEIGH, written(bytes.fromhex(entry["lladdr"].replace(":", "")), old), put)
    return State(before, f"{dst} dev {dev} lladdr {lladdr} PERMANENT", [message(RTM_NEWNEIGH, written(packed, _neighbours.NUD_PERMANENT), put)], [back])


def set_fdb(kernel: Kernel, params: Params) -> State:
    """parameters: mac, dev, dst. To which node a tunnel sends frames for a MAC."""
    (dev, index), dst, (mac, packed) = _tunnel(kernel, params), _ipv4(params, "dst"), _mac(params, "mac")
    found = [row["dst"] for row in _neighbours.read_fdb(kernel, kernel.links) if row["mac"] == mac and row["ifname"] == dev and row.get("dst")]
    if found == [dst]:
        return AS_IT_MUST_BE
    if len(found) > 1:
        raise Refused(f"{mac} dev {dev} has several destinations: {', '.join(found)}")

    def entry(target: str) -> bytes:
        header = struct.pack("=BBHiHBB", names.AF_BRIDGE, 0, 0, index, _neighbours.NUD_PERMANENT, _neighbours.NTF_SELF, 0)
        return header + attribute(_neighbours.NDA_LLADDR, packed) + attribute(NDA_DST, ipaddress.IPv4Address(target).packed)

    put = NLM_F_CREATE | NLM_F_REPLACE
    before = f"{mac} dev {dev} dst {found[0]} self permanent" if found else ""
    back = message(RTM_NEWNEIGH, entry(found[0]), put) if found else message(RTM_DELNEIGH, entry(dst))
    return State(before, f"{mac} dev {dev} dst {dst} self permanent", [message(RTM_NEWNEIGH, entry(dst), put)], [back])


def add_route(kernel: Kernel, params: Params) -> State:
    """parameters: dst (a prefix of pods), gateway, dev (a VXLAN device). A route that is there already stays as it is."""
    (dev, index), gateway = _tunnel(kernel, params), _ipv4(params, "gateway")
    text = parameter(params, "dst")
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise Refused(f"{text} is no IPv4 prefix") from error
    if network.prefixlen < 8:
        raise Refused(f"{text} is more than the pods of a node")
    for route in _routes.read(kernel, kernel.links, ("inet",)):
        if route["dst"] == str(network) and route["table"] == MAIN_TABLE:
            if (route.get("gateway"), route.get("dev")) == (gateway, dev):
                return AS_IT_MUST_BE
            raise Refused(f"there is a route to {network} already: via {route.get('gateway')} dev {route.get('dev')}")
    body = _routes.HEADER.pack(socket.AF_INET, network.prefixlen, 0, 0, MAIN_TABLE, RTPROT_BOOT, 0, RTN_UNICAST, RTNH_F_ONLINK)
    body += attribute(_routes.RTA_DST, network.network_address.packed) + attribute(_routes.RTA_GATEWAY, ipaddress.IPv4Address(gateway).packed)
    body += attribute(_routes.RTA_OIF, struct.pack("=I", index))
    new, back = message(RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_EXCL), message(RTM_DELROUTE, body)
    return State("", f"{network} via {gateway} dev {dev} onlink", [new], [back])


def add_gateway_route(kernel: Kernel, params: Params) -> State:
    """parameters: dev. The route to the pods' gateway 169.254.1.1, without which a node does not answer their ARP."""
    dev = parameter(params, "dev")
    index = kernel.index(dev)
    if index is None:
        raise Refused(f"there is no interface {dev}")
    gateway = POD_GATEWAY.partition("/")[0]
    for route in _routes.read(kernel, kernel.links, ("inet",)):
        if route["table"] == MAIN_TABLE and route["type"] == "unicast" and ipaddress.ip_address(gateway) in ipaddress.ip_network(route["dst"]):
            return AS_IT_MUST_BE
    body = _routes.HEADER.pack(socket.AF_INET, 32, 0, 0, MAIN_TABLE, RTPROT_BOOT, RT_SCOPE_LINK, RTN_UNICAST, 0)
    body += attribute(_routes.RTA_DST, socket.inet_aton(gateway)) + attribute(_routes.RTA_OIF, struct.pack("=I", index))
    new, back = message(RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_EXCL), message(RTM_DELROUTE, body)
    return State("", f"{POD_GATEWAY} dev {dev} scope link", [new], [back])
