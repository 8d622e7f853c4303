# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import types
import typing as t

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.podnet.doctor.plugins.module_utils._kube import KubeError
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction, Refused
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion


class Action(ControllerAction):
    SPEC = {"name": {"type": "str", "required": True}}
    READS_OTHER_HOSTS = True
    raised: Exception | None = None

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        if self.raised:
            raise self.raised
        return {**result, "said": arguments["name"]}


def ran(monkeypatch: pytest.MonkeyPatch, raised: Exception | None = None, strategy: str = "linear") -> dict[str, t.Any]:
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp=None, task_vars=None: {"began": True})
    monkeypatch.setattr(Action, "validate_argument_spec", lambda self, argument_spec: (None, self._task.args), raising=False)
    task = types.SimpleNamespace(args={"name": "web"}, play=types.SimpleNamespace(strategy=strategy))
    monkeypatch.setattr("ansible_collections.podnet.doctor.plugins.plugin_utils._run.play_of", lambda task: task.play)
    action = Action.__new__(Action)
    action._task, action.raised = task, raised
    return action.run(None, {})


def test_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran(monkeypatch) == {"began": True, "changed": False, "said": "web"}


@pytest.mark.parametrize("raised", [Refused("no store"), BadQuestion("no store"), KubeError("no store")])
def test_one_sentence_where_it_cannot(monkeypatch: pytest.MonkeyPatch, raised: Exception) -> None:
    assert ran(monkeypatch, raised) == {"began": True, "changed": False, "failed": True, "msg": "no store"}


def test_a_refusal_may_tell_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ran(monkeypatch, Refused("another plan", plan_id="ab12"))["plan_id"] == "ab12"


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        ran(monkeypatch, ZeroDivisionError())


def test_hosts_that_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ran(monkeypatch, strategy="free")
    assert found["failed"] and "strategy free" in found["msg"] and "said" not in found
