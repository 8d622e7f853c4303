"""Steps that several faults take."""

from __future__ import annotations

import signal

from lab.api.client import CALICO, Json
from lab.api.objects import node as node_object
from lab.cluster import Lab
from lab.plan import Node
from lab.processes import send, wait_for

PREFIX = "projectcalico.org/"


def cut_off(lab: Lab, source: str, destination: str, timeout: float = 20) -> None:
    """Wait until a pod gets no answer of another one."""
    wait_for(lambda: not lab.answers(source, destination, 0.3), f"{destination} does not answer {source}", timeout)


def kill(lab: Lab, node: str, part: str) -> None:
    """End a part of a node's calico-node; `Lab.revive` starts it again."""
    title = lab.description.calico.title(part)
    send(lab.process(node, title), signal.SIGKILL)
    wait_for(lambda: not lab.process(node, title), f"{part} of {node} is dead", 10)


def annotate(lab: Lab, node: str, name: str, value: str | None) -> None:
    """Set one of Calico's annotations of a node, or remove it."""
    lab.client.patch("nodes", node, {"metadata": {"annotations": {PREFIX + name: value}}})


def annotation(lab: Lab, node: str, name: str) -> str | None:
    """One of Calico's annotations of a node."""
    found: dict[str, str] = lab.client.get("nodes", node)["metadata"].get("annotations") or {}
    return found.get(PREFIX + name)


def removed_machine(lab: Lab, name: str, address: str) -> None:
    """A Node in the API whose machine is not there any more."""
    gone = Node(name, address, "", "", "0" * 32, "00000000-0000-0000-0000-000000000000", "")
    body = node_object(lab.description, gone)
    for condition in body["status"]["conditions"]:
        condition |= {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
    lab.client.create("nodes", body)
    lab.client.patch("nodes", name, {"status": body["status"]}, part="status")
    annotate(lab, name, "IPv4Address", f"{address}/24")


def affinity(lab: Lab, node: str, cidr: str) -> Json:
    """A confirmed BlockAffinity."""
    spec = {"cidr": cidr, "deleted": "false", "node": node, "state": "confirmed", "type": "host"}
    name = f"{node}-{cidr.replace('.', '-').replace('/', '-')}"
    return {"apiVersion": CALICO, "kind": "BlockAffinity", "metadata": {"name": name}, "spec": spec}
