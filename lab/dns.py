"""The DNS server that runs in the lab's two coredns pods: CoreDNS, or Debian's dnsmasq."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from lab import binaries, kernel
from lab.plan import DNS_ADDRESS, Description, Pod

COREFILE = """.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       kubeconfig /etc/coredns/kubeconfig lab
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    cache 30
    reload 2s 1s
    loadbalance
}
"""


def ask(pid: int, server: str, name: str, timeout: float = 1.0, port: int = 0) -> int | None:
    """The rcode of the answer that a process gets for an IPv4 address, by UDP from a port of its own; None if there is none."""
    labels = b"".join(bytes([len(label)]) + label for label in name.encode("ascii").split(b"."))
    with kernel.in_netns(f"/proc/{pid}/ns/net"):
        connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with connection:
        connection.settimeout(timeout)
        try:
            connection.bind(("", port))
            connection.connect((server, 53))
            connection.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01")
            return connection.recv(4096)[3] & 0xF
        except (OSError, IndexError):
            return None


def choose(lab: Description) -> str:
    """CoreDNS needs the real API; beside the emulator runs dnsmasq."""
    return "coredns" if lab.api == "real" and binaries.find("coredns") else "dnsmasq"


def records(lab: Description) -> dict[str, str]:
    """The names of cluster.local that do not change."""
    found = {
        "kubernetes.default.svc.cluster.local": "10.96.0.1",
        "kube-dns.kube-system.svc.cluster.local": DNS_ADDRESS,
        "web.shop.svc.cluster.local": "10.96.100.1",
        "api.shop.svc.cluster.local": "10.96.100.2",
    }
    for pod in lab.pods:
        for address in pod.addresses:
            found[f"{address.replace('.', '-').replace(':', '-')}.{pod.namespace}.pod.cluster.local"] = address
    return found


def command(lab: Description, pod: Pod) -> tuple[str, list[str]]:
    """The program and its command line; runs inside the pod's node, where files may be written."""
    if lab.dns == "coredns":
        folder = Path("/etc/coredns")
        folder.mkdir(exist_ok=True)
        (folder / "Corefile").write_text(COREFILE, encoding="ascii")
        return str(binaries.find("coredns")), ["/coredns", "-conf", "/etc/coredns/Corefile"]
    names = [f"--host-record={name},{address}" for name, address in records(lab).items()]
    flags = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--user=root", "--pid-file="]
    return "/usr/sbin/dnsmasq", ["dnsmasq", *flags, "--local=/cluster.local/", *names]


def write_kubeconfig(kubeconfig: str) -> None:
    """CoreDNS's way to the API: through the relay on its own loopback; runs inside the node."""
    Path("/etc/coredns").mkdir(exist_ok=True)
    Path("/etc/coredns/kubeconfig").write_text(json.dumps(json.loads(kubeconfig)), encoding="utf-8")
