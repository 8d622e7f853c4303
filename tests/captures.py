# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every recorded cluster judged: what was done to it, what is named first.

make captures [CAPTURE=prefix]     writes build/captures.json: [{capture, truth, in_scope, outcome, named, faults, nodes, unexplained, right, seconds}]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import pathlib
import re
import sys
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "build" / "collections")]

from ansible_collections.podnet.doctor.plugins.plugin_utils._json import NotCollected  # noqa: E402
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion  # noqa: E402
from ansible_collections.podnet.doctor.tests.unit import recorded  # noqa: E402

# The ground: everything between two pods' interfaces, packet filters, policy and Services. The rest (DNS, MTU, IPAM) must not be misnamed.
GROUND = {
    f"F{number:02d}"
    for number in (1, 2, 3, 4, 6, 7, 8, 10, 12, 13, *range(15, 42), *range(43, 55), 58, 60, 61, 62, 63, 65, 69, 70, 71, *range(74, 79))
}  # fmt: skip
# what was done to a Service or to DNS has no number
SERVICES = {
    "bgp-x-kube-proxy-rules-missing": "kube_proxy_rules_missing", "dns-x-kube-proxy-rules-missing": "kube_proxy_rules_missing",
    "bgp-x-service-without-endpoints": "service_without_endpoints", "dns-x-no-ready-endpoints": "service_without_endpoints",
    "bgp-x-service-wrong-targetport": "service_target_port_wrong", "dns-x-upstream-dead": "dns_upstream_dead",
}  # fmt: skip
PAIR = {"F03", "F04", "F07", "F08", "F10", "F12", "F13", "F15", "F16", "F58", "F60"}  # of them, what only the question about a pair can show


def judge(name: str) -> dict[str, t.Any]:
    """One recording's row. right: healthy: nothing at all is said. The ground: the truth is named first. Others: nothing wrong is named, nor healthy said."""
    begin = time.monotonic()
    truth = recorded.about(name).get("truth")
    fault = truth["fault"] if truth else None
    expected = set(re.findall(r"F\d+", fault or ""))
    row: dict[str, t.Any] = {"capture": name, "truth": fault, "in_scope": truth is None or bool(expected & GROUND) or name in SERVICES}
    try:
        diagnosis = recorded.diagnose(name)
    except (BadQuestion, NotCollected, LookupError, ValueError, OSError) as error:  # a wrong row, not the end of the run
        return row | {"outcome": f"{type(error).__name__}: {error}", "named": [], "faults": [], "nodes": [], "unexplained": [], "right": False, "seconds": 0.0}
    causes = diagnosis.causes
    row["outcome"] = diagnosis.outcome
    row["named"] = [cause.id for cause in causes]
    row["faults"] = [cause.fault for cause in causes]
    row["nodes"] = [cause.node for cause in causes]
    row["unexplained"] = [f"{finding.check} {finding.fact.node} {finding.evidence}" for finding in diagnosis.unexplained]
    if truth is None:
        row["right"] = not diagnosis.findings and diagnosis.outcome != "broken"
    elif row["in_scope"]:
        first = bool(causes) and (causes[0].id == SERVICES[name] if name in SERVICES else causes[0].fault in expected)
        row["right"] = first and (diagnosis.outcome == "broken") == (not truth["symptom"].get("works"))
    else:
        strange = [cause for cause in causes if cause.fault not in expected and (cause.fault is not None or expected)]
        row["right"] = not strange and diagnosis.outcome != "healthy"
    row["seconds"] = round(time.monotonic() - begin, 2)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prefix", nargs="?", default="", help="only the recordings whose name begins like this")
    parser.add_argument("--wrong", action="store_true", help="print only what is wrong")
    given = parser.parse_args()
    if recorded.folder() is None:
        print(recorded.ABSENT)
        return 0
    names = recorded.names(given.prefix)
    rows = []
    with concurrent.futures.ProcessPoolExecutor(max_workers=2) as pool:
        for row in pool.map(judge, names):
            rows.append(row)
            if row["right"] and given.wrong:
                continue
            named = ", ".join(f"{fault or '-'} {name}@{node}" for fault, name, node in zip(row["faults"], row["named"], row["nodes"], strict=True))
            print(f"{row['capture']:<44} {row['truth'] or 'healthy':<12.12} {'right' if row['right'] else 'WRONG'}  {row['outcome']:<8} {named or 'nothing'}")
            for line in row["unexplained"]:
                print(f"{'':<44} unexplained: {line[:150]}")
            sys.stdout.flush()
    target = ROOT / "build" / "captures.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(rows, indent=1) + "\n")
    right = sum(row["right"] for row in rows)
    print(f"{right} of {len(rows)} right")
    return 0 if right == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
