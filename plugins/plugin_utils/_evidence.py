# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: which probes are sent for a question, and what they registered, as one evidence document.

from __future__ import annotations

import base64
import datetime
import itertools
import secrets
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import _grid, _pcapng, _watched
from ._answers import why_nothing
from ._carrying import both_ways
from ._cluster import Cluster
from ._collection import HOST_LINK_LOCAL, LINK_LOCAL_GATEWAY
from ._grid import node_address
from ._json import NotCollected, as_list, as_mapping, family_of, objects
from ._passing import NIC, Watched, lost, numbers, passing, rewritten, trace
from ._path import Hop, walk
from ._question import Endpoint, Question

Json = t.Any
SCHEMA = "podnet.doctor/evidence/1"
LIMIT_SECONDS = 90  # an armed capture ends by itself after this
OVERHEAD_SECONDS = 5  # of each call of a watch
PHASES = ("arm", "fire", "collect")
REGISTERED = {"arm": "diagnose_armed", "fire": "diagnose_fired", "watch": "diagnose_watched", "collect": "diagnose_seen"}
VXLAN_PORTS = (4789, 8472)  # Calico's and flannel's own
FLOWS = {"forward": 0, "reverse": 1}
FIRST_WAY_FLOW = max(_grid.FLOWS.values()) + 1  # of the further endpoints of a Service
WAY = "way:"
ANSWERS = ("reply", "reset")
TRANSPORTS = ("tcp", "udp")
NEIGHBOURS = ("arp", "ndp")
Ways = Sequence[Mapping[str, Sequence[Hop]]]  # of each pair of a question, the hops by direction


def directions(question: Question) -> Iterator[tuple[str, Endpoint, Endpoint]]:
    yield "forward", question.source, question.destination
    yield "reverse", question.destination, question.source


def pod_of(end: Endpoint) -> dict[str, Json] | None:
    return {"ifname": end.ifname, "uid": end.uid, "ip": end.address} if end.kind == "pod" else None


def _pods_on(node: str, question: Question) -> list[Endpoint]:
    """In the order in which a capture on the node is given them."""
    ends = dict.fromkeys(end for pair in question.pairs for end in (pair.source, pair.destination))
    return [end for end in ends if end.kind == "pod" and end.node == node]


def further_ways(question: Question) -> Iterator[tuple[int, str, Question]]:
    """(its flow, its cell, the way) to each endpoint of a Service that the trains do not go to."""
    for number, way in enumerate(question.pairs[1:]):
        yield FIRST_WAY_FLOW + number, f"{WAY}{number}", way


def _next_hops(cluster: Cluster, question: Question, node: str) -> list[str]:
    """The addresses that links of a node, and of its pods, may be asked for: the gateway of Calico's pods, the pods there, the other nodes.

    The node itself adds the routers between.
    """
    family = family_of(question.lead.source.address)
    others = [node_address(cluster, name, family) for name in question.nodes if name != node]
    gateway = HOST_LINK_LOCAL if family == "ipv6" else LINK_LOCAL_GATEWAY
    found = [gateway, *(end.address for end in _pods_on(node, question)), *others]
    return [address for address in dict.fromkeys(found) if address]


def _unanswered(watched: Mapping[str, Watched]) -> list[dict[str, Json]]:
    """ARP requests, and IPv6 neighbour solicitations, on the way to which nobody answered, each with who asked on which link."""
    found = []
    for node, here in watched.items():
        addresses = [str(address) for address in as_list(here.armed.get("next_hops"))]
        mine = [sight for sight in here.sights if sight.get("train") in NEIGHBOURS and not _of_another_pod(sight, here)]
        heard = {(*_link(sight), number) for sight in mine if sight.get("kind") == "reply" for number in numbers([sight])}
        for sight in mine:
            asked = numbers([sight]) if (sight.get("kind"), sight.get("way")) == ("request", "out") else {}
            for number in asked:
                if (*_link(sight), number) not in heard and 0 <= number < len(addresses):
                    pod = here.pod_of(sight)
                    entry = {"node": node, "device": str(sight.get("ifname")), "address": addresses[number]}
                    found.append({**entry, **({"pod": pod} if pod else {})})
    return found


def _counted_rules(found: Registered) -> list[dict[str, Json]]:
    """The rules that counted packets while they were sent."""
    names = {"filter": str, "table": str, "chain": str, "rule": str, "packets": int}
    return [
        {"node": node, **{name: rule[name] for name in names}}
        for node, collected in found.collected.items() for rule in objects(collected.get("rules"))
        if all(isinstance(rule.get(name), kind) for name, kind in names.items())
    ]  # fmt: skip


def _link(sight: Mapping[str, Json]) -> tuple[Json, Json, Json]:
    return sight.get("where"), sight.get("pod"), sight.get("ifname")


def _of_another_pod(sight: Mapping[str, Json], here: Watched) -> bool:
    name = str(sight.get("ifname"))
    return sight.get("where") == "host" and name.startswith(("cali", "veth")) and name not in here.inner


def _vxlan_ports(cluster: Cluster, question: Question) -> list[int]:
    try:
        asked = [how.port for _source, _destination, _hops, how in both_ways(cluster, question) if how.port]
    except NotCollected:
        asked = []
    return list(dict.fromkeys([*asked, *VXLAN_PORTS]))


def probes(
    cluster: Cluster, question: Question, hosts: Mapping[str, str], watch: float = 0, keep: bool = False, grid: bool = False, trace: bool = False
) -> dict[str, dict[str, list[dict[str, Json]]]]:
    """Inventory host -> phase -> arguments for path_probe. Every node of the path listens for both directions; each end sends one of them.

    watch: for how many seconds the source sends a light train after that. trace: follow them through the rules of the nodes, too.
    """
    result: dict[str, dict[str, list[dict[str, Json]]]] = {}
    lead = question.lead
    slices = _watched.slices(watch)
    if lead.destination.kind == "service":  # which has no endpoint
        return result

    def add(node: str | None, phase: str, arguments: dict[str, Json]) -> None:
        host = hosts.get(node or "")
        if host is not None:
            result.setdefault(host, {name: [] for name in PHASES}).setdefault(phase, []).append(arguments)

    if lead.source.node not in hosts:  # an answer without its question proves nothing
        return {}
    name, ports = secrets.token_hex(16), _vxlan_ports(cluster, question)
    for node in question.nodes:
        pods = [pod_of(end) for end in _pods_on(node, question)]
        limit = LIMIT_SECONDS + sum(seconds + OVERHEAD_SECONDS for _offset, seconds in slices)
        add(node, "arm", {"id": name, "direction": "both", "pods": pods, "limit": limit, "vxlan_ports": ports, "keep": keep, "count_rules": grid,
                          "next_hops": _next_hops(cluster, question, node), "trace": _to_trace(question) if trace else []})  # fmt: skip
        add(node, "collect", {"id": name, "direction": "both", "pods": pods})
    tried = _grid.cells(cluster, question) if grid else []
    for direction, near, far in directions(lead):
        port = lead.port if direction == "forward" and lead.protocol in TRANSPORTS else None
        mine = [cell.arguments for cell in tried if cell.sender == near.node and (direction == "forward") is (cell.name != _grid.FAR_TO_POD)]
        mine += [_way_cell(flow, name, way) for flow, name, way in further_ways(question) if way.source == near]
        add(near.node, "fire", {"id": name, "direction": direction, "cells": mine, "flow": FLOWS[direction], "pod": pod_of(near), "dst": far.address,
                                "port": port, "protocol": lead.protocol if port else "tcp",
                                "source": near.address if near.kind == "pod" else None})  # fmt: skip
    near, far = lead.source, lead.destination
    by_service = question.destination.kind == "service" and question.ways
    service = {"service": question.destination.address, "service_port": question.port} if by_service else {}
    for offset, seconds in slices:
        add(near.node, "watch", {"id": name, "direction": "forward", "flow": FLOWS["forward"], "pod": pod_of(near), "dst": far.address,
                                 "port": lead.port if lead.protocol in TRANSPORTS else None, "protocol": lead.protocol if lead.port else "tcp",
                                 "source": near.address if near.kind == "pod" else None, "offset": offset, "watch": seconds, **service})  # fmt: skip
    return result


def _to_trace(question: Question) -> list[dict[str, Json]]:
    """The packets that rules are traced for."""
    lead = question.lead
    found: list[tuple[int, Endpoint, Endpoint, str, int | None]] = [(FLOWS[name], near, far, "icmp", None) for name, near, far in directions(lead)]
    ways = [(FLOWS["forward"], lead), *((flow, way) for flow, _name, way in further_ways(question))]
    found += [(flow, way.source, way.destination, way.protocol, way.port) for flow, way in ways if way.port is not None and way.protocol in TRANSPORTS]
    return [
        {"src": near.address if near.kind == "pod" else None, "dst": far.address, "flow": flow, "protocol": protocol, "port": port}
        for flow, near, far, protocol, port in found
    ]


def _traces(question: Question, found: Registered) -> list[dict[str, Json]]:
    """The rules that packets met, by node."""
    names = {**{flow: name for name, flow in FLOWS.items()}, **{flow: name for flow, name, _way in further_ways(question)}}
    kinds = {"protocol": str, "kind": str, "family": str, "table": str, "chain": str, "verdict": str, "packets": int}
    told = []
    for node, collected in found.collected.items():
        trace = as_mapping(collected.get("trace"))
        rules = [rule for rule in objects(trace.get("rules")) if all(isinstance(rule.get(name), kind) for name, kind in kinds.items())]
        entries = [
            {"direction": names[rule["flow"]], **{name: rule[name] for name in kinds}, "handle": rule.get("handle") if _is_number(rule.get("handle")) else None,
             **({"rule": rule["rule"]} if isinstance(rule.get("rule"), str) else {})}
            for rule in rules if _is_number(rule.get("flow")) and rule["flow"] in names
        ]  # fmt: skip
        if trace:
            told.append({"node": node, "rules": entries, **({"reason": str(trace["reason"])} if trace.get("reason") else {})})
    return told


def _is_number(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _way_cell(flow: int, name: str, way: Question) -> dict[str, Json]:
    to = {"protocol": way.protocol, "port": way.port} if way.port is not None and way.protocol in TRANSPORTS else {"protocol": "icmp"}
    return {"name": name, "dst": way.destination.address, "flow": flow, "inside": way.source.kind == "pod", **to}


def _results(variables: Mapping[str, t.Any], hosts: Mapping[str, str]) -> Iterator[tuple[str, str, str, Mapping[str, Json]]]:
    """(node, phase, direction, module result) of everything that the probe tasks registered."""
    for node, host in hosts.items():
        raw = variables["hostvars"].raw_get(host)
        for phase, name in REGISTERED.items():
            registered = raw.get(name)
            if not isinstance(registered, Mapping):
                continue
            for entry in registered.get("results") or []:
                item = entry.get("diagnose_probe_item") if isinstance(entry, Mapping) else None
                if isinstance(item, Mapping) and not entry.get("skipped"):
                    yield node, phase, str(item.get("direction")), entry


def sent_to(variables: Mapping[str, t.Any], hosts: Mapping[str, str]) -> int:
    """How many tasks of the probes the nodes were given."""
    return sum(1 for entry in _results(variables, hosts) if entry)


@dataclass
class Registered:
    """What path_probe returned: of each direction that was fired, and of the captures on each node."""

    fired: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    armed: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    collected: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    watched: list[Mapping[str, Json]] = field(default_factory=list)  # of each call of a watch, in their order


def gather(variables: Mapping[str, t.Any], cluster: Cluster, question: Question, hosts: Mapping[str, str]) -> dict[str, Json] | None:
    """The evidence document, None where no packets were sent."""
    found = Registered()
    for node, phase, direction, entry in _results(variables, hosts):
        if phase == "fire":
            found.fired[direction] = entry
        elif phase == "watch":
            found.watched.append(entry)
        else:
            (found.armed if phase == "arm" else found.collected)[node] = entry
    if not found.fired:
        return None
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return document(cluster, question, found, now)


def packets(variables: Mapping[str, t.Any], cluster: Cluster, question: Question, hosts: Mapping[str, str]) -> list[_pcapng.Packet]:
    """The packets that the captures have kept, each with the hop that it has passed where it was seen."""
    try:
        paths = [walk(cluster, pair) for pair in reversed(question.pairs)]
        named = {(point.node, point.role if point.role in ("pod", NIC) else point.device): hop.id for path in paths
                 for way in (path.reverse, path.forward) for hop, point in zip(way, passing(way)) if point is not None}  # fmt: skip
    except NotCollected:
        named = {}
    found = []
    for node, phase, _direction, entry in _results(variables, hosts):
        pods = [end.label for end in _pods_on(node, question)]
        for one in as_list(entry.get("packets")) if phase == "collect" else ():
            if not (isinstance(one, list) and len(one) == 7 and isinstance(one[4], (int, float))):
                continue
            inside = pods[one[1]] if one[0] == "pod" and isinstance(one[1], int) and 0 <= one[1] < len(pods) else ""
            hop = (f"pod:{inside}" if inside else named.get((node, str(one[2])))) or named.get((node, NIC)) or ""
            link = f"{inside or node} {one[2]}"
            try:
                data = base64.b64decode(str(one[5]), validate=True)[: _pcapng.SNAP]
            except ValueError:
                continue
            at = float(one[4]) if 0 <= one[4] < _pcapng.LATEST else 0.0
            found.append(_pcapng.Packet(link, f"{one[2]} of {inside or node}, hop {hop}", str(one[3]), at, data, f"{one[6]}; {hop} {one[3]}"))
    return found


def _ways(cluster: Cluster, question: Question) -> Ways:
    try:
        paths = [walk(cluster, pair) for pair in question.pairs]
    except NotCollected:
        return [{"forward": [], "reverse": []} for _pair in question.pairs]
    return [{"forward": path.forward, "reverse": path.reverse} for path in paths]


def document(cluster: Cluster, question: Question, found: Registered, collected_at: str) -> dict[str, Json]:
    ways = _ways(cluster, question)
    lead = question.lead
    entries, further = [], []
    for direction, near, far in directions(lead):
        fired = found.fired.get(direction)
        if fired is None:
            continue
        watched = {node: _watched_at(node, question, found, fired, ways) for node in question.nodes}
        there, back = ways[0][direction], ways[0]["forward" if direction == "reverse" else "reverse"]
        probe = Probe(lead, direction, near, far, there, back, watched, FLOWS[direction])
        trouble, reason = _trouble(fired, near), str(fired.get("reason") or "")
        beside = {**_flapped(far, found), **_checksums(question, far, found)}
        for train in objects(fired.get("fired")) or [{"protocol": "icmp", "sent": 0, "replied": 0}]:
            entries.append({**probe.entry(train, trouble or reason), **beside})
        told = {str(cell.get("name")): cell for cell in objects(fired.get("cells"))}
        for (flow, name, way), hops in zip(further_ways(question), ways[1:]):
            if way.source == near:
                probe = Probe(way, "forward", near, way.destination, hops["forward"], hops["reverse"], watched, flow)
                train = {**told.get(name, {"sent": 0, "error": "it was not tried"}), "protocol": _way_cell(flow, name, way)["protocol"], "port": way.port}
                beside = {**_flapped(way.destination, found), **_checksums(question, way.destination, found)}
                further.append({**probe.entry(train, trouble or reason), **beside, "id": f"{name}-{train['protocol']}"})
    found_watch = _watch(question, found, ways)
    grid = _gridded(cluster, question, found, ways, entries)
    fired = next(iter(found.fired.values()), {})
    arp = _unanswered({node: _watched_at(node, question, found, fired, ways) for node in question.nodes})
    parts = (("ways", further), ("watch", found_watch), ("grid", grid), ("arp", arp), ("rules", _counted_rules(found)), ("trace", _traces(question, found)))
    return {"schema": SCHEMA, "collected_at": collected_at, "probes": entries, **{name: part for name, part in parts if part}}


def _gridded(
    cluster: Cluster, question: Question, found: Registered, ways: Ways, entries: Sequence[Mapping[str, Json]]
) -> dict[str, Json]:  # fmt: skip
    """The grid, where it was sent, and what it says."""
    told = {str(cell.get("name")): cell for fired in found.fired.values() for cell in objects(fired.get("cells"))}
    if all(name.startswith(WAY) for name in told):
        return {}
    lead = question.lead
    asked = next((entry for entry in entries if entry["direction"] == "forward" and entry["answers_question"] and not entry.get("size")), None)
    cells: list[dict[str, Json]] = []
    for cell in _grid.cells(cluster, question):
        fired = found.fired.get("reverse" if cell.name == _grid.FAR_TO_POD else "forward", {})
        arrived = None
        if cell.seen_in is not None and cell.seen_in[0] in question.nodes and told.get(cell.name, {}).get("sent"):
            arrived = _arrived_cell(cell, _watched_at(cell.seen_in[0], question, found, fired, ways))
        cells.append(_grid.measured(cell, told.get(cell.name), arrived, str(fired.get("reason") or "")))
    if asked is not None:
        answer = {"sent": asked["sent"], "replied": asked["replied"], "refused": asked["refused"], "error": asked.get("error") or asked.get("reason")}
        pods = _grid.Cell(_grid.PODS, lead.source.label, lead.destination.label, "", {"protocol": asked["protocol"], "port": lead.port})
        cells.insert(0, _grid.measured(pods, answer, asked["arrived"], ""))
    said = _grid.pattern(cells, str(lead.source.node), str(lead.destination.node))
    return {"cells": cells, "pattern": said.text, "nodes": list(said.nodes)}


def _arrived_cell(cell: _grid.Cell, there: Watched) -> bool | None:
    """Whether a cell's packets were captured at their end; None where nobody could look."""
    _node, pod = cell.seen_in or ("", "")
    if there.reason or (pod and there.missing(pod)):
        return None
    mine = [
        sight for sight in there.sights
        if (sight.get("flow"), sight.get("kind"), sight.get("way")) == (_grid.FLOWS[cell.name], "request", "in")
        and (there.pod_of(sight) == pod if pod else sight.get("where") == "host")
    ]  # fmt: skip
    return bool(numbers(mine))


def _watch(question: Question, found: Registered, ways: Ways) -> dict[str, Json] | None:
    """What a watch from the source saw, and at which hops."""
    if not found.watched:
        return None
    watched = {node: _watched_at(node, question, found, found.watched[0], ways) for node in question.nodes}
    flow = FLOWS["forward"]

    def at(direction: str, kinds: Sequence[str], of: int, train: str) -> list[dict[str, Json]]:
        return trace(ways[0][direction], watched, kinds, of, train, keep=True)

    return _watched.entry(found.watched, watched, lambda direction, kinds, of=flow, train="watch": at(direction, kinds, of, train))


def _watched_at(
    node: str, question: Question, found: Registered, fired: Mapping[str, Json], ways: Ways
) -> Watched:  # fmt: skip
    armed, collected = found.armed.get(node, {}), found.collected.get(node, {})
    trouble = _trouble_at(node, armed)
    if not trouble and len({part.get("id") for part in (fired, armed, collected) if part}) != 1:
        trouble = f"{node} was not watched at the same time (serial, or hosts of different batches)"
    if not trouble and not armed.get("armed"):
        trouble = str(armed.get("reason") or f"no capture was armed on {node}")
    if not trouble and not collected.get("captured"):
        trouble = _trouble_at(node, collected) or str(collected.get("reason") or f"the capture on {node} told nothing")
    trouble += _counted(armed, collected) if trouble else ""
    pods = _pods_on(node, question)
    inner = {end.ifname for end in pods} | {str(capture.get("ifname")) for capture in objects(armed.get("captures")) if capture.get("ifname")}
    inner |= {hop.device for way in ways for hops in way.values() for hop in hops if hop.node == node and hop.kind in ("tunnel", "bridge") and hop.device}
    return Watched(node, trouble, armed, objects(collected.get("seen")), [end.label for end in pods], frozenset(inner))


def _rise(before: Json, after: Json, way: str) -> int | None:
    first, last = as_mapping(before).get(way), as_mapping(after).get(way)
    return last - first if isinstance(first, int) and isinstance(last, int) else None


def _counted(armed: Mapping[str, Json], collected: Mapping[str, Json]) -> str:
    """Where nobody could look at packets: how many the links to the pods have counted meanwhile, whosesoever they were."""
    before, after = as_mapping(armed.get("counters")), as_mapping(collected.get("counters"))
    texts = []
    for ifname in before:
        rises = [_rise(before[ifname], after.get(ifname), way) for way in ("tx", "rx")]
        if None not in rises:
            texts.append(f"{ifname} counted {rises[0]} packets to its pod and {rises[1]} from it")
    return "; " + ", ".join(texts) if texts else ""


def _flapped(far: Endpoint, found: Registered) -> dict[str, Json]:
    """Whether the host's link to the pod came or went while the capture listened."""
    before, after = (as_mapping(results.get(str(far.node), {}).get("carrier_changes")).get(far.ifname) for results in (found.armed, found.collected))
    if not isinstance(before, int) or not isinstance(after, int) or after <= before:
        return {}
    return {"flapped": {"node": far.node, "ifname": far.ifname, "changes": after - before}}


def _checksums(question: Question, far: Endpoint, found: Registered) -> dict[str, Json]:
    """What the far pod, and its node, threw away for a wrong checksum while the capture listened; nothing where that was not counted."""
    pods = [end.label for end in _pods_on(str(far.node), question)]
    result: dict[str, int] = {}
    read = False
    for one in objects(found.collected.get(str(far.node), {}).get("checksum_errors")):
        pod = one.get("pod")
        own = isinstance(pod, int) and pods[pod : pod + 1] == [far.label]
        read = read or own
        for name in ("tcp", "udp"):
            number = one.get(name)
            if isinstance(number, int) and number > 0 and (own or one.get("where") == "host"):
                result[name if own else f"node_{name}"] = number
    return {"checksum_errors": result} if read else {}


def _trouble_at(node: str, result: Mapping[str, Json]) -> str:
    if not result:
        return f"{node} was not reached"
    return f"{node} {why_nothing(result)}" if result.get("unreachable") or result.get("failed") else ""


def _trouble(fired: Mapping[str, Json], near: Endpoint) -> str:
    return _trouble_at(str(near.node), fired)


@dataclass
class Probe:
    """One direction of a question, and what was seen of it."""

    question: Question
    direction: str
    near: Endpoint
    far: Endpoint
    way: Sequence[Hop]
    way_back: Sequence[Hop]
    watched: Mapping[str, Watched]
    flow: int

    def entry(self, train: Mapping[str, Json], trouble: str) -> dict[str, Json]:
        """One train of packets."""
        question, name = self.question, _train(train)
        asked = question.protocol if question.protocol not in TRANSPORTS or question.port is not None else "icmp"
        sent = int(train.get("sent") or 0)
        arrived, reason = self._arrived(name, sent, trouble, train)
        entry: dict[str, Json] = {
            "id": f"{self.direction}-{name}", "direction": self.direction, "protocol": str(train.get("protocol")),
            "answers_question": name == asked, **({"size": train["size"]} if train.get("size") else {}),
            "source": self._end(self.near), "destination": {**self._end(self.far), "port": train.get("port")},
            "sent": sent, "replied": int(train.get("replied") or 0), "refused": int(train.get("refused") or 0), "arrived": arrived,
            "hops": [], "back": [], **{name: train[name] for name in ("rtt", "error") if train.get(name)},
        }  # fmt: skip
        if reason:
            entry["reason"] = reason
        if not sent or trouble:
            return entry
        flow = self.flow
        entry["hops"] = trace(self.way, self.watched, ("request",), flow, name)
        missed = lost(entry["hops"]) if not arrived else None
        if missed:
            entry["lost"] = {"what": "requests", **missed}
        if arrived or any(hop["packets"] for hop in entry["hops"]):
            entry["back"] = trace(self.way_back, self.watched, ANSWERS, flow, name)
            missed = lost(entry["back"]) if arrived and not entry["replied"] and not entry["refused"] else None
            if missed and missed["after"]:  # else nobody has answered
                entry["lost"] = {"what": "replies", **missed}
        entry.update(self._said(entry, flow, name))
        return entry

    def _end(self, end: Endpoint) -> dict[str, Json]:
        return {"pod": end.label if end.kind == "pod" else None, "node": end.node, "address": end.address}

    def _arrived(self, name: str, sent: int, trouble: str, train: Mapping[str, Json]) -> tuple[bool | None, str]:
        """Whether the far end itself saw it, or why that is not known."""
        if trouble:
            return None, trouble
        if not sent:
            return None, str(train.get("error") or "nothing could be sent")
        if self.far.node is None:
            return None, f"{self.far.label} is outside of the cluster, nobody listens there"
        there = self.watched[self.far.node]
        if there.reason:
            return None, there.reason
        if self.far.kind == "pod":
            missing = there.missing(self.far.label)
            if missing:
                return None, missing
        mine = [
            sight for sight in there.sights
            if (sight.get("flow"), sight.get("train"), sight.get("kind"), sight.get("way")) == (self.flow, name, "request", "in")
            and (there.pod_of(sight) == self.far.label if self.far.kind == "pod" else sight.get("where") == "host")
        ]  # fmt: skip
        return bool(numbers(mine)), ""

    def _said(self, entry: Mapping[str, Json], flow: int, name: str) -> dict[str, Json]:
        """What else the packets tell: rewritten addresses, errors about them and resets, each with its sender."""
        found: dict[str, Json] = {}
        changes = rewritten(entry["hops"], self.near.address, self.far.address)
        if changes:
            found["rewritten"] = changes
        errors: dict[tuple[str, str], dict[str, Json]] = {}
        for node, watched in self.watched.items():
            for sight in watched.sights:
                if (sight.get("flow"), sight.get("train"), sight.get("kind")) != (flow, name, "error"):
                    continue
                for text, source in itertools.product(as_list(sight.get("texts")), as_list(sight.get("sources"))):
                    where = {"node": node, "device": str(sight.get("ifname"))}
                    errors.setdefault((str(text), str(source)), {"text": str(text), "source": str(source), **where})
        if errors:
            found["errors"] = list(errors.values())
        if entry["refused"]:
            origin = next((hop for hop in trace(self.way_back, self.watched, ("reset",), flow, name) if hop["packets"]), None)
            if origin is not None:
                found["reset_at"] = origin["hop"]
        return found


def _train(train: Mapping[str, Json]) -> str:
    return "full" if train.get("size") else str(train.get("protocol"))
