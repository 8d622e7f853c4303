# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An audit in slices of a job, held against the audit in one run."""

from __future__ import annotations

import json

import pytest

from tests.integration.runner import LARGEST_EVENT, Runner
from tests.integration.running import Running

NODES, SLICES = 16, 4


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Running("slices", "ipip", NODES) as here:
        lab = here.healthy()
        here.breaks("node_mask_32")  # its signs do not come and go
        yield Runner(tmp_path_factory.mktemp("slices"), lab.inventory, lab.kubeconfig)


def report_of(job):
    assert job.status == "successful", job.screen
    return json.loads(open(job.artifacts["podnet_report"]["path"]).read())


def without_times(report):
    """What is left when the two that no two runs have alike are taken away: when it was, and how long each node took."""
    left = {key: value for key, value in report.items() if key not in ("id", "created_at")}
    return json.dumps({**left, "collected": [{**entry, "seconds": None} for entry in left["collected"]]})


def test_slices_give_the_report_of_one_run_and_a_lost_one_is_not_checked(fleet):
    names = list(fleet.hosts)
    places = {"podnet_store": str(fleet.folder / "store"), "podnet_report_dir": str(fleet.folder / "reports")}
    jobs = []
    for number in range(0, SLICES, 2):
        slices = [names[one::SLICES] for one in (number, number + 1)]
        started = [fleet.started("podnet.doctor.collect", places, hosts) for hosts in slices]
        jobs += [fleet.ended(*one) for one in started]
    assert [job.status for job in jobs] == ["successful"] * SLICES, jobs[0].screen
    assert all(job.artifacts == {"podnet_collected": {"nodes": NODES // SLICES, "silent": 0}} for job in jobs)
    assert max(job.largest for job in jobs) < LARGEST_EVENT
    compared = fleet.run("podnet.doctor.compare", **places)
    whole = fleet.run("podnet.doctor.audit", podnet_report_dir=places["podnet_report_dir"])
    assert report_of(compared)["verdict"]["causes"][0]["id"] == "node_mask_32"
    assert without_times(report_of(compared)) == without_times(report_of(whole))
    published = fleet.folder / "store" / "reports"
    assert {path.suffix for path in published.iterdir()} == {".html", ".json", ".md"}

    lost = fleet.run("podnet.doctor.collect", names[:4], **{**places, "podnet_store": str(fleet.folder / "other")})
    assert lost.status == "successful"
    report = report_of(fleet.run("podnet.doctor.compare", **{**places, "podnet_store": str(fleet.folder / "other")}))
    missing = {entry["node"]: entry["reason"] for entry in report["not_checked"] if entry["check"] == "everything"}
    assert set(missing) == set(names[4:]) and all("is not in the store" in reason for reason in missing.values())


def test_a_slice_without_nodes_and_an_empty_store_are_clear_failures(fleet):
    places = {"podnet_store": str(fleet.folder / "nothing"), "podnet_report_dir": str(fleet.folder / "reports")}
    job = fleet.run("podnet.doctor.compare", **places)
    assert job.status == "failed" and "no node's answer is in the store" in job.screen
    fleet.hosts["bastion"] = {"ansible_connection": "local"}
    job = fleet.run("podnet.doctor.collect", ["bastion"], **places)
    assert job.status == "failed" and "this slice has no node of the cluster" in job.screen
