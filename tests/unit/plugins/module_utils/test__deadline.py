# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
import time

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired, run, sentence


def fails() -> None:
    raise OSError(13, "Permission denied", "/x")


def test_each_section_fails_by_itself() -> None:
    found = run({"a": lambda: 1, "b": fails}, {"c": lambda: [2], "d": fails}, Deadline(5))
    assert found == {"a": 1, "b": {"error": "/x: Permission denied"}, "c": [2], "d": {"error": "/x: Permission denied"}}


def test_sections_that_hang_do_not_take_the_others_time() -> None:
    forever = threading.Event()
    started = time.monotonic()
    found = run({"hung": forever.wait, "well": lambda: 1}, {"stuck": forever.wait, "after": lambda: 2, "last": lambda: 3}, Deadline(0.6))
    assert time.monotonic() - started < 2
    assert found["hung"] == found["stuck"] == {"error": "no answer before the deadline"}
    assert (found["well"], found["after"], found["last"]) == (1, 2, 3)
    forever.set()


def test_past_deadline() -> None:
    deadline = Deadline(-1)
    assert deadline.expired() and deadline.remaining() == 0.001
    assert run({}, {"late": lambda: 1}, deadline) == {"late": {"error": "not read: the deadline had passed"}}
    with pytest.raises(Expired, match="no answer within -1 s"):
        deadline.check()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(2, "No such file or directory", "/a"), "/a: No such file or directory"),
        (OSError(111, "Connection refused"), "Connection refused"),
        (ValueError("two\n  lines"), "two lines"),
        (KeyError(), "KeyError"),
    ],
)
def test_sentence(error: BaseException, text: str) -> None:
    assert sentence(error) == text
