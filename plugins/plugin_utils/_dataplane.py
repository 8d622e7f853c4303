# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what a node runs that this version has no model of, and which facts cannot be judged there because of it.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ._cluster import Cluster, Pod
from ._json import Json, NotCollected, as_mapping, objects

OS_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")
# Felix's programs forward between pod and host interfaces by themselves, with a source check of their own (felix/bpf, FELIX_BPFENABLED)
EBPF = frozenset({"fib", "underlay.source", "sysctl.forwarding", "sysctl.ip_forward", "policy"})
# packets for pods of other nodes leave through wireguard.cali, by a rule and a table of their own (felix/wireguard)
WIREGUARD = frozenset({"fib", "underlay.source", "route.block", "tunnel.device", "tunnel.address", "vxlan.neighbour", "vxlan.fdb", "policy"})


@dataclass(frozen=True)
class Unmodelled:
    """kinds: the facts that cannot be judged; None: none of the node's facts can."""

    reason: str
    kinds: frozenset[str] | None

    def covers(self, kind: str) -> bool:
        return self.kinds is None or kind in self.kinds


def felix_setting(cluster: Cluster, node: str, name: str) -> Json:
    """A setting of Felix on one node: the environment wins over the node's own FelixConfiguration, that over the default one."""
    value = _environment(cluster, node).get(f"FELIX_{name.upper()}")
    if value is not None:
        return value
    specs = {str(as_mapping(raw.get("metadata")).get("name")): as_mapping(raw.get("spec")) for raw in cluster.section("felixconfigurations")}
    return next((spec[name] for spec in (specs.get(f"node.{node}", {}), specs.get("default", {})) if name in spec), None)


def _environment(cluster: Cluster, node: str) -> Mapping[str, str]:
    """Of calico-node: its DaemonSet's; where that was not read, its pod's on this node."""
    try:
        return cluster.calico_environment
    except NotCollected:
        found = cluster.once("environments of calico-node", lambda: _environments_of_pods(cluster)).get(node)
        if found is None:
            raise
        return found


def _environments_of_pods(cluster: Cluster) -> dict[str, Mapping[str, str]]:
    result: dict[str, Mapping[str, str]] = {}
    for raw in cluster.section("pods"):
        spec = as_mapping(raw.get("spec"))
        for container in objects(spec.get("containers")):
            if container.get("name") == "calico-node" and as_mapping(as_mapping(raw.get("metadata")).get("labels")).get("k8s-app") in ("calico-node", "canal"):
                values = {str(entry.get("name")): entry["value"] for entry in objects(container.get("env")) if isinstance(entry.get("value"), str)}
                result[str(spec.get("nodeName"))] = values
    return result


def _on(value: Json) -> bool:
    return str(value).lower() in ("true", "t", "1", "yes", "y", "enabled")


def unmodelled(cluster: Cluster, node: str) -> list[Unmodelled]:
    """Errors: NotCollected where the API did not tell."""
    found = []
    known = cluster.nodes.get(node)
    if known is not None and "windows" in {known.labels.get(label) for label in OS_LABELS}:
        found.append(Unmodelled("it is a Windows node, which this version cannot judge", None))
    if _on(felix_setting(cluster, node, "bpfEnabled")):
        found.append(Unmodelled("Felix runs its eBPF dataplane (bpfEnabled), which this version cannot judge", EBPF))
    if any(_on(felix_setting(cluster, node, name)) for name in ("wireguardEnabled", "wireguardEnabledV6")):
        found.append(Unmodelled("Calico encrypts with WireGuard (wireguardEnabled), whose routes this version cannot judge", WIREGUARD))
    return found


def typha_service(cluster: Cluster) -> str:
    """The Service by which Felix finds Typha, "" where it asks the API itself. Errors: NotCollected."""
    name = cluster.calico_environment.get("FELIX_TYPHAK8SSERVICENAME") or "none"
    return "" if name == "none" else name


def typha_pods(cluster: Cluster) -> list[Pod]:
    """Errors: NotCollected."""
    return [pod for pod in cluster.pods.values() if pod.labels.get("k8s-app") == "calico-typha"]
