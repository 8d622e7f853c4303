"""What the DaemonSet controller does when the template of the network plugin's pods changes: they are made again, one node after the other.

The next node comes when the pod of the one before is available: its processes run and, with BIRD, a session is up, as its readiness probe has it.
"""

from __future__ import annotations

import threading
import time
import traceback

from lab import agent
from lab.api.client import Json
from lab.api.objects import REVISION, revision
from lab.cluster import Lab
from lab.errors import LabError
from lab.processes import wait_for

PATIENCE = 120.0  # seconds for one node; the update stops there


class Controller:
    """The controller of the one DaemonSet that matters here."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.agent = lab.description.calico.agent
        self.woken = threading.Event()

    def changed(self, event: Json) -> None:
        if event["type"] in ("ADDED", "MODIFIED") and event["object"]["metadata"]["name"] == self.agent.name:
            self.woken.set()

    def run(self) -> None:
        """For ever."""
        self.lab.client.follow("daemonsets", self.changed)
        while True:
            self.woken.wait()
            self.woken.clear()
            try:
                self.reconcile()
            except Exception:  # an update that fails must not end the controller
                traceback.print_exc()
                time.sleep(1)
                self.woken.set()

    def reconcile(self) -> None:
        """Make one pod after the other again, as long as there is an old one, and report how far it is."""
        while True:
            known = self.known()
            wanted = revision(known["spec"]["template"])
            old = [node.name for node in self.lab.nodes if self.revision_on(node.name) != wanted]
            rolling = known["spec"].get("updateStrategy", {}).get("type") == "RollingUpdate" and bool(old)
            self.report(known, len(old), 1 if rolling else 0)
            if not rolling:
                return
            for node in self.lab.nodes:
                if node.name not in old and not self.available(node.name):
                    raise LabError(f"the new pod of {self.agent.name} on {node.name} is not available")
            chosen = min(old, key=self.available)  # one that is not available is replaced first: that costs nothing
            self.delete(chosen)
            self.report(known, len(old) - 1, 1)
            self.wait(chosen, wanted)

    def known(self) -> Json:
        return self.lab.client.get("daemonsets", self.agent.name, self.agent.namespace)

    def revision_on(self, node: str) -> str:
        pod = self.lab.client.get("pods", self.lab.calico_pod(node), self.agent.namespace)
        found: str = pod["metadata"]["labels"].get(REVISION, "")
        return found

    def processes(self, node: str) -> set[int]:
        return {*agent.processes(self.lab.description, self.lab.node(node))} - {0}

    def available(self, node: str) -> bool:
        lab = self.lab.description
        if not all(agent.processes(lab, lab.node(node))):
            return False
        peered = not lab.calico.bird or not lab.peers(lab.node(node))
        return peered or all(any(session.established for session in self.lab.sessions(node, program)) for program in lab.calico.birds)

    def delete(self, node: str) -> None:
        """The pod of a node, and wait until its processes are gone and it has a successor."""
        old, first = self.lab.calico_pod(node), self.processes(node)
        self.lab.client.delete("pods", old, self.agent.namespace)

        def succeeded() -> bool:
            try:
                return self.lab.calico_pod(node) != old and not first & self.processes(node)
            except LabError:
                return False

        wait_for(succeeded, f"the pod of {self.agent.name} on {node} has a successor", PATIENCE)

    def wait(self, node: str, wanted: str) -> None:
        """Until the new pod is available, or another template is wanted."""
        wait_for(
            lambda: self.available(node) or revision(self.known()["spec"]["template"]) != wanted,
            f"the new pod of {self.agent.name} on {node} is available",
            PATIENCE,
        )

    def report(self, known: Json, old: int, unavailable: int) -> None:
        nodes = len(self.lab.nodes)
        status = {
            "currentNumberScheduled": nodes, "desiredNumberScheduled": nodes, "numberAvailable": nodes - unavailable, "numberMisscheduled": 0,
            "numberReady": nodes - unavailable, "numberUnavailable": unavailable, "observedGeneration": known["metadata"]["generation"],
            "updatedNumberScheduled": nodes - old,
        }  # fmt: skip
        if known.get("status", {}) != {key: value for key, value in status.items() if value or key not in OMITTED}:
            self.lab.client.patch("daemonsets", self.agent.name, {"status": status}, self.agent.namespace, part="status")


OMITTED = ("numberAvailable", "numberUnavailable", "observedGeneration", "updatedNumberScheduled")  # by the API, where they are zero
