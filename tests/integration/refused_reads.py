# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs inside a node: reads it again and again, each time with one kind of read refused. python refused_reads.py COLLECTIONS QUESTION

Prints a JSON list of {read, errno, differences}: what the document then says that is neither what it said before nor an error.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import json
import os
import re
import socket
import subprocess
import sys
import typing as t

sys.path.insert(0, sys.argv[1])

from ansible_collections.podnet.doctor.plugins.module_utils import _netns, _node

Key = tuple[str, str]
ERRORS = (errno.EACCES, errno.ENOSYS)
UNSTABLE = ("seconds", "collected_at", "counters", "neighbours", "conntrack", "schema", "host", "node", "fdb")


def named(path: t.Any) -> str:
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else f"handle {type(path).__name__}"
    text = re.sub(r"cali[0-9a-f]{11}", "caliX", text)
    return re.sub(r"[0-9a-f]{12,}|\d+", "N", text)


class Refusing:
    """Stands before every way in which the collectors read."""

    def __init__(self) -> None:
        self.seen: dict[Key, None] = {}
        self.refused: Key | None = None
        self.number = 0

    def before(self, kind: str, what: t.Any) -> None:
        key = (kind, named(what))
        if self.refused is None:
            self.seen.setdefault(key)
        elif key == self.refused:
            raise OSError(self.number, os.strerror(self.number), what if isinstance(what, str) else None)

    @contextlib.contextmanager
    def installed(self) -> t.Iterator[None]:
        opened = builtins.open
        kept = (os.open, os.listdir, os.scandir, os.readlink, socket.socket.__init__, subprocess.Popen.__init__, _netns._enter)

        def path_first(kind: str, real: t.Any) -> t.Any:
            def call(path: t.Any = ".", *rest: t.Any, **named_ones: t.Any) -> t.Any:
                self.before(kind, path)
                return real(path, *rest, **named_ones)

            return call

        def socket_init(own: t.Any, family: int = -1, kind: int = -1, proto: int = -1, fileno: t.Any = None) -> None:
            if fileno is None:
                self.before("socket", f"{family} {int(kind) & 15} {proto}".replace("-1", "any").translate(str.maketrans("0123456789", "abcdefghij")))
            kept[4](own, family, kind, proto, fileno)

        def popen_init(own: t.Any, args: t.Any, *rest: t.Any, **named_ones: t.Any) -> None:
            self.before("run", args[0])
            kept[5](own, args, *rest, **named_ones)

        os.open, os.listdir = path_first("open", kept[0]), path_first("list", kept[1])
        builtins.open = path_first("open", opened)  # type: ignore[assignment]
        os.scandir, os.readlink = path_first("list", kept[2]), path_first("link", kept[3])
        socket.socket.__init__ = socket_init  # type: ignore[method-assign]
        subprocess.Popen.__init__ = popen_init  # type: ignore[method-assign,assignment]
        _netns._enter = path_first("enter", kept[6])
        try:
            yield
        finally:
            builtins.open = opened
            os.open, os.listdir, os.scandir, os.readlink = kept[:4]
            socket.socket.__init__, subprocess.Popen.__init__, _netns._enter = kept[4:]  # type: ignore[method-assign]


def stable(value: t.Any, path: str = "") -> t.Any:
    """What two readings of an untouched node have in common."""
    if isinstance(value, dict):
        if isinstance(value.get("error"), str):
            return {"error": True}
        left_out = (
            "stats64", "since", "server_time", "last_reboot", "last_reconfiguration", "pid", "pids", "seconds", "imported", "exported", "preferred",
            "hold_timer", "text", "json", "python",
        )  # fmt: skip
        return {key: stable(inner, f"{path}.{key}") for key, inner in value.items() if key not in left_out}
    if isinstance(value, list):
        return [stable(inner, path) for inner in value]
    return value


def differences(before: t.Any, after: t.Any, path: str) -> t.Iterator[str]:
    """Where `after` says something else, but for errors."""
    if isinstance(after, dict) and "error" in after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            if key not in after:
                yield f"{path}.{key} is gone"
            else:
                yield from differences(before[key], after[key], f"{path}.{key}")
        for key in after:
            if key not in before:
                yield f"{path}.{key} is new"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (old, new) in enumerate(zip(before, after)):
            yield from differences(old, new, f"{path}[{place}]")
    elif before != after:
        yield f"{path}: {json.dumps(before, default=str)[:80]} became {json.dumps(after, default=str)[:80]}"


def main() -> int:
    asked = json.loads(sys.argv[2])
    sections = [name for name in _node.SECTIONS if name not in UNSTABLE]
    question = _node.Question(sections=sections, pods=asked["pods"], flows=asked["flows"], timeout=15)

    def read() -> dict[str, t.Any]:
        document = _node.Collector(question).read()
        return {name: stable(value) for name, value in document.items() if name not in UNSTABLE}

    refusing = Refusing()
    told = []
    with refusing.installed():
        before = read()
        for key in list(refusing.seen):
            for number in ERRORS:
                refusing.refused, refusing.number = key, number
                try:
                    found = [f for name in before for f in differences(before[name], document[name], name)] if (document := read()) else []
                except Exception as error:  # noqa: BLE001 - what must never happen, and is told
                    found = [f"raised {type(error).__name__}: {error}"]
                told.append({"read": " ".join(key), "errno": errno.errorcode[number], "differences": found})
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
