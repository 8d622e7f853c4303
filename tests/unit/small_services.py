# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Service before the pods of the small cluster, and kube-proxy's rules for it."""

from __future__ import annotations

import typing as t

Json = t.Any
ADDRESS = "10.96.0.7"
END = ("10.253.2.7", "k8s02")


def service(name: str = "api", ends: t.Sequence[tuple[str, str]] = (END,), **spec: Json) -> Json:
    """A change of the cluster document: shop/api, tcp/80 to port 8080 of api-0."""

    def change(cluster: dict[str, Json]) -> None:
        whole = {"type": "ClusterIP", "clusterIP": ADDRESS, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], "selector": {"app": "api"}, **spec}
        cluster["services"] = [{"metadata": {"namespace": "shop", "name": name}, "spec": whole}]
        endpoints(*ends)(cluster)

    return change


def endpoints(*ends: tuple[str, str], ready: bool = True, port: int = 8080) -> Json:
    """A change of the cluster document: (address, node) of each endpoint."""

    def change(cluster: dict[str, Json]) -> None:
        found = [{"addresses": [address], "nodeName": node, "conditions": {"ready": ready}} for address, node in ends]
        metadata = {"namespace": "shop", "name": "api-x1", "labels": {"kubernetes.io/service-name": "api"}}
        cluster["endpointslices"] = [{"metadata": metadata, "addressType": "IPv4", "endpoints": found, "ports": [{"name": "http", "port": port}]}]

    return change


def rules(*ends: str, more: t.Sequence[str] = (), filters: t.Sequence[str] = ()) -> Json:
    """A change of a node document: kube-proxy's nat table for the Service, in the form of iptables-save. ends: address:port."""
    chances = [f"-A KUBE-SVC-API -m statistic --mode random --probability {1 / (len(ends) - at):.11f} -j KUBE-SEP-{at}" for at in range(len(ends) - 1)]
    lines = [
        "-A PREROUTING -j KUBE-SERVICES",
        *([f"-A KUBE-SERVICES -d {ADDRESS}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-API"] if ends else []),
        *chances,
        *([f"-A KUBE-SVC-API -j KUBE-SEP-{len(ends) - 1}"] if ends else []),
        *(f"-A KUBE-SEP-{at} -p tcp -m tcp -j DNAT --to-destination {end}" for at, end in enumerate(ends)),
        *more,
    ]
    chains = sorted({"KUBE-SERVICES", *(line.split()[1] for line in lines)} - {"PREROUTING", "POSTROUTING"})
    heads = [":PREROUTING ACCEPT [0:0]", ":POSTROUTING ACCEPT [0:0]", *(f":{chain} - [0:0]" for chain in chains)]
    text = "\n".join(["*nat", *heads, *lines, "COMMIT", "*filter", ":FORWARD ACCEPT [0:0]", ":KUBE-SERVICES - [0:0]", *filters, "COMMIT", ""])

    def change(document: dict[str, Json]) -> None:
        document["netfilter"] = {"iptables": [{"backend": "nft", "family": "inet", "text": text}], "nft": [], "ipsets": []}

    return change


def tried(outcome: str, *ends: str) -> Json:
    """A change of a node document: connections that were tried. ends: address:port."""

    def change(document: dict[str, Json]) -> None:
        for end in ends:
            address, _colon, port = end.partition(":")
            entry = {"dst": address, "port": int(port), "protocol": "tcp", "outcome": outcome, "netns_of": "uid-web-0"}
            document.setdefault("reachability", []).append(entry)

    return change


def listens(*ports: int) -> Json:
    """A change of a node document: what its pod listens on."""

    def change(document: dict[str, Json]) -> None:
        found = [{"family": "inet", "address": "0.0.0.0", "port": port, "protocol": "tcp"} for port in ports]
        document["sandboxes"][0]["network"]["listeners"] = found

    return change
