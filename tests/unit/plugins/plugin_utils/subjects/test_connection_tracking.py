# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small


def table(count, most):
    return lambda document: document.setdefault("counters", {}).update(nf_conntrack={"count": count, "max": most})


@pytest.mark.parametrize(("count", "outcome"), [(0, "ok"), (94, "ok"), (95, "finding"), (100, "finding")])
def test_room_for_connections(count, outcome):
    assert small.verdict(small.diagnose(k8s01=table(count, 100)), "conntrack.table", "k8s01").outcome == outcome


@pytest.mark.parametrize(("count", "severity"), [(96, "latent"), (100, "critical")])
def test_a_full_table(count, severity):
    (found,) = small.diagnose(k8s01=table(count, 100)).causes
    assert (found.id, found.fault, found.node, found.roots[0].severity) == ("conntrack_full", "F55", "k8s01", severity)


@pytest.mark.parametrize("value", [None, {}, {"count": 3}, {"count": "3", "max": 4}, {"count": 1, "max": 0}])
def test_a_node_that_does_not_say(value):
    diagnosis = small.diagnose(k8s01=lambda document: document.setdefault("counters", {}).update(nf_conntrack=value))
    assert small.verdict(diagnosis, "conntrack.table", "k8s01").outcome == "not_applicable"
