"""The DaemonSet calico-node and its ConfigMap, shaped as Calico's own manifest."""

from __future__ import annotations

from lab.api.client import Json
from lab.api.objects import cni_network_config, image
from lab.plan import POOL, POOL6, Description

IPV6 = {"IP6": "autodetect", "CALICO_IPV6POOL_CIDR": POOL6, "CALICO_IPV6POOL_NAT_OUTGOING": "true"}


def _from_config(key: str) -> Json:
    return {"configMapKeyRef": {"name": "calico-config", "key": key}}


def environment(lab: Description) -> list[Json]:
    """The container's environment, in the manifest's order."""
    autodetection = (
        [] if lab.autodetection == "first-found" and not lab.operator else [{"name": "IP_AUTODETECTION_METHOD", "value": lab.autodetection}]
    )
    return [
        {"name": "DATASTORE_TYPE", "value": "kubernetes"},
        {"name": "WAIT_FOR_DATASTORE", "value": "true"},
        {"name": "NODENAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
        {"name": "CALICO_NETWORKING_BACKEND", "valueFrom": _from_config("calico_backend")},
        {"name": "CLUSTER_TYPE", "value": "k8s,bgp"},
        *([{"name": "IP", "value": "autodetect"}, *autodetection] if lab.calico.ipv4 else [{"name": "IP", "value": "none"}]),
        {"name": "AUTODETECT_POLL_INTERVAL", "value": f"{lab.monitor_interval:g}s"},
        {"name": "CALICO_IPV4POOL_IPIP", "value": lab.calico.ipip},
        {"name": "CALICO_IPV4POOL_VXLAN", "value": lab.calico.vxlan},
        {"name": "CALICO_IPV6POOL_VXLAN", "value": "Never"},
        {"name": "FELIX_IPINIPMTU", "valueFrom": _from_config("veth_mtu")},
        {"name": "FELIX_VXLANMTU", "valueFrom": _from_config("veth_mtu")},
        {"name": "FELIX_WIREGUARDMTU", "valueFrom": _from_config("veth_mtu")},
        {"name": "CALICO_IPV4POOL_CIDR", "value": POOL},
        {"name": "CALICO_DISABLE_FILE_LOGGING", "value": "true"},
        {"name": "FELIX_DEFAULTENDPOINTTOHOSTACTION", "value": "ACCEPT"},
        {"name": "FELIX_IPV6SUPPORT", "value": str(lab.calico.ipv6).lower()},
        *({"name": name, "value": value} for name, value in IPV6.items() if lab.calico.ipv6),
        {"name": "FELIX_HEALTHENABLED", "value": "true"},
    ]


def config_map(lab: Description) -> Json:
    """calico-config."""
    data = {
        "calico_backend": lab.calico.backend,
        "cni_network_config": cni_network_config(lab),
        "typha_service_name": "none",
        "veth_mtu": "0",
    }
    meta = {"name": "calico-config", "namespace": lab.calico.agent.namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def _probe(lab: Description, kind: str) -> Json:
    parts = ["felix", "bird"] if lab.calico.bird else ["felix"]
    if lab.calico.templates == "v3.32":
        command = ["/bin/calico-node", *(f"-{part}-{kind}" for part in parts)]
    else:
        command = ["calico", "component", "node", "health", *(f"--{part}-{kind}" for part in parts)]
    return {"exec": {"command": command}, "periodSeconds": 10, "timeoutSeconds": 10}


def daemonset(lab: Description) -> Json:
    """The DaemonSet calico-node."""
    labels = {"k8s-app": "calico-node"}
    volumes = {
        "var-run-calico": "/var/run/calico",
        "var-lib-calico": "/var/lib/calico",
        "cni-net-dir": "/etc/cni/net.d",
        "cni-log-dir": "/var/log/calico/cni",
        "lib-modules": "/lib/modules",
        "xtables-lock": "/run/xtables.lock",
    }
    container = {
        "name": "calico-node",
        "image": image(lab, "calico-node"),
        "env": environment(lab),
        "resources": {"requests": {"cpu": "250m"}},
        "livenessProbe": _probe(lab, "live"),
        "readinessProbe": _probe(lab, "ready"),
        "securityContext": {"privileged": True},
        "volumeMounts": [
            {"name": name, "mountPath": "/host/etc/cni/net.d" if name == "cni-net-dir" else path}
            for name, path in volumes.items()
        ],
    }
    install = {
        "name": "install-cni",
        "image": f"quay.io/calico/cni:{lab.calico.version}",
        "command": ["/opt/cni/bin/install"],
        "env": [{"name": "CNI_NETWORK_CONFIG", "valueFrom": _from_config("cni_network_config")}],
        "volumeMounts": [{"name": "cni-net-dir", "mountPath": "/host/etc/cni/net.d"}],
    }
    spec = {
        "hostNetwork": True,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 0,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [
            {"operator": "Exists", "effect": "NoSchedule"},
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
            {"operator": "Exists", "effect": "NoExecute"},
        ],
        "priorityClassName": "system-node-critical",
        "initContainers": [install],
        "containers": [container],
        "volumes": [{"name": name, "hostPath": {"path": path, "type": ""}} for name, path in volumes.items()],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": lab.calico.agent.namespace, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
