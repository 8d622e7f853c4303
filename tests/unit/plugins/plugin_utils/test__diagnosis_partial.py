# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recorded clusters of which a section, a node or an answer of the API is missing (tests/partial.py): never another cause, never healthy."""

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests import partial
from ansible_collections.podnet.doctor.tests.unit import recorded

# one of each family, and those in which what is left looks like another fault
NAMES = [
    "bgp-noencap-healthy", "bgp-f01-stray-nic", "bgp-f15-rp-filter-strict", "bgp-f19-graceful-restart-wait", "bgp-f20-local-pod-route-missing",
    "bgp-f52-host-veth-down", "bgp-f70-as-mismatch", "canal-x-flannel-device-gone", "flannel-f77-cni0-other-subnet", "flannel-f77-forward-drop",
    "flannel-f78-podcidr-duplicated", "ipip-f34-tunl0-down", "vxlan-f38-wrong-vtep-neighbour",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_half_a_view_is_never_another_cause(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    rows = partial.judge(name)
    assert [row for row in rows if not row["right"]] == []
    before = rows[0]["named_before"]
    assert sum(row["named_after"] == before for row in rows) >= len(rows) * 2 / 3


def test_a_wrong_row_would_be_seen(monkeypatch):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    named = iter([("a", "node-a", 1)] + [("b", "node-a", 0)] * 1000)
    monkeypatch.setattr(partial, "first", lambda diagnosis: next(named))
    assert not any(row["right"] for row in partial.judge("bgp-noencap-healthy"))
