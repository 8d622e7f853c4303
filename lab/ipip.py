"""tunl0: the kernel's where it has the module, else a TUN device with this program behind it.

Calico's BIRD has an attribute that puts a route on tunl0; Debian's has not. So this program also watches the routes of
every node and moves those that BIRD wrote for the pool onto tunl0 (`via NODE dev tunl0 proto bird onlink`). BIRD compares
only the gateway of a route when it scans the kernel, and leaves them there.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import selectors
import shutil
import socket
import struct
import subprocess
from dataclasses import dataclass, field

from lab import kernel
from lab.plan import POOL, Description

TUNSETIFF, TUNSETLINK = 0x400454CA, 0x400454CD
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
ARPHRD_TUNNEL = 768
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTPROT_BIRD, RT_TABLE_MAIN, RTN_UNICAST = 12, 254, 1
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY = 1, 4, 5, 6
RTNH_F_ONLINK = 4
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_CREATE = 1, 4, 0x300, 0x100, 0x400
MTU = 1480


def kernel_has_ipip() -> bool:
    """Can this kernel make an ipip device? Tried in a network namespace that is thrown away."""
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", "ipip"], check=False, capture_output=True)

    def attempt() -> None:
        kernel.unshare(kernel.CLONE_NEWNET)
        if not any(link["ifname"] == "tunl0" for link in kernel.ip_json(["link"])):
            done = subprocess.run(["ip", "link", "add", "t0", "type", "ipip", "local", "127.0.0.1"], check=False, capture_output=True)
            if done.returncode:
                os._exit(1)

    _rest, status = os.waitpid(kernel.in_child(attempt), 0)
    return status == 0


def create_kernel_devices(lab: Description) -> None:
    """The kernel's own tunl0 in each node."""
    for node in lab.nodes:
        if not any(link["ifname"] == "tunl0" for link in kernel.ip_json(["link"], node.netns)):
            kernel.ip_batch(["link add name tunl0 type ipip remote any local any ttl inherit nopmtudisc"], node.netns)


@dataclass(frozen=True)
class Route:
    """What of a route message matters here."""

    kind: int
    dst: str
    gateway: str
    oif: int
    metric: int
    protocol: int


def parse(data: bytes) -> list[Route]:
    """The IPv4 routes of the main table in a buffer of netlink messages."""
    found = []
    while len(data) >= 16:
        length, kind = struct.unpack_from("=IH", data)
        body, data = data[16:length], data[(length + 3) & ~3 :]
        if kind not in (RTM_NEWROUTE, RTM_DELROUTE) or len(body) < 12:
            continue
        family, bits, _rest, _rest, table, protocol, _rest, route_type, _rest = struct.unpack_from("=8BI", body)
        if family != socket.AF_INET or table != RT_TABLE_MAIN or route_type != RTN_UNICAST:
            continue
        attributes: dict[int, bytes] = {}
        body = body[12:]
        while len(body) >= 4:
            size, number = struct.unpack_from("=HH", body)
            attributes[number], body = body[4:size], body[(size + 3) & ~3 :]
        dst = f"{socket.inet_ntoa(attributes.get(RTA_DST, bytes(4)))}/{bits}"
        gateway = socket.inet_ntoa(attributes[RTA_GATEWAY]) if RTA_GATEWAY in attributes else ""
        oif, metric = (struct.unpack("=I", attributes.get(n, bytes(4)))[0] for n in (RTA_OIF, RTA_PRIORITY))
        found.append(Route(kind, dst, gateway, oif, metric, protocol))
    return found


def message(route: Route, kind: int, oif: int, flags: int) -> bytes:
    """A request for a BIRD route on another device."""

    def attribute(number: int, value: bytes) -> bytes:
        return struct.pack("=HH", 4 + len(value), number) + value

    network = ipaddress.ip_network(route.dst)
    bits = network.prefixlen
    body = struct.pack("=8BI", socket.AF_INET, bits, 0, 0, RT_TABLE_MAIN, RTPROT_BIRD, 0, RTN_UNICAST, RTNH_F_ONLINK)
    body += attribute(RTA_DST, network.network_address.packed)
    body += attribute(RTA_GATEWAY, socket.inet_aton(route.gateway))
    body += attribute(RTA_OIF, struct.pack("=I", oif))
    if route.metric:
        body += attribute(RTA_PRIORITY, struct.pack("=I", route.metric))
    return struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0) + body


@dataclass
class Tunnel:
    """tunl0 of one node."""

    netns: str
    stand_in: bool
    monitor: socket.socket = field(init=False)
    requests: socket.socket = field(init=False)
    tun: int = -1
    raw: socket.socket | None = None
    index: int = 0
    routes: dict[str, tuple[ipaddress.IPv4Network, str]] = field(default_factory=dict)

    def open(self) -> None:
        with kernel.in_netns(kernel.netns_path(self.netns)):
            self.monitor = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self.monitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            self.monitor.bind((0, 0x40))  # RTMGRP_IPV4_ROUTE
            self.requests = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            self.requests.settimeout(2)
            if self.stand_in:
                self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
                fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"tunl0", IFF_TUN | IFF_NO_PI))
                fcntl.ioctl(self.tun, TUNSETLINK, ARPHRD_TUNNEL)
                self.raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
                self.raw.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER, IP_PMTUDISC_DONT: nopmtudisc
                self.raw.setblocking(False)
            self.index = socket.if_nametoindex("tunl0")
        header = struct.pack("=IHHII", 28, RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
        self.monitor.send(header + struct.pack("=8BI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0))

    def routes_changed(self) -> None:
        try:
            data = self.monitor.recv(1 << 20)
        except OSError:  # overrun: the next change will be seen
            return
        pool = ipaddress.IPv4Network(POOL)
        for route in parse(data):
            network = ipaddress.IPv4Network(route.dst)
            if not network.subnet_of(pool) or not route.gateway:
                continue
            key = f"{route.dst} {route.metric}"
            if route.oif == self.index:
                if route.kind == RTM_NEWROUTE:
                    self.routes[key] = (network, route.gateway)
                elif self.routes.get(key, (None, ""))[1] == route.gateway:
                    del self.routes[key]
            elif route.kind == RTM_NEWROUTE and route.protocol == RTPROT_BIRD:
                self._move(route)

    def _move(self, route: Route) -> None:
        if self._ask(message(route, RTM_NEWROUTE, self.index, NLM_F_REPLACE | NLM_F_CREATE)):
            self._ask(message(route, RTM_DELROUTE, route.oif, 0))  # tunl0 is down: no route, as with Calico's BIRD

    def _ask(self, request: bytes) -> int:
        try:
            self.requests.send(request)
            number: int = struct.unpack_from("=i", self.requests.recv(4096), 16)[0]
        except OSError as error:
            return error.errno or 1
        return number

    def from_tunnel(self) -> None:
        try:
            packet = os.read(self.tun, 65536)
        except OSError:
            return
        if len(packet) < 20 or packet[0] >> 4 != 4 or self.raw is None:
            return
        destination = ipaddress.IPv4Address(packet[16:20])
        best: tuple[int, str] = (-1, "")
        for network, gateway in self.routes.values():
            if destination in network and network.prefixlen > best[0]:
                best = (network.prefixlen, gateway)
        if best[1]:
            try:
                self.raw.sendto(packet, (best[1], 0))
            except OSError:
                pass

    def from_wire(self) -> None:
        if self.raw is None:
            return
        try:
            packet = self.raw.recv(65536)
            os.write(self.tun, packet[(packet[0] & 15) * 4 :])
        except OSError:
            pass


def main(arguments: list[str]) -> int:
    """JSON {namespaces, stand_in}; writes `ready` to the file descriptor that follows."""
    spec = json.loads(arguments[0])
    selector = selectors.DefaultSelector()
    for netns in spec["namespaces"]:
        tunnel = Tunnel(netns, spec["stand_in"])
        tunnel.open()
        selector.register(tunnel.monitor, selectors.EVENT_READ, tunnel.routes_changed)
        if tunnel.raw:
            selector.register(tunnel.tun, selectors.EVENT_READ, tunnel.from_tunnel)
            selector.register(tunnel.raw, selectors.EVENT_READ, tunnel.from_wire)
    print("ready", flush=True)
    while True:
        for key, _rest in selector.select():
            key.data()
