# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small

NAME = "calico-kube-controllers"


def deployment(status, name=NAME, **spec):
    return lambda document: document.update(deployments=[{"metadata": {"name": name}, "spec": spec, "status": status}])


def judged(change):
    return small.verdict(small.diagnose(cluster=change), "kube_controllers.available", "", NAME)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (deployment({"replicas": 1, "availableReplicas": 1}), "ok"),
        (deployment({"replicas": 1}), "finding"),
        (deployment({"replicas": 1}, replicas=0), "ok"),  # scaled down on purpose
        (deployment({}), "ok"),  # its controller has not looked yet
        (deployment({"replicas": 1}, name="other"), "not_applicable"),
        (small.lost("deployments"), "not_checked"),
    ],
)
def test_availability(change, outcome):
    assert judged(change).outcome == outcome


def test_its_absence_stops_no_packet():
    diagnosis = small.diagnose(cluster=deployment({"replicas": 1}))
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.objects) == ("kube_controllers_down", "F66", [NAME])
    assert diagnosis.outcome != "broken"
    assert not diagnosis.affects_path(cause)
    (remedy,) = cause.remedies
    assert (remedy.id, remedy.risk, remedy.parameters) == ("restart_kube_controllers", "R2", {"component": "kube-controllers"})
