"""Starting and killing a node's flanneld from outside, as kubelet does."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lab import kernel, pod, processes
from lab.calico.manage import find
from lab.flannel.flanneld import TITLE, Settings
from lab.plan import FLANNEL_NETWORK, GATEWAY, Description, Node


def title(lab: Description) -> list[str]:
    """flanneld's command line: canal's manifest does not serve its health."""
    return TITLE if lab.calico.backend else [*TITLE, "--healthz-port=8081"]


def start(lab: Description, node: Node, folder: Path) -> None:
    """Start flanneld on a node."""
    settings = Settings(
        lab=lab.name, node=node.name, backend=lab.calico.flannel, network=FLANNEL_NETWORK, kubeconfig=str(folder / "kubeconfig"),
        server=f"https://{GATEWAY}:{lab.port}", title=tuple(title(lab)),
    )  # fmt: skip
    command = processes.python_command("lab.flannel.flanneld", settings.to_json())
    log = os.open(folder / "logs" / f"{node.name}-flannel.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> None:
        if os.fork():
            return
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.execve(sys.executable, command, processes.environment(lab.name))

    child = pod.in_node(node, work)
    os.close(log)
    kernel.wait_child(child, f"starting flanneld on {node.name}")


def kill(node: Node) -> None:
    """Kill it."""
    pid = find(node, TITLE[0])
    if pid:
        processes.end([pid])
