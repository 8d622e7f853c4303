"""Faults of connection tracking."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import dns, kube_proxy
from lab.cluster import Lab
from lab.errors import LabError
from lab.faults import EVERY, FELIX, fault
from lab.faults.dns import CONTROL
from lab.faults.policy import enforced
from lab.faults.services import GONE
from lab.plan import DNS_ADDRESS
from lab.processes import wait_for

NODE = "k8s01"
LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")  # one for the whole kernel, while each network namespace counts by itself
MOST = 300_000  # entries that are made for it


def _connections(count: int) -> str:
    """Answered ones, which the kernel does not throw away to make room."""
    rest = "-t 600 -u SEEN_REPLY,ASSURED"
    return "".join(f"-I -p udp -s 198.18.{number >> 8 & 255}.{number & 255} -d 198.19.0.{number >> 16} --sport 1 --dport 2 {rest}\n" for number in range(count))


@fault("conntrack_full", number="F55", node=NODE, breaks="conntrack.full", modes=FELIX, question=("shop/web-2", "shop/web-0", 8080), works=True)
def full(lab: Lab) -> Iterator[None]:
    """Nearly as many connections as the kernel tracks are open on k8s01. With all of them SSH would be dropped, too."""
    limit = int(LIMIT.read_text(encoding="ascii"))
    if limit > MOST:
        raise LabError(f"the kernel tracks {limit} connections, and the lab makes {MOST} at most")
    with enforced(lab, [NODE]):
        command = [*lab.enter(NODE), "conntrack", "-R", "/dev/stdin"]
        done = subprocess.run(command, input=_connections(limit * 97 // 100), capture_output=True, text=True, check=False)
        count = int(lab.run(NODE, "cat", "/proc/sys/net/netfilter/nf_conntrack_count"))
        if count < limit * 96 // 100:
            raise LabError(f"{count} of {limit} connections were made; conntrack: {done.stderr.strip()[-300:]}")
        yield
        lab.run(NODE, "conntrack", "-D", "-p", "udp", "-s", "198.18.0.0/16", check=False)


CLIENT, PORT = "shop/web-0", 40053  # a program that never changes its port


@fault("stale_conntrack_udp", number="F56", node=NODE, breaks="conntrack.stale", modes=EVERY, question=(CLIENT, "svc/kube-system/kube-dns", 53), works=None)
def stale_udp(lab: Lab) -> Iterator[None]:
    """A UDP client keeps its port and asks again and again, and k8s01 tracks its flow to an endpoint of DNS that is gone."""
    address = lab.pod(CLIENT).addresses[0]
    tell = ("-p", "udp", "-s", address, "-d", DNS_ADDRESS, "--sport", str(PORT), "--dport", "53")
    with kube_proxy.running(lab):
        lab.run(NODE, "conntrack", "-D", *tell, check=False)
        reply = ("-r", GONE, "-q", address, "--reply-port-src", "53", "--reply-port-dst", str(PORT))
        lab.run(NODE, "conntrack", "-I", *tell, *reply, "-t", "600")
        wait_for(lambda: dns.ask(lab.pod_pid(CLIENT), DNS_ADDRESS, CONTROL, port=PORT) is None, "the client that keeps its port gets no answer", 10)
        if dns.ask(lab.pod_pid(CLIENT), DNS_ADDRESS, CONTROL) is None:
            raise LabError("another port of the client gets no answer, either")
        with _asking(lab):
            yield
        lab.run(NODE, "conntrack", "-D", *tell, check=False)


@contextmanager
def _asking(lab: Lab) -> Iterator[None]:
    """Each packet keeps the entry alive, which would end by itself after 30 s."""
    enough = threading.Event()

    def ask() -> None:
        while not enough.wait(3):
            dns.ask(lab.pod_pid(CLIENT), DNS_ADDRESS, CONTROL, port=PORT)

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield
    finally:
        enough.set()
        client.join()
