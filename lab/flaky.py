"""What works now and then, at a chosen place: packets thrown away by chance, a route that comes and goes, a neighbour that is wrong half the time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lab import drops
from lab.cluster import Lab
from lab.flannel.cni import BRIDGE
from lab.modes import MODES

CHANCE = 30  # of a hundred packets
PERIOD = 0.8  # seconds: longer than an echo's pace, shorter than any watch
WRONG_MAC = "02:00:5e:00:53:01"
KINDS = ("loss", "route", "neighbour")


@contextmanager
def _alternating(bad: Callable[[], object], good: Callable[[], object]) -> Iterator[None]:
    """Bad and good in turns, each for a period; good in the end."""
    over = threading.Event()

    def turn() -> None:
        while True:
            bad()
            if over.wait(PERIOD):
                return
            good()
            if over.wait(PERIOD):
                return

    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        good()


@contextmanager
def flaky(lab: Lab, kind: str, source: str, destination: str) -> Iterator[str]:
    """While it lasts, some of the requests from one pod to the other are lost; yields the hop that they do not pass, as reports name it."""
    one, other = lab.pod(source), lab.pod(destination)
    if kind == "loss":
        with drops.dropped(lab, "destination node", "requests", source, destination, f"numgen random mod 100 < {CHANCE}"):
            yield f"node:{other.node}"
    elif kind == "route":
        route = ["ip", "route", "{}", "blackhole", f"{other.address}/32"]

        def change(word: str) -> None:
            lab.run(one.node, *(part.format(word) for part in route), check=False)

        with _alternating(lambda: change("add"), lambda: change("del")):
            yield f"node:{one.node}"
    else:
        entry = [other.address, "dev", other.interface if MODES[lab.mode].backend else BRIDGE]
        wrong = ["ip", "neigh", "replace", *entry, "lladdr", WRONG_MAC, "nud", "permanent"]
        with _alternating(lambda: lab.run(other.node, *wrong), lambda: lab.run(other.node, "ip", "neigh", "del", *entry, check=False)):
            yield f"pod:{destination}"
