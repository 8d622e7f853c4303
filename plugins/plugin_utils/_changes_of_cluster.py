# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what of the cluster document is compared with an earlier one.

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ._changes import Change, Thing, Things, told
from ._cluster import Cluster
from ._json import Json, as_mapping, objects

UNREADY_KINDS = ("NetworkUnavailable", "Ready")
CALICOS_NOTES = ("projectcalico.org/", "flannel.alpha.coreos.com/", "cni.projectcalico.org/")
# The sections of the cluster document whose objects are settings, and the word for one of them. Of the others, pods and events are looked at by themselves.
SETTINGS = {
    "ippools": "IPPool", "blockaffinities": "BlockAffinity", "bgpconfigurations": "BGPConfiguration", "bgppeers": "BGPPeer",
    "felixconfigurations": "FelixConfiguration", "clusterinformations": "ClusterInformation", "networkpolicies": "NetworkPolicy",
    "calico_networkpolicies": "NetworkPolicy of Calico", "globalnetworkpolicies": "GlobalNetworkPolicy", "tiers": "Tier", "networksets": "NetworkSet",
    "globalnetworksets": "GlobalNetworkSet", "hostendpoints": "HostEndpoint", "daemonsets": "DaemonSet", "configmaps": "ConfigMap",
    "clusternetworkpolicies": "ClusterNetworkPolicy", "services": "Service", "ipamblocks": "IPAMBlock",
}  # fmt: skip
UNTOLD_FIELDS = {"ipamblocks": ("spec.allocations", "spec.attributes", "spec.unallocated", "spec.sequenceNumber", "spec.sequenceNumberForAllocation")}


def _leaves(value: Json, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{place}]")
    else:
        yield path, told(value)


def _metadata(raw: Mapping[str, Json]) -> tuple[str, Mapping[str, Json]]:
    metadata = as_mapping(raw.get("metadata"))
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata.get('name')}" if namespace else str(metadata.get("name")), metadata


def moment_of(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def settings(cluster: Cluster, section: str) -> Things:
    found = {}
    for raw in cluster.section(section):
        name, metadata = _metadata(raw)
        untold = UNTOLD_FIELDS.get(section, ())
        values = {path: text for path, text in _leaves(raw.get("spec") or raw.get("data"), "spec") if not path.startswith(untold)}
        if metadata.get("deletionTimestamp"):
            values["being deleted since"] = told(metadata["deletionTimestamp"])
        found[f"{SETTINGS[section]} {name}"] = Thing(values, at=moment_of(metadata.get("creationTimestamp")))
    return found


def nodes(cluster: Cluster) -> Things:
    found = {}
    for raw in cluster.section("nodes"):
        name, metadata = _metadata(raw)
        notes = {str(key): told(value) for key, value in as_mapping(metadata.get("annotations")).items() if str(key).startswith(CALICOS_NOTES)}
        status = as_mapping(raw.get("status"))
        places = {f"address {a.get('type')}": told(a.get("address")) for a in objects(status.get("addresses"))}
        found[f"Node {name}"] = Thing({**notes, **places, **dict(_leaves(raw.get("spec") or {}, "spec"))}, at=moment_of(metadata.get("creationTimestamp")))
        for condition in objects(status.get("conditions")):
            if condition.get("type") in UNREADY_KINDS:
                state = Thing({"": told(condition.get("status"))}, at=moment_of(condition.get("lastTransitionTime")))
                found[f"Node {name} condition {condition['type']}"] = state
    return found


def pods(cluster: Cluster, asked: frozenset[str]) -> Things:
    found = {}
    for raw in cluster.section("pods"):
        name, metadata = _metadata(raw)
        if name not in asked:
            continue
        status, spec = as_mapping(raw.get("status")), as_mapping(raw.get("spec"))
        places = {"uid": metadata.get("uid"), "node": spec.get("nodeName"), "address": status.get("podIP"), "phase": status.get("phase")}
        values = {key: told(value) for key, value in places.items()}
        values.update({f"label {key}": told(value) for key, value in as_mapping(metadata.get("labels")).items()})
        found[f"Pod {name}"] = Thing(values, at=moment_of(metadata.get("creationTimestamp")))
        for container in objects(status.get("containerStatuses")):
            at = moment_of(as_mapping(as_mapping(container.get("state")).get("running")).get("startedAt"))
            words = {"": "ready" if container.get("ready") else "not ready", "restarts": told(container.get("restartCount"))}
            found[f"Pod {name} container {container.get('name')}"] = Thing(words, at=at, again="was started again")
    return found


def events(cluster: Cluster, after: Json) -> Iterator[Change]:
    for raw in cluster.section("events"):
        at = moment_of(raw.get("lastTimestamp"))
        if at is not None and isinstance(after, str) and at > after:
            about = as_mapping(raw.get("involvedObject"))
            name = f"event {raw.get('reason')} of {about.get('namespace')}/{about.get('name')}"
            yield Change(at, None, "events", name, None, told(raw.get("message")))
