# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _detection
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import ApiError
from ansible_collections.podnet.doctor.plugins.module_utils._object_steps import Unfinished
from ansible_collections.podnet.doctor.tests.unit.small_objects import DAEMONSET, JSON, daemonset, method


@pytest.mark.parametrize(
    ("detection", "word"),
    [
        ({"firstFound": True, "kubernetes": None}, "first-found"), ({"kubernetes": "NodeInternalIP"}, "kubernetes-internal-ip"),
        ({"cidrs": ["10.0.0.0/8", "10.1.0.0/16"]}, "cidr=10.0.0.0/8,10.1.0.0/16"), ({"skipInterface": "br.*"}, "skip-interface=br.*"),
        ({"canReach": "8.8.8.8"}, "can-reach=8.8.8.8"), ({"interface": "eth0", "firstFound": True}, ""), ({}, ""), (None, ""), ({"cidrs": [1]}, ""),
        ({"firstFound": False}, ""), ({"else": "x"}, ""),
    ],
)  # fmt: skip
def test_words_of_an_installation(detection: t.Any, word: str) -> None:
    assert _detection.method_of(detection) == word


class Rolling:
    """A DaemonSet that is one step further each time it is looked at."""

    def __init__(self, *steps: dict[str, t.Any] | None, seconds: float = 5) -> None:
        self.steps, self.deadline = list(steps), Deadline(seconds)

    def get_json(self, path: str) -> dict[str, t.Any]:
        assert path == DAEMONSET
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if step is None:
            raise ApiError("no answer")
        return step


def rolling(updated: int, available: int = 3, generation: int = 3) -> dict[str, t.Any]:
    found = daemonset(method("kubernetes-internal-ip"), generation=generation)
    return {**found, "status": {**found["status"], "updatedNumberScheduled": updated, "numberAvailable": available}}


WANTED = [{"daemonset": DAEMONSET, "method": "kubernetes-internal-ip"}]


def test_a_rollout_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_detection, "POLL", 0.0)
    api: t.Any = Rolling(daemonset(), rolling(3, generation=4), rolling(2), None, rolling(3, available=2), rolling(3))
    _detection.await_rollouts(api, WANTED)
    assert len(api.steps) == 1


@pytest.mark.parametrize(
    ("stuck", "sentence"),
    [
        (rolling(1, available=2), "1 of 3 pods are new, 2 of 3 are available"), (daemonset(), "calico-node's method still is first-found"),
        (None, "it could not be looked at"),
    ],
)  # fmt: skip
def test_a_rollout_that_stands_still_is_told(stuck: t.Any, sentence: str) -> None:
    api: t.Any = Rolling(stuck, seconds=0.01)
    with pytest.raises(Unfinished, match=sentence):
        _detection.await_rollouts(api, WANTED)


@given(JSON | st.dictionaries(st.sampled_from(["firstFound", "kubernetes", "interface", "skipInterface", "canReach", "cidrs"]), JSON, max_size=2))
def test_property_words_of_an_installation(detection: t.Any) -> None:
    word = _detection.method_of(detection)
    assert word == "" or word.partition("=")[0] in ("first-found", "kubernetes-internal-ip", "interface", "skip-interface", "can-reach", "cidr")
