# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One deadline for a whole module call, and sections that fail one by one.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import threading
import time
import typing as t

Section = t.Callable[[], t.Any]


class Expired(Exception):
    """The time is up."""


class Deadline:
    """A moment after which nobody waits any more."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def remaining(self, at_most: float | None = None) -> float:
        """The seconds left, at least a hair so that it can be given to a socket."""
        left = max(self.end - time.monotonic(), 0.001)
        return left if at_most is None else min(left, at_most)

    def expired(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.end

    def check(self) -> None:
        """Raise if the time is up."""
        if self.expired():
            raise Expired(f"no answer within {self.seconds:g} s")


def sentence(error: BaseException) -> str:
    """An error as one line of text."""
    if isinstance(error, OSError) and error.strerror and not error.args[2:]:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    else:
        text = str(error)
    text = " ".join(text.split())
    return text or type(error).__name__


class Running:
    """A section at work in a thread of its own; a thread that hangs is left behind and ends with the process."""

    def __init__(self, name: str, section: Section) -> None:
        self.name = name
        self.value: t.Any = None
        self.error: BaseException | None = None
        self._section = section
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.value = self._section()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is this section's own error, and is shown as such
            self.error = error

    def wait(self, seconds: float) -> bool:
        """Whether it came to an end within these seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> t.Any:
        """The value, or the error in the form that a document uses."""
        if self._thread.is_alive():
            return {"error": "no answer before the deadline"}
        if self.error is not None:
            return {"error": sentence(self.error)}
        return self.value


def run(beside: dict[str, Section], in_turn: dict[str, Section], deadline: Deadline) -> dict[str, t.Any]:
    """Run sections and return their values or errors.

    Those that mostly wait run ``beside`` each other; those that compute run ``in_turn``, and one that hangs may use up half
    of the time that is left, so that the next ones still have theirs.
    """
    started = [Running(name, section) for name, section in beside.items()]
    results: dict[str, t.Any] = {}
    for name, section in in_turn.items():
        if deadline.expired():
            results[name] = {"error": "not read: the deadline had passed"}
            continue
        running = Running(name, section)
        running.wait(deadline.remaining() / 2)
        results[name] = running.result()
    for running in started:
        running.wait(deadline.remaining())
        results[running.name] = running.result()
    return results
