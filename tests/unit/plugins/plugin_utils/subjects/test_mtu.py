# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small


def mtu(**values):
    def change(document):
        for link in document["links"]:
            kind = "cali" if link["ifname"].startswith("cali") else link["ifname"]
            link["mtu"] = values.get(kind, {"cali": 1480, "tunl0": 1480}.get(kind, 1500))

    return change


def unread(document):
    for link in document["links"]:
        link.pop("mtu")


def judged(diagnosis):
    return small.verdict(diagnosis, "mtu.way", "k8s02", "10.253.1.5>10.253.2.7")


@pytest.mark.parametrize(
    ("one", "two", "outcome"),
    [
        (mtu(), mtu(), "ok"),
        (mtu(), mtu(eth0=1400), "finding"),
        (mtu(eth0=1400), mtu(), "ok"),  # its own kernel tells the pod
        (mtu(eth0=1400), mtu(eth0=1400), "ok"),
        (mtu(tunl0=1380), mtu(eth0=1400), "ok"),
        (mtu(cali=1380), mtu(eth0=1400), "ok"),
        (mtu(cali=9000), mtu(), "ok"),  # a pod above its tunnel is told, too
        (mtu(eth0=9000, tunl0=8980, cali=8980), mtu(), "finding"),
        (mtu(), small.lost("links"), "not_checked"),
        (small.lost("links"), mtu(), "not_checked"),
        (unread, mtu(), "not_checked"),
    ],
)
def test_what_is_sent_fits_where_it_goes(one, two, outcome):
    assert judged(small.diagnose(k8s01=one, k8s02=two)).outcome == outcome


def test_the_narrow_nic_is_named():
    diagnosis = small.diagnose(k8s01=mtu(), k8s02=mtu(eth0=1400))
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.node, list(cause.objects)) == ("mtu_blackhole", "F14", "k8s02", ["eth0 k8s02"])
    assert "takes 1400 bytes, k8s01 sends it up to 1500" in cause.summary and diagnosis.severity(cause) == "warning"


def trains(large, small_replied=3, **more):
    """Echoes of both sizes in both directions: those of full size arrived and were answered so often, or not."""
    probes = [small.probe("forward", True)]
    for direction in ("forward", "reverse"):
        probes.append({**small.probe(direction, True, "icmp"), "answers_question": False, "replied": small_replied})
        probes.append({**small.probe(direction, large, "icmp"), "answers_question": False, "size": 1480, **more})
    return {"probes": probes}


def of_full_size(diagnosis):
    return {diagnosis.judged[fact].outcome for fact in diagnosis.judged if fact.kind == "probe.full_size"}


LOST = {"lost": {"what": "requests", "after": "tunnel:k8s01", "hop": "wire:k8s01:k8s02"}}


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (trains(True), "ok"),
        (trains(False, **LOST), "finding"),
        (trains(True, replied=0), "finding"),  # its answers are as large
        (trains(False, small_replied=0), "not_applicable"),
        (trains(None, reason="raw sockets are refused here"), "not_checked"),
        ({"probes": [small.probe("forward", True)]}, "not_applicable"),
    ],
)
def test_packets_of_full_size(evidence, outcome):
    assert of_full_size(small.diagnose(evidence=evidence)) == {outcome}


def test_what_is_large_and_lost_is_broken_though_small_packets_cross():
    (cause,) = (diagnosis := small.diagnose(evidence=trains(False, **LOST))).causes
    assert (diagnosis.outcome, cause.id, cause.fault, cause.objects) == ("broken", "mtu_blackhole", "F14", ["wire:k8s01:k8s02"])
    assert not diagnosis.unexplained and diagnosis.affects_path(cause)


def test_the_narrow_nic_explains_it():
    diagnosis = small.diagnose(evidence=trains(False, **LOST), k8s01=mtu(), k8s02=mtu(eth0=1400))
    (cause,) = diagnosis.causes
    assert (diagnosis.outcome, cause.id, cause.node) == ("broken", "mtu_blackhole", "k8s02")
    assert {finding.check for finding in diagnosis.explained_by(cause)} == {"probe.full_size.lost"} and diagnosis.confidence(cause) == "certain"
