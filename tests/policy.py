# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every measured cell of the recorded policy sets judged, from the nodes' rules (actual) and from the API's objects (intended).

make policy [SET=prefix]     writes build/policy.json: {cells, right, wrong, unknown, quirks, actual: {...}, intended: {...}, absent: [judge]}

A cell is {set, source, destination, protocol, port, measured, verdict}. It is right if every judge that is there says what was measured. In the cells of
quirks the dataplane is known to do something else than the policy says: there only the actual verdict is held against the measured one.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import pathlib
import sys
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "build" / "collections")]

from ansible_collections.podnet.doctor.plugins.plugin_utils import _packet_walk, _policy  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import NodeFacts  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._packet_walk import Walks  # noqa: E402
from ansible_collections.podnet.doctor.tests.unit import recorded  # noqa: E402

Json = t.Any
WORKERS = 2


@dataclass(frozen=True)
class Flow:
    """What one cell asks. node: where the source is, None outside of the cluster; dst: an address of a pod, a node, a Service, or of the machine outside."""

    source: str
    kind: t.Literal["pod", "host", "outside"]
    node: str | None
    src: str
    destination: str
    dst: str
    protocol: t.Literal["tcp", "udp", "icmp"]
    port: int | None


@dataclass(frozen=True)
class PolicySet:
    """One recorded set of policies: its folder, and its about.json."""

    name: str
    base: pathlib.Path
    about: Mapping[str, Json]

    @property
    def sources(self) -> dict[str, Mapping[str, Json]]:
        return {source["name"]: source for source in self.about["sources"]}

    def flow(self, cell: Mapping[str, Json]) -> Flow:
        source, destination = self.sources[cell["source"]], cell["destination"]
        kind, colon, rest = destination.partition(":")
        if colon and kind == "service":
            dst = next(service["ip"] for service in self.about["services"] if service["name"] == rest)
        else:
            dst = self.sources[f"host:{rest}" if colon and kind == "nodeport" else destination]["ip"]
        return Flow(source["name"], source["kind"], source["node"], source["ip"], destination, dst, cell["protocol"].lower(), cell["port"])

    def quirk(self, cell: Mapping[str, Json]) -> int | None:
        """The number of the known quirk of the dataplane that decides the cell: 1: `ct status != dnat` in nftables mode, 2: an answer without an entry."""
        source, destination = self.sources[cell["source"]], cell["destination"]
        third = max(str(node["node"]) for node in self.about["sources"] if node["kind"] == "host")
        if self.name == "nft-hep-no-policy" and source["name"] == f"host:{third}" and destination in ("service:z/svc-b", "service:y/svc-c"):
            return 1
        target = next((pod for pod in self.about["pods"] if f"{pod['namespace']}/{pod['name']}" == destination), None)
        behind = destination == "service:y/svc-c" or (target is not None and target["node"] == third)
        if self.name.endswith("hep-donottrack") and behind and source["node"] != third and (cell["protocol"], cell["port"]) == ("TCP", 80):
            return 2
        return None


def intended_judge(chosen: PolicySet) -> Callable[[Flow], str]:
    """From the API alone."""
    cluster = Cluster(recorded.cluster_in(chosen.base / "api"))

    def verdict(flow: Flow) -> str:
        ends: dict[str, t.Literal["pod", "node", "address"]] = {"pod": "pod", "host": "node", "outside": "address"}
        source = _policy.End(ends[flow.kind], flow.src, flow.node, flow.source if flow.kind == "pod" else "")
        found = _policy.worst(_policy.intended(cluster, source, _policy.end_at(cluster, flow.dst), flow.protocol, flow.port))
        return f"unknown: {found.why}" if found.outcome == "unknown" else found.outcome

    return verdict


def actual_judge(chosen: PolicySet) -> Callable[[Flow], str]:
    """From the nodes' own rules, sets, routes and addresses."""
    walks = Walks(NodeFacts(node.name, recorded.node_in(chosen.base, node.name)) for node in sorted((chosen.base / "nodes").iterdir()))

    def verdict(flow: Flow) -> str:
        walked = walks.walk(_packet_walk.Flow(flow.protocol, flow.src, flow.dst, flow.port, flow.node, flow.kind == "host"))
        return walked.verdict if walked.verdict != "unknown" else f"unknown: {walked.reason}"

    return verdict


Judge = Callable[[PolicySet], Callable[[Flow], str]]
# What judges a set: made once for it, then asked for each flow: works, timeout, eperm, or unknown with its reason.
JUDGES: Mapping[str, Judge] = {"actual": actual_judge, "intended": intended_judge}
KINDS = ("actual", "intended")


def judge(where: pathlib.Path, name: str) -> dict[str, Json]:
    """One set's row: what each judge says of each cell that it gets wrong."""
    base = recorded.opened(where, name)
    chosen = PolicySet(name, base, recorded.read_json(base / "about.json"))
    cells = [cell for cell in chosen.about.get("cells", []) if cell]
    row: dict[str, Json] = {"set": name, "cells": len(cells), "quirks": [], "seconds": {}, "bad": {kind: [] for kind in JUDGES}}
    row["quirks"] = [{"quirk": chosen.quirk(cell), **_shown(name, cell, None)} for cell in cells if chosen.quirk(cell)]
    for kind, make in JUDGES.items():
        begin = time.process_time()
        try:
            verdict = make(chosen)
            said = [verdict(chosen.flow(cell)) for cell in cells]
        except (NotCollected, LookupError, ValueError, TypeError, AttributeError, OSError) as error:  # a wrong row, not the end of the run
            said = [f"unknown: {type(error).__name__}: {error}"] * len(cells)
        row["seconds"][kind] = round(time.process_time() - begin, 2)
        for cell, word in zip(cells, said, strict=True):
            if word != cell["result"] and (kind == "actual" or not chosen.quirk(cell)):
                row["bad"][kind].append(_shown(name, cell, word))
    return row


def _shown(name: str, cell: Mapping[str, Json], verdict: str | None) -> dict[str, Json]:
    shown = {"set": name, **{key: cell[key] for key in ("source", "destination", "protocol", "port")}, "measured": cell["result"]}
    return shown if verdict is None else {**shown, "verdict": verdict}


def score(total: int, bad: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    unknown = [cell for cell in bad if cell["verdict"].startswith("unknown")]
    cells = {tuple(cell[key] for key in ("set", "source", "destination", "protocol", "port")) for cell in bad}
    return {"cells": total, "right": total - len(cells) if JUDGES else 0, "wrong": [cell for cell in bad if cell not in unknown], "unknown": unknown}


def lines(rows: Sequence[Mapping[str, Json]]) -> Iterator[str]:
    for row in rows:
        for kind, bad in row["bad"].items():
            for cell in bad[:3]:
                asked = f"{cell['source']} -> {cell['destination']} {cell['protocol']} {cell['port'] or ''}"
                yield f"{row['set']:<36} {kind:<9} {asked:<44} measured {cell['measured']}, judged {cell['verdict']}"
            if len(bad) > 3:
                yield f"{row['set']:<36} {kind:<9} ... {len(bad)} cells of {row['cells']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prefix", nargs="?", default="", help="only the sets whose name begins like this")
    given = parser.parse_args()
    where = recorded.policy_folder()
    if where is None:
        print(recorded.ABSENT)
        return 0
    chosen = recorded.names_in(where, given.prefix)
    with concurrent.futures.ProcessPoolExecutor(max_workers=WORKERS) as pool:
        rows = list(pool.map(judge, [where] * len(chosen), chosen))
    total = sum(row["cells"] for row in rows)
    result: dict[str, Json] = {kind: score(total, [cell for row in rows for cell in row["bad"][kind]]) for kind in JUDGES}
    result = score(total, [cell for row in rows for bad in row["bad"].values() for cell in bad]) | result
    result["quirks"] = [cell for row in rows for cell in row["quirks"]]
    result["absent"] = [kind for kind in KINDS if kind not in JUDGES]
    for line in lines(rows):
        print(line)
    for kind in KINDS:
        if kind in JUDGES:
            slowest = max(rows, key=lambda row: row["seconds"][kind])
            print(f"{kind:<9} {result[kind]['right']} of {total} cells right, {len(rows)} sets, slowest {slowest['set']} {slowest['seconds'][kind]} s")
        else:
            print(f"{kind:<9} not judged: there is no such judge yet")
    target = ROOT / "build" / "policy.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if JUDGES and not result["wrong"] and not result["unknown"] else 1


if __name__ == "__main__":
    sys.exit(main())
