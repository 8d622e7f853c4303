"""Faults of sysctls: proxy ARP and forwarding. Felix repairs none of them."""

from __future__ import annotations

from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import FELIX, ONE_SUBNET, fault
from lab.processes import wait_for

NODE, POD = "k8s03", "shop/web-2"
QUESTION = (POD, "shop/web-0", 8080)


def _set(lab: Lab, name: str, value: str) -> None:
    lab.run(NODE, "sysctl", "-qw", f"{name}={value}")


def _forget_neighbours(lab: Lab, pod: str) -> None:
    """What ageing does within a minute."""
    lab.run_in_pod(pod, "ip", "neigh", "flush", "all")
    lab.run(NODE, "ip", "neigh", "flush", "dev", lab.pod(pod).interface)


def _dead(lab: Lab, pod: str) -> None:
    wait_for(lambda: not lab.answers(pod, "shop/web-0", 0.3), f"{pod} reaches nothing", 20)


@fault(
    "proxy_arp_or_forwarding_cleared.proxy_arp",
    number="F17",
    node=NODE,
    breaks="sysctl.proxy_arp",
    objects=(POD,),
    modes=FELIX,
    question=QUESTION,
)
def proxy_arp(lab: Lab) -> Iterator[None]:
    """proxy_arp of a pod's interface is 0: the pod gets no answer for its gateway 169.254.1.1."""
    name = f"net.ipv4.conf.{lab.pod(POD).interface}.proxy_arp"
    _set(lab, name, "0")
    _forget_neighbours(lab, POD)
    _dead(lab, POD)
    yield
    _set(lab, name, "1")
    lab.run_in_pod(POD, "ip", "neigh", "flush", "all")


@fault(
    "proxy_arp_or_forwarding_cleared.forwarding",
    number="F17",
    node=NODE,
    breaks="sysctl.forwarding",
    objects=(POD,),
    modes=FELIX,
    question=QUESTION,
)
def forwarding(lab: Lab) -> Iterator[None]:
    """forwarding of a pod's interface is 0, which stops proxy ARP on it as well."""
    name = f"net.ipv4.conf.{lab.pod(POD).interface}.forwarding"
    _set(lab, name, "0")
    _forget_neighbours(lab, POD)
    _dead(lab, POD)
    yield
    _set(lab, name, "1")
    lab.run_in_pod(POD, "ip", "neigh", "flush", "all")


@fault(
    "proxy_arp_or_forwarding_cleared.ip_forward",
    number="F17",
    node=NODE,
    breaks="sysctl.ip_forward",
    question=QUESTION,
)
def ip_forward(lab: Lab) -> Iterator[None]:
    """ip_forward of k8s03 is 0: nothing of its pods leaves the node, nothing comes in."""
    _set(lab, "net.ipv4.ip_forward", "0")
    _dead(lab, POD)
    yield
    _set(lab, "net.ipv4.ip_forward", "1")
    for pod in lab.pods:
        if pod.node == NODE:
            lab.run_in_pod(f"{pod.namespace}/{pod.name}", "ip", "neigh", "flush", "all")


@fault(
    "no_route_to_169_254_1_1",
    number="F18",
    node=NODE,
    breaks="route.gateway.missing",
    question=QUESTION,
    modes=ONE_SUBNET,
)
def no_default_route(lab: Lab) -> Iterator[None]:
    """k8s03 has no default route, so it does not answer its pods' ARP for 169.254.1.1."""
    lab.run(NODE, "ip", "route", "del", "default")
    _forget_neighbours(lab, POD)
    _dead(lab, POD)
    yield
    lab.run(NODE, "ip", "route", "replace", "default", "via", lab.node(NODE).gateway, "dev", "eth0")
    for pod in lab.pods:
        if pod.node == NODE:
            lab.run_in_pod(f"{pod.namespace}/{pod.name}", "ip", "neigh", "flush", "all")
