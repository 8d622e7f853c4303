# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: checks that users add as data (design.md section 5): a JMESPath expression over a document.

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from ._documents import Documents

try:
    import jmespath
    from jmespath.exceptions import JMESPathError
except ImportError:  # said in one sentence when a check is asked for
    jmespath = None  # type: ignore[assignment]

    class JMESPathError(Exception):  # type: ignore[no-redef]
        pass


Json = t.Any
SEVERITIES = ("critical", "warning", "info")
DOCUMENTS = ("cluster", "node", "report")
FIELDS = {"id", "severity", "message", "expression", "document"}


class UserCheckError(Exception):
    """A check that cannot be run; the text names the check and what is wrong with it."""


def _compiled(check: Mapping[str, Json]) -> tuple[str, str, str, str, t.Any]:
    name = check.get("id")
    if not isinstance(name, str) or not name:
        raise UserCheckError(f"a check of yours has no id: {dict(check)!r}; give it id, severity, message and expression")
    unknown = sorted(set(check) - FIELDS)
    if unknown:
        raise UserCheckError(f"check {name}: unknown field {', '.join(unknown)}; known are {', '.join(sorted(FIELDS))}")
    expression, message = check.get("expression"), check.get("message")
    if not isinstance(expression, str) or not isinstance(message, str):
        raise UserCheckError(f"check {name}: expression and message must both be texts")
    severity, document = check.get("severity", "warning"), check.get("document", "node")
    if severity not in SEVERITIES:
        raise UserCheckError(f"check {name}: severity {severity!r} is not one of {', '.join(SEVERITIES)}")
    if document not in DOCUMENTS:
        raise UserCheckError(f"check {name}: document {document!r} is not one of {', '.join(DOCUMENTS)}")
    if jmespath is None:
        raise UserCheckError(f"check {name} needs the Python library jmespath on the controller: pip install jmespath")
    try:
        return name, severity, message, document, jmespath.compile(expression)
    except JMESPathError as exc:
        raise UserCheckError(f"check {name}: its expression is no JMESPath: {' '.join(str(exc).split())}") from exc


def run_checks(checks: Iterable[Mapping[str, Json]], documents: Documents, report: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Each check on each document of its kind. What the expression yields, if anything but null, false or empty, is a finding.

    Returns [{id, severity, message, node, matches, outcome: finding | ok | not_checked, reason?}]. Errors: UserCheckError.
    """
    results: list[dict[str, Json]] = []
    for name, severity, message, kind, expression in [_compiled(check) for check in checks]:
        subjects: list[tuple[str, t.Any]]
        if kind == "node":
            subjects = [(facts.name, facts.whole) for facts in documents.nodes.values()]
        else:
            subjects = [("", documents.cluster.document if kind == "cluster" else report)]
        for node, document in subjects:
            entry: dict[str, Json] = {"id": name, "severity": severity, "message": message, "node": node, "matches": None}
            if document is None:
                results.append({**entry, "outcome": "not_checked", "reason": f"{node} {documents.node(node).reason}"})
                continue
            try:
                found = expression.search(document)
            except JMESPathError as exc:
                raise UserCheckError(f"check {name}: its expression fails on {node or kind}: {' '.join(str(exc).split())}") from exc
            hit = found is not None and found is not False and found not in ([], {}, "")
            results.append({**entry, "outcome": "finding" if hit else "ok", "matches": found if hit else None})
    return results
