"""What flannel's and canal's manifests put into the API: the DaemonSet and its ConfigMap."""

from __future__ import annotations

import json
import secrets

from lab.api import objects
from lab.api.client import Client, Json
from lab.flannel.flanneld import TITLE
from lab.plan import FLANNEL_NETWORK, Description, random_name

FLANNEL_IMAGE = "ghcr.io/flannel-io/flannel:v0.28.9"
CANAL_IMAGE = "docker.io/flannel/flannel:v0.24.4"
CNI_CONFIG = """{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
"""
CANAL_IPAM = '"ipam": {\n          "type": "host-local",\n          "subnet": "usePodCidr"\n      }'


def canal_cni_config() -> str:
    """The CNI configuration of Calico's canal.yaml: Calico's plugin with host-local addresses."""
    changed = objects.CNI_CONFIG.replace('"ipam": {\n          "type": "calico-ipam"\n      }', CANAL_IPAM)
    assert changed != objects.CNI_CONFIG
    return changed


def net_conf(lab: Description) -> str:
    """net-conf.json as flannel's own manifest writes it."""
    return json.dumps({"Network": FLANNEL_NETWORK, "EnableNFTables": False, "Backend": {"Type": lab.calico.flannel}}, indent=2) + "\n"


def config_map(lab: Description) -> Json:
    """kube-flannel-cfg, or canal-config."""
    if lab.calico.backend:
        data = {"canal_iface": "", "cni_network_config": canal_cni_config(), "masquerade": "true", "net-conf.json": net_conf(lab),
                "typha_service_name": "none", "veth_mtu": "0"}  # fmt: skip
        meta: Json = {"name": "canal-config", "namespace": "kube-system"}
    else:
        data = {"cni-conf.json": CNI_CONFIG, "net-conf.json": net_conf(lab)}
        meta = {"name": "kube-flannel-cfg", "namespace": "kube-flannel", "labels": {"app": "flannel", "tier": "node"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def _field(path: str) -> Json:
    return {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}


def _container(lab: Description) -> Json:
    canal = bool(lab.calico.backend)
    env = [{"name": "POD_NAME", "valueFrom": _field("metadata.name")}, {"name": "POD_NAMESPACE", "valueFrom": _field("metadata.namespace")}]
    command = {"command": ["/opt/bin/flanneld", *TITLE[1:]]} if canal else {"command": ["/opt/bin/flanneld"], "args": [*TITLE[1:], "--healthz-port=8081"]}
    return {
        "name": "kube-flannel",
        "image": CANAL_IMAGE if canal else FLANNEL_IMAGE,
        **command,
        "env": env,
        "securityContext": {"privileged": canal},
        "volumeMounts": [{"name": "run", "mountPath": "/run/flannel"}, {"name": "flannel-cfg", "mountPath": "/etc/kube-flannel/"}],
    }


def _calico_container(lab: Description) -> Json:
    values = {"DATASTORE_TYPE": "kubernetes", "USE_POD_CIDR": "true", "WAIT_FOR_DATASTORE": "true", "CALICO_NETWORKING_BACKEND": "none",
              "CLUSTER_TYPE": "k8s,canal", "FELIX_IPTABLESREFRESHINTERVAL": "60", "IP": "", "CALICO_DISABLE_FILE_LOGGING": "true",
              "FELIX_DEFAULTENDPOINTTOHOSTACTION": "ACCEPT", "FELIX_IPV6SUPPORT": "false", "FELIX_HEALTHENABLED": "true"}  # fmt: skip
    env: list[Json] = [{"name": name, **({"value": value} if value else {})} for name, value in values.items()]
    env.append({"name": "NODENAME", "valueFrom": _field("spec.nodeName")})
    env.append({"name": "CALICO_CNI_SERVICE_ACCOUNT", "valueFrom": _field("spec.serviceAccountName")})
    return {"name": "calico-node", "image": objects.image(lab, "calico-node"), "env": env, "securityContext": {"privileged": True}}


def daemonset(lab: Description) -> Json:
    """kube-flannel/kube-flannel-ds, or kube-system/canal."""
    agent = lab.calico.agent
    volumes = [{"name": "run", "hostPath": {"path": "/run/flannel", "type": ""}}, {"name": "cni", "hostPath": {"path": "/etc/cni/net.d", "type": ""}},
               {"name": "flannel-cfg", "configMap": {"name": config_map(lab)["metadata"]["name"]}}]  # fmt: skip
    spec = {
        "hostNetwork": True, "priorityClassName": "system-node-critical", "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
        "terminationGracePeriodSeconds": 0, "restartPolicy": "Always", "volumes": volumes,
        "containers": [*([_calico_container(lab)] if lab.calico.backend else []), _container(lab)],
    }  # fmt: skip
    selector = {"k8s-app": "canal"} if lab.calico.backend else {"app": "flannel"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": agent.name, "namespace": agent.namespace, "labels": agent.labels},
        "spec": {
            "selector": {"matchLabels": selector},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {"metadata": {"labels": agent.labels}, "spec": spec},
        },
    }


def create_agent_pod(client: Client, lab: Description, node: str, owner: Json) -> Json:
    """A pod of the DaemonSet on a node, running."""
    host, agent = lab.node(node), lab.calico.agent
    template = owner["spec"]["template"]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{agent.name}-{random_name()}", "namespace": agent.namespace, "generateName": f"{agent.name}-",
            "labels": {**agent.labels, objects.REVISION: objects.revision(template)},
            "ownerReferences": [objects.reference(owner)],
        },
        "spec": {**template["spec"], "nodeName": node},
    }  # fmt: skip
    made = client.create("pods", body)
    status = objects.status(host, host.addresses, secrets.token_hex(32), FLANNEL_IMAGE, "kube-flannel")
    return client.patch("pods", made["metadata"]["name"], status, agent.namespace, part="status")
