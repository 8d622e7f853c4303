"""Faults of routes."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import BIRD_ROUTES, FELIX, fault
from lab.plan import GATEWAY
from lab.processes import send, wait_for


@fault(
    "local_pod_route_missing",
    number="F20",
    breaks="route.local.missing",
    objects=("shop/web-1",),
    modes=FELIX,
    question=("shop/web-0", "shop/web-1", 8080),
)
def local_route(lab: Lab) -> Iterator[None]:
    """Felix of k8s02 is dead, and the /32 of a local pod was deleted: the blackhole takes its packets."""
    felix = lab.description.calico.title("felix")
    send(lab.process("k8s02", felix), signal.SIGKILL)
    wait_for(lambda: not lab.process("k8s02", felix), "Felix is dead", 10)
    pod = lab.pod("shop/web-1")
    lab.run("k8s02", "ip", "route", "del", f"{pod.address}/32", "dev", pod.interface)
    wait_for(lambda: not lab.answers("shop/web-0", "shop/web-1", 0.3), "the pod does not answer", 10)
    yield
    lab.revive("k8s02")


def _alien(lab: Lab, node: str) -> list[str]:
    """A static route that sends the block of another node to the gateway, at BIRD's metric."""
    return [lab.node(node).block, "via", GATEWAY, "dev", "eth0", "proto", "static", "metric", "1024"]


@fault(
    "remote_block_route_missing_bird_has_it.alien",
    number="F22",
    breaks="route.block.missing",
    node="k8s01",
    modes=BIRD_ROUTES,
    question=("shop/web-0", "shop/web-1", 8080),
)
def alien_route(lab: Lab) -> Iterator[None]:
    """On k8s01 a static route with BIRD's prefix and metric stands in the way; BIRD learns it and tells the others."""
    block = lab.node("k8s02").block
    lab.run("k8s01", "ip", "route", "replace", *_alien(lab, "k8s02"))
    wait_for(lambda: f"{block}" in _failed(lab, "k8s01"), "BIRD says that it could not install its route", 20)
    wait_for(lambda: not lab.answers("shop/web-0", "shop/web-1", 0.3), "the pod does not answer", 10)
    yield
    lab.run("k8s01", "ip", "route", "del", *_alien(lab, "k8s02"), check=False)


def _failed(lab: Lab, node: str) -> str:
    """BIRD's routes that the kernel refused."""
    return "\n".join(line for line in lab.bird(node, "show route").splitlines() if "] !" in line)


@fault(
    "remote_block_route_missing_bird_has_it.unlearned",
    number="F22",
    breaks="route.block.missing",
    node="k8s01",
    modes=BIRD_ROUTES,
    question=("shop/web-0", "shop/web-1", 8080),
)
def unlearned_route(lab: Lab) -> Iterator[None]:
    """As the alien route, but written as `proto kernel`, which BIRD never learns: only k8s01 suffers."""
    alien = [word.replace("static", "kernel") for word in _alien(lab, "k8s02")]
    lab.run("k8s01", "ip", "route", "replace", *alien)
    wait_for(lambda: lab.node("k8s02").block in _failed(lab, "k8s01"), "BIRD could not install its route", 20)
    wait_for(lambda: not lab.answers("shop/web-0", "shop/web-1", 0.3), "the pod does not answer", 10)
    yield
    lab.run("k8s01", "ip", "route", "del", *alien, check=False)
