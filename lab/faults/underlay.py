"""The network between the nodes, and what of it a node takes from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from lab import kernel
from lab.cluster import Lab
from lab.faults import CALICO, DIRECT, FELIX, MESH, Modes, fault
from lab.faults.steps import cut_off, removed_machine, started, stop
from lab.modes import MODES

QUESTION = ("shop/web-0", "shop/web-1", 8080)
NEIGHBOURS = Modes(tuple(name for name in CALICO.names if MODES[name].subnets == 1 and 4 in MODES[name].families), "a router stands between the nodes")
DEFAULT = Modes(NEIGHBOURS.names, "the other subnet is reached over the default route")
SECOND_NIC = Modes(tuple(name for name in DIRECT.names if MODES[name].bird), "a tunnel carries the packets, or Calico does not write the routes")
OTHER_MAC = "52:54:00:00:00:99"


@fault("underlay_address_conflict", number="x", breaks="underlay.mac.different", question=QUESTION, objects=(OTHER_MAC,), modes=NEIGHBOURS)
def another_machine_answers(lab: Lab) -> Iterator[None]:
    """Another machine answers for the address of k8s02: k8s01 sends there what is meant for k8s02."""
    address = lab.node("k8s02").address
    lab.run("k8s01", "ip", "neigh", "replace", address, "lladdr", OTHER_MAC, "dev", "eth0", "nud", "permanent")
    cut_off(lab, *QUESTION[:2])
    yield
    lab.run("k8s01", "ip", "neigh", "del", address, "dev", "eth0", check=False)


@fault("second_default_route", number="x", breaks="underlay.default.second", question=QUESTION, modes=DEFAULT, works=True)
def second_default(lab: Lab) -> Iterator[None]:
    """A second default route of k8s02 wins, over an interface that leads nowhere."""
    lab.run("k8s02", "ip", "link", "add", "docker0", "type", "veth", "peer", "name", "docker1")
    lab.run("k8s02", "ip", "addr", "add", "192.0.2.2/24", "dev", "docker0")
    for end in ("docker0", "docker1"):
        lab.run("k8s02", "ip", "link", "set", end, "up")
    (route,) = [r for r in lab.routes("k8s02") if r["dst"] == "default"]
    old = ["default", "via", str(route["gateway"]), "dev", str(route["dev"])]
    lab.run("k8s02", "ip", "route", "add", *old, "metric", "100")
    lab.run("k8s02", "ip", "route", "del", *old, "metric", str(route.get("metric", 0)))
    lab.run("k8s02", "ip", "route", "add", "default", "via", "192.0.2.1", "dev", "docker0", "metric", "50")
    yield
    lab.run("k8s02", "ip", "link", "del", "docker0")
    lab.run("k8s02", "ip", "route", "add", *old)
    lab.run("k8s02", "ip", "route", "del", *old, "metric", "100")


@fault("rp_filter_strict_underlay", number="F15", breaks="rp_filter.strict", question=QUESTION, objects=("net.ipv4.conf.veth9.rp_filter",), modes=SECOND_NIC)
def strict(lab: Lab) -> Iterator[None]:
    """k8s01 sends what is meant for the pods of k8s02 over a second network, by which k8s02 would not send the answer; autodetection passes over a veth."""
    sender, receiver = lab.node("k8s01"), lab.node("k8s02")
    kernel.ip_batch([f"link add veth9 type veth peer name veth9 netns {receiver.netns}"], sender.netns)
    for node, address in ((sender, "198.51.100.1/30"), (receiver, "198.51.100.2/30")):
        lab.run(node.name, "ip", "addr", "add", address, "dev", "veth9")
        lab.run(node.name, "ip", "link", "set", "veth9", "up")
    lab.run(receiver.name, "sysctl", "-qw", "net.ipv4.conf.veth9.rp_filter=1")
    lab.run(sender.name, "ip", "route", "add", receiver.block, "via", "198.51.100.2", "dev", "veth9", "proto", "static", "metric", "10")
    cut_off(lab, *QUESTION[:2])
    yield
    lab.run(sender.name, "ip", "link", "del", "veth9")


@fault("node_renamed", number="x", breaks="node.address.duplicate", node="old02", question=QUESTION, modes=MESH, works=True)
def renamed(lab: Lab) -> Iterator[None]:
    """k8s02 was called old02 before; its old Node object was left in the API."""
    removed_machine(lab, "old02", lab.node("k8s02").address)
    yield
    lab.client.delete("nodes", "old02")


@fault("link_flapping", number="x", breaks="link.flapping", question=QUESTION, modes=FELIX, works=None)
def flapping(lab: Lab) -> Iterator[None]:
    """The host interface of shop/web-1 goes down and up again, many times a second."""
    interface = lab.pod("shop/web-1").interface
    script = 'while :; do ip link set "$0" down; sleep 0.05; ip link set "$0" up; sleep 0.05; done'
    process = started(lab, "k8s02", "sh", "-c", script, interface)
    yield
    stop(process)
    lab.run("k8s02", "ip", "link", "set", interface, "up")
