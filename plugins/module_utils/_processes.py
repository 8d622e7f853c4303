# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes, read once from /proc: their network namespace, and of those in the node's own namespace their command line.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import datetime
import os
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._netns import inode

LONGEST = 4096
GONE = (FileNotFoundError, NotADirectoryError, ProcessLookupError)


def read_if_there(path: str, longest: int = 65536) -> str | None:
    """The text of a small file, None if there is none. Errors: OSError, where it may be there but cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except GONE:
        return None
    try:
        return os.read(handle, longest).decode("utf-8", "replace")
    except GONE:  # of a process that ended meanwhile
        return None
    finally:
        os.close(handle)


def read_file(path: str, longest: int = 65536) -> str | None:
    """The text of a small file, None if it cannot be read."""
    try:
        return read_if_there(path, longest)
    except OSError:
        return None


class Processes:
    """One pass over /proc. refusal: what the kernel said where it did not let a process be looked at."""

    def __init__(self, root: str = "/proc", check: t.Callable[[], None] | None = None, own: int | None = None) -> None:
        self.root = root
        self.own = inode() if own is None else own
        self.by_netns: dict[int, list[int]] = {}
        self._argv: dict[int, list[str]] = {}
        self._boot: float | None = None
        self.refusal: OSError | None = None
        for entry in os.listdir(root):
            if not entry.isdigit():
                continue
            if check is not None:
                check()
            number = self._netns(entry)
            if number is None:
                continue
            self.by_netns.setdefault(number, []).append(int(entry))
            if number == self.own:
                text = self._cmdline(entry)
                if text:
                    self._argv[int(entry)] = text.rstrip("\0").split("\0")
        for pids in self.by_netns.values():
            pids.sort()

    def _cmdline(self, pid: str) -> str | None:
        try:
            return read_if_there(f"{self.root}/{pid}/cmdline", LONGEST)
        except OSError as error:
            self.refusal = error
            return None

    def _netns(self, pid: str) -> int | None:
        try:
            link = os.readlink(f"{self.root}/{pid}/ns/net")
        except GONE:
            return None
        except OSError as error:
            self.refusal = error
            return None
        number = link[5:-1]
        return int(number) if link.startswith("net:[") and number.isdigit() else None

    def find(self, match: t.Callable[[list[str]], bool]) -> list[int]:
        """The processes of the node's own namespace whose argv matches, the oldest first. Errors: OSError, where one may have been hidden."""
        found = [pid for pid, argv in self._argv.items() if match(argv)]
        if not found and self.refusal is not None:
            raise self.refusal
        return sorted(found, key=lambda pid: (self.started(pid) or 0, pid))

    def argv(self, pid: int) -> list[str]:
        """The command line of a process of the node's own namespace."""
        return self._argv.get(pid, [])

    def parent(self, pid: int) -> int:
        """The process that started it, or took it over; 0 if it is gone."""
        fields = (read_file(f"{self.root}/{pid}/stat") or "").rpartition(")")[2].split()
        return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0

    def _boot_time(self) -> float | None:
        if self._boot is None:
            for line in (read_file(f"{self.root}/stat", 1 << 20) or "").splitlines():
                if line.startswith("btime "):
                    self._boot = float(line.split()[1])
        return self._boot

    def started(self, pid: int) -> float | None:
        """When a process started, in seconds since the epoch."""
        text = read_file(f"{self.root}/{pid}/stat")
        boot = self._boot_time()
        if not text or boot is None:
            return None
        fields = text.rpartition(")")[2].split()
        if len(fields) < 20 or not fields[19].isdigit():
            return None
        return boot + int(fields[19]) / float(os.sysconf("SC_CLK_TCK"))

    def started_at(self, pid: int) -> str | None:
        """When a process started, as RFC 3339."""
        moment = self.started(pid)
        return None if moment is None else rfc3339(moment)


def rfc3339(moment: float) -> str:
    """A time in seconds since the epoch as text in UTC."""
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
