"""The container's first process: startup once, then felix, confd, node-services and BIRD as children.

A child that ends stays dead, unlike under runit, so that a fault can kill one; SIGUSR1 starts what is missing (`sv up`).
Killing all of it and starting this program again is a restart of the pod. The generated configuration outlives it, so
BIRD starts with the old one and reads the new one when confd has written it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from lab import kernel
from lab.calico import confd, felix, startup
from lab.calico.common import LOGS, Settings, log

BIRD = "{0} -R -s /var/run/calico/{0}.ctl -d -c /etc/calico/confd/config/{0}.cfg"


def fork(title: list[str], work: Callable[[], None]) -> int:
    """A child under another title."""

    def child() -> None:
        for number in (signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
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
    asked: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, frame: asked.append(number))
    kernel.set_title(["runsvdir", "-P", "/etc/service/enabled"])  # by which it is found and signalled, so after the handler
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
    services = {*parts, *settings.calico.birds}
    wanted = set(services)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        revive, ended = bool(asked), reap()
        for name in [name for name, pid in running.items() if pid in ended]:
            del running[name]
            wanted.discard(name)
        if revive:  # asked for before the reaping, so what was dead then is known to be dead now
            asked.clear()
            wanted.update(services)
        for name in sorted(wanted - set(running)):
            if name in parts:
                running[name] = fork(*parts[name])
            elif (confd.CONFIG / f"{name}.cfg").exists():
                running[name] = start_bird(name)
        time.sleep(0.05)
