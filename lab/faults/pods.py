"""Faults inside a pod."""

from __future__ import annotations

from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import fault
from lab.processes import wait_for


@fault(
    "pod_side_broken",
    number="F51",
    breaks="pod.route.default",
    objects=("shop/web-1",),
    question=("shop/web-1", "shop/web-0", 8080),
)
def default_route(lab: Lab) -> Iterator[None]:
    """A pod has lost its default route."""
    lab.run_in_pod("shop/web-1", "ip", "route", "del", "default")
    wait_for(lambda: not lab.answers("shop/web-1", "shop/web-0", 0.3), "the pod reaches nothing", 10)
    yield
    lab.run_in_pod("shop/web-1", "ip", "route", "replace", "default", "via", "169.254.1.1", "dev", "eth0")
