"""kube-proxy, the real one, on the nodes of a lab, for as long as somebody needs Services."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab import binaries, kernel, pod, processes
from lab.calico import manage
from lab.cluster import Lab
from lab.errors import LabError
from lab.plan import FLANNEL_NETWORK, GATEWAY, POOL, Node

MODES = ("iptables", "nftables")
TITLE = "kube-proxy"
STARTS = 40.0  # seconds


def why_not(lab: Lab) -> str:
    """Why kube-proxy cannot run in a lab; "" where it can."""
    if lab.description.api != "real":
        return "kube-proxy needs the real API server"
    return "" if binaries.find(TITLE) else "kube-proxy was not built: python -m lab build kube-proxy"


def _kubeconfig(lab: Lab) -> Path:
    """The administrator's, for the address at which the nodes reach the API."""
    config = json.loads(lab.kubeconfig.read_text(encoding="utf-8"))
    config["clusters"][0]["cluster"]["server"] = f"https://{GATEWAY}:{lab.description.port}"
    path = lab.folder / "kube-proxy.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def _arguments(lab: Lab, node: str, mode: str, more: Sequence[str]) -> list[str]:
    return [
        TITLE,
        f"--kubeconfig={_kubeconfig(lab)}",
        f"--hostname-override={node}",
        f"--proxy-mode={mode}",
        f"--cluster-cidr={FLANNEL_NETWORK if lab.description.calico.flannel else POOL}",
        "--conntrack-max-per-core=0",  # these are one for the whole kernel, this machine's own
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        *more,
    ]


def _run(lab: Lab, node: Node, command: Sequence[str]) -> None:
    """Begin a program on a node, and leave it."""
    executable = str(binaries.find(TITLE))
    log = os.open(lab.folder / "logs" / f"{node.name}-kube-proxy.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work() -> None:
        if os.fork():
            return
        os.setsid()
        null = os.open("/dev/null", os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.execve(executable, list(command), processes.environment(lab.name))

    child = pod.in_node(node, work)
    os.close(log)
    kernel.wait_child(child, f"starting kube-proxy on {node.name}")


def start(lab: Lab, node: str, mode: str, *more: str) -> None:
    """Start it on one node; it is done when its first rules are there is not waited for."""
    _run(lab, lab.node(node), _arguments(lab, node, mode, more))


def stop(lab: Lab, node: str) -> None:
    """Kill it; its rules stay."""
    pid = manage.find(lab.node(node), TITLE)
    if pid:
        processes.send(pid, signal.SIGKILL)
        processes.wait_for(lambda: not manage.find(lab.node(node), TITLE), f"kube-proxy of {node} is dead", 10)


def flush(lab: Lab, node: str) -> None:
    """Take its rules away, as `kube-proxy --cleanup` does, which leaves kubelet's chain that it has made itself."""
    lab.run(node, str(binaries.find(TITLE)), "--cleanup", check=False)
    for program in ("iptables", "ip6tables"):
        for change in (("-D", "INPUT", "-j"), ("-D", "OUTPUT", "-j"), ("-F",), ("-X",)):
            lab.run(node, program, "-w", *change, "KUBE-FIREWALL", check=False)


def serves(lab: Lab, node: str, address: str = "10.96.100.2", port: int = 80) -> bool:
    """Does a pod of a node get an answer from a Service?"""
    source = next(f"{item.namespace}/{item.name}" for item in lab.pods if item.node == node and item.app == "probe")
    return bool(lab.connect(source, address, port, 0.5))


@contextlib.contextmanager
def running(lab: Lab, mode: str = "iptables", *more: str) -> Iterator[None]:
    """kube-proxy on every node, and nothing of it afterwards. Where it runs already it stays as it is."""
    names = [node.name for node in lab.nodes]
    if all(manage.find(lab.node(name), TITLE) for name in names):
        yield
        return
    reason = why_not(lab)
    if reason:
        raise LabError(reason)
    try:
        for name in names:
            start(lab, name, mode, *more)
        for name in names:
            processes.wait_for(lambda one=name: serves(lab, one), f"Services work on {name}", STARTS)  # type: ignore[misc]
        yield
    finally:
        for name in names:
            stop(lab, name)
            flush(lab, name)
