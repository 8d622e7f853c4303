# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small


def manages(*devices):
    return lambda document: document.update(network_manager={"running": True, "devices": [dict(zip(NAMES, device)) for device in devices]})


NAMES = ("ifname", "state", "state_text", "managed")
CONFIGURED = ("cali0123456789a", 70, "connecting (getting IP configuration)", True)


@pytest.mark.parametrize(
    ("change", "pods", "tunnels"),
    [
        (lambda document: None, "not_applicable", "not_applicable"),
        (lambda document: document.update(network_manager={"running": False}), "not_applicable", "not_applicable"),
        (lambda document: document.update(network_manager={"error": "nmcli: permission denied"}), "not_checked", "not_checked"),
        (lambda document: document.update(network_manager={"running": True, "devices": {"error": "x"}}), "not_checked", "not_checked"),
        (manages(("eth0", 100, "connected", True), ("cali0123456789a", 10, "unmanaged", False)), "ok", "ok"),
        (manages(("cali0123456789a", 100, "connected (externally)", True)), "ok", "ok"),
        (manages(CONFIGURED), "finding", "ok"),
        (manages(("tunl0", 30, "disconnected", True), ("vethabc", 30, "disconnected", True)), "ok", "finding"),
    ],
)
def test_what_it_manages(change, pods, tunnels):
    diagnosis = small.diagnose(k8s01=change)
    assert [small.verdict(diagnosis, "network_manager", "k8s01", what).outcome for what in ("pods", "tunnels")] == [pods, tunnels]


def test_it_is_why_a_route_is_gone():
    def no_route(document):
        document["routes"] = [route for route in document["routes"] if not str(route.get("dev")).startswith("cali")]

    (cause,) = small.diagnose(k8s01=small.together(manages(CONFIGURED), no_route)).causes
    assert (cause.id, cause.fault, cause.node, cause.objects) == ("networkmanager_manages_cali", "F09", "k8s01", ["cali0123456789a"])
    (remedy,) = cause.remedies
    assert remedy.risk == "R1" and "cali*" in remedy.parameters["interfaces"] and "veth*" not in remedy.parameters["interfaces"]
