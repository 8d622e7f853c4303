"""A node that loses packets by what no look at its rules explains."""

from __future__ import annotations

from collections.abc import Iterator

from lab.cluster import Lab
from lab.faults import EVERY, fault
from lab.faults.steps import cut_off

NODE = "k8s01"
QUESTION = ("shop/web-2", "shop/web-0", 8080)
TABLE = "inet lab_unseen"


@fault("unseen_drop", number="x", node=NODE, breaks="probe.contradicts", modes=EVERY, question=QUESTION)
def by_lot(lab: Lab) -> Iterator[None]:
    """A rule of k8s01 that throws dice drops what goes to shop/web-0: every face of the dice loses."""
    lab.run(NODE, "nft", f"add table {TABLE}; add chain {TABLE} forward {{ type filter hook forward priority 100; policy accept; }}")
    lab.run(NODE, "nft", f"add rule {TABLE} forward ip daddr {lab.pod(QUESTION[1]).address} numgen random mod 2 0-1 drop")
    cut_off(lab, *QUESTION[:2])
    yield
    lab.run(NODE, "nft", f"delete table {TABLE}", check=False)
