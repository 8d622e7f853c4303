"""Faults of the CNI plugin: a new pod is not set up. The lab has no CNI plugin, so what it tells kubelet is written here, in its words."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from lab import cni_token
from lab.api import objects
from lab.api.client import Json
from lab.cluster import Lab
from lab.errors import LabError
from lab.faults import CALICO, FELIX, fault
from lab.faults.pods import CART
from lab.faults.steps import deployed, fails_its_probe
from lab.processes import wait_for

NODE, NAMESPACE, LATE = "k8s02", "shop", "late"
POD = f"{NAMESPACE}/{LATE}"
QUESTION = ("shop/web-0", "shop/web-1", 8080)
NO_SUCH_NODE = 'resource does not exist: Node(k8s02.internal) with error: nodes "k8s02.internal" not found'
LOCKED = "Calico is currently not ready to process requests"
NO_ADDRESS = "failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: [10.253.0.0/16]"


def _not_set_up(lab: Lab, said: str) -> Iterator[None]:
    """A pod that waits, and kubelet's Event."""
    container = {"name": "web", "image": "registry.example/shop/web:1.4.2"}
    pod: Json = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": LATE, "namespace": NAMESPACE},
                 "spec": {"nodeName": NODE, "containers": [container], "automountServiceAccountToken": False}}  # fmt: skip
    made = lab.client.create("pods", pod)
    event = lab.client.create("events", objects.sandbox_failed(made, said, 3))
    yield
    lab.client.delete("events", event["metadata"]["name"], NAMESPACE)
    lab.client.delete("pods", LATE, NAMESPACE)


@fault("cni_unauthorized", number="F48", node=NODE, breaks="cni.unauthorized", objects=(CART,), modes=FELIX, question=QUESTION, works=True)
def unauthorized(lab: Lab) -> Iterator[None]:
    """The API does not know the token of the CNI plugin of k8s02 any more, and a new pod waits; a calico-node that starts gets another one."""
    if lab.description.api != "real":
        raise LabError("the emulator looks at no token: this needs the real API server")
    node = lab.node(NODE)
    namespace, name = CART.split("/")
    try:
        cni_token.create_account(lab.client)
        cni_token.write(lab.client, node)
        cni_token.create_account(lab.client)
        wait_for(lambda: cni_token.is_refused(lab.client, node), "the API refuses the token", 30)
        with deployed(lab, CART, NODE, until=lambda: bool(lab.client.list("events", namespace, fieldSelector=f"involvedObject.name={name}"))):
            yield
    finally:
        cni_token.file(node).unlink(missing_ok=True)
        lab.client.delete("serviceaccounts", cni_token.ACCOUNT, cni_token.NAMESPACE)
        for event in lab.client.list("events", namespace, fieldSelector=f"involvedObject.name={name}"):
            lab.client.delete("events", event["metadata"]["name"], namespace)


@fault("nodename_mismatch", number="F47", node=NODE, breaks="cni.node_unknown", objects=(POD,), modes=FELIX, question=QUESTION, works=True)
def other_name(lab: Lab) -> Iterator[None]:
    """The CNI plugin of k8s02 asks for a node that does not exist."""
    return _not_set_up(lab, NO_SUCH_NODE)


@fault("datastore_locked", number="F67", node=NODE, breaks="cni.datastore_locked", objects=(POD,), modes=FELIX, question=QUESTION, works=True)
def locked(lab: Lab) -> Iterator[None]:
    """Calico's datastore is locked for a migration that was never ended."""
    return _not_set_up(lab, LOCKED)


@fault("cni_failed", number="", node=NODE, breaks="cni.failed", objects=(POD,), modes=FELIX, question=QUESTION, works=True)
def failed(lab: Lab) -> Iterator[None]:
    """The CNI plugin of k8s02 fails with words that nobody knows."""
    return _not_set_up(lab, "netplugin failed with no error message: signal: killed")


@fault("strict_affinity_or_block_limit", number="F64", node=NODE, breaks="cni.no_address", objects=(POD,), modes=CALICO, question=QUESTION, works=True)
def strict_affinity(lab: Lab) -> Iterator[None]:
    """A node takes addresses from blocks of its own only, and these are full."""
    name = lab.client.list("ipamconfigs")[0]["metadata"]["name"]
    before = lab.client.get("ipamconfigs", name)["spec"].get("strictAffinity", False)
    lab.client.patch("ipamconfigs", name, {"spec": {"strictAffinity": True}})
    yield from _not_set_up(lab, NO_ADDRESS)
    lab.client.patch("ipamconfigs", name, {"spec": {"strictAffinity": before}})


CONTROLLERS = "calico-kube-controllers"


@fault("kube_controllers_down", number="F66", node="", breaks="kube_controllers.available", modes=FELIX, question=QUESTION, works=True)
def no_controllers(lab: Lab) -> Iterator[None]:
    """calico-kube-controllers fails its readiness probe, so that its Deployment has no available replica until another pod takes its place."""
    (pod,) = _controllers(lab)
    well = pod["status"]["conditions"]
    fails_its_probe(lab, pod)
    before = lab.client.get("deployments", CONTROLLERS, "kube-system").get("status", {})
    enough = threading.Event()
    counting = threading.Thread(target=_count, args=(lab, enough))
    counting.start()
    try:
        wait_for(lambda: lab.client.get("deployments", CONTROLLERS, "kube-system")["status"].get("unavailableReplicas") == 1, "it is seen", 20)
        yield
    finally:
        enough.set()
        counting.join()
    if any(each["metadata"]["uid"] == pod["metadata"]["uid"] for each in _controllers(lab)):
        lab.client.patch("pods", pod["metadata"]["name"], {"status": {"conditions": well}}, "kube-system", part="status")
    lab.client.patch("deployments", CONTROLLERS, {"status": {**_status(1), **before}}, "kube-system", part="status")


def _controllers(lab: Lab) -> list[Json]:
    return [item for item in lab.client.list("pods", "kube-system") if item["metadata"]["name"].startswith(f"{CONTROLLERS}-")]


def _status(available: int) -> Json:
    counted = {"availableReplicas": available, "readyReplicas": available, "unavailableReplicas": 1 - available}
    return {"replicas": 1, **{name: count or None for name, count in counted.items()}}


def _count(lab: Lab, enough: threading.Event) -> None:
    """What the Deployment's controller does: the status says how many pods are ready."""
    told = -1
    while not enough.wait(0.2):
        conditions = [condition for item in _controllers(lab) for condition in item["status"].get("conditions", [])]
        ready = sum(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
        if ready != told:
            told = ready
            lab.client.patch("deployments", CONTROLLERS, {"status": _status(told)}, "kube-system", part="status")
