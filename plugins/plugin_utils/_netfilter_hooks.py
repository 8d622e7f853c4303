# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: one node's packet filters in the order in which the kernel calls them, with connection tracking and translation between them.

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from . import _netfilter_iptables, _netfilter_nft
from ._fib import Fib
from ._json import Json, NotCollected, as_mapping, objects, parse_address
from ._netfilter_ground import Ground
from ._netfilter_rules import (
    ACCEPT,
    ASSURED,
    CONFIRMED,
    DNAT,
    DROP,
    DST_NAT,
    DST_NAT_DONE,
    MASQUERADE,
    REDIRECT,
    REJECT,
    SEEN_REPLY,
    SNAT,
    SRC_NAT,
    SRC_NAT_DONE,
    TCP,
    Base,
    Decision,
    Packet,
    Run,
    Unknown,
)
from ._netfilter_sets import ipset

Tuple = tuple[int, str, "int | None", str, "int | None"]
# where connection tracking and translation stand between the chains of a hook (linux/netfilter_ipv4.h)
TRACKING, DESTINATION, SOURCE = -200, -100, 100
TRANSLATED_AT = {"prerouting": DESTINATION, "output": DESTINATION, "input": SOURCE, "postrouting": SOURCE}
TRACKED_AT = ("prerouting", "output")


@dataclass
class Connection:
    """What connection tracking keeps of a connection: the tuple of its first packet, and the one that its answers will have."""

    original: Tuple
    reply: Tuple
    status: int = 0
    mark: int | None = 0


class Stop(Exception):
    """The packet ends here."""

    def __init__(self, verdict: str) -> None:
        super().__init__(verdict)
        self.verdict = verdict


def tuple_of(packet: Packet) -> Tuple:
    return (packet.protocol, packet.src, packet.sport, packet.dst, packet.dport)


class Filters:
    """The chains of one node for one family, as stages of each hook: a chain, `track` or `translate`."""

    def __init__(self, section: Json, family: str, ground: Ground) -> None:
        self.ground = ground
        self.family = family
        self.bases = found = list(_bases(section, family, ground))
        self.stages: dict[str, list[Base | str]] = {}
        self.translations: dict[str, list[Base]] = {}
        for hook in ("ingress", "prerouting", "input", "forward", "output", "postrouting"):
            mine = [base for base in found if base.hook == hook]
            placed: list[tuple[int, int, Base | str]] = [(base.priority, place, base) for place, base in enumerate(mine) if base.kind != "nat"]
            if hook in TRACKED_AT:
                placed.append((TRACKING, -1, "track"))
            if hook in TRANSLATED_AT:
                placed.append((TRANSLATED_AT[hook], -1, "translate"))
            self.stages[hook] = [stage for _priority, _place, stage in sorted(placed, key=lambda item: item[:2])]
            self.translations[hook] = sorted((base for base in mine if base.kind == "nat"), key=lambda base: base.priority)


def _bases(section: Json, family: str, ground: Ground) -> t.Iterator[Base]:
    read = as_mapping(section)
    for entry in objects(read.get("iptables")):
        if entry.get("family") == family:
            yield from _netfilter_iptables.chains(entry, ground)
    nft = read.get("nft")
    if isinstance(nft, Mapping):
        raise NotCollected(f"nftables: {nft.get('error')}")
    for entry in objects(nft):
        yield from _netfilter_nft.chains(entry, family, ground)


def ground_of(section: Json, family: str, addresses: t.Iterable[Mapping[str, Json]], fib: Fib) -> Ground:
    """What the rules of a node may ask of it."""
    own: dict[str, frozenset[str]] = {}
    for entry in addresses:
        text = str(entry.get("local"))
        own[text] = own.get(text, frozenset()) | {str(entry.get("ifname"))}
    sets = as_mapping(section).get("ipsets")
    held = {str(entry.get("name")): ipset(entry) for entry in objects(sets) if entry.get("family") in (None, family)}
    return Ground(own, fib, held)


@dataclass
class Host:
    """One node in one walk: its filters, and the connections that it tracks."""

    name: str
    filters: Filters
    connections: list[Connection] = field(default_factory=list)

    @property
    def ground(self) -> Ground:
        return self.filters.ground

    def hook(self, name: str, packet: Packet, run: Run) -> None:
        """Errors: Stop, Unknown."""
        run.node = self.name
        for stage in self.filters.stages[name]:
            if stage == "track":
                self._track(packet)
            elif stage == "translate":
                self._translate(name, packet, run)
            elif isinstance(stage, Base):
                if stage.device is not None and stage.device != packet.iif:
                    continue
                _heed(run.through(stage, packet), stage)
        if name in ("input", "postrouting"):
            self._confirm(packet)

    # -------------------------------------------------------------- connection tracking

    def _mine(self, packet: Packet) -> Connection | None:
        asked = tuple_of(packet)
        for connection in self.connections:
            if asked in (connection.original, connection.reply):
                return connection
        return None

    def _track(self, packet: Packet) -> None:
        if packet.untracked:
            packet.state, packet.status = "UNTRACKED", None
            return
        if packet.connection is not None:  # over lo: it is tracked already
            return
        connection = self._mine(packet)
        if connection is None:
            self._begin(packet)
            return
        packet.connection = connection
        answers = tuple_of(packet) == connection.reply and connection.reply != connection.original
        packet.direction = "reply" if answers else "original"
        if answers:
            connection.status |= SEEN_REPLY
        elif connection.status & SEEN_REPLY:
            connection.status |= ASSURED
        packet.state = "ESTABLISHED" if connection.status & SEEN_REPLY else "NEW"
        packet.status, packet.ctmark = connection.status, connection.mark

    def _begin(self, packet: Packet) -> None:
        """A packet that belongs to no connection: the first of one, or INVALID (nf_conntrack_proto_tcp.c, nf_conntrack_proto_icmp.c)."""
        answers_echo = packet.icmp is not None and packet.icmp[0] in (0, 129)
        if answers_echo or (packet.protocol == TCP and "ACK" in packet.flags and "SYN" in packet.flags):
            packet.state, packet.status = "INVALID", None
            return
        protocol, src, sport, dst, dport = tuple_of(packet)
        packet.connection = Connection((protocol, src, sport, dst, dport), (protocol, dst, dport, src, sport))
        self.connections.append(packet.connection)
        packet.state, packet.status, packet.direction, packet.ctmark = "NEW", 0, "original", 0

    def _confirm(self, packet: Packet) -> None:
        connection = packet.connection
        if isinstance(connection, Connection) and packet.status is not None:
            connection.status |= CONFIRMED
            connection.mark = packet.ctmark

    # -------------------------------------------------------------- translation

    def _translate(self, hook: str, packet: Packet, run: Run) -> None:
        connection = packet.connection
        if not isinstance(connection, Connection) or packet.status is None:
            return
        destination = TRANSLATED_AT[hook] == DESTINATION
        done = DST_NAT_DONE if destination else SRC_NAT_DONE
        if packet.state == "NEW" and packet.direction == "original" and not connection.status & done:
            for base in self.filters.translations[hook]:
                decision = run.through(base, packet)
                _heed(decision, base)
                if decision.verdict in (DNAT, SNAT, MASQUERADE, REDIRECT):
                    self._bind(decision, connection, packet)
                    break
            connection.status |= done
        _protocol, src, sport, dst, dport = connection.reply if packet.direction == "original" else connection.original
        if destination:
            packet.dst, packet.dport = src, sport
        else:
            packet.src, packet.sport = dst, dport
        packet.status = connection.status

    def _bind(self, decision: Decision, connection: Connection, packet: Packet) -> None:
        """Writes the translation into the tuple that the answers will have."""
        protocol, src, sport, dst, dport = connection.reply
        address, port = _target(str(decision.target))
        if decision.verdict in (DNAT, REDIRECT):
            if decision.verdict == REDIRECT:
                address = self._own_address(packet.iif) if packet.iif else "127.0.0.1"
            changed = (protocol, address or src, port if port is not None else sport, dst, dport)
            connection.status |= DST_NAT if changed != connection.reply else 0
        else:
            if decision.verdict == MASQUERADE:
                address = self._own_address(packet.oif, packet.dst)
            # a masqueraded client may get any other port of its own
            changed = (protocol, src, sport, address or dst, port if port is not None else dport)
            connection.status |= SRC_NAT if changed != connection.reply else 0
        if address is None and port is None:
            raise Unknown(f"the translation {decision.verdict} {decision.target} cannot be understood")
        connection.reply = changed

    def _own_address(self, device: str | None, towards: str = "") -> str:
        """The address that a packet gets which leaves through a device (inet_select_addr): one of its own, or else one of the node."""
        wanted = "inet6" if self.filters.family == "inet6" else "inet"
        usable = [text for text in self.ground.own if (":" in text) == (wanted == "inet6") and not _local_only(text)]
        of_device = [text for text in usable if device in self.ground.own[text]]
        route = self.ground.fib.route_to(towards) if towards else {}
        preferred = route.get("prefsrc")
        if preferred in of_device:
            return str(preferred)
        for text in of_device or usable:
            return text
        raise Unknown(f"{self.name} has no address to masquerade with on {device}")


def _local_only(text: str) -> bool:
    address = parse_address(text)
    return address is None or address.is_loopback or address.is_link_local


def _heed(decision: Decision, base: Base) -> None:
    if decision.verdict in (DROP, REJECT):
        raise Stop(decision.verdict)
    if decision.verdict not in (ACCEPT, DNAT, SNAT, MASQUERADE, REDIRECT) or (decision.verdict != ACCEPT and base.kind != "nat"):
        raise Unknown(f"what {decision.verdict} in {base.table} {base.chain} does is not modelled")


def _target(text: str) -> tuple[str | None, int | None]:
    """`10.0.0.1:80`, `10.0.0.1`, `:80`, `[fd00::1]:80`; ranges are not followed."""
    address, port = text, ""
    if text.startswith("["):
        address, _bracket, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        address, _colon, port = text.partition(":")
    if (address and parse_address(address) is None) or (port and not port.isdecimal()):
        return None, None
    return address or None, int(port) if port else None
