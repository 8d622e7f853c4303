# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few changes that a repair makes to a node's kernel: each exact, each refused where more would break than is mended.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _links, _neighbours, _routes
from ansible_collections.podnet.doctor.plugins.module_utils import _rtnames as names
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import NLM_F_ACK, NLMSG_ERROR, NetlinkError, Rtnetlink, attribute

RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK, RTM_DELADDR, RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEIGH, RTM_DELNEIGH = 16, 17, 19, 21, 24, 25, 28, 29
NLM_F_REPLACE, NLM_F_CREATE, NLM_F_EXCL = 0x100, 0x400, 0x200
IFA_ADDRESS, IFA_LOCAL, NDA_DST = 1, 2, 1
IFF_UP = 0x1
IFLA_MASTER, IFLA_PROTINFO, IFLA_BRPORT_STATE, BR_STATE_FORWARDING, NLA_F_NESTED = 10, 12, 1, 3, 0x8000
POD_BRIDGE = "cni0"
MAIN_TABLE, RTPROT_BOOT, RTN_UNICAST, RTNH_F_ONLINK = 254, 3, 1, 4  # linux/rtnetlink.h
TCP_ESTABLISHED = "01"  # include/net/tcp_states.h
OWN_PROTOCOLS = ("bird", "80")
TUNNEL = re.compile(r"^(flannel\.[0-9]{1,8}|vxlan\.calico)\Z")
MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
SYSCTL = re.compile(
    r"^net/(ipv4/ip_forward|ipv4/conf/[^/\s]{1,15}/(forwarding|proxy_arp|rp_filter|route_localnet)"
    r"|ipv6/conf/[^/\s]{1,15}/(forwarding|proxy_ndp))\Z"
)

Params = t.Mapping[str, t.Any]


class Refused(Exception):
    """The change is not made; the text says why."""


class State(t.NamedTuple):
    """What was found. `before` and `after` are lines as `ip` would print them; apply is None where nothing has to be done."""

    before: str
    after: str
    apply: t.Callable[[], None] | None


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(f"the parameter {name} is missing")
    return value


class Kernel(Rtnetlink):
    """A socket that also changes things."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(deadline)
        self.links = _links.indexes(_links.dump(self))

    def __enter__(self) -> Kernel:
        return self

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        for answer, _flags, payload in self._answers(self._send(kind, NLM_F_ACK | flags, body)):
            if answer == NLMSG_ERROR and len(payload) >= 4:
                (number,) = struct.unpack_from("=i", payload)
                if number:
                    raise NetlinkError(-number)
                return

    def index(self, ifname: str) -> int | None:
        return next((number for number, name in self.links.items() if name == ifname), None)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _connections_from(address: str) -> int:
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


def delete_address(kernel: Kernel, params: Params) -> State:
    """parameters: ifname, address (with its prefix length)."""
    ifname, text = _text(params, "ifname"), _text(params, "address")
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise Refused(f"{text} is no address with a prefix length") from error
    line = f"{interface.with_prefixlen} dev {ifname}"
    held = [a for a in _links.addresses(kernel, kernel.links) if a["local"] == str(interface.ip) and a["prefixlen"] == interface.network.prefixlen]
    if not any(a["ifname"] == ifname for a in held):
        return State("", "", None)
    obstacles = _carried(kernel, ifname)
    connections = _connections_from(str(interface.ip))
    if connections:
        obstacles.append(f"established TCP connections of this node end at {interface.ip} ({connections})")
    if obstacles:
        raise Refused(f"{line} stays: {'; '.join(obstacles)}")
    packed = interface.ip.packed
    body = struct.pack("=BBBBI", _family(str(interface.ip)), interface.network.prefixlen, 0, 0, kernel.index(ifname) or 0)
    body += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    return State(line, "", lambda: kernel.change(RTM_DELADDR, body))


def delete_link(kernel: Kernel, params: Params) -> State:
    """parameters: ifname. It cannot be taken back."""
    ifname = _text(params, "ifname")
    index = kernel.index(ifname)
    if index is None:
        return State("", "", None)
    link = next((li for li in _links.links(_links.dump(kernel), kernel.links) if li["ifname"] == ifname), {})
    if (link.get("linkinfo") or {}).get("info_kind") not in ("bridge", "dummy", "veth", "macvlan", "ipvlan"):
        raise Refused(f"{ifname} stays: it is no virtual interface that somebody made")
    ports = [li["ifname"] for li in _links.links(_links.dump(kernel), kernel.links) if li.get("master") == ifname]
    obstacles = _carried(kernel, ifname) + [f"{port} is a port of it" for port in ports]
    if obstacles:
        raise Refused(f"{ifname} stays: {'; '.join(obstacles)}")
    return State(f"link {ifname}", "", lambda: kernel.change(RTM_DELLINK, struct.pack("=BxHiII", 0, 0, index, 0, 0)))


def set_link_up(kernel: Kernel, params: Params) -> State:
    """parameters: ifname."""
    ifname = _text(params, "ifname")
    index = kernel.index(ifname)
    if index is None:
        raise Refused(f"there is no interface {ifname}")
    link = next((li for li in _links.links(_links.dump(kernel), kernel.links) if li["ifname"] == ifname), {})
    if "UP" in link.get("flags", []):
        return State("", "", None)
    return State(f"{ifname} down", f"{ifname} up", lambda: kernel.change(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, index, IFF_UP, IFF_UP)))


def set_sysctl(_kernel: Kernel, params: Params) -> State:
    """parameters: path below /proc/sys (one of the few that decide on forwarding), value."""
    path, value = _text(params, "path"), _text(params, "value")
    if not SYSCTL.match(path) or value not in ("0", "1", "2"):
        raise Refused(f"{path}={value} is not a setting that a repair changes")
    file = os.path.join("/proc/sys", path)
    try:
        with open(file, encoding="ascii") as stream:
            found = stream.read().strip()
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error
    name = path.replace("/", ".")
    if found == value:
        return State("", "", None)

    def apply() -> None:
        with open(file, "w", encoding="ascii") as stream:
            stream.write(value)

    return State(f"{name} = {found}", f"{name} = {value}", apply)


def delete_route(kernel: Kernel, params: Params) -> State:
    """parameters: route, as the node document holds it. Only one that is neither BIRD's, nor Felix's, nor the kernel's."""
    wanted = params.get("route")
    if not isinstance(wanted, dict):
        raise Refused("the parameter route is missing")
    connected = wanted.get("protocol") == "kernel" and wanted.get("scope") == "link"
    if connected or wanted.get("protocol") in OWN_PROTOCOLS or str(wanted.get("dev", "")).startswith("cali"):
        raise Refused(f"the route to {wanted.get('dst')} belongs to Calico or to the kernel")
    keys = ("family", "table", "type", "dst", "gateway", "dev", "protocol", "metric")
    for payload in kernel.dump(_routes.RTM_GETROUTE, _routes.HEADER.pack(_family(str(wanted.get("dst"))), 0, 0, 0, 0, 0, 0, 0, 0)):
        route = _routes.decode(payload, kernel.links)
        if route is not None and all(route.get(key) == wanted.get(key) for key in keys):
            line = f"{route['dst']}{' via ' + route['gateway'] if route.get('gateway') else ''}{' dev ' + route['dev'] if route.get('dev') else ''}"
            before = f"{line} proto {route['protocol']} metric {route['metric']}"
            return State(before, "", lambda body=payload: kernel.change(RTM_DELROUTE, body))  # type: ignore[misc]
    return State("", "", None)


def delete_neighbour(kernel: Kernel, params: Params) -> State:
    """parameters: dst, dev."""
    dst, dev = _text(params, "dst"), _text(params, "dev")
    entry = next((n for n in _neighbours.read(kernel, kernel.links) if n["dst"] == dst and n["dev"] == dev), None)
    if entry is None:
        return State("", "", None)
    if dev in ("vxlan.calico", "vxlan-v6.calico", "flannel.1"):
        raise Refused(f"the entry of {dst} on {dev} belongs to the tunnel")
    body = struct.pack("=BBHiHBB", _family(dst), 0, 0, kernel.index(dev) or 0, 0, 0, 0) + attribute(NDA_DST, ipaddress.ip_address(dst).packed)
    return State(f"{dst} dev {dev} lladdr {entry.get('lladdr')} {' '.join(entry['state'])}", "", lambda: kernel.change(RTM_DELNEIGH, body))


def _tunnel(kernel: Kernel, params: Params) -> tuple[str, int]:
    """The VXLAN device of flannel or Calico that the parameter dev names, and its index."""
    dev = _text(params, "dev")
    if not TUNNEL.match(dev):
        raise Refused(f"{dev} is no VXLAN device of flannel or Calico")
    index = kernel.index(dev)
    if index is None:
        raise Refused(f"there is no interface {dev}")
    return dev, index


def _ipv4(params: Params, name: str) -> str:
    text = _text(params, name)
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise Refused(f"{text} is no IPv4 address") from error


def _mac(params: Params, name: str) -> tuple[str, bytes]:
    text = _text(params, name)
    if not MAC.match(text):
        raise Refused(f"{text} is no MAC address")
    return text, bytes.fromhex(text.replace(":", ""))


def set_neighbour(kernel: Kernel, params: Params) -> State:
    """parameters: dst, dev, lladdr. The permanent entry for the other end of a tunnel."""
    (dev, index), dst, (lladdr, packed) = _tunnel(kernel, params), _ipv4(params, "dst"), _mac(params, "lladdr")
    entry = next((n for n in _neighbours.read(kernel, kernel.links) if n["dst"] == dst and n["dev"] == dev and n.get("lladdr")), None)
    if entry is not None and entry["lladdr"] == lladdr and "PERMANENT" in entry["state"]:
        return State("", "", None)
    body = struct.pack("=BBHiHBB", socket.AF_INET, 0, 0, index, _neighbours.NUD_PERMANENT, 0, 0)
    body += attribute(NDA_DST, ipaddress.IPv4Address(dst).packed) + attribute(_neighbours.NDA_LLADDR, packed)
    before = f"{dst} dev {dev} lladdr {entry['lladdr']} {' '.join(entry['state'])}" if entry is not None else ""
    after = f"{dst} dev {dev} lladdr {lladdr} PERMANENT"
    return State(before, after, lambda: kernel.change(RTM_NEWNEIGH, body, NLM_F_CREATE | NLM_F_REPLACE))


def set_fdb(kernel: Kernel, params: Params) -> State:
    """parameters: mac, dev, dst. To which node a tunnel sends frames for a MAC."""
    (dev, index), dst, (mac, packed) = _tunnel(kernel, params), _ipv4(params, "dst"), _mac(params, "mac")
    found = [row["dst"] for row in _neighbours.read_fdb(kernel, kernel.links) if row["mac"] == mac and row["ifname"] == dev and row.get("dst")]
    if found == [dst]:
        return State("", "", None)
    if len(found) > 1:
        raise Refused(f"{mac} dev {dev} has several destinations: {', '.join(found)}")
    body = struct.pack("=BBHiHBB", names.AF_BRIDGE, 0, 0, index, _neighbours.NUD_PERMANENT, _neighbours.NTF_SELF, 0)
    body += attribute(_neighbours.NDA_LLADDR, packed) + attribute(NDA_DST, ipaddress.IPv4Address(dst).packed)
    before = f"{mac} dev {dev} dst {found[0]} self permanent" if found else ""
    return State(before, f"{mac} dev {dev} dst {dst} self permanent", lambda: kernel.change(RTM_NEWNEIGH, body, NLM_F_CREATE | NLM_F_REPLACE))


def add_route(kernel: Kernel, params: Params) -> State:
    """parameters: dst (a prefix of pods), gateway, dev (a VXLAN device). A route that is there already stays as it is."""
    (dev, index), gateway = _tunnel(kernel, params), _ipv4(params, "gateway")
    text = _text(params, "dst")
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise Refused(f"{text} is no IPv4 prefix") from error
    if network.prefixlen < 8:
        raise Refused(f"{text} is more than the pods of a node")
    for route in _routes.read(kernel, kernel.links, ("inet",)):
        if route["dst"] == str(network) and route["table"] == MAIN_TABLE:
            if (route.get("gateway"), route.get("dev")) == (gateway, dev):
                return State("", "", None)
            raise Refused(f"there is a route to {network} already: via {route.get('gateway')} dev {route.get('dev')}")
    body = _routes.HEADER.pack(socket.AF_INET, network.prefixlen, 0, 0, MAIN_TABLE, RTPROT_BOOT, 0, RTN_UNICAST, RTNH_F_ONLINK)
    body += attribute(_routes.RTA_DST, network.network_address.packed) + attribute(_routes.RTA_GATEWAY, ipaddress.IPv4Address(gateway).packed)
    body += attribute(_routes.RTA_OIF, struct.pack("=I", index))
    return State("", f"{network} via {gateway} dev {dev} onlink", lambda: kernel.change(RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_EXCL))


def _link(kernel: Kernel, ifname: str) -> dict[str, t.Any] | None:
    return next((link for link in _links.links(_links.dump(kernel), kernel.links) if link["ifname"] == ifname), None)


def set_bridge_port(kernel: Kernel, params: Params) -> State:
    """parameters: ifname (a veth), master (the bridge of flannel's pods). Make it a port of the bridge again, and a port that forwards."""
    ifname, master = _text(params, "ifname"), _text(params, "master")
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
        return State("", "", None)
    if "UP" not in link["flags"]:
        raise Refused(f"{ifname} is down")
    index = link["ifindex"]
    join = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attribute(IFLA_MASTER, struct.pack("=I", bridge["ifindex"]))
    forward = struct.pack("=BxHiII", names.AF_BRIDGE, 0, index, 0, 0)
    forward += attribute(IFLA_PROTINFO | NLA_F_NESTED, attribute(IFLA_BRPORT_STATE, struct.pack("=B", BR_STATE_FORWARDING)))

    def apply() -> None:
        if link.get("master") != master:
            kernel.change(RTM_NEWLINK, join)
        else:
            kernel.change(RTM_SETLINK, forward)

    before = f"{ifname} master {master} state {state}" if link.get("master") else f"{ifname} without a master"
    return State(before, f"{ifname} master {master} state forwarding", apply)


REMEDIES: dict[str, t.Callable[[Kernel, Params], State]] = {
    "add_route": add_route,
    "delete_address": delete_address,
    "delete_link": delete_link,
    "delete_neighbour": delete_neighbour,
    "delete_route": delete_route,
    "set_bridge_port": set_bridge_port,
    "set_fdb": set_fdb,
    "set_link_up": set_link_up,
    "set_neighbour": set_neighbour,
    "set_sysctl": set_sysctl,
}


def carry_out(remedy: str, params: Params, deadline: Deadline, check_mode: bool) -> dict[str, t.Any]:
    """Look, and change only what is not yet as it must be. Errors: Refused, OSError."""
    with Kernel(deadline) as kernel:
        state = REMEDIES[remedy](kernel, params)
        if state.apply is not None and not check_mode:
            try:
                state.apply()
            except NetlinkError as error:
                gone = error.errno in (errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT)
                if not (gone and remedy.startswith("delete_")):  # gone meanwhile is as it must be
                    raise
    return {"changed": state.apply is not None, "before": state.before, "after": state.after}
