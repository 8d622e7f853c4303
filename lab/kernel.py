"""The kernel as the lab needs it: namespaces, mounts, sysctls and `ip` in batches."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.errors import LabError

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MNT_DETACH = 2
NETNS_FOLDER = Path("/run/netns")

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def setns(path: str | Path, kind: int = 0) -> None:
    """Enter the namespace that `path` names."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked(_libc.setns(handle, kind), f"setns {path}")
    finally:
        os.close(handle)


def unshare(flags: int) -> None:
    """Leave some namespaces for new ones."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str | Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(source.encode(), str(target).encode(), kind.encode() or None, flags, data.encode() or None)
    _checked(result, f"mount {source} on {target}")


def unmount(target: str | Path) -> None:
    """Lazy umount(2)."""
    _checked(_libc.umount2(str(target).encode(), MNT_DETACH), f"umount {target}")


def set_hostname(name: str) -> None:
    """The hostname of this UTS namespace."""
    raw = name.encode()
    _checked(_libc.sethostname(raw, len(raw)), "sethostname")


@contextmanager
def in_netns(path: str | Path) -> Iterator[None]:
    """This thread, for a while, in another network namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(path, CLONE_NEWNET)
        try:
            yield
        finally:
            _checked(_libc.setns(own, CLONE_NEWNET), "setns back")
    finally:
        os.close(own)


def netns_path(name: str) -> Path:
    """Where `ip netns` keeps the namespace of that name."""
    return NETNS_FOLDER / name


def ip_batch(lines: Iterable[str], netns: str | None = None, force: bool = False, program: str = "ip") -> None:
    """Many commands of `ip` (or `bridge`) in one process."""
    text = "\n".join(lines) + "\n"
    command = [program, *(["-n", netns] if netns else []), *(["-force"] if force else []), "-batch", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode and not force:
        raise LabError(f"{program} failed in {netns or 'this namespace'}: {done.stderr.strip()}")


def ip_json(arguments: Sequence[str], netns: str | None = None, program: str = "ip") -> list[dict[str, Any]]:
    """What `ip -j` (or `bridge -j`) says, as a list."""
    command = [program, "-j", *(["-n", netns] if netns else []), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return [item for item in json.loads(done.stdout or "[]") if item]


def sysctl(values: dict[str, str]) -> None:
    """Set sysctls (paths below /proc/sys) of this thread's namespaces."""
    for name, value in values.items():
        Path("/proc/sys", name).write_text(value, encoding="ascii")


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child and return the child's process id; it exits when `work` ends."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:  # the child must never return into the caller's code
        os.write(2, f"lab: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def wait_child(child: int, what: str) -> None:
    """Wait for a child of `in_child` and fail if it failed."""
    _rest, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise LabError(f"{what} failed, see the line above")


def enter(pid: int, *, mounts: bool = True, processes: bool = True) -> None:
    """Enter the namespaces of a node whose first process is `pid`; new children belong to its PID namespace."""
    kinds = ["net", "uts", "ipc"] + (["pid"] if processes else []) + (["mnt"] if mounts else [])
    handles = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]
    for handle in handles:
        _checked(_libc.setns(handle, 0), "setns")
        os.close(handle)
    if mounts:
        os.chdir("/")


def set_title(title: Sequence[str]) -> None:
    """Show `title` as this process's command line, as the program that it stands in for would."""
    raw = b"\0".join(part.encode() for part in title) + b"\0"
    fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()
    start, end = int(fields[45]), int(fields[46])
    if len(raw) > end - start:
        raw = raw[: end - start - 1] + b"\0"
    ctypes.memmove(start, raw + b"\0" * (end - start - len(raw)), end - start)
    _libc.prctl(35, 9, ctypes.c_ulong(start + len(raw)), 0, 0)  # PR_SET_MM, PR_SET_MM_ARG_END
    _libc.prctl(15, title[0].encode()[:15], 0, 0, 0)  # PR_SET_NAME
