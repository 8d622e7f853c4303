# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the three results of one path_probe as entries of the evidence document. Pure.

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

Json = t.Any
SCHEMA = "podnet.doctor/evidence/1"


def _reason(armed: Mapping[str, Json], fired: Mapping[str, Json], collected: Mapping[str, Json], sent: int) -> str | None:
    """Why nothing can be said about an arrival, None if it can."""
    for result, what in ((armed, "capture"), (fired, "probe"), (collected, "capture")):
        if result.get("unreachable") or result.get("failed") or result.get("skipped"):
            return f"the {what} could not be run: {result.get('msg') or 'no answer'}"
        if result.get("reason"):
            return str(result["reason"])
    if armed.get("armed") is not True or collected.get("captured") is not True:
        return "nothing captured at the far end"
    return None if sent else "no packet was sent"


def entries(
    direction: str,
    source: Mapping[str, Json],
    destination: Mapping[str, Json],
    armed: Mapping[str, Json],
    fired: Mapping[str, Json],
    collected: Mapping[str, Json],
    host: str,
) -> list[dict[str, Json]]:
    """One entry for each protocol.

    source and destination are ``{pod?, node, address}``; armed, fired and collected what path_probe returned (empty if it did
    not run); host is the inventory's name of the node where it was captured.
    """
    seen: Sequence[Mapping[str, Json]] = collected.get("seen") or []
    far = "pod" if destination.get("pod") else "host"
    result = []
    trains = fired.get("fired") or [{"protocol": "icmp", "sent": 0, "replied": 0}]
    for train in trains:
        protocol, sent = train["protocol"], int(train.get("sent") or 0)
        own = [entry for entry in seen if entry.get("protocol") == protocol]
        arrived: bool | None = any(entry.get("requests") for entry in own if entry.get("where") == far)
        reason = _reason(armed, fired, collected, sent) or (train.get("error") if not sent else None)
        if reason and not arrived:
            arrived = None
        probe: dict[str, Json] = {
            "id": str(fired.get("id") or armed.get("id") or ""),
            "direction": direction,
            "protocol": protocol,
            "source": dict(source),
            "destination": {**destination, **({"port": train["port"]} if train.get("port") else {})},
            "sent": sent,
            "replied": int(train.get("replied") or 0),
            "arrived": arrived,
            "seen": [
                {"host": host, "node": destination.get("node"), **{name: entry[name] for name in ("where", "ifname", "requests", "replies")}} for entry in own
            ],
        }
        if arrived is None:
            probe["reason"] = reason
        for name in ("rtt", "error", "refused"):
            if train.get(name):
                probe[name] = train[name]
        result.append(probe)
    return result


def document(probes: Sequence[Mapping[str, Json]], collected_at: str) -> dict[str, Json]:
    """The evidence document."""
    return {"schema": SCHEMA, "collected_at": collected_at, "probes": [dict(probe) for probe in probes]}
