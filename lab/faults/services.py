"""Faults of Services: kube-proxy, endpoints and what stands between them. The question is about a Service, so kube-proxy runs while a fault is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab import kube_proxy
from lab.api import seed
from lab.api.client import Json
from lab.cluster import Lab
from lab.faults import FELIX, fault
from lab.faults.policy import only_from
from lab.processes import wait_for

NODE, SOURCE = "k8s03", "shop/web-2"
SERVICE = "10.96.100.2"
QUESTION = (SOURCE, "svc/shop/api", 80)
GONE = "10.253.255.254"  # an address of the pool that no pod has


def _answers(lab: Lab, times: int = 12) -> set[str]:
    """Who answers a Service, and "" if somebody does not."""
    return {lab.connect(SOURCE, SERVICE, 80, 0.4) for _turn in range(times)}


def _silent(lab: Lab, timeout: float = 30) -> None:
    wait_for(lambda: "" in _answers(lab), "the Service does not answer always", timeout)


def _slice(lab: Lab) -> Json:
    found: Json = next(item for item in lab.client.list("endpointslices", "shop") if item["metadata"]["labels"]["kubernetes.io/service-name"] == "api")
    return found


def _write(lab: Lab, **fields: object) -> None:
    lab.client.patch("endpointslices", _slice(lab)["metadata"]["name"], fields, "shop")


@contextmanager
def _mended(lab: Lab) -> Iterator[None]:
    """The EndpointSlices as they were, whatever was written into them."""
    before = _slice(lab)
    try:
        yield
    finally:
        _write(lab, endpoints=before["endpoints"], ports=before["ports"])
        seed.refresh_endpoints(lab.client, lab.description)


def _rules_missing(lab: Lab, mode: str) -> Iterator[None]:
    with kube_proxy.running(lab, mode):
        kube_proxy.stop(lab, NODE)
        kube_proxy.flush(lab, NODE)
        wait_for(lambda: _answers(lab, 1) == {""}, "the Service is dead", 20)
        yield


@fault("kube_proxy_rules_missing.iptables", number="", node=NODE, breaks="service.rules.missing", question=QUESTION, objects=(f"kube-proxy on {NODE}",))
def rules_missing(lab: Lab) -> Iterator[None]:
    """kube-proxy of one node is dead, and its rules are gone."""
    yield from _rules_missing(lab, "iptables")


@fault("kube_proxy_rules_missing.nftables", number="", node=NODE, breaks="service.rules.missing", question=QUESTION, objects=(f"kube-proxy on {NODE}",))
def rules_missing_nftables(lab: Lab) -> Iterator[None]:
    """kube-proxy of one node, in nftables mode, is dead, and its table is gone."""
    yield from _rules_missing(lab, "nftables")


def _stale(lab: Lab, mode: str) -> Iterator[None]:
    with kube_proxy.running(lab, mode), _mended(lab):
        ready = _slice(lab)["endpoints"]
        _write(lab, endpoints=[*ready, {**ready[0], "addresses": [GONE], "targetRef": None}])
        _silent(lab)
        kube_proxy.stop(lab, NODE)
        _write(lab, endpoints=ready)
        yield


@fault("kube_proxy_rules_stale.iptables", number="", node=NODE, breaks="service.rules.stale", question=QUESTION, objects=(f"kube-proxy on {NODE}",),
       works=None)  # fmt: skip
def stale(lab: Lab) -> Iterator[None]:
    """kube-proxy of one node has stopped, and its rules still lead to an endpoint that is gone."""
    yield from _stale(lab, "iptables")


@fault("kube_proxy_rules_stale.nftables", number="", node=NODE, breaks="service.rules.stale", question=QUESTION, objects=(f"kube-proxy on {NODE}",),
       works=None)  # fmt: skip
def stale_nftables(lab: Lab) -> Iterator[None]:
    """The same in nftables mode."""
    yield from _stale(lab, "nftables")


@fault("service_without_endpoints", number="", node="", breaks="service.endpoints.none", question=QUESTION, objects=("Service shop/api",))
def without_endpoints(lab: Lab) -> Iterator[None]:
    """No pod behind the Service is ready."""
    with kube_proxy.running(lab), _mended(lab):
        idle = {"ready": False, "serving": False, "terminating": False}
        _write(lab, endpoints=[{**one, "conditions": idle} for one in _slice(lab)["endpoints"]])
        wait_for(lambda: _answers(lab, 3) == {""}, "the Service refuses", 20)
        yield


@fault("service_target_port_wrong", number="", node="", breaks="service.port.unserved", question=QUESTION, objects=("Service shop/api",))
def target_port(lab: Lab) -> Iterator[None]:
    """The Service's targetPort is not the port on which its pods listen."""
    with kube_proxy.running(lab), _mended(lab):
        spec = lab.client.get("services", "api", "shop")["spec"]
        port = spec["ports"][0]
        lab.client.patch("services", "api", {"spec": {"ports": [{**port, "targetPort": 8099}]}}, "shop")
        _write(lab, ports=[{"name": port["name"], "protocol": port["protocol"], "port": 8099}])
        wait_for(lambda: _answers(lab, 3) == {""}, "the Service is refused by its pods", 20)
        yield
        lab.client.patch("services", "api", {"spec": {"ports": [port]}}, "shop")


@fault("snat_hides_source_from_policy", number="F13", node=NODE, breaks="service.source.hidden", modes=FELIX, question=QUESTION,
       objects=("NetworkPolicy shop/api-in", f"kube-proxy on {NODE}"))  # fmt: skip
def hidden_source(lab: Lab) -> Iterator[None]:
    """kube-proxy masquerades everything, and a policy lets in the web pods by their own addresses."""
    with kube_proxy.running(lab, "iptables", "--masquerade-all"), only_from(lab, "shop/api-in", "api", "web"):
        wait_for(lambda: _answers(lab, 3) == {""}, "the Service does not answer", 20)
        yield


@fault("host_veth_missing.one_of_three", number="F52", node="k8s02", breaks="veth.down", modes=FELIX, question=QUESTION, works=None)
def one_of_three(lab: Lab) -> Iterator[None]:
    """The host interface of one of the three pods behind the Service is down, so a third of all connections is lost."""
    pod = lab.pod("shop/api-0")
    with kube_proxy.running(lab):
        lab.run("k8s02", "ip", "link", "set", pod.interface, "down")
        _silent(lab)
        yield
        lab.run("k8s02", "ip", "link", "set", pod.interface, "up")
        lab.wait_healthy(60)


ENTERED = "k8s02"
NODE_PORT = 30080
BY_NODE_PORT = (SOURCE, f"node/{ENTERED}", NODE_PORT)


@contextmanager
def _open_on_nodes(lab: Lab, **spec: object) -> Iterator[None]:
    """The Service has a port on every node."""
    before = lab.client.get("services", "api", "shop")["spec"]
    port = before["ports"][0]
    lab.client.patch("services", "api", {"spec": {"type": "NodePort", "ports": [{**port, "nodePort": NODE_PORT}], **spec}}, "shop")
    try:
        yield
    finally:
        lab.client.patch("services", "api", {"spec": {"type": "ClusterIP", "externalTrafficPolicy": None, "ports": [{**port, "nodePort": None}]}}, "shop")


def _by_node_port(lab: Lab) -> str:
    return lab.connect(SOURCE, lab.node(ENTERED).address, NODE_PORT, 0.4)


@fault("service_without_local_endpoint", number="", node=ENTERED, breaks="service.endpoints.none", question=BY_NODE_PORT, objects=("Service shop/api",))
def no_local_endpoint(lab: Lab) -> Iterator[None]:
    """A node that has no endpoint of a Service is asked for the Service's port, and externalTrafficPolicy is Local."""
    with kube_proxy.running(lab), _mended(lab), _open_on_nodes(lab):
        wait_for(lambda: _by_node_port(lab) != "", "the port of the node answers", 20)
        lab.client.patch("services", "api", {"spec": {"externalTrafficPolicy": "Local"}}, "shop")
        _write(lab, endpoints=[one for one in _slice(lab)["endpoints"] if one["nodeName"] != ENTERED])
        wait_for(lambda: _by_node_port(lab) == "", "the port of the node is dead", 20)
        yield


@fault("kube_proxy_rules_missing.node_port", number="", node=ENTERED, breaks="service.rules.missing", question=BY_NODE_PORT,
       objects=(f"kube-proxy on {ENTERED}",))  # fmt: skip
def rules_missing_where_entered(lab: Lab) -> Iterator[None]:
    """kube-proxy of the node whose port is asked for is dead, and its rules are gone."""
    with kube_proxy.running(lab), _open_on_nodes(lab):
        wait_for(lambda: _by_node_port(lab) != "", "the port of the node answers", 20)
        kube_proxy.stop(lab, ENTERED)
        kube_proxy.flush(lab, ENTERED)
        wait_for(lambda: _by_node_port(lab) == "", "the port of the node is dead", 20)
        yield
