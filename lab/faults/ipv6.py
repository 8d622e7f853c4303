"""Faults of IPv6 alone: IPv4 between the same pods works."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import IPV6, fault
from lab.faults.steps import kill
from lab.plan import GATEWAY6
from lab.pod import HOST_LL
from lab.processes import wait_for

NODE, POD = "k8s03", "shop/web-2"
QUESTION = (POD, "shop/web-0", 8080)


def _set(lab: Lab, name: str, value: str) -> None:
    lab.run(NODE, "sysctl", "-qw", f"net.ipv6.conf.{name}={value}")


def _cut_off(lab: Lab, source: str, destination: str) -> None:
    wait_for(lambda: not lab.answers(source, destination, 0.3, 6), f"{destination} does not answer {source} by IPv6", 20)


@fault("ipv6_disabled_or_no_ll.forwarding", number="F74", node=NODE, breaks="forwarding.off", question=QUESTION, modes=IPV6, family=6)
def forwarding(lab: Lab) -> Iterator[None]:
    """k8s03 forwards no IPv6."""
    _set(lab, "all.forwarding", "0")
    _cut_off(lab, *QUESTION[:2])
    yield
    _set(lab, "all.forwarding", "1")


@fault("ipv6_disabled_or_no_ll.interface", number="F74", node=NODE, breaks="ipv6.disabled", objects=(POD,), question=QUESTION, modes=IPV6, family=6)
def disabled(lab: Lab) -> Iterator[None]:
    """IPv6 was switched off on the host's interface of a pod; its route and its gateway are gone with it."""
    interface = lab.pod(POD).interface
    _set(lab, f"{interface}.disable_ipv6", "1")
    _cut_off(lab, *QUESTION[:2])
    yield
    _set(lab, f"{interface}.disable_ipv6", "0")
    lab.run(NODE, "ip", "route", "replace", f"{lab.pod(POD).address6}/128", "dev", interface)


@fault("ipv6_disabled_or_no_ll.link_local", number="F74", node=NODE, breaks="veth.link_local.missing", objects=(POD,), question=QUESTION, modes=IPV6,
       family=6)  # fmt: skip
def no_link_local(lab: Lab) -> Iterator[None]:
    """The host's interface of a pod has lost its link-local address, which is the pod's gateway."""
    interface = lab.pod(POD).interface
    lab.run(NODE, "ip", "addr", "del", f"{HOST_LL}/64", "dev", interface)
    lab.run_in_pod(POD, "ip", "-6", "neigh", "flush", "all")
    _cut_off(lab, *QUESTION[:2])
    yield
    lab.run(NODE, "ip", "addr", "replace", f"{HOST_LL}/64", "dev", interface, "nodad")


@fault("bird_down_or_config_rejected.bird6", number="F49", breaks="bird.down", question=("shop/web-0", "shop/web-1", 8080), modes=IPV6, family=6)
def bird6_stopped(lab: Lab) -> Iterator[None]:
    """bird6 of k8s02 is stopped cleanly: its peers withdraw its IPv6 block, IPv4 goes on."""
    kill(lab, "k8s02", "bird6", signal.SIGTERM)
    _cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.revive("k8s02")


@fault("remote_block_route_missing_bird_has_it.ipv6", number="F22", breaks="route.alien", node="k8s01", question=("shop/web-0", "shop/web-1", 8080),
       modes=IPV6, family=6)  # fmt: skip
def alien_route(lab: Lab) -> Iterator[None]:
    """A static IPv6 route on k8s01 sends the block of k8s02 to the gateway; bird6 learns it and tells the others."""
    route = [lab.node("k8s02").block6, "via", GATEWAY6, "dev", "eth0", "proto", "static", "metric", "100"]
    lab.run("k8s01", "ip", "-6", "route", "add", *route)
    _cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    lab.run("k8s01", "ip", "-6", "route", "del", *route, check=False)
