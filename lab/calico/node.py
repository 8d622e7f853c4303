"""The container's first process: startup once, then felix, confd, node-services and BIRD as children.

As under runit a child that ends is started again, at most once a second, unless the file `down` in its service's folder
says that it was stopped (`sv down`). Killing all of it and starting this program again is a restart of the pod. The
generated configuration outlives it, so BIRD starts with the old one and reads the new one when confd has written it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from lab import kernel
from lab.calico import confd, felix, startup
from lab.calico.common import LOGS, SERVICES, Settings, log

AGAIN = 1.0  # seconds from one start of a service to the next
BIRD = "{0} -R -s /var/run/calico/{0}.ctl -d -c /etc/calico/confd/config/{0}.cfg"


def fork(title: list[str], work: Callable[[], None]) -> int:
    """A child under another title."""

    def child() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        kernel.set_title(title)
        work()

    return kernel.in_child(child)


def start_bird(program: str) -> int:
    with (LOGS / f"{program}.log").open("ab") as output:
        return subprocess.Popen(
            BIRD.format(program).split(), executable=f"/usr/sbin/{program}", stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).pid


def reap() -> set[int]:
    """The children that have ended."""
    ended: set[int] = set()
    try:
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            ended.add(pid)
    except ChildProcessError:
        pass
    return ended


def main(arguments: list[str]) -> int:
    """JSON of the settings."""
    settings = Settings.read(arguments[0])
    shutil.rmtree(SERVICES, ignore_errors=True)  # a container begins with a disk of its own
    for name in ("felix", "confd", "node-services", *settings.calico.birds):
        (SERVICES / name).mkdir(parents=True)
    kernel.set_title(["runsvdir", "-P", str(SERVICES)])  # by which it is found
    client = settings.client()
    try:
        environment = startup.start(client, settings)
    except startup.AddressTaken:
        log("startup", "startup.go 160", "Terminating", "WARNING")
        return 1
    parts: dict[str, tuple[list[str], Callable[[], None]]] = {
        "felix": (settings.calico.title("felix").split(), lambda: felix.felix(settings)),
        "confd": (settings.calico.title("confd").split(), lambda: confd.confd(settings)),
        "node-services": (settings.calico.title("node-services").split(), lambda: startup.node_services(settings, environment)),
    }
    running: dict[str, int] = {}
    if not settings.calico.bird:
        del parts["confd"]
    services = sorted({*parts, *settings.calico.birds})
    started: dict[str, float] = {}

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        ended = reap()
        for name in [name for name, pid in running.items() if pid in ended]:
            del running[name]
        for name in services:
            if name in running or (SERVICES / name / "down").exists() or time.monotonic() - started.get(name, -AGAIN) < AGAIN:
                continue
            if name in parts:
                running[name] = fork(*parts[name])
            elif (confd.CONFIG / f"{name}.cfg").exists():
                running[name] = start_bird(name)
            else:
                continue
            started[name] = time.monotonic()
        time.sleep(0.05)
