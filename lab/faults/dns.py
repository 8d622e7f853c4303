"""Faults of DNS: CoreDNS, its Corefile, the resolver behind it, and the pods' own resolv.conf. kube-proxy runs while a fault is in."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import cgroups, dns, kube_proxy
from lab.cluster import Lab
from lab.errors import LabError
from lab.faults import EVERY, fault
from lab.plan import DNS_ADDRESS, GATEWAY, Pod
from lab.processes import send, wait_for

SOURCE, BROKEN = "shop/web-2", "k8s01"
QUESTION = (SOURCE, "svc/kube-system/kube-dns", 53)
OUTSIDE = (SOURCE, "dns/www.example.com", 53)
CONTROL = "kubernetes.default.svc.cluster.local"
COREFILE = "/etc/coredns/Corefile"
NOERROR, SERVFAIL, REFUSED = 0, 2, 5
SETTLES = 30.0


def _servers(lab: Lab, node: str = "") -> list[Pod]:
    if lab.description.dns != "coredns":
        raise LabError("CoreDNS does not run: python -m lab build coredns, and the real API")
    return [pod for pod in lab.pods if pod.app == "coredns" and node in ("", pod.node)]


def _says(lab: Lab, server: str, rcode: int | None, name: str = CONTROL) -> None:
    """Wait until a server answers a pod like that; None: not at all."""
    wait_for(lambda: dns.ask(lab.pod_pid(SOURCE), server, name) == rcode, f"{server} says {rcode} to {name}", SETTLES)


@contextmanager
def _serving(lab: Lab) -> Iterator[None]:
    """Pods get answers of the Service."""
    with kube_proxy.running(lab):
        _says(lab, DNS_ADDRESS, NOERROR)
        yield


@contextmanager
def _corefile(lab: Lab, node: str, line: str) -> Iterator[None]:
    """The CoreDNS pods of a node, or of all, have another line in their Corefile; they see it by themselves."""
    nodes = sorted({pod.node for pod in _servers(lab, node)})

    def write(text: str) -> None:
        lab.client.patch("configmaps", "coredns", {"data": {"Corefile": text}}, "kube-system")
        for name in nodes:
            Path(f"/proc/{lab.node(name).pid}/root{COREFILE}").write_text(text, encoding="ascii")

    write(dns.COREFILE.replace(".:53 {\n", f".:53 {{\n    {line}\n"))
    try:
        yield
    finally:
        write(dns.COREFILE)
        for pod in _servers(lab, node):
            _says(lab, pod.address, NOERROR)


@fault("port_not_listened.coredns", number="", node="", breaks="pod.port.closed", modes=EVERY, question=QUESTION, works=None)
def down(lab: Lab) -> Iterator[None]:
    """CoreDNS has ended in both of its pods, which the API still has as ready."""
    with _serving(lab):
        for pod in _servers(lab):
            for pid in cgroups.pids(pod, pod.container):
                send(pid, signal.SIGKILL)
            _says(lab, pod.address, None)
        yield
        for pod in _servers(lab):
            lab.client.delete("pods", pod.name, pod.namespace)
        _says(lab, DNS_ADDRESS, NOERROR)
        for pod in _servers(lab):
            _says(lab, pod.address, NOERROR)


@fault("dns_unanswered", number="", node=BROKEN, breaks="dns.unanswered", modes=EVERY, question=QUESTION, works=None)
def hangs(lab: Lab) -> Iterator[None]:
    """One of the two CoreDNS pods hangs."""
    with _serving(lab):
        pod = _servers(lab, BROKEN)[0]
        pids = cgroups.pids(pod, pod.container)
        for pid in pids:
            send(pid, signal.SIGSTOP)
        _says(lab, pod.address, None)
        yield
        for pid in pids:
            send(pid, signal.SIGCONT)
        for pod in _servers(lab, BROKEN):  # it may have been made again
            _says(lab, pod.address, NOERROR)


@fault("dns_refused", number="", node=BROKEN, breaks="dns.refused", modes=EVERY, question=QUESTION, works=None)
def refused(lab: Lab) -> Iterator[None]:
    """The Corefile of one of the two CoreDNS pods forbids everybody to ask."""
    with _serving(lab), _corefile(lab, BROKEN, "acl {\n        block\n    }"):
        _says(lab, _servers(lab, BROKEN)[0].address, REFUSED)
        yield


@fault("dns_upstream_dead", number="", node="", breaks="dns.name.failed", modes=EVERY, question=OUTSIDE, works=None)
def upstream(lab: Lab) -> Iterator[None]:
    """CoreDNS forwards outside names to a machine on which no resolver runs."""
    with _serving(lab), _corefile(lab, "", f"forward example.com {GATEWAY}"):
        _says(lab, DNS_ADDRESS, SERVFAIL, "www.example.com")
        yield


@fault("dns_search_too_deep", number="", node="k8s03", breaks="dns.search.deep", modes=EVERY, question=QUESTION, works=None)
def search(lab: Lab) -> Iterator[None]:
    """A pod's resolv.conf searches nine domains."""
    path = Path(f"/proc/{lab.pod_pid(SOURCE)}/root/etc/resolv.conf")
    with _serving(lab):
        before = path.read_text(encoding="ascii")
        more = " ".join(f"dc{number}.example.com" for number in range(6))
        path.write_text(before.replace("cluster.local\nnameserver", f"cluster.local {more}\nnameserver"), encoding="ascii")
        try:
            yield
        finally:
            path.write_text(before, encoding="ascii")
