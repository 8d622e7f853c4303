# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: a report as text, 80 columns, the verdict first (design.md section 1). Reads only the report document.

from __future__ import annotations

import textwrap
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from .. import _old_flow
from . import _audit_text, _seen_text
from ._phrases import count, explained, listed

Json = t.Any
WIDTH = 80
LABEL = 9
MOST_CAUSES = 10  # shown, of the different ones
MOST_CHANGES = 15
WORDS = {"broken": "BROKEN", "healthy": "HEALTHY", "unknown": "UNKNOWN"}
HOP_WORDS = {"finding": "WRONG", "not_checked": "not checked", "not_reached": "not reached", "ok": "ok", "not_applicable": "not applicable"}


def labelled(label: str, texts: Iterable[str], right: str = "") -> list[str]:
    """Texts wrapped beside a label; `right` stands at the end of the first line."""
    lines: list[str] = []
    for text in texts:
        room = WIDTH - LABEL - (len(right) + 2 if right and not lines else 0)
        wrapped = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        lines += wrapped
    if right and lines:
        lines[0] = lines[0].ljust(WIDTH - LABEL - len(right)) + right
    return [(label if i == 0 else "").ljust(LABEL) + line for i, line in enumerate(lines)]


def endpoint_text(endpoint: Mapping[str, Json]) -> str:
    if endpoint.get("kind") == "pod":
        return f"{endpoint.get('namespace')}/{endpoint.get('name')} on {endpoint.get('node')}"
    if endpoint.get("kind") == "service":
        return f"svc {endpoint.get('namespace')}/{endpoint.get('name')}" + (f" by its port on {endpoint['node']}" if endpoint.get("node") else "")
    return f"node {endpoint.get('name')}" if endpoint.get("kind") == "node" else str(endpoint.get("address"))


def title(report: Mapping[str, Json]) -> list[str]:
    word = WORDS[str(report["verdict"]["outcome"])]
    question = report["question"]
    if question is None:
        return [_audit_text.title(report).ljust(WIDTH - len(word)) + word] if "audit" in report else [word]
    service = str(question.get("protocol")) + (f"/{question['port']}" if question.get("port") else "")
    name = (question.get("service") or {}).get("name")
    service += f", {name}" if name else ""
    left = f"{endpoint_text(question['source'])}  →  {endpoint_text(question['destination'])}, {service}"
    if len(left) + len(word) + 2 <= WIDTH:
        return [left.ljust(WIDTH - len(word)) + word]
    return [endpoint_text(question["source"]).ljust(WIDTH - len(word)) + word, f"  →  {endpoint_text(question['destination'])}, {service}"]


def cause_lines(cause: Mapping[str, Json], findings: Mapping[str, Mapping[str, Json]], number: str = "") -> list[str]:
    label = ("LATENT" if cause.get("severity") == "latent" else "CAUSE" if cause.get("affects_path", True) else "BESIDE") + number
    lines = labelled(label, [str(cause["summary"])], str(cause["confidence"]))
    why = [str(text) for text in cause.get("why") or []]
    if why:
        lines += labelled("", [" ".join(why)])
    evidence = [str(findings[i]["evidence"]) for i in cause.get("roots") or [] if i in findings]
    if evidence:
        lines += labelled("EVIDENCE", evidence[:2])
    members = [findings[i] for i in cause.get("explains") or [] if i in findings]
    if members:
        lines += labelled("EXPLAINS", explained(members))
    remedies = list(cause.get("remedies") or [])
    label = "REPAIR"
    for remedy in remedies:
        if remedy["class"] == "R0":
            lines += labelled(label if label == "REPAIR" and len(remedies) == 1 else "ADVICE", [str(remedy["action"])])
            continue
        text = str(remedy["action"]) + (f", if {remedy['only_if']}" if remedy.get("only_if") else "")
        lines += labelled(label, [text], str(remedy["class"]))
        if (remedy.get("parameters") or {}).get("manifest"):
            lines += [" " * LABEL + line for line in str(remedy["change"]["after"]).splitlines()]
        if remedy.get("way_back"):
            lines += labelled("", [f"way back: {remedy['way_back']}"])
        label = ""
    return lines


def hop_word(hop: Mapping[str, Json], findings: Sequence[Mapping[str, Json]]) -> str:
    name = {"pod": "eth0", "beyond": "outside"}.get(str(hop["kind"]), "")
    if hop["kind"] == "pod":
        name = f"{str(hop['id']).rpartition('/')[2]} eth0"
    elif hop["kind"] == "wire":
        name = "wire"
    elif hop["kind"] in ("veth", "bridge", "tunnel"):
        name = str(hop["device"] or hop["kind"])
    elif hop["kind"] == "node":
        name = str(hop["node"])
    word = HOP_WORDS[str(hop["outcome"])]
    if hop["outcome"] == "finding":
        mine = [f for f in findings if f["check"] in (hop.get("checks") or []) and f["node"] == hop.get("node")]
        if mine:
            first = mine[0]
            end = str(first["check"]).rpartition(".")[2]
            what = str(first["check"]).removeprefix("flannel.").partition(".")[0]
            word = f"{what} {end.upper()}"
            if "/" in str(first["object"]) and first["check"].startswith("route.block"):
                word += f" {first['object']}"
    return f"{name} {word}"


def path_lines(report: Mapping[str, Json]) -> list[str]:
    lines: list[str] = []
    for label, direction in (("PATH", "forward"), ("REPLY", "reverse")):
        hops = report["path"].get(direction) or []
        if hops:
            gone = next((position for position, hop in enumerate(hops) if hop.get("seen") is False), -1)
            words = [hop_word(hop, report["findings"]) + " (NOT SEEN)" * (position == gone) for position, hop in enumerate(hops)]
            lines += labelled(label, [" > ".join(words)])
    return lines


PAIR_WORDS = {"broken": "BROKEN", "healthy": "ok", "unknown": "no fault found"}


def backends(report: Mapping[str, Json]) -> list[str]:
    """Of a Service: each endpoint that was looked at."""
    texts = []
    for pair in report.get("pairs") or []:
        end = pair["destination"]
        where = f"{end['namespace']}/{end['name']} on {end['node']}" if end.get("kind") == "pod" else endpoint_text(end)
        answered = {True: ", answered", False: ", no right answer"}.get(pair.get("answered"), "")
        texts.append(f"{end['address']}:{pair['port']} ({where}): {PAIR_WORDS[str(pair['outcome'])]}{answered}")
    return texts


def service_notes(report: Mapping[str, Json]) -> list[str]:
    """What of a Service decides who answers."""
    return [str(note) for note in ((report.get("question") or {}).get("service") or {}).get("notes") or []]


def probe_lines(report: Mapping[str, Json]) -> list[str]:
    texts = _seen_text.texts(report)
    if not texts and report["question"] is not None:
        texts = ["no packets were sent: what is said here was read, and is unproven"]
    lines = labelled("SEEN", texts) if texts else []
    lines += labelled("WATCHED", _seen_text.watched(report)) + labelled("GRID", _seen_text.grid(report))
    lines += labelled("TRACE", _seen_text.traced(report))
    return lines + labelled("FLOW", _old_flow.lines(report))


def since_texts(report: Mapping[str, Json]) -> list[str]:
    """What changed since the baseline, oldest first."""
    told = report.get("since")
    if not told:
        return []
    if told.get("error"):
        return [f"not compared: {told['error']}"]
    changes = told["changes"]
    day = str(report["created_at"])[:10]
    texts = [f"{told['collected_at']}: {count(len(changes), 'change') if changes else 'nothing changed'}"]
    for change in changes[:MOST_CHANGES]:
        at = str(change["at"] or "").removeprefix(f"{day}T")
        texts.append(f"{at}{' ' if at else ''}{change['node']}: {change['text']}" if change["node"] else f"{at}{' ' if at else ''}{change['text']}")
    if len(changes) > MOST_CHANGES:
        texts.append(f"and {count(len(changes) - MOST_CHANGES, 'more change')} in the report")
    if told["not_compared"]:
        texts.append(f"not compared: {listed(told['not_compared'])}")
    return texts


def indirect(report: Mapping[str, Json]) -> list[str]:
    """The nodes of which only the API told."""
    found = []
    for entry in report["collected"]:
        via = entry.get("via")
        if via:
            how = f"read through {via['pod']}" if via.get("pod") else f"told by CalicoNodeStatus {via.get('object')} of {via.get('updated')}"
            found.append(f"{entry['node']} {via.get('because')}; {how} instead, so nothing of it is certain.")
    return [*found[:5], *([f"and {len(found) - 5} more nodes"] if len(found) > 5 else [])]


def checked_lines(report: Mapping[str, Json]) -> list[str]:
    counts = report["checks"]
    parts = [f"{counts.get('ok', 0)} ok", count(int(counts.get("finding", 0)), "finding")]
    for key, text in (("not_reached", "not reached"), ("not_applicable", "not applicable")):
        if counts.get(key):
            parts.append(f"{counts[key]} {text}")
    lines = labelled("CHECKED", [", ".join(parts)])
    reasons: dict[str, list[Mapping[str, Json]]] = {}
    for entry in report["not_checked"]:
        reasons.setdefault(_generic(entry), []).append(entry)
    if reasons:
        texts = []
        for reason, entries in reasons.items():
            nodes = [str(e["node"]) for e in entries if e.get("node")]
            texts.append(f"{len(entries)}: {reason}" + (f" ({listed(nodes)})" if nodes and not any(n in reason for n in nodes) else ""))
        lines += _hanging("NOT CHECKED", texts)
    return lines


def _hanging(label: str, texts: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for position, text in enumerate(texts):
        head = f"{label} " if position == 0 else " " * LABEL
        lines += textwrap.wrap(text, WIDTH, initial_indent=head, subsequent_indent=" " * LABEL, break_long_words=False, break_on_hyphens=False)
    return lines


def _generic(entry: Mapping[str, Json]) -> str:
    reason = str(entry.get("reason"))
    node = str(entry.get("node"))
    return reason[len(node) + 2 :] if node and reason.startswith(f"{node}: ") else reason


def screen(report: Mapping[str, Json], path: str | None = None, page: str | None = None) -> list[str]:
    """The whole first screen. path, page: the files that hold the report."""
    findings = {str(f["id"]): f for f in report["findings"]}
    verdict = report["verdict"]
    lines = title(report)
    causes, alike = alike_causes(verdict["causes"]) if "audit" in report else (list(verdict["causes"]), {})
    if "audit" in report or not any(cause.get("affects_path", True) for cause in causes):
        lines += labelled("VERDICT", [str(verdict["summary"])])
    for index, cause in enumerate(causes[:MOST_CAUSES], 1):
        lines += cause_lines(cause, findings, f" {index}" if len(causes) > 1 else "")
        if alike.get(id(cause)):
            lines += labelled("", [f"The same on {listed(alike[id(cause)], 6)}."])
    if len(causes) > MOST_CAUSES:
        lines += labelled("", [f"and {count(len(causes) - MOST_CAUSES, 'more cause')} in the report"])
    if report.get("api"):
        said = f"{report['api']['server']} is silent: {report['api']['error']}. Judged from the nodes alone."
        lines += labelled("API", [said, _next_step(str(report["api"]["error"]))])
    lines += labelled("INDIRECT", indirect(report))
    unexplained = [findings[i] for i in verdict["unexplained"] if i in findings]
    if unexplained:
        lines += labelled("UNNAMED", [f"{f['node']}: {f['evidence']}" for f in unexplained[:5]])
        if len(unexplained) > 5:
            lines += labelled("", [f"and {len(unexplained) - 5} more in the report"])
    actionable = "audit" not in report and any(r["class"] in ("R1", "R2") for c in causes for r in c["remedies"])
    if actionable and path:
        lines += labelled("NEXT", [f"ansible-playbook podnet.doctor.remediate -e report={path}"])
    if "audit" in report:
        lines += _audit_text.node_lines(report)
        lines += labelled("SESSIONS", _audit_text.session_lines(report))
    lines += labelled("BACKENDS", backends(report)) + labelled("NOTE", service_notes(report))
    lines += path_lines(report)
    lines += probe_lines(report)
    lines += labelled("SINCE", since_texts(report))
    lines += checked_lines(report)
    if "audit" in report and report.get("no_nodes"):
        lines += labelled("HOSTS", [f"no nodes of this cluster: {listed(report['no_nodes'], 6)}"])
    lines += labelled("YOURS", user_check_texts(report))
    if path:
        lines += labelled("REPORT", [path]) + labelled("PAGE", [page] if page else [])
    return lines


STEPS = (
    ("refuses these credentials", "Renew the credentials: kubectl get nodes must work with the same kubeconfig."),
    ("forbids it", "Give the user the rights of docs/clusterrole.yml."),
    ("refused", "See whether kube-apiserver runs there: crictl ps -a --name kube-apiserver; journalctl -u kubelet."),
)


def _next_step(error: str) -> str:
    """What to do about an API that is silent."""
    words = error.lower()
    return next((step for word, step in STEPS if word in words), "See whether its address is reached from here, and the log of kube-apiserver.")


def alike_causes(causes: Sequence[Mapping[str, Json]]) -> tuple[list[Mapping[str, Json]], dict[int, list[str]]]:
    """The causes, each once where only the node differs, and the other nodes that have it."""
    groups: dict[tuple[str, ...], list[Mapping[str, Json]]] = {}
    for cause in causes:
        node = str(cause["node"])
        said = str(cause["summary"]).replace(node, "") if node else str(cause["summary"])
        groups.setdefault((str(cause["id"]), str(cause.get("severity")), said), []).append(cause)
    return [mine[0] for mine in groups.values()], {id(mine[0]): [str(other["node"]) for other in mine[1:]] for mine in groups.values()}


def user_check_texts(report: Mapping[str, Json]) -> list[str]:
    """Checks that the user added: each that found something, and each that could not look."""
    texts = []
    for entry in report.get("user_checks") or []:
        where = f" on {entry['node']}" if entry.get("node") else ""
        if entry["outcome"] == "finding":
            shown = ", ".join(map(str, entry["matches"])) if isinstance(entry["matches"], list) else str(entry["matches"])
            texts.append(f"{entry['severity']} {entry['id']}{where}: {entry['message']}: {textwrap.shorten(shown, 100)}")
        elif entry["outcome"] == "not_checked":
            texts.append(f"{entry['id']}: not checked, {entry.get('reason')}")
    return texts
