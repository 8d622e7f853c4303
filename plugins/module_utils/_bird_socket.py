# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""BIRD's control socket: found by its usual paths and by the process that serves it, asked only after ``restrict``.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import socket
import stat
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _bird
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes

DIRECTORIES = ("/var/run/calico", "/run/calico", "/var/run/bird", "/run/bird", "/var/snap/microk8s/current/var/run/calico")
NAMES = {"ipv4": "bird.ctl", "ipv6": "bird6.ctl"}
PROGRAMS = {"ipv4": ("bird",), "ipv6": ("bird6",)}
LARGEST = 64 << 20
PATIENCE = 5.0
# the more telling the refusal, the later; late: our own time was up before its patience was
RANK = ("absent", "denied", "late", "refused", "timeout", "garbage")


class Refused(Exception):
    """No conversation with this socket; ``reason`` is one word of RANK."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Conversation:
    """One connection, which BIRD lets only read unless restricted is False."""

    def __init__(self, path: str, deadline: Deadline, restricted: bool = True) -> None:
        self.path = path
        self.deadline = deadline
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._connect()
            self.greeting = self._reply()
            if "BIRD" not in self.greeting:
                raise Refused("garbage", f"{path}: something that is not BIRD answers")
            answer = self.ask("restrict") if restricted else ""
            if restricted and not answer.startswith("0016"):
                raise Refused("garbage", f"{path}: BIRD did not restrict this session: {' '.join(answer.split())[:80]}")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def _wait(self) -> str:
        """What it is if nothing comes from now on."""
        patience = self.deadline.remaining(PATIENCE)
        self._socket.settimeout(patience)
        return "timeout" if patience == PATIENCE else "late"

    def _connect(self) -> None:
        silence = self._wait()
        try:
            self._socket.connect(self.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Refused("absent", f"{self.path}: there is no control socket; no BIRD has run here since boot, or it uses another path") from error
        except ConnectionRefusedError as error:
            raise Refused("refused", f"{self.path}: nobody listens; the daemon that made this socket is dead") from error
        except PermissionError as error:
            raise Refused("denied", f"{self.path}: permission denied; use become") from error
        except socket.timeout as error:
            raise Refused(silence, f"{self.path}: the daemon does not accept connections") from error
        except OSError as error:
            raise Refused("absent", f"{self.path}: {error.strerror or error}") from error

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            if self.deadline.expired() or len(self._buffer) > LARGEST:
                raise Refused("late", f"{self.path}: no complete answer before the deadline")
            silence = self._wait()
            try:
                data = self._socket.recv(1 << 16)
            except socket.timeout as error:
                raise Refused(silence, f"{self.path}: connected, but BIRD does not answer") from error
            except OSError as error:
                raise Refused("garbage", f"{self.path}: {error.strerror or error}") from error
            if not data:
                raise Refused("garbage", f"{self.path}: the connection was closed before an answer")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _reply(self) -> str:
        found: list[str] = []
        size = 0
        while size <= LARGEST:
            line = self._line()
            size += len(line) + 1
            found.append(line.decode("utf-8", "replace"))
            if line[:4].isdigit() and (len(line) == 4 or line[4:5] == b" "):
                return "\n".join(found)
        raise Refused("garbage", f"{self.path}: the answer has no end")

    def ask(self, command: str) -> str:
        """The reply to one command of ours."""
        try:
            self._socket.sendall(command.encode("ascii") + b"\n")
        except OSError as error:
            raise Refused("garbage", f"{self.path}: {error.strerror or error}") from error
        return self._reply()


def resolve(root: str, path: str) -> str:
    """The path as seen from outside of a mount namespace: absolute links inside it start at its own root."""
    current, parts, links = root, [part for part in path.split("/") if part], 0
    while parts:
        part = parts.pop(0)
        if part == "..":
            current = current if current == root else os.path.dirname(current)
            continue
        target: str | None = None
        if part != ".":
            following = f"{current}/{part}"
            try:
                target = os.readlink(following)
            except OSError:
                current = following
        if target is not None:
            links += 1
            if links > 20:
                break
            if target.startswith("/"):
                current = root
            parts = [piece for piece in target.split("/") if piece] + parts
    return current


def pids(processes: Processes, family: str) -> list[int]:
    """The daemons of this family that run. Errors: OSError, where one may have been hidden."""
    return processes.find(lambda argv: os.path.basename(argv[0]) in PROGRAMS[family])


def _served(processes: Processes, family: str) -> t.Iterator[str]:
    """The sockets that running daemons were told to serve."""
    for pid in pids(processes, family):
        argv = processes.argv(pid)
        path = next((argv[place + 1] for place, word in enumerate(argv[:-1]) if word == "-s"), None)
        if path is None:
            path = next((word[2:] for word in argv if word.startswith("-s/")), f"/run/bird/{NAMES[family]}")
        yield resolve(f"{processes.root}/{pid}/root", path)


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def candidates(family: str, processes: Processes | None, own: str | None) -> list[str]:
    """Where to look, the likeliest first; a path of the caller's own choice is the only one."""
    if own:
        name = NAMES[family]
        folder, base = os.path.split(own)
        return [f"{own}/{name}" if os.path.isdir(own) else own if base == name or family == "ipv4" else f"{folder}/{name}"]
    usual = [f"{directory}/{NAMES[family]}" for directory in DIRECTORIES]
    present = [path for path in usual if _is_socket(path)]
    served = list(_served(processes, family)) if processes is not None else []
    return list(dict.fromkeys(present + served)) or usual[:1]


def read(family: str, deadline: Deadline, processes: Processes | None = None, own: str | None = None) -> dict[str, t.Any]:
    """What the daemon of this family says, or ``{"error", "reason", "socket"}``."""
    worst: tuple[int, dict[str, t.Any]] | None = None
    seen: set[tuple[int, int]] = set()
    for path in candidates(family, processes, own):
        try:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in seen:  # /var/run is a link to /run
                continue
            seen.add((status.st_dev, status.st_ino))
        except OSError:
            pass
        try:
            with Conversation(path, deadline) as bird:
                return _daemon(bird)
        except Refused as error:
            rank = RANK.index(error.reason)
            if worst is None or rank > worst[0]:
                worst = (rank, {"error": str(error), "reason": error.reason, "socket": path})
    return worst[1] if worst is not None else {"error": "there is no control socket", "reason": "absent"}


def _daemon(bird: Conversation) -> dict[str, t.Any]:
    status = bird.ask("show status")
    return {
        "socket": bird.path,
        "version": _bird.version(status) or _bird.version(bird.greeting),
        "status": _bird.status(status),
        "protocols": _bird.protocols(bird.ask("show protocols all")),
        "routes": _bird.routes(bird.ask("show route all")),
    }
