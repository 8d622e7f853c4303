# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: a report as one page of HTML that needs nothing else: no script, no font, no other file. Reads only the report document.

from __future__ import annotations

import functools
import json
import pathlib
import typing as t
from collections.abc import Mapping, Sequence

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from .. import _old_flow
from .._json import Json, objects
from .._screen import printable
from . import _audit_text, _seen_text, _text
from ._export import checked
from ._phrases import explained

MOST_ROWS = 500  # of a table


def html(report: Json) -> str:
    """The page. Errors: ValueError, where it is no report."""
    report = checked(report)
    findings = {str(finding["id"]): finding for finding in objects(report.get("findings"))}
    causes, alike = _text.alike_causes(report["verdict"]["causes"]) if "audit" in report else (list(report["verdict"]["causes"]), {})
    return _template().render(
        report=report,
        subject=_subject(report),
        causes=[{"cause": cause, "alike": alike.get(id(cause), []), **_grounds(cause, findings)} for cause in causes],
        lanes=[lane for lane in (_lane(report, "forward", "There"), _lane(report, "reverse", "And back")) if lane["nodes"]],
        told=[(name, texts) for name, texts in _told(report) if texts],
        audit=_audit(report) if "audit" in report else None,
        findings=sorted(findings.values(), key=lambda finding: (finding.get("severity") != "critical", str(finding.get("node")), str(finding.get("check")))),
        not_checked=_together(objects(report.get("not_checked"))),
        most=MOST_ROWS,
    )


@functools.lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown)
    return environment.from_string(pathlib.Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8"))


def _shown(value: t.Any) -> t.Any:
    """What stands in the page for a value of the report."""
    if value is None:
        return ""
    if isinstance(value, Mapping) and not any(isinstance(inner, (Mapping, list)) for inner in value.values()):
        return printable(", ".join(f"{name} {inner}" for name, inner in value.items() if inner is not None))
    if isinstance(value, (Mapping, list)):
        return printable(json.dumps(value, sort_keys=True))
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _subject(report: Mapping[str, Json]) -> str:
    """What was asked: the ends, or the whole cluster."""
    question = report.get("question")
    if question is None:
        return _audit_text.title(report) if "audit" in report else "no question"
    port = f"/{question['port']}" if question.get("port") else ""
    return f"{_text.endpoint_text(question['source'])} → {_text.endpoint_text(question['destination'])}, {question.get('protocol')}{port}"


def _audit(report: Mapping[str, Json]) -> dict[str, list[str]]:
    return {"nodes": [line[_text.LABEL :] for line in _audit_text.node_lines(report)], "sessions": _audit_text.session_lines(report)}


def _grounds(cause: Mapping[str, Json], findings: Mapping[str, Mapping[str, Json]]) -> dict[str, list[str]]:
    members = [findings[i] for i in cause.get("explains") or [] if i in findings]
    evidence = [str(findings[i]["evidence"]) for i in cause.get("roots") or [] if i in findings]
    return {"evidence": list(dict.fromkeys(evidence)), "explains": explained(members)}


def _lane(report: Mapping[str, Json], direction: str, title: str) -> dict[str, t.Any]:
    """The hops of one direction, those of a node together; what lies between nodes stands alone."""
    nodes: list[dict[str, t.Any]] = []
    hops = objects(report.get("path", {}).get(direction))
    listened = _listened(report, direction)
    for hop in hops:
        node = None if hop.get("kind") == "wire" else hop.get("node")
        if not nodes or nodes[-1]["node"] != node or node is None:
            nodes.append({"node": node, "hops": []})
        kind = "outside" if hop.get("kind") == "beyond" else str(hop.get("kind"))
        packets = "" if hop.get("seen") is None else "packets seen" if hop["seen"] else "not seen"
        where = listened.get(str(hop.get("id")))
        packets += f" on {where}" if packets and where and where != hop.get("device") else ""
        word = _text.hop_word(hop, report["findings"])
        nodes[-1]["hops"].append({"kind": kind, "word": word, "outcome": hop.get("outcome"), "packets": packets, "lost": hop.get("seen") is False})
    return {"title": title, "nodes": nodes}


def _listened(report: Mapping[str, Json], direction: str) -> dict[str, str]:
    """Hop to the device on which its packets were waited for; a tunnel's are those on the NIC below."""
    hops = [hop for probe in objects(report.get("probes")) if probe.get("direction") == direction for hop in objects(probe.get("hops"))]
    return {str(hop.get("hop")): str(hop["device"]) for hop in hops if hop.get("device")}


def _told(report: Mapping[str, Json]) -> Sequence[tuple[str, list[str]]]:
    """What else the screen says, under its own words."""
    sent = _seen_text.texts(report) or (["No packets were sent: what is said here was read, and is unproven."] if report.get("question") else [])
    return [
        ("Packets sent", sent), ("Watched", _seen_text.watched(report)), ("Who reaches whom", _seen_text.grid(report)),
        ("Rules that the packets met", _seen_text.traced(report)),
        ("The existing flow", _old_flow.lines(report)), ("Endpoints of the Service", _text.backends(report)), ("Notes", _text.service_notes(report)),
        ("Changes", _text.since_texts(report)), ("Known only indirectly", _text.indirect(report)), ("Your own checks", _text.user_check_texts(report)),
    ]  # fmt: skip


def _together(entries: Sequence[Mapping[str, Json]]) -> list[dict[str, t.Any]]:
    """What was not checked, by the reason."""
    found: dict[str, list[Mapping[str, Json]]] = {}
    for entry in entries:
        found.setdefault(str(entry.get("reason")), []).append(entry)
    return [{"reason": reason, "checks": sorted({str(entry.get("check")) for entry in mine}), "count": len(mine)} for reason, mine in found.items()]
