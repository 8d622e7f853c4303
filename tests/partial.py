# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every recorded cluster judged again and again, each time with a part of it taken away: a section, a node, an answer of the API, the API.

make partial [CAPTURE=prefix]     writes build/partial.json: [{capture, taken_away, named_before, named_after, right}]

Right is what is as true as before, or less certain, or unknown: no other cause, none in a healthy cluster, and healthy never.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import pathlib
import sys
import typing as t
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "build" / "collections")]

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion  # noqa: E402
from ansible_collections.podnet.doctor.tests.unit import recorded  # noqa: E402

GONE = {"error": "it was taken away"}
CERTAINTY = ("possible", "likely", "certain")
Json = t.Any


def _sections(document: dict[str, Json]) -> list[str]:
    return [name for name, value in document.items() if isinstance(value, (dict, list))]


def parts(everything: Documents) -> Iterator[tuple[str, Documents]]:
    """(what is taken away, what is left)"""
    known = everything.cluster
    nodes = {name: t.cast("dict[str, Json]", facts.document) for name, facts in everything.nodes.items()}
    for gone in nodes:
        yield f"node {gone}", Documents(known, {**everything.nodes, gone: NodeFacts(gone, None, "it does not answer")})
    for section in sorted({section for document in nodes.values() for section in _sections(document)}):
        left = {name: {**document, section: GONE} for name, document in nodes.items()}
        yield f"section {section}", Documents(known, {name: NodeFacts(name, document) for name, document in left.items()})
        for one, document in left.items():
            yield f"section {section} of {one}", Documents(known, {**everything.nodes, one: NodeFacts(one, document)})
    document = t.cast("dict[str, Json]", known.document)
    for section in _sections(document):
        yield f"API {section}", Documents(Cluster({**document, section: GONE}), dict(everything.nodes))
    yield "API", Documents(Cluster({name: GONE if name in _sections(document) else value for name, value in document.items()}), dict(everything.nodes))


def first(diagnosis: Diagnosis | None) -> tuple[str, str, int]:
    """(id, node, certainty) of the first cause."""
    if diagnosis is None or not diagnosis.causes:
        return "", "", -1
    cause = diagnosis.causes[0]
    return cause.id, cause.node, CERTAINTY.index(diagnosis.confidence(cause))


def judge(name: str) -> list[dict[str, Json]]:
    everything = recorded.documents(name)
    asked = recorded.question(name, everything.cluster)
    whole = recorded.follow(asked, everything)
    before, outcome = first(whole), whole.outcome
    # of two causes that are both there, either may be the first when the other cannot be seen
    true = {cause.id for cause in whole.causes}
    rows = []
    for taken, left in parts(everything):
        try:
            diagnosis = recorded.follow(asked, left)
            after, said = first(diagnosis), diagnosis.outcome
        except (NotCollected, BadQuestion) as error:
            after, said = ("", "", -1), f"refused: {error}"
        except Exception as error:  # noqa: BLE001 - a wrong row, not the end of the run
            after, said = (f"{type(error).__name__}: {error}", "", 9), "a traceback"
        right = after[0] in {"", *true} and (after[:2] != before[:2] or after[2] <= before[2]) and (said != "healthy" or outcome == "healthy")
        rows.append({"capture": name, "taken_away": taken, "named_before": before[0], "named_after": after[0], "outcome": said, "right": right})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", default="", help="only the recordings whose name begins like this")
    given = parser.parse_args()
    if recorded.folder() is None:
        print(recorded.ABSENT)
        return 0
    rows = []
    with concurrent.futures.ProcessPoolExecutor(max_workers=2) as pool:
        for found in pool.map(judge, recorded.names(given.prefix)):
            rows += found
            same = sum(row["named_after"] == row["named_before"] for row in found)
            print(f"{found[0]['capture']:<44} {found[0]['named_before'] or 'nothing':<40} {same} of {len(found)} the same", flush=True)
            for row in found:
                if not row["right"]:
                    print(f"    WRONG without {row['taken_away']}: {row['named_after'] or 'nothing'}, {row['outcome']}", flush=True)
    target = ROOT / "build" / "partial.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")
    right = sum(row["right"] for row in rows)
    print(f"{right} of {len(rows)} right; {target.relative_to(ROOT)}")
    return 0 if right == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
