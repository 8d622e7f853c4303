# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the pairs of nodes of a large cluster that must be looked at one by one; whole tables are held against what is plainly right.

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..module_utils._entries import Entries, Entry, Path, Table, count, to_bits, to_places, value_at
from ._cluster import Cluster
from ._documents import Documents
from ._json import NotCollected, family_of, parse_network
from ._question import Doubts
from ._routes import foreign_routes
from ._topology import (
    VTEP_ADDRESS,
    bgp_peers,
    default_vtep_mac,
    encapsulation,
    families,
    is_reflector,
    peer_addresses,
    pod_prefixes,
    same_subnet,
    tunnel_device,
    uses_bird,
    uses_encapsulation,
)

ALL_PAIRS = 50  # nodes up to which each pair is looked at with all its facts
MOST_PAIRS = 20_000
DEVICES = ("tunl0", "vxlan.calico", "vxlan-v6.calico")


def doubts(cluster: Cluster, documents: Documents) -> Doubts | None:
    """In a large cluster, where not each pair of nodes can be looked at with all its facts; None in a small one."""
    names = [name for name in cluster.nodes if documents.node(name).collected]
    if len(cluster.nodes) <= ALL_PAIRS:
        return None
    views = {name: View(cluster, documents, name) for name in names}
    macs: dict[str, str] = {}
    for view in views.values():
        macs.update(view.own_macs())
        view.facts.close()
    found: list[tuple[str, str]] = []
    right: dict[str, dict[str, int]] = {}
    foreign: dict[str, list[str]] = {}
    for name, view in views.items():
        sessions, routes, wrong = view.compare(macs)
        right[name] = {"sessions": sessions, "routes": routes}
        found += [(name, peer) for peer in wrong]
        for prefix in view.foreign():
            foreign.setdefault(prefix, []).append(name)
        view.facts.close()
    pairs = dict.fromkeys(found)
    pairs.update(dict.fromkeys((peer, name) for name, peer in found if peer in views))
    chosen = tuple(pairs)[:MOST_PAIRS]
    return Doubts(chosen, {prefix: tuple(nodes) for prefix, nodes in foreign.items()}, right, len(pairs) - len(chosen))


class View:
    """One node's tables, held against what is plainly right. What cannot be read leaves every pair of the node in doubt."""

    def __init__(self, cluster: Cluster, documents: Documents, name: str) -> None:
        self.cluster, self.facts, self.name = cluster, documents.node(name), name
        self.tables = cluster.once("rows by node", lambda: _rows_by_node(cluster))

    def own_macs(self) -> Iterator[tuple[str, str]]:
        try:
            for address in self.cluster.nodes[self.name].calico_addresses:
                held = self.facts.address_on_node(address)
                mac = self.facts.links.get(str(held.get("ifname")), {}).get("address") if held is not None else None
                if isinstance(mac, str):
                    yield address, mac
        except NotCollected:
            return

    def foreign(self) -> Iterator[str]:
        """The blocks inside of which the node has a route that is not Calico's."""
        try:
            for network, _route in self.facts.once("foreign routes", lambda: foreign_routes(self.facts)):
                block = self.cluster.block_of(str(network.network_address))
                if block is not None:
                    yield str(block.cidr)
        except NotCollected:
            return

    def compare(self, macs: Mapping[str, str]) -> tuple[int, int, list[str]]:
        """(sessions, routes that are plainly right, peers of which something is not)."""
        try:
            silent = self._strange_neighbours(macs)
            sessions, dead = self._sessions(silent)
            routes, lost = self._routes()
            wrong = {*(peer for _address, peer in silent), *dead, *lost, *self._broken_tunnels()}
        except NotCollected:
            return 0, 0, [peer for peer in self.tables.peers if peer != self.name]
        return sessions, routes, sorted(wrong, key=self.tables.place.__getitem__)

    def _strange_neighbours(self, macs: Mapping[str, str]) -> set[tuple[str, str]]:
        """(address, peer) of the nodes whose own address is known here with another MAC, or does not answer."""
        known, entries = self.tables.by_address, self.facts.table("neighbours")
        here: dict[str, Entry] = {}
        for shape, bits in entries.wide:
            meant = shape.bits((self.tables, "address of a node"), lambda entry: entry.get("dst") in known)
            here.update((str(entry.get("dst")), entry) for entry in map(shape.entry, to_places(bits & meant)))
        here.update((str(entry.get("dst")), entry) for entry in entries.few if str(entry.get("dst")) in known)
        result = set()
        for address, entry in here.items():
            strange = address in macs and entry.get("lladdr") not in (None, macs[address])
            silent = not entry.get("lladdr") and bool(set(entry.get("state") or ()) & {"FAILED", "INCOMPLETE"})
            if strange or silent:
                result |= {(address, peer) for peer in known[address] if peer != self.name}
        return result

    def _sessions(self, strange: set[tuple[str, str]]) -> tuple[int, list[str]]:
        """How many are Established with peers of which nothing is strange, and the peers with which one is not."""
        if not uses_bird(self.cluster):
            return 0, []
        told = [self.facts.bgp_protocols(family).having(("bgp", "state"), lambda state: state == "Established") for family in families(self.cluster)]
        held = [Held(entries, (("bgp", "neighbor_address"),), (self.tables, "up"), lambda entry: True) for entries in told]
        others = {str(value_at(entry, ("bgp", "neighbor_address"))) for one in held for entry in one.others}
        known, wanted, first = self.tables.by_address, self._wanted(), next((one for one in held if one.table is not None), None)
        number, dead, alone = 0, [], wanted
        if wanted is None and first is not None and first.table is not None:
            common = first.table.once((self.tables, "peers"), lambda: Common(first.anchors, {a: p[0] for a, p in known.items() if len(p) == 1}))
            expected = common.without(self.tables.peers.get(self.name, ()))
            right = 0
            for one in held:
                right |= one.right if one.table is first.table else 0
            number = count(expected & right)
            number -= sum(1 for address, _peer in strange if (place := common.place.get(address)) is not None and (expected & right) >> place & 1)
            alone = {common.value[place] for place in to_places(expected & ~right)}.union(address for address in known if address not in common.place)
        for address in known if alone is None else alone:
            up = address in others or any(one.has(address) for one in held)
            for peer in known.get(address, ()):
                if peer != self.name and not up:
                    dead.append(peer)
                elif peer != self.name and (address, peer) not in strange:
                    number += 1
        return number, dead

    def _routes(self) -> tuple[int, list[str]]:
        """How many lead to the blocks of other nodes as they must, and the nodes to which one does not."""
        ways = self.tables.ways

        def right_way(route: Entry) -> bool:
            return self._is_way(route, *ways.get(str(route.get("dst")), ("", ())))

        held = Held(self.facts.main_routes, (("dst",),), (self.tables, self._kind()), right_way)
        number = 0
        alone = self.tables.every_prefix
        if held.table is not None:
            common = held.table.once((self.tables, "prefixes"), lambda: Common(held.anchors, {prefix: peer for prefix, (peer, _ways) in ways.items()}))
            expected, right = common.without(self.tables.prefixes.get(self.name, ())), held.right & ~held.twice
            number = count(expected & right)
            rest = held.table.once((self.tables, "no row"), lambda: [pair for pair in alone if pair[1] not in common.place])
            alone = [(common.meant[place], common.value[place]) for place in to_places(expected & ~right)] + rest
        lost = []
        for peer, prefix in alone:
            if peer == self.name:
                continue
            found = self.facts.routes_to(prefix)
            if len(found) == 1 and self._is_way(found[0], peer, self.tables.prefixes[peer][prefix]):
                number += 1
            else:
                lost.append(peer)
        return number, lost

    def _broken_tunnels(self) -> list[str]:
        """The nodes whose tunnel end is not known here as it must be."""
        ends = self.tables.tunnels
        if not ends:
            return []
        alone = self.tables.every_end
        inner = Held(self.facts.table("neighbours"), (("dst",),), (self.tables, "vtep"), lambda n: n.get("lladdr") == self.tables.macs.get(str(n.get("dst"))))
        outer = Held(self.facts.table("fdb"), (("mac",), ("dst",)), (self.tables, "end"), lambda entry: True)
        if inner.table is not None and outer.table is not None:
            mine = ends.get(self.name, ())
            whole = [entry for entry in alone if entry[1] in self.tables.macs]
            one = inner.table.once((self.tables, "inner"), lambda: Common(inner.anchors, {entry[1]: entry for entry in whole}))
            two = outer.table.once((self.tables, "outer"), lambda: Common(outer.anchors, {entry[2:]: entry for entry in whole}))
            rest = inner.table.once((self.tables, "no row"), lambda: [e for e in alone if e[1] not in one.place or e[2:] not in two.place])
            alone = [one.meant[place] for place in to_places(one.without(end[0] for end in mine) & ~(inner.right & ~inner.twice))]
            alone += [two.meant[place] for place in to_places(two.without(end[1:] for end in mine) & ~outer.right)] + rest
        return [peer for peer, dst, mac, end in alone if peer != self.name and not self._ends_there(dst, mac, end)]

    def _ends_there(self, dst: str, mac: str, outer: str) -> bool:
        neighbours = self.facts.neighbours_at(dst)
        return bool(neighbours) and neighbours[-1].get("lladdr") == mac and any(entry.get("dst") == outer for entry in self.facts.fdb_of(mac))

    def _wanted(self) -> set[str] | None:
        """The addresses that the node must have a session with; None: with all others."""
        known = self.cluster
        if known.mesh and not known.section("bgppeers") and not known.once("a reflector", lambda: any(map(is_reflector, known.nodes.values()))):
            return None
        return {address for family in families(known) for address in bgp_peers(known, self.name, family)}

    def _kind(self) -> t.Hashable:
        """Nodes for which the same routes are right have the same kind."""
        if not self.tables.by_subnet:
            return None
        node, kind = self.cluster.nodes[self.name], []
        for family in families(self.cluster):
            interface = node.calico_interface(family)
            own = interface is not None and str(interface.ip) == peer_addresses(self.cluster, family).get(self.name)
            kind.append(str(interface.network) if interface is not None and own else self.name)
        return tuple(kind)

    def _is_way(self, route: Mapping[str, t.Any], peer: str, ways: Ways) -> bool:
        if not ways or route.get("type") != "unicast" or route.get("nexthops"):
            return False
        prefix = str(route.get("dst"))
        device, family = ways[0][0], family_of(prefix)
        network = self.cluster.blocks_by_prefix.get(prefix)
        if len(ways) > 1 and network is not None:
            device = tunnel_device(encapsulation(self.cluster, network.cidr, self.name, peer), family)
        if route.get("dev") != device if device else route.get("dev") in DEVICES:
            return False
        gateway = next((gateway for way, gateway in ways if way == device), None)
        return route.get("gateway") == gateway or (device is None and same_subnet(self.cluster, self.name, peer, family) is not True)


Ways = tuple[tuple[str | None, str], ...]  # tunnel device or None, and gateway


@dataclass(eq=False)
class RowsByNode:
    """What is plainly right, by the node that it leads to. tunnels: (inner address, MAC, outer address)."""

    peers: dict[str, list[str]] = field(default_factory=dict)
    prefixes: dict[str, dict[str, Ways]] = field(default_factory=dict)
    tunnels: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)

    @cached_property
    def place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(dict.fromkeys((*self.peers, *self.prefixes, *self.tunnels)))}

    @cached_property
    def by_address(self) -> dict[str, list[str]]:
        result: dict[str, list[str]] = {}
        for peer, addresses in self.peers.items():
            for address in addresses:
                result.setdefault(address, []).append(peer)
        return result

    @cached_property
    def ways(self) -> dict[str, tuple[str, Ways]]:
        """By prefix, where it is one node's alone."""
        owners: dict[str, list[tuple[str, Ways]]] = {}
        for peer, mine in self.prefixes.items():
            for prefix, ways in mine.items():
                owners.setdefault(prefix, []).append((peer, ways))
        return {prefix: found[0] for prefix, found in owners.items() if len(found) == 1}

    @cached_property
    def every_prefix(self) -> list[tuple[str, str]]:
        return [(peer, prefix) for peer, mine in self.prefixes.items() for prefix in mine]

    @cached_property
    def every_end(self) -> list[tuple[str, str, str, str]]:
        return [(peer, *end) for peer, mine in self.tunnels.items() for end in mine]

    @cached_property
    def macs(self) -> dict[str, str]:
        """By inner address, where it is one node's alone."""
        ends: dict[str, list[str]] = {}
        for mine in self.tunnels.values():
            for dst, mac, _outer in mine:
                ends.setdefault(dst, []).append(mac)
        return {dst: found[0] for dst, found in ends.items() if len(found) == 1}

    @cached_property
    def by_subnet(self) -> bool:
        """Whether it depends on the subnets of both nodes what is right."""
        return any(len(ways) > 1 or ways[0][0] is None for mine in self.prefixes.values() for ways in mine.values())


class Held:
    """What a node has of the values of a table, as bits of the places where they first stand.

    right: an entry that has the value passes the test. twice: more than one entry has it. others: the entries whose value the table has not.
    """

    def __init__(self, entries: Entries, paths: tuple[Path, ...], key: t.Hashable, test: Callable[[Entry], bool]) -> None:
        self.table: Table | None = None
        self.anchors: dict[tuple[str, ...], int] = {}
        self.right = self.twice = seen = 0
        self.others: list[Entry] = []
        few = list(entries.few)
        columns: tuple[int | None, ...] = ()
        for shape, bits in entries.wide:
            mine = tuple(map(shape.column, paths))
            if None in mine or (self.table is not None and (shape.table is not self.table or mine != columns)):
                few += map(shape.entry, to_places(bits))
                continue
            if self.table is None:
                self.table, columns = shape.table, mine
                self.anchors = self.table.anchors(t.cast("tuple[int, ...]", columns))
            for part in self.table.folded(bits, t.cast("tuple[int, ...]", columns)):
                self.twice |= seen & part
                seen |= part
            for part in self.table.folded(bits & shape.bits(key, test), t.cast("tuple[int, ...]", columns)):
                self.right |= part
        for entry in few:
            place = self.anchors.get(tuple(str(value_at(entry, path)) for path in paths))
            if place is None:
                self.others.append(entry)
                continue
            self.twice |= seen & 1 << place
            seen |= 1 << place
            self.right |= test(entry) << place

    def has(self, *value: str) -> bool:
        place = self.anchors.get(value)
        return place is not None and bool(self.right >> place & 1)


class Common:
    """The values of a table that must be there on all nodes but the one that they lead to."""

    def __init__(self, anchors: Mapping[tuple[str, ...], int], meant: Mapping[t.Any, t.Any]) -> None:
        found = ((value, anchors.get(value if isinstance(value, tuple) else (value,))) for value in meant)
        self.place = {value: place for value, place in found if place is not None}
        self.value = {place: value for value, place in self.place.items()}
        self.meant = {place: meant[value] for place, value in self.value.items()}
        self.bits = to_bits(self.value, max(self.value, default=-1) + 1)

    def without(self, values: Iterable[t.Any]) -> int:
        bits = self.bits
        for value in values:
            if value in self.place:
                bits &= ~(1 << self.place[value])
        return bits


def _rows_by_node(cluster: Cluster) -> RowsByNode:
    result = RowsByNode()
    for family in families(cluster):
        for name, address in peer_addresses(cluster, family).items():
            result.peers.setdefault(name, []).append(address)
            vtep = cluster.nodes[name].annotation(VTEP_ADDRESS[family])
            if vtep is not None and uses_encapsulation(cluster, "vxlan", family):
                mac = cluster.nodes[name].annotation("VXLANTunnelMACAddr" if family == "ipv4" else "VXLANTunnelMACAddrV6") or default_vtep_mac(name, family)
                result.tunnels.setdefault(name, []).append((vtep, mac.lower(), address))
    for remote in pod_prefixes(cluster):
        node, network = cluster.nodes.get(remote.node), parse_network(remote.prefix)
        family = family_of(remote.prefix)
        pool = cluster.pool_of(network) if network is not None else None
        outer = peer_addresses(cluster, family).get(remote.node)
        if node is None or pool is None or outer is None:
            continue
        inside = node.annotation(VTEP_ADDRESS[family]) or ""
        tunnel = ("vxlan", inside, pool.vxlan) if pool.vxlan != "Never" else ("ipip", outer, pool.ipip) if pool.ipip != "Never" else ("none", outer, "Never")
        ways: list[tuple[str | None, str]] = [(tunnel_device(tunnel[0], family), tunnel[1])]
        if tunnel[2] == "CrossSubnet":
            ways.append((None, outer))
        result.prefixes.setdefault(remote.node, {})[remote.prefix] = tuple(ways)
    return result
