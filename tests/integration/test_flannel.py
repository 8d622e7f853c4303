# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""flannel from end to end, over SSH: diagnosed, repaired, proven, and nothing left behind."""

from __future__ import annotations

import pytest

from tests.integration.running import Running
from tests.integration.test_no_trace import marker, settle, state, what_stays

__all__ = ["marker"]


@pytest.fixture(scope="module")
def running():
    with Running("iflan", "flannel") as here:
        yield here


@pytest.mark.parametrize("destination", ["shop/web-1:8080", pytest.param("shop/api-2:8080", marks=pytest.mark.thorough)], ids=["another node", "the same node"])
def test_a_healthy_path_is_seen_to_be_healthy(site, lab, destination):
    assert {lab.pod(name).node for name in ("shop/web-0", "shop/api-2")} == {"k8s01"}
    report = site.diagnose("shop/web-0", destination).report
    assert report["verdict"]["outcome"] == "healthy" and report["findings"] == []
    assert {entry["check"] for entry in report["not_checked"]} <= {"policy.allows"}
    assert {hop["seen"] for hop in report["path"]["forward"]} == {True}
    assert "bridge" in {hop["kind"] for hop in report["path"]["forward"]}


@pytest.mark.thorough
def test_a_diagnosis_changes_nothing(site, lab, marker):
    settle(site)
    before = {node.name: state(lab, node.name, marker) for node in lab.nodes}
    assert site.diagnose("shop/web-0", "shop/web-1:8080").code == 0
    for node in lab.nodes:  # files are compared in test_no_trace.py: what is written to them does not depend on the network plugin
        assert set(what_stays(lab, node.name, marker, before[node.name])) <= {"files", "temporary"}
