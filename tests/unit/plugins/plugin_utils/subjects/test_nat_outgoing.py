# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.tests.unit import small

OUTSIDE = "192.0.2.7"
FACT = ("nat.outgoing", "k8s01", f"10.253.1.5>{OUTSIDE}")
MASQUERADE = "-A cali-nat-outgoing -s 10.253.0.0/16 ! -d 10.253.0.0/16 -j MASQUERADE"


def pool(nat):
    return lambda cluster: cluster["ippools"][0]["spec"].update(natOutgoing=nat)


def rules(*lines):
    text = ["*nat", ":POSTROUTING ACCEPT [0:0]", ":cali-nat-outgoing - [0:0]", "-A POSTROUTING -j cali-nat-outgoing", *lines, "COMMIT", ""]

    def change(document):
        document["netfilter"] = {"iptables": [{"backend": "nft", "family": "inet", "text": "\n".join(text)}], "nft": [], "ipsets": []}

    return change


def ask(*, nat=True, here=(), replied=None, destination=OUTSIDE):
    found = small.documents(cluster=pool(nat), k8s01=small.together(*here))
    evidence = None if replied is None else {"probes": [{**small.probe("forward", replied), "sent": 3}]}
    question = resolve(found.cluster, "shop/web-0", destination, "tcp", 443)
    return Diagnosis(question, Documents(found.cluster, found.nodes, Evidence(evidence)))


def test_a_packet_that_leaves_as_its_node_is_right():
    assert small.verdict(ask(here=[rules(MASQUERADE)]), *FACT).outcome == "ok"


@pytest.mark.parametrize(("replied", "severity"), [(None, "critical"), (False, "critical"), (True, "warning")])
def test_a_packet_that_leaves_as_the_pod_is_told(replied, severity):
    diagnosis = ask(here=[rules()], replied=replied)
    assert small.verdict(diagnosis, *FACT).finding.severity == severity
    cause = next(cause for cause in diagnosis.causes if cause.id == "nat_outgoing_missing")
    assert cause.node == "k8s01" and cause.objects == ["IPPool pool", "cali-nat-outgoing"]


def test_without_the_chain_of_felix_nothing_is_said():
    assert small.verdict(ask(), *FACT).outcome == "not_applicable"


@pytest.mark.parametrize(("replied", "outcome"), [(None, "latent"), (False, "warning"), (True, None)])
def test_a_pool_that_does_not_hide_its_pods(replied, outcome):
    verdict = small.verdict(ask(nat=False, replied=replied), *FACT)
    assert (verdict.finding.severity if verdict.finding else None) == outcome
    assert verdict.outcome == ("finding" if outcome else "not_applicable")


def test_pods_are_never_hidden_from_pods():
    assert not [fact for fact in ask(destination="shop/api-0").judged if fact.kind == "nat.outgoing"]
