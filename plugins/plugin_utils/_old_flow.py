# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: one connection that is there already, as both nodes track it: whether it goes on, and whether a new one would begin.

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ..module_utils._address import canonical
from ._documents import Documents
from ._json import Json, NotCollected, as_list, as_mapping, objects
from ._packet_walk import Walked, Walks, flow_of
from ._question import BadQuestion, Question

FLOW = re.compile(r"(?P<protocol>tcp|udp)/(?P<source>.+):(?P<sport>\d{1,5})-(?P<destination>.+):(?P<dport>\d{1,5})", re.ASCII)
WORDS = {"works": "passes", "timeout": "is dropped", "refused": "is refused", "eperm": "is refused to the sender", "unknown": "cannot be told"}


@dataclass(frozen=True)
class Named:
    """A connection by its five fields."""

    protocol: str
    src: str
    sport: int
    dst: str
    dport: int

    @property
    def text(self) -> str:
        return f"{self.protocol}/{_bracketed(self.src)}:{self.sport}-{_bracketed(self.dst)}:{self.dport}"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def parse(text: str) -> Named:
    """`tcp/10.244.1.5:43210-10.244.2.7:8080`. Errors: BadQuestion."""
    match = FLOW.fullmatch(text.strip())
    ends = [canonical(match[name].strip("[]")) for name in ("source", "destination")] if match else []
    ports = [int(match[name]) for name in ("sport", "dport")] if match else []
    if match is None or None in ends or not all(0 < port < 65536 for port in ports):
        raise BadQuestion(f"flow: {text[:80]!r} is no connection like tcp/10.244.1.5:43210-10.244.2.7:8080")
    return Named(match["protocol"], str(ends[0]), ports[0], str(ends[1]), ports[1])


def _entry(documents: Documents, node: str, named: Named) -> tuple[Mapping[str, Json] | None, str]:
    """What a node tracks of it, or why that is not known."""
    try:
        entries = objects(as_mapping(documents.node(node).section("conntrack")).get("entries"))
    except NotCollected as exc:
        return None, exc.reason
    wanted = (named.protocol, named.src, named.sport, named.dst, named.dport)
    for entry in entries:
        reply = as_mapping(entry.get("reply"))
        held = tuple(entry.get(name) for name in ("protocol", "src", "sport", "dst", "dport"))
        answered = (entry.get("protocol"), reply.get("dst"), reply.get("dport"), reply.get("src"), reply.get("sport"))
        if wanted in (held, answered):
            return entry, ""
    return None, ""


def alive(entry: Mapping[str, Json]) -> bool:
    """Whether both ends have been heard, and it was not closed."""
    return "seen_reply" in as_list(entry.get("flags")) and entry.get("state", "ESTABLISHED") in ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT")


def _told(entry: Mapping[str, Json]) -> str:
    reply = as_mapping(entry.get("reply"))
    led = f", led to {reply.get('src')}:{reply.get('sport')}" if "dst_nat" in as_list(entry.get("flags")) else ""
    heard = "both ways" if "seen_reply" in as_list(entry.get("flags")) else "without an answer"
    return f"{entry.get('state', 'tracked')} {heard}{led}, forgotten in {entry.get('timeout')} s"


def look_up(documents: Documents, question: Question) -> dict[str, Json]:
    """The `flow` of a report: {flow, nodes: [{node, entry?, reason?, text}], established, new, text}."""
    named, pair = parse(question.flow), question.lead
    nodes: list[dict[str, Json]] = []
    living = False
    for node in pair.nodes:
        entry, reason = _entry(documents, node, named)
        living = living or (entry is not None and alive(entry))
        text = reason or (_told(entry) if entry is not None else "not tracked")
        nodes.append({"node": node, "text": text, **({"entry": dict(entry)} if entry is not None else {}), **({"reason": reason} if reason else {})})
    walks = Walks(documents.collected())
    walked: dict[str, Walked] = {}
    try:
        walked = {name: walks.walk(flow_of(pair), established=name == "established") for name in ("established", "new")}
    except NotCollected as exc:
        return {"flow": named.text, "nodes": nodes, "established": "unknown", "new": "unknown", "text": f"Whether it passes cannot be told: {exc.reason}."}
    old, new = walked["established"], walked["new"]
    return {"flow": named.text, "nodes": nodes, "established": old.verdict, "new": new.verdict, "text": _text(living, nodes, old, new)}


def _text(living: bool, nodes: t.Sequence[Mapping[str, Json]], old: Walked, new: Walked) -> str:
    if not any("entry" in entry for entry in nodes):
        known = "No node tracks it: it has ended, or never began." if not any("reason" in entry for entry in nodes) else "Whether it lives is not known."
        return f"{known} A new one {WORDS[new.verdict]}" + (f": {new.reason}." if new.verdict != "works" else " the packet filters.")
    if old.verdict == "works" and new.verdict not in ("works", "unknown"):
        return f"{'It lives' if living else 'It was let in'}, and a new one {WORDS[new.verdict]}: {new.reason}."
    if old.verdict not in ("works", "unknown"):
        return f"It {WORDS[old.verdict]}, too: {old.reason}."
    if "unknown" in (old.verdict, new.verdict):
        return f"Whether a new one passes cannot be told: {(new if new.verdict == 'unknown' else old).reason}."
    return "It passes the packet filters, as a new one would."


def lines(report: Mapping[str, Json]) -> list[str]:
    """The flow on the screen."""
    told = as_mapping(report.get("flow"))
    return [f"{told['flow']}: {told['text']}", *(f"{entry['node']}: {entry['text']}" for entry in objects(told.get("nodes")))] if told else []
