# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the typed views of node and evidence documents, and all documents of one question (docs/documents.md).

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..module_utils._compact import Opened
from ..module_utils._entries import Entries, plain
from ._cluster import Cluster, Made
from ._fib import MAIN_TABLE, Fib
from ._flannel import bridged
from ._json import Family, Json, NotCollected, Shape, as_mapping, family_of, objects, section_of, shaped
from ._netfilter_hooks import Filters, ground_of

ROUTE: Shape = {
    "dst": str, "type": str, "protocol": str, "scope": str, "table": int, "metric": int, "gateway": str, "dev": str, "prefsrc": str,
    "flags": list, "nexthops": list,
}  # fmt: skip
SHAPES: Mapping[str, Shape] = {
    "links": {"ifname": str, "ifindex": int, "flags": list, "operstate": str, "address": str, "linkinfo": dict, "flapped": int},
    "addresses": {"ifname": str, "local": str, "prefixlen": int, "family": str},
    "routes": ROUTE,
    "rules": {"priority": int, "src": str},
    "neighbours": {"dst": str, "dev": str, "lladdr": str, "state": list},
    "fdb": {"mac": str, "ifname": str, "dst": str, "state": str, "flags": list},
    "sandboxes": {"ifname": str, "ifnames": list, "pod_uid": str, "network": dict},
    "lookups": {"dst": str, "src": str, "iif": str, "route": dict},
    "reachability": {"dst": str, "port": int, "outcome": str, "error": str},
    "dns": {"netns_of": str, "error": str, "resolver": dict, "queries": list, "search": list},
}
PROTOCOL: Shape = {"name": str, "proto": str, "state": str, "info": str, "bgp": dict}
PROBE: Shape = {"direction": str, "protocol": str, "sent": int, "replied": int, "refused": int, "arrived": bool, "reason": str, "error": str, "size": int,
                "hops": list, "back": list, "lost": dict, "source": dict, "destination": dict, "flapped": dict}  # fmt: skip
BIRD_ROUTE: Shape = {"prefix": str, "protocol": str, "state": str, "nexthops": list}


def _table(entries: Sequence[Mapping[str, Json]]) -> Entries:
    return entries if isinstance(entries, Entries) else Entries((), t.cast("list[dict[str, Json]]", entries))


@dataclass
class NodeFacts:
    """What one node said, or why it said nothing."""

    name: str
    document: Mapping[str, Json] | None
    reason: str = "not asked"
    _worked_out: dict[str, t.Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: str, make: t.Callable[[], Made]) -> Made:
        """What was worked out from this document under this name, once."""
        if key not in self._worked_out:
            self._worked_out[key] = make()
        return t.cast(Made, self._worked_out[key])

    def close(self) -> None:
        """Forget what can be worked out again."""
        self._worked_out.clear()
        if isinstance(self.document, Opened):
            self.document.close()

    def section(self, name: str) -> Json:
        if self.document is None:
            raise NotCollected(f"{self.name} {self.reason}")
        return section_of(self.document, name, self.name)

    def entries(self, name: str) -> Sequence[Mapping[str, Json]]:
        """A section that is a list of objects, in the shape of docs/documents.md."""
        return self.once(name, lambda: shaped(self.section(name), SHAPES[name], f"{self.name}: {name}"))

    def table(self, name: str) -> Entries:
        """The same, to be asked for entries that have some value."""
        return self.once(f"table {name}", lambda: _table(self.entries(name)))

    @property
    def whole(self) -> Mapping[str, Json] | None:
        """The document with all its entries."""
        return t.cast("Mapping[str, Json] | None", plain(self.document))

    @property
    def collected(self) -> bool:
        return self.document is not None

    @property
    def via(self) -> Mapping[str, Json]:
        """How the document came to be, where the node did not answer itself: {by: "calico-node" | "CalicoNodeStatus", because, pod?, object?, updated?}."""
        return as_mapping(as_mapping(self.document).get("via"))

    @property
    def links(self) -> dict[str, Mapping[str, Json]]:
        return self.once("links by name", lambda: {str(link.get("ifname")): link for link in self.entries("links")})

    @property
    def addresses(self) -> Sequence[Mapping[str, Json]]:
        return self.entries("addresses")

    def link_holding(self, address: str | None) -> str | None:
        return next((str(a.get("ifname")) for a in self.addresses if a.get("local") == address), None)

    def address_on_node(self, address: str | None) -> Mapping[str, Json] | None:
        return next((a for a in self.addresses if a.get("local") == address), None)

    @property
    def routes(self) -> Sequence[Mapping[str, Json]]:
        return self.entries("routes")

    @property
    def main_routes(self) -> Entries:
        return self.once("table main", lambda: self.table("routes").having(("table",), lambda number: number == MAIN_TABLE))

    def routes_to(self, prefix: str) -> Sequence[Mapping[str, Json]]:
        """The routes of table main for exactly this prefix."""
        return self.main_routes.where(("dst",), prefix)

    @property
    def neighbours(self) -> Sequence[Mapping[str, Json]]:
        return self.entries("neighbours")

    def neighbours_at(self, address: str | None) -> Sequence[Mapping[str, Json]]:
        return self.table("neighbours").where(("dst",), str(address))

    @property
    def fdb(self) -> Sequence[Mapping[str, Json]]:
        return self.entries("fdb")

    def fdb_of(self, mac: str | None) -> Sequence[Mapping[str, Json]]:
        return self.table("fdb").where(("mac",), str(mac))

    @property
    def rules(self) -> Sequence[Mapping[str, Json]]:
        return self.entries("rules")

    def sysctl(self, path: str) -> str:
        values = as_mapping(self.section("sysctls"))
        value = values.get(path)
        if not isinstance(value, str):
            raise NotCollected(f"{self.name}: sysctl {path} could not be read")
        return value

    def bird(self, family: Family = "ipv4") -> Mapping[str, Json]:
        daemons = as_mapping(self.section("bird"))
        daemon = section_of(daemons, family, f"{self.name}: bird")
        if not isinstance(daemon, Mapping):
            raise NotCollected(f"{self.name}: bird {family} cannot be understood")
        return daemon

    def bird_part(self, part: str, family: Family = "ipv4") -> Json:
        return section_of(self.bird(family), part, f"{self.name}: bird {family}")

    def bgp_protocols(self, family: Family = "ipv4") -> Entries:
        def read() -> Entries:
            protocols = shaped(self.bird_part("protocols", family), PROTOCOL, f"{self.name}: bird protocols")
            return _table(protocols).having(("proto",), lambda kind: kind == "BGP")

        return self.once(f"bgp protocols {family}", read)

    def bgp_sessions(self, address: str) -> Sequence[Mapping[str, Json]]:
        """The BGP protocols whose neighbour has the address."""
        return self.bgp_protocols(family_of(address)).where(("bgp", "neighbor_address"), address)

    def bird_routes(self, family: Family = "ipv4") -> Entries:
        return self.once(f"bird routes {family}", lambda: _table(shaped(self.bird_part("routes", family), BIRD_ROUTE, f"{self.name}: bird routes")))

    def bird_routes_to(self, prefix: str) -> Sequence[Mapping[str, Json]]:
        """What BIRD knows of exactly this prefix."""
        return self.bird_routes(family_of(prefix)).where(("prefix",), prefix)

    @property
    def fib(self) -> Fib:
        return self.once("fib", lambda: Fib(self.rules, self.routes))

    def filters(self, family: str) -> Filters:
        """The packet filters of one family: inet or inet6."""

        def read() -> Filters:
            section = self.section("netfilter")
            return Filters(section, family, ground_of(section, family, self.addresses, self.fib))

        try:
            return self.once(f"filters {family}", read)
        except NotCollected as exc:
            if exc.reason.startswith(self.name):
                raise
            raise NotCollected(f"{self.name}: {exc.reason}") from exc

    def process(self, name: str) -> Mapping[str, Json]:
        """Liveness of felix, confd, bird or bird6 as the `calico` section tells it."""
        process = section_of(as_mapping(self.section("calico")), name, f"{self.name}: calico")
        if not isinstance(process, Mapping):
            raise NotCollected(f"{self.name}: calico {name} cannot be understood")
        return process

    def sandbox_behind(self, ifname: str) -> Mapping[str, Json]:
        """The pod's namespace that the host interface leads into, with its network facts."""
        for sandbox in self.table("sandboxes").where(("ifname",), ifname):
            return sandbox
        raise NotCollected(f"{self.name}: no process was found in the network namespace behind {ifname}")

    def sandbox_of(self, uid: str) -> Mapping[str, Json]:
        """The pod's namespace, where no name tells which host interface leads into it."""
        for sandbox in self.table("sandboxes").where(("pod_uid",), uid):
            return sandbox
        raise NotCollected(f"{self.name}: no process of the pod was found")

    def flannel(self, part: str) -> Json:
        """What the `flannel` section tells: flanneld, subnet_env or host_local."""
        return section_of(as_mapping(self.section("flannel")), part, f"{self.name}: flannel")

    def lookup(self, **wanted: str) -> Mapping[str, Json]:
        """The kernel's answer to a route look-up that was asked for, which may be an error; worked out from rules and routes where it was not asked."""
        try:
            for entry in self.entries("lookups"):
                if all(entry.get(key) == value for key, value in wanted.items()):
                    if all(not entry.get(key) for key in ("src", "iif", "mark") if key not in wanted):
                        return as_mapping(entry.get("route"))
        except NotCollected as exc:
            if not exc.absent:
                raise
        return self.fib.route_to(wanted["dst"], wanted.get("src"), wanted.get("iif"))


@dataclass
class Evidence:
    """Live packets: the evidence document, or nothing. forbidden: the protocols that policy does not let the other end open by itself."""

    document: Mapping[str, Json] | None = None
    forbidden: frozenset[str] = frozenset()

    @property
    def probes(self) -> list[Mapping[str, Json]]:
        """What of each probe can be understood; the rest of it counts as not told."""
        probes = objects(as_mapping(self.document).get("probes"))
        found = [{key: value for key, value in probe.items() if isinstance(value, PROBE.get(key, object))} for probe in probes]
        return [{**probe, **{name: objects(probe.get(name)) for name in ("hops", "back")}} for probe in found]

    def of_way(self, address: str, port: int | None) -> Evidence:
        """What packets to one further endpoint of a Service did."""
        ways = objects(as_mapping(self.document).get("ways"))
        mine = [way for way in ways for end in (as_mapping(way.get("destination")),) if (end.get("address"), end.get("port")) == (address, port)]
        return Evidence({"probes": mine}, self.forbidden) if mine else Evidence()

    @property
    def watch(self) -> Mapping[str, Json] | None:
        """What a watch saw; None where nothing was watched for a while."""
        told = as_mapping(self.document).get("watch")
        return told if isinstance(told, Mapping) and told else None

    @property
    def grid(self) -> Mapping[str, Json]:
        """The grid of who reaches whom, and what it says; empty where it was not tried."""
        told = as_mapping(self.document).get("grid")
        return told if isinstance(told, Mapping) else {}

    def arrived(self, direction: str) -> bool | None:
        """Whether the asked traffic was seen to cross in this direction; None where that was not, or could not be, watched.

        forward: its mark was captured at the far end. reverse: an answer to a packet that arrived came back, or else a packet of the
        other end, sent by itself, was captured here.
        """
        forward = self._outcome("forward")
        if direction == "forward":
            return forward
        if forward and any(p.get("replied") or p.get("refused") is True or (p.get("refused") or 0) > 0 for p in self._asked("forward")):
            return True
        return False if self.answers_lost else self._outcome("reverse")

    @property
    def answers_lost(self) -> bool:
        """Whether the asked traffic arrived and was answered, and the answers were seen to be lost."""
        return any(as_mapping(probe.get("lost")).get("what") == "replies" for probe in self._asked("forward") if probe.get("arrived"))

    def of_full_size(self, direction: str) -> Mapping[str, Json] | None:
        """The probe with packets of full size."""
        return next((probe for probe in self.probes if probe.get("direction") == direction and probe.get("size")), None)

    def passed(self, direction: str, asked_only: bool = False) -> dict[str, bool]:
        """Hop -> whether packets were seen to have passed it. What could not be watched is not there.

        asked_only: no more than what the asked traffic itself did; else of the other end's own packets, too.
        """
        found: dict[str, bool] = {}
        ways = [probe["hops"] for probe in self._asked(direction) if not self._proves_nothing(probe)]
        if direction == "reverse":
            answers = [probe["back"] for probe in self._asked("forward") if probe.get("arrived")]
            ways = answers if self.answers_lost or asked_only else answers + ways
        for hop in (hop for way in ways for hop in way):
            if isinstance(hop.get("packets"), int) and isinstance(hop.get("hop"), str):
                found[hop["hop"]] = found.get(hop["hop"], False) or hop["packets"] > 0
        return found

    def _loser(self, direction: str) -> Mapping[str, Json] | None:
        """The probe that was seen to be lost in a direction, where none arrived."""
        if self.arrived(direction) is not False:
            return None
        answers = [probe for probe in self._asked("forward") if as_mapping(probe.get("lost")).get("what") == "replies"] if direction == "reverse" else []
        own = [probe for probe in self._asked(direction) if as_mapping(probe.get("lost")).get("what") == "requests" and not self._proves_nothing(probe)]
        return next(iter([*answers, *own]), None)

    def lost(self, direction: str) -> Mapping[str, Json] | None:
        """The hop that packets of a direction did not pass, and the last one that they did; None where that was not seen."""
        loser = self._loser(direction)
        return None if loser is None else as_mapping(loser.get("lost"))

    def way(self, direction: str) -> list[Mapping[str, Json]]:
        """What was seen at each hop of the packets that `lost` is about."""
        loser = self._loser(direction) or {}
        return list(loser.get("back" if as_mapping(loser.get("lost")).get("what") == "replies" else "hops") or [])

    def _asked(self, direction: str) -> list[Mapping[str, Json]]:
        """The probes that say something about the asked traffic; an echo proves nothing for a TCP port."""
        mine = [p for p in self.probes if p.get("direction") == direction and not p.get("size")]
        return [p for p in mine if direction == "reverse" or p.get("answers_question") is not False]

    def _proves_nothing(self, probe: Mapping[str, Json]) -> bool:
        """What the other end sends by itself is no answer: policy may keep it back, and let answers pass."""
        return probe.get("direction") == "reverse" and probe.get("arrived") is False and probe.get("protocol") in self.forbidden

    def _outcome(self, direction: str) -> bool | None:
        outcomes = [None if self._proves_nothing(probe) else probe.get("arrived") for probe in self._asked(direction)]
        if any(outcome is True for outcome in outcomes):
            return True
        return False if any(outcome is False for outcome in outcomes) else None


@dataclass
class Documents:
    """Everything that was collected for one question."""

    cluster: Cluster
    nodes: Mapping[str, NodeFacts]
    evidence: Evidence = field(default_factory=Evidence)

    def node(self, name: str) -> NodeFacts:
        return self.nodes.get(name) or NodeFacts(name, None)

    def sandbox_of(self, node: str, pod: str, ifname: str) -> Mapping[str, Json]:
        """The namespace of a pod, which is named like namespace/name: behind its own host interface, or else by its uid."""
        if not bridged(self.cluster):
            return self.node(node).sandbox_behind(ifname)
        known = self.cluster.pods.get(pod)
        if known is None:
            raise NotCollected(f"the Kubernetes API knows no pod {pod}")
        return self.node(node).sandbox_of(known.uid)

    def collected(self) -> Iterator[NodeFacts]:
        return (facts for facts in self.nodes.values() if facts.collected)
