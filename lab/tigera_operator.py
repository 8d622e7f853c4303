"""A stand-in of the tigera operator: what its Installation says of the address autodetection, calico-node's environment says, too.

Of all that the real one does it does just this, as that does it: whatever others write there is written over.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from pathlib import Path

from lab.api.client import Client, Json
from lab.api.crds import crd
from lab.cluster import Lab
from lab.plan import Description

GROUP = "operator.tigera.io/v1"
NAME = "default"
METHOD = "IP_AUTODETECTION_METHOD"
INTERNAL_IP = "kubernetes-internal-ip"
WORDS = {"interface": "interface", "skip-interface": "skipInterface", "can-reach": "canReach"}
CRD = crd("installations", "Installation", "operator.tigera.io")
CRD["spec"]["versions"][0]["subresources"] = {"status": {}}


def detection_of(method: str) -> Json:
    """nodeAddressAutodetectionV4 for a word of calico-node."""
    word, _equals, argument = method.partition("=")
    if word == "cidr":
        return {"cidrs": argument.split(",")}
    if method == INTERNAL_IP:
        return {"kubernetes": "NodeInternalIP"}
    return {WORDS[word]: argument} if argument else {"firstFound": True}


def method_of(detection: Json) -> str:
    """calico-node's word for nodeAddressAutodetectionV4."""
    for word, key in WORDS.items():
        if detection.get(key):
            return f"{word}={detection[key]}"
    if detection.get("cidrs"):
        return f"cidr={','.join(detection['cidrs'])}"
    return INTERNAL_IP if detection.get("kubernetes") == "NodeInternalIP" else "first-found"


def installation(client: Client, lab: Description) -> Json:
    """The Installation, made if it is not there; with what else a reference to it needs."""
    known = client.list("installations", group=GROUP)
    network = {"bgp": "Enabled" if lab.calico.bird else "Disabled", "nodeAddressAutodetectionV4": detection_of(lab.autodetection)}
    body = {"metadata": {"name": NAME}, "spec": {"variant": "Calico", "calicoNetwork": network}, "apiVersion": GROUP, "kind": "Installation"}
    return {**(known[0] if known else client.create("installations", body, GROUP)), "apiVersion": GROUP, "kind": "Installation"}


class Operator:
    """The controller of the one Installation."""

    def __init__(self, lab: Lab) -> None:
        self.client, self.agent = lab.client, lab.description.calico.agent
        self.version = lab.description.calico.version
        self.woken = threading.Event()

    def run(self) -> None:
        """For ever."""
        for resource, group in (("installations", GROUP), ("daemonsets", "")):
            self.client.follow(resource, lambda _event: self.woken.set(), group)
        while True:
            self.woken.wait()
            self.woken.clear()
            try:
                self.reconcile()
            except Exception:  # one failure must not end the operator
                traceback.print_exc()
                time.sleep(1)
                self.woken.set()

    def reconcile(self) -> None:
        known = self.client.get("installations", NAME, group=GROUP)
        daemonset = self.client.get("daemonsets", self.agent.name, self.agent.namespace)
        containers = daemonset["spec"]["template"]["spec"]["containers"]
        environment = next(container["env"] for container in containers if container["name"] == "calico-node")
        wanted = {"name": METHOD, "value": method_of(known["spec"].get("calicoNetwork", {}).get("nodeAddressAutodetectionV4") or {})}
        if wanted not in environment:
            environment[:] = [*(entry for entry in environment if entry["name"] != METHOD), wanted]
            self.client.update("daemonsets", daemonset)  # refused if it is another one by now, and then tried again
        status = {"variant": "Calico", "calicoVersion": self.version}
        if known.get("status") != status:
            self.client.patch("installations", NAME, {"status": status}, group=GROUP, part="status")


def main(arguments: list[str]) -> int:
    """FOLDER: the state folder."""
    print("a stand-in of the operator", file=sys.stderr)
    Operator(Lab(Path(arguments[0]))).run()
    return 1
