# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what a node's own packet filters do with one packet from or to the node itself, as far as that can be told.

from __future__ import annotations

import typing as t
from dataclasses import replace

from ._netfilter_hooks import Filters
from ._netfilter_rules import (
    ACCEPT,
    CONFIRMED,
    DROP,
    DST_NAT_DONE,
    IPIP,
    REJECT,
    SEEN_REPLY,
    SRC_NAT_DONE,
    TCP,
    UDP,
    Base,
    Packet,
    Run,
    Step,
    Unknown,
    every_way,
)

Direction = t.Literal["input", "output"]
HOOKS: dict[Direction, tuple[str, ...]] = {"input": ("ingress", "prerouting", "input"), "output": ("output", "postrouting")}


def segment(way: Direction, src: str, dst: str, sport: int | None, dport: int | None, device: str | None, first: bool) -> Packet:
    """A segment of a TCP handshake that is not translated: its first, or the answer. device: None where it is not known."""
    status = DST_NAT_DONE if first else DST_NAT_DONE | SRC_NAT_DONE | CONFIRMED | SEEN_REPLY
    return Packet(
        TCP, src, dst, sport, dport, flags=frozenset({"SYN"} if first else {"SYN", "ACK"}), state="NEW" if first else "ESTABLISHED", status=status,
        direction="original" if first else "reply", ctmark=None, iif=device if way == "input" else "", oif=device if way == "output" else "",
    )  # fmt: skip


def outer(way: Direction, src: str, dst: str, port: int | None, device: str | None) -> Packet:
    """The packet of one node that carries pods' packets to another: VXLAN to a UDP port, IPIP (RFC 2003) where there is none."""
    return Packet(
        IPIP if port is None else UDP, src, dst, None, port, state="NEW", status=DST_NAT_DONE, direction="original", ctmark=None,
        iif=device if way == "input" else "", oif=device if way == "output" else "",
    )  # fmt: skip


def end_of(packet: Packet, way: Direction, filters: Filters) -> Step | None:
    """The rule or policy that certainly ends the packet; None if nothing does, or nothing certainly does."""
    last: Step | None = None
    try:
        for run, ended in every_way(lambda run: _walk(replace(packet), way, filters, run)):
            if not ended:
                return None
            last = last or run.steps[-1]
    except Unknown:
        return None
    return last


def _walk(packet: Packet, way: Direction, filters: Filters, run: Run) -> bool:
    for hook in HOOKS[way]:
        for stage in filters.stages[hook]:
            if not isinstance(stage, Base) or (stage.device is not None and stage.device != packet.iif):
                continue
            decision = run.through(stage, packet)
            if decision.verdict in (DROP, REJECT):
                return True
            if decision.verdict != ACCEPT:
                raise Unknown(decision.verdict)
    return False
