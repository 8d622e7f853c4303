# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: whether one rule of a policy matches one packet. What cannot be told raises NotCollected.

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from ._json import Json, NotCollected, as_list, as_mapping, objects, parse_address, parse_network
from ._policy_members import NAMESPACE, SERVICE_ACCOUNT, Member, Members, endpoint_slices, protocol_name

EPHEMERAL = range(32768, 61000)  # net.ipv4.ip_local_port_range of Linux, where a client's own port comes from
WITH_PORTS = frozenset({"TCP", "UDP", "SCTP", "UDPLITE"})
ENTITY = frozenset({"nets", "notNets", "selector", "notSelector", "namespaceSelector", "ports", "notPorts", "serviceAccounts", "services"})
RULE = frozenset({"action", "protocol", "notProtocol", "ipVersion", "icmp", "notICMP", "source", "destination", "metadata", "name"})


@dataclass(frozen=True)
class Packet:
    """A packet as one place sees it. src None: it cannot be told what the source is by then, `src_why` says why.

    A port is None where the protocol has none, where it was not asked for, or at the end of the `client`, which chose it itself.
    """

    protocol: str
    src: str | None
    dst: str
    dport: int | None = None
    sport: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    src_why: str = ""
    client: t.Literal["source", "destination"] = "source"

    @property
    def version(self) -> int:
        return 6 if ":" in self.dst else 4


@dataclass(frozen=True)
class Rule:
    """One rule in Calico's words. number: its place in the policy as it was written, from 1; namespace: of its policy, "" for a global one."""

    number: int
    action: str  # allow, deny, pass, log
    namespace: str
    spec: Mapping[str, Json]

    def matches(self, packet: Packet, members: Members) -> bool:
        """Errors: NotCollected, where that hangs on something unknown and on nothing else."""
        return not any_of(partial(_fails, condition) for condition in self._conditions(packet, members))

    def _conditions(self, packet: Packet, members: Members) -> Iterator[Callable[[], bool]]:
        spec = self.spec
        yield lambda: not _strange(spec, RULE, "a rule")
        if spec.get("ipVersion") is not None:
            yield lambda: spec["ipVersion"] == packet.version
        if spec.get("protocol") is not None:
            yield lambda: protocol_name(spec["protocol"]) == packet.protocol
        if spec.get("notProtocol") is not None:
            yield lambda: protocol_name(spec["notProtocol"]) != packet.protocol
        if spec.get("icmp") is not None:
            yield lambda: _icmp(as_mapping(spec["icmp"]), packet)
        if spec.get("notICMP") is not None:
            yield lambda: not _icmp(as_mapping(spec["notICMP"]), packet)
        for part, address, port in (("source", packet.src, packet.sport), ("destination", packet.dst, packet.dport)):
            entity = as_mapping(spec.get(part))
            if entity:
                yield from _Entity(entity, self.namespace, part, address, port, packet, members).conditions()


def _fails(condition: Callable[[], bool]) -> bool:
    return not condition()


def any_of(conditions: Iterable[Callable[[], bool]]) -> bool:
    """Whether one holds. Errors: NotCollected, where none does and one of them cannot be told."""
    unknown: NotCollected | None = None
    for condition in conditions:
        try:
            if condition():
                return True
        except NotCollected as exc:
            unknown = unknown or exc
    if unknown is not None:
        raise unknown
    return False


def _strange(spec: Mapping[str, Json], known: frozenset[str], what: str) -> bool:
    found = sorted(key for key in set(spec) - known if spec[key] is not None)
    if found:
        raise NotCollected(f"{what} has {', '.join(map(str, found))}, which this version has no model of")
    return False


def _icmp(wanted: Mapping[str, Json], packet: Packet) -> bool:
    if packet.protocol not in ("ICMP", "ICMPV6"):
        return False
    return all(wanted.get(name) in (None, got) for name, got in (("type", packet.icmp_type), ("code", packet.icmp_code)))


def port_range(value: Json) -> tuple[int, int] | None:
    """A number, or `first:last`; None for the name of a port."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    found = re.fullmatch(r"([0-9]{1,5})(?::([0-9]{1,5}))?", str(value))
    return (int(found[1]), int(found[2] or found[1])) if found else None


@dataclass(frozen=True)
class _Entity:
    """The source or destination of a rule, held against one end of a packet."""

    spec: Mapping[str, Json]
    namespace: str
    part: str  # source, destination
    address: str | None
    port: int | None
    packet: Packet
    members: Members

    def conditions(self) -> Iterator[Callable[[], bool]]:
        yield lambda: not _strange(self.spec, ENTITY, "a rule's source or destination")
        if as_list(self.spec.get("ports")):
            yield lambda: self._on_ports("ports")
        if as_list(self.spec.get("notPorts")):
            yield lambda: not self._on_ports("notPorts")
        if as_list(self.spec.get("nets")):
            yield lambda: self._in_nets("nets")
        if as_list(self.spec.get("notNets")):
            yield lambda: not self._in_nets("notNets")
        if self.spec.get("services"):
            yield self._of_service
        if self._selects_positively():
            yield lambda: any_of(partial(self._is_selected, member) for member in self._members())
        if self.spec.get("notSelector"):
            yield lambda: not any_of(partial(self.members.selects, member, str(self.spec["notSelector"])) for member in self._members())

    def _known(self) -> str:
        if self.address is None:
            raise NotCollected(self.packet.src_why or "the source address is not known")
        return self.address

    def _members(self) -> list[Member]:
        return self.members.at(self._known())

    def _in_nets(self, key: str) -> bool:
        address = parse_address(self._known())
        for text in as_list(self.spec[key]):
            network = parse_network(text)
            if network is None:
                raise NotCollected(f"{str(text)[:50]!r} is no prefix")
            if address is not None and address in network:
                return True
        return False

    # ------------------------------------------------------------------ ports

    def _on_ports(self, key: str) -> bool:
        if self.packet.protocol not in WITH_PORTS:
            return False
        return any_of(partial(self._on_port, value) for value in as_list(self.spec[key]))

    def _on_port(self, value: Json) -> bool:
        found = port_range(value)
        if found is None:
            return self._on_named_port(str(value))
        first, last = found
        if self.port is not None:
            return first <= self.port <= last
        if self.part != self.packet.client:
            raise NotCollected("the port was not asked for")
        if first <= EPHEMERAL.start and EPHEMERAL.stop - 1 <= last:
            return True
        if last < EPHEMERAL.start or EPHEMERAL.stop <= first:
            return False
        raise NotCollected(f"whether the client's own port lies in {first}:{last} is its choice")

    def _on_named_port(self, name: str) -> bool:
        """A name stands for the ports of the members that define it, at their own addresses."""
        named = [p for m in self._members() if self._may_name(m) for p in m.ports if p.name == name and p.protocol == self.packet.protocol]
        if self.port is None and self.part == self.packet.client:
            return any(port.number in EPHEMERAL for port in named)
        if self.port is None and named:
            raise NotCollected("the port was not asked for")
        return any(port.number == self.port for port in named)

    def _may_name(self, member: Member) -> bool:
        return not self._selects_positively() or self._is_selected(member)

    # ------------------------------------------------------------------ selectors

    def _selects_positively(self) -> bool:
        """A namespaced policy's bare selector, bare notSelector and service accounts mean its own namespace."""
        if self.spec.get("namespaceSelector") or self.spec.get("selector") or self.spec.get("serviceAccounts"):
            return True
        return bool(self.namespace and self.spec.get("notSelector"))

    def _is_selected(self, member: Member) -> bool:
        accounts = as_mapping(self.spec.get("serviceAccounts"))
        if self.spec.get("namespaceSelector"):
            if not self.members.in_namespace(member, str(self.spec["namespaceSelector"])):
                return False
        elif self.namespace and member.labels.get(NAMESPACE) != self.namespace:
            return False
        if as_list(accounts.get("names")) and member.labels.get(SERVICE_ACCOUNT) not in as_list(accounts["names"]):
            return False
        if accounts.get("selector") and not self.members.has_account(member, str(accounts["selector"])):
            return False
        return not self.spec.get("selector") or self.members.selects(member, str(self.spec["selector"]))

    # ------------------------------------------------------------------ Services

    def _of_service(self) -> bool:
        """As a destination the endpoints with their ports, as a source their addresses alone."""
        wanted = as_mapping(self.spec["services"])
        namespace = str(wanted.get("namespace") or self.namespace)
        address = self._known()
        for piece in endpoint_slices(self.members.cluster, f"{namespace}/{wanted.get('name')}"):
            held = {str(a) for endpoint in objects(piece.get("endpoints")) for a in as_list(endpoint.get("addresses"))}
            if address not in held:
                continue
            if self.part == "source":
                return True
            for port in objects(piece.get("ports")):
                if protocol_name(port.get("protocol") or "TCP") == self.packet.protocol and port.get("port") in (None, self.port):
                    return True
        return False


def rules_of(spec: Mapping[str, Json], way: t.Literal["ingress", "egress"], namespace: str) -> tuple[Rule, ...]:
    """The rules of a Calico policy's spec."""
    return tuple(Rule(number, str(rule.get("action")).lower(), namespace, rule) for number, rule in enumerate(objects(spec.get(way)), 1))
