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
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _bird_socket, _conntrack, _guard, _links, _neighbours, _routes
from ansible_collections.podnet.doctor.plugins.module_utils import _rtnames as names
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import NetlinkError, attribute, attributes_in_turn
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes
from ansible_collections.podnet.doctor.plugins.module_utils._steps import (
    KEPT_SETTINGS,
    LIMIT,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTM_SETLINK,
    Changing,
    Kernel,
    Refused,
    Step,
    is_setting,
    keeping,
    kept,
    kept_settings,
    message,
    outlives_boots,
    perform,
    read_setting,
    setting,
)

IPCTNL_MSG_CT_DELETE = 1 << 8 | 2  # linux/netfilter/nfnetlink_conntrack.h
IFA_ADDRESS, IFA_LOCAL, NDA_DST = 1, 2, 1
IFF_UP = 0x1
IFLA_MASTER, IFLA_PROTINFO, IFLA_BRPORT_STATE, BR_STATE_FORWARDING, NLA_F_NESTED = 10, 12, 1, 3, 0x8000
BRIDGE_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")  # linux/if_bridge.h
POD_BRIDGE = "cni0"
POD_GATEWAY = "169.254.1.1/32"
# linux/rtnetlink.h
MAIN_TABLE, RTPROT_BOOT, RTN_UNICAST, RT_SCOPE_LINK, RTNH_F_ONLINK, RTA_CACHEINFO, RTA_NH_ID = 254, 3, 1, 253, 4, 12, 30
TCP_ESTABLISHED = "01"  # include/net/tcp_states.h
OWN_PROTOCOLS = ("bird", "80")
VIRTUAL = ("bridge", "dummy", "veth", "macvlan", "ipvlan")
LISTENING = 1.0  # seconds in which an interface must stay silent before it is deleted
TUNNEL = re.compile(r"^(flannel\.[0-9]{1,8}|vxlan\.calico)\Z")
MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}\Z")
PROTOCOL = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,62}\Z")

Params = t.Mapping[str, t.Any]
Change = t.Tuple[str, str, Step, Step]  # noqa: UP006 - evaluated on Python 3.9


class State(t.NamedTuple):
    """What was found. `before` and `after` are lines as `ip` would print them. `back` undoes what `steps` do; empty: there is no way back."""

    before: str
    after: str
    steps: list[Step]
    back: list[Step]


AS_IT_MUST_BE = State("", "", [], [])


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(f"the parameter {name} is missing")
    return value


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
    ifname, text = _text(params, "ifname"), _text(params, "address")
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
    connections = _connections_from(str(interface.ip))
    if connections:
        obstacles.append(f"established TCP connections of this node end at {interface.ip} ({connections})")
    if obstacles:
        raise Refused(f"{line} stays: {'; '.join(obstacles)}")
    packed = interface.ip.packed
    body = struct.pack("=BBBBI", _family(str(interface.ip)), interface.network.prefixlen, 0, 0, kernel.index(ifname) or 0)
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
    """parameters: ifname; intended: the node's Kubernetes address. It cannot be taken back."""
    ifname = _text(params, "ifname")
    index = kernel.index(ifname)
    if index is None:
        return AS_IT_MUST_BE
    link = _link(kernel, ifname) or {}
    if (link.get("linkinfo") or {}).get("info_kind") not in VIRTUAL:
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
        connections = _connections_from(held["local"])
        if connections:
            obstacles.append(f"established TCP connections of this node end at {held['local']} ({connections})")
    obstacles = obstacles or _in_use(kernel, {**link, "ifname": ifname}, index)
    if obstacles:
        raise Refused(f"{ifname} stays: {'; '.join(obstacles)}")
    return State(f"link {ifname}", "", [message(RTM_DELLINK, struct.pack("=BxHiII", 0, 0, index, 0, 0))], [])


def set_link_up(kernel: Kernel, params: Params) -> State:
    """parameters: ifname."""
    ifname = _text(params, "ifname")
    index = kernel.index(ifname)
    if index is None:
        raise Refused(f"there is no interface {ifname}")
    if "UP" in (_link(kernel, ifname) or {}).get("flags", []):
        return AS_IT_MUST_BE
    up, down = (message(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, index, flags, IFF_UP)) for flags in (IFF_UP, 0))
    return State(f"{ifname} down", f"{ifname} up", [up], [down])


def set_sysctl(_kernel: Kernel, params: Params) -> State:
    """parameters: path below /proc/sys (one of the few that decide on forwarding, or a limit, which is only raised), value; persistent, in a file, too."""
    path, value = _text(params, "path"), _text(params, "value")
    if not is_setting(path, value):
        raise Refused(f"{path}={value} is not a setting that a repair changes")
    try:
        found = read_setting(path)
    except OSError as error:
        raise Refused(f"/proc/sys/{path} cannot be read: {error.strerror}") from error
    name = path.replace("/", ".")
    if LIMIT.match(path) and int(found) > int(value):
        return AS_IT_MUST_BE
    changes: list[Change] = [] if found == value else [(f"{name} = {found}", f"{name} = {value}", setting(path, value), setting(path, found))]
    if params.get("persistent"):
        changes += _persistently(path, value)
    before, after = "; ".join(change[0] for change in changes), "; ".join(change[1] for change in changes)
    return State(before, after, [change[2] for change in changes], [change[3] for change in reversed(changes)])


def _persistently(path: str, value: str) -> list[Change]:
    if not outlives_boots(path):
        raise Refused(f"{path} belongs to one interface and is made anew with it: no file can keep it")
    try:
        was = kept_settings()
    except (OSError, ValueError) as error:
        raise Refused(f"{KEPT_SETTINGS} cannot be read: {error}") from error
    if not os.path.isdir(os.path.dirname(KEPT_SETTINGS)):
        raise Refused(f"{KEPT_SETTINGS} cannot be written: there is no such folder")
    wanted = kept(was, path, value)
    name = path.replace("/", ".")
    return [] if wanted == was else [(f"{name} not in {KEPT_SETTINGS}", f"{name} = {value} in {KEPT_SETTINGS}", keeping(wanted), keeping(was))]


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
            return State(before, "", [message(RTM_DELROUTE, payload)], [message(RTM_NEWROUTE, _as_new(payload), NLM_F_CREATE | NLM_F_EXCL)])
    return AS_IT_MUST_BE


def delete_neighbour(kernel: Kernel, params: Params) -> State:
    """parameters: dst, dev."""
    dst, dev = _text(params, "dst"), _text(params, "dev")
    entry = next((n for n in _neighbours.read(kernel, kernel.links) if n["dst"] == dst and n["dev"] == dev), None)
    if entry is None:
        return AS_IT_MUST_BE
    if dev in ("vxlan.calico", "vxlan-v6.calico", "flannel.1"):
        raise Refused(f"the entry of {dst} on {dev} belongs to the tunnel")
    index, packed = kernel.index(dev) or 0, attribute(NDA_DST, ipaddress.ip_address(dst).packed)
    body = struct.pack("=BBHiHBB", _family(dst), 0, 0, index, 0, 0, 0) + packed
    back = []
    if entry.get("lladdr"):  # what was learned is learned again
        state = _neighbours.NUD_PERMANENT if "PERMANENT" in entry["state"] else _neighbours.NUD_STALE
        old = struct.pack("=BBHiHBB", _family(dst), 0, 0, index, state, 0, 0) + packed
        back = [message(RTM_NEWNEIGH, old + attribute(_neighbours.NDA_LLADDR, bytes.fromhex(entry["lladdr"].replace(":", ""))), NLM_F_CREATE | NLM_F_EXCL)]
    return State(f"{dst} dev {dev} lladdr {entry.get('lladdr')} {' '.join(entry['state'])}", "", [message(RTM_DELNEIGH, body)], back)


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
                return AS_IT_MUST_BE
            raise Refused(f"there is a route to {network} already: via {route.get('gateway')} dev {route.get('dev')}")
    body = _routes.HEADER.pack(socket.AF_INET, network.prefixlen, 0, 0, MAIN_TABLE, RTPROT_BOOT, 0, RTN_UNICAST, RTNH_F_ONLINK)
    body += attribute(_routes.RTA_DST, network.network_address.packed) + attribute(_routes.RTA_GATEWAY, ipaddress.IPv4Address(gateway).packed)
    body += attribute(_routes.RTA_OIF, struct.pack("=I", index))
    new, back = message(RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_EXCL), message(RTM_DELROUTE, body)
    return State("", f"{network} via {gateway} dev {dev} onlink", [new], [back])


def add_gateway_route(kernel: Kernel, params: Params) -> State:
    """parameters: dev. The route to the pods' gateway 169.254.1.1, without which a node does not answer their ARP."""
    dev = _text(params, "dev")
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


def restart_protocol(kernel: Kernel, params: Params) -> State:
    """parameters: protocol (a BGP session of BIRD), family. Ends the session and begins it again."""
    name, family = _text(params, "protocol"), params.get("family") or "ipv4"
    if not PROTOCOL.match(name) or family not in _bird_socket.NAMES:
        raise Refused(f"{name} is no protocol of BIRD")
    daemon = _bird_socket.read(family, kernel.deadline, Processes())
    found = next((entry for entry in daemon.get("protocols") or [] if entry.get("name") == name), None)
    if found is None:
        raise Refused(f"BIRD has no protocol {name}: {daemon.get('error') or 'another one may have taken its place'}")
    if found.get("proto") != "BGP":
        raise Refused(f"{name} is no BGP session")
    if str(found.get("info") or "").startswith("Established"):
        return AS_IT_MUST_BE
    said = f"{name} {found.get('state')} {found.get('info') or ''}".strip()
    return State(said, f"{name} restarted", [{"bird": daemon["socket"], "command": f'restart "{name}"'}], [])


def delete_connection(kernel: Kernel, params: Params) -> State:
    """parameters: src, dst, sport, dport of one UDP flow; gone: the other end that it is tracked with, which is no endpoint any more."""
    src, dst, gone = (_ip(params, name) for name in ("src", "dst", "gone"))
    ports = (params.get("sport"), params.get("dport"))
    if not all(isinstance(port, int) and 0 < port < 65536 for port in ports):
        raise Refused("sport and dport must be ports")
    with Changing(kernel.deadline, _conntrack.NETLINK_NETFILTER) as tracking:
        for entry, names_of_it in _conntrack.tuples(tracking, src, dst):
            if entry["protocol"] == "udp" and (entry.get("sport"), entry.get("dport")) == ports and entry["reply"].get("src") == gone:
                return State(f"udp {src}:{ports[0]} to {dst}:{ports[1]} answered by {gone}", "", [{"conntrack": names_of_it.hex()}], [])
    return AS_IT_MUST_BE


def _ip(params: Params, name: str) -> str:
    text = _text(params, name)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise Refused(f"{text} is no address") from error


def _forget(step: Step, deadline: Deadline) -> None:
    with Changing(deadline, _conntrack.NETLINK_NETFILTER) as tracking:
        try:
            tracking.change(IPCTNL_MSG_CT_DELETE, bytes.fromhex(step["conntrack"]))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:  # gone meanwhile
                raise


REMEDIES: dict[str, t.Callable[[Kernel, Params], State]] = {
    "add_gateway_route": add_gateway_route,
    "add_route": add_route,
    "delete_address": delete_address,
    "delete_connection": delete_connection,
    "delete_link": delete_link,
    "delete_neighbour": delete_neighbour,
    "delete_route": delete_route,
    "restart_protocol": restart_protocol,
    "set_bridge_port": set_bridge_port,
    "set_fdb": set_fdb,
    "set_link_up": set_link_up,
    "set_neighbour": set_neighbour,
    "set_sysctl": set_sysctl,
}


def _tell_bird(step: Step, deadline: Deadline) -> None:
    with _bird_socket.Conversation(step["bird"], deadline, restricted=False) as bird:
        answer = bird.ask(step["command"])
    if not answer.startswith("0"):
        raise Refused(f"BIRD does not {step['command']}: {' '.join(answer.split())[:120]}")


IN_THEIR_WAY = {"delete_connection": _forget, "restart_protocol": _tell_bird}


def carry_out(remedy: str, params: Params, deadline: Deadline, check_mode: bool, guard: float = 0) -> dict[str, t.Any]:
    """Look, and change only what is not yet as it must be. guard: seconds after which the node itself takes the change back unless it is confirmed.

    Errors: Refused, OSError.
    """
    with Kernel(deadline) as kernel:
        state = REMEDIES[remedy](kernel, params)
        token = ""
        if state.steps and not check_mode:
            if state.back and guard > 0:
                token = _guard.start(state.back, guard)
            try:
                if remedy in IN_THEIR_WAY:
                    IN_THEIR_WAY[remedy](state.steps[0], deadline)
                else:
                    perform(kernel, state.steps)
            except OSError:
                if token:
                    _guard.end(token)
                raise
    return {"changed": bool(state.steps), "before": state.before, "after": state.after, "back": [] if check_mode else state.back, "guard": token}


def take_back(params: Params, deadline: Deadline, check_mode: bool) -> dict[str, t.Any]:
    """parameters: steps, as the change returned them in `back`; guard, its token. Errors: Refused, OSError."""
    steps = params.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise Refused("the parameter steps is missing")
    changed = False
    if not check_mode:
        with Kernel(deadline) as kernel:
            changed = perform(kernel, steps)
        if params.get("guard"):
            _guard.end(str(params["guard"]))
    return {"changed": changed, "before": "", "after": "", "back": [], "guard": ""}


def keep(params: Params, check_mode: bool) -> dict[str, t.Any]:
    """parameters: guard, the token of a change. It stays. Errors: Refused, OSError."""
    token = _text(params, "guard")
    if not check_mode and not _guard.end(token):
        raise Refused("the node has taken the change back by itself, as nobody confirmed it in time")
    return {"changed": False, "before": "", "after": "", "back": [], "guard": ""}
