# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text
from ansible_collections.podnet.doctor.tests.unit import recorded, small


def test_the_verdict_is_the_first_line():
    lines = _text.screen(small.diagnose().report(), "reports/x.json")
    assert lines[0].startswith("shop/web-0 on k8s01")
    assert lines[0].endswith("UNKNOWN")
    assert lines[-1] == "REPORT   reports/x.json"


def test_a_fault_its_evidence_and_the_next_step():
    def clear(document):
        document["sysctls"]["net/ipv4/ip_forward"] = "0"

    text = "\n".join(_text.screen(small.diagnose(k8s02=clear).report(), "reports/x.json"))
    assert "CAUSE    k8s02 forwards no packets at all: net.ipv4.ip_forward is 0." in text
    assert "EVIDENCE net.ipv4.ip_forward = 0" in text
    assert "podnet.doctor.remediate -e report=reports/x.json" in text
    assert "k8s02 forwarding OFF" in text


@pytest.mark.parametrize("name", recorded.asked())
def test_eighty_columns(name):
    if name == "absent":
        pytest.skip(recorded.ABSENT)
    lines = _text.screen(recorded.report(name), "reports/7f3a11c0.json")
    words = [word for line in lines for word in line.split()]
    assert all(len(line) <= 80 or max(map(len, line.split())) > 60 for line in lines)
    assert words


def test_a_probe_that_was_lost_is_told():
    report = small.diagnose(evidence={"probes": [small.probe("forward", False)]}).report()
    text = "\n".join(_text.screen(report))
    assert "3 marked packets sent, none seen at the far end" in text
    assert "NOT SEEN" in text
