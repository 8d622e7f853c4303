# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _capture, _marks, _watch
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.tests.unit.plugins import support

TO, PORT = "10.244.1.2", 8080


@pytest.fixture
def network(namespaces: t.Any) -> t.Iterator[support.Network]:
    made = support.Network(namespaces)
    try:
        yield made
    finally:
        made.close()


def sent(network: support.Network, work: t.Callable[[], dict[str, t.Any]]) -> dict[str, t.Any]:
    found: dict[str, t.Any] = inside(network.pods[0].path, work, Deadline(20))
    return found


def test_echoes_are_numbered_on_and_seen_by_their_numbers(network: support.Network) -> None:
    probe = os.urandom(16).hex()
    marks = _marks.of(probe, 3)
    far = network.nodes[1].path
    order = _capture.Order(probe, [_capture.Place("pod", network.pods[1].path, 0)], marks, (4789,), 20)
    assert inside(far, lambda: _capture.arm(order), Deadline(20)) is None
    train = sent(network, lambda: _watch.echoes(TO, None, marks, 0, 0.6, 50))
    assert (train["first"], train["sent"], train["replied"], train["twice"], train["errors"]) == (50, 3, 3, 0, [])
    assert [number for number, _at, _took in train["times"]] == [50, 51, 52]
    seen = inside(far, lambda: _capture.collect(probe, 5), Deadline(20))["seen"]
    requests = [one for one in seen if (one["train"], one["kind"], one["way"]) == ("watch", "request", "in")]
    assert [[number for number, _at in one["numbers"]] for one in requests] == [[50, 51, 52]]


def test_each_port_is_tried_in_turn_and_again(network: support.Network) -> None:
    network.serve(network.pods[1], PORT)
    marks = _marks.of(os.urandom(16).hex(), 1)
    ports = _watch.ports(marks)
    assert len(ports) == 8 and set(ports) <= set(marks.ports)
    rounds = (len(ports) + 2) * _watch.FLOW_PACE
    train = sent(network, lambda: _watch.flows(TO, PORT, "tcp", None, marks, rounds, 0))
    tried = {port: counts for port, *counts in train["flows"]}
    assert set(tried) == set(ports)
    assert all(counts[0] == counts[1] and counts[2] == 0 for counts in tried.values())
    assert tried[ports[0]][0] == 2  # connected again from the same port


def test_refused_and_silent_are_told_apart(network: support.Network) -> None:
    marks = _marks.of(os.urandom(16).hex(), 1)
    refused = sent(network, lambda: _watch.flows(TO, 8081, "tcp", None, marks, 0.5, 0))
    assert refused["replied"] == 0 and all(counts[0] == counts[2] for _port, *counts in refused["flows"])
    silent = sent(network, lambda: _watch.flows("10.244.1.99", PORT, "tcp", None, marks, 0.3, 4))
    assert [counts[1:] for _port, *counts in silent["flows"]] == [[0, 0]]
    assert silent["flows"][0][0] == _watch.ports(marks)[4]
