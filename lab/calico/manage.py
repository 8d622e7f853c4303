"""Starting and killing a node's calico-node from outside, as kubelet does."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from pathlib import Path

from lab import pod, processes
from lab.calico.common import SERVICES, Settings
from lab.plan import GATEWAY, Description, Node

TITLE = f"runsvdir -P {SERVICES}"


def first_process(node: Node) -> int:
    """The container's first process, as the host numbers it; 0 if it is dead."""
    for process in processes.of_node(node.pid):
        if process.title == TITLE and processes.alive(process.pid):
            return process.pid
    return 0


def find(node: Node, title: str) -> int:
    """A process of the node whose command line begins so; 0 if there is none."""
    for process in processes.of_node(node.pid):
        if process.title.startswith(title) and processes.alive(process.pid):
            return process.pid
    return 0


def start(lab: Description, node: Node, folder: Path) -> None:
    """Start the container on a node."""
    settings = Settings(
        lab=lab.name,
        node=node.name,
        mode=lab.mode,
        kubeconfig=str(folder / "kubeconfig"),
        server=f"https://{GATEWAY}:{lab.port}",
        monitor_interval=lab.monitor_interval,
        felix_refresh=lab.felix_refresh,
        mtu=lab.calico.mtu,
        dataplane=lab.dataplane,
        operator=lab.operator,
    )
    command = processes.python_command("lab.calico.node", json.dumps(asdict(settings)))
    pod.start_in_node(lab, node, command, folder / "logs" / f"{node.name}-calico.log", "calico-node")


def kill(node: Node) -> None:
    """Kill the container: everything at once, as with a grace period of 0."""
    own = {"bird", "bird6", "calico-node", "calico", "runsvdir"}
    pids = [p.pid for p in processes.of_node(node.pid) if p.arguments[0] in own]
    processes.end(pids)


def _services(node: Node) -> Path:
    return Path(f"/proc/{node.pid}/root{SERVICES}")


def stop(node: Node, service: str, title: str, number: signal.Signals) -> None:
    """End a service of the container; it stays dead until `revive` (`sv down`)."""
    (_services(node) / service / "down").touch()
    processes.send(find(node, title), number)


def revive(node: Node) -> None:
    """Start those services of a living container that were stopped (`sv up`)."""
    for file in _services(node).glob("*/down"):
        file.unlink(missing_ok=True)
