# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every fault in every mode: broken for real, diagnosed over SSH as a user would, and the first named cause held against what was done.

make matrix [FAULT=name] [MODE=mode]     writes build/matrix.json: [{faults, mode, expected, named, right, seconds}]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab import modes  # noqa: E402
from lab.cluster import Lab  # noqa: E402
from lab.faults import Fault, catalogue  # noqa: E402

QUESTION = ("shop/web-2", "shop/web-0", 8080)
MODES: dict[str, list[str]] = {
    **{mode: ["--mode", mode] for mode in modes.MODES},
    "second-nic": ["--mode", "noencap", "--second-nic", "--autodetection", "interface=eth1"],
}
# not named right yet: printed, and run only where asked for by name
NOT_YET: dict[tuple[str, str], str] = {}
# two faults at once on different nodes, and a question that crosses both
PAIRS = [("node_ip_wrong_nic", "proxy_arp_or_forwarding_cleared.forwarding", ("shop/web-2", "shop/web-1", 8080))]


@dataclass
class Row:
    faults: list[str]
    mode: str
    expected: list[str]
    named: list[str] = field(default_factory=list)
    right: bool = False
    seconds: float = 0.0
    outcome: str = ""
    note: str = ""


def diagnose(lab: str, question: tuple[str, str, int], folder: pathlib.Path) -> dict[str, t.Any]:
    """One run of the playbook, and its report."""
    state = ROOT / "build" / "lab" / lab
    for old in folder.glob("*.json"):
        old.unlink()
    source, destination, port = question
    command = [
        str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "podnet.doctor.diagnose", "-i", str(state / "inventory.yml"),
        "-e", f"source={source}", "-e", f"destination={destination}:{port}", "-e", f"podnet_report_dir={folder}",
    ]  # fmt: skip
    environment = {
        **os.environ, "KUBECONFIG": str(state / "kubeconfig"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "podnet.doctor.screen",
    }  # fmt: skip
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    found = list(folder.glob("*.json"))
    if done.returncode != 0 or len(found) != 1:
        raise RuntimeError(f"diagnose ended with {done.returncode} and {len(found)} reports:\n{done.stdout[-3000:]}\n{done.stderr[-1000:]}")
    (folder / "screen.txt").write_text(done.stdout)
    return t.cast("dict[str, t.Any]", json.loads(found[0].read_text()))


def judge(row: Row, report: dict[str, t.Any], nodes: list[str]) -> None:
    verdict = report["verdict"]
    row.outcome = verdict["outcome"]
    row.named = [cause["id"] for cause in verdict["causes"]]
    places = [cause["node"] for cause in verdict["causes"]]
    if not row.expected:
        row.right = row.outcome == "healthy" and not row.named and not report["findings"]
        row.note = "" if row.right else f"{row.outcome}; findings: {[f['check'] for f in report['findings']][:3]}; not checked: {report['not_checked'][:3]}"
        return
    if len(row.expected) == 1:
        row.right = row.named[:1] == row.expected and places[:1] == nodes
    else:
        row.right = sorted(zip(row.named, places)) == sorted(zip(row.expected, nodes))
    if verdict["unexplained"]:
        row.right = False
    if not row.right:
        row.note = f"{row.outcome} at {places}, expected at {nodes}; unexplained {len(verdict['unexplained'])}: {verdict['summary']}"


@contextlib.contextmanager
def broken(lab: Lab, faults: list[Fault]) -> Iterator[None]:
    injected: list[Fault] = []
    try:
        for fault in faults:
            injected.append(fault)
            fault.inject(lab)
        yield
    finally:
        for fault in reversed(injected):
            fault.heal(lab)


def run_mode(mode: str, rows: list[tuple[list[Fault], tuple[str, str, int]]], keep: bool) -> list[Row]:
    name = f"m{os.getpid() % 10000}{mode[:1]}"
    folder = ROOT / "build" / "matrix" / mode
    folder.mkdir(parents=True, exist_ok=True)
    lab_command = [sys.executable, "-m", "lab"]
    results: list[Row] = []
    for attempt in (1, 2):
        up = subprocess.run([*lab_command, "up", "--name", name, "--nodes", "3", *MODES[mode]], cwd=ROOT, capture_output=True, text=True, check=False)
        if up.returncode == 0:
            break
        print(f"{mode}, attempt {attempt}: the lab did not come up:\n{up.stdout}{up.stderr}", flush=True)
    try:
        if up.returncode != 0:
            raise RuntimeError(f"the lab did not come up:\n{up.stdout[-2000:]}{up.stderr[-2000:]}")
        lab = Lab.load(name)
        for faults, question in rows:
            row = Row([fault.name for fault in faults], mode, [fault.cause for fault in faults])
            try:
                with broken(lab, faults):
                    started = time.monotonic()
                    report = diagnose(name, question, folder)
                    row.seconds = round(time.monotonic() - started, 2)
                    judge(row, report, [fault.node for fault in faults])
            except Exception as error:  # noqa: BLE001 - one row's trouble is that row's
                row.right, row.note = False, f"{type(error).__name__}: {error}"
            results.append(row)
            show(row)
    finally:
        if not keep:
            subprocess.run([*lab_command, "down", "--name", name], cwd=ROOT, capture_output=True, check=False)
    return results


def show(row: Row) -> None:
    word = "right" if row.right else "WRONG"
    print(f"{' + '.join(row.faults) or 'healthy':58} {row.mode:17} {word}  {row.seconds:5.1f} s  {', '.join(row.named) or row.outcome}", flush=True)
    if row.note:
        print("    " + row.note.replace("\n", "\n    "), flush=True)


def plan(fault: str | None, mode: str | None) -> dict[str, list[tuple[list[Fault], tuple[str, str, int]]]]:
    known = {item.name: item for item in catalogue()}
    chosen: dict[str, list[tuple[list[Fault], tuple[str, str, int]]]] = {}
    for name in MODES if mode is None else [mode]:
        rows: list[tuple[list[Fault], tuple[str, str, int]]] = []
        if fault in (None, "healthy"):
            rows.append(([], QUESTION))
        if name != "second-nic":
            chosen_ones = [item for item in known.values() if fault is None or item.name.startswith(fault) or item.number == fault]
            for item in chosen_ones:
                reason = item.modes.otherwise if name not in item.modes.names else "" if fault else NOT_YET.get((item.name, name), "")
                if reason:
                    print(f"{item.name:58} {name:17} -      {reason}", flush=True)
                else:
                    rows.append(([item], item.question))
            both = [pair for pair in PAIRS if all(name in known[part].modes.names for part in pair[:2])]
            rows += [([known[a], known[b]], question) for a, b, question in both if fault in (None, f"{a}+{b}")]
        if rows:
            chosen[name] = rows
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", help="only faults whose name begins so, or whose number it is (F01), or healthy")
    parser.add_argument("--mode", choices=sorted(MODES))
    parser.add_argument("--keep", action="store_true", help="leave the labs up")
    options = parser.parse_args()
    chosen = plan(options.fault, options.mode)
    if not chosen:
        print(f"no fault begins with {options.fault}; python -m lab faults lists them", file=sys.stderr)
        return 2
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run_mode, mode, rows, options.keep) for mode, rows in chosen.items()]
        rows = [row for future in running for row in future.result()]
    target = ROOT / "build" / "matrix.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    wrong = [row for row in rows if not row.right]
    print(f"{len(rows) - len(wrong)} of {len(rows)} right; {target.relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
