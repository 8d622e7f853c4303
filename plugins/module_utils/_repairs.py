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
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import NLM_F_ACK, NLMSG_ERROR, NetlinkError, Rtnetlink, attribute

RTM_NEWLINK, RTM_DELLINK, RTM_DELADDR, RTM_DELROUTE, RTM_DELNEIGH = 16, 17, 21, 25, 29
IFA_ADDRESS, IFA_LOCAL, NDA_DST = 1, 2, 1
IFF_UP = 0x1
TCP_ESTABLISHED = "01"  # include/net/tcp_states.h
OWN_PROTOCOLS = ("bird", "80")
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

    def change(self, kind: int, body: bytes) -> None:
        for answer, _flags, payload in self._answers(self._send(kind, NLM_F_ACK, body)):
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


REMEDIES: dict[str, t.Callable[[Kernel, Params], State]] = {
    "delete_address": delete_address,
    "delete_link": delete_link,
    "delete_neighbour": delete_neighbour,
    "delete_route": delete_route,
    "set_link_up": set_link_up,
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
                if error.errno not in (errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT):  # gone meanwhile: as it must be
                    raise
    return {"changed": state.apply is not None, "before": state.before, "after": state.after}
