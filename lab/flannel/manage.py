"""Starting and killing a node's flanneld from outside, as kubelet does."""

from __future__ import annotations

from pathlib import Path

from lab import pod, processes
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
    pod.start_in_node(lab, node, command, folder / "logs" / f"{node.name}-flannel.log", "flanneld")


def kill(node: Node) -> None:
    """Kill it."""
    pid = find(node, TITLE[0])
    if pid:
        processes.end([pid])
