# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults in the modes of the lab: broken for real, diagnosed over SSH as a user would, and the first named cause held against what was done.

make matrix [FAULT=name] [MODE=mode] [HEALTHY=times]     writes build/matrix.json: [{faults, mode, expected, named, right, seconds}]
make cover                                               every fault once and every mode at least once, as in `make test`
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

from lab import kube_proxy, modes  # noqa: E402
from lab.cluster import Lab  # noqa: E402
from lab.faults import Fault, catalogue  # noqa: E402
from tests.remedy_cases import PROVEN  # noqa: E402

QUESTION = ("shop/web-2", "shop/web-0", 8080)
SERVICE, NAME = ("shop/web-2", "svc/shop/api", 80), ("shop/web-2", "dns/web.shop", 53)
PROXIES = {"noencap": "iptables", "vxlan": "nftables"}  # how kube-proxy works where a Service is asked for without a fault
MODES: dict[str, list[str]] = {
    **{mode: ["--mode", mode] for mode in modes.MODES},
    "operator": ["--mode", "ipip", "--operator"],
    "second-nic": ["--mode", "noencap", "--second-nic", "--autodetection", "interface=eth1"],
    **{f"policed-{kind.rpartition('-')[2]}": ["--mode", mode, "--dataplane", kind] for kind, mode in modes.POLICED.items()},
}
# where policies are enforced: by the dataplane, and in which mode of the lab; there the faults of packet filters are put in
POLICED = {f"policed-{kind.rpartition('-')[2]}": mode for kind, mode in modes.POLICED.items()}
OF_FILTERS = ("F07", "F08", "F12", "F46", "F57", "F60")
UNNUMBERED = ("policy_not_enforced", "nat_outgoing_missing", "nat_outgoing_off")
ACCEPTED_BEFORE = "Felix accepts what its policies let through before the policy of the chain is asked"
NOT_THERE = {
    ("forward_reject_between_calico_rules.policy", "policed-nft"): ACCEPTED_BEFORE,
    ("forward_reject_between_calico_rules.policy", "policed-legacy"): ACCEPTED_BEFORE,
    ("iptables_backend_split", "policed-legacy"): "Felix itself writes into iptables-legacy",
}
# what no lab on one machine can do
NOWHERE = {"neigh_table_overflow": "F54: the limit of neighbours is one for the whole kernel, this machine's own"}
# not named right yet: printed, and run only where asked for by name
NOT_YET: dict[tuple[str, str], str] = {}
FORWARD, BACK = ("shop/web-0", "shop/web-1", 8080), ("shop/web-2", "shop/web-1", 8080)
VETH, SYSCTL = "host_veth_missing.down", "proxy_arp_or_forwarding_cleared"
# two faults at once on different nodes, and a question that crosses both; each pair in one mode
PAIRS = [
    ("node_ip_wrong_nic", f"{SYSCTL}.forwarding", BACK),
    (VETH, f"{SYSCTL}.proxy_arp", BACK),
    ("stale_host_neighbour", f"{SYSCTL}.ip_forward", BACK),
    ("pod_route_wrong_iface", "no_route_to_169_254_1_1", BACK),
    ("local_pod_route_missing", f"{SYSCTL}.forwarding", BACK),
    ("bird_down_or_config_rejected.stopped", f"{SYSCTL}.proxy_arp", BACK),
    ("remote_block_route_missing_bird_has_it.unlearned", VETH, FORWARD),
    ("tunnel_device_missing_or_down", "pod_side_broken", BACK),
    ("felix_owned_route_missing", VETH, FORWARD),
    ("pod_side_broken", f"{SYSCTL}.ip_forward", BACK),
    ("policy_denies.ingress", f"{SYSCTL}.proxy_arp", ("shop/web-2", "shop/web-0", 8080)),  # a rule here, a route there
    ("forward_reject_between_calico_rules.rule", VETH, ("shop/web-1", "shop/web-0", 8080)),
]
Question = tuple[str, str, int]
Asked = tuple[list[Fault], Question | None]  # None: an audit, which names no pair
# of the selection: what is found without a pair (in `make matrix` every fault is)
AUDITED = ("node_ip_wrong_nic", "bgp_tcp179_blocked", "local_pod_route_missing", "vxlan_fdb_or_neigh_drift.fdb", "duplicate_pod_ip", "flannel_vtep_stale.fdb")
# no node tells of them: the selection, which asks the nodes only, sends packets for these
BY_PACKETS = ("unseen_drop", "vxlan_checksum_offload", "dns_search_too_deep", "dns_refused", "dns_upstream_dead", "dns_unanswered")
AUDIT_ONLY = ("leaked_ips",)  # a question about a pair reads only the pods that it is about


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
    audit: bool = False
    attempts: int = 1  # 2: wrong at the first try


def diagnose(lab: str, question: Question | None, folder: pathlib.Path, *arguments: str) -> dict[str, t.Any]:
    """One run of the playbook, and its report."""
    state = ROOT / "build" / "lab" / lab
    for old in folder.glob("*.json"):
        old.unlink()
    pair = ["-e", f"source={question[0]}", "-e", f"destination={question[1]}:{question[2]}"] if question is not None else []
    command = [
        str(pathlib.Path(sys.executable).parent / "ansible-playbook"), f"podnet.doctor.{'diagnose' if pair else 'audit'}", "-i", str(state / "inventory.yml"),
        *pair, "-e", f"podnet_report_dir={folder}", *arguments,
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


def by_ipv6(lab: Lab, question: Question) -> Question:
    """The same question, about the IPv6 address of its destination."""
    source, destination, port = question
    return source, f"[{lab.pod(destination.strip('[]')).address6}]", port


def healthy(mode: str) -> list[Asked]:
    """The rows of a mode without a fault: one for each family of addresses, and in some for a Service and for a name."""
    source, destination, port = QUESTION
    families = modes.MODES[mode].families if mode in modes.MODES else (4,)
    rows: list[Asked] = [([], (source, destination if family == 4 else f"[{destination}]", port)) for family in families]
    return [*rows, ([], SERVICE), ([], NAME)] if mode in PROXIES else rows


def serving(lab: Lab, mode: str, row: Asked) -> contextlib.AbstractContextManager[None]:
    """What a question about a Service needs; a fault of one brings it along."""
    return kube_proxy.running(lab, PROXIES[mode]) if row in (([], SERVICE), ([], NAME)) else contextlib.nullcontext()


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
        unexplained = [f"{finding['check']}: {finding['evidence']}" for finding in report["findings"] if finding["id"] in verdict["unexplained"]]
        row.note = f"{row.outcome} at {places}, expected at {nodes}; unexplained: {unexplained}; {verdict['summary']}"


@contextlib.contextmanager
def broken(lab: Lab, faults: list[Fault]) -> Iterator[None]:
    injected: list[Fault] = []
    try:
        for fault in faults:
            fault.inject(lab)
            injected.append(fault)
        yield
    finally:
        for fault in reversed(injected):
            fault.heal(lab)


def up(name: str, mode: str) -> Lab:
    """A fresh lab; the machine may be busy, so it gets a second chance."""
    command = [sys.executable, "-m", "lab", "up", "--name", name, "--nodes", "3", *MODES[mode]]
    for attempt in (1, 2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return Lab.load(name)
        print(f"{mode}, attempt {attempt}: the lab did not come up:\n{done.stdout}{done.stderr}", flush=True)
    raise RuntimeError(f"the lab did not come up:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def down(name: str) -> None:
    subprocess.run([sys.executable, "-m", "lab", "down", "--name", name], cwd=ROOT, capture_output=True, check=False)


def run_mode(mode: str, rows: list[Asked], keep: bool, cover: bool = False) -> list[Row]:
    """The rows of a mode on one lab, or on a fresh one after a fault that could not be put in or healed."""
    name = f"m{os.getpid() % 10000}n{list(MODES).index(mode)}"
    folder = ROOT / "build" / "matrix" / mode
    folder.mkdir(parents=True, exist_ok=True)
    results: list[Row] = []
    try:
        lab = up(name, mode)
        for faults, question in rows:
            if question is not None and (question[1].startswith("[") or any(fault.family == 6 for fault in faults)):
                question = by_ipv6(lab, question)
            for attempt in (1, 2):  # a machine that stood still for seconds is no wrong diagnosis; what was wrong once is shown
                row = Row([fault.name for fault in faults], mode, [fault.cause for fault in faults], audit=question is None, attempts=attempt)
                try:
                    with serving(lab, mode, (faults, question)), broken(lab, faults):
                        if len(faults) == 1 and not faults[0].shows(lab):
                            raise RuntimeError("the fault does not show: traffic does not do what the fault says")
                        started = time.monotonic()
                        silent = cover and question is not None and bool(faults) and not any(fault.name in BY_PACKETS for fault in faults)
                        report = diagnose(name, question, folder, *(["-e", "probe=false"] if silent else []))
                        row.seconds = round(time.monotonic() - started, 2)
                        judge(row, report, [fault.node for fault in faults])
                except Exception as error:  # noqa: BLE001 - one row's trouble is that row's
                    row.right, row.note = False, f"{type(error).__name__}: {error}"
                show(row)
                if row.right:
                    break
                if not keep:  # the fault may have left its traces
                    down(name)
                    lab = up(name, mode)
            results.append(row)
    finally:
        if not keep:
            down(name)
    return results


def show(row: Row) -> None:
    word = "right" if row.right else "WRONG"
    what = " + ".join(row.faults) or "healthy"
    print(f"{what + (', audit' if row.audit else ''):58} {row.mode:17} {word}  {row.seconds:5.1f} s  {', '.join(row.named) or row.outcome}", flush=True)
    if row.note:
        print("    " + row.note.replace("\n", "\n    "), flush=True)


def possible(fault: Fault, mode: str, by_name: bool = False) -> str:
    """Why a fault is not put in in a mode; "" if it is."""
    if mode in POLICED:
        if fault.number not in OF_FILTERS and fault.name not in UNNUMBERED:
            return "no fault of packet filters"
        return NOT_THERE.get((fault.name, mode)) or possible(fault, POLICED[mode], by_name)
    if mode not in modes.MODES:
        return "judged without faults only"
    if fault.why_not(mode):
        return fault.why_not(mode)
    return "" if by_name else NOT_YET.get((fault.name, mode), "")


def _pairs(chosen: dict[str, list[Asked]]) -> None:
    """Each pair in that mode, of those in which it can occur, that has the fewest rows with two faults."""
    known = {item.name: item for item in catalogue()}
    for first, second, question in PAIRS:
        pair = [known[first], known[second]]
        places = [mode for mode in chosen if not any(possible(fault, mode) for fault in pair)]
        if places:
            least = min(places, key=lambda mode: sum(len(faults) > 1 for faults, _question in chosen[mode]))
            chosen[least].append((pair, question))


def asked(fault: Fault) -> Question | None:
    return None if fault.name in AUDIT_ONLY else fault.question


def covering() -> dict[str, list[Asked]]:
    """Each mode healthy, and each fault once, in that mode of its own that has the fewest rows yet; those of packet filters with one dataplane or the other.

    Of the ways in which a fault is put in (`name.way`) the first: `make matrix` has them all, and sends packets for each. What the selection of
    tests/remedies.py diagnoses and repairs is left to that, with what breaks the same check of the same cause.
    """
    ways: set[str] = set()
    proven = {(fault.cause, fault.breaks, fault.family) for fault in catalogue() if fault.name in PROVEN}
    chosen: dict[str, list[Asked]] = {mode: healthy(mode) for mode in MODES}
    for fault in sorted(catalogue(), key=lambda item: (len(item.modes.names), item.number, item.name)):
        places = [mode for mode in MODES if not possible(fault, mode)]
        places = [mode for mode in places if mode in POLICED] or places
        name = fault.name.partition(".")[0]
        if places and name not in ways and (name, fault.breaks, fault.family) not in proven:
            ways.add(name)
            chosen[min(places, key=lambda mode: len(chosen[mode]))].append(([fault], asked(fault)))
    chosen["ipip"].append(([], None))
    _audits(chosen, AUDITED)
    return chosen


def _audits(chosen: dict[str, list[Asked]], names: t.Container[str] | None = None) -> None:
    """Each fault that is found without a pair once more, in that mode that has the fewest audits yet."""
    for fault in sorted(catalogue(), key=lambda item: (len(item.modes.names), item.number, item.name)):
        places = [mode for mode in chosen if not possible(fault, mode)]
        pods = not fault.by_service and not fault.question[0].startswith("node/")  # no audit sends from a node itself
        if places and fault.number not in OF_FILTERS and pods and (names is None or fault.name in names):
            least = min(places, key=lambda mode: sum(question is None for _faults, question in chosen[mode]))
            chosen[least].append(([fault], None))


def plan(fault: str | None, mode: str | None, times: int) -> dict[str, list[Asked]]:
    """Everything, or what was asked for; says why the rest is not there."""
    chosen: dict[str, list[Asked]] = {}
    for name in MODES if mode is None else [mode]:
        rows: list[Asked] = healthy(name) * (times if fault in (None, "healthy") else 0)
        for item in catalogue():
            if fault is not None and not item.name.startswith(fault) and item.number != fault:
                continue
            reason = possible(item, name, fault is not None)
            if reason:
                print(f"{item.name:58} {name:17} -      {reason}", flush=True)
            else:
                rows.append(([item], asked(item)))
        if rows:
            chosen[name] = rows
    if fault is None:
        _pairs(chosen)
        for rows in chosen.values():
            rows.append(([], None))
        _audits(chosen)
    return chosen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", help="only faults whose name begins so, or whose number it is (F01), or healthy")
    parser.add_argument("--mode", choices=sorted(MODES))
    parser.add_argument("--healthy", type=int, default=1, metavar="TIMES", help="how often each mode is judged without a fault")
    parser.add_argument("--cover", action="store_true", help="every fault once and every mode at least once")
    parser.add_argument("--audit", action="store_true", help="the same rows as audits, which name no pair")
    parser.add_argument("--keep", action="store_true", help="leave the labs up")
    options = parser.parse_args()
    chosen = covering() if options.cover else plan(options.fault, options.mode, options.healthy)
    if options.audit:
        chosen = {mode: [(faults, None) for faults, question in rows if question is not None and len(faults) < 2] for mode, rows in chosen.items()}
    if not chosen:
        print(f"no fault begins with {options.fault}; python -m lab faults lists them", file=sys.stderr)
        return 2
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run_mode, mode, rows, options.keep, options.cover) for mode, rows in chosen.items()]
        rows = [row for future in running for row in future.result()]
    target = ROOT / "build" / "matrix.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if options.fault is None:
        for name, reason in NOWHERE.items():
            print(f"{name:58} {'every mode':17} -      {reason}")
    wrong = [row for row in rows if not row.right]
    print(f"{len(rows) - len(wrong)} of {len(rows)} right; {target.relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
