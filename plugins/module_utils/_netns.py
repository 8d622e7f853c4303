# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work inside another network namespace, in a thread that ends there: the process itself never moves.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import ctypes
import os
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired, Running

CLONE_NEWNET = 0x40000000
T = t.TypeVar("T")


def _enter(path: str) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if hasattr(os, "setns"):
            os.setns(handle, CLONE_NEWNET)
        elif ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(handle)


def inode(path: str = "/proc/thread-self/ns/net") -> int:
    """The number that names a network namespace."""
    return os.stat(path).st_ino


def inside(path: str, work: t.Callable[[], T], deadline: Deadline) -> T:
    """Run work in the network namespace behind path (``/proc/<pid>/ns/net``) and return its result."""

    def moved() -> T:
        _enter(path)
        return work()

    running = Running("netns", moved)
    if not running.wait(deadline.remaining()):
        raise Expired("no answer from inside the namespace before the deadline")
    if running.error is not None:
        raise running.error
    return t.cast(T, running.value)
