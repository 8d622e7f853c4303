# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small pod network on the real kernel, made by hand as Calico would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import jsonschema

ROOT = Path(__file__).resolve().parents[3]
UID = "fe9689c8-cb5c-4f39-9f1b-6c68482c7ed3"


def valid(name: str, document: t.Any) -> None:
    """Hold a document against its published schema."""
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}-1.json").read_text())
    document = json.loads(json.dumps(document))
    errors = [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
    if errors:
        raise ValueError("\n".join(errors[:10]))


def some_process_is_hidden() -> bool:
    """In some containers root may not look into the namespaces of every process."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            os.readlink(f"/proc/{pid}/ns/net")
        except PermissionError:
            return True
        except OSError:
            continue
    return False


class Network:
    """Two nodes on one wire, a pod on each."""

    def __init__(self, make: t.Callable[[], t.Any]) -> None:
        self.nodes = [make(), make()]
        self.pods = [make(), make()]
        self.processes: list[subprocess.Popen[bytes]] = []
        one, two = self.nodes
        one.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", two.name)
        for number, (node, pod) in enumerate(zip(self.nodes, self.pods)):
            node.ip("link set eth0 up")
            node.ip(f"addr add 192.0.2.1{number + 1}/24 dev eth0")
            node.ip("route add default via 192.0.2.254")
            node.sysctl("net/ipv4/ip_forward", "1")
            name = f"cali0{number}"
            node.ip("link", "add", name, "address", "ee:ee:ee:ee:ee:ee", "type", "veth", "peer", "name", "eth0", "netns", pod.name)
            node.ip(f"link set {name} up")
            node.sysctl(f"net/ipv4/conf/{name}/proxy_arp", "1")
            node.sysctl(f"net/ipv4/neigh/{name}/proxy_delay", "0")
            node.ip(f"route add 10.244.{number}.2/32 dev {name} scope link")
            node.ip(f"route add 10.244.{1 - number}.0/26 via 192.0.2.1{2 - number} proto bird")
            pod.ip("link set eth0 up")
            pod.ip(f"addr add 10.244.{number}.2/32 dev eth0")
            pod.ip("route add 169.254.1.1 dev eth0 scope link")
            pod.ip("route add default via 169.254.1.1 dev eth0")

    def serve(self, space: t.Any, port: int) -> None:
        """A TCP server in a namespace."""
        self.run(space, f"import socket\ns=socket.create_server(('',{port}))\nprint('up',flush=True)\nwhile True: s.accept()[0].close()")

    def run(self, space: t.Any, program: str) -> None:
        """A Python program in a namespace, which prints a line as soon as it is ready."""
        process = subprocess.Popen(["nsenter", f"--net={space.path}", sys.executable, "-c", program], stdout=subprocess.PIPE)
        self.processes.append(process)
        if process.stdout is not None:
            process.stdout.readline()

    def stay(self, space: t.Any) -> int:
        """A process in a namespace; its pid."""
        process = space.spawn("sleep", "600")
        self.processes.append(process)
        end = time.monotonic() + 10
        while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):  # it enters by itself
            assert time.monotonic() < end, "the process does not enter the namespace"
            time.sleep(0.01)
        return int(process.pid)

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


class HostVars:
    """As Ansible's: templating is what must not happen."""

    def __init__(self, **hosts: t.Any) -> None:
        self._hosts = hosts

    def raw_get(self, host: str) -> t.Any:
        """The variables of a host as they are."""
        return self._hosts[host]

    def __getitem__(self, host: str) -> t.Any:
        raise LookupError("would template what a node said")


class Display:
    """What an action prints."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def display(self, text: str, *_arguments: t.Any, **_options: t.Any) -> None:
        """One line."""
        self.lines.append(text)


def action(module: t.Any, arguments: dict[str, t.Any], check: bool = False, strategy: str = "linear") -> t.Any:
    """The action of a module of action plugins, with a task that has these arguments."""
    from types import SimpleNamespace as Object

    play = Object(_play=Object(strategy=strategy))
    task = Object(args=arguments, check_mode=check, async_val=0, diff=False, action="podnet.doctor.x", _parent=play, environment=[], collections=[])
    connection = Object(_shell=Object(tmpdir=None), transport="local")
    made = module.ActionModule(task, connection, Object(), None, Object(), Object())
    made._display = Display()
    return made


def calico_pod(
    name: str, node: str, *, phase: str = "Running", ready: str = "True", leaving: bool = False, owner: bool = True, app: str = "calico-node"
) -> t.Any:  # fmt: skip
    """A pod of a component of Calico as the API returns it."""
    metadata: dict[str, t.Any] = {"namespace": "kube-system", "name": name, "uid": f"uid-{name}", "labels": {"k8s-app": app}}
    if owner:
        metadata["ownerReferences"] = [{"kind": "DaemonSet"}]
    if leaving:
        metadata["deletionTimestamp"] = "2026-11-21T09:30:42Z"
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}}


class Pods:
    """An API server in which a deleted pod is replaced by its successor."""

    def __init__(self, pods: list[t.Any]) -> None:
        from ansible_collections.podnet.doctor.tests.unit.plugins.fake_api import FakeApi

        self.fake, self.pods, self.successor, self.deleted = FakeApi(), pods, None, []  # type: ignore[var-annotated]
        self.fake.lists["/api/v1/pods"] = pods
        self.left_after_deleting: float | None = None  # of the time that the last client was given, in seconds
        find = self.fake.find

        def answer(method: str, target: str, body: t.Any) -> tuple[int, t.Any]:
            if method != "DELETE" or target in self.fake.refused:
                return find(method, target, body)
            self.deleted.append((target, body))
            if self.left_after_deleting is not None:
                self.deadline.end = time.monotonic() + self.left_after_deleting
            successor = self.successor.pop(0) if isinstance(self.successor, list) and self.successor else self.successor
            pods[:] = [pod for pod in pods if not target.endswith("/" + pod["metadata"]["name"])] + ([successor] if successor else [])
            return 200, {}

        self.fake.find = answer  # type: ignore[method-assign]

    def client(self, timeout: float) -> t.Any:
        """The collection's own client."""
        from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import Api

        made = Api({"host": self.fake.url}, timeout=timeout)
        self.deadline = made.deadline
        return made

    def close(self) -> None:
        """No more."""
        self.fake.close()
