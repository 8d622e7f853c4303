# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The node document of an audit on its way: what every node has alike is told by rows of tables that both sides know.

A table is a list of rows, such as [prefix, gateway] of every block. Entries of a section that differ only in the values of a row become one shape and the
rows that it is there for; whatever fits no row travels as it is. So nothing that is wrong gets lost, and nothing has to be foreseen but the rows.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import hashlib
import json
import typing as t

from ._entries import Entries, Entry, Shape, Table, filler, pairs_of, replace, to_bits, to_places
from ._packing import unpack

Tables = t.Mapping[str, t.Sequence[t.Sequence[str]]]

# section -> the tables that its entries are held against, in this order, and the fields that make a row
SPECS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "routes": (("blocks", ("dst", "gateway")), ("pod_routes", ("dst", "dev")), ("pod_links", ("dev",))),
    "links": (("pod_links", ("ifname",)),),
    "addresses": (("pod_links", ("ifname",)),),
    "neighbours": (("pod_neighbours", ("dst", "dev")), ("vteps", ("dst", "lladdr"))),
    "fdb": (("tunnel_ends", ("mac", "dst")),),
    "sysctls": (("pod_links", ("ifname",)),),
    "protocols": (("peers", ("address",)),),
    "bird_routes": (("blocks", ("prefix", "gateway")),),
    "sandboxes": (("pods", ("pod_uid", "ifname", "address")),),
}
SECTIONS = ("routes", "links", "addresses", "neighbours", "fdb", "sysctls", "sandboxes")
BIRD_PARTS = ("protocols", "routes")
SHARED = ("blocks", "peers", "vteps", "tunnel_ends")  # tables of the whole cluster
WIDE = 256  # rows from which on the entries of a shared table are not made before they are asked for
ALIVE = ("REACHABLE", "STALE", "DELAY", "PROBE")
MOST_NEIGHBOURS = 64  # beside those of pods and tunnels, and those that do not answer
COUNTERS = ("arp_cache", "nf_conntrack")


def digest(tables: Tables, of_table: t.Callable[[t.Sequence[t.Sequence[str]]], str] | None = None) -> str:
    """Of the tables; both sides must mean the same. of_table: knows the digests of tables that it has seen."""
    parts = {name: (of_table or table_digest)(rows) for name, rows in tables.items()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def table_digest(rows: t.Sequence[t.Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def tabulate(entries: t.Iterable[Entry], spec: t.Sequence[tuple[str, tuple[str, ...]]], tables: Tables) -> dict[str, t.Any]:
    """Shapes with their rows, and the rest."""
    index = {name: {tuple(row): place for place, row in reversed(list(enumerate(tables.get(name) or ())))} for name, _fields in spec}
    groups: dict[tuple[str, str], set[int]] = {}
    rest = []
    for entry in entries:
        for name, fields in spec:
            row = tuple(entry.get(field) for field in fields)
            place = index[name].get(row)  # type: ignore[arg-type]
            if place is None or any(mark in json.dumps(entry, ensure_ascii=False) for mark in ("\\u0000", "\\u0001")):
                continue
            texts = t.cast("t.Sequence[str]", row)
            shape = replace(entry, pairs_of(texts))
            if replace(shape, pairs_of(texts, back=True)) != entry:
                continue
            key = (name, json.dumps(shape))
            if place not in groups.setdefault(key, set()):
                groups[key].add(place)
                break
        else:
            rest.append(entry)
    shapes = [[name, json.loads(shape), f"{to_bits(chosen, len(tables[name])):x}"] for (name, shape), chosen in groups.items()]
    return {"shapes": shapes, "rest": rest}


class Expander:
    """Makes the entries again; what several nodes have alike is made once, and not before it is asked for."""

    def __init__(self, wide: int = WIDE) -> None:
        self.wide = wide
        self._shapes: dict[tuple[int, str], Shape] = {}
        self._tables: dict[int, Table] = {}
        self._seen: dict[int, tuple[t.Sequence[t.Sequence[str]], str]] = {}  # kept, so that no other table gets its number

    def digest_of(self, rows: t.Sequence[t.Sequence[str]]) -> str:
        """Of a table, worked out once for all nodes that have it."""
        if len(rows) < 256:
            return table_digest(rows)
        if id(rows) not in self._seen:
            self._seen[id(rows)] = (rows, table_digest(rows))
        return self._seen[id(rows)][1]

    def _shape(self, template: Entry, rows: t.Sequence[t.Sequence[str]]) -> Shape:
        key = (id(rows), json.dumps(template))
        if key not in self._shapes:
            if id(rows) not in self._tables:
                self._tables[id(rows)] = Table(rows)
            self._shapes[key] = Shape(template, self._tables[id(rows)])
        return self._shapes[key]

    def check(self, section: t.Mapping[str, t.Any], tables: Tables) -> None:
        """Raises ValueError for what is no section."""
        try:
            for name, template, bitmap in section["shapes"]:
                if not isinstance(template, dict):
                    raise TypeError("a shape is no object")
                int(bitmap, 16)
                if name not in SHARED or len(tables[name]) < self.wide:
                    Table(tables[name])
                else:
                    self._shape(template, tables[name])
            if not all(isinstance(entry, dict) for entry in section["rest"]):
                raise TypeError("an entry is no object")
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"a section cannot be understood: {error}") from error

    def entries(self, section: t.Mapping[str, t.Any], tables: Tables) -> list[Entry] | Entries:
        """The entries of a section. Raises ValueError for what is none."""
        try:
            wide: list[tuple[Shape, int]] = []
            few: list[Entry] = []
            for name, template, bitmap in section["shapes"]:
                rows = tables[name]
                bits = int(bitmap, 16) & ((1 << len(rows)) - 1)
                if name in SHARED and len(rows) >= self.wide and isinstance(template, dict):
                    wide.append((self._shape(template, rows), bits))
                else:
                    few += map(filler(template), [rows[place] for place in to_places(bits)])
            few += section["rest"]
            return Entries(wide, few) if wide else few
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"a section cannot be understood: {error}") from error


# ---------------------------------------------------------------- what of a document an audit does not need


def _slim_protocol(protocol: Entry) -> Entry:
    """Without what differs from session to session and says nothing of an Established one."""
    bgp = protocol.get("bgp")
    if not isinstance(bgp, dict):
        return protocol
    slim = {**protocol, "address": bgp.get("neighbor_address")}
    if bgp.get("state") == "Established":
        for name in ("since", "imported", "exported", "preferred"):
            slim.pop(name, None)
        slim["bgp"] = {name: value for name, value in bgp.items() if name not in ("hold_timer", "keepalive_timer", "last_error")}
    return slim


def _slim_route(route: Entry) -> Entry:
    hops = route.get("nexthops") or [{}]
    slim = {name: value for name, value in route.items() if name != "since"}
    return {**slim, "gateway": hops[0].get("gateway")} if len(hops) == 1 and isinstance(hops[0], dict) else slim


def _slim_link(link: Entry) -> Entry:
    without = ("stats64", *(("ifindex", "link_index", "link_netnsid") if link.get("link_netnsid") is not None else ()))
    return {name: value for name, value in link.items() if name not in without}


def _slim_neighbours(entries: list[Entry], tunnels: t.Container[str]) -> list[Entry]:
    result, others = [], 0
    for entry in entries:
        alive = bool(entry.get("state")) and all(word in ALIVE for word in entry["state"])
        slim = {**entry, "state": ["STALE"]} if alive else entry
        if alive and entry.get("dev") not in tunnels and not str(entry.get("dev")).startswith(("cali", "cni", "veth")):
            others += 1
            if others > MOST_NEIGHBOURS:
                continue
        result.append(slim)
    return result


def _slim_sandbox(sandbox: Entry) -> Entry:
    keep: tuple[str, ...] = ("pod_uid", "ifname", "ifnames", "container_id")
    slim: Entry = {name: sandbox[name] for name in keep if name in sandbox}
    if sandbox.get("pod_uid"):
        slim.pop("container_id", None)
    network = sandbox.get("network")
    if isinstance(network, dict):
        slim["network"] = {name: value for name, value in network.items() if name in ("links", "addresses", "routes", "neighbours", "error")}
        if isinstance(network.get("links"), list):
            keep = ("ifname", "flags", "mtu", "operstate", "address", "linkinfo")
            slim["network"]["links"] = [{name: link[name] for name in keep if name in link} for link in network["links"] if link.get("ifname") != "lo"]
        for name in ("addresses", "routes"):
            if isinstance(network.get(name), list):
                slim["network"][name] = [e for e in network[name] if e.get("dev", e.get("ifname")) != "lo" and e.get("table") in (None, 254)]
        if isinstance(network.get("neighbours"), list):
            slim["network"]["neighbours"] = [
                {**e, "state": ["STALE"]} if e.get("state") and all(word in ALIVE for word in e["state"]) else e for e in network["neighbours"]
            ]
        held = network.get("addresses")
        own = [str(a.get("local")) for a in held if a.get("ifname") == "eth0" and a.get("scope") != "link"] if isinstance(held, list) else []
        slim["address"] = next((text for text in own if "." in text), own[0] if own else None)
    return slim


def _name_macs(sandboxes: list[Entry], neighbours: list[Entry]) -> None:
    """The random MAC of a pod is told by its host interface, where the node's own entry for it agrees."""
    for sandbox in sandboxes:
        ifname, network = sandbox.get("ifname"), sandbox.get("network")
        links = network.get("links") if isinstance(network, dict) else None
        link = next((one for one in links if one.get("ifname") == "eth0"), None) if isinstance(links, list) else None
        ends = (ifname, sandbox.get("address"))  # on a bridge the entry is the bridge's, and only the address tells whose it is
        mine = [entry for entry in neighbours if entry.get("lladdr") and (entry.get("dev") in ends or entry.get("dst") in ends)]
        if not ifname or link is None or not link.get("address") or any(entry["lladdr"] != link["address"] for entry in mine):
            continue
        for entry in mine:
            entry["lladdr"] = f"mac-of-{ifname}"
        scoped = f"fe80::mac-of-{ifname}"
        link["address"] = f"mac-of-{ifname}"
        held = network.get("addresses") if isinstance(network, dict) else None
        for entry in held if isinstance(held, list) else []:
            if entry.get("ifname") == "eth0" and entry.get("scope") == "link" and str(entry.get("local")).startswith("fe80:"):
                entry["local"] = scoped


def _listed(sysctls: t.Mapping[str, str], names: t.Container[str]) -> list[Entry]:
    result = []
    for path, value in sysctls.items():
        part = next((word for word in path.split("/") if word in names), None)
        result.append({"ifname": part, "path": path, "value": value} if part else {"path": path, "value": value})
    return result


# ---------------------------------------------------------------- the document


def compact(document: t.Mapping[str, t.Any], tables: Tables) -> dict[str, t.Any]:
    """The document of an audit, with sections by the tables. A section that is an error stays as it is."""
    result: dict[str, t.Any] = dict(document)
    names = {row[0] for row in tables.get("pod_links") or ()}
    tunnels = ("tunl0", "vxlan.calico", "vxlan-v6.calico", "flannel.1")
    for section, slim in (("links", _slim_link), ("sandboxes", _slim_sandbox)):
        if isinstance(result.get(section), list):
            result[section] = [slim(dict(entry)) for entry in result[section]]
    if isinstance(result.get("neighbours"), list):
        result["neighbours"] = _slim_neighbours([dict(entry) for entry in result["neighbours"]], tunnels)
        if isinstance(result.get("sandboxes"), list):
            result["sandboxes"] = json.loads(json.dumps(result["sandboxes"]))
            _name_macs(result["sandboxes"], result["neighbours"])
    if isinstance(result.get("counters"), dict):
        result["counters"] = {name: value for name, value in result["counters"].items() if name in (*COUNTERS, "error")}
    if isinstance(result.get("sysctls"), dict) and "error" not in result["sysctls"]:
        result["sysctls"] = _listed(result["sysctls"], names)
    for section in SECTIONS:
        if isinstance(result.get(section), list):
            result[section] = tabulate(result[section], SPECS[section], tables)
    if isinstance(result.get("bird"), dict):
        result["bird"] = {family: _bird(daemon, tables) for family, daemon in result["bird"].items()}
    result["expected"] = digest(tables)
    return result


def _bird(daemon: t.Any, tables: Tables) -> t.Any:
    if not isinstance(daemon, dict):
        return daemon
    result = dict(daemon)
    if isinstance(result.get("protocols"), list):
        result["protocols"] = tabulate([_slim_protocol(dict(entry)) for entry in result["protocols"]], SPECS["protocols"], tables)
    if isinstance(result.get("routes"), list):
        result["routes"] = tabulate([_slim_route(dict(entry)) for entry in result["routes"]], SPECS["bird_routes"], tables)
    return result


class Opened(t.Mapping[str, t.Any]):
    """A document that was given by rows; each section is made again when it is asked for.

    packed: what it came as; then it can be closed, and is unpacked again where it is needed. Raises ValueError for a document that is none, or was made with
    other tables.
    """

    def __init__(self, document: t.Mapping[str, t.Any], tables: Tables, expander: Expander, packed: str | None = None) -> None:
        if document.get("expected") != digest(tables, expander.digest_of):
            raise ValueError("it was made for other expectations")
        self._tables, self._expander, self._packed = tables, expander, packed
        self._closed: t.Mapping[str, t.Any] | None = document
        self._sections: dict[str, t.Any] = {}
        for section in _by_rows(document):
            expander.check(section, tables)

    @property
    def closed(self) -> t.Mapping[str, t.Any]:
        """The document by rows."""
        if self._closed is None:
            self._closed = t.cast("t.Mapping[str, t.Any]", unpack(str(self._packed)))
        return self._closed

    def close(self) -> None:
        if self._packed is not None:
            self._closed = None
            self._sections.clear()

    def __iter__(self) -> t.Iterator[str]:
        return (name for name in self.closed if name != "expected")

    def __len__(self) -> int:
        return sum(1 for name in self)

    def __contains__(self, name: object) -> bool:
        return name != "expected" and name in self.closed

    def __getitem__(self, name: str) -> t.Any:
        if name not in self._sections:
            if name not in self:
                raise KeyError(name)
            self._sections[name] = self._made(name, self.closed[name])
        return self._sections[name]

    def _made(self, name: str, value: t.Any) -> t.Any:
        if name == "bird" and isinstance(value, dict):
            return {family: _opened_bird(daemon, self._entries) for family, daemon in value.items()}
        if name not in SECTIONS:
            return value
        made = self._entries(value)
        return {str(entry.get("path")): entry.get("value") for entry in made} if name == "sysctls" and made is not value else made

    def _entries(self, section: t.Any) -> t.Any:
        return self._expander.entries(section, self._tables) if _is_by_rows(section) else section


def expand(document: t.Mapping[str, t.Any], tables: Tables, expander: Expander) -> dict[str, t.Any]:
    """The document again. Raises ValueError if it was made with other tables, or is none."""
    return dict(Opened(document, tables, expander))


def _is_by_rows(section: t.Any) -> bool:
    return isinstance(section, dict) and "shapes" in section


def _by_rows(document: t.Mapping[str, t.Any]) -> t.Iterator[t.Mapping[str, t.Any]]:
    """The sections, and parts of them, that are given by rows."""
    bird = document.get("bird")
    daemons = [daemon for daemon in bird.values() if isinstance(daemon, dict)] if isinstance(bird, dict) else []
    yield from filter(_is_by_rows, [*(document.get(name) for name in SECTIONS), *(daemon.get(part) for daemon in daemons for part in BIRD_PARTS)])


def _opened_bird(daemon: t.Any, opened: t.Callable[[t.Any], t.Any]) -> t.Any:
    if not isinstance(daemon, dict):
        return daemon
    return {part: opened(value) if part in BIRD_PARTS else value for part, value in daemon.items()}
