# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of a node's interfaces and of their addresses.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _links, _neighbours, _offload, _routes
from ansible_collections.podnet.doctor.plugins.module_utils import _rtnames as names
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import attribute
from ansible_collections.podnet.doctor.plugins.module_utils._steps import (
    AS_IT_MUST_BE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_SETLINK,
    TUNNEL,
    Kernel,
    Params,
    Refused,
    State,
    Step,
    family_of,
    message,
    offload,
    parameter,
    read_setting,
)

IFA_ADDRESS, IFA_LOCAL = 1, 2
IFF_UP = 0x1
IFLA_MASTER, IFLA_PROTINFO, IFLA_BRPORT_STATE, BR_STATE_FORWARDING, NLA_F_NESTED = 10, 12, 1, 3, 0x8000
BRIDGE_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")  # linux/if_bridge.h
POD_BRIDGE = "cni0"
TCP_ESTABLISHED = "01"  # include/net/tcp_states.h
CALICO_DEVICE = "vxlan.calico"
VIRTUAL = ("bridge", "dummy", "veth", "macvlan", "ipvlan")
LISTENING = 1.0  # seconds in which an interface must stay silent before it is deleted


def connections_from(address: str) -> int:
    """Established TCP connections of this node whose own end is the address (/proc/net/tcp: hexadecimal, host byte order)."""
    if ":" in address:
        return 0
    (number,) = struct.unpack("=I", socket.inet_aton(address))
    wanted = f"{number:08X}"
    with open("/proc/thread-self/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return sum(1 for row in rows[1:] if len(row) > 3 and row[1].partition(":")[0] == wanted and row[3] == TCP_ESTABLISHED)


def _carried(kernel: Kernel, ifname: str) -> list[str]:
    found = []
    for route in _routes.read(kernel, kernel.links, ("inet",)):
        devices = [route.get("dev")] + [hop.get("dev") for hop in route.get("nexthops") or []]
        if ifname in devices and route["protocol"] != "kernel" and route["table"] != 255:
            found.append(f"the route to {'everything' if route['dst'] == '0.0.0.0/0' else route['dst']} uses {ifname}")
    return found


def _sent_from(kernel: Kernel, address: str) -> list[str]:
    found = []
    for route in _routes.read(kernel, kernel.links, ("inet6" if ":" in address else "inet",)):
        if route.get("prefsrc") == address and route["protocol"] != "kernel" and route["table"] != 255:
            found.append(f"the route to {route['dst']} sends from it")
    return found


def _lost_with_it(held: list[dict[str, t.Any]], interface: t.Any, ifname: str) -> list[str]:
    """The kernel deletes the secondary addresses of a network together with the primary one, unless it was told to promote them."""
    if interface.version == 6 or read_setting(f"net/ipv4/conf/{ifname}/promote_secondaries") == "1":
        return []
    if any(a["local"] == str(interface.ip) and "secondary" in (a.get("flags") or []) for a in held):
        return []
    others = [a["local"] for a in held if a["family"] == "inet" and a["local"] != str(interface.ip) and a["prefixlen"] == interface.network.prefixlen
              and ipaddress.ip_address(a["local"]) in interface.network]  # fmt: skip
    return [f"the kernel would delete {', '.join(others)} with it"] if others else []


def _kept(params: Params) -> str:
    """The node's own Kubernetes address, which no repair takes away."""
    value = params.get("intended")
    return value if isinstance(value, str) else ""


def delete_address(kernel: Kernel, params: Params) -> State:
    """parameters: ifname, address (with its prefix length); intended: the node's Kubernetes address."""
    ifname, text = parameter(params, "ifname"), parameter(params, "address")
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise Refused(f"{text} is no address with a prefix length") from error
    line = f"{interface.with_prefixlen} dev {ifname}"
    known = [(a, payload) for payload in _links.dump_addresses(kernel) for a in [_links.address(payload, kernel.links)] if a and a["ifname"] == ifname]
    mine = [payload for a, payload in known if a["local"] == str(interface.ip) and a["prefixlen"] == interface.network.prefixlen]
    if not mine:
        return AS_IT_MUST_BE
    obstacles = [f"{interface.ip} is the node's Kubernetes address"] if str(interface.ip) == _kept(params) else []
    obstacles += _carried(kernel, ifname) + _sent_from(kernel, str(interface.ip)) + _lost_with_it([a for a, _payload in known], interface, ifname)
    connections = connections_from(str(interface.ip))
    if connections:
        obstacles.append(f"established TCP connections of this node end at {interface.ip} ({connections})")
    if obstacles:
        raise Refused(f"{line} stays: {'; '.join(obstacles)}")
    packed = interface.ip.packed
    body = struct.pack("=BBBBI", family_of(str(interface.ip)), interface.network.prefixlen, 0, 0, kernel.index(ifname) or 0)
    body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    return State(line, "", [message(RTM_DELADDR, body)], [message(RTM_NEWADDR, mine[0], NLM_F_CREATE | NLM_F_EXCL)])


def _received(kernel: Kernel, index: int) -> int:
    return _links.packet_counters(_links.dump(kernel)).get(index, {}).get("rx", 0)


def _in_use(kernel: Kernel, link: Params, index: int) -> list[str]:
    """Whether packets came in just now, or a neighbour answered over it."""
    ifname = link["ifname"]
    awake = [n["dst"] for n in _neighbours.read(kernel, kernel.links) if n["dev"] == ifname and {"REACHABLE", "DELAY", "PROBE"} & set(n["state"])]
    if awake:
        return [f"neighbour {awake[0]} was reached over it just now"]
    before = _received(kernel, index)
    time.sleep(min(LISTENING, kernel.deadline.remaining()))  # not for something to come: for nothing to come
    packets = _received(kernel, index) - before
    return [f"it received {packets} packets within {LISTENING:g} s"] if packets else []


def delete_link(kernel: Kernel, params: Params) -> State:
    """parameters: ifname; intended: the node's Kubernetes address; kind: vxlan, of one that is in the way of Calico's own. It cannot be taken back."""
    ifname = parameter(params, "ifname")
    index = kernel.index(ifname)
    if index is None:
        return AS_IT_MUST_BE
    link = _link(kernel, ifname) or {}
    kind = (link.get("linkinfo") or {}).get("info_kind")
    if kind not in VIRTUAL and not (kind == "vxlan" == params.get("kind") and ifname != CALICO_DEVICE):
        raise Refused(f"{ifname} stays: it is no virtual interface that somebody made")
    obstacles = _carried(kernel, ifname)
    if link.get("master"):
        obstacles.append(f"it is a port of {link['master']}")
    if "link_netnsid" in link:
        obstacles.append("its other end is in another network namespace, as that of a container")
    for other in _links.links(_links.dump(kernel), kernel.links):
        if other.get("master") == ifname:
            obstacles.append(f"{other['ifname']} is a port of it")
        elif other.get("link") == ifname and other["ifname"] != link.get("link"):
            obstacles.append(f"{other['ifname']} is made on top of it")
    for held in _links.addresses(kernel, kernel.links):
        if held["ifname"] != ifname:
            continue
        if held["local"] == _kept(params):
            obstacles.append(f"{held['local']} is the node's Kubernetes address")
        connections = connections_from(held["local"])
        if connections:
            obstacles.append(f"established TCP connections of this node end at {held['local']} ({connections})")
    obstacles = obstacles or _in_use(kernel, {**link, "ifname": ifname}, index)
    if obstacles:
        raise Refused(f"{ifname} stays: {'; '.join(obstacles)}")
    return State(f"link {ifname}", "", [message(RTM_DELLINK, struct.pack("=BxHiII", 0, 0, index, 0, 0))], [])


def _link(kernel: Kernel, ifname: str) -> dict[str, t.Any] | None:
    return next((link for link in _links.links(_links.dump(kernel), kernel.links) if link["ifname"] == ifname), None)


def set_link_up(kernel: Kernel, params: Params) -> State:
    """parameters: ifname."""
    ifname = parameter(params, "ifname")
    index = kernel.index(ifname)
    if index is None:
        raise Refused(f"there is no interface {ifname}")
    if "UP" in (_link(kernel, ifname) or {}).get("flags", []):
        return AS_IT_MUST_BE
    up, down = (message(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, index, flags, IFF_UP)) for flags in (IFF_UP, 0))
    return State(f"{ifname} down", f"{ifname} up", [up], [down])


def set_bridge_port(kernel: Kernel, params: Params) -> State:
    """parameters: ifname (a veth), master (the bridge of flannel's pods). Make it a port of the bridge again, and a port that forwards."""
    ifname, master = parameter(params, "ifname"), parameter(params, "master")
    link, bridge = _link(kernel, ifname), _link(kernel, master)
    if link is None or bridge is None:
        raise Refused(f"there is no interface {ifname if link is None else master}")
    if master != POD_BRIDGE or (bridge.get("linkinfo") or {}).get("info_kind") != "bridge":
        raise Refused(f"{master} is not the bridge of flannel's pods")
    info = link.get("linkinfo") or {}
    if info.get("info_kind") != "veth" or link.get("master") not in (None, master):
        raise Refused(f"{ifname} is no veth, or a port of {link.get('master')}")
    state = (info.get("info_slave_data") or {}).get("state")
    if link.get("master") == master and state == "forwarding":
        return AS_IT_MUST_BE
    if "UP" not in link["flags"]:
        raise Refused(f"{ifname} is down")
    index = link["ifindex"]

    def joined(number: int) -> Step:
        return message(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, index, 0, 0) + attribute(IFLA_MASTER, struct.pack("=I", number)))

    def port_state(number: int) -> Step:
        body = struct.pack("=BxHiII", names.AF_BRIDGE, 0, index, 0, 0)
        return message(RTM_SETLINK, body + attribute(IFLA_PROTINFO | NLA_F_NESTED, attribute(IFLA_BRPORT_STATE, struct.pack("=B", number))))

    after = f"{ifname} master {master} state forwarding"
    if link.get("master") != master:
        return State(f"{ifname} without a master", after, [joined(bridge["ifindex"])], [joined(0)])
    old = BRIDGE_STATES.index(state) if state in BRIDGE_STATES else 0
    return State(f"{ifname} master {master} state {state}", after, [port_state(BR_STATE_FORWARDING)], [port_state(old)])


def set_offload(_kernel: Kernel, params: Params) -> State:
    """parameters: ifname, a VXLAN device of flannel or Calico. The kernel computes the checksums of what it sends, not the driver."""
    ifname = parameter(params, "ifname")
    if not TUNNEL.match(ifname):
        raise Refused(f"{ifname} is no VXLAN device of flannel or Calico")
    found = _offload.transmit_checksum(ifname)
    if found is None:
        raise Refused(f"{ifname} does not say whether it leaves checksums to its driver")
    if not found:
        return AS_IT_MUST_BE
    return State(f"{ifname} tx-checksumming on", f"{ifname} tx-checksumming off", [offload(ifname, False)], [offload(ifname, True)])
