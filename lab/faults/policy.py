"""Faults of policy: a NetworkPolicy that does what it says, enforced by rules in Felix's shape for the pods that it selects."""

from __future__ import annotations

import base64
import hashlib
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab.api.objects import labels_of
from lab.cluster import Lab
from lab.errors import LabError
from lab.faults import FELIX, fault
from lab.faults.steps import cut_off
from lab.plan import Pod
from lab.processes import send, wait_for

ACCEPTED, NOT_PASSED = "-m mark --mark 0x10000/0x10000", "-m mark --mark 0x0/0x20000"
OPEN = 9  # the only port that the policies leave open
NOBODY = {"app": "nobody"}


@dataclass(frozen=True)
class Way:
    """One direction: Kubernetes' words for it, and the beginnings of the names of Felix's chains."""

    kind: str
    peers: str
    dispatch: str
    device: str
    endpoint: str
    policy: str
    profile: str


INGRESS = Way("Ingress", "from", "cali-to-wl-dispatch", "-o", "cali-tw-", "cali-pi-", "cali-pri-kns.")
EGRESS = Way("Egress", "to", "cali-from-wl-dispatch", "-i", "cali-fw-", "cali-po-", "cali-pro-kns.")
WAYS = (EGRESS, INGRESS)


class Rules:
    """Rules as iptables-restore reads them, with the comments that Felix gives them."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {}
        self.jumps: list[str] = []

    @staticmethod
    def _commented(chain: str, match: str, target: str, text: str) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha224(f"{chain} {match} {target}".encode()).digest()).decode()[:16]
        readable = f' -m comment --comment "{text}"' if text else ""
        return " ".join(filter(None, [match, f'-m comment --comment "cali:{digest}"{readable}', target]))

    def add(self, chain: str, match: str, target: str, text: str = "") -> None:
        self.chains.setdefault(chain, []).append(self._commented(chain, match, target, text))

    def begin(self) -> None:
        """FORWARD asks Calico's chain before everything else, and accepts after everything else what that has marked."""
        accepted = self._commented("FORWARD", ACCEPTED, "-j ACCEPT", "Policy explicitly accepted packet.")
        self.jumps = [f"-I FORWARD {self._commented('FORWARD', '', '-j cali-FORWARD', '')}", f"-A FORWARD {accepted}"]
        self.add("cali-FORWARD", "", "-j MARK --set-xmark 0x0/0x1a0000")
        for way in WAYS:
            self.add("cali-FORWARD", f"{way.device} cali+", f"-j {way.dispatch}")

    def profile(self, way: Way, namespace: str) -> None:
        chain = way.profile + namespace
        if chain not in self.chains:
            self.add(chain, "", "-j MARK --set-xmark 0x10000/0x10000", f"Profile kns.{namespace} {way.kind.lower()}")
            self.add(chain, ACCEPTED, "-j RETURN")

    def policy(self, way: Way, name: str) -> None:
        chain = f"{way.policy}knp/{name}"
        # no set holds the pods of nobody: the rule would match an empty one
        self.add(chain, f"-s 255.255.255.255/32 -p tcp -m multiport --dports {OPEN}", "-j MARK --set-xmark 0x10000/0x10000",
                 f"KubernetesNetworkPolicy {name} {way.kind.lower()}")  # fmt: skip
        self.add(chain, ACCEPTED, "-j RETURN")

    def endpoint(self, way: Way, pod: Pod, policy: str) -> None:
        chain = way.endpoint + pod.interface
        self.add(way.dispatch, f"{way.device} {pod.interface}", f"-g {chain}")
        self.add(chain, "-m conntrack --ctstate RELATED,ESTABLISHED", "-j ACCEPT")
        self.add(chain, "-m conntrack --ctstate INVALID", "-j DROP")
        self.add(chain, "", "-j MARK --set-xmark 0x0/0x30000")
        if policy:
            self.add(chain, "", "-j MARK --set-xmark 0x0/0x20000", "Start of tier default")
            self.add(chain, NOT_PASSED, f"-j {way.policy}knp/{policy}")
            self.add(chain, ACCEPTED, "-j RETURN", "Return if policy accepted")
            self.add(chain, NOT_PASSED, "-j DROP", "End of tier default. Drop if no policies passed packet")
        self.profile(way, pod.namespace)
        self.add(chain, "", f"-j {way.profile}{pod.namespace}")
        self.add(chain, ACCEPTED, "-j RETURN", "Return if profile accepted")
        self.add(chain, "", "-j DROP", "Drop if no profiles matched")

    def load(self, lab: Lab, node: str) -> None:
        lines = ["*filter", *(f":{chain} - [0:0]" for chain in self.chains)]
        lines += [f"-A {chain} {rule}" for chain, rules in self.chains.items() for rule in rules]
        lines += [*self.jumps, "COMMIT", ""]
        done = subprocess.run([*lab.enter(node), "iptables-restore", "-w", "-n"], input="\n".join(lines), capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{node}: iptables-restore: {done.stderr.strip()}")


def _rules(lab: Lab, node: str, way: Way, name: str, selected: list[Pod]) -> Rules:
    """What Felix writes on a node for its pods and one policy of the tier default."""
    rules = Rules()
    rules.begin()
    rules.policy(way, name)
    for one in WAYS:
        for pod in lab.pods:
            if pod.node == node:
                rules.endpoint(one, pod, name if one == way and pod in selected else "")
        rules.add(one.dispatch, "", "-j DROP", "Unknown interface")
    return rules


def _rules_without(lab: Lab, unknown: Pod) -> Rules:
    """What Felix has written on a node before it heard of one of its pods."""
    rules = Rules()
    rules.begin()
    for way in WAYS:
        for pod in lab.pods:
            if pod.node == unknown.node and pod != unknown:
                rules.endpoint(way, pod, "")
        rules.add(way.dispatch, "", "-j DROP", "Unknown interface")
    return rules


def _forget(lab: Lab, node: str) -> None:
    """Calico's chains, whichever there are, and the jump to them."""
    saved = lab.run(node, "iptables-save", "-t", "filter").splitlines()
    kept = [line for line in saved if not line.startswith(":cali-") and "cali-" not in line and "cali:" not in line]
    done = subprocess.run([*lab.enter(node), "iptables-restore", "-w"], input="\n".join([*kept, ""]), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{node}: iptables-restore: {done.stderr.strip()}")


def _closed(lab: Lab, way: Way, name: str, app: str) -> Iterator[None]:
    """A policy for all pods of an app that leaves one port open, for pods that do not exist, is there, and enforced, until it is taken away."""
    namespace, short = name.split("/")
    rule = {way.peers: [{"podSelector": {"matchLabels": NOBODY}}], "ports": [{"protocol": "TCP", "port": OPEN}]}
    spec = {"podSelector": {"matchLabels": labels_of(app)}, "policyTypes": [way.kind], way.kind.lower(): [rule]}
    body = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": short, "namespace": namespace}, "spec": spec}
    selected = [pod for pod in lab.pods if (pod.namespace, pod.app) == (namespace, app)]
    nodes = sorted({pod.node for pod in selected})
    lab.client.create("networkpolicies", body)
    for node in nodes:
        _rules(lab, node, way, name, selected).load(lab, node)
    wait_for(lambda: not lab.answers("shop/web-2", "shop/web-0", 0.3), "shop/web-0 does not answer shop/web-2", 20)
    yield
    for node in nodes:
        _forget(lab, node)
    lab.client.delete("networkpolicies", short, namespace)


@fault(
    "policy_denies.ingress",
    number="F12",
    node="k8s01",
    breaks="policy.intent",
    objects=("NetworkPolicy shop/web-in",),
    modes=FELIX,
    question=("shop/web-2", "shop/web-0", 8080),
)
def ingress(lab: Lab) -> Iterator[None]:
    """A NetworkPolicy lets nobody in to the web pods but by a port that nobody asks for."""
    return _closed(lab, INGRESS, "shop/web-in", "web")


@fault(
    "policy_denies.egress",
    number="F12",
    node="k8s03",
    breaks="policy.intent",
    objects=("NetworkPolicy shop/web-out",),
    modes=FELIX,
    question=("shop/web-2", "shop/web-0", 8080),
)
def egress(lab: Lab) -> Iterator[None]:
    """A NetworkPolicy lets the web pods open connections to no other pod."""
    return _closed(lab, EGRESS, "shop/web-out", "web")


UNKNOWN = "shop/web-1"


@fault(
    "unknown_interface_drop", number="F46", node="k8s02", breaks="endpoint.unknown", objects=(UNKNOWN,), modes=FELIX, question=("shop/web-0", UNKNOWN, 8080)
)
def unknown_interface(lab: Lab) -> Iterator[None]:
    """Felix's rules on k8s02 know all its pods but one."""
    pod = lab.pod(UNKNOWN)
    _rules_without(lab, pod).load(lab, pod.node)
    cut_off(lab, "shop/web-0", UNKNOWN)
    yield
    _forget(lab, pod.node)


@contextmanager
def _typha(lab: Lab) -> Iterator[None]:
    """The DaemonSet says that Felix gets its data from Typha. None runs here: its Service is all that is there of it."""
    name, namespace = lab.description.calico.agent.name, lab.description.calico.agent.namespace
    template = lab.client.get("daemonsets", name, namespace)["spec"]["template"]["spec"]

    def with_typha(value: str | None) -> None:
        containers = [dict(container) for container in template["containers"]]
        for container in containers:
            if container["name"] == "calico-node":
                kept = [entry for entry in container.get("env", []) if entry["name"] != TYPHA]
                container["env"] = [*kept, {"name": TYPHA, "value": value}] if value else kept
        lab.client.patch("daemonsets", name, {"spec": {"template": {"spec": {"containers": containers}}}}, namespace)

    with_typha("calico-typha")
    try:
        yield
    finally:
        with_typha(None)


TYPHA = "FELIX_TYPHAK8SSERVICENAME"


@fault("typha_unreachable", number="F44", node="k8s02", breaks="endpoint.unknown", objects=(UNKNOWN,), modes=FELIX, question=("shop/web-0", UNKNOWN, 8080))
def no_updates(lab: Lab) -> Iterator[None]:
    """Felix gets its data from Typha, and k8s02 has not heard of its newest pod."""
    with _typha(lab):
        yield from unknown_interface(lab)


@fault("stale_typha_data", number="F45", node="k8s01", breaks="route.local.missing", objects=(UNKNOWN,), modes=FELIX, question=("shop/web-0", UNKNOWN, 8080))
def stale_data(lab: Lab) -> Iterator[None]:
    """Felix of k8s01 and k8s02 has taken away the routes of their pods, as it does with what Typha does not tell; it is halted, so that they stay away."""
    nodes = ("k8s01", "k8s02")
    felix = lab.description.calico.title("felix")
    with _typha(lab):
        for node in nodes:
            send(lab.process(node, felix), signal.SIGSTOP)
            for pod in lab.pods:
                if pod.node == node:
                    lab.run(node, "ip", "route", "del", f"{pod.address}/32", "dev", pod.interface)
        cut_off(lab, "shop/web-0", UNKNOWN)
        yield
        for node in nodes:
            send(lab.process(node, felix), signal.SIGCONT)
        for pod in lab.pods:
            if pod.node in nodes:
                lab.run(pod.node, "ip", "route", "replace", f"{pod.address}/32", "dev", pod.interface, "scope", "link", "metric", "1024", check=False)
