# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _kube_fields

WORDS = st.sampled_from(["metadata", "namespace", "spec", "ingress", "egress", "source", "destination", "services", "name"])
DAEMONSET = {
    "metadata": {
        "name": "calico-node",
        "namespace": "kube-system",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2", "projectcalico.org/x": "kept"},
        "managedFields": [{}],
    },
    "spec": {
        "selector": {"matchLabels": {"k8s-app": "calico-node"}},
        "template": {
            "metadata": {"labels": {"k8s-app": "calico-node"}},
            "spec": {
                "hostNetwork": True,
                "containers": [
                    {
                        "name": "calico-node",
                        "image": "quay.io/calico/node:v3.32.1",
                        "env": [
                            {"name": "IP", "value": "autodetect"},
                            {"name": "CALICO_NETWORKING_BACKEND", "valueFrom": {"configMapKeyRef": {"name": "calico-config", "key": "calico_backend"}}},
                            {"name": "NODENAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                            {"name": "FELIX_ETCDPASSWORD", "value": "hunter2"},
                            {"name": "CALICO_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                            {"name": "HTTP_PROXY", "value": "hunter2"},
                        ],
                    },
                    {"name": "other", "image": "other", "env": [{"name": "IP", "value": "hunter2"}], "args": ["hunter2"]},
                ],
                "volumes": [{"name": "var-run-calico", "hostPath": {"path": "/var/run/calico"}}, {"name": "s", "secret": {"secretName": "s"}}],
            },
        },
    },
    "status": {"desiredNumberScheduled": 3, "conditions": []},
}


def test_daemonset() -> None:
    found = _kube_fields.reduce("daemonsets", DAEMONSET, {("kube-system", "calico-config"): {"calico_backend": "bird"}})
    spec = found["spec"]["template"]["spec"]
    environment = {entry["name"]: entry for entry in spec["containers"][0]["env"]}
    assert environment["CALICO_NETWORKING_BACKEND"]["value"] == "bird"
    assert environment["IP"]["value"] == "autodetect"
    assert environment["NODENAME"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert environment["CALICO_KEY"] == {"name": "CALICO_KEY", "valueFrom": {}}
    assert "hunter2" not in json.dumps(found)
    assert spec["volumes"] == [{"name": "var-run-calico", "hostPath": {"path": "/var/run/calico"}}]
    assert found["metadata"]["annotations"] == {"projectcalico.org/x": "kept"}
    assert _kube_fields.references("daemonsets", DAEMONSET) == {("kube-system", "calico-config")}
    unresolved = _kube_fields.reduce("daemonsets", DAEMONSET)["spec"]["template"]["spec"]["containers"][0]["env"][1]
    assert "value" not in unresolved and unresolved["valueFrom"]["configMapKeyRef"]["key"] == "calico_backend"


def test_calico_metadata_of_v1() -> None:
    own = json.dumps({"name": "api-from-web", "labels": {"a": "1"}, "annotations": {"secret": "hunter2"}})
    found = _kube_fields.reduce(
        "calico_networkpolicies", {"metadata": {"name": "default.api-from-web", "annotations": {"projectcalico.org/metadata": own}}, "spec": {"order": 1}}
    )
    assert found["metadata"]["labels"] == {"a": "1"}
    assert json.loads(found["metadata"]["annotations"]["projectcalico.org/metadata"]) == {"name": "api-from-web", "labels": {"a": "1"}}
    assert found["spec"] == {"order": 1}


def test_pod() -> None:
    pod = {
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "u"},
        "spec": {
            "nodeName": "k8s01",
            "containers": [{"name": "c", "image": "i", "env": [{"name": "TOKEN", "value": "hunter2"}], "ports": [{"containerPort": 80}]}],
        },
        "status": {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [{"name": "c", "ready": True, "restartCount": 0, "allocatedResources": {}}]},
    }
    found = _kube_fields.reduce("pods", pod)
    assert found["spec"] == {"nodeName": "k8s01", "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}
    assert found["status"]["containerStatuses"] == [{"name": "c", "ready": True, "restartCount": 0}]


def test_bgp_peer_has_no_password() -> None:
    found = _kube_fields.reduce("bgppeers", {"metadata": {"name": "tor"}, "spec": {"peerIP": "10.0.0.1", "password": {"secretKeyRef": {"name": "s"}}}})
    assert found["spec"] == {"peerIP": "10.0.0.1"}


KINDS = [*_kube_fields.FIELDS, *_kube_fields.CALICO, "networkpolicies", "unknown"]
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
KEYS = ["metadata", "spec", "status", "template", "containers", "env", "name", "value", "valueFrom", "configMapKeyRef", "image", "annotations", "labels",
        "volumes", "hostPath", "containerStatuses", "projectcalico.org/metadata"]  # fmt: skip
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6), max_leaves=25)


@given(st.sampled_from(KINDS), VALUES)
def test_property_anything(kind: str, value: t.Any) -> None:
    assert isinstance(_kube_fields.reduce(kind, value), dict)
    _kube_fields.references(kind, value)


def test_recorded(captures: t.Callable[..., t.Any]) -> None:
    folder = captures()
    counted = 0
    for path in folder.glob("*/api/[!_]*.json"):
        kind = path.stem.replace("calico-networkpolicies", "calico_networkpolicies")
        for item in json.loads(path.read_text()).get("items") or []:
            found = _kube_fields.reduce(kind, item)
            assert found["metadata"]["name"] == item["metadata"]["name"]
            assert "last-applied" not in json.dumps(found)
            counted += 1
    assert counted > 5000


@given(st.recursive(st.one_of(st.none(), st.text()), lambda inner: st.one_of(st.lists(inner), st.dictionaries(WORDS, inner))))
def test_services_in_rules_of_anything(policy: t.Any) -> None:
    assert all(isinstance(word, str) for pair in _kube_fields.services_in_rules(policy) for word in pair)


def test_services_in_rules() -> None:
    rules = [{"source": {"services": {"name": "a", "namespace": "x"}}}, {"destination": {"services": {"name": "b"}}}, {"source": {"nets": []}}]
    policy = {"metadata": {"name": "p", "namespace": "y"}, "spec": {"ingress": rules[:1], "egress": rules[1:]}}
    assert _kube_fields.services_in_rules(policy) == {("x", "a"), ("y", "b")}
    assert _kube_fields.services_in_rules({"metadata": {"name": "p"}, "spec": {"egress": rules[1:]}}) == set()
