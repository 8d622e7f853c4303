# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster document for questions of policy, made by hand: three nodes without encapsulation, pods in the namespaces shop and data, one machine outside."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.podnet.doctor.plugins.plugin_utils import _policy
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster

Json = t.Any
NODES = {"k8s01": "10.2.7.201", "k8s02": "10.2.7.202", "k8s03": "10.2.7.203"}
OUTSIDE = "10.2.7.9"
PODS = {
    "shop/web": ("k8s01", "10.253.1.5", {"app": "web"}),
    "shop/api": ("k8s02", "10.253.2.7", {"app": "api", "tier": "back"}),
    "shop/job": ("k8s02", "10.253.2.8", {}),
    "data/db": ("k8s03", "10.253.3.9", {"app": "db"}),
}
PORTS = [{"name": "http", "containerPort": 8080}, {"name": "stats", "containerPort": 8125, "protocol": "UDP"}]
ABSENT = {"error": "not found", "reason": "absent"}
EMPTY = ("serviceaccounts", "services", "endpointslices", "networkpolicies", "hostendpoints", "globalnetworkpolicies", "calico_networkpolicies", "networksets",
         "globalnetworksets", "felixconfigurations", "events", "deployments", "ipamblocks", "blockaffinities", "bgpconfigurations")  # fmt: skip
TIERS = {"default": (1_000_000, "Deny"), "kube-admin": (1000, "Pass"), "kube-baseline": (10_000_000, "Pass")}


def named(name: str, spec: Json, namespace: str = "", labels: Json = None) -> dict[str, Json]:
    metadata: dict[str, Json] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    return {"metadata": metadata, "spec": spec}


def pod(key: str, node: str, address: str, labels: Json, **spec: Json) -> dict[str, Json]:
    namespace, name = key.split("/")
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": f"uid-{name}", "labels": labels},
        "spec": {"nodeName": node, "serviceAccountName": "default", "containers": [{"name": "main", "ports": PORTS}], **spec},
        "status": {"phase": "Running", "podIPs": [{"ip": address}]},
    }


def node(name: str, address: str) -> dict[str, Json]:
    annotations = {"projectcalico.org/IPv4Address": f"{address}/24", "projectcalico.org/Interfaces": json.dumps([{"name": "eth0", "addresses": [address]}])}
    return {
        "metadata": {"name": name, "uid": name, "annotations": annotations},
        "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def document(**sections: Json) -> dict[str, Json]:
    environment = [{"name": "FELIX_DEFAULTENDPOINTTOHOSTACTION", "value": "ACCEPT"}]
    template = {"metadata": {"labels": {"k8s-app": "calico-node"}}, "spec": {"containers": [{"name": "calico-node", "env": environment}]}}
    return {
        "schema": "podnet.doctor/cluster/1",
        "narrowed": [],
        "calico_api": "crd.projectcalico.org/v1",
        "nodes": [node(name, address) for name, address in NODES.items()],
        "pods": [pod(key, where, address, labels) for key, (where, address, labels) in PODS.items()],
        "namespaces": [
            {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name, "team": team}}} for name, team in (("shop", "red"), ("data", "blue"))
        ],
        "daemonsets": [{"metadata": {"name": "calico-node", "namespace": "kube-system"}, "spec": {"template": template}}],
        "ippools": [named("pool", {"cidr": "10.253.0.0/16", "ipipMode": "Never", "vxlanMode": "Never", "natOutgoing": True})],
        "clusterinformations": [named("default", {"calicoVersion": "v3.32.1"})],
        "tiers": [named(name, {"order": order, "defaultAction": action}) for name, (order, action) in TIERS.items()],
        **{section: [] for section in EMPTY},
        **dict.fromkeys(("clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies"), ABSENT),
        **sections,
    }


def policy(name: str, namespace: str = "shop", **spec: Json) -> dict[str, Json]:
    """A NetworkPolicy of Kubernetes for all pods of the namespace."""
    return named(name, {"podSelector": {}, "policyTypes": ["Ingress"], **spec}, namespace)


def calico(name: str, namespace: str = "", **spec: Json) -> dict[str, Json]:
    """One of Calico, global without a namespace, for ingress."""
    return named(name, {"tier": "default", "types": ["Ingress"], **spec}, namespace)


def host_endpoint(name: str, on: str, interface: str = "eth0", labels: Json = None, **spec: Json) -> dict[str, Json]:
    return named(name, {"node": on, "interfaceName": interface, "expectedIPs": [NODES[on]], **spec}, labels=labels or {"host": on})


def end(cluster: Cluster, name: str) -> _policy.End:
    """A pod (`shop/web`), a node, `outside`, or an address."""
    if name in PODS:
        return _policy.End("pod", PODS[name][1], PODS[name][0], name)
    return _policy.end_at(cluster, NODES.get(name, OUTSIDE if name == "outside" else name))


def verdict(source: str, destination: str, service: str = "tcp/80", **sections: Json) -> _policy.Verdict:
    cluster = Cluster(document(**sections))
    protocol, _slash, port = service.partition("/")
    return _policy.worst(_policy.intended(cluster, end(cluster, source), end(cluster, destination), protocol, int(port) if port else None))


def outcome(source: str, destination: str, service: str = "tcp/80", **sections: Json) -> str:
    return verdict(source, destination, service, **sections).outcome
