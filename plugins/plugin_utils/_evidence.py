# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: which probes are sent for a question, and what they registered, as one evidence document.

from __future__ import annotations

import datetime
import secrets
import typing as t
from collections.abc import Iterator, Mapping

from ._answers import why_nothing
from ._question import Endpoint, Question

Json = t.Any
SCHEMA = "podnet.doctor/evidence/1"
LIMIT_SECONDS = 90  # an armed capture ends by itself after this
PHASES = ("arm", "fire", "collect")
REGISTERED = {"arm": "diagnose_armed", "fire": "diagnose_fired", "collect": "diagnose_seen"}


def directions(question: Question) -> Iterator[tuple[str, Endpoint, Endpoint]]:
    yield "forward", question.source, question.destination
    yield "reverse", question.destination, question.source


def _pod(end: Endpoint) -> dict[str, Json] | None:
    return {"ifname": end.ifname, "uid": end.uid, "ip": end.address} if end.kind == "pod" else None


def probes(question: Question, hosts: Mapping[str, str]) -> dict[str, dict[str, list[dict[str, Json]]]]:
    """Inventory host -> phase -> arguments for path_probe. The far end listens, the near end sends; a direction without a far end of ours is only sent."""
    result: dict[str, dict[str, list[dict[str, Json]]]] = {}

    def add(host: str | None, phase: str, arguments: dict[str, Json]) -> None:
        if host is not None:
            result.setdefault(host, {name: [] for name in PHASES})[phase].append(arguments)

    for direction, near, far in directions(question):
        sender, listener = hosts.get(near.node or ""), hosts.get(far.node or "")
        if sender is None or (listener is None and direction == "reverse"):
            continue
        common = {"id": secrets.token_hex(16), "direction": direction}
        if listener is not None:
            add(listener, "arm", {**common, "pod": _pod(far), "limit": LIMIT_SECONDS})
            add(listener, "collect", {**common, "pod": _pod(far)})
        port = question.port if direction == "forward" and question.protocol == "tcp" else None
        add(sender, "fire", {**common, "pod": _pod(near), "dst": far.address, "port": port, "source": near.address if near.kind == "pod" else None})
    return result


def _results(variables: Mapping[str, t.Any], hosts: Mapping[str, str]) -> Iterator[tuple[str, str, str, Mapping[str, Json]]]:
    """(host, phase, direction, module result) of everything that the probe tasks registered."""
    for host in dict.fromkeys(hosts.values()):
        raw = variables["hostvars"].raw_get(host)
        for phase, name in REGISTERED.items():
            registered = raw.get(name)
            if not isinstance(registered, Mapping):
                continue
            for entry in registered.get("results") or []:
                item = entry.get("diagnose_probe_item") if isinstance(entry, Mapping) else None
                if isinstance(item, Mapping) and not entry.get("skipped"):
                    yield host, phase, str(item.get("direction")), entry


def sent_to(variables: Mapping[str, t.Any], hosts: Mapping[str, str]) -> int:
    """How many tasks of the probes the nodes were given."""
    return sum(1 for entry in _results(variables, hosts) if entry)


def gather(variables: Mapping[str, t.Any], question: Question, hosts: Mapping[str, str]) -> dict[str, Json] | None:
    """The evidence document, None where no packets were sent."""
    found: dict[tuple[str, str], Mapping[str, Json]] = {}
    for _host, phase, direction, entry in _results(variables, hosts):
        found[(direction, phase)] = entry
    if not any(phase == "fire" for _direction, phase in found):
        return None
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return document(question, {key: dict(value) for key, value in found.items()}, hosts, now)


def document(
    question: Question, found: Mapping[tuple[str, str], Mapping[str, Json]], hosts: Mapping[str, str], collected_at: str
) -> dict[str, Json]:  # fmt: skip
    """found: (direction, phase) -> result of path_probe."""
    entries: list[dict[str, Json]] = []
    asked_protocol = question.protocol if question.protocol != "tcp" or question.port is not None else "icmp"
    for direction, near, far in directions(question):
        fired, armed, seen = (found.get((direction, phase), {}) for phase in ("fire", "arm", "collect"))
        if not fired:
            continue
        trouble = _trouble(fired, near) or (f"{far.label} is outside of the cluster, nobody listens there" if far.node is None else _trouble(armed, far))
        if not trouble and len({part.get("id") for part in (fired, armed, seen)}) != 1:
            trouble = "both ends were not asked at the same time (serial, or hosts of different batches)"
        if not trouble and not armed.get("armed"):
            trouble = str(armed.get("reason") or f"no capture was armed at {far.label}")
        if not trouble and not seen.get("captured"):
            trouble = _trouble(seen, far) or str(seen.get("reason") or f"the capture at {far.label} told nothing")
        for train in fired.get("fired") or [{"protocol": "icmp", "sent": 0, "replied": 0}]:
            entries.append({**_entry(direction, near, far, train, seen, trouble, hosts, asked_protocol, fired), **_flapped(far, armed, seen)})
    return {"schema": SCHEMA, "collected_at": collected_at, "probes": entries}


def _flapped(far: Endpoint, armed: Mapping[str, Json], seen: Mapping[str, Json]) -> dict[str, Json]:
    """Whether the host's link to the pod came or went while the capture listened."""
    before, after = armed.get("carrier_changes"), seen.get("carrier_changes")
    if not isinstance(before, int) or not isinstance(after, int) or after <= before:
        return {}
    return {"flapped": {"node": far.node, "ifname": far.ifname, "changes": after - before}}


def _trouble(result: Mapping[str, Json], end: Endpoint) -> str:
    if not result:
        return f"the node of {end.label} was not reached"
    if result.get("unreachable") or result.get("failed"):
        return f"{end.node} {why_nothing(result)}"
    if result.get("reason") and not result.get("fired") and not result.get("armed") and not result.get("captured"):
        return str(result["reason"])
    return ""


def _entry(
    direction: str, near: Endpoint, far: Endpoint, train: Mapping[str, Json], seen: Mapping[str, Json], trouble: str, hosts: Mapping[str, str],
    asked_protocol: str, fired: Mapping[str, Json],
) -> dict[str, Json]:  # fmt: skip
    protocol = str(train.get("protocol"))
    sights = [
        {"host": hosts.get(far.node or "", ""), "node": far.node, "where": s.get("where"), "ifname": s.get("ifname"), "requests": s.get("requests", 0),
         "replies": s.get("replies", 0)}
        for s in seen.get("seen") or []
        if s.get("protocol") == protocol
    ]  # fmt: skip
    end = "pod" if far.kind == "pod" else "host"
    sent = int(train.get("sent") or 0)
    arrived: bool | None = None
    if not trouble and sent:
        arrived = any(s["requests"] for s in sights if s["where"] == end)
    entry: dict[str, Json] = {
        "id": f"{direction}-{protocol}", "direction": direction, "protocol": protocol, "answers_question": protocol == asked_protocol,
        "source": {"pod": near.label if near.kind == "pod" else None, "node": near.node, "address": near.address},
        "destination": {"pod": far.label if far.kind == "pod" else None, "node": far.node, "address": far.address, "port": train.get("port")},
        "sent": sent, "replied": int(train.get("replied") or 0), "refused": int(train.get("refused") or 0), "arrived": arrived, "seen": sights,
        **{name: train[name] for name in ("rtt", "error") if train.get(name)},
    }  # fmt: skip
    if arrived is None:
        entry["reason"] = trouble or str(fired.get("reason") or train.get("error") or "nothing could be sent")
    return entry
