"""Starting, finding and ending the lab's processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab.errors import LabError

ROOT = Path(__file__).resolve().parent.parent
MARK = "PODNET_LAB"
KEPT = ("PODNET_LAB_STATE", "PODNET_LAB_CACHE", "KUBEBUILDER_ASSETS")


def environment(lab: str) -> dict[str, str]:
    """The environment of every process of a lab: `down` finds them by it, even after a crash."""
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", *KEPT) if key in os.environ}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **keep, MARK: lab, "PYTHONDONTWRITEBYTECODE": "1"}


def python_command(module: str, *arguments: str, name: str = "", site: bool = False) -> list[str]:
    """The command line of one of the lab's own programs, which shows itself as `name`. site: it needs more than the standard library."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module} as m; "
    if name:
        code += f"from lab.kernel import set_title; set_title([{name!r}]); "
    return [sys.executable, *([] if site else ["-S"]), "-c", code + "sys.exit(m.main(sys.argv[1:]))", *arguments]


def start_python(
    lab: str, module: str, *arguments: str, log: Path | int = subprocess.DEVNULL, title: str = "", site: bool = False
) -> subprocess.Popen[bytes]:
    """Start one of the lab's own programs in the background."""
    return start(lab, python_command(module, *arguments, name=title, site=site), log=log)


def start(
    lab: str, command: Sequence[str], *, executable: str | None = None, log: Path | int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    """Start a program in the background, in a session of its own."""
    output: int | IO[bytes] = log.open("ab") if isinstance(log, Path) else log
    try:
        return subprocess.Popen(
            list(command),
            executable=executable,
            env=environment(lab),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        if not isinstance(output, int):
            output.close()


@dataclass(frozen=True)
class Process:
    """A process as /proc shows it."""

    pid: int
    arguments: tuple[str, ...]

    @property
    def title(self) -> str:
        return " ".join(self.arguments)


def all_processes() -> Iterator[Process]:
    """Every process, kernel threads left out."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                raw = Path("/proc", entry, "cmdline").read_bytes()
            except OSError:
                continue
            if raw:
                yield Process(int(entry), tuple(raw.decode("utf-8", "replace").rstrip("\0").split("\0")))


def namespace(pid: int, kind: str) -> str:
    """A process's namespace, like `net:[4026531840]`; empty if the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return ""


def of_lab(lab: str) -> list[Process]:
    """The processes that carry the lab's mark."""
    wanted = f"{MARK}={lab}".encode()
    found = []
    for process in all_processes():
        try:
            if wanted in Path("/proc", str(process.pid), "environ").read_bytes().split(b"\0"):
                found.append(process)
        except OSError:
            continue
    return found


def of_node(init: int) -> list[Process]:
    """The processes of the node whose first process is `init`."""
    own = namespace(init, "pid")
    return [process for process in all_processes() if own and namespace(process.pid, "pid") == own]


def alive(pid: int) -> bool:
    """Is there such a process, and is it no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2][:1] != "Z"
    except OSError:
        return False


def stopped_by_signal(pid: int) -> bool:
    """Does it live, and do nothing?"""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2][:1] == "T"


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def end(pids: Sequence[int], patience: float = 5.0) -> None:
    """Kill processes and wait until they are gone."""
    for pid in pids:
        send(pid, signal.SIGKILL)
    limit = time.monotonic() + patience
    while time.monotonic() < limit and any(alive(pid) for pid in pids):
        for pid in pids:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        time.sleep(0.02)


def wait_for(condition: Callable[[], object], what: str, timeout: float, interval: float = 0.1) -> None:
    """Wait until a condition holds; the error names what was waited for."""
    limit = time.monotonic() + timeout
    while True:
        if condition():
            return
        if time.monotonic() > limit:
            raise LabError(f"waited {timeout:.0f} s in vain until {what}")
        time.sleep(interval)
