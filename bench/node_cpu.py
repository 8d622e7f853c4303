# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CPU seconds of node_info on a node with many routes and pods, against the raw `ip -j` commands that print the same.

The node is a network namespace of its own with 110 veths into another one and 5,000 routes. Needs root.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUTES, PODS = 5000, 110
TARGET = 1.5
RAW = ("-d -s link show", "addr show", "route show table all", "-6 route show table all", "rule show", "-6 rule show", "-s neigh show")
# CPU of the reading and packing, threads included; without the start of Python and the imports, which every Ansible module has.
MODULE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.podnet.doctor.plugins.module_utils import _node, _packing, _pyroute2
_pyroute2.load()
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
began = cpu()
question = _node.Question(sections=("links", "addresses", "routes", "rules", "neighbours"), timeout=60)
document = _node.Collector(question).read()
packed = _packing.pack(document)
took = cpu() - began
assert not _node.errors(document) and len(document["routes"]) >= 5000 and len(document["links"]) >= 110
print(took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
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
        lines = ["link set lo up", f"link add eth0 type veth peer name wire netns {name}-pods", "addr add 10.9.0.1/16 dev eth0", "link set eth0 up"]
        for number in range(PODS):
            lines.append(f"link add cali{number:011x} type veth peer name eth{number} netns {name}-pods")
            lines.append(f"link set cali{number:011x} up")
            lines.append(f"route add 10.8.0.{number} dev cali{number:011x} scope link")
        lines += [f"route add 10.{128 + number // 4096}.{number // 16 % 256}.{number % 16 * 16}/28 via 10.9.{number % 250}.2" for number in range(ROUTES)]
        ip("-n", name, "-batch", "-", batch="\n".join(lines[:4]) + "\n")
        ip("-n", f"{name}-pods", "link", "set", "wire", "up")
        ip("-n", name, "-batch", "-", batch="\n".join(lines[4:]) + "\n")
        ip("-n", f"{name}-pods", "-batch", "-", batch="".join(f"link set eth{number} up\n" for number in range(PODS)))
        yield name
    finally:
        for one in (name, f"{name}-pods"):
            subprocess.run(["ip", "netns", "del", one], capture_output=True, check=False)


def raw_cpu(name: str) -> float:
    """User and system seconds of the raw commands together."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    began = used()
    for words in RAW:
        subprocess.run(["ip", "-n", name, "-j", *words.split()], stdout=subprocess.DEVNULL, check=True)
    return used() - began


def module_cpu(name: str) -> tuple[float, float]:
    """CPU seconds inside the module, and its largest size in MB."""
    command = ["ip", "netns", "exec", name, sys.executable, "-c", MODULE, str(ROOT / "build" / "collections")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, size = done.stdout.split()
    return float(seconds), float(size)


def measure(repeat: int) -> tuple[float, float, float]:
    """Medians: (module, raw commands, MB)."""
    with node() as name:
        raw_cpu(name)
        rounds = [(*module_cpu(name), raw_cpu(name)) for _turn in range(repeat)]
    seconds, size, raw = (statistics.median(column) for column in zip(*rounds, strict=True))
    return seconds, raw, size


if __name__ == "__main__":
    print("module {:.3f} s, raw commands {:.3f} s, {:.0f} MB".format(*measure(7)))
