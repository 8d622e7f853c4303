"""New pods that are not set up. The lab has no CNI plugin: the words are those of a real one, told to the API as kubelet tells them."""

from __future__ import annotations

from collections.abc import Iterator

from lab.api.objects import metadata, now
from lab.cluster import Lab
from lab.faults import FELIX, fault

QUESTION = ("shop/web-1", "shop/api-0", 8080)
LATE = "late-1"


def _stuck(lab: Lab, words: str) -> Iterator[None]:
    """A pod on k8s02 that waits for its sandbox."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(LATE, "shop", {"app": "late"}),
        "spec": {"containers": [{"name": "late", "image": "registry.example.com/late:1"}], "nodeName": "k8s02"},
    }
    uid = lab.client.create("pods", pod)["metadata"]["uid"]
    name = f"{LATE}.{uid[:8]}"
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata(name, "shop"),
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": LATE, "uid": uid},
        "type": "Warning",
        "reason": "FailedCreatePodSandBox",
        "message": f'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "0": plugin type="calico" {words}',
        "source": {"component": "kubelet", "host": "k8s02"},
        "firstTimestamp": now(),
        "lastTimestamp": now(),
        "count": 3,
    }
    lab.client.create("events", event)
    yield
    lab.client.delete("events", name, "shop")
    lab.client.delete("pods", LATE, "shop", now=True)


@fault("cni_unauthorized", number="F48", breaks="cni.unauthorized", question=QUESTION, objects=(f"shop/{LATE}",), modes=FELIX, works=True)
def unauthorized(lab: Lab) -> Iterator[None]:
    """The API refuses the token of the CNI plugin on k8s02: a new pod there waits for its sandbox."""
    yield from _stuck(lab, "failed (add): error getting ClusterInformation: connection is unauthorized: Unauthorized")


@fault("nodename_mismatch", number="F47", breaks="cni.node_unknown", question=QUESTION, objects=(f"shop/{LATE}",), modes=FELIX, works=True)
def wrong_nodename(lab: Lab) -> Iterator[None]:
    """The CNI configuration of k8s02 has another name of the node: a new pod there waits for its sandbox."""
    words = 'failed (add): resource does not exist: Node(k8s02.internal) with error: nodes "k8s02.internal" not found'
    yield from _stuck(lab, words)


@fault("typha_unreachable", number="F44", breaks="cni.api_unreachable", question=QUESTION, objects=(f"shop/{LATE}",), modes=FELIX, works=True)
def api_unreachable(lab: Lab) -> Iterator[None]:
    """The CNI plugin on k8s02 does not reach the API: a new pod there waits for its sandbox."""
    yield from _stuck(lab, 'failed (add): error getting ClusterInformation: Get "https://10.96.0.1:443/apis": dial tcp 10.96.0.1:443: i/o timeout')


@fault("datastore_locked", number="F67", breaks="cni.datastore_locked", question=QUESTION, objects=(f"shop/{LATE}",), modes=FELIX, works=True)
def locked(lab: Lab) -> Iterator[None]:
    """Calico's datastore is locked: a new pod on k8s02 waits for its sandbox."""
    yield from _stuck(lab, "failed (add): Calico is currently not ready to process requests")


@fault("pool_exhausted", number="F63", breaks="cni.no_address", question=QUESTION, objects=(f"shop/{LATE}",), modes=FELIX, works=True)
def no_address(lab: Lab) -> Iterator[None]:
    """No pool has an address left: a new pod on k8s02 waits for its sandbox."""
    words = "failed to request IPv4 addresses: Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: [10.66.0.0/30]"
    yield from _stuck(lab, f"failed (add): {words}")
