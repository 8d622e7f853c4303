# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: a report in the forms that other programs read: JUnit XML, the text format of Prometheus, Markdown.

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

from .._json import Json, as_mapping, objects
from .._screen import printable

SCHEMA = "podnet.doctor/report/1"
OUTCOMES = ("broken", "healthy", "unknown")
SEVERITIES = ("critical", "warning", "latent")
MOST_ROWS = 50  # of a table for people
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~<>&@-])")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]


def checked(report: Json) -> Mapping[str, Json]:
    """The report itself. Errors: ValueError, where it is none."""
    if not isinstance(report, Mapping) or report.get("schema") != SCHEMA:
        found = report.get("schema") if isinstance(report, Mapping) else type(report).__name__
        raise ValueError(f"expected a {SCHEMA} document, not {found!r}")
    return report


def subject(report: Mapping[str, Json]) -> str:
    """What was asked, in a few words."""
    question = report.get("question")
    if not isinstance(question, Mapping):
        return "whole cluster"
    port = f" {question.get('protocol')}/{question['port']}" if question.get("port") else f" {question.get('protocol')}"
    ends = (str(as_mapping(question.get(end)).get("asked")) for end in ("source", "destination"))
    return " to ".join(ends) + port


def _of(report: Mapping[str, Json]) -> Mapping[str, Json]:
    return as_mapping(report.get("verdict"))


# ---------------------------------------------------------------- JUnit XML


def junit(report: Json) -> str:
    """One test for the verdict, one for each finding, one for each check that was right everywhere; what was not checked is skipped, never passed."""
    report = checked(report)
    verdict, findings = _of(report), objects(report.get("findings"))
    cases = [_verdict_case(report, verdict)]
    for finding in findings:
        case = _case(f"{finding.get('check')} {finding.get('node')} {finding.get('object')}".strip(), finding.get("check"))
        failure = ElementTree.SubElement(case, "failure", message=_xml(finding.get("evidence")), type=_xml(finding.get("severity")))
        failure.text = _xml(f"expected: {finding.get('expected')}\nactual: {finding.get('actual')}\n{finding.get('docs')}")
        cases.append(case)
    wrong = {finding.get("check") for finding in findings}
    untold = objects(report.get("not_checked"))
    missing = {entry.get("check") for entry in untold}
    for entry in objects(report.get("check_list")):
        if entry.get("outcome") == "ok" and entry.get("check") not in wrong | missing:
            cases.append(_case(f"{entry.get('check')}: {entry.get('compared')} right", entry.get("check")))
    for entry in untold:
        case = _case(f"{entry.get('check')} {entry.get('node')} {entry.get('object')}".strip(), entry.get("check"))
        ElementTree.SubElement(case, "skipped", message=_xml(f"not checked: {entry.get('reason')}"))
        cases.append(case)
    counts = {name: str(sum(case.find(tag) is not None for case in cases)) for name, tag in
              (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))}  # fmt: skip
    attributes = {"name": _xml(f"podnet.doctor {subject(report)}"), "tests": str(len(cases)), **counts}
    suite = ElementTree.Element("testsuite", {**attributes, "timestamp": _xml(report.get("created_at")).removesuffix("Z")})
    suite.extend(cases)
    suites = ElementTree.Element("testsuites", attributes)
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _verdict_case(report: Mapping[str, Json], verdict: Mapping[str, Json]) -> ElementTree.Element:
    case = _case(subject(report), "verdict")
    if verdict.get("outcome") != "healthy":
        broken = verdict.get("outcome") == "broken"
        told = ElementTree.SubElement(case, "failure" if broken else "error", message=_xml(verdict.get("summary")), type=_xml(verdict.get("outcome")))
        lines = [f"{cause.get('id')} ({cause.get('confidence')}): {cause.get('summary')}" for cause in objects(verdict.get("causes"))]
        told.text = "\n".join(map(_xml, lines))
    return case


def _case(name: str, group: Json) -> ElementTree.Element:
    return ElementTree.Element("testcase", name=_xml(name), classname=_xml(f"podnet.doctor.{group}"))


def _xml(text: Json) -> str:
    return _NOT_IN_XML.sub("\ufffd", "" if text is None else str(text))


# ---------------------------------------------------------------- Prometheus


HELP = {
    "podnet_report_outcome": "1 for the outcome of the report, 0 for the others.",
    "podnet_report_created_timestamp_seconds": "When the report was made.",
    "podnet_report_cause": "A root cause that the report names.",
    "podnet_report_findings": "Findings by their severity.",
    "podnet_report_facts": "Facts that were looked at, by what became of them.",
    "podnet_report_nodes": "Nodes that were asked, by whether they were seen.",
    "podnet_report_unexplained": "Findings without a named cause.",
}


def prometheus(reports: Json, labels: Json = None) -> str:
    """Gauges in the text format 0.0.4, for the folder of a node exporter. Of several reports, or of one; labels are put on every sample."""
    given = _labels(labels)
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {name: {} for name in HELP}
    for report in [reports] if isinstance(reports, Mapping) else list(reports):
        for name, own, value in _samples(checked(report)):
            found[name][tuple(sorted({**own, **given}.items()))] = value
    lines = []
    for name, samples in found.items():
        lines += [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge"] if samples else []
        lines += [f"{name}{_braced(own)} {value:.0f}" for own, value in samples.items()]
    return "\n".join(lines) + "\n"


def _samples(report: Mapping[str, Json]) -> Iterable[Sample]:
    about, verdict = {"question": subject(report)}, _of(report)
    for outcome in OUTCOMES:
        yield "podnet_report_outcome", {**about, "outcome": outcome}, float(verdict.get("outcome") == outcome)
    yield "podnet_report_created_timestamp_seconds", about, _seconds(report.get("created_at"))
    for cause in objects(verdict.get("causes")):
        own = {"cause": cause.get("id"), "fault": cause.get("fault") or "", "node": cause.get("node"), "confidence": cause.get("confidence"),
               "severity": cause.get("severity")}  # fmt: skip
        yield "podnet_report_cause", {**about, **{key: str(value) for key, value in own.items()}}, 1.0
    findings = [finding.get("severity") for finding in objects(report.get("findings"))]
    for severity in SEVERITIES:
        yield "podnet_report_findings", {**about, "severity": severity}, float(findings.count(severity))
    for outcome, number in as_mapping(report.get("checks")).items():
        yield "podnet_report_facts", {**about, "outcome": str(outcome)}, float(number)
    seen = [bool(entry.get("sections")) for entry in objects(report.get("collected"))]
    for word, value in (("true", True), ("false", False)):
        yield "podnet_report_nodes", {**about, "seen": word}, float(seen.count(value))
    yield "podnet_report_unexplained", about, float(len(verdict.get("unexplained") or ()))


def _labels(given: Json) -> dict[str, str]:
    result = {}
    for name, value in as_mapping(given).items():
        if not _LABEL.fullmatch(str(name)):
            raise ValueError(f"{name!r} is no name of a label")
        result[str(name)] = str(value)
    return result


def _braced(labels: Iterable[tuple[str, str]]) -> str:
    escaped = {name: text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') for name, text in labels}
    return "{" + ",".join(f'{name}="{text}"' for name, text in escaped.items()) + "}"


def _seconds(text: Json) -> float:
    return datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()


# ---------------------------------------------------------------- Markdown


def markdown(report: Json) -> str:
    """A summary for a ticket: the verdict, its causes with their repairs, the findings, and what was not checked."""
    report = checked(report)
    verdict, findings, untold = _of(report), objects(report.get("findings")), objects(report.get("not_checked"))
    lines = [f"## {_plain(subject(report))}: {_plain(verdict.get('outcome')).upper()}", "", _plain(verdict.get("summary")), ""]
    for cause in objects(verdict.get("causes")):
        lines += [f"### {_plain(cause.get('summary'))}", ""]
        fault = f", {_plain(cause['fault'])}" if cause.get("fault") else ""
        lines.append(f"{_code(cause.get('id'))}{fault}, {_plain(cause.get('confidence'))}; it explains {len(cause.get('explains') or ())} findings.")
        lines += ["", *(f"* {_plain(why)}" for why in cause.get("why") or ())]
        for remedy in objects(cause.get("remedies")):
            back = f" Way back: {_plain(remedy['way_back'])}." if remedy.get("way_back") else ""
            lines.append(f"* Repair ({_plain(remedy.get('class'))}): {_plain(remedy.get('action'))}.{back}")
        lines.append("")
    if findings:
        lines += _table(("check", "node", "object", "evidence"), findings)
    if untold:
        lines += ["Not checked:", "", *_table(("check", "node", "object", "reason"), untold)]
    counts = ", ".join(f"{number} {str(name).replace('_', ' ')}" for name, number in as_mapping(report.get("checks")).items())
    lines.append(f"Facts: {_plain(counts)}. Report {_code(report.get('id'))} of {_plain(report.get('created_at'))}.")
    return "\n".join(lines) + "\n"


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Json]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    lines += [f"| {' | '.join(_plain(row.get(column)) for column in columns)} |" for row in rows[:MOST_ROWS]]
    return [*lines, *([f"\nand {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else []), ""]


def _plain(text: Json) -> str:
    """Untrusted text as nothing but text: no markup, no HTML, one line."""
    return _MARKUP.sub(r"\\\1", printable("" if text is None else text)).replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")


def _code(text: Json) -> str:
    return "`" + printable(text).replace("`", "'") + "`"
