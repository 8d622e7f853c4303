"""felix's part in the routes to other nodes: routes over tunnels, blackholes, vxlan.calico with its neighbours and FDB."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from lab.api.client import Json
from lab.calico.common import PREFIX, TUNNEL_ANNOTATION, annotations_of, log
from lab.errors import LabError
from lab.kernel import ip_batch, ip_json
from lab.modes import Mode

VXLAN = "vxlan.calico"
VNI, PORT = 4096, 4789
FELIX = "80"  # Felix's route protocol; routes over vxlan.calico carry none


@dataclass(frozen=True)
class Host:
    """A node as its annotations show it to the others."""

    name: str
    interface: ipaddress.IPv4Interface
    tunnel: str
    mac: str

    @property
    def address(self) -> str:
        return str(self.interface.ip)


@dataclass(frozen=True)
class Route:
    """A route of Felix's."""

    dst: str
    gateway: str = ""
    dev: str = ""  # without it: a blackhole
    protocol: str = FELIX
    mtu: int = 0
    onlink: bool = True

    @property
    def line(self) -> str:
        """As `ip route` takes it."""
        if not self.dev:
            return f"blackhole {self.dst} proto {self.protocol}"
        via = f" via {self.gateway}" if self.gateway else ""
        onlink = " onlink" if self.onlink else ""
        mtu = f" mtu {self.mtu}" if self.mtu else ""
        return f"{self.dst}{via} dev {self.dev} proto {self.protocol}{' scope link' if not via else ''}{onlink}{mtu}"


@dataclass
class Wanted:
    """What the calculation graph says of one node."""

    own: Host | None = None
    routes: set[Route] = field(default_factory=set)
    hosts: list[Host] = field(default_factory=list)  # the other nodes with a tunnel's end


def vtep_mac(node: str) -> str:
    """The MAC address of a node's vxlan.calico: `f`, and five bytes of a hash of the node's name."""
    return ":".join(f"{byte:02x}" for byte in b"f" + hashlib.sha1(node.encode()).digest()[:5])


def hosts_of(nodes: Iterable[Json], mode: Mode) -> dict[str, Host]:
    """The nodes that announce an address."""
    found = {}
    for item in nodes:
        name, annotations = item["metadata"]["name"], annotations_of(item)
        if annotations.get(PREFIX + "IPv4Address"):
            interface = ipaddress.IPv4Interface(annotations[PREFIX + "IPv4Address"])
            tunnel = annotations.get(TUNNEL_ANNOTATION[mode.tunnel], "")
            mac = annotations.get(PREFIX + "VXLANTunnelMACAddr") or vtep_mac(name)
            found[name] = Host(name, interface, tunnel, mac)
    return found


def way(own: Host, other: Host, mode: Mode, dst: str, parent: str) -> Route | None:
    """How this node reaches a prefix of another one; None as long as the other's end of the tunnel is not known."""
    if mode.cross_subnet and other.interface.ip in own.interface.network:
        return Route(dst, other.address, parent)
    if mode.tunnel == "ipip":
        return Route(dst, other.address, mode.device, mtu=mode.mtu)
    if not other.tunnel:
        return None
    if dst == f"{other.tunnel}/32":
        return Route(dst, dev=VXLAN, protocol="boot", mtu=mode.mtu, onlink=False)
    return Route(dst, other.tunnel, VXLAN, "boot", mode.mtu)


def calculate(node: str, mode: Mode, nodes: Iterable[Json], blocks: Iterable[Json], parent: str) -> Wanted:
    """What a node must have, from the objects in the API. `parent` is the NIC that holds the node's address."""
    hosts = hosts_of(nodes, mode)
    own = hosts.get(node)
    if own is None:
        return Wanted()
    wanted = Wanted(own, hosts=[host for name, host in sorted(hosts.items()) if name != node and host.tunnel])
    for block in blocks:
        spec = block["spec"]
        owner = str(spec.get("affinity") or "").removeprefix("host:")
        network = ipaddress.ip_network(spec["cidr"])
        prefixes = [(spec["cidr"], owner)]
        for ordinal, index in enumerate(spec["allocations"]):
            borrower = "" if index is None else (spec["attributes"][index].get("secondary") or {}).get("node", "")
            if borrower and borrower != owner:
                prefixes.append((f"{network[ordinal]}/32", borrower))
        for prefix, holder in prefixes:
            route = None
            if holder == node and prefix == spec["cidr"] and network.num_addresses > 1:
                route = Route(prefix)
            elif holder != node and holder in hosts:
                route = way(own, hosts[holder], mode, prefix, parent)
            if route:
                wanted.routes.add(route)
    return wanted


def _present(mode: Mode) -> set[Route]:
    """The routes in the kernel that are Felix's."""
    found = set()
    for route in ip_json(["-d", "route", "show", "table", "main"]):
        device, protocol = route.get("dev", ""), route["protocol"]
        if protocol != FELIX and not (device == VXLAN and route["type"] == "unicast"):
            continue
        dst = route["dst"] if "/" in route["dst"] else f"{route['dst']}/32"
        mtu = next((metric["mtu"] for metric in route.get("metrics", []) if "mtu" in metric), 0)
        found.add(Route(dst, route.get("gateway", ""), device, protocol, mtu, "onlink" in route["flags"] or route["type"] == "blackhole"))
    return found


def apply_routes(wanted: Wanted, mode: Mode) -> None:
    """Bring Felix's routes to what is wanted; a route of somebody else for the same prefix is replaced."""
    present = _present(mode)
    prefixes = {route.dst for route in wanted.routes}
    lines = [f"route del {route.line}" for route in present - wanted.routes if route.dst not in prefixes]
    lines += [f"route replace {route.line}" for route in sorted(wanted.routes - present, key=lambda route: route.dst)]
    if lines:
        ip_batch(lines, force=True)
        log("felix", "route_table.go 1100", f"Programmed routes count={len(lines)}")


def parent_of(address: str) -> str:
    """The NIC that holds an address."""
    for link in ip_json(["addr"]):
        if any(item.get("local") == address for item in link.get("addr_info", [])):
            return str(link["ifname"])
    return ""


def apply_vxlan(wanted: Wanted, mode: Mode, parent: str) -> bool:
    """vxlan.calico as it must be, its neighbours and its FDB. False if the device cannot be made."""
    own = wanted.own
    if own is None or not own.tunnel or not parent:
        return True
    links = {link["ifname"]: link for link in ip_json(["-d", "addr"])}
    link = links.get(VXLAN)
    right = {"id": VNI, "port": PORT, "local": own.address, "link": parent}
    if link:
        data = link.get("linkinfo", {}).get("info_data", {})
        if {key: data.get(key) for key in right} != right:
            log("felix", "route_mgr.go 560", f"Recreating VXLAN device {VXLAN}: it has {data}", "WARNING")
            ip_batch([f"link del {VXLAN}"], force=True)
            link = None
    if not link:
        try:
            ip_batch([f"link add {VXLAN} address {own.mac} mtu {mode.mtu} type vxlan id {VNI} dstport {PORT} local {own.address} dev {parent} nolearning"])
        except LabError as error:
            log("felix", "route_mgr.go 585", f"Failed to create VXLAN device. Another device with this VNI may already exist. error={error}", "WARNING")
            return False
        link = {"mtu": mode.mtu, "address": own.mac, "flags": [], "addr_info": []}
    lines = []
    if link["mtu"] != mode.mtu:
        lines.append(f"link set {VXLAN} mtu {mode.mtu}")
    if link["address"] != own.mac:
        lines.append(f"link set {VXLAN} address {own.mac}")
    if "UP" not in link["flags"]:
        lines.append(f"link set {VXLAN} up")
    have = [item["local"] for item in link["addr_info"] if item["family"] == "inet"]
    lines += [f"addr del {old}/32 dev {VXLAN}" for old in have if old != own.tunnel]
    if own.tunnel not in have:
        lines.append(f"addr add {own.tunnel}/32 dev {VXLAN}")
    if lines:
        ip_batch(lines, force=True)
        log("felix", "route_mgr.go 620", f"Configured VXLAN tunnel device {VXLAN} address={own.tunnel}")
    _apply_neighbours(wanted)
    return True


def _apply_neighbours(wanted: Wanted) -> None:
    neighbours = {host.tunnel: host.mac for host in wanted.hosts}
    have = {item["dst"]: item.get("lladdr") for item in ip_json(["neigh", "show", "dev", VXLAN, "nud", "permanent"])}
    lines = [f"neigh del {dst} dev {VXLAN}" for dst in have if dst not in neighbours]
    lines += [f"neigh replace {dst} lladdr {mac} dev {VXLAN} nud permanent" for dst, mac in neighbours.items() if have.get(dst) != mac]
    if lines:
        ip_batch(lines, force=True)
    macs = {host.mac: host.address for host in wanted.hosts}
    fdb = {(item["mac"], item["dst"]) for item in ip_json(["fdb", "show", "dev", VXLAN], program="bridge") if item.get("dst")}
    lines = [f"fdb del {mac} dev {VXLAN} dst {dst} self" for mac, dst in fdb if macs.get(mac) != dst]
    lines += [f"fdb replace {mac} dev {VXLAN} dst {dst} self permanent" for mac, dst in macs.items() if (mac, dst) not in fdb]
    if lines:
        ip_batch(lines, force=True, program="bridge")
