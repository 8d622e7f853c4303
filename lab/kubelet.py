"""What kubelet, the scheduler and the controllers do, as far as the lab needs it: a deleted pod comes back.

It follows the pods in the API. A pod of the network plugin that is deleted has its processes killed and gets a successor of another
name; any other pod of the lab loses its sandbox, and a successor gets the next address of its node's block. Commands in containers: `container_exec`.
"""

from __future__ import annotations

import sys
import threading
import traceback
from pathlib import Path

from lab import agent, cgroups, cni_token, dns, kernel, pod, processes
from lab.api import calico, objects, seed
from lab.api.client import ApiError, Client, Json
from lab.cluster import Lab
from lab.daemonset import Controller
from lab.plan import Description, Node, Pod, free_address, hashed, new_pod, random_name


def start_dns_relay(lab: Description, item: Pod) -> None:
    """CoreDNS's way to the API: a listener on the loopback of its pod."""
    pids = cgroups.pids(item, item.sandbox)
    if pids:
        target = f"/proc/{pids[0]}/ns/net=127.0.0.1"
        started = processes.start_python(lab.name, "lab.api.relay", str(lab.port), target, title="lab-api-relay")
        lab.pids[f"relay-{item.name}"] = started.pid


def write_dns_kubeconfig(lab: Description, node: Node, folder: Path) -> None:
    """Copy the kubeconfig to a node that runs CoreDNS."""
    text = (folder / "kubeconfig").read_text(encoding="utf-8")
    kernel.wait_child(pod.in_node(node, lambda: dns.write_kubeconfig(text)), f"writing a kubeconfig on {node.name}")


class Kubelet:
    """All kubelets of a lab in one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lab = Description.from_json((folder / "lab.json").read_text(encoding="utf-8"))
        self.client = Client(folder / "kubeconfig")
        self.lock = threading.Lock()

    def save(self) -> None:
        path = self.folder / "lab.json"
        temporary = path.with_suffix(".new")
        temporary.write_text(self.lab.to_json(), encoding="utf-8")
        temporary.rename(path)

    def changed(self, event: Json) -> None:
        try:
            with self.lock:
                if event["type"] == "LISTED":
                    self.all_there(event["object"]["items"])
                elif event["type"] == "DELETED":
                    self.deleted(event["object"])
                elif event["type"] == "ADDED" and not event["object"]["metadata"].get("deletionTimestamp"):
                    self.added(event["object"])
                elif event["object"]["metadata"].get("deletionTimestamp"):
                    meta = event["object"]["metadata"]
                    self.client.delete("pods", meta["name"], meta["namespace"], now=True)
        except Exception:  # one pod that fails must not end the others' kubelet
            traceback.print_exc()

    def all_there(self, items: list[Json]) -> None:
        """After a gap in the watch: what is missing was deleted meanwhile."""
        there = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items}
        for item in list(self.lab.pods):
            if (item.namespace, item.name) not in there:
                self.replace(item)
        nodes = {item["spec"].get("nodeName") for item in items if self.is_agent(item)}
        for node in self.lab.nodes:
            if node.name not in nodes:
                self.restart_agent(node)

    def added(self, item: Json) -> None:
        """A pod that somebody has made for a ReplicaSet, and bound to a node."""
        meta, node = item["metadata"], self.lab.node(item["spec"]["nodeName"])
        owners = meta.get("ownerReferences") or [{}]
        known = any((mine.namespace, mine.name) == (meta["namespace"], meta["name"]) for mine in self.lab.pods)
        labels = meta.get("labels", {})
        app = labels.get("app") or labels.get("k8s-app", "")
        if known or owners[0].get("kind") != "ReplicaSet" or objects.OWNERS.get(app) != "Deployment":
            return
        if cni_token.is_refused(self.client, node):
            self.waits(item, "error getting ClusterInformation: connection is unauthorized: Unauthorized")
            return
        fresh = new_pod(self.lab, meta["namespace"], meta["name"], node.name, app, free_address(self.lab, node), address6=free_address(self.lab, node, 6))
        fresh.uid = meta["uid"]
        owner = {"kind": "ReplicaSet", "metadata": owners[0]}
        self.lab.pods.append(fresh)
        self.save()
        annotations = objects.pod(self.lab, fresh, owner)["metadata"].get("annotations")
        self.client.patch("pods", fresh.name, {"metadata": {"annotations": annotations}}, fresh.namespace)
        self.start(node, fresh)
        seed.tell_status(self.client, self.lab, fresh)

    def waits(self, item: Json, said: str) -> None:
        """The CNI plugin has failed: an Event tells it, and it is called again."""
        seed.ensure(self.client, "events", objects.sandbox_failed(item, said))

        def again() -> None:
            try:
                now = self.client.get("pods", item["metadata"]["name"], item["metadata"]["namespace"])
            except ApiError:
                return  # it is gone
            self.changed({"type": "ADDED", "object": now})

        later = threading.Timer(1.0, again)
        later.daemon = True
        later.start()

    def deleted(self, item: Json) -> None:
        meta = item["metadata"]
        if self.is_agent(item):
            self.restart_agent(self.lab.node(item["spec"]["nodeName"]))
        for mine in list(self.lab.pods):
            if (mine.namespace, mine.name) == (meta["namespace"], meta["name"]):
                self.replace(mine)

    def is_agent(self, item: Json) -> bool:
        """Is it a pod of the network plugin?"""
        name: str = item["metadata"]["name"]
        return name.startswith(f"{self.lab.calico.agent.name}-")

    def restart_agent(self, node: Node) -> None:
        agent.kill(self.lab, node)
        known = self.lab.calico.agent
        owner = {**self.client.get("daemonsets", known.name, known.namespace), "kind": "DaemonSet"}
        seed.create_agent_pod(self.client, self.lab, node.name, owner)
        agent.start(self.lab, node, self.folder)
        if cni_token.file(node).exists():
            cni_token.write(self.client, node)

    def wanted(self, old: Pod) -> bool:
        """Is there still somebody who makes the pod again?"""
        if objects.OWNERS.get(old.app) != "Deployment":
            return True
        try:
            self.client.get("replicasets", f"{old.app}-{hashed(old.app)}", old.namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def replace(self, old: Pod) -> None:
        node = self.lab.node(old.node)
        relay = self.lab.pids.pop(f"relay-{old.name}", 0)
        if relay:
            processes.end([relay])
        pod.delete(self.lab, node, old)
        address = free_address(self.lab, node) if self.lab.calico.flannel else ""  # host-local does not give an address out again at once
        self.lab.pods.remove(old)
        if not self.lab.calico.flannel:
            self.client.delete("ipamhandles", f"k8s-pod-network.{old.sandbox}")
        if not self.wanted(old):
            seed.write_ipam(self.client, self.lab, node.name)
            self.save()
            return
        fixed = old.app in ("web", "api")
        name = old.name if fixed else f"{old.name.rpartition('-')[0]}-{random_name()}"
        address, address6 = address or free_address(self.lab, node), free_address(self.lab, node, 6)
        fresh = new_pod(self.lab, old.namespace, name, old.node, old.app, address, old.port, address6)
        self.lab.pods.append(fresh)
        self.save()
        owner = seed.owners(self.client, self.lab)[fresh.app]
        fresh.uid = seed.create_pod(self.client, self.lab, fresh, owner)["metadata"]["uid"]
        self.start(node, fresh)

    def start(self, node: Node, fresh: Pod) -> None:
        """Its sandbox, and what IPAM and the Services know of it."""
        if not self.lab.calico.flannel:
            seed.ensure(self.client, "ipamhandles", calico.handle(f"k8s-pod-network.{fresh.sandbox}", node.blocks))
        kernel.wait_child(pod.create(self.lab, node, [fresh]), f"creating {fresh.namespace}/{fresh.name}")
        seed.write_ipam(self.client, self.lab, node.name)
        seed.refresh_endpoints(self.client, self.lab)
        if fresh.app == "coredns" and self.lab.dns == "coredns":
            start_dns_relay(self.lab, fresh)
        self.save()


def main(arguments: list[str]) -> int:
    """FOLDER: the state folder."""
    kubelet = Kubelet(Path(arguments[0]))
    threading.Thread(target=Controller(Lab(kubelet.folder)).run, daemon=True).start()
    try:
        kubelet.client.follow("pods", kubelet.changed).join()
    except ApiError as error:
        print(error, file=sys.stderr)
    return 1
