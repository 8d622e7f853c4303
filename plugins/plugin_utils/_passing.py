# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: by what a packet that has passed a hop of its path can be seen, and whether it was.

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ._json import Json, as_list, objects
from ._path import Hop

Way = t.Literal["in", "out"]
NIC = "nic"  # whichever link leads to the other nodes


@dataclass(frozen=True)
class Point:
    """A link of a namespace, and the way on it. device: None where the API does not tell its name."""

    node: str
    role: str
    device: str | None
    way: Way
    pod: str | None = None
    carried: bool = False  # inside of another packet, and no other way


def _middle(hops: Sequence[Hop]) -> int:
    """Where the path stops to lead out of one node, and begins to lead into the other."""
    for kinds in (("wire", "beyond"), ("node",), ("bridge",)):
        found = [position for position, hop in enumerate(hops) if hop.kind in kinds]
        if found:
            return found[0]
    return len(hops)


def _pod_of(hops: Sequence[Hop], position: int) -> str:
    nearest = min((p for p, hop in enumerate(hops) if hop.kind == "pod"), key=lambda p: abs(p - position))
    return hops[nearest].id.partition(":")[2]


def _links(hops: Sequence[Hop]) -> list[tuple[float, Point]]:
    """The links that a packet passes, in their order, by the position of the hop that they belong to."""
    middle = _middle(hops)
    switched = not any(hop.kind == "node" for hop in hops)  # the bridge of one node: what goes from port to port is not seen on the bridge itself
    found: list[tuple[float, Point]] = []
    for position, hop in enumerate(hops):
        leaving = position < middle
        node = str(hop.node)
        if hop.kind == "pod":
            found.append((position, Point(node, "pod", "eth0", "out" if leaving else "in", hop.id.partition(":")[2])))
        elif hop.kind == "veth":
            found.append((position, Point(node, "veth", hop.device, "in" if leaving else "out", _pod_of(hops, position))))
        elif hop.kind == "bridge" and not switched:
            found.append((position, Point(node, "bridge", hop.device, "in" if leaving else "out")))
        elif hop.kind == "tunnel":
            found.append((position, Point(node, "tunnel", hop.device, "out" if leaving else "in")))
        elif hop.kind in ("wire", "beyond"):
            near = next((other.node for other in reversed(hops[:position]) if other.node), None)
            far = next((other.node for other in hops[position + 1 :] if other.node), None)
            found += [(position - 0.5, Point(near, NIC, None, "out"))] if near else []
            found += [(position, Point(far, NIC, None, "in"))] if far else []
    return found


def passing(hops: Sequence[Hop]) -> list[Point | None]:
    """For each hop the link on which a packet is seen once it has passed the hop. A node, and the tunnel that it sends by, are passed when it leaves them."""
    links, middle = _links(hops), _middle(hops)
    found: list[Point | None] = []
    for position, hop in enumerate(hops):
        own = [point for at, point in links if at == position]
        if own and not (hop.kind == "tunnel" and position < middle):
            found.append(own[0] if hop.kind != "beyond" else None)
            continue
        after = [point for at, point in links if at > position]
        before = [point for at, point in links if at < position]
        point = None if hop.kind == "beyond" else after[0] if after else before[-1] if before else None
        found.append(replace(point, carried=True) if point is not None and hop.kind == "tunnel" and point.role == NIC else point)
    return found


@dataclass(frozen=True)
class Watched:
    """What the captures on one node saw. reason: why nothing was watched there."""

    node: str
    reason: str = ""
    armed: Mapping[str, Json] = field(default_factory=dict)
    sights: Sequence[Mapping[str, Json]] = ()
    pods: Sequence[str] = ()  # in the order in which the capture was given them
    inner: frozenset[str] = frozenset()  # links that lead to no other node: of pods, bridges, tunnels

    def link_of(self, pod: str) -> str | None:
        """The host's link that leads to a pod, as the node told."""
        for capture in objects(self.armed.get("captures")):
            if capture.get("where") == "pod" and self.pod_of(capture) == pod:
                return str(capture["ifname"]) if capture.get("ifname") else None
        return None

    def pod_of(self, entry: Mapping[str, Json]) -> str | None:
        """The pod that a capture listened in, or a sight is of."""
        position = entry.get("pod")
        return self.pods[position] if isinstance(position, int) and 0 <= position < len(self.pods) else None

    def why_not(self, point: Point) -> str:
        """Why nothing can be seen at a point; "" if it was watched."""
        return self.reason or (self.missing(str(point.pod)) if point.role == "pod" else "")

    def missing(self, pod: str) -> str:
        """Why nobody listened inside of a pod; "" if somebody did."""
        return next((str(entry.get("reason")) for entry in objects(self.armed.get("missing")) if self.pod_of(entry) == pod), "")

    def at(self, point: Point, kinds: Sequence[str], flow: int, train: str) -> list[Mapping[str, Json]]:
        """What was seen there of a train."""
        # what a port of a bridge hands on is addressed to the bridge, or to another of its ports
        ways = (point.way, "by") if point.role == "veth" and point.way == "in" else (point.way,)
        return [
            sight for sight in self.sights
            if sight.get("flow") == flow and sight.get("train") == train and sight.get("kind") in kinds and sight.get("way") in ways
            and self._is_at(sight, point) and (not point.carried or sight.get("encapsulation"))
        ]  # fmt: skip

    def _is_at(self, sight: Mapping[str, Json], point: Point) -> bool:
        name = str(sight.get("ifname"))
        if point.role == "pod":
            return sight.get("where") == "pod" and self.pod_of(sight) == point.pod
        if sight.get("where") != "host":
            return False
        if point.role == NIC:
            return name not in self.inner and not name.startswith("cali")
        device = point.device if point.device or not point.pod else self.link_of(point.pod)
        return name == device


def numbers(sights: Sequence[Mapping[str, Json]]) -> dict[int, float]:
    """Number of a packet -> when it was first seen there, by the clock of its node."""
    found: dict[int, float] = {}
    for sight in sights:
        for pair in as_list(sight.get("numbers")):
            if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], int) and isinstance(pair[1], (int, float)):
                found[pair[0]] = min(float(pair[1]), found.get(pair[0], float(pair[1])))
    return found


def trace(
    hops: Sequence[Hop], watched: Mapping[str, Watched], kinds: Sequence[str], flow: int, train: str, keep: bool = False
) -> list[dict[str, Json]]:  # fmt: skip
    """What of a train passed each hop. packets: null where that could not be watched. keep: with `seen`, when each number was."""
    found: list[dict[str, Json]] = []
    earlier: dict[str, dict[int, float]] = {}
    for hop, point in zip(hops, passing(hops)):
        if point is None:
            continue
        here = watched.get(point.node, Watched(point.node, f"{point.node} was not watched"))
        entry: dict[str, Json] = {"hop": hop.id, "node": point.node, "device": point.device, "way": point.way, "packets": None}
        if point.device is None and point.pod:
            entry["device"] = here.link_of(point.pod)
        reason = here.why_not(point)
        if reason:
            found.append({**entry, "reason": reason})
            continue
        sights = here.at(point, kinds, flow, train)
        times = numbers(sights)
        entry["packets"] = len(times)
        if keep:
            entry["seen"] = times
        if sights:
            entry["device"] = str(sights[0].get("ifname"))
            entry.update(_told(sights))
            common = [times[number] - earlier[point.node][number] for number in times if number in earlier.get(point.node, {})]
            if common:
                entry["seconds"] = round(max(sorted(common)[len(common) // 2], 0.0), 6)
            earlier[point.node] = times
        found.append(entry)
    return found


def _told(sights: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """What the packets themselves tell of their way."""
    told: dict[str, Json] = {}
    encapsulations = [sight.get("encapsulation") for sight in sights]
    if encapsulations[0] in ("ipip", "vxlan"):
        told["encapsulation"] = encapsulations[0]
    ttl = sights[0].get("ttl")
    if isinstance(ttl, int) and not isinstance(ttl, bool):
        told["ttl"] = ttl
    for name in ("sources", "destinations"):
        told[name] = list(dict.fromkeys(str(word) for sight in sights for word in as_list(sight.get(name))))
    repeated = sum(sight["repeated"] for sight in sights if isinstance(sight.get("repeated"), int) and sight["repeated"] > 0)
    return {**told, **({"repeated": repeated} if repeated else {})}


def lost(hops: Sequence[Mapping[str, Json]]) -> dict[str, Json] | None:
    """The hop that packets reached and did not pass, and the last one that they did. None where they passed all that was watched, or none was."""
    counts = [hop["packets"] for hop in hops]
    last = max((position for position, count in enumerate(counts) if count), default=-1)
    missed = next((position for position in range(last + 1, len(counts)) if counts[position] == 0), None)
    if missed is None:
        return None
    return {"hop": hops[missed]["hop"], "after": hops[last]["hop"] if last >= 0 else None}


def rewritten(hops: Sequence[Mapping[str, Json]], source: str, destination: str) -> list[dict[str, Json]]:
    """Where packets had another address than at the hop before."""
    found: list[dict[str, Json]] = []
    had = {"sources": source, "destinations": destination}
    for hop in hops:
        for name, before in had.items():
            now = [str(word) for word in as_list(hop.get(name))]
            if now and before not in now:
                found.append({"hop": hop["hop"], "node": hop["node"], "what": name[:-1], "before": before, "after": now[0]})
                had[name] = now[0]
    return found
