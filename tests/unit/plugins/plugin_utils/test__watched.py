# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _watched
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._passing import Watched
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins import support

HOPS = ["pod:shop/web-0", "node:k8s01", "wire:k8s01:k8s02", "pod:shop/api-0"]
SENT = 40


def hop(name, numbers, node="k8s01"):
    seen = {number: 1.0 + number / 5 for number in numbers}
    return {"hop": name, "node": node, "device": "eth0", "way": "out", "packets": len(seen), "seen": seen}


def call(answered, flows=(), first=0, sent=SENT):
    echoes = {"protocol": "icmp", "first": first, "sent": sent, "replied": len(answered), "times": [[n, n / 5, took] for n, took in answered.items()],
              "twice": 0, "errors": []}  # fmt: skip
    connects = {"protocol": "tcp", "address": "10.253.2.7", "port": 8080, "sent": 2, "replied": 1, "flows": [list(one) for one in flows]}
    return {"watched": [echoes, *([connects] if flows else [])]}


def watch(there, back=None, answered=None, flows=(), watched=None):
    """there: numbers that each hop saw, in the order of the path."""
    back = [there[-1]] * 4 if back is None else back
    answered = dict.fromkeys(back[-1], 0.001) if answered is None else answered
    ways = {"forward": [hop(*pair) for pair in zip(HOPS, there)], "reverse": [hop(*pair) for pair in zip(HOPS[::-1], back)]}
    found = _watched.entry([call(answered, flows)], watched or {}, lambda direction, kinds, of=0, train="watch": ways[direction])
    support.valid("evidence", {"schema": "podnet.doctor/evidence/1", "collected_at": "2026-11-21T09:30:42Z", "probes": [], "watch": found})
    return found


def test_nothing_lost():
    found = watch([range(SENT)] * 4)
    assert found["seconds"] == 8.0
    assert {name: found["echoes"][name] for name in ("sent", "replied", "lost", "stretches", "steps", "reordered")} == {
        "sent": SENT, "replied": SENT, "lost": [], "stretches": [], "steps": [], "reordered": 0
    }  # fmt: skip


def test_loss_is_told_by_the_hop():
    few = [number for number in range(SENT) if number % 4]
    (lost,) = watch([range(SENT), range(SENT), few, few])["echoes"]["lost"]
    assert lost == {"what": "requests", "hop": HOPS[2], "after": HOPS[1], "packets": 10, "of": SENT}


def test_what_came_further_has_passed():
    """A capture that missed a packet is no hop that lost it."""
    assert watch([range(SENT), range(0, SENT, 2), range(SENT), range(SENT)])["echoes"]["lost"] == []


def test_answers_are_lost_on_their_own_way():
    few = range(30)
    found = watch([range(SENT)] * 4, [range(SENT), few, few, few])["echoes"]
    assert found["lost"] == [{"what": "replies", "hop": HOPS[2], "after": HOPS[3], "packets": 10, "of": SENT}]
    assert found["stretches"] == [{"from": 6.0, "to": 8.0, "packets": 10}]


def test_a_step_of_the_latency():
    found = watch([range(SENT)] * 4, answered={number: 0.001 if number < 20 else 0.03 for number in range(SENT)})
    assert found["echoes"]["steps"] == [{"at": 4.0, "before": 0.001, "after": 0.03}]
    assert watch([range(SENT)] * 4, answered={number: 0.03 if number == 20 else 0.001 for number in range(SENT)})["echoes"]["steps"] == []


def test_flows_that_always_fail_and_where_they_were_led():
    sights = [
        {"where": "host", "ifname": "eth0", "way": "out", "flow": 8, "train": "tcp", "kind": "request", "numbers": [[0, 1.0], [1, 2.0], [2, 3.0]],
         "destinations": ["10.0.0.1", "10.0.0.2"], "of": [[0, "10.0.0.1"], [1, "10.0.0.2"], [2, "10.0.0.1"]]},
        {"where": "host", "ifname": "eth0", "way": "in", "flow": 8, "train": "tcp", "kind": "reply", "numbers": [[0, 1.1], [2, 3.1]]},
    ]  # fmt: skip
    found = watch([range(SENT)] * 4, flows=[(40000, 2, 2, 0), (40001, 2, 0, 0), (40002, 1, 0, 1)], watched={"k8s01": Watched("k8s01", sights=sights)})
    assert (found["flows"]["flows"], found["flows"]["failing"]) == (3, [{"port": 40001, "sent": 2, "replied": 0}])
    assert found["flows"]["destinations"] == [{"address": "10.0.0.1", "flows": 2, "answered": 2}, {"address": "10.0.0.2", "flows": 1, "answered": 0}]


FEW = [number for number in range(SENT) if number % 4]


@pytest.mark.parametrize(
    ("told", "outcome", "text"),
    [
        (watch([range(SENT)] * 4), "healthy", None),
        (watch([range(SENT), range(SENT), FEW, FEW]), "broken", f"25 % of the echoes are lost between {HOPS[1]} and {HOPS[2]}"),
        (watch([range(SENT)] * 4, [range(SENT), FEW, FEW, FEW]), "broken", f"25 % of the answers are lost between {HOPS[3]} and {HOPS[2]}"),
        (watch([range(SENT)] * 4, flows=[(40000, 1, 1, 0), (40001, 1, 0, 0)]), "broken", "50 % of the flows to 10.253.2.7:8080 fail"),
    ],
)
def test_what_is_made_of_it(told, outcome, text):
    evidence = {"probes": [small.probe("forward", True), small.probe("reverse", True)], "watch": told}
    diagnosis = small.diagnose(evidence=evidence)
    assert diagnosis.outcome == outcome
    causes = [cause for cause in diagnosis.causes if cause.id == "partial_loss"]
    assert [text in cause.summary for cause in causes] == ([True] if text else [])
    screen = _text.screen(diagnosis.report([]))
    assert any(line.startswith("WATCHED") for line in screen)


def test_without_a_watch_nothing_is_said_of_it():
    diagnosis = small.diagnose(evidence={"probes": [small.probe("forward", True), small.probe("reverse", True)]})
    assert Evidence({"probes": []}).watch is None
    assert small.verdict(diagnosis, "probe.watch", "k8s01", "forward").outcome == "not_applicable"


@pytest.mark.parametrize("seconds", [0, 3, 10, 12.5, 60, 1e6])
def test_a_watch_is_cut_into_calls(seconds):
    parts = _watched.slices(seconds)
    assert sum(length for _offset, length in parts) == min(seconds, _watched.LONGEST)
    assert [offset for offset, _length in parts] == [_watched.SLICE * number for number in range(len(parts))]


junk = st.recursive(st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5), lambda inner: st.lists(inner, max_size=4))


@given(st.dictionaries(st.sampled_from(["protocol", "first", "sent", "replied", "times", "twice", "errors", "error", "flows", "port"]), junk))
def test_property_any_answer_of_a_node_is_understood(train):
    found = _watched.entry([{"watched": [train, train]}], {}, lambda direction, kinds, of=0, train="watch": [hop(HOPS[0], range(3))])
    assert found["echoes"]["sent"] <= _watched.MOST
    assert all(0 <= one["packets"] <= one["of"] <= found["echoes"]["sent"] for one in found["echoes"]["lost"])
    assert _watched.progress({"watched": [train]}, 3).startswith("WATCHING")
