# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packets thrown away at a chosen hop, and the hop that the diagnosis measured: they must be the same.

make hops [MODE=mode] [HEALTHY=times]     writes build/hops.json: [{fault, what, mode, direction, expected, measured, right, seconds}]
make hops-cover                           every place once in one mode of each kind, as in `make test`
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import sys
import time
import typing as t
from collections.abc import Iterator
from dataclasses import asdict, dataclass

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab import drops, flaky, modes  # noqa: E402
from lab.cluster import Lab  # noqa: E402
from lab.faults import find, services  # noqa: E402
from tests import matrix  # noqa: E402

SOURCE, DESTINATION = "shop/web-2", "shop/web-0"  # crosses the subnets, where there are two
NEAR, FAR = "k8s03", "k8s01"
PODS = {"source": SOURCE, "destination": DESTINATION}
COVERED = ("ipip", "vxlan-crosssubnet")
# faults of the lab that stop packets where nothing else is wrong on the way: the hop of the forward path that they do not pass
FAULTS = {
    "tunnel_blocked_ipip.rule": f"tunnel:{FAR}", "tunnel_blocked_vxlan.rule": f"tunnel:{FAR}", "tunnel_blocked_ipip.network": f"wire:{NEAR}:{FAR}",
    "tunnel_blocked_vxlan.network": f"wire:{NEAR}:{FAR}", "cloud_src_dst_check": f"wire:{NEAR}:{FAR}", "tunnel_source_not_allowed": f"tunnel:{FAR}",
    "forward_reject_between_calico_rules.rule": f"node:{FAR}", "forward_reject_between_calico_rules.policy": f"node:{FAR}",
    "forward_reject_between_calico_rules.nftables": f"node:{FAR}", "policy_denies.ingress": f"node:{FAR}", "policy_denies.egress": f"node:{NEAR}",
    "tunnel_device_missing_or_down": f"node:{NEAR}", "vxlan_fdb_or_neigh_drift.fdb": f"tunnel:{NEAR}", "vxlan_fdb_or_neigh_drift.neighbour": f"tunnel:{NEAR}",
    "vxlan_conflicting_device": f"node:{NEAR}",
}  # fmt: skip
NOWHERE = "nowhere"


WATCH, LONG_WATCH = 8, 20  # seconds; the long one sends 100 echoes
BAD_BACKEND, BAD = "shop/api-2", FAR  # one of three
BACKEND, SERVICE = "kube_proxy_rules_stale.iptables", "svc/shop/api"


class Asked(t.NamedTuple):
    """One row: a place and what is dropped there, a fault of the lab, or what works now and then; nothing of it in a healthy lab."""

    place: str = ""
    what: str = ""
    fault: str = ""
    watched: int = 0  # seconds
    backend: str = ""  # a Service is asked for, and it is the packets to this one of its endpoints

    @property
    def name(self) -> str:
        return f"{self.place} to {self.backend}" if self.backend else self.fault or self.place or "healthy"


@dataclass
class Row:
    fault: str
    what: str
    mode: str
    direction: str
    expected: str
    measured: str
    right: bool
    seconds: float = 0.0
    note: str = ""
    sent: int = 0  # echoes in a healthy lab, and how many of them, and of their answers, were seen where fewest were
    seen: int = 0


def places(lab: Lab) -> list[str]:
    """Where packets of the flow can be dropped."""
    tunnel = drops.carried(lab, SOURCE, DESTINATION)
    return [place for place in drops.PLACES if tunnel or "tunnel" not in place]


def hop_of(place: str, replies: bool) -> str:
    """The hop that is not passed, by the ids of the report. What a pod does not take has arrived at it."""
    end, _space, kind = place.partition(" ")
    if place == "wire":
        return f"wire:{FAR}:{NEAR}" if replies else f"wire:{NEAR}:{FAR}"
    if kind == "pod":
        sends = (end == "source") != replies
        return f"pod:{PODS[end]}" if sends else NOWHERE
    return f"{kind}:{NEAR if end == 'source' else FAR}"


def expected(asked: Asked) -> tuple[str, str]:
    """(what is lost, at which hop) of the asked flow."""
    if asked.backend:
        return "requests", f"node:{BAD}"
    if asked.fault:
        return "requests", FAULTS[asked.fault]
    if not asked.place:
        return "nothing", NOWHERE
    requests = hop_of(asked.place, False)
    if asked.what != "replies" and requests != NOWHERE:
        return "requests", requests
    replies = hop_of(asked.place, True)
    # what nobody sent was not lost on the way
    return ("nothing", NOWHERE) if asked.what == "requests" or replies == NOWHERE or replies.startswith("pod:") else ("replies", replies)


def measured(report: dict[str, t.Any]) -> tuple[str, str]:
    """The same, as the probe of the asked port saw it."""
    probe = next(one for one in report["probes"] if one["direction"] == "forward" and one["protocol"] == "tcp")
    further = [one for pair in report.get("pairs") or [] for one in pair.get("probes") or []]
    lost = next((one["lost"] for one in [probe, *further] if one.get("lost")), None)
    return (lost["what"], lost["hop"]) if lost else ("nothing", NOWHERE)


def judge_watch(asked: Asked, mode: str, report: dict[str, t.Any], expected: str) -> Row:
    """What the watch saw: all of it, or the hop that some of it did not pass, or the backend that never answers."""
    watch = report["watch"]
    lost, flows = watch["echoes"]["lost"], watch["flows"]
    silent = [one["address"] for one in flows["destinations"] if not one["answered"]]
    found = ", ".join([*(one["hop"] for one in lost), *silent]) or NOWHERE
    row = Row(asked.name, "now and then" if asked.name != "healthy" else "", mode, "forward", expected, found, found == expected)
    outcome, finding = report["verdict"]["outcome"], any(one["check"] == "probe.partly.lost" for one in report["findings"])
    if expected == NOWHERE:
        counts = {hop["packets"] for hop in watch["echoes"]["hops"] + watch["echoes"]["back"]}
        row.sent, row.seen = watch["echoes"]["sent"], min(counts, default=0)
        row.right = row.right and outcome == "healthy" and not finding and counts == {row.sent} and not flows["failing"]
    else:
        row.right = row.right and outcome == "broken" and finding
    row.note = "" if row.right else f"{outcome}; {report['verdict']['summary']}; {watch['echoes']['sent']} sent; lost: {lost}; flows: {flows}"
    return row


def judge(asked: Asked, mode: str, report: dict[str, t.Any]) -> Row:
    wanted, found = expected(asked), measured(report)
    outcome = report["verdict"]["outcome"]
    row = Row(asked.name, asked.what, mode, "forward", " at ".join(wanted), " at ".join(found), wanted == found)
    if not (asked.place or asked.fault):
        counts = {(probe["sent"], hop["packets"]) for probe in report["probes"] for hop in probe["hops"] + probe["back"]}
        row.right = row.right and outcome == "healthy" and all(sent == packets for sent, packets in counts)
        row.note = "" if row.right else f"{outcome}; {report['verdict']['summary']}; sent and seen: {sorted(counts, key=str)}"
    elif wanted[1] != NOWHERE and outcome != "broken":
        row.right, row.note = False, f"the verdict is {outcome}: {report['verdict']['summary']}"
    elif not row.right:
        asked_probes = [probe for probe in report["probes"] if probe["protocol"] == "tcp"]
        row.note = "; ".join(f"{hop['hop']} {hop['packets']}" for probe in asked_probes for hop in probe["hops"] + probe["back"])
    return row


@contextlib.contextmanager
def broken(lab: Lab, asked: Asked) -> Iterator[str]:
    """Yields what a watch must find."""
    with contextlib.ExitStack() as stack:
        wanted = NOWHERE
        if asked.place in flaky.KINDS:
            wanted = stack.enter_context(flaky.flaky(lab, asked.place, SOURCE, DESTINATION))
        elif asked.fault:
            stack.enter_context(matrix.broken(lab, [find(asked.fault)]))
            wanted = services.GONE
        elif asked.place:
            stack.enter_context(drops.dropped(lab, asked.place, asked.what, SOURCE, asked.backend or DESTINATION))
        yield wanted


def measure(lab: Lab, name: str, asked: Asked, folder: pathlib.Path, expected: str) -> Row:
    """One diagnosis."""
    if not asked.watched:
        return judge(asked, lab.mode, matrix.diagnose(name, (SOURCE, SERVICE, 80) if asked.backend else (SOURCE, DESTINATION, 8080), folder))
    question = (SOURCE, SERVICE, 80) if asked.fault else (SOURCE, DESTINATION, 8080)
    return judge_watch(asked, lab.mode, matrix.diagnose(name, question, folder, "-e", f"watch={asked.watched}"), expected)


def rows_of(lab: Lab, cover: int | None, times: int) -> list[Asked]:
    """cover: the number of the mode in a selection, in which each place comes once and what is dropped takes turns."""
    found: list[Asked] = [Asked()] * times
    for number, place in enumerate(places(lab)):
        chosen = drops.WHAT if cover is None else (drops.WHAT[(number + cover) % len(drops.WHAT)],)
        found += [Asked(place, what) for what in chosen]
    if cover in (None, 0):
        found += [Asked(watched=WATCH if cover == 0 else LONG_WATCH)] * times
        found += [*(Asked(kind, watched=WATCH) for kind in flaky.KINDS), Asked(fault=BACKEND, watched=WATCH)]
        found += [Asked("destination node", "requests", backend=BAD_BACKEND)]
    if cover is None:
        found += [Asked(fault=name) for name in FAULTS if not find(name).why_not(lab.mode) and find(name).question[:2] == (SOURCE, DESTINATION)]
    return found


def run_mode(mode: str, cover: int | None, times: int) -> list[Row]:
    name = f"h{os.getpid() % 10000}n{list(modes.MODES).index(mode)}"
    folder = ROOT / "build" / "hops" / mode
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    try:
        lab = matrix.up(name, mode)
        for asked in rows_of(lab, cover, times):
            for _attempt in range(2):  # a machine that stood still for seconds is no wrong measurement
                try:
                    with broken(lab, asked) as wanted:
                        started = time.monotonic()
                        row = measure(lab, name, asked, folder, wanted)
                        row.seconds = round(time.monotonic() - started, 2)
                except Exception as error:  # noqa: BLE001 - one row's trouble is that row's
                    row = Row(asked.name, asked.what, mode, "forward", "" if asked.watched else " at ".join(expected(asked)), "", False, 0.0, f"{error}")
                show(row)
                if row.right:
                    break
            rows.append(row)
    finally:
        matrix.down(name)
    return rows


def show(row: Row) -> None:
    word = "right" if row.right else "WRONG"
    print(f"{row.fault + ' ' + row.what:50} {row.mode:17} {word}  {row.seconds:5.1f} s  {row.measured}", flush=True)
    if not row.right:
        print(f"    expected: {row.expected}\n    {row.note}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [mode for mode, about in modes.MODES.items() if about.ipv4]
    parser.add_argument("--mode", choices=known)
    parser.add_argument("--healthy", type=int, default=1, metavar="TIMES", help="how often each mode is measured without a fault")
    parser.add_argument("--cover", action="store_true", help="each place once in one mode of each kind")
    options = parser.parse_args()
    chosen = [options.mode] if options.mode else list(COVERED) if options.cover else known
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(run_mode, mode, number if options.cover else None, options.healthy) for number, mode in enumerate(chosen)]
        rows = list(itertools.chain.from_iterable(future.result() for future in running))
    target = ROOT / "build" / "hops.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    right = sum(row.right for row in rows)
    watched = [row for row in rows if row.sent]
    if watched:
        print(f"healthy: {sum(row.seen for row in watched)} of {sum(row.sent for row in watched)} echoes and answers at every hop, in {len(watched)} runs")
    print(f"{right} of {len(rows)} right; {target.relative_to(ROOT)}")
    return 0 if right == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
