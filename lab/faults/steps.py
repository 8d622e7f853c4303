"""Steps that several faults take."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab.api import objects
from lab.api.client import CALICO, Json
from lab.cluster import Lab
from lab.errors import LabError
from lab.plan import Node, Pod
from lab.processes import wait_for

PREFIX = "projectcalico.org/"


def cut_off(lab: Lab, source: str, destination: str, timeout: float = 20) -> None:
    """Wait until a pod gets no answer of another one."""
    wait_for(lambda: not lab.answers(source, destination, 0.3), f"{destination} does not answer {source}", timeout)


def started(lab: Lab, node: str, *command: str) -> subprocess.Popen[bytes]:
    """A command that goes on, on a node, until `stop`."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*lab.enter(node), *command], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End what `started`: nsenter waits for a child of its own, and would leave it behind."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def kill(lab: Lab, node: str, part: str, number: signal.Signals = signal.SIGKILL) -> None:
    """End a part of a node's calico-node for good; `Lab.revive` starts it again."""
    title = lab.description.calico.title(part)
    lab.stop(node, part, number)
    wait_for(lambda: not lab.process(node, title), f"{part} of {node} is dead", 10)


def replace(lab: Lab, pod: str) -> None:
    """Delete a pod, and wait until its successor is there."""
    old = lab.pod(pod)
    lab.client.delete("pods", old.name, old.namespace)
    wait_for(lambda: lab.pod(pod).sandbox != old.sandbox and answers_itself(lab, pod), f"{pod} has a successor", 20)


def answers_itself(lab: Lab, pod: str) -> bool:
    """Does a pod answer itself? It has no process as long as it is being made."""
    try:
        return lab.answers(pod, pod)
    except LabError:
        return False


def move(lab: Lab, pod: Pod, address: str) -> None:
    """Give a pod another address: in its network namespace and in the API, as if its node had handed it out."""
    name = f"{pod.namespace}/{pod.name}"
    lab.run_in_pod(name, "ip", "addr", "add", f"{address}/32", "dev", "eth0")
    lab.run_in_pod(name, "ip", "addr", "del", f"{pod.address}/32", "dev", "eth0")
    lab.client.patch("pods", pod.name, {"status": {"podIP": address, "podIPs": [{"ip": address}]}}, pod.namespace, part="status")
    notes = {"cni.projectcalico.org/podIP": f"{address}/32", "cni.projectcalico.org/podIPs": f"{address}/32"}
    lab.client.patch("pods", pod.name, {"metadata": {"annotations": notes}}, pod.namespace)
    wait_for(lambda: any(r["dst"] == address and r.get("dev") == pod.interface for r in lab.routes(pod.node)), f"{pod.node} has the route to {address}", 20)


@contextmanager
def deployed(lab: Lab, name: str, node: str, until: Callable[[], bool] | None = None) -> Iterator[None]:
    """A Deployment of one pod, which has this name until somebody deletes it; until: what is waited for, if not that the pod runs."""
    namespace, pod = name.split("/")
    app = pod.rsplit("-", 2)[0]
    deployment = {**lab.client.create("deployments", objects.controller(lab.description, app, 1)), "kind": "Deployment"}
    owner = lab.client.create("replicasets", objects.replicaset(app, deployment, 1))
    template = owner["spec"]["template"]
    body = {
        "apiVersion": "v1", "kind": "Pod", "spec": {**template["spec"], "nodeName": node, "tolerations": [{"operator": "Exists"}]},
        "metadata": {
            **objects.metadata(pod, namespace, template["metadata"]["labels"]), "ownerReferences": [objects.reference({**owner, "kind": "ReplicaSet"})],
        },
    }  # fmt: skip
    lab.client.create("pods", body)

    def runs() -> bool:
        made = any(f"{each.namespace}/{each.name}" == name for each in lab.pods)
        return made and answers_itself(lab, name) and "podIP" in lab.client.get("pods", pod, namespace)["status"]

    wait_for(until or runs, f"{name} runs", 20)
    yield
    lab.client.delete("replicasets", owner["metadata"]["name"], namespace)
    lab.client.delete("deployments", app, namespace)
    lab.client.delete("pods", pod, namespace)
    for each in lab.pods:
        if each.app == app:
            lab.client.delete("pods", each.name, each.namespace)
    wait_for(lambda: not any(each.app == app for each in lab.pods), f"the pods of {app} are gone", 20)


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
    body = objects.node(lab.description, gone)
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


@contextmanager
def asking(lab: Lab, source: str, destination: str) -> Iterator[None]:
    """A client in a pod that tries to reach another one again and again, and nodes that track its connections as Felix's rules make them."""
    there = lab.pod(destination)
    nodes = [node.name for node in lab.nodes]
    rule = ["FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"]
    for node in nodes:
        lab.run(node, "iptables", "-A", *rule)
    enough = threading.Event()

    def ask() -> None:
        while not enough.wait(0.5):
            lab.connect(source, there.address, there.port)

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield
    finally:
        enough.set()
        client.join()
        for node in nodes:
            lab.run(node, "iptables", "-D", *rule, check=False)


@contextmanager
def switch_drops(lab: Lab, match: str) -> Iterator[None]:
    """The network between the nodes drops what nft matches so: the switches, and the router between them."""
    nft, families = ["ip", "netns", "exec", lab.description.fabric, "nft"], ("bridge", "ip")
    tables = [f"table {family} lab_drops {{ chain forward {{ type filter hook forward priority 0; {match} drop; }}; }}" for family in families]
    _run([*nft, "-f", "-"], "\n".join(tables))
    try:
        yield
    finally:
        for family in families:
            _run([*nft, "delete", "table", family, "lab_drops"])


def _run(command: list[str], given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")


def fails_its_probe(lab: Lab, pod: Json) -> None:
    """The API says of a pod that it is not Ready, as the kubelet tells it of a failed readiness probe."""
    about, known = pod["metadata"], pod["status"]["conditions"]
    conditions = [{**condition, "status": "False"} if condition["type"] in ("Ready", "ContainersReady") else condition for condition in known]
    lab.client.patch("pods", about["name"], {"status": {"conditions": conditions}}, about["namespace"], part="status")
