# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the operator makes calico-node, as the lab's stand-in of it does: its Installation is changed, for it writes over what is written elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.cluster import Lab
from lab.processes import wait_for
from lab.tigera_operator import GROUP, METHOD, NAME
from tests.integration.running import Running
from tests.remedies import object_repair


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Running("itop", "ipip", 2, ("--operator",)) as running:
        yield running.healthy()


def detection(lab):
    return lab.client.get("installations", NAME, group=GROUP)["spec"]["calicoNetwork"]["nodeAddressAutodetectionV4"]


def environment(lab):
    """Of calico-node, in its DaemonSet and in its pods."""
    agent = lab.description.calico.agent
    pods = [lab.client.get("pods", lab.calico_pod(node.name), agent.namespace)["spec"] for node in lab.nodes]
    specs = [lab.client.get("daemonsets", agent.name, agent.namespace)["spec"]["template"]["spec"], *pods]
    return [next(entry["value"] for entry in spec["containers"][0]["env"] if entry["name"] == METHOD) for spec in specs]


def test_the_autodetection_is_set_in_the_installation_and_taken_back(lab):
    agent = lab.description.calico.agent
    params = {"namespace": agent.namespace, "was": "first-found"}
    assert detection(lab) == {"firstFound": True} and environment(lab) == ["first-found"] * 3
    done = object_repair(lab, "set_autodetection", params)
    assert done["changed"] and detection(lab) == {"kubernetes": "NodeInternalIP"} and environment(lab) == ["kubernetes-internal-ip"] * 3
    assert not object_repair(lab, "set_autodetection", params)["changed"]
    object_repair(lab, "take_back", {"steps": done["back"]})
    assert detection(lab) == {"firstFound": True} and environment(lab) == ["first-found"] * 3

    template = lab.client.get("daemonsets", agent.name, agent.namespace)["spec"]["template"]["spec"]
    for entry in template["containers"][0]["env"]:
        if entry["name"] == METHOD:
            entry["value"] = "can-reach=10.2.7.1"
    lab.client.patch("daemonsets", agent.name, {"spec": {"template": {"spec": {"containers": template["containers"]}}}}, agent.namespace)
    wait_for(lambda: environment(lab)[0] == "first-found", "the operator has written over what was written into the DaemonSet", 20)
