# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small cluster as documents, made by hand: two nodes, IPIP, one pod on each. For what recordings cannot show; they are the measure of everything else."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._graph import FactId
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import host_interface, resolve

Json = t.Any
BLOCKS = {"k8s01": "10.253.1.0/26", "k8s02": "10.253.2.0/26"}
ADDRESSES = {"k8s01": "10.2.7.201", "k8s02": "10.2.7.202"}
POLICY = ("serviceaccounts", "services", "endpointslices", "networkpolicies", "clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies",
          "hostendpoints", "globalnetworkpolicies", "calico_networkpolicies", "tiers", "networksets", "globalnetworksets", "ipamconfigs")  # fmt: skip
PODS = {"shop/web-0": ("k8s01", "10.253.1.5"), "shop/api-0": ("k8s02", "10.253.2.7")}


def pod(key: str, node: str, address: str | None, **more: Json) -> dict[str, Json]:
    namespace, name = key.split("/")
    status: dict[str, Json] = {"phase": "Running"}
    if address:
        status["podIPs"] = [{"ip": address}]
    return {
        "metadata": {"namespace": namespace, "name": name, "uid": f"uid-{name}", "ownerReferences": [{"kind": "ReplicaSet"}]},
        "spec": {"nodeName": node, **more.get("spec", {})},
        "status": {**status, **more.get("status", {})},
    }


def cluster_document() -> dict[str, Json]:
    return {
        "schema": "podnet.doctor/cluster/1",
        "narrowed": [],
        "nodes": [
            {
                "metadata": {
                    "name": name,
                    "uid": name,
                    "annotations": {
                        "projectcalico.org/IPv4Address": f"{address}/24",
                        "projectcalico.org/IPv4IPIPTunnelAddr": BLOCKS[name].replace(".0/26", ".0"),
                    },
                },
                "spec": {},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            }
            for name, address in ADDRESSES.items()
        ],
        "pods": [pod(key, node, address) for key, (node, address) in PODS.items()],
        "daemonsets": [
            {
                "metadata": {"name": "calico-node", "namespace": "kube-system"},
                "spec": {
                    "template": {
                        "metadata": {"labels": {"k8s-app": "calico-node"}},
                        "spec": {"containers": [{"name": "calico-node", "env": [{"name": "IP", "value": "autodetect"}]}]},
                    }
                },
            }
        ],
        "deployments": [],
        "events": [],
        "ippools": [{"metadata": {"name": "pool"}, "spec": {"cidr": "10.253.0.0/16", "ipipMode": "Always", "vxlanMode": "Never"}}],
        "ipamblocks": [{"metadata": {}, "spec": {"cidr": cidr, "affinity": f"host:{node}"}} for node, cidr in BLOCKS.items()],
        "blockaffinities": [{"metadata": {}, "spec": {"cidr": cidr, "node": node, "state": "confirmed"}} for node, cidr in BLOCKS.items()],
        "bgpconfigurations": [],
        "bgppeers": [],
        "felixconfigurations": [],
        "clusterinformations": [],
        "namespaces": [{"metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}}],
        **{section: [] for section in POLICY},
    }


def route(dst: str, dev: str | None = None, **more: Json) -> dict[str, Json]:
    entry: dict[str, Json] = {"family": "inet", "table": 254, "type": "unicast", "dst": dst, "protocol": "boot", "scope": "global", "metric": 0, "flags": []}
    if dev:
        entry["dev"] = dev
    return {**entry, **more}


def link(index: int, name: str, **more: Json) -> dict[str, Json]:
    return {"ifindex": index, "ifname": name, "flags": ["UP", "LOWER_UP"], "mtu": 1480, "operstate": "UP", "address": "ee:ee:ee:ee:ee:ee", **more}


def node_document(name: str) -> dict[str, Json]:
    other = next(node for node in ADDRESSES if node != name)
    key = next(key for key, (node, _address) in PODS.items() if node == name)
    address, far = PODS[key][1], next(a for node, a in PODS.values() if node == other)
    cali = host_interface(*key.split("/"))
    settings = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/proxy_arp": "0"}
    settings.update({f"net/ipv4/conf/{device}/rp_filter": "0" for device in ("all", "eth0", "tunl0", cali)})
    settings.update({f"net/ipv4/conf/{cali}/{setting}": "1" for setting in ("forwarding", "proxy_arp")})
    return {
        "schema": "podnet.doctor/node/1",
        "host": name,
        "node": name,
        "seconds": 0.1,
        "identity": {"hostname": name},
        "links": [link(2, "eth0"), link(3, "tunl0"), link(9, cali)],
        "addresses": [
            {"ifname": "eth0", "family": "inet", "local": ADDRESSES[name], "prefixlen": 24},
            {"ifname": "tunl0", "family": "inet", "local": BLOCKS[name].replace(".0/26", ".0"), "prefixlen": 32},
        ],
        "routes": [
            route("0.0.0.0/0", "eth0", gateway="10.2.7.254"),
            route(BLOCKS[other], "tunl0", gateway=ADDRESSES[other], protocol="bird", flags=["onlink"]),
            route(BLOCKS[name], type="blackhole", protocol="bird"),
            route(f"{address}/32", cali, scope="link"),
        ],
        "rules": [],
        "neighbours": [],
        "sysctls": settings,
        "bird": {
            "ipv4": {
                "version": "1.6.8",
                "status": {"graceful_restart": None},
                "protocols": [
                    {
                        "name": f"Mesh_{other}", "proto": "BGP", "table": "master", "state": "up", "since": "10:00", "info": "Established",
                        "bgp": {"state": "Established", "neighbor_address": ADDRESSES[other]},
                    }
                ],
                "routes": [],
            }
        },
        "netfilter": {"iptables": [{"backend": "nft", "family": "inet", "text": "*filter\n:INPUT ACCEPT [9:9]\nCOMMIT\n"}], "nft": []},
        "counters": {"nf_conntrack": {"count": 12, "max": 65536}},
        "calico": {"felix": {"running": True}, "bird": {"running": True}},
        "sandboxes": [
            {
                "ifname": cali,
                "network": {
                    "links": [link(3, "eth0", address="4a:00:00:00:00:01")],
                    "addresses": [{"ifname": "eth0", "family": "inet", "local": address, "prefixlen": 32}],
                    "routes": [route("0.0.0.0/0", "eth0", gateway="169.254.1.1")],
                    "neighbours": [],
                },
            }
        ],
        "lookups": [
            {"dst": "169.254.1.1", "route": {"dst": "169.254.1.1/32", "gateway": "10.2.7.254", "dev": "eth0"}},
            {"dst": ADDRESSES[other], "route": {"dst": ADDRESSES[other], "dev": "eth0"}},
            {"dst": far, "src": address, "iif": cali, "route": {"gateway": ADDRESSES[other], "dev": "tunl0"}},
            {"dst": address, "route": {"dev": cali}},
        ],
    }  # fmt: skip


def documents(**changes: Json) -> Documents:
    """changes: node name -> function that changes that node's document in place; cluster -> the same for the cluster's."""
    cluster = cluster_document()
    if "cluster" in changes:
        changes.pop("cluster")(cluster)
    nodes = {}
    for name in ADDRESSES:
        document = copy.deepcopy(node_document(name))
        if name in changes:
            changes[name](document)
        nodes[name] = NodeFacts(name, document)
    return Documents(Cluster(cluster), nodes)


def diagnose(evidence: Json = None, **changes: Json) -> Diagnosis:
    found = documents(**changes)
    question = resolve(found.cluster, "shop/web-0", "shop/api-0", "tcp", 8080)
    return Diagnosis(question, Documents(found.cluster, found.nodes, Evidence(evidence)))


def probe(direction: str, arrived: bool | None, protocol: str = "tcp", **more: Json) -> dict[str, Json]:
    return {"direction": direction, "protocol": protocol, "answers_question": protocol == "tcp", "sent": 3, "replied": 3 if arrived else 0, "arrived": arrived,
            "hops": [], "back": [], **more}  # fmt: skip


def verdict(diagnosis: Diagnosis, kind: str, node: str, of: str = "") -> Json:
    return diagnosis.judged[FactId(kind, node, of)]


def named(diagnosis: Diagnosis) -> list[str]:
    return [cause.id for cause in diagnosis.causes]


def lost(section: str) -> Json:
    """A change that takes a section away."""

    def change(document: dict[str, Json]) -> None:
        document[section] = {"error": "Permission denied"}

    return change


def together(*changes: Json) -> Json:
    def change(document: dict[str, Json]) -> None:
        for one in changes:
            one(document)

    return change
