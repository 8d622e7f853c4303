# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what a node's packet filters ask of the node: whose an address is, which way leads back, what is in its sets.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ._fib import LOCAL_TABLE, Fib
from ._json import NotCollected, parse_address
from ._netfilter_rules import Match, Packet
from ._netfilter_sets import Members


@dataclass
class Ground:
    """own: the node's addresses and the devices that hold them. ipsets: None under a name: a set whose type is not modelled."""

    own: Mapping[str, frozenset[str]]
    fib: Fib
    ipsets: Mapping[str, Members | None] = field(default_factory=dict)
    _kinds: dict[str, str] = field(default_factory=dict, repr=False)
    _back: dict[tuple[str, str, str | None, int], str | None] = field(default_factory=dict, repr=False)

    def kind(self, text: str) -> str:
        """LOCAL, BROADCAST, MULTICAST or UNICAST, as the kernel's table local has it."""
        if text not in self._kinds:
            address = parse_address(text)
            found = "UNICAST"
            if text in self.own or (address is not None and address.is_loopback):
                found = "LOCAL"
            elif address is not None and address.is_multicast:
                found = "MULTICAST"
            elif self.fib.type_in(LOCAL_TABLE, text) == "broadcast" or text == "255.255.255.255":
                found = "BROADCAST"
            self._kinds[text] = found
        return self._kinds[text]

    def kind_on(self, text: str, device: str | None) -> str | None:
        """As kind, but that an address of another device is not LOCAL; None if the device is not known."""
        found = self.kind(text)
        if found != "LOCAL" or text not in self.own:
            return found
        return None if device is None else found if device in self.own[text] else "UNICAST"

    def comes_back(self, packet: Packet, mark: int | None, loose: bool = False) -> Match:
        """Whether an answer to a packet would leave through the device that the packet came in by (xt_rpfilter, nft_fib)."""
        if packet.iif is None or mark is None:
            return None
        if packet.iif == "lo":
            return True
        asked = (packet.src, packet.dst, packet.iif, mark)
        if asked not in self._back:
            try:
                route = self.fib.route_to(packet.src, packet.dst, packet.iif, mark)
            except NotCollected:
                return None
            self._back[asked] = str(route.get("dev")) if route.get("type") in ("unicast", None) and "error" not in route else None
        device = self._back[asked]
        return device is not None and (loose or device == packet.iif)
