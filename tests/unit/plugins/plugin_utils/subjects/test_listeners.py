# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.small_services import listens

FACT = ("pod.listener", "k8s02", "shop/api-0 tcp/8080")
REFUSED = {"probes": [{**small.probe("forward", True), "replied": 0, "refused": 3}, small.probe("reverse", True, "icmp")]}


def at(address, port=8080, protocol="tcp"):
    def change(document):
        found = [{"family": "inet6" if ":" in address else "inet", "address": address, "port": port, "protocol": protocol}]
        document["sandboxes"][0]["network"]["listeners"] = found

    return change


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.253.2.7", "::ffff:0.0.0.0"])
def test_a_port_that_is_listened_on_is_ok(address):
    assert small.verdict(small.diagnose(k8s02=at(address)), *FACT).outcome == "ok"


def test_what_was_not_read_is_not_compared():
    assert small.verdict(small.diagnose(), *FACT).outcome == "not_applicable"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (listens(), "shop/api-0 does not listen on tcp/8080; by tcp it listens on nothing."),
        (listens(9090, 80), "shop/api-0 does not listen on tcp/8080; by tcp it listens on 80, 9090."),
        (at("127.0.0.1"), "shop/api-0 listens on tcp/8080 at 127.0.0.1 only; by tcp it listens on 8080."),
        (at("0.0.0.0", protocol="udp"), "shop/api-0 does not listen on tcp/8080; by tcp it listens on nothing."),
    ],
)
def test_a_closed_port_is_named_though_packets_cross(change, told):
    diagnosis = small.diagnose(REFUSED, k8s02=change)
    assert (diagnosis.outcome, small.named(diagnosis)) == ("broken", ["port_not_listened"])
    assert (diagnosis.causes[0].summary, diagnosis.causes[0].node) == (told, "k8s02")


def test_what_answered_is_open_whoever_listens():
    diagnosis = small.diagnose({"probes": [small.probe("forward", True), small.probe("reverse", True)]}, k8s02=listens(15006))
    assert not diagnosis.findings and diagnosis.outcome == "healthy"


@pytest.mark.parametrize(("reset_at", "named"), [("node:k8s02", ["port_not_listened"]), ("node:k8s01", [])])
def test_a_node_that_refuses_its_port_is_named(reset_at, named):
    tried = {**small.probe("forward", True), "protocol": "tcp", "answers_question": True, "sent": 3, "refused": 3, "replied": 0, "reset_at": reset_at}
    found = small.documents()
    question = resolve(found.cluster, "shop/web-0", "node/k8s02", None, 31999)
    diagnosis = Diagnosis(question, Documents(found.cluster, found.nodes, Evidence({"probes": [tried]})))
    assert small.named(diagnosis) == named
