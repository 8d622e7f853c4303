"""Faults of the tunnels' devices, addresses, neighbours and FDB entries, and of the network beneath them."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

from lab.calico.cluster_routes import VXLAN as DEVICE
from lab.calico.cluster_routes import vtep_mac
from lab.calico.common import TUNNEL_ANNOTATION
from lab.cluster import Lab
from lab.faults import TUNNEL, VXLAN, Modes, fault
from lab.faults.steps import PREFIX, annotate, annotation, cut_off, kill, move, replace, started, stop
from lab.kernel import ip_batch
from lab.modes import MODES
from lab.processes import send, stopped_by_signal, wait_for

QUESTION = ("shop/web-2", "shop/web-0", 8080)  # crosses the subnets, where there are two


def _flush(lab: Lab, node: str) -> None:
    lab.run(node, "ip", "neigh", "flush", "dev", "eth0", check=False)


@fault(
    "host_route_missing_underlay",
    number="F33",
    breaks="underlay.neighbour.failed",
    node="k8s01",
    question=("shop/web-0", "shop/web-1", 8080),
)
def underlay_dead(lab: Lab) -> Iterator[None]:
    """The switch does not carry anything between k8s01 and k8s02, not even ARP; both reach everybody else."""
    ports = ("n1", "n2")
    ip_batch([f"link set dev {port} isolated on" for port in ports], lab.description.fabric, program="bridge")
    for node in ("k8s01", "k8s02"):
        _flush(lab, node)
    asking = started(lab, "k8s01", "ping", "-q", lab.node("k8s02").address)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    stop(asking)
    ip_batch([f"link set dev {port} isolated off" for port in ports], lab.description.fabric, program="bridge")
    for node in ("k8s01", "k8s02"):
        _flush(lab, node)


@fault(
    "tunnel_device_missing_or_down",
    number="F34",
    breaks="tunnel.device.down",
    node="k8s03",
    question=QUESTION,
    modes=TUNNEL,
)
def device_down(lab: Lab) -> Iterator[None]:
    """Felix of k8s03 is dead and the tunnel's device is down; its routes are gone with it."""
    kill(lab, "k8s03", "felix")
    lab.run("k8s03", "ip", "link", "set", lab.description.calico.device, "down")
    cut_off(lab, *QUESTION[:2])
    yield
    lab.run("k8s03", "ip", "link", "set", lab.description.calico.device, "up", check=False)
    lab.revive("k8s03")


@fault(
    "tunnel_address_missing_or_mismatch.device",
    number="F35",
    breaks="tunnel.address.different",
    question=("shop/web-1", "shop/web-0", 8080),
    works=True,
    modes=TUNNEL,
)
def device_address(lab: Lab) -> Iterator[None]:
    """Felix of k8s02 is dead, and the tunnel's device has another address than Calico gave it."""
    kill(lab, "k8s02", "felix")
    device, address = lab.description.calico.device, f"{lab.node('k8s02').tunnel}/32"
    lab.run("k8s02", "ip", "addr", "add", "10.253.250.250/32", "dev", device)
    lab.run("k8s02", "ip", "addr", "del", address, "dev", device)
    yield
    lab.revive("k8s02")


@fault(
    "tunnel_address_missing_or_mismatch.unallocated",
    number="F35",
    breaks="tunnel.address.unallocated",
    question=("shop/web-1", "shop/web-0", 8080),
    works=True,
    modes=VXLAN,
)
def unallocated_address(lab: Lab) -> Iterator[None]:
    """The tunnel address of k8s02 in the API is not the one that IPAM gave it; all nodes agree on it, so traffic flows."""
    old = annotation(lab, "k8s02", "IPv4VXLANTunnelAddr")
    annotate(lab, "k8s02", "IPv4VXLANTunnelAddr", "10.253.250.250")
    wait_for(lambda: "10.253.250.250" in lab.run("k8s02", "ip", "addr", "show", "dev", DEVICE), "the device has the address", 20)
    wait_for(lambda: lab.answers("shop/web-1", "shop/web-0"), "all nodes have taken it over", 20)
    yield
    annotate(lab, "k8s02", "IPv4VXLANTunnelAddr", old)


@fault(
    "duplicate_tunnel_ip",
    number="F37",
    breaks="tunnel.address.duplicate",
    node="k8s03",
    question=("shop/web-2", "shop/web-1", 8080),
    modes=VXLAN,
)
def duplicate_address(lab: Lab) -> Iterator[None]:
    """k8s03 has the tunnel address of k8s02, by its annotation."""
    old = annotation(lab, "k8s03", "IPv4VXLANTunnelAddr")
    annotate(lab, "k8s03", "IPv4VXLANTunnelAddr", lab.node("k8s02").tunnel)
    cut_off(lab, "shop/web-2", "shop/web-1")
    yield
    annotate(lab, "k8s03", "IPv4VXLANTunnelAddr", old)


@fault(
    "duplicate_vtep_mac",
    number="F40",
    breaks="vtep.mac.duplicate",
    node="k8s03",
    question=("shop/web-0", "shop/web-1", 8080),
    modes=Modes(tuple(name for name in VXLAN.names if not MODES[name].cross_subnet), "no third node sends to both of them through the tunnel"),
)
def duplicate_mac(lab: Lab) -> Iterator[None]:
    """k8s03 announces the MAC address of the vxlan.calico of k8s02."""
    annotate(lab, "k8s03", "VXLANTunnelMACAddr", vtep_mac("k8s02"))
    wait_for(lambda: vtep_mac("k8s02") in lab.run("k8s03", "ip", "link", "show", DEVICE), "the device has the MAC address", 20)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    annotate(lab, "k8s03", "VXLANTunnelMACAddr", None)


@fault(
    "vxlan_fdb_or_neigh_drift.fdb",
    number="F38",
    breaks="fdb.missing",
    node="k8s03",
    question=QUESTION,
    modes=VXLAN,
)
def fdb_missing(lab: Lab) -> Iterator[None]:
    """Felix of k8s03 is dead, and the FDB entry for the vxlan.calico of k8s01 is gone."""
    kill(lab, "k8s03", "felix")
    _forget_end(lab)
    yield
    lab.revive("k8s03")


def _forget_end(lab: Lab) -> None:
    (entry,) = [e for e in json.loads(lab.run("k8s03", "bridge", "-j", "fdb", "show", "dev", DEVICE)) if e.get("dst") == lab.node("k8s01").address]
    lab.run("k8s03", "bridge", "fdb", "del", entry["mac"], "dev", DEVICE, "dst", entry["dst"], "self")
    cut_off(lab, *QUESTION[:2])


@fault("vxlan_fdb_or_neigh_drift.hung", number="F38", breaks="fdb.missing", node="k8s03", question=QUESTION, modes=VXLAN)
def felix_hangs(lab: Lab) -> Iterator[None]:
    """Felix of k8s03 lives and does nothing any more (SIGSTOP), and the FDB entry for the vxlan.calico of k8s01 is gone."""
    title = lab.description.calico.title("felix")
    felix = lab.process("k8s03", title)
    send(felix, signal.SIGSTOP)
    wait_for(lambda: stopped_by_signal(felix), "Felix of k8s03 is stopped", 10)
    _forget_end(lab)
    yield
    if lab.process("k8s03", title) == felix:
        send(felix, signal.SIGCONT)


@fault(
    "vxlan_fdb_or_neigh_drift.neighbour",
    number="F38",
    breaks="neighbour.vtep.different",
    node="k8s03",
    question=QUESTION,
    modes=VXLAN,
)
def neighbour_wrong(lab: Lab) -> Iterator[None]:
    """Felix of k8s03 is dead, and its entry for the tunnel address of k8s01 has a wrong MAC address."""
    kill(lab, "k8s03", "felix")
    address = lab.node("k8s01").tunnel or ""
    lab.run("k8s03", "ip", "neigh", "replace", address, "lladdr", "66:00:5e:00:53:01", "dev", DEVICE, "nud", "permanent")
    cut_off(lab, *QUESTION[:2])
    yield
    lab.revive("k8s03")


@fault(
    "vxlan_conflicting_device",
    number="F39",
    breaks="tunnel.device.conflict",
    node="k8s03",
    question=QUESTION,
    modes=VXLAN,
)
def conflicting_device(lab: Lab) -> Iterator[None]:
    """Another VXLAN device on k8s03 has VNI 4096 and port 4789, so Felix cannot make vxlan.calico."""
    felix = lab.process("k8s03", lab.description.calico.title("felix"))
    send(felix, signal.SIGSTOP)
    try:
        lab.run("k8s03", "ip", "link", "del", DEVICE)
        lab.run("k8s03", "ip", "link", "add", "vxlan-old", "type", "vxlan", "id", "4096", "dstport", "4789", "local", lab.node("k8s03").address,
                "dev", "eth0", "nolearning")  # fmt: skip
        lab.run("k8s03", "ip", "link", "set", "vxlan-old", "up")
    finally:
        send(felix, signal.SIGCONT)
    cut_off(lab, *QUESTION[:2])
    yield
    lab.run("k8s03", "ip", "link", "del", "vxlan-old", check=False)


@fault(
    "tunnel_ip_equals_pod_ip.pod",
    number="F36",
    breaks="tunnel.address.of_a_pod",
    objects=("shop/web-1",),
    question=("shop/web-0", "shop/web-1", 8080),
    modes=TUNNEL,
)
def pod_has_address_of_tunnel(lab: Lab) -> Iterator[None]:
    """A pod of k8s02 was given the address that IPAM has given to the tunnel of its node."""
    old, address = lab.pod("shop/web-1"), lab.node("k8s02").tunnel or ""
    move(lab, old, address)
    wait_for(lambda: lab.connect("shop/web-0", address, old.port) != "shop/web-1", "the pod does not answer at its address", 20)
    yield
    if lab.pod("shop/web-1").sandbox == old.sandbox:
        replace(lab, "shop/web-1")


@fault(
    "tunnel_ip_equals_pod_ip",
    number="F36",
    breaks="tunnel.address.of_a_pod",
    objects=("shop/web-1",),
    question=("shop/web-0", "shop/web-1", 8080),
    modes=TUNNEL,
)
def tunnel_has_address_of_pod(lab: Lab) -> Iterator[None]:
    """The tunnel address of k8s02 is that of one of its pods: the node keeps the pod's packets for itself."""
    name = TUNNEL_ANNOTATION[lab.description.calico.tunnel].removeprefix(PREFIX)
    old = annotation(lab, "k8s02", name)
    annotate(lab, "k8s02", name, lab.pod("shop/web-1").address)
    cut_off(lab, "shop/web-0", "shop/web-1")
    yield
    annotate(lab, "k8s02", name, old)
