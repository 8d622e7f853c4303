# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: screen
type: stdout
short_description: Shows the reports of this collection, and of Ansible only what went wrong
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - A report is worth nothing if it has to be found between task banners. This callback prints what the actions of this
    collection want to show (the result key C(podnet_screen), a list of lines) and nothing around it.
  - A task is one short line while it runs. On a terminal that line is overwritten by the next one; elsewhere it is printed
    once, and only if a host had something to do.
  - A failure or an unreachable host is one line, also where the play goes on without it. The closing recap is printed only if something failed.
  - Prompts of M(ansible.builtin.pause), messages of M(ansible.builtin.debug) and differences (C(--diff)) are shown as usual.
    A task that asks on its own carries the tag C(podnet_prompt) and gets no progress line.
  - C(-v) shows the plays, each task and each host's result in a word; C(-vv) the results too.
  - Colour is used only on a terminal and honours E(NO_COLOR) and E(ANSIBLE_NOCOLOR); no word is told by its colour alone.
    Control characters in texts that came from nodes are shown as C(\x1b), they never reach the terminal.
requirements:
  - set as stdout callback in the configuration or with E(ANSIBLE_STDOUT_CALLBACK=podnet.doctor.screen)
"""

import os
import re
import sys
import typing as t
from collections.abc import Mapping

from ansible.plugins.callback import CallbackBase
from ansible.utils.color import stringc

from ansible_collections.podnet.doctor.plugins.plugin_utils._screen import LINES, SHOWN, printable

# Bookkeeping of the play, which nobody waits for.
QUIET = frozenset(
    "add_host assert debug fail group_by import_playbook import_role import_tasks include_role include_tasks include_vars meta pause "
    "set_fact set_stats validate_argument_spec".split()
)
PROMPT = "podnet_prompt"
WIDTH = 200  # of a message that came from elsewhere

# Words of a report that may be coloured. Each says the same without its colour.
COLOURS = (
    (re.compile(r"\b(BROKEN|MISSING|FAILED|WRONG|REFUSED|UNREACHABLE)\b"), "red"),
    (re.compile(r"\b(UNKNOWN|UNEXPECTED|NOT CHECKED|NOT APPROVED)\b"), "yellow"),
    (re.compile(r"\b(HEALTHY|REPAIRED|OK)\b|(?<= )ok(?=$| )"), "green"),
)
LABEL = re.compile(r"^[A-Z]{3,}(?: [A-Z]+)*(?= )")


def coloured(line: str) -> str:
    """The line with the label at its start and the words that judge in colour."""
    label = LABEL.match(line)
    head, rest = (line[: label.end()], line[label.end() :]) if label else ("", line)
    for pattern, colour in COLOURS:
        rest = pattern.sub(lambda match, colour=colour: stringc(match.group(), colour), rest)  # type: ignore[misc]
    return (stringc(head, "bright blue") if head else "") + rest


# Said by the word UNREACHABLE already.
_PREFIX = re.compile(r"^(?:Task failed: )?(?:Failed to connect to the host via \w+: )?(?:ssh: )?")


def one_line(message: object, last: bool = False) -> str:
    """The first (or last) line of a message that says something, shortened."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    text = printable(lines[-1 if last else 0]) if lines else "no message"
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def _short(action: object) -> str:
    return str(action).rpartition(".")[2]


class CallbackModule(CallbackBase):
    """Prints reports and failures, and one line of progress."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "podnet.doctor.screen"

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._hosts = 0
        self._waiting = ""  # progress not printed yet (no terminal)
        self._drawn = False  # progress on the terminal's last line
        self._failed: set[str] = set()  # hosts that failed for themselves, not on behalf of all

    # ---- writing
    def _say(self, line: str, colour: str | None = None) -> None:
        self._erase()
        plain = printable(line)
        shown = coloured(plain) if colour is None else plain if colour == "normal" else stringc(plain, colour)
        self._display.display(shown, screen_only=True)
        self._display.display(plain, log_only=True)

    def _erase(self) -> None:
        if self._drawn:
            sys.stdout.write("\r\x1b[2K")
            sys.stdout.flush()
            self._drawn = False

    def _progress(self, text: str) -> None:
        """Show what runs. The cursor stays at the line's start, so that whatever is printed next takes its place."""
        if self._terminal:
            self._erase()
            try:
                width = os.get_terminal_size(sys.stdout.fileno()).columns or 80
            except (OSError, ValueError):
                width = 80
            sys.stdout.write(f"\r\x1b[2K{printable(text)[: max(width - 1, 20)]}\r")
            sys.stdout.flush()
            self._drawn = True
        else:
            self._waiting = text

    def _started(self) -> None:
        """A host had something to do: without a terminal the progress line is due now."""
        if self._waiting:
            self._say(self._waiting, "dark gray")
            self._waiting = ""

    # ---- plays and tasks
    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        if self._display.verbosity:
            self._say(f"playbook {os.path.basename(str(playbook._file_name))}")

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        self._waiting = ""
        manager = play.get_variable_manager()
        names = manager._inventory.get_hosts(play.hosts) if manager is not None and manager._inventory is not None else []
        self._hosts = len(names)
        if self._display.verbosity:
            self._say(f"play {play.get_name().strip()}: {self._count()}")

    def _count(self) -> str:
        return "1 host" if self._hosts == 1 else f"{self._hosts} hosts"

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        self._waiting = ""
        quiet = _short(task.action) in QUIET or PROMPT in (task.tags or [])
        if quiet and not self._display.verbosity:
            self._erase()
            return
        name = str(task.name or task.get_name()).strip()
        text = f"{name} ..." if task.run_once else f"{name} ({self._count()}) ..."
        if self._display.verbosity or not name:
            self._say(text)
        else:
            self._progress(text)

    def v2_playbook_on_handler_task_start(self, task: t.Any) -> None:
        self.v2_playbook_on_task_start(task, False)

    def v2_playbook_on_vars_prompt(self, *args: t.Any, **kwargs: t.Any) -> None:
        self._erase()

    # ---- results
    @staticmethod
    def _parts(result: t.Any) -> tuple[t.Any, t.Any, Mapping[str, t.Any]]:
        """Host, task and result, under the names that ansible-core gives them since 2.19, or had before."""
        if hasattr(result, "result"):
            return result.host, result.task, result.result
        return result._host, result._task, result._result

    def _word(self, result: t.Any, word: str) -> None:
        if self._display.verbosity:
            host, _dummy, data = self._parts(result)
            self._say(f"  {host.get_name()}: {word}")
            if self._display.verbosity > 1:
                for line in self._dump_results(data, indent=2).splitlines():
                    self._say(f"    {line}", "normal")

    def _lines(self, data: Mapping[str, t.Any]) -> None:
        lines = data.get(LINES)
        if isinstance(lines, list) and not data.get(SHOWN):
            self._waiting = ""
            for line in lines:
                self._say(str(line))

    def v2_runner_on_ok(self, result: t.Any) -> None:
        _dummy, task, data = self._parts(result)
        if LINES in data:
            self._lines(data)
        elif _short(task.action) == "debug":
            self._debug(data)
        else:
            self._started()
        self._word(result, "changed" if data.get("changed") else "ok")

    def _debug(self, data: Mapping[str, t.Any]) -> None:
        if self._display.verbosity < int(data.get("verbosity", 0) or 0):
            return
        for key, value in data.items():
            if key in ("changed", "failed", "skipped", "invocation", "results") or key.startswith("_ansible"):
                continue
            texts = value if isinstance(value, list) else str(value).splitlines()
            for text in texts:
                self._say(str(text) if key == "msg" else f"{key}: {text}", "normal")

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        _dummy, task, data = self._parts(result)
        self._lines(data)
        if _short(task.action) == "debug":
            self._debug(data)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        self._word(result, "skipped")

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        host, task, data = self._parts(result)
        self._lines(data)
        if data.get("results") and not data.get("censored"):
            return  # each item said so itself
        self._complain(host, task, data, "FAILED", ignore_errors)
        self._word(result, "failed")

    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        host, task, data = self._parts(result)
        self._lines(data)
        self._complain(host, task, data, "FAILED", bool(task.ignore_errors))

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        host, task, data = self._parts(result)
        self._complain(host, task, data, "UNREACHABLE", bool(task.ignore_unreachable))

    def _complain(self, host: t.Any, task: t.Any, data: Mapping[str, t.Any], word: str, goes_on: bool) -> None:
        self._waiting = ""
        message = data.get("msg") or data.get("censored") or data.get("module_stderr") or data.get("stderr") or ""
        name = str(task.name or task.get_name()).strip()
        where = "" if _short(task.action) in ("assert", "fail") or LINES in data else f" ({name})"
        if word == "UNREACHABLE":
            message = "\n".join(_PREFIX.sub("", line) for line in str(message).splitlines())
        who = "" if task.run_once else f"{host.get_name()}: "
        if not goes_on and not task.run_once:
            self._failed.add(str(host.get_name()))
        text = f"{word:<11} {who}{one_line(message, last=word == 'UNREACHABLE')}{where}"
        if goes_on:
            self._say(text + "; goes on without it", "yellow")
        else:
            self._say(text, "red")

    def v2_runner_retry(self, result: t.Any) -> None:
        host, task, data = self._parts(result)
        left = int(data.get("retries", 0) or 0) - int(data.get("attempts", 0) or 0)
        text = f"{str(task.name or task.get_name()).strip()}: {host.get_name()} not yet, {left} more tries"
        if self._terminal or self._display.verbosity:
            self._progress(text)

    def v2_on_file_diff(self, result: t.Any) -> None:
        _dummy, task, data = self._parts(result)
        parts = [item for item in data.get("results", []) if isinstance(item, dict)] if task.loop else [data]
        for part in parts:
            if part.get("diff") and part.get("changed"):
                for line in self._get_diff(part["diff"]).splitlines():
                    # The base class colours it already; only its own colour codes may pass.
                    self._say(re.sub(r"\x1b\[[0-9;]*m", "", line), "normal")

    # ---- the end
    def v2_playbook_on_no_hosts_remaining(self) -> None:
        self._say("FAILED      no host is left", "red")

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._erase()
        self._waiting = ""
        if not stats.processed:  # one play without hosts is normal: a group to which nothing was added
            self._say("FAILED      no host of the inventory matches the plays and --limit: nothing was done", "red")
        for word, counted in (("FAILED", stats.failures), ("UNREACHABLE", stats.dark)):
            group = sorted(self._failed.intersection(counted))
            if group:
                names = ", ".join(group)
                self._say(f"{word:<11} in the end: {len(group)} of {len(stats.processed)} hosts: {one_line(names)}", "red")
