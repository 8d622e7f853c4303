# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small flannel cluster as documents, made by hand: three nodes, VXLAN or host-gw, two pods on the first and one on the second. See small.py."""

from __future__ import annotations

import copy
import json
import typing as t

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, Evidence, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.tests.unit import small

Json = t.Any
NODES = {"fl-1": ("192.0.2.11", "10.244.0", "0a:00:00:00:00:01"), "fl-2": ("192.0.2.12", "10.244.1", "0a:00:00:00:00:02"),
         "fl-3": ("192.0.2.13", "10.244.2", "0a:00:00:00:00:03")}  # fmt: skip
PODS = {"shop/web-0": ("fl-1", "10.244.0.2"), "shop/cron-0": ("fl-1", "10.244.0.3"), "shop/api-0": ("fl-2", "10.244.1.2")}
PREFIX = "flannel.alpha.coreos.com/"


def veth(key: str) -> str:
    return f"veth{key.partition('/')[2].replace('-', '')}"


def cluster_document(backend: str = "vxlan") -> dict[str, Json]:
    nodes = []
    for name, (address, net, mac) in NODES.items():
        data = json.dumps({"VNI": 1, "VtepMAC": mac}) if backend == "vxlan" else "null"
        annotations = {f"{PREFIX}backend-type": backend, f"{PREFIX}backend-data": data, f"{PREFIX}public-ip": address, f"{PREFIX}kube-subnet-manager": "true"}
        nodes.append({"metadata": {"name": name, "uid": name, "annotations": annotations}, "spec": {"podCIDRs": [f"{net}.0/24"]},
                      "status": {"addresses": [{"type": "InternalIP", "address": address}]}})  # fmt: skip
    return {
        "schema": "podnet.doctor/cluster/1",
        "narrowed": [],
        "calico_api": None,
        "nodes": nodes,
        "pods": [small.pod(key, node, address) for key, (node, address) in PODS.items()],
        "daemonsets": [
            {"metadata": {"name": "kube-flannel-ds", "namespace": "kube-flannel"}, "spec": {"template": {"metadata": {"labels": {"app": "flannel"}},
             "spec": {"containers": [{"name": "kube-flannel", "image": "ghcr.io/flannel-io/flannel:v0.28.0"}]}}}},
        ],
        "deployments": [],
        "configmaps": [{"metadata": {"name": "kube-flannel-cfg"}, "data": {"net-conf.json": json.dumps({"Backend": {"Type": backend}})}}],
        **{name: {"error": "the API serves no Calico resources"} for name in ("ippools", "ipamblocks", "blockaffinities", "bgpconfigurations")},
    }  # fmt: skip


def node_document(name: str, backend: str = "vxlan") -> dict[str, Json]:
    address, net, mac = NODES[name]
    gateway = f"{net}.1"
    links = [small.link(2, "eth0", address="52:54:00:00:00:01"), small.link(4, "cni0", address="0c:00:00:00:00:01", linkinfo={"info_kind": "bridge"})]
    addresses = [{"ifname": "eth0", "family": "inet", "local": address, "prefixlen": 24},
                 {"ifname": "cni0", "family": "inet", "local": gateway, "prefixlen": 24}]  # fmt: skip
    routes = [small.route("0.0.0.0/0", "eth0", gateway="192.0.2.1"), small.route(f"{net}.0/24", "cni0", protocol="kernel", scope="link", prefsrc=gateway)]
    neighbours, fdb, lookups = [], [], []
    if backend == "vxlan":
        info = {"info_kind": "vxlan", "info_data": {"id": 1, "local": address, "link": "eth0", "port": 8472, "learning": False}}
        links.append(small.link(3, "flannel.1", address=mac, linkinfo=info))
        addresses.append({"ifname": "flannel.1", "family": "inet", "local": f"{net}.0", "prefixlen": 32})
    for other, (far, far_net, far_mac) in NODES.items():
        if other == name:
            continue
        lookups.append({"dst": far, "route": {"dst": far, "dev": "eth0"}})
        if backend == "vxlan":
            routes.append(small.route(f"{far_net}.0/24", "flannel.1", gateway=f"{far_net}.0", flags=["onlink"]))
            neighbours.append({"family": "inet", "dst": f"{far_net}.0", "dev": "flannel.1", "lladdr": far_mac, "state": ["PERMANENT"]})
            fdb.append({"mac": far_mac, "ifname": "flannel.1", "dst": far, "state": "permanent", "flags": ["self"]})
        else:
            routes.append(small.route(f"{far_net}.0/24", "eth0", gateway=far))
    sandboxes = []
    for number, (key, (node, pod)) in enumerate(PODS.items()):
        for far_node, far_pod in (value for value in PODS.values() if value != (node, pod)):
            if node == name:
                dev = "cni0" if far_node == node else "flannel.1" if backend == "vxlan" else "eth0"
                hop = {} if far_node == node else {"gateway": f"{NODES[far_node][1]}.0" if backend == "vxlan" else NODES[far_node][0]}
                lookups.append({"dst": far_pod, "src": pod, "iif": "cni0", "route": {"dst": far_pod, "dev": dev, **hop}})
        if node != name:
            continue
        lookups.append({"dst": pod, "route": {"dst": pod, "dev": "cni0"}})
        port = {"info_kind": "veth", "info_slave_kind": "bridge", "info_slave_data": {"state": "forwarding"}}
        links.append(small.link(5 + number, veth(key), master="cni0", linkinfo=port, address=f"0e:00:00:00:00:0{number}"))
        pod_mac = f"4a:00:00:00:00:0{number}"
        neighbours.append({"family": "inet", "dst": pod, "dev": "cni0", "lladdr": pod_mac, "state": ["REACHABLE"]})
        sandboxes.append({
            "netns": 4026531900 + number, "nsid": number, "pids": [100 + number], "container_ids": [], "pod_uid": f"uid-{key.partition('/')[2]}",
            "ifname": veth(key),
            "network": {
                "links": [small.link(2, "eth0", address=pod_mac)],
                "addresses": [{"ifname": "eth0", "family": "inet", "local": pod, "prefixlen": 24}],
                "routes": [small.route("0.0.0.0/0", "eth0", gateway=gateway)],
                "neighbours": [{"family": "inet", "dst": gateway, "dev": "eth0", "lladdr": "0c:00:00:00:00:01", "state": ["REACHABLE"]}],
            },
        })  # fmt: skip
    env = {"FLANNEL_NETWORK": "10.244.0.0/16", "FLANNEL_SUBNET": f"{gateway}/24", "FLANNEL_MTU": "1450", "FLANNEL_IPMASQ": "true"}
    return {
        "schema": "podnet.doctor/node/1", "host": name, "node": name, "seconds": 0.1, "identity": {"hostname": name}, "links": links, "addresses": addresses,
        "routes": routes, "rules": [], "neighbours": neighbours, "fdb": fdb, "sysctls": {"net/ipv4/ip_forward": "1"},
        "netfilter": {"iptables": [{"backend": "nft", "family": "inet", "text": forward("ACCEPT")}], "nft": []},
        "counters": {"nf_conntrack": None},
        "conntrack": {"pairs": [[one, two] for _node, one in PODS.values() for _other, two in PODS.values()], "entries": [], "left_out": 0},
        "flannel": {"flanneld": {"running": True}, "subnet_env": env, "host_local": []}, "sandboxes": sandboxes, "lookups": lookups,
    }  # fmt: skip


def forward(policy: str, *rules: str) -> str:
    """The table filter as iptables-save prints it."""
    return "\n".join(["*filter", ":INPUT ACCEPT [0:0]", f":FORWARD {policy} [7:588]", ":OUTPUT ACCEPT [0:0]", ":FLANNEL-FWD - [0:0]", *rules, "COMMIT", ""])


def documents(backend: str = "vxlan", **changes: Json) -> Documents:
    """changes: node name with `_` for `-` -> function that changes that node's document in place; cluster -> the same for the cluster's."""
    cluster = cluster_document(backend)
    if "cluster" in changes:
        changes.pop("cluster")(cluster)
    nodes = {}
    for name in NODES:
        document = copy.deepcopy(node_document(name, backend))
        change = changes.pop(name.replace("-", "_"), None)
        if change is not None:
            change(document)
        nodes[name] = NodeFacts(name, document)
    assert not changes, f"no such node: {changes}"
    return Documents(Cluster(cluster), nodes)


def diagnose(source: str = "shop/web-0", destination: str = "shop/api-0", backend: str = "vxlan", evidence: Json = None, **changes: Json) -> Diagnosis:
    found = documents(backend, **changes)
    question = resolve(found.cluster, source, destination, "tcp", 8080)
    asked = {name: found.nodes[name] for name in question.nodes}
    return Diagnosis(question, Documents(found.cluster, asked, Evidence(evidence)))


def drop(section: str, **having: Json) -> Json:
    """A change that takes away the entries of a section that have all these values; there must be some."""

    def change(document: dict[str, Json]) -> None:
        kept = [entry for entry in document[section] if not all(entry.get(name) == value for name, value in having.items())]
        assert len(kept) < len(document[section]), f"nothing in {section} has {having}"
        document[section] = kept

    return change


def put(section: str, change_to: dict[str, Json], **having: Json) -> Json:
    """A change that updates the entries of a section that have all these values; there must be some."""

    def change(document: dict[str, Json]) -> None:
        found = [entry for entry in document[section] if all(entry.get(name) == value for name, value in having.items())]
        assert found, f"nothing in {section} has {having}"
        for entry in found:
            entry.update(change_to)

    return change


def annotate(node: str, **values: str) -> Json:
    """A change of the cluster document: annotations of flannel, with `_` for `-`."""

    def change(document: dict[str, Json]) -> None:
        mine = next(entry for entry in document["nodes"] if entry["metadata"]["name"] == node)
        mine["metadata"]["annotations"].update({PREFIX + name.replace("_", "-"): value for name, value in values.items()})

    return change
