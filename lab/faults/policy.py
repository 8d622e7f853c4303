"""Faults of policy: NetworkPolicies that do what they say, and a Felix whose rules are not what the API asks for.

Where the lab's Felix enforces no policies, the fault writes what Felix would have written, and takes it away again.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab import kernel, kube_proxy, pod
from lab.api.client import Json
from lab.api.objects import labels_of
from lab.calico import policy
from lab.calico.dataplane import Dataplane
from lab.calico.felix import BACKENDS
from lab.cluster import Lab
from lab.faults import FELIX, Modes, fault
from lab.faults.steps import cut_off, deployed, fails_its_probe
from lab.plan import GATEWAY, hashed
from lab.processes import send, wait_for

USUAL = "iptables-nft"
BEFORE_DROP = Modes(("noencap",), "what it shows is the same in every mode")
OPEN = 9  # the only port that the policies leave open
NOBODY = {"podSelector": {"matchLabels": {"app": "nobody"}}}
QUESTION = ("shop/web-2", "shop/web-0", 8080)


def _dataplane(lab: Lab) -> str:
    return lab.description.dataplane or USUAL


def _write(lab: Lab, nodes: list[str], without: str = "", kind: str = "") -> None:
    """Felix's rules on some nodes, as the API has it now, but for a pod that Felix has not heard of."""
    lists = policy.read(lab.client)
    lists["pods"] = [item for item in lists["pods"] if f"{item['metadata']['namespace']}/{item['metadata']['name']}" != without]
    for node in nodes:
        rules = functools.partial(_apply, kind or _dataplane(lab), policy.world_of(node, lists, lab.description.calico.tunnel))
        kernel.wait_child(pod.in_node(lab.node(node), rules), f"writing rules on {node}")


def _apply(kind: str, world: policy.World) -> None:
    Dataplane(kind).apply(world)


def _remove(lab: Lab, nodes: list[str], kind: str = "") -> None:
    for node in nodes:
        kernel.wait_child(pod.in_node(lab.node(node), Dataplane(kind or _dataplane(lab)).remove), f"removing the rules of {node}")


@contextmanager
def _halted(lab: Lab, node: str) -> Iterator[None]:
    """Felix runs on a node and does nothing."""
    felix = lab.process(node, lab.description.calico.title("felix"))
    send(felix, signal.SIGSTOP)
    try:
        yield
    finally:
        send(felix, signal.SIGCONT)


@contextmanager
def enforced(lab: Lab, nodes: list[str]) -> Iterator[None]:
    """The policies that there are, and Felix's other rules, are in force on some nodes."""
    if lab.description.dataplane:
        wait_for(lab.policies_in_force, "every Felix has written the policies", 30)
        yield
        return
    _write(lab, nodes)
    try:
        yield
    finally:
        _remove(lab, nodes)


def _policy(lab: Lab, name: str, spec: Json) -> Json:
    namespace, short = name.split("/")
    body: Json = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": short, "namespace": namespace}, "spec": spec}
    return lab.client.create("networkpolicies", body)


def _forbid(lab: Lab, name: str) -> None:
    namespace, short = name.split("/")
    lab.client.delete("networkpolicies", short, namespace)


def _closed(lab: Lab, name: str, kind: str, peers: str) -> Iterator[None]:
    """A policy for the web pods that leaves one port open, for pods that do not exist, is there, and enforced, until it is taken away."""
    spec = {"podSelector": {"matchLabels": labels_of("web")}, "policyTypes": [kind], kind.lower(): [
        {peers: [NOBODY], "ports": [{"protocol": "TCP", "port": OPEN}]},
    ]}  # fmt: skip
    _policy(lab, name, spec)
    with enforced(lab, [node.name for node in lab.nodes]):
        cut_off(lab, "shop/web-2", "shop/web-0")
        yield
        _forbid(lab, name)


@contextmanager
def only_from(lab: Lab, name: str, app: str, friends: str) -> Iterator[None]:
    """A policy for the pods of an app lets in those of another one and nobody else, and is enforced."""
    peers = [{"podSelector": {"matchLabels": labels_of(friends)}}]
    _policy(lab, name, {"podSelector": {"matchLabels": labels_of(app)}, "policyTypes": ["Ingress"], "ingress": [{"from": peers}]})
    with enforced(lab, [node.name for node in lab.nodes]):
        yield
        _forbid(lab, name)


@fault(
    "policy_denies.ingress", number="F12", node="k8s01", breaks="policy.intent", objects=("NetworkPolicy shop/web-in",), modes=FELIX, question=QUESTION,
)  # fmt: skip
def ingress(lab: Lab) -> Iterator[None]:
    """A NetworkPolicy lets nobody in to the web pods but by a port that nobody asks for."""
    return _closed(lab, "shop/web-in", "Ingress", "from")


@fault(
    "policy_denies.egress", number="F12", node="k8s03", breaks="policy.intent", objects=("NetworkPolicy shop/web-out",), modes=FELIX, question=QUESTION,
)  # fmt: skip
def egress(lab: Lab) -> Iterator[None]:
    """A NetworkPolicy lets the web pods open connections to no other pod."""
    return _closed(lab, "shop/web-out", "Egress", "to")


@fault(
    "dataplane_lags_intent", number="F60", node="k8s01", breaks="policy.lags", objects=("NetworkPolicy shop/web-shut",), modes=FELIX, question=QUESTION,
)  # fmt: skip
def lags(lab: Lab) -> Iterator[None]:
    """Felix of k8s01 hangs: a policy that closes the web pods is enforced, another one that opens them again is not."""
    web = {"matchLabels": labels_of("web")}
    _policy(lab, "shop/web-shut", {"podSelector": web, "policyTypes": ["Ingress"]})
    with enforced(lab, ["k8s01"]), _halted(lab, "k8s01"):
        _policy(lab, "shop/web-open", {"podSelector": web, "ingress": [{}], "policyTypes": ["Ingress"]})
        cut_off(lab, "shop/web-2", "shop/web-0")
        yield
        _forbid(lab, "shop/web-open")
        _forbid(lab, "shop/web-shut")


@fault(
    "policy_not_enforced", number="", node="k8s01", breaks="policy.unenforced", objects=("NetworkPolicy shop/web-known",), modes=FELIX, question=QUESTION,
    works=True,
)  # fmt: skip
def unenforced(lab: Lab) -> Iterator[None]:
    """Felix of k8s01 runs, and none of its chains is there, though a policy selects the pod."""
    _policy(lab, "shop/web-known", {"podSelector": {"matchLabels": labels_of("web")}, "ingress": [{}], "policyTypes": ["Ingress"]})
    with enforced(lab, ["k8s01"]), _halted(lab, "k8s01"):
        _remove(lab, ["k8s01"])
        yield
        _forbid(lab, "shop/web-known")


@fault("iptables_backend_split", number="F07", node="k8s01", breaks="netfilter.backend.split", modes=FELIX, question=QUESTION)
def leftovers(lab: Lab) -> Iterator[None]:
    """An earlier Felix of k8s01 wrote into iptables-legacy; its rules are still there, and do not know the pod."""
    with enforced(lab, ["k8s01"]):
        _write(lab, ["k8s01"], without="shop/web-0", kind="iptables-legacy")
        cut_off(lab, "shop/web-2", "shop/web-0")
        yield
        _remove(lab, ["k8s01"], kind="iptables-legacy")


ELSEWHERE = "iptables-legacy"


def _felix_writes(lab: Lab, node: str, program: str) -> bool:
    """Are Felix's rules in a backend of iptables, the last ones that it writes, too?"""
    return "-j cali-FORWARD" in lab.run(node, f"{program}-save", "-t", "filter", check=False)


def _say_backend(lab: Lab, value: str | None) -> None:
    lab.client.patch("felixconfigurations", "default", {"spec": {"iptablesBackend": value}})
    program = BACKENDS[value] if value else _dataplane(lab)
    for node in lab.nodes:
        wait_for(lambda name=node.name: _felix_writes(lab, name, program), f"Felix of {node.name} writes into {program}", 30)  # type: ignore[misc]


@fault(
    "iptables_backend_split.elsewhere", number="F07", node="k8s03", breaks="netfilter.backend.apart", modes=BEFORE_DROP, question=QUESTION,
    objects=("FelixConfiguration default",),
)  # fmt: skip
def elsewhere(lab: Lab) -> Iterator[None]:
    """FelixConfiguration says Legacy, and since the nodes were started anew Felix writes nowhere else; kube-proxy and docker's policy DROP are in nft."""
    names = [node.name for node in lab.nodes]
    with kube_proxy.running(lab):
        if lab.description.dataplane:
            _say_backend(lab, "Legacy")
            _remove(lab, names, kind=USUAL)
        else:
            _write(lab, names, kind=ELSEWHERE)
        for name in names:
            lab.run(name, "iptables", "-w", "-P", "FORWARD", "DROP")
        cut_off(lab, "shop/web-2", "shop/web-0")
        yield
        for name in names:
            lab.run(name, "iptables", "-w", "-P", "FORWARD", "ACCEPT")
        if lab.description.dataplane:
            _say_backend(lab, None)
        _remove(lab, names, kind=ELSEWHERE)


UNTRACKED = ("PREROUTING", "!", "-i", "cali+", "-p", "tcp", "--dport", "8080", "-j", "NOTRACK")


@fault("ct_invalid_drop", number="F57", node="k8s01", breaks="netfilter.invalid.dropped", modes=FELIX, question=QUESTION)
def untracked(lab: Lab) -> Iterator[None]:
    """A rule of k8s01 lets requests to pods go by connection tracking, so that the answers belong to nothing, and Felix drops them."""
    with enforced(lab, ["k8s01"]):
        lab.run("k8s01", "iptables", "-t", "raw", "-A", *UNTRACKED)
        cut_off(lab, "shop/web-2", "shop/web-0")
        yield
        lab.run("k8s01", "iptables", "-t", "raw", "-D", *UNTRACKED, check=False)


UNKNOWN = "shop/web-1"


@fault(
    "unknown_interface_drop", number="F46", node="k8s02", breaks="endpoint.unknown", objects=(UNKNOWN,), modes=FELIX, question=("shop/web-0", UNKNOWN, 8080)
)
def unknown_interface(lab: Lab) -> Iterator[None]:
    """Felix's rules on k8s02 know all its pods but one."""
    with _halted(lab, "k8s02"):
        _write(lab, ["k8s02"], without=UNKNOWN)
        cut_off(lab, "shop/web-0", UNKNOWN)
        yield
        if not lab.description.dataplane:
            _remove(lab, ["k8s02"])


@contextmanager
def _typha(lab: Lab) -> Iterator[None]:
    """The DaemonSet says that Felix gets its data from Typha. The pod that is there of it tells nobody anything."""
    name, namespace = lab.description.calico.agent.name, lab.description.calico.agent.namespace
    template = lab.client.get("daemonsets", name, namespace)["spec"]["template"]["spec"]

    def with_typha(value: str | None) -> None:
        containers = [dict(container) for container in template["containers"]]
        for container in containers:
            if container["name"] == "calico-node":
                kept = [entry for entry in container.get("env", []) if entry["name"] != TYPHA]
                container["env"] = [*kept, {"name": TYPHA, "value": value}] if value else kept
        strategy = {"type": "OnDelete", "rollingUpdate": None} if value else {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
        lab.client.patch("daemonsets", name, {"spec": {"updateStrategy": strategy, "template": {"spec": {"containers": containers}}}}, namespace)

    with_typha("calico-typha")
    try:
        with deployed(lab, f"kube-system/calico-typha-{hashed('calico-typha')}-7jq4m", "k8s03"):
            yield
    finally:
        with_typha(None)


TYPHA = "FELIX_TYPHAK8SSERVICENAME"


@fault("typha_unreachable", number="F44", node="k8s02", breaks="endpoint.unknown", objects=(UNKNOWN,), modes=FELIX, question=("shop/web-0", UNKNOWN, 8080))
def no_updates(lab: Lab) -> Iterator[None]:
    """Felix gets its data from Typha, and k8s02 has not heard of its newest pod."""
    with _typha(lab):
        yield from unknown_interface(lab)


@fault(
    "typha_unreachable.not_ready", number="F44", node="k8s02", breaks="endpoint.unknown", objects=(UNKNOWN,), modes=FELIX,
    question=("shop/web-0", UNKNOWN, 8080),
)  # fmt: skip
def no_updates_before_another(lab: Lab) -> Iterator[None]:
    """As typha_unreachable, and the one pod of Typha is not Ready, as the API has it. k8s02 hears of its newest pod from the next one.

    The lab has no Typha: the pod of that name tells nobody anything, and its successor's part is played here.
    """
    over = threading.Event()

    def hears_of_it() -> None:
        while not over.wait(0.5):
            if first not in (there := _typha_pods(lab)) and there:
                _write(lab, ["k8s02"])
                return

    with _typha(lab):
        (first,) = _typha_pods(lab)
        fails_its_probe(lab, lab.client.get("pods", first, "kube-system"))
        hearing = threading.Thread(target=hears_of_it, daemon=True)
        with contextmanager(unknown_interface)(lab):
            hearing.start()
            yield
            over.set()
            hearing.join()


def _typha_pods(lab: Lab) -> list[str]:
    return [item.name for item in lab.pods if item.app == "calico-typha"]


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


OUTSIDE = ("shop/web-2", GATEWAY, 9)  # nobody listens there, and says so
FLUSH = {
    "iptables-nft": ("iptables-nft", "-w", "-t", "nat", "-F", "cali-nat-outgoing"),
    "iptables-legacy": ("iptables-legacy", "-w", "-t", "nat", "-F", "cali-nat-outgoing"),
    "nftables": ("nft", "flush", "chain", "ip", "calico", "nat-cali-nat-outgoing"),
}


@fault(
    "nat_outgoing_missing", number="", node="k8s03", breaks="nat.outgoing.missing", objects=("cali-nat-outgoing",), modes=FELIX, question=OUTSIDE, works=None,
)  # fmt: skip
def not_masqueraded(lab: Lab) -> Iterator[None]:
    """Felix of k8s03 hangs, and the rule that masquerades what leaves the pools is gone."""
    with enforced(lab, ["k8s03"]), _halted(lab, "k8s03"):
        lab.run("k8s03", *FLUSH[_dataplane(lab)])
        yield
        if lab.description.dataplane:
            _write(lab, ["k8s03"])


@fault("nat_outgoing_off", number="", node="k8s03", breaks="nat.outgoing.off", modes=FELIX, question=OUTSIDE, works=None)
def switched_off(lab: Lab) -> Iterator[None]:
    """natOutgoing of the pools is off, and the gateway has no route to pods."""
    pools = {pool["metadata"]["name"]: pool["spec"].get("natOutgoing") for pool in lab.client.list("ippools")}
    for name in pools:
        lab.client.patch("ippools", name, {"spec": {"natOutgoing": False}})
    with enforced(lab, ["k8s03"]):
        yield
    for name, before in pools.items():
        lab.client.patch("ippools", name, {"spec": {"natOutgoing": before}})
