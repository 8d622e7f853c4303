# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process that stays on the node for a while and takes a change back unless somebody confirms it: for changes that may cut the node off.

It leaves nothing behind: no file, only sockets in the abstract namespace as long as it runs. One of them has the same name for all, so that no second
repair of this node begins before the first is confirmed or taken back. It is in a session of its own, and where systemd
runs in a scope of its own, so that the end of the connection that made the change does not end it.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import subprocess
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._steps import Kernel, Refused, Step, perform

TOKEN = re.compile(r"[0-9a-f]{16}\Z")
KEEP, KEPT = b"keep", b"kept"
LOCK = "\0podnet-doctor-repair"
SYSTEMD = "/run/systemd/system"
ATTEMPTS = 3
PATIENCE = 10.0


def _name(token: str) -> str:
    return f"\0podnet-doctor-{token}"


def start(back: t.Sequence[Step], seconds: float) -> str:
    """Begin to guard a change that is made next; the token confirms it. Errors: Refused, OSError."""
    token = os.urandom(8).hex()
    lock = _only_one()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    told, tell = os.pipe()
    try:
        listener.bind(_name(token))
        listener.listen(4)
        child = os.fork()
        if child == 0:
            _leave(listener, lock, tell, back, seconds)
        os.close(tell)
        tell = -1
        os.waitpid(child, 0)
        pid = os.read(told, 16).decode("ascii")
    finally:
        listener.close()
        lock.close()
        os.close(told)
        if tell >= 0:
            os.close(tell)
    if not pid.isdigit():
        raise OSError(0, "the process that would take the change back did not start")
    if os.path.isdir(SYSTEMD):
        _own_scope(token, int(pid))
    return token


def _only_one() -> socket.socket:
    """Errors: Refused, where another change of this node waits to be confirmed."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        lock.bind(LOCK)
    except OSError as error:
        lock.close()
        if error.errno == errno.EADDRINUSE:
            raise Refused("another repair of this node has not ended: its change is neither confirmed nor taken back yet") from error
        raise
    return lock


def _own_scope(token: str, pid: int) -> None:
    """Out of the scope of the login session, which logind may end together with it (KillUserProcesses). Errors: OSError, and nobody guards any more."""
    scope = f"podnet-doctor-{token}.scope"
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    wanted = [scope, "fail", "2", "PIDs", "au", "1", str(pid), "CollectMode", "s", "inactive-or-failed", "0"]
    command = ["busctl", "--system", "--quiet", "call", *manager, "StartTransientUnit", "ssa(sv)a(sa(sv))", *wanted]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            raise OSError(0, done.stderr.strip()[:200])
        _await_scope(scope, pid)
    except (OSError, subprocess.TimeoutExpired) as error:
        end(token)
        raise OSError(0, f"systemd gave no scope of its own to what would take the change back: {sentence(error)}") from error


def _await_scope(scope: str, pid: int) -> None:
    """systemd only queues what it is asked for. Errors: OSError."""
    limit = time.monotonic() + PATIENCE
    while scope not in _cgroups(pid):
        if time.monotonic() > limit:
            raise OSError(0, f"{scope} did not begin within {PATIENCE:g} s")
        time.sleep(0.01)


def _cgroups(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
        return file.read()


def _leave(listener: socket.socket, lock: socket.socket, tell: int, back: t.Sequence[Step], seconds: float) -> t.NoReturn:
    """In a child: become a process of nobody, and guard."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(tell, str(os.getpid()).encode("ascii"))
        null = os.open(os.devnull, os.O_RDWR)
        for target in (0, 1, 2):
            os.dup2(null, target)
        first, second = sorted((listener.fileno(), lock.fileno()))
        os.closerange(3, first)
        os.closerange(first + 1, second)
        os.closerange(second + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        if not _confirmed(listener, lock, seconds):
            _take_back(back)
    finally:
        os._exit(0)


def _confirmed(listener: socket.socket, lock: socket.socket, seconds: float) -> bool:
    end_of_time = time.monotonic() + seconds
    while True:
        left = end_of_time - time.monotonic()
        if left <= 0:
            return False
        listener.settimeout(left)
        try:
            asked, _address = listener.accept()
        except socket.timeout:
            return False
        with asked:
            try:
                asked.settimeout(max(min(left, PATIENCE), 0.1))
                _pid, uid, _gid = struct.unpack("3i", asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                if uid == 0 and asked.recv(16) == KEEP:
                    lock.close()  # whoever hears that it is kept may make the next change
                    asked.sendall(KEPT)
                    return True
            except OSError:  # whoever asked has gone again
                continue


def _take_back(back: t.Sequence[Step]) -> None:
    for _attempt in range(ATTEMPTS):
        try:
            with Kernel(Deadline(PATIENCE)) as kernel:
                perform(kernel, back)
            return
        except (OSError, Expired, Refused):
            time.sleep(1)


def end(token: str) -> bool:
    """Confirm the change; False: nobody guards it any more, so it was taken back. Errors: Refused, OSError."""
    if not TOKEN.match(token):
        raise Refused(f"{token} is no token of a guarded change")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asking:
        asking.settimeout(PATIENCE)
        try:
            asking.connect(_name(token))
            asking.sendall(KEEP)
            return asking.recv(16) == KEPT
        except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
            return False
