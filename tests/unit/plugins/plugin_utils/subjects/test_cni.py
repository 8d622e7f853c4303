# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils._question import host_interface
from ansible_collections.podnet.doctor.tests.unit import small

WEB = host_interface("shop", "web-0")


def failed(message, phase="Pending", host="k8s01", address=None):
    def change(document):
        late = small.pod("shop/late", "k8s01", address)
        late["status"]["phase"] = phase
        document["pods"].append(late)
        about = {"kind": "Pod", "namespace": "shop", "name": "late"}
        document["events"].append({"metadata": {}, "reason": "FailedCreatePodSandBox", "message": message, "involvedObject": about, "source": {"host": host},
                                   "lastTimestamp": "2026-11-21T09:00:00Z"})  # fmt: skip

    return change


@pytest.mark.parametrize(
    ("message", "cause", "fault"),
    [
        ("failed (add): error getting ClusterInformation: connection is unauthorized: Unauthorized", "cni_unauthorized", "F48"),
        ('failed (add): resource does not exist: Node(k8s01.internal) with error: nodes "k8s01.internal" not found', "nodename_mismatch", "F47"),
        ("failed (add): Calico is currently not ready to process requests", "datastore_locked", "F67"),
        ("failed (add): Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: [10.66.0.0/30]", "pool_exhausted", "F63"),
        ("dial tcp 10.96.0.1:443: i/o timeout", "typha_unreachable", "F44"),
        ("something new", "cni_failed", None),
    ],
)
def test_what_the_cni_plugin_said(message, cause, fault):
    diagnosis = small.diagnose(cluster=failed(message))
    (found,) = diagnosis.causes
    assert (found.id, found.fault, found.node, found.objects) == (cause, fault, "k8s01", ["shop/late"])
    assert diagnosis.severity(found) == "latent" and not diagnosis.affects_path(found)
    assert [remedy.id for remedy in found.remedies] == ["restart_calico_node" if fault == "F48" else "advise_cni"]


@pytest.mark.parametrize("change", [failed("x", phase="Running", address="10.253.1.9"), failed("x", host="k8s09"), failed("x", address="10.253.1.9")])
def test_history_and_other_nodes_do_not_count(change):
    assert small.verdict(small.diagnose(cluster=change), "cni.add", "k8s01").outcome == "ok"


def rules(*interfaces):
    text = "*filter\n:cali-from-wl-dispatch - [0:0]\n" + "".join(f":cali-tw-{name} - [0:0]\n" for name in interfaces) + "COMMIT\n"

    def change(document):
        document["netfilter"] = {"iptables": [{"backend": "nft", "family": "inet", "text": text}], "nft": []}

    return change


def dead(document):
    document["calico"]["felix"] = {"running": False}


def test_a_pod_that_felix_has_chains_for():
    assert small.verdict(small.diagnose(k8s01=rules(WEB)), "endpoint.programmed", "k8s01", "shop/web-0").outcome == "ok"


def test_a_pod_that_felix_never_saw():
    diagnosis = small.diagnose(k8s01=small.together(rules("cali0other"), dead))
    (found,) = diagnosis.causes
    assert (found.id, found.fault, found.node) == ("felix_not_ready", "F43", "k8s01")
    assert diagnosis.outcome == "broken" and not diagnosis.unexplained


def test_a_pod_that_a_living_felix_does_not_know():
    (found,) = small.diagnose(k8s01=rules("cali0other")).causes
    assert (found.id, found.fault, found.node, list(found.objects)) == ("unknown_interface_drop", "F46", "k8s01", ["shop/web-0"])


def typha(document):
    env = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
    env.append({"name": "FELIX_TYPHAK8SSERVICENAME", "value": "calico-typha"})


def test_with_typha_and_a_living_felix_it_points_there():
    (found,) = small.diagnose(cluster=typha, k8s01=rules("cali0other")).causes
    assert (found.id, found.fault) == ("typha_unreachable", "F44")


def typha_pod(document, ready="True"):
    pod = small.pod("kube-system/calico-typha-x", "k8s01", None, spec={"hostNetwork": True}, status={"conditions": [{"type": "Ready", "status": ready}]})
    pod["metadata"]["labels"] = {"k8s-app": "calico-typha"}
    document["pods"].append(pod)


@pytest.mark.parametrize(("ready", "remedies"), [("True", ["advise_typha"]), ("False", ["restart_typha", "advise_typha"])])
def test_typha_is_restarted_where_it_is_not_ready(ready, remedies):
    (found,) = small.diagnose(cluster=small.together(typha, lambda document: typha_pod(document, ready)), k8s01=rules("cali0other")).causes
    assert [remedy.id for remedy in found.remedies] == remedies


@pytest.mark.parametrize(("change", "outcome"), [(lambda d: None, "not_applicable"), (small.lost("netfilter"), "not_checked")])
def test_without_rules_of_felix_nothing_is_said(change, outcome):
    assert small.verdict(small.diagnose(k8s01=change), "endpoint.programmed", "k8s01", "shop/web-0").outcome == outcome


FULL = "failed (add): Assigned 0 out of 1 requested IPv4 addresses; No IPs available in pools: [10.253.0.0/16]"


@pytest.mark.parametrize(
    ("spec", "fault", "words"),
    [
        ({"strictAffinity": True}, "F64", "strictAffinity"),
        ({"strictAffinity": False, "maxBlocksPerHost": 1}, "F64", "maxBlocksPerHost is 1"),
        ({"strictAffinity": False, "maxBlocksPerHost": 4}, "F63", "no pool"),
        ({}, "F63", "no pool"),
    ],
)
def test_addresses_that_are_free_and_not_for_this_node(spec, fault, words):
    def change(cluster):
        cluster["ipamconfigs"] = [{"metadata": {"name": "default"}, "spec": spec}]

    (found,) = small.diagnose(cluster=small.together(failed(FULL), change)).causes
    assert found.fault == fault and words in found.summary


def test_pools_that_are_all_disabled():
    said = "failed (add): failed to request IPv4 addresses: no configured Calico pools for node k8s01"
    (found,) = small.diagnose(cluster=small.together(failed(said), lambda cluster: cluster["ippools"][0]["spec"].update(disabled=True))).causes
    assert found.id == "pool_exhausted" and "every IP pool is disabled" in found.summary
