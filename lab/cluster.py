"""A running lab: what faults, tests and the command line ask of it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import agent, cgroups, kernel, processes
from lab.api.client import Client
from lab.calico import manage, policy
from lab.calico.common import PREFIX, annotations_of
from lab.errors import LabError
from lab.flannel import flanneld
from lab.flannel import health as flannel
from lab.plan import Description, Node, Pod, check_name, state_parent


@dataclass(frozen=True)
class Session:
    """A BGP session as `show protocols` has it."""

    name: str
    state: str
    info: str

    @property
    def established(self) -> bool:
        return self.state == "up" and self.info == "Established"


class Lab:
    """A lab that is up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._client: Client | None = None

    @classmethod
    def load(cls, name: str = "lab") -> Lab:
        folder = state_parent() / check_name(name)
        if not (folder / "lab.json").exists():
            raise LabError(f"there is no lab {name} (looked in {folder}); python -m lab up --name {name} makes one")
        return cls(folder)

    @property
    def description(self) -> Description:
        """Read anew each time: pods come and go."""
        return Description.from_json((self.folder / "lab.json").read_text(encoding="utf-8"))

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def mode(self) -> str:
        return self.description.mode

    @property
    def nodes(self) -> list[Node]:
        return self.description.nodes

    @property
    def pods(self) -> list[Pod]:
        return self.description.pods

    @property
    def inventory(self) -> Path:
        return self.folder / "inventory.yml"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self.kubeconfig)
        return self._client

    def node(self, name: str) -> Node:
        return self.description.node(name)

    def pod(self, name: str) -> Pod:
        return self.description.pod(name)

    def service(self, name: str) -> str:
        """The address of `svc/namespace/name`, or of `node/name`, whose port a Service may have."""
        kind, _slash, rest = name.partition("/")
        if kind == "node":
            return self.node(rest).address
        namespace, short = rest.split("/")
        address: str = self.client.get("services", short, namespace)["spec"]["clusterIP"]
        return address

    def run(self, node: str, *command: str, check: bool = True) -> str:
        """Run a command on a node; its standard output."""
        done = subprocess.run([*self.enter(node), *command], capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise LabError(f"{node}: {' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def enter(self, node: str) -> list[str]:
        """The beginning of a command that runs on a node."""
        return ["nsenter", "-t", str(self.node(node).pid), "-n", "-m", "-u", "-i", "-p", "--"]

    def pod_pid(self, pod: str) -> int:
        """A process of the pod, as the host numbers it."""
        item = self.pod(pod)
        pids = cgroups.pids(item, item.sandbox)
        if not pids:
            raise LabError(f"pod {pod} has no process")
        return pids[0]

    def run_in_pod(self, pod: str, *command: str, check: bool = True) -> str:
        """Run a command in a pod's network namespace."""
        whole = ["nsenter", f"--net=/proc/{self.pod_pid(pod)}/ns/net", "--", *command]
        done = subprocess.run(whole, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise LabError(f"{pod}: {' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def bird(self, node: str, command: str, program: str = "bird") -> str:
        """What BIRD's control socket answers, codes cut off; LabError if BIRD does not."""
        root = f"/proc/{self.node(node).pid}/root"
        text = ""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(f"{root}/run/calico/{program}.ctl")
                with connection.makefile("rw", encoding="utf-8") as lines:
                    lines.readline()
                    lines.write(command + "\n")
                    lines.flush()
                    for line in lines:
                        text += line[5:] if line[:4].isdigit() else line[1:]
                        if re.match(r"\d{4} ", line):
                            return text
        except OSError as error:
            raise LabError(f"{node}: BIRD does not answer: {error}") from error
        raise LabError(f"{node}: BIRD ended the connection")

    def sessions(self, node: str, program: str = "bird") -> list[Session]:
        """The BGP sessions of a node; none if BIRD is dead."""
        try:
            answer = self.bird(node, "show protocols", program)
        except LabError:
            return []
        rows = [line.split(None, 5) for line in answer.splitlines()]
        return [
            Session(row[0], row[3], row[5].strip() if len(row) > 5 else "")
            for row in rows
            if len(row) > 3 and row[1] == "BGP"
        ]

    def routes(self, node: str, family: int = 4) -> list[dict[str, object]]:
        """The main table of a node, as `ip -j route`."""
        return kernel.ip_json([f"-{family}", "route", "show", "table", "main"], self.node(node).netns)

    def address(self, node: str) -> str:
        """The address that a node announces (annotation projectcalico.org/IPv4Address)."""
        return annotations_of(self.client.get("nodes", node)).get(PREFIX + "IPv4Address", "")

    def process(self, node: str, title: str) -> int:
        """The host's id of a process of a node, by the beginning of its command line; 0 if there is none."""
        return manage.find(self.node(node), title)

    def calico_pod(self, node: str) -> str:
        """The name of a node's calico-node pod (of flannel's or canal's)."""
        known = self.description.calico.agent
        selector = ",".join(f"{key}={value}" for key, value in known.labels.items())
        found = self.client.list("pods", known.namespace, labelSelector=selector)
        for item in found:
            if item["spec"]["nodeName"] == node:
                name: str = item["metadata"]["name"]
                return name
        raise LabError(f"{node} has no pod of {known.name}")

    def policies_in_force(self) -> bool:
        """Has every Felix written the rules of what the API has now?"""
        wanted = policy.told(policy.read(self.client))
        logs = [Path(f"/proc/{node.pid}/root/var/log/calico/felix.log").read_text(encoding="utf-8") for node in self.nodes]
        return all(log.rpartition(" policies=")[2].split("\n")[0] == wanted for log in logs)

    def restart_calico(self, node: str, timeout: float = 30) -> None:
        """Delete a node's calico-node pod and wait until its successor runs."""
        old = self.calico_pod(node)
        lab = self.description
        first = agent.processes(lab, self.node(node))
        self.client.delete("pods", old, lab.calico.agent.namespace)

        def fresh() -> bool:
            try:
                now = agent.processes(lab, self.node(node))
                return self.calico_pod(node) != old and all(now) and not set(now) & set(first)
            except LabError:
                return False

        processes.wait_for(fresh, f"calico-node of {node} runs again", timeout)

    def stop(self, node: str, part: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a part of a node's calico-node, which stays dead until `revive`."""
        manage.stop(self.node(node), part, self.description.calico.title(part), number)

    def revive(self, node: str) -> None:
        """Start the services of the network plugin on a node that a fault killed."""
        agent.revive(self.description, self.node(node), self.folder)

    def connect(self, source: str, address: str, port: int, timeout: float = 1.0) -> str:
        """HTTP GET from a pod, or from `node/name`; the answer's body, or "" if there is none."""
        kind, _slash, name = source.partition("/")
        with kernel.in_netns(f"/proc/{self.node(name).pid if kind == 'node' else self.pod_pid(source)}/ns/net"):
            connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        with connection:
            connection.settimeout(timeout)
            try:
                connection.connect((address, port))
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                data = b""
                while part := connection.recv(4096):
                    data += part
            except OSError:
                return ""
        return data.decode("utf-8", "replace").partition("\r\n\r\n")[2].strip()

    def answers(self, source: str, destination: str, timeout: float = 1.0, family: int = 4) -> bool:
        """Does a pod get the answer of another? Where it has no IPv4 address, over IPv6."""
        there = self.pod(destination)
        return self.connect(source, there.address6 if family == 6 or not there.address else there.address, there.port, timeout) == destination

    def problems(self, traffic: bool = True) -> list[str]:
        """What keeps the lab from being healthy, a sentence each."""
        lab = self.description
        found = []
        leases = self.leases() if lab.calico.flannel else {}
        for node in lab.nodes:
            if lab.calico.flannel:
                found += flannel.problems(lab, node, self.routes(node.name), leases) + self._dead_calico(lab, node)
                continue
            wanted = f"{node.second or node.address}/24"
            if lab.calico.ipv4 and ("=" not in lab.autodetection or lab.autodetection.startswith("interface=eth")):
                have = self.address(node.name)
                if have != wanted:
                    found.append(f"{node.name} announces {have or 'nothing'}, not {wanted}")
            if lab.calico.bird:
                wanted_sessions = len(lab.peers(node))
                for program in lab.calico.birds:
                    up = sum(session.established for session in self.sessions(node.name, program))
                    if up != wanted_sessions:
                        found.append(f"{node.name} has {up} of {wanted_sessions} BGP sessions of {program}")
            for family in lab.calico.families:
                found += self._missing_routes(lab, node, family)
            found += self._dead_calico(lab, node)
        if traffic and not found:
            found += self._silent_pods(lab)
        return found

    def leases(self) -> dict[str, flanneld.Lease]:
        """What the nodes announce to each other."""
        found = {item["metadata"]["name"]: flanneld.Lease.of(item) for item in self.client.list("nodes")}
        return {name: lease for name, lease in found.items() if lease is not None}

    def _dead_calico(self, lab: Description, node: Node) -> list[str]:
        """The parts of calico-node that do not run, and the pods that Felix has not given a route."""
        if not lab.calico.backend:
            return []
        titles = [lab.calico.title(part) for part in ("felix", "node-services", *(["confd"] if lab.calico.bird else []))]
        found = [f"{title} is dead on {node.name}" for title in titles if not manage.find(node, title)]
        for family in lab.calico.families:
            found += self._unrouted_pods(lab, node, family)
        return found

    def _silent_pods(self, lab: Description) -> list[str]:
        """Every pod asks a pod of each other node, until one gets no answer."""
        probes = {pod.node: f"{pod.namespace}/{pod.name}" for pod in lab.pods if pod.app == "probe"}
        for pod in lab.pods:
            for node, probe in probes.items():
                source = f"{pod.namespace}/{pod.name}"
                for family in lab.calico.families:
                    if node != pod.node and not self.answers(source, probe, family=family):
                        return [f"{probe} on {node} does not answer {source} on {pod.node} (IPv{family})"]
        return []

    def _missing_routes(self, lab: Description, node: Node, family: int) -> list[str]:
        routes = self.routes(node.name, family)
        found = []
        owner = "80" if lab.calico.felix_routes else "bird"
        for other in lab.nodes:
            block = other.block6 if family == 6 else other.block
            to_block = [route for route in routes if route["dst"] == block]
            if other.name == node.name:
                if not any(route.get("type") == "blackhole" and route.get("protocol") == owner for route in to_block):
                    found.append(f"{node.name} has no blackhole for its block {block}")
            elif lab.way(node, other, family) not in [(r.get("gateway"), r.get("dev"), r.get("protocol", "boot")) for r in to_block]:
                found.append(f"{node.name} has no route to {block} of {other.name}")
        return found

    def _unrouted_pods(self, lab: Description, node: Node, family: int) -> list[str]:
        routes = self.routes(node.name, family)
        found = []
        for pod in lab.pods:
            if pod.node == node.name and not any(
                r["dst"] == (pod.address6 if family == 6 else pod.address) and r.get("dev") == pod.interface and r.get("metric") == 1024 for r in routes
            ):
                found.append(f"{node.name} has no route to its pod {pod.namespace}/{pod.name}")
        return found

    def wait_healthy(self, timeout: float = 60.0) -> float:
        """Wait until nothing is wrong; the seconds that it took."""
        begin = time.monotonic()
        problems = self.problems()
        while problems:
            if time.monotonic() - begin > timeout:
                more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
                raise LabError(f"lab {self.name} is not healthy after {timeout:.0f} s: {problems[0]}{more}")
            time.sleep(0.2)
            problems = self.problems()
        return time.monotonic() - begin


def names() -> Sequence[str]:
    """The labs that have a state folder."""
    parent = state_parent()
    return sorted(path.parent.name for path in parent.glob("*/lab.json")) if parent.is_dir() else []
