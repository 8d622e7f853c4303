# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the report of an audit has and that of a question has not, as text: its title, the nodes, the sessions.

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ._phrases import count, listed

Json = t.Any
MOST_ROWS = 12
COLUMNS = (("sessions", "BGP"), ("routes", "routes"), ("pods", "pods"))


def title(report: Mapping[str, Json]) -> str:
    rows = report["audit"]["nodes"]
    unseen = [row for row in rows if not row["seen"]]
    return f"whole cluster, {count(len(rows), 'node')}" + (f", {len(rows) - len(unseen)} seen" if unseen else "")


def _right(row: Mapping[str, Json]) -> bool:
    return bool(row["seen"]) and not row["findings"] and all(row[column]["right"] == row[column]["of"] for column, _head in COLUMNS)


def _cell(row: Mapping[str, Json], column: str) -> str:
    if not row[column]["of"]:
        return "-"
    return f"{row[column]['right']}/{row[column]['of']}" if row["seen"] else "?"


def node_lines(report: Mapping[str, Json]) -> list[str]:
    """Of the nodes, those that are not all right, the worst first, and how many there are besides."""
    rows: Sequence[Mapping[str, Json]] = report["audit"]["nodes"]
    wrong = sorted((row for row in rows if not _right(row)), key=lambda row: (-row["findings"], row["seen"], row["node"]))
    texts = []
    if wrong:
        shown = [("node", "announces", *(head for _column, head in COLUMNS), "findings")]
        for row in wrong[:MOST_ROWS]:
            findings = str(row["findings"]) if row["seen"] else "NOT SEEN"
            shown.append((str(row["node"]), str(row["address"] or "-"), *(_cell(row, column) for column, _head in COLUMNS), findings))
        widths = [max(len(line[at]) for line in shown) for at in range(len(shown[0]))]
        texts += ["  ".join(word.ljust(width) for word, width in zip(line, widths)).rstrip() for line in shown]
    if len(wrong) > MOST_ROWS:
        texts.append(f"and {len(wrong) - MOST_ROWS} more that are not all right")
    good = len(rows) - len(wrong)
    if good:
        texts.append(f"{count(good, 'node')} all right" + (f" ({listed([str(row['node']) for row in rows if _right(row)])})" if wrong else ""))
    return [("NODES" if at == 0 else "").ljust(9) + text for at, text in enumerate(texts)]


def session_lines(report: Mapping[str, Json]) -> list[str]:
    """The dead sessions as both sides see them."""
    dead = report["audit"]["sessions"]
    texts = []
    for entry in dead[:MOST_ROWS]:
        said = [f"{node} {_said(word)}" for node, word in entry["said"].items()]
        texts.append(f"{' - '.join(entry['ends'])}{' (IPv6)' if entry['family'] == 'ipv6' else ''}: {'; '.join(said)}")
    if len(dead) > MOST_ROWS:
        texts.append(f"and {len(dead) - MOST_ROWS} more sessions dead")
    return texts


def _said(word: str | None) -> str:
    if word is None:
        return "was not read"
    return f"peers with {word}" if "." in word or ":" in word else f"says {word}"
