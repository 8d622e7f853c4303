# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""API objects reduced to the fields that the diagnosis uses.

The shape of the API is kept and absent fields stay absent. Values of environment variables are kept only for settings of
Calico's own containers, annotations only of known owners, so no secret of a workload enters a document.
Every function is total: what is not an object is reduced to an empty one.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import typing as t

Object = dict[str, t.Any]
ConfigMaps = t.Mapping[tuple[str, str], t.Mapping[str, str]]  # (namespace, name) -> data


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


METADATA = ("name", "namespace", "uid", "labels", "ownerReferences", "creationTimestamp", "deletionTimestamp", "generation")
ANNOTATIONS = ("projectcalico.org/", "cni.projectcalico.org/", "flannel.alpha.coreos.com/", "kubernetes.io/config.", "kubernetes.io/ingress-bandwidth")
CALICO_METADATA = "projectcalico.org/metadata"
ENVIRONMENT = ("CALICO_", "FELIX_", "IP_AUTODETECTION_METHOD", "IP6_AUTODETECTION_METHOD", "CNI_")
ENVIRONMENT_NAMES = frozenset(
    _words("IP IP6 NODENAME AUTODETECT_POLL_INTERVAL CLUSTER_TYPE USE_POD_CIDR DATASTORE_TYPE AS NO_DEFAULT_POOLS ENABLED_CONTROLLERS")
)
NEVER = ("PASSWORD", "TOKEN", "SECRET", "CREDENTIAL", "CNI_NETWORK_CONFIG", "PASSPHRASE")

# kind -> {part -> fields}; a part that maps to None is kept whole
FIELDS: dict[str, dict[str, tuple[str, ...] | None]] = {
    "nodes": {
        "spec": ("podCIDR", "podCIDRs", "providerID", "taints", "unschedulable"),
        "status": ("addresses", "conditions", "nodeInfo"),
    },
    "services": {
        "spec": _words(
            "type clusterIP clusterIPs externalIPs externalName externalTrafficPolicy healthCheckNodePort internalTrafficPolicy ipFamilies "
            "ipFamilyPolicy loadBalancerClass loadBalancerIP loadBalancerSourceRanges ports publishNotReadyAddresses selector sessionAffinity "
            "sessionAffinityConfig trafficDistribution"
        ),
        "status": ("loadBalancer",),
    },
    "endpointslices": {"addressType": None, "endpoints": None, "ports": None},
    "namespaces": {"status": ("phase",)},
    "events": {"type": None, "reason": None, "message": None, "involvedObject": ("kind", "namespace", "name", "uid"), "source": None, "lastTimestamp": None},
    "configmaps": {"data": ("net-conf.json", "Corefile")},
    "serviceaccounts": {},
    "ipamblocks": {
        "spec": ("cidr", "affinity", "affinityClaimTime", "allocations", "attributes", "unallocated", "deleted", "strictAffinity", "sequenceNumber"),
    },
    "bgppeers": {
        "spec": _words(
            "asNumber failureDetectionMode filters keepOriginalNextHop localASNumber localWorkloadSelector maxRestartTime nextHopMode node nodeSelector "
            "numAllowedLocalASNumbers peerIP peerSelector reachableBy reversePeering sourceAddress ttlSecurity"
        ),
    },
    "deployments": {},
    "daemonsets": {},
    "pods": {},
}
CALICO = frozenset(
    _words(
        "ippools ipamblocks blockaffinities ipamhandles ipamconfigs ipamconfigurations bgpconfigurations bgppeers bgpfilters felixconfigurations "
        "clusterinformations hostendpoints globalnetworkpolicies calico_networkpolicies networksets globalnetworksets tiers ipreservations "
        "kubecontrollersconfigurations caliconodestatuses"
    )
)
POD_STATUS = (
    "phase",
    "reason",
    "message",
    "podIP",
    "podIPs",
    "hostIP",
    "hostIPs",
    "startTime",
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
)
POD_SPEC = ("nodeName", "hostNetwork", "serviceAccountName", "dnsPolicy", "dnsConfig", "terminationGracePeriodSeconds", "nodeSelector", "priorityClassName")
STATUS = ("name", "ready", "started", "restartCount", "containerID", "imageID", "state", "lastState")
CONTAINER = ("name", "image", "imagePullPolicy", "command", "args", "ports")
WORKLOAD = ("replicas", "selector", "updateStrategy", "strategy", "minReadySeconds", "paused")


def _some(value: t.Any, names: t.Iterable[str]) -> Object:
    if not isinstance(value, dict):
        return {}
    return {name: value[name] for name in names if value.get(name) is not None}


def _dicts(value: t.Any) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def metadata(value: t.Any) -> Object:
    """The fields of ``metadata``; Calico's own copy of labels, kept in an annotation of its v1 resources, is merged in."""
    result = _some(value, METADATA)
    annotations = value.get("annotations") if isinstance(value, dict) else None
    if not isinstance(annotations, dict):
        return result
    kept = {name: text for name, text in annotations.items() if isinstance(name, str) and isinstance(text, str) and name.startswith(ANNOTATIONS)}
    if CALICO_METADATA in kept:
        own = _own_metadata(kept.pop(CALICO_METADATA))
        if own.get("labels"):
            result["labels"] = {**own["labels"], **(result.get("labels") or {})}
        if own:
            kept[CALICO_METADATA] = json.dumps(own, sort_keys=True)
    if kept:
        result["annotations"] = kept
    return result


def _own_metadata(text: str) -> Object:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    own = _some(data, ("name", "namespace", "uid", "labels"))
    if not isinstance(own.get("labels"), dict):
        own.pop("labels", None)
    return own


def _is_calico(container: Object) -> bool:
    return any("calico" in str(container.get(name, "")) or "canal" in str(container.get(name, "")) for name in ("name", "image"))


def is_flannel(workload: Object) -> bool:
    """Whether a DaemonSet runs flanneld."""
    spec = (((workload.get("spec") or {}).get("template") or {}).get("spec")) or {}
    return any("flannel" in str(container.get(name, "")) for container in _dicts(spec.get("containers")) for name in ("name", "image"))


def _environment(container: Object, namespace: str, configmaps: ConfigMaps) -> list[Object]:
    result = []
    for entry in _dicts(container.get("env")):
        name = entry.get("name")
        if not isinstance(name, str) or any(word in name for word in NEVER):
            continue
        if name not in ENVIRONMENT_NAMES and not name.startswith(ENVIRONMENT):
            continue
        kept: Object = {"name": name}
        if isinstance(entry.get("value"), str):
            kept["value"] = entry["value"]
        source = entry.get("valueFrom")
        if isinstance(source, dict):
            kept["valueFrom"] = _some(source, ("fieldRef", "configMapKeyRef"))
            reference = source.get("configMapKeyRef")
            if isinstance(reference, dict):
                value = configmaps.get((namespace, str(reference.get("name"))), {}).get(str(reference.get("key")))
                if isinstance(value, str):
                    kept["value"] = value
        result.append(kept)
    return result


def _container(container: Object, namespace: str, configmaps: ConfigMaps) -> Object:
    if not _is_calico(container):
        return _some(container, ("name", "image", "ports"))
    result = _some(container, CONTAINER)
    environment = _environment(container, namespace, configmaps)
    if environment:
        result["env"] = environment
    return result


def _pod_spec(spec: t.Any, namespace: str, configmaps: ConfigMaps) -> Object:
    result = _some(spec, POD_SPEC)
    if not isinstance(spec, dict):
        return result
    for name in ("initContainers", "containers"):
        containers = [_container(container, namespace, configmaps) for container in _dicts(spec.get(name))]
        if containers:
            result[name] = containers
    volumes = [_some(volume, ("name", "hostPath")) for volume in _dicts(spec.get("volumes")) if isinstance(volume.get("hostPath"), dict)]
    if volumes:
        result["volumes"] = volumes
    return result


def _pod_status(status: t.Any) -> Object:
    result = _some(status, POD_STATUS)
    for name in ("containerStatuses", "initContainerStatuses"):
        if name in result:
            result[name] = [_some(entry, STATUS) for entry in _dicts(result[name])]
    return result


def _workload_spec(spec: t.Any, namespace: str, configmaps: ConfigMaps) -> Object:
    result = _some(spec, WORKLOAD)
    template = spec.get("template") if isinstance(spec, dict) else None
    if isinstance(template, dict):
        result["template"] = {
            "metadata": _some(template.get("metadata"), ("labels",)),
            "spec": _pod_spec(template.get("spec"), namespace, configmaps),
        }
    return result


def reduce(kind: str, obj: t.Any, configmaps: ConfigMaps | None = None) -> Object:
    """One object of the section or resource ``kind`` (its plural name), reduced.

    ``configmaps`` is ``{(namespace, name): data}``; what a ``configMapKeyRef`` of Calico's settings points at is taken from it.
    """
    if not isinstance(obj, dict):
        return {}
    known = configmaps or {}
    result: Object = {"metadata": metadata(obj.get("metadata"))}
    namespace = str(result["metadata"].get("namespace", ""))
    if kind == "pods":
        result["spec"] = _pod_spec(obj.get("spec"), namespace, known)
        result["status"] = _pod_status(obj.get("status"))
        return result
    if kind in ("daemonsets", "deployments", "statefulsets", "replicasets"):
        result["spec"] = _workload_spec(obj.get("spec"), namespace, known)
        if isinstance(obj.get("status"), dict):
            result["status"] = {name: value for name, value in obj["status"].items() if name != "conditions"}
        return result
    for part, names in FIELDS.get(kind, {"spec": None, "status": None} if kind in CALICO else {"spec": None}).items():
        if obj.get(part) is not None:
            result[part] = obj[part] if names is None else _some(obj[part], names)
    return result


def references(kind: str, obj: t.Any) -> set[tuple[str, str]]:
    """The ConfigMaps, as ``(namespace, name)``, that Calico's settings in this object point at."""
    found: set[tuple[str, str]] = set()
    if kind not in ("daemonsets", "deployments"):
        return found
    reduced = reduce(kind, obj)
    template = reduced["spec"].get("template", {}).get("spec", {}) if reduced else {}
    for name in ("initContainers", "containers"):
        for container in template.get(name, []):
            for entry in container.get("env", []):
                reference = entry.get("valueFrom", {}).get("configMapKeyRef")
                if isinstance(reference, dict) and isinstance(reference.get("name"), str):
                    found.add((str(reduced["metadata"].get("namespace", "")), reference["name"]))
    return found


def services_in_rules(policy: t.Any) -> set[tuple[str, str]]:
    """The Services, as ``(namespace, name)``, that the rules of a policy of Calico name."""
    found: set[tuple[str, str]] = set()
    spec, place = (policy.get("spec"), policy.get("metadata")) if isinstance(policy, dict) else (None, None)
    own = place.get("namespace") if isinstance(place, dict) else None
    for way in ("ingress", "egress"):
        for rule in _dicts(spec.get(way) if isinstance(spec, dict) else None):
            for end in ("source", "destination"):
                entity = rule.get(end)
                service = entity.get("services") if isinstance(entity, dict) else None
                if isinstance(service, dict) and isinstance(service.get("name"), str):
                    namespace = service.get("namespace") or own
                    if isinstance(namespace, str) and namespace:
                        found.add((namespace, service["name"]))
    return found
