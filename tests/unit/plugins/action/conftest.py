# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of actions share: a finished question beside the hosts' answers."""

from __future__ import annotations

import json

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins.support import HostVars

HOSTS = {"k8s01": "one", "k8s02": "two"}


def clear(document):
    document["sysctls"]["net/ipv4/ip_forward"] = "0"


@pytest.fixture
def question(tmp_path):
    """The result of the action question."""
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(small.cluster_document()))
    return {"question": small.diagnose().question.to_json(), "cluster_file": str(path), "nodes": HOSTS}


@pytest.fixture
def variables():
    """Task variables of a play whose hosts have answered; the second one forwards nothing."""
    two = small.node_document("k8s02")
    clear(two)
    answers = {"one": {"diagnose_node": {"packed": pack(small.node_document("k8s01"))}}, "two": {"diagnose_node": {"node": two}}}
    return {"hostvars": HostVars(**answers), "groups": {"all": ["one", "two"]}, "ansible_play_hosts_all": ["one", "two"], "ansible_play_batch": ["one", "two"]}


@pytest.fixture
def report(tmp_path):
    """A report as a file."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(small.diagnose(k8s02=clear).report()))
    return str(path)
