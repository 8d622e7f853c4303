"""Faults of packet filters that are nobody's of the network plugin: what firewalld, docker and hardening scripts leave on a node."""

from __future__ import annotations

from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import BRIDGED, FELIX, Modes, fault
from lab.faults.steps import cut_off
from lab.modes import MODES
from lab.processes import wait_for

NODE = "k8s01"
QUESTION = ("shop/web-2", "shop/web-0", 8080)
REJECT = ("FORWARD", "-p", "tcp", "--dport", "8080", "-j", "REJECT", "--reject-with", "icmp-host-prohibited")
CAUSE, NUMBER, CHECK = "forward_reject_between_calico_rules", "F08", "netfilter.dropped"

UNACCEPTED = Modes(tuple(name for name in FELIX.names if not MODES[name].flannel), "flannel's rules let the pods' packets through, whatever the policy")


def _dead(lab: Lab) -> None:
    wait_for(lambda: not lab.connect("shop/web-2", lab.pod("shop/web-0").address, 8080), "shop/web-0 does not answer shop/web-2", 20)


@fault(
    f"{CAUSE}.rule", number=NUMBER, node=NODE, breaks=CHECK, modes=FELIX, question=QUESTION,
    objects=("-A FORWARD -p tcp -m tcp --dport 8080 -j REJECT --reject-with icmp-host-prohibited",),
)  # fmt: skip
def rule(lab: Lab) -> Iterator[None]:
    """A rule of a hardening script rejects forwarded traffic to a port of pods."""
    lab.run(NODE, "iptables", "-w", "-I", *REJECT)
    _dead(lab)
    yield
    lab.run(NODE, "iptables", "-w", "-D", *REJECT, check=False)


@fault(f"{CAUSE}.policy", number=NUMBER, node=NODE, breaks=CHECK, modes=UNACCEPTED, question=QUESTION, objects=("policy drop",))
def policy(lab: Lab) -> Iterator[None]:
    """docker has set the policy of FORWARD to DROP."""
    lab.run(NODE, "iptables", "-w", "-P", "FORWARD", "DROP")
    _dead(lab)
    yield
    lab.run(NODE, "iptables", "-w", "-P", "FORWARD", "ACCEPT")


@fault(f"{CAUSE}.nftables", number=NUMBER, node=NODE, breaks=CHECK, modes=FELIX, question=QUESTION, objects=("oifname cali* tcp dport 8080 drop",))
def nftables(lab: Lab) -> Iterator[None]:
    """Another firewall has a chain of its own on the hook forward, after Calico's."""
    lab.run(NODE, "nft", "add table inet otherwall; add chain inet otherwall forward { type filter hook forward priority 10; policy accept; }")
    lab.run(NODE, "nft", 'add rule inet otherwall forward oifname "cali*" tcp dport 8080 counter drop')
    _dead(lab)
    yield
    lab.run(NODE, "nft", "delete table inet otherwall", check=False)


PORTS = ("FORWARD", "-p", "tcp", "--dport", "8080", "-j", "DROP")


@fault(
    f"{CAUSE}.bridge", number=NUMBER, node="k8s02", breaks=CHECK, modes=BRIDGED, question=("shop/web-1", "shop/api-0", 8080),
    objects=("-A FORWARD -p tcp -m tcp --dport 8080 -j DROP",),
)  # fmt: skip
def on_a_bridge(lab: Lab) -> Iterator[None]:
    """A rule drops what pods of one node send to each other: their bridge shows it to iptables (br_netfilter)."""
    lab.run("k8s02", "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
    lab.run("k8s02", "iptables", "-w", "-I", *PORTS)
    cut_off(lab, "shop/web-1", "shop/api-0")
    yield
    lab.run("k8s02", "iptables", "-w", "-D", *PORTS, check=False)
