# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.podnet.doctor.plugins.callback import screen


class Display:
    """Holds what would be on the screen."""

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        self.lines: list[str] = []
        self.log: list[str] = []

    def display(self, text: str, screen_only: bool = False, log_only: bool = False) -> None:
        (self.log if log_only else self.lines).append(text)


class Output:
    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.text = ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        raise OSError("no terminal behind it")


class Scene:
    """A callback that is told of tasks and results."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, verbosity: int = 0, terminal: bool = False, hosts: int = 2) -> None:
        self.display = Display(verbosity)
        self.output = Output(terminal)
        monkeypatch.setattr(sys, "stdout", self.output)
        monkeypatch.setenv("TERM", "xterm")
        self.callback = screen.CallbackModule(display=self.display)
        monkeypatch.undo()
        self._monkeypatch = monkeypatch
        self._hosts = hosts

    def __enter__(self) -> Scene:
        self._monkeypatch.setattr(sys, "stdout", self.output)
        names = [f"k8s{number:02}" for number in range(self._hosts)]
        inventory = SimpleNamespace(get_hosts=lambda pattern: names)
        play = SimpleNamespace(hosts="all", get_name=lambda: "Look", get_variable_manager=lambda: SimpleNamespace(_inventory=inventory))
        self.callback.v2_playbook_on_play_start(play)
        return self

    def __exit__(self, *args: object) -> None:
        self._monkeypatch.undo()

    def task(self, name: str = "Ask the kernels", action: str = "podnet.doctor.node_info", **more: Any) -> Any:
        settings = {"run_once": False, "tags": [], "ignore_errors": False, "ignore_unreachable": False, "loop": None, **more}
        task = SimpleNamespace(name=name, action=action, get_name=lambda: name, **settings)
        self.callback.v2_playbook_on_task_start(task, False)
        return task

    def result(self, task: Any, data: dict[str, Any], host: str = "k8s01") -> Any:
        return SimpleNamespace(host=SimpleNamespace(get_name=lambda: host), task=task, result=data)


def test_progress_without_a_terminal_waits_for_the_first_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        task = scene.task()
        assert scene.display.lines == []
        scene.callback.v2_runner_on_ok(scene.result(task, {}))
        scene.callback.v2_runner_on_ok(scene.result(task, {}, "k8s02"))
        assert scene.display.lines == ["Ask the kernels (2 hosts) ..."]
        skipped = scene.task("Not needed")
        scene.callback.v2_runner_on_skipped(scene.result(skipped, {"skipped": True}))
        assert len(scene.display.lines) == 1
        assert scene.output.text == ""


def test_progress_on_a_terminal_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch, terminal=True) as scene:
        task = scene.task(run_once=True)
        assert scene.output.text == "\r\x1b[2KAsk the kernels ...\r"
        scene.callback.v2_runner_on_ok(scene.result(task, {"podnet_screen": ["the verdict"]}))
        assert scene.output.text.endswith("\r\x1b[2K")
        assert scene.display.lines == ["the verdict"]


@pytest.mark.parametrize("more", [{"action": "ansible.builtin.pause"}, {"action": "podnet.doctor.remediate", "tags": ["podnet_prompt"]}])
def test_a_task_that_asks_has_the_screen_for_itself(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    with Scene(monkeypatch, terminal=True) as scene:
        scene.task(**more)
        assert scene.output.text == "" and scene.display.lines == []


def test_lines_are_shown_verbatim_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        task = scene.task()
        scene.callback.v2_runner_on_ok(scene.result(task, {"podnet_screen": ["CAUSE    one", "", "         two"], "changed": True}))
        scene.callback.v2_runner_on_ok(scene.result(task, {"podnet_screen": ["CAUSE    one"], "podnet_screen_shown": True}))
        assert scene.display.lines == ["CAUSE    one", "", "         two"]
        assert scene.display.log == scene.display.lines


def test_hostile_evidence_does_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        task = scene.task()
        scene.callback.v2_runner_on_ok(scene.result(task, {"podnet_screen": ["\x1b]0;title\x07 route {{ 1 }} \u202e"]}))
        scene.callback.v2_runner_on_failed(scene.result(task, {"msg": "\x1b[2J\nrest"}, host="k8s\x1b[1m"))
        scene.callback.v2_runner_on_unreachable(scene.result(task, {"msg": None}))
        assert scene.display.lines[0] == "\\x1b]0;title\\x07 route {{ 1 }} \\u202e"
        assert scene.display.lines[1].startswith("FAILED      k8s\\x1b[1m: \\x1b[2J")
        assert "\x1b" not in "".join(scene.display.lines)


def test_failures_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        task = scene.task(ignore_unreachable=True, ignore_errors=True)
        timeout = "Task failed: Failed to connect to the host via ssh: Warning: added\r\nssh: connect to host 10.0.0.9 port 22: Connection timed out"
        scene.callback.v2_runner_on_unreachable(scene.result(task, {"msg": timeout}))
        scene.callback.v2_runner_on_failed(scene.result(task, {"msg": "x" * 500}), ignore_errors=True)
        fail = scene.task(action="ansible.builtin.assert")
        scene.callback.v2_runner_on_failed(scene.result(fail, {"msg": "1 finding"}))
        scene.callback.v2_runner_on_failed(scene.result(scene.task("Secret"), {"censored": "hidden"}))
        first, second, third, fourth = scene.display.lines
        expected = "UNREACHABLE k8s01: connect to host 10.0.0.9 port 22: Connection timed out (Ask the kernels); goes on without it"
        assert first == expected
        assert second.startswith("FAILED      k8s01: xxx") and "..." in second and len(second) < 280
        assert third == "FAILED      k8s01: 1 finding"
        assert fourth == "FAILED      k8s01: hidden (Secret)"


def test_items_of_a_loop_fail_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        task = scene.task()
        scene.callback.v2_runner_item_on_failed(scene.result(task, {"msg": "no"}))
        scene.callback.v2_runner_on_failed(scene.result(task, {"msg": "One or more items failed", "results": [{"msg": "no"}]}))
        assert scene.display.lines == ["FAILED      k8s01: no (Ask the kernels)"]


def test_debug_still_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        task = scene.task("Say", "ansible.builtin.debug")
        scene.callback.v2_runner_on_ok(scene.result(task, {"msg": "one\ntwo", "changed": False}))
        scene.callback.v2_runner_on_ok(scene.result(task, {"msg": ["a", "b"]}))
        scene.callback.v2_runner_item_on_ok(scene.result(task, {"answer": 42, "_ansible_verbose_always": True}))
        assert scene.display.lines == ["one", "two", "a", "b", "answer: 42"]


def test_the_recap_is_for_failures_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        scene.callback.v2_playbook_on_stats(SimpleNamespace(failures={}, dark={}, processed={"a": 1}))
        assert scene.display.lines == []
        task = scene.task()
        for host in ("a", "b", "c"):
            scene.callback.v2_runner_on_failed(scene.result(task, {"msg": "no"}, host))
        once = scene.task(run_once=True)
        scene.callback.v2_runner_on_failed(scene.result(once, {"msg": "not ready", "podnet_screen": ["line"]}, "d"))
        assert scene.display.lines[-2:] == ["line", "FAILED      not ready"]
        scene.display.lines.clear()
        scene.callback.v2_playbook_on_stats(SimpleNamespace(failures={"b": 1, "a": 1}, dark={"c": 1, "x": 1}, processed={"a": 1, "b": 1, "c": 1}))
        assert scene.display.lines == ["FAILED      in the end: 2 of 3 hosts: a, b", "UNREACHABLE in the end: 1 of 3 hosts: c"]


def test_verbose_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch, verbosity=2) as scene:
        scene.callback._plugin_options = {}
        task = scene.task()
        scene.callback.v2_runner_on_ok(scene.result(task, {"changed": True, "value": 1}))
        scene.callback.v2_runner_on_skipped(scene.result(task, {}))
        text = "\n".join(scene.display.lines)
        assert "play Look: 2 hosts" in text and "k8s01: changed" in text and '"value": 1' in text and "k8s01: skipped" in text


def test_retries_show_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch, terminal=True) as scene:
        scene.callback.v2_runner_retry(scene.result(scene.task("Wait"), {"retries": 5, "attempts": 2}))
        assert "Wait: k8s01 not yet, 3 more tries" in scene.output.text


def test_differences_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        task = scene.task()
        scene.callback.v2_on_file_diff(scene.result(task, {"changed": True, "diff": {"before": "a\x1b]0;t\x07\n", "after": "b\n"}}))
        assert any(line.startswith("-a\\x1b]0;t\\x07") for line in scene.display.lines)
        assert "+b" in scene.display.lines


def test_results_of_older_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        task = scene.task()
        result = SimpleNamespace(_host=SimpleNamespace(get_name=lambda: "a"), _task=task, _result={"podnet_screen": ["x"]})
        scene.callback.v2_runner_on_ok(result)
        assert scene.display.lines == ["x"]


def test_colour_never_changes_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "stringc", lambda text, colour: f"<{colour}>{text}</>")
    line = screen.coloured("CHECKED  212 ok, BROKEN at k8s02")
    assert line == "<bright blue>CHECKED</>  212 ok, <red>BROKEN</> at k8s02"
    assert screen.coloured("PATH     web-0 eth0 ok > cali ok") == "<bright blue>PATH</>     web-0 eth0 <green>ok</> > cali <green>ok</>"


def test_nobody_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scene(monkeypatch) as scene:
        scene.callback.v2_playbook_on_no_hosts_matched()
        assert scene.display.lines == []
        scene.callback.v2_playbook_on_no_hosts_remaining()
        scene.callback.v2_playbook_on_stats(SimpleNamespace(failures={}, dark={}, processed={}))
        first, second = scene.display.lines
        assert first.startswith("FAILED") and "nothing was done" in second
