"""Holds a fault between its injection and its healing: a process that waits with the generator in its hands."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lab import processes
from lab.errors import LabError

if TYPE_CHECKING:
    from lab.cluster import Lab

PATIENCE = 150.0


def _folder(lab: Lab) -> Path:
    path = lab.folder / "faults"
    path.mkdir(exist_ok=True)
    return path


def injected(lab: Lab) -> list[str]:
    """The faults that are in now."""
    return sorted(path.name.removesuffix(".pid") for path in _folder(lab).glob("*.pid"))


def inject(lab: Lab, name: str) -> None:
    """Start the holder and wait until the fault is in."""
    record = _folder(lab) / f"{name}.pid"
    if record.exists():
        raise LabError(f"{name} is in already; python -m lab heal {name} --name {lab.name} takes it out")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(processes.ROOT)!r}); "
               "from lab.faults.hold import main; sys.exit(main(sys.argv[1:]))", lab.name, name]
    with (lab.folder / "logs" / "faults.log").open("ab") as log:
        holder = subprocess.Popen(
            command, env=processes.environment(lab.name), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            start_new_session=True,
        )
    record.write_text(f"{holder.pid}\n", encoding="ascii")
    assert holder.stdout is not None
    said = holder.stdout.readline().decode().strip()
    holder.stdout.close()
    if said != "injected":
        holder.wait()
        record.unlink()
        raise LabError(f"{name} could not be put in: {said or 'see logs/faults.log'}")
    holder.returncode = 0  # it lives on; nobody here waits for it


def heal(lab: Lab, name: str) -> None:
    """Tell the holder to heal and wait until it has."""
    record = _folder(lab) / f"{name}.pid"
    if not record.exists():
        raise LabError(f"{name} is not in; in are: {', '.join(injected(lab)) or 'none'}")
    pid = int(record.read_text(encoding="ascii"))
    result = record.with_suffix(".result")
    result.unlink(missing_ok=True)
    if not processes.alive(pid):
        record.unlink()
        raise LabError(f"the process that held {name} is dead, so only `down` heals lab {lab.name}")
    processes.send(pid, signal.SIGUSR1)
    limit = time.monotonic() + PATIENCE
    while not result.exists() and processes.alive(pid) and time.monotonic() < limit:
        time.sleep(0.02)
    if result.exists():
        said = result.read_text(encoding="utf-8").strip()
    else:
        said = "it takes too long" if processes.alive(pid) else "its process ended; see logs/faults.log"
    record.unlink(missing_ok=True)
    result.unlink(missing_ok=True)
    if said != "healed":
        raise LabError(f"{name} could not be healed: {said}")


def _step(generator: Iterator[None]) -> bool:
    """One half of a fault; True if there is another."""
    try:
        next(generator)
    except StopIteration:
        return False
    return True


def main(arguments: list[str]) -> int:
    """LAB FAULT: inject, say so, wait for SIGUSR1, heal, say so."""
    from lab import faults
    from lab.cluster import Lab

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    lab = Lab.load(arguments[0])
    name = arguments[1]
    generator = faults.find(name).run(lab)
    try:
        if not _step(generator):
            raise LabError("it does not yield")
    except Exception as error:
        print(f"{error}", flush=True)
        raise
    print("injected", flush=True)
    signal.sigwait([signal.SIGUSR1])
    said = "healed"
    try:
        _step(generator)
        if injected(lab) == [name]:
            lab.wait_healthy(120)
    except Exception as error:
        said = str(error)
    result = _folder(lab) / f"{name}.result"
    temporary = result.with_suffix(".new")
    temporary.write_text(said + "\n", encoding="utf-8")
    temporary.rename(result)
    return 0
