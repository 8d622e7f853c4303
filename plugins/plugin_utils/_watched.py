# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what a watch tells, a light train for a while: loss by hop and by flow, duplicates, another order, steps of the latency.

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ._json import Json, as_list, as_mapping, objects
from ._passing import Watched, numbers

SLICE = 10.0  # seconds of one call, after which the screen says how it goes
LONGEST = 300.0
PACE = 0.2  # seconds between echoes
MOST = 2048  # echoes
STEP, STEP_SECONDS, STEP_ECHOES = 3.0, 0.002, 5  # a latency that becomes so many times as long, and at least so much longer, for so many echoes
MOST_STRETCHES = 20
ANSWERS = ("reply", "reset")


class Trace(t.Protocol):
    def __call__(self, direction: str, kinds: Sequence[str], of: int = ..., train: str = ...) -> list[dict[str, Json]]: ...


def slices(seconds: float) -> list[tuple[float, float]]:
    """(offset, seconds) of each call."""
    whole = min(max(seconds, 0.0), LONGEST)
    return [(begin * SLICE, min(SLICE, whole - begin * SLICE)) for begin in range(int(-(-whole // SLICE)))]


def progress(result: Mapping[str, Json], until: float) -> str:
    """How one call of a watch went; "" if it was none."""
    told = []
    for train in objects(result.get("watched")):
        what = "echoes" if train.get("protocol") == "icmp" else "connects" if train.get("protocol") == "tcp" else "questions"
        told.append(f"{train.get('replied')} of {train.get('sent')} {what} answered")
    return f"WATCHING {until:g} s: {', '.join(told)}" if told else ""


def _trains(calls: Sequence[Mapping[str, Json]], echoes: bool) -> Iterator[Mapping[str, Json]]:
    for call in calls:
        for train in objects(call.get("watched")):
            if (train.get("protocol") == "icmp") is echoes:
                yield train


def entry(calls: Sequence[Mapping[str, Json]], watched: Mapping[str, Watched], trace: Trace) -> dict[str, Json]:
    """The `watch` of an evidence document."""
    found: dict[str, Json] = {"direction": "forward", "echoes": _echoes(list(_trains(calls, True)), trace)}
    flows = list(_trains(calls, False))
    if flows:
        found["flows"] = _flows(flows, watched, trace)
    found["seconds"] = round(found["echoes"]["sent"] * PACE, 1)
    return found


def _count(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _echoes(trains: Sequence[Mapping[str, Json]], trace: Trace) -> dict[str, Json]:
    sent, took, errors = set[int](), dict[int, float](), list[str]()
    for train in trains:
        first = _count(train.get("first"))
        sent |= set(range(min(first, MOST), min(first + _count(train.get("sent")), MOST)))
        errors += [str(text) for text in as_list(train.get("errors"))] + ([str(train["error"])] if train.get("error") else [])
        for answer in as_list(train.get("times")):
            if isinstance(answer, list) and len(answer) == 3 and isinstance(answer[0], int) and isinstance(answer[2], (int, float)):
                took[answer[0]] = float(answer[2])
    hops, back = trace("forward", ("request",)), trace("reverse", ("reply",))
    told: dict[str, Json] = {
        "sent": len(sent), "replied": len(sent & set(took)), "lost": [*_losses("requests", hops, sent), *_losses("replies", back, sent, _arrived(hops))],
        "stretches": _stretches(sorted(sent - set(took))), "duplicates": sum(_count(train.get("twice")) for train in trains),
        "reordered": _reordered(hops), "steps": _steps(took), "errors": list(dict.fromkeys(errors))[:4],
    }  # fmt: skip
    if took:
        told["rtt"] = {name: round(of(took.values()), 6) for name, of in (("min", min), ("median", statistics.median), ("max", max))}
    return {**told, "hops": _plain(hops), "back": _plain(back)}


def _plain(hops: Sequence[Mapping[str, Json]]) -> list[dict[str, Json]]:
    return [{name: value for name, value in hop.items() if name != "seen"} for hop in hops]


def _arrived(hops: Sequence[Mapping[str, Json]]) -> set[int] | None:
    return set(hops[-1]["seen"]) if hops and "seen" in hops[-1] else None


def _losses(what: str, hops: Sequence[Mapping[str, Json]], sent: set[int], begun: set[int] | None = None) -> list[dict[str, Json]]:
    """Each hop that some packets reached and did not pass. A packet that was seen behind a hop has passed it, whatever was seen there."""
    looked = [(hop, set(hop["seen"]) & sent) for hop in hops if "seen" in hop]
    for position in range(len(looked) - 2, -1, -1):
        looked[position] = (looked[position][0], looked[position][1] | looked[position + 1][1])
    found = []
    before, after = sent if begun is None else begun & sent, None
    for hop, seen in looked:
        gone = before - seen
        # an answer that nobody sent was not lost on the way
        if gone and not (what == "replies" and after is None):
            found.append({"what": what, "hop": hop["hop"], "after": after, "packets": len(gone), "of": len(before)})
        before, after = seen, hop["hop"]
    return found


def _stretches(lost: Sequence[int]) -> list[dict[str, Json]]:
    """Where echoes were without an answer: from when to when, and how many in a row."""
    found: list[list[int]] = []
    for number in lost:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [{"from": round(first * PACE, 1), "to": round((last + 1) * PACE, 1), "packets": last - first + 1} for first, last in found[:MOST_STRETCHES]]


def _reordered(hops: Sequence[Mapping[str, Json]]) -> int:
    """How many came to the far end after one that was sent later."""
    times = hops[-1].get("seen") if hops else None
    late, latest = 0, 0.0
    for _number, at in sorted((times or {}).items()):
        late += at < latest
        latest = max(latest, at)
    return late


def _steps(took: Mapping[int, float]) -> list[dict[str, Json]]:
    """Where the latency becomes another for a while."""
    ordered = sorted(took.items())
    found: list[dict[str, Json]] = []
    for position in range(STEP_ECHOES, len(ordered) - STEP_ECHOES + 1):
        near = [value for _n, value in ordered[position - STEP_ECHOES : position]]
        then = [value for _n, value in ordered[position : position + STEP_ECHOES]]
        low, high = sorted((near, then), key=statistics.median)
        if min(high) > STEP * max(low) and min(high) - max(low) > STEP_SECONDS:
            at = round(ordered[position][0] * PACE, 1)
            found.append({"at": at, "before": round(statistics.median(near), 6), "after": round(statistics.median(then), 6)})
    return found[:MOST_STRETCHES]


def _flows(trains: Sequence[Mapping[str, Json]], watched: Mapping[str, Watched], trace: Trace) -> dict[str, Json]:
    """By source port: how often it was tried and answered, and which of them never were."""
    tried: dict[int, list[int]] = {}
    for train in trains:
        for one in as_list(train.get("flows")):
            if isinstance(one, list) and len(one) == 4 and all(isinstance(number, int) for number in one):
                mine = tried.setdefault(one[0], [0, 0, 0])
                mine[:] = [have + more for have, more in zip(mine, one[1:])]
    first = trains[0]
    ports = sorted(tried)
    failing = [port for port in ports if tried[port][0] > tried[port][1] + tried[port][2]]
    told: dict[str, Json] = {
        "protocol": str(first.get("protocol")), "address": str(first.get("address")), "port": first.get("port"), "flows": len(ports),
        "sent": sum(tried[port][0] for port in ports), "replied": sum(tried[port][1] for port in ports), "refused": sum(tried[port][2] for port in ports),
        "failing": [{"port": port, "sent": tried[port][0], "replied": tried[port][1]} for port in failing],
    }  # fmt: skip
    return {**told, "destinations": _destinations(watched, str(first.get("protocol")), str(first.get("address")), tried)}


def _destinations(watched: Mapping[str, Watched], train: str, address: str, tried: Mapping[int, Sequence[int]]) -> list[dict[str, Json]]:
    """Where flows to a Service's address were led to, as captured: an address, how many flows, and how many of them got answers."""
    led: dict[tuple[int, int], str] = {}
    answered: set[tuple[int, int]] = set()
    for at in watched.values():
        for sight in at.sights:
            flow = sight.get("flow")
            if sight.get("train") != train or not isinstance(flow, int) or flow not in range(8, 16):
                continue
            here = {(flow, number) for number in numbers([sight])}
            if sight.get("kind") in ANSWERS:
                answered |= here
            elif sight.get("kind") == "request":
                single = as_list(sight.get("destinations"))
                of = {pair[0]: str(pair[1]) for pair in as_list(sight.get("of")) if isinstance(pair, list) and len(pair) == 2}
                led.update({one: to for one in here if (to := of.get(one[1], str(single[0]) if len(single) == 1 else address)) != address})
    found: dict[str, list[int]] = {}
    for one, to in sorted(led.items()):
        counts = found.setdefault(to, [0, 0])
        counts[0] += 1
        counts[1] += one in answered
    return [{"address": to, "flows": counts[0], "answered": counts[1]} for to, counts in sorted(found.items())] if tried else []


def lossy(watch: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """The hops at which some packets were lost, the worst first."""
    lost = [one for one in objects(as_mapping(watch.get("echoes")).get("lost")) if _count(one.get("packets"))]
    return sorted(lost, key=lambda one: -_count(one.get("packets")))
