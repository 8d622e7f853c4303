"""The network plugin's pod on a node: calico-node, flanneld, or both in canal. Starting and killing it from outside, as kubelet does."""

from __future__ import annotations

from pathlib import Path

from lab.calico import manage as calico
from lab.flannel import flanneld
from lab.flannel import manage as flannel
from lab.plan import Description, Node


def start(lab: Description, node: Node, folder: Path) -> None:
    """Start its containers."""
    if lab.calico.backend:
        calico.start(lab, node, folder)
    if lab.calico.flannel:
        flannel.start(lab, node, folder)


def kill(lab: Description, node: Node) -> None:
    """Kill its containers: everything at once, as with a grace period of 0."""
    if lab.calico.backend:
        calico.kill(node)
    if lab.calico.flannel:
        flannel.kill(node)


def processes(lab: Description, node: Node) -> tuple[int, ...]:
    """The first process of each container, as the host numbers it; 0 for one that is dead."""
    found = (calico.first_process(node),) if lab.calico.backend else ()
    return (*found, calico.find(node, flanneld.TITLE[0])) if lab.calico.flannel else found


def revive(lab: Description, node: Node, folder: Path) -> None:
    """Start what is dead of it."""
    if lab.calico.backend:
        calico.revive(node)
    if lab.calico.flannel and not calico.find(node, flanneld.TITLE[0]):
        flannel.start(lab, node, folder)
