# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A flood from pod to pod with captures on both nodes and in both pods, against the same without them, in turns.

`python -m bench.flood LAB` measures it in a lab that is up. Needs root.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lab import kernel
from lab.cluster import Lab

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "build" / "collections"))

from ansible_collections.podnet.doctor.plugins.module_utils import _capture, _marks  # noqa: E402
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline  # noqa: E402
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside  # noqa: E402

SOURCE, DESTINATION, PORT = "shop/web-2", "shop/web-0", 9
SECONDS, ROUNDS = 1.0, 9
TARGET = 0.95
PIECE = bytes(1 << 16)


class Got(NamedTuple):
    """Medians of the rounds in megabytes a second, and the median of their ratios."""

    captured: float
    alone: float
    ratio: float


def namespace(pid: int) -> str:
    return f"/proc/{pid}/ns/net"


@contextmanager
def captures(lab: Lab) -> Iterator[None]:
    """Captures as a diagnosis of the two pods arms them."""
    probe = os.urandom(16).hex()
    places = [(namespace(lab.node(lab.pod(pod).node).pid), namespace(lab.pod_pid(pod))) for pod in (SOURCE, DESTINATION)]
    for node, pod in places:
        order = _capture.Order(probe, [_capture.Place("host"), _capture.Place("pod", pod, 0)], _marks.of(probe, 3), (4789, 8472), 60, next_hops=["169.254.1.1"])
        refused = inside(node, lambda order=order: _capture.arm(order), Deadline(20))  # type: ignore[misc]
        if refused:
            raise RuntimeError(refused)
    try:
        yield
    finally:
        for node, _pod in places:
            inside(node, lambda: _capture.collect(probe, 10), Deadline(20))


def flood(lab: Lab) -> float:
    """Megabytes a second that arrive."""
    with kernel.in_netns(namespace(lab.pod_pid(DESTINATION))):
        door = socket.create_server((lab.pod(DESTINATION).address, PORT))
    with kernel.in_netns(namespace(lab.pod_pid(SOURCE))):
        sender = socket.socket(socket.AF_INET)
    with door, sender:
        sender.connect((lab.pod(DESTINATION).address, PORT))
        taker, _address = door.accept()
        counted = [0]

        def take() -> None:
            buffer = bytearray(len(PIECE))
            while number := taker.recv_into(buffer):
                counted[0] += number

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        began = time.monotonic()
        while time.monotonic() < began + SECONDS:
            sender.sendall(PIECE)
        sender.shutdown(socket.SHUT_WR)
        thread.join(30)
        took = time.monotonic() - began
        taker.close()
    return counted[0] / took / 1e6


def measure(lab: Lab, rounds: int = ROUNDS) -> Got:
    flood(lab)  # routes and neighbours are learned
    pairs: list[tuple[float, float]] = []
    for turn in range(rounds):
        found: dict[bool, float] = {}
        for listening in (turn % 2 == 0, turn % 2 == 1):
            if listening:
                with captures(lab):
                    found[True] = flood(lab)
            else:
                found[False] = flood(lab)
        pairs.append((found[True], found[False]))
    captured, alone = (statistics.median(pair[place] for pair in pairs) for place in (0, 1))
    return Got(captured, alone, statistics.median(one / other for one, other in pairs))


if __name__ == "__main__":
    print(measure(Lab.load(sys.argv[1])))
