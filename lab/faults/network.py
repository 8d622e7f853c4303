"""Faults of what carries pods' packets between the nodes: filters of a node, and the network in between."""

from __future__ import annotations

import array
import fcntl
import json
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab import kernel
from lab.cluster import Lab
from lab.faults import DIRECT, EVERY, FLANNEL_VXLAN, IPIP, VXLAN, Modes, fault
from lab.faults.steps import asking, cut_off, switch_drops
from lab.flannel.flanneld import PORT as FLANNEL_PORT
from lab.modes import MODES

SOURCE, DESTINATION = "shop/web-2", "shop/web-0"  # crosses the subnets, where there are two
QUESTION = (SOURCE, DESTINATION, 8080)
ANY_VXLAN = Modes((*VXLAN.names, *FLANNEL_VXLAN.names), "nothing is carried by VXLAN")
ENTERS = ["INPUT", "-i", "eth0"]
SSH_PORT = 22


def _port(lab: Lab) -> int:
    return FLANNEL_PORT if MODES[lab.mode].flannel else 4789


def _dropped(lab: Lab, *match: str) -> Iterator[None]:
    lab.run("k8s01", "iptables", "-I", *ENTERS, *match, "-j", "DROP")
    cut_off(lab, SOURCE, DESTINATION)
    yield
    lab.run("k8s01", "iptables", "-D", *ENTERS, *match, "-j", "DROP", check=False)


@fault("tunnel_blocked_ipip.rule", number="F03", breaks="netfilter.tunnel.blocked", node="k8s01", modes=IPIP, question=QUESTION)
def ipip_dropped(lab: Lab) -> Iterator[None]:
    """A firewall of k8s01 drops IP protocol 4."""
    yield from _dropped(lab, "-p", "4")


@fault("tunnel_blocked_vxlan.rule", number="F04", breaks="netfilter.tunnel.blocked", node="k8s01", modes=ANY_VXLAN, question=QUESTION)
def vxlan_dropped(lab: Lab) -> Iterator[None]:
    """A firewall of k8s01 drops the UDP port of VXLAN."""
    yield from _dropped(lab, "-p", "udp", "--dport", str(_port(lab)))


SIOCETHTOOL, ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM = 0x8946, 0x16, 0x17  # linux/sockios.h, linux/ethtool.h
WRONG = 0xBEEF


def _ethtool(pid: int, device: str, command: int, value: int = 0) -> int:
    """In the network namespace of a process."""
    with kernel.in_netns(f"/proc/{pid}/ns/net"):
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    given = array.array("B", struct.pack("=II", command, value))
    with door:
        fcntl.ioctl(door, SIOCETHTOOL, struct.pack("16sP", device.encode(), given.buffer_info()[0]).ljust(40, b"\0"))
    found: int = struct.unpack("=II", given.tobytes())[1]
    return found


@contextmanager
def _broken_nic(lab: Lab, node: str, device: str) -> Iterator[None]:
    """A NIC that computes wrong TCP checksums as long as the VXLAN device leaves them to it. No NIC here computes any, so a rule writes them."""
    nft, pid, enough = [*lab.enter(node), "nft"], lab.node(node).pid, threading.Event()
    there = f'table ip nic {{ chain out {{ type filter hook postrouting priority 300; oifname "{device}" tcp checksum set {WRONG}; }}; }}'

    def follow() -> None:
        writes = False
        while not enough.wait(0.1):
            try:
                left = bool(_ethtool(pid, device, ETHTOOL_GTXCSUM))
            except OSError:  # the device is made anew
                continue
            if left != writes:
                subprocess.run([*nft, there if left else "delete table ip nic"], check=True, capture_output=True)
                writes = left
        if writes:
            subprocess.run([*nft, "delete table ip nic"], check=True, capture_output=True)

    nic = threading.Thread(target=follow)
    nic.start()
    try:
        yield
    finally:
        enough.set()
        nic.join()


@fault("vxlan_checksum_offload", number="F05", breaks="tunnel.checksum.wrong", node="k8s03", modes=VXLAN, question=QUESTION)
def wrong_checksums(lab: Lab) -> Iterator[None]:
    """The NIC of k8s03 computes wrong TCP checksums for what vxlan.calico leaves to it. The pod computes its own, which are overwritten."""
    pod = lab.pod_pid(SOURCE)
    _ethtool(pod, "eth0", ETHTOOL_STXCSUM, 0)
    with _broken_nic(lab, "k8s03", "vxlan.calico"):
        cut_off(lab, SOURCE, DESTINATION)
        yield
    _ethtool(pod, "eth0", ETHTOOL_STXCSUM, 1)
    _ethtool(lab.node("k8s03").pid, "vxlan.calico", ETHTOOL_STXCSUM, 1)


def _lost(lab: Lab, match: str) -> Iterator[None]:
    with switch_drops(lab, match), asking(lab, SOURCE, DESTINATION):
        cut_off(lab, SOURCE, DESTINATION)
        yield


@fault("tunnel_blocked_ipip.network", number="F03", breaks="flow.lost", node="k8s03", modes=IPIP, question=QUESTION)
def ipip_lost(lab: Lab) -> Iterator[None]:
    """The network between the nodes drops IP protocol 4, while a client keeps asking."""
    yield from _lost(lab, "ip protocol 4")


@fault("tunnel_blocked_vxlan.network", number="F04", breaks="flow.lost", node="k8s03", modes=ANY_VXLAN, question=QUESTION)
def vxlan_lost(lab: Lab) -> Iterator[None]:
    """The network between the nodes drops the UDP port of VXLAN, while a client keeps asking."""
    yield from _lost(lab, f"udp dport {_port(lab)}")


@fault("cloud_src_dst_check", number="F71", breaks="flow.lost", node="k8s03", modes=DIRECT, question=QUESTION)
def sources_checked(lab: Lab) -> Iterator[None]:
    """The network between the nodes drops what a node sends from another address than its own, as clouds do, while a client keeps asking."""
    pods = ", ".join(node.block for node in lab.nodes)
    yield from _lost(lab, f"ip saddr {{ {pods} }}")


OTHER = "10.2.7.252"
HOSTS = "cali40all-hosts-net"


@fault(
    "tunnel_source_not_allowed", number="F41", breaks="netfilter.tunnel.blocked", node="k8s01", objects=(OTHER,), question=QUESTION,
    modes=Modes(tuple(name for name in IPIP.names if MODES[name].subnets == 1), "the tunnel's device has the address, or a router stands between"),
)  # fmt: skip
def another_source(lab: Lab) -> Iterator[None]:
    """k8s03 sends IPIP from a second address of its NIC, and k8s01 takes it only from addresses that the nodes announce, by Felix's own rules."""
    network = f"{lab.node('k8s03').address.rpartition('.')[0]}.0/24"
    ipip = ["INPUT", "-p", "4", "-m", "comment", "--comment"]
    allow = [*ipip, "Allow IPIP packets from Calico hosts", "-m", "set", "--match-set", HOSTS, "src", "-j", "ACCEPT"]
    drop = [*ipip, "Drop IPIP packets from non-Calico hosts", "-j", "DROP"]
    lab.run("k8s01", "ipset", "create", HOSTS, "hash:net")
    for node in lab.nodes:
        lab.run("k8s01", "ipset", "add", HOSTS, node.address)
    for rule in (allow, drop):
        lab.run("k8s01", "iptables", "-A", *rule)
    connected = ["ip", "route", "replace", network, "dev", "eth0", "proto", "kernel", "scope", "link", "src"]
    lab.run("k8s03", "ip", "addr", "add", f"{OTHER}/32", "dev", "eth0")
    lab.run("k8s03", *connected, OTHER)
    cut_off(lab, SOURCE, DESTINATION)
    yield
    lab.run("k8s03", *connected, lab.node("k8s03").address)
    lab.run("k8s03", "ip", "addr", "del", f"{OTHER}/32", "dev", "eth0", check=False)
    for rule in (allow, drop):
        lab.run("k8s01", "iptables", "-D", *rule, check=False)
    lab.run("k8s01", "ipset", "destroy", HOSTS, check=False)


def _end_ssh(lab: Lab, node: str) -> None:
    """End the open connections to a node's sshd.

    They have agreed on segments of the old MTU. One that is sent by itself is dropped for good, so a connection that ssh keeps open stalls for minutes, or
    does not, as segments happen to be sent together. A new connection agrees on smaller ones.
    """
    lab.run(node, "ss", "-K", "state", "established", "sport", "=", f":{SSH_PORT}", check=False)


@fault("mtu_blackhole", number="F14", breaks="mtu.narrow", objects=("eth0 k8s02",), modes=EVERY, question=("shop/web-0", "shop/web-1", 8080), works=True)
def narrow(lab: Lab) -> Iterator[None]:
    """The NIC of k8s02 has a smaller MTU than the others: what is small passes."""
    before = json.loads(lab.run("k8s02", "ip", "-j", "link", "show", "eth0"))[0]["mtu"]
    lab.run("k8s02", "ip", "link", "set", "eth0", "mtu", "1400")
    _end_ssh(lab, "k8s02")
    yield
    lab.run("k8s02", "ip", "link", "set", "eth0", "mtu", str(before))
