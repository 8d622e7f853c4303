# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU seconds of node_info on a node with many routes, pods and rules, against the raw commands that print the same.

The node is a network namespace of its own with 110 veths into another one, 5,000 routes and 20,000 rules of iptables; then also 2,000 sets
and 200,000 tracked connections. Needs root.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUTES, PODS, RULES = 5000, 110, 20000
SETS, MEMBERS, CONNECTIONS = 2000, 20, 200000
ASKED = ("10.8.0.1", "10.8.1.1")  # the flow whose connections are looked for
TARGET, MEGABYTES = 1.5, 100
SAVE = (("iptables-save", "-c"), ("ip6tables-save", "-c"))
TRACKED = (("ipset", "save"), ("conntrack", "-L", "-s", ASKED[0], "-d", ASKED[1]))
RAW = ("-d -s link show", "addr show", "route show table all", "-6 route show table all", "rule show", "-6 rule show", "-s neigh show")
# CPU of the reading and packing, threads and started programs included; without the start of Python and the imports, which every Ansible module has.
MODULE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.podnet.doctor.plugins.module_utils import _node, _packing, _pyroute2
_pyroute2.load()
def cpu():
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
began = cpu()
sections, flow = sys.argv[4:], {"src": sys.argv[2], "dst": sys.argv[3], "protocol": "tcp", "dport": 8080}
question = _node.Question(sections=("links", "addresses", "routes", "rules", "neighbours", *sections), flows=[flow], timeout=60)
document = _node.Collector(question).read()
packed = _packing.pack(document)
took = cpu() - began
assert not _node.errors(document) and len(document["routes"]) >= 5000 and len(document["links"]) >= 110
assert sum(entry["text"].count("-A ") for entry in document.get("netfilter", {}).get("iptables", [])) >= 20000 * ("netfilter" in sections)
if "conntrack" in sections:
    assert len(document["netfilter"]["ipsets"]) >= 2000 and document["conntrack"]["entries"], document["conntrack"]
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss would be that of whoever started this
print(took, int(peak) / 1024)
"""


def ip(*words: str, batch: str | None = None) -> None:
    subprocess.run(["ip", *words], input=batch, text=True, check=True)


@contextmanager
def node() -> Iterator[str]:
    """The name of a namespace that looks like a node."""
    name = f"podnet-cpu-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("netns", "add", f"{name}-pods")
        lines = ["link set lo up", f"link add eth0 type veth peer name wire netns {name}-pods", "addr add 10.9.0.1/16 dev eth0"]
        lines += ["link set eth0 up", "link add vxlan.calico type vxlan id 4096 dstport 4789 local 10.9.0.1 dev eth0 nolearning"]
        for number in range(PODS):
            lines.append(f"link add cali{number:011x} type veth peer name eth{number} netns {name}-pods")
            lines.append(f"link set cali{number:011x} up")
            lines.append(f"route add 10.8.0.{number} dev cali{number:011x} scope link")
        lines += [f"route add 10.{128 + number // 4096}.{number // 16 % 256}.{number % 16 * 16}/28 via 10.9.{number % 250}.2" for number in range(ROUTES)]
        ip("-n", name, "-batch", "-", batch="\n".join(lines[:5]) + "\n")
        ip("-n", f"{name}-pods", "link", "set", "wire", "up")
        ip("-n", name, "-batch", "-", batch="\n".join(lines[5:]) + "\n")
        ip("-n", f"{name}-pods", "-batch", "-", batch="".join(f"link set eth{number} up\n" for number in range(PODS)))
        subprocess.run(["ip", "netns", "exec", name, "iptables-restore"], input=rules(), text=True, check=True)
        yield name
    finally:
        for one in (name, f"{name}-pods"):
            subprocess.run(["ip", "netns", "del", one], capture_output=True, check=False)


def rules() -> str:
    """Rules as Felix writes them: for each pod a chain each way with its share of the policies' rules."""
    chains = [f"cali-{way}-cali{number:011x}" for number in range(PODS) for way in ("tw", "fw")]
    lines = ["*filter", *(f":{chain} - [0:0]" for chain in chains)]
    for number in range(RULES):
        source = f"10.{number // 16384}.{number // 64 % 256}.{number % 64 * 4}/30"
        comment = f'-m comment --comment "cali:{number:016x}" -m comment --comment "Policy shop/knp.default.web ingress"'
        lines.append(f"-A {chains[number % len(chains)]} -s {source} -p tcp {comment} -m multiport --dports 8080,9090 -j MARK --set-xmark 0x10000/0x10000")
    return "\n".join([*lines, "COMMIT", ""])


def fill(name: str) -> None:
    """Sets as Felix writes them, and connections of a busy node: one of them is that of the asked flow."""
    lines = []
    for number in range(SETS):
        lines.append(f"create cali40s:{number:023d} hash:net family inet maxelem 1048576")
        lines += [f"add cali40s:{number:023d} 10.{place}.{number // 256}.{number % 256}" for place in range(MEMBERS)]
    inside = ["nsenter", f"--net=/run/netns/{name}"]
    subprocess.run([*inside, "ipset", "restore"], input="\n".join([*lines, ""]), text=True, check=True)
    asking = [f"-A cali-tw-cali{number % PODS:011x} -m set --match-set cali40s:{number:023d} src -j MARK --set-xmark 0x10000/0x10000" for number in range(SETS)]
    subprocess.run([*inside, "iptables-restore", "-n"], input="\n".join(["*filter", *asking, "COMMIT", ""]), text=True, check=True)
    rest = "--sport 1 --dport 8080 --state ESTABLISHED -t 600 -u SEEN_REPLY,ASSURED"
    flows = [f"-I -p tcp -s 10.{number >> 16}.{number >> 8 & 255}.{number & 255} -d 10.200.0.1 {rest}" for number in range(CONNECTIONS - 1)]
    flows.append(f"-I -p tcp -s {ASKED[0]} -d {ASKED[1]} {rest}")
    subprocess.run([*inside, "conntrack", "-R", "/dev/stdin"], input="\n".join([*flows, ""]), text=True, check=True, capture_output=True)


def raw_cpu(name: str, sections: tuple[str, ...]) -> float:
    """User and system seconds of the raw commands together."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    began = used()
    for words in RAW:
        subprocess.run(["ip", "-n", name, "-j", *words.split()], stdout=subprocess.DEVNULL, check=True)
    commands = [*(SAVE if "netfilter" in sections else ()), *(TRACKED if "conntrack" in sections else ())]
    for command in commands:
        subprocess.run(["nsenter", f"--net=/run/netns/{name}", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return used() - began


def module_cpu(name: str, sections: tuple[str, ...]) -> tuple[float, float]:
    """CPU seconds inside the module, and its largest size in MB."""
    command = ["nsenter", f"--net=/run/netns/{name}", sys.executable, "-c", MODULE, str(ROOT / "build" / "collections")]
    done = subprocess.run([*command, *ASKED, *sections], stdout=subprocess.PIPE, text=True, check=True)
    seconds, size = done.stdout.split()
    return float(seconds), float(size)


@dataclass(frozen=True)
class Measured:
    """Medians of the rounds; ratio is the median of each round's own."""

    seconds: float
    raw: float
    ratio: float
    megabytes: float


def measure(repeat: int) -> dict[str, Measured]:
    """Without and with the packet filter's rules, and with all that a busy node has."""
    found: dict[str, Measured] = {}
    with node() as name:
        for label, sections in (("node_info_cpu", ()), ("node_info_cpu_rules", ("netfilter",)), ("node_info_cpu_full", ("netfilter", "conntrack"))):
            if "conntrack" in sections:
                fill(name)
            raw_cpu(name, sections)
            rounds = [(*module_cpu(name, sections), raw_cpu(name, sections)) for _turn in range(repeat)]
            seconds, size, raw = (statistics.median(column) for column in zip(*rounds, strict=True))
            found[label] = Measured(seconds, raw, statistics.median(one / other for one, _size, other in rounds), size)
    return found


if __name__ == "__main__":
    for label, got in measure(7).items():
        print(f"{label}: module {got.seconds:.3f} s, raw commands {got.raw:.3f} s, ratio {got.ratio:.2f}, {got.megabytes:.0f} MB")
