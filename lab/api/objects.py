"""The objects that a cluster like the lab has in its API, as Kubernetes and Calico write them."""

from __future__ import annotations

import hashlib
import json
import platform
import time

from lab.api.client import Json
from lab.plan import DNS_ADDRESS, Description, Node, Pod, hashed

OWNERS = {
    "web": "StatefulSet", "api": "StatefulSet", "cart": "Deployment", "coredns": "Deployment", "calico-typha": "Deployment",
    "calico-kube-controllers": "Deployment",
}  # fmt: skip
NOT_SET_UP = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "5c0c": plugin type="calico" failed (add): '
)
NAMESPACE = {"web": "shop", "api": "shop", "cart": "shop", "probe": "ops"}
IMAGES = {
    "web": "registry.example.com/shop/web:1.4.2",
    "api": "registry.example.com/shop/api:2.0.1",
    "cart": "registry.example.com/shop/cart:0.7.3",
    "probe": "registry.example.com/ops/probe:0.9.0",
    "coredns": "registry.k8s.io/coredns/coredns:v1.12.4",
    "calico-kube-controllers": "quay.io/calico/kube-controllers",
    "calico-node": "quay.io/calico/node",
    "calico-typha": "quay.io/calico/typha",
}
CNI_CONFIG = """{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "calico",
      "log_level": "info",
      "log_file_path": "/var/log/calico/cni/cni.log",
      "datastore_type": "kubernetes",
      "nodename": "__KUBERNETES_NODE_NAME__",
      "mtu": __CNI_MTU__,
      "ipam": {
          "type": "calico-ipam"
      },
      "policy": {
          "type": "k8s"
      },
      "kubernetes": {
          "kubeconfig": "__KUBECONFIG_FILEPATH__"
      }
    },
    {
      "type": "portmap",
      "snat": true,
      "capabilities": {"portMappings": true}
    }
  ]
}"""


def cni_network_config(lab: Description) -> str:
    """The CNI configuration in the ConfigMap."""
    one = '"type": "calico-ipam"'
    return CNI_CONFIG.replace(one, f'{one}, "assign_ipv4": "true", "assign_ipv6": "true"') if lab.calico.ipv6 else CNI_CONFIG


def image(lab: Description, app: str) -> str:
    """The image of an app; Calico's have the version that the mode wants."""
    name = IMAGES[app]
    return f"{name}:{lab.calico.version}" if name.startswith("quay.io/calico/") else name


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def labels_of(app: str) -> dict[str, str]:
    """The labels that a pod's controller selects by."""
    if app in ("coredns", "calico-node", "calico-kube-controllers", "calico-typha"):
        return {"k8s-app": "kube-dns" if app == "coredns" else app}
    return {"app": app}


def node(lab: Description, item: Node) -> Json:
    """A Node as kubelet registers it; Calico's annotations come from calico-node."""
    stamp = now()

    def condition(kind: str, status: str, reason: str, message: str) -> Json:
        return {
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": stamp, "lastTransitionTime": stamp,
        }

    annotations = {"node.alpha.kubernetes.io/ttl": "0"}
    labels = {"kubernetes.io/arch": "amd64", "kubernetes.io/hostname": item.name, "kubernetes.io/os": "linux"}
    if item.reflector:
        annotations["projectcalico.org/RouteReflectorClusterID"] = "244.0.0.1"
        labels["route-reflector"] = "true"
    resources = {"cpu": "4", "memory": "8129420Ki", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": item.name,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {"podCIDR": item.block, "podCIDRs": [item.block]} if lab.calico.flannel else {},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in item.addresses),
                {"type": "Hostname", "address": item.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": item.machine_id,
                "systemUUID": item.system_uuid,
                "bootID": "",
                "kernelVersion": platform.release(),
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "containerRuntimeVersion": "containerd://1.7.27",
                "kubeletVersion": "v1.34.4",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
        },
    }


def metadata(name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Json:
    meta: Json = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    if labels:
        meta["labels"] = labels
    return meta


def pod(lab: Description, item: Pod, owner: Json) -> Json:
    """A pod with a sandbox of its own, bound to its node. Its status is another object: `status`."""
    if item.app == "coredns":
        ports: list[Json] = [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ]
    else:
        ports = [{"name": "http", "containerPort": item.port, "protocol": "TCP"}]
    labels = labels_of(item.app)
    if owner["kind"] == "ReplicaSet":
        labels["pod-template-hash"] = owner["metadata"]["name"].rpartition("-")[2]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **metadata(item.name, item.namespace, labels),
            **({"annotations": {
                "cni.projectcalico.org/containerID": item.sandbox,
                "cni.projectcalico.org/podIP": item.prefixes[0],
                "cni.projectcalico.org/podIPs": ",".join(item.prefixes),
            }} if lab.calico.backend else {}),
            "ownerReferences": [reference(owner)],
        },
        "spec": {
            "containers": [
                {
                    "name": item.app,
                    "image": image(lab, item.app),
                    "ports": ports,
                    "resources": {"requests": {"cpu": "50m"}},
                }
            ],
            "nodeName": item.node,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 1,
            "enableServiceLinks": True,
            "tolerations": [{"operator": "Exists"}],
        },
    }


REVISION = "controller-revision-hash"


def revision(template: Json) -> str:
    """By which the pods of a DaemonSet's template are told from those of another one."""
    return hashed(json.dumps(template, sort_keys=True))


def sandbox_failed(item: Json, said: str, count: int = 1) -> Json:
    """The Event that kubelet writes where the CNI plugin does not set a pod up."""
    meta, moment = item["metadata"], now()
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": f"{meta['name']}.17c0", "namespace": meta["namespace"]}, "involvedObject": about,
        "reason": "FailedCreatePodSandBox", "message": f"{NOT_SET_UP}{said}", "type": "Warning",
        "source": {"component": "kubelet", "host": item["spec"]["nodeName"]}, "firstTimestamp": moment, "lastTimestamp": moment, "count": count,
    }  # fmt: skip


def calico_node_pod(item: Node, name: str, owner: Json) -> Json:
    """The pod of the DaemonSet on one node."""
    template = owner["spec"]["template"]
    labels = {**template["metadata"]["labels"], REVISION: revision(template)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **metadata(name, owner["metadata"]["namespace"], labels),
            "generateName": "calico-node-",
            "ownerReferences": [reference(owner)],
        },
        "spec": {**template["spec"], "nodeName": item.name},
    }


def status(host: Node, addresses: list[str], container: str, image: str, name: str) -> Json:
    """The status of a running pod."""
    stamp = now()
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "status": {
            "phase": "Running",
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": stamp} for kind in kinds],
            "hostIP": host.addresses[0],
            "hostIPs": [{"ip": host.addresses[0]}],
            "podIP": addresses[0],
            "podIPs": [{"ip": address} for address in addresses],
            "startTime": stamp,
            "containerStatuses": [
                {
                    "name": name,
                    "state": {"running": {"startedAt": stamp}},
                    "lastState": {},
                    "ready": True,
                    "restartCount": 0,
                    "image": image,
                    "imageID": f"{image}@sha256:{hashlib.sha256(image.encode()).hexdigest()}",
                    "containerID": f"containerd://{container}",
                    "started": True,
                }
            ],
        }
    }


def reference(owner: Json) -> Json:
    """An ownerReference."""
    return {
        "apiVersion": owner.get("apiVersion", "apps/v1"),
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller(lab: Description, app: str, count: int) -> Json:
    """The Deployment, StatefulSet or DaemonSet of an app."""
    labels = labels_of(app)
    kind = OWNERS.get(app, "DaemonSet")
    container: Json = {"name": app, "image": image(lab, app)}
    if app == "calico-kube-controllers":
        values = {"ENABLED_CONTROLLERS": "node,loadbalancer", "DATASTORE_TYPE": "kubernetes"}
        container["env"] = [{"name": key, "value": value} for key, value in values.items()]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec: Json = {"selector": {"matchLabels": labels}, "template": template}
    if kind in ("Deployment", "StatefulSet"):
        spec["replicas"] = count
    if kind == "StatefulSet":  # its pods keep their names
        spec["serviceName"] = app
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": metadata(app, NAMESPACE.get(app, "kube-system"), labels),
        "spec": spec,
    }


def replicaset(app: str, deployment: Json, count: int) -> Json:
    """The ReplicaSet of a Deployment."""
    ending = hashed(app)
    labels = {**labels_of(app), "pod-template-hash": ending}
    meta = metadata(f"{app}-{ending}", NAMESPACE.get(app, "kube-system"), labels)
    template = {**deployment["spec"]["template"], "metadata": {"labels": labels}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {**meta, "ownerReferences": [reference(deployment)]},
        "spec": {"replicas": count, "selector": {"matchLabels": labels}, "template": template},
    }


def services() -> list[Json]:
    """kube-dns, web and api. Their addresses work where kube-proxy was started."""

    def service(namespace: str, name: str, labels: dict[str, str], ports: list[Json], address: str = "") -> Json:
        spec: Json = {"selector": labels, "ports": ports, "type": "ClusterIP"}
        if address:
            spec |= {"clusterIP": address, "clusterIPs": [address]}
        extra = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"} if name == "kube-dns" else None
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(name, namespace, extra), "spec": spec}

    dns: list[Json] = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]
    http: list[Json] = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    return [
        service("kube-system", "kube-dns", labels_of("coredns"), dns, DNS_ADDRESS),
        service("shop", "web", labels_of("web"), http, "10.96.100.1"),
        service("shop", "api", labels_of("api"), http, "10.96.100.2"),
    ]


def endpointslice(lab: Description, service: Json, uids: dict[str, str]) -> Json:
    """The ready pods behind a Service."""
    meta = service["metadata"]
    app = "coredns" if meta["name"] == "kube-dns" else meta["name"]
    endpoints = [
        {
            "addresses": [item.addresses[0]],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": item.node,
            "targetRef": {
                "kind": "Pod",
                "namespace": item.namespace,
                "name": item.name,
                "uid": uids.get(f"{item.namespace}/{item.name}", item.uid),
            },
        }
        for item in lab.pods
        if item.app == app and item.namespace == meta["namespace"]
    ]
    labels = {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": meta["name"],
    }
    ports = [
        {"name": port["name"], "protocol": port["protocol"], "port": port["targetPort"]}
        for port in service["spec"]["ports"]
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            **metadata(f"{meta['name']}-{hashed(meta['name'], 5)}", meta["namespace"], labels),
            "ownerReferences": [{**reference(service), "apiVersion": "v1"}],
        },
        "addressType": "IPv4" if lab.calico.ipv4 else "IPv6",
        "endpoints": endpoints,
        "ports": ports,
    }
