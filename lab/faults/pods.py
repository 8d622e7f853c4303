"""Faults inside a pod."""

from __future__ import annotations

from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import fault
from lab.flannel.cni import gateway as flannel_gateway
from lab.plan import FLANNEL_NETWORK
from lab.processes import wait_for


@fault(
    "pod_side_broken",
    number="F51",
    breaks="pod.route.default",
    objects=("shop/web-1",),
    question=("shop/web-1", "shop/web-0", 8080),
)
def default_route(lab: Lab) -> Iterator[None]:
    """A pod has lost its routes through its gateway."""
    bridged = lab.pod("shop/web-1").bridged  # then there is a second route, to all pods
    gateway = flannel_gateway(lab.node("k8s02")) if bridged else "169.254.1.1"
    lost = ["default", *([FLANNEL_NETWORK] if bridged else [])]
    for prefix in lost:
        lab.run_in_pod("shop/web-1", "ip", "route", "del", prefix)
    wait_for(lambda: not lab.answers("shop/web-1", "shop/web-0", 0.3), "the pod reaches nothing", 10)
    yield
    for prefix in lost:
        lab.run_in_pod("shop/web-1", "ip", "route", "replace", prefix, "via", gateway, "dev", "eth0")


@fault(
    "host_veth_missing.down",
    number="F52",
    breaks="veth.down",
    objects=("shop/web-1",),
    question=("shop/web-0", "shop/web-1", 8080),
)
def veth_down(lab: Lab) -> Iterator[None]:
    """The host's end of a pod's veth pair is down. Nothing sets it up again."""
    veth = lab.pod("shop/web-1").interface
    lab.run("k8s02", "ip", "link", "set", veth, "down")
    wait_for(lambda: not lab.answers("shop/web-0", "shop/web-1", 0.3), "the pod does not answer", 10)
    yield
    lab.run("k8s02", "ip", "link", "set", veth, "up")
