# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nodes
short_description: The nodes of a cluster, from its API
version_added: 0.1.0
description:
  - Gives each node of the Kubernetes API as a host with its address as C(ansible_host).
  - With O(last_known), the nodes that the API told last are used while it does not answer, which is when they are needed most.
  - The name of the file has to end with C(podnet.yml) or C(podnet.yaml).
author:
  - podnet.doctor contributors (@podnet)
extends_documentation_fragment:
  - podnet.doctor._kubernetes
  - ansible.builtin.constructed
requirements:
  - kubernetes (on the controller)
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [podnet.doctor.nodes]
  address_type:
    description:
      - The kind of address at which a node is reached, as its status tells it.
      - A node that has none of this kind is left out, with a warning.
    type: str
    default: InternalIP
    choices: [InternalIP, ExternalIP, Hostname, InternalDNS, ExternalDNS]
  family:
    description: The family of the address, where a node has several of one kind. The first one counts where this is not given.
    type: str
    choices: [ipv4, ipv6]
  label_selector:
    description: Only nodes whose labels match, as C(kubectl get nodes --selector) takes it.
    type: str
  group_by:
    description:
      - What the nodes are grouped by. V(role) makes C(role_control_plane) of the label C(node-role.kubernetes.io/control-plane), V(zone) makes
        C(zone_a) of C(topology.kubernetes.io/zone), V(pool) makes C(pool_workers) of the label with which the cloud names its pool of nodes,
        V(os) makes C(os_linux).
      - Other groups can be made with O(groups) and O(keyed_groups).
    type: list
    elements: str
    default: [role, zone, pool]
    choices: [role, zone, pool, os]
  group:
    description: A group that all the nodes belong to.
    type: str
    default: nodes
  last_known:
    description:
      - A file on the controller in which the nodes are kept whenever the API tells them, and from which they are taken while it does not answer.
      - It holds names, addresses and labels of nodes, and nothing secret.
    type: path
  timeout:
    description: The number of seconds after which the API counts as not answering.
    type: float
    default: 10
"""

EXAMPLES = r"""
# cluster.podnet.yml, used with: ansible-playbook podnet.doctor.diagnose -i cluster.podnet.yml -e source=... -e destination=...
plugin: podnet.doctor.nodes
kubeconfig: ~/.kube/production
last_known: ~/.cache/production-nodes.json

# Only the workers, reached at their external addresses, with a user for all of them
---
plugin: podnet.doctor.nodes
context: production
label_selector: "!node-role.kubernetes.io/control-plane"
address_type: ExternalIP
compose:
  ansible_user: "'core'"
keyed_groups:
  - prefix: kubelet
    key: node_kubelet_version
"""

import datetime
import ipaddress
import json
import os
import pathlib
import tempfile
import typing as t

from ansible.errors import AnsibleParserError
from ansible.inventory.group import to_safe_group_name
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils.display import Display
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.podnet.doctor.plugins.module_utils import _kube

Json = t.Any
ROLE = "node-role.kubernetes.io/"
ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
# the labels with which clouds and node provisioners name a pool of nodes, as their documentation tells
POOLS = (
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
    "doks.digitalocean.com/node-pool",
    "node.cluster.x-k8s.io/pool",
    "node-pool",
)
FAMILIES = {"ipv4": 4, "ipv6": 6}

display = Display()


def reduced(node: dict[str, Json]) -> dict[str, Json]:
    """What is kept of an API object: {name, labels, addresses: [{type, address}], ready, os, kubelet_version, unschedulable}."""
    metadata, status = node.get("metadata") or {}, node.get("status") or {}
    conditions = {item.get("type"): item.get("status") for item in status.get("conditions") or []}
    told = status.get("nodeInfo") or {}
    return {
        "name": metadata.get("name"),
        "labels": dict(metadata.get("labels") or {}),
        "addresses": [{"type": item.get("type"), "address": item.get("address")} for item in status.get("addresses") or []],
        "ready": {"True": True, "False": False}.get(str(conditions.get("Ready"))),
        "os": told.get("operatingSystem"),
        "kubelet_version": told.get("kubeletVersion"),
        "unschedulable": bool((node.get("spec") or {}).get("unschedulable")),
    }


def never_a_template(value: Json) -> Json:
    """The same value, in which what looks like a template to Ansible is marked as none."""
    if isinstance(value, dict):
        return {never_a_template(key): never_a_template(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [never_a_template(inner) for inner in value]
    return wrap_var(value) if isinstance(value, str) and "{" in value else value


def address_of(node: dict[str, Json], kind: str, family: str | None) -> str | None:
    """The first address of a kind, and of a family if one is asked for."""
    for item in node["addresses"]:
        if item["type"] != kind or not item["address"]:
            continue
        if family is None:
            return str(item["address"])
        try:
            if ipaddress.ip_address(item["address"]).version == FAMILIES[family]:
                return str(item["address"])
        except ValueError:  # a name has no family
            continue
    return None


def groups_of(node: dict[str, Json], by: t.Iterable[str]) -> list[str]:
    """The names of the groups that a node belongs to."""
    labels: dict[str, str] = node["labels"]
    values: dict[str, list[str]] = {
        "role": [name[len(ROLE) :] for name in labels if name.startswith(ROLE)],
        "zone": [labels[name] for name in ZONES if labels.get(name)][:1],
        "pool": [labels[name] for name in POOLS if labels.get(name)][:1],
        "os": [node["os"]] if node["os"] else [],
    }
    return [to_safe_group_name(f"{kind}_{value}", force=True, silent=True) for kind in by for value in values[kind]]


def keep(path: pathlib.Path, server: str, nodes: list[dict[str, Json]]) -> None:
    """Write the nodes for later; OSError where that is not possible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told_at = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"server": server, "told_at": told_at, "nodes": nodes}, file)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def kept(path: pathlib.Path) -> tuple[str, list[dict[str, Json]]]:
    """(when the API told them, the nodes); ValueError with one sentence where the file does not hold them."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        nodes = [{**reduced({}), **node} for node in data["nodes"] if isinstance(node, dict) and node.get("name")]
        return str(data["told_at"]), nodes
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist yet; it is written when the API answers") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} does not hold nodes of this plugin") from error


class InventoryModule(BaseInventoryPlugin, Constructable):
    """The plugin."""

    NAME = "podnet.doctor.nodes"

    def verify_file(self, path: str) -> bool:
        """Only files whose name says that they are this plugin's."""
        return bool(super().verify_file(path)) and path.endswith(("podnet.yml", "podnet.yaml"))

    def parse(self, inventory: Json, loader: Json, path: str, cache: bool = True) -> None:
        """Fill the inventory."""
        super().parse(inventory, loader, path, cache=cache)
        self._read_config_data(path)
        group = to_safe_group_name(self.get_option("group"), force=True, silent=True)
        inventory.add_group(group)
        for node in self._nodes(path):
            self._add(node, group)

    def _nodes(self, path: str) -> list[dict[str, Json]]:
        options = _kube.options_of({name: self.get_option(name) for name in _kube.ARGUMENT_SPEC})
        file = self.get_option("last_known")
        place = pathlib.Path(os.path.expanduser(file)) if file else None
        selector = self.get_option("label_selector")
        try:
            with _kube.Api(options, float(self.get_option("timeout"))) as api:
                server = api.server
                nodes = [reduced(item) for item in api.items("/api/v1/nodes", {"labelSelector": selector} if selector else None)]
        except _kube.KubeError as error:
            if place is None:
                raise AnsibleParserError(f"{path}: {error}; with the option last_known, the nodes that it told last would be used") from error
            try:
                told_at, nodes = kept(place)
            except ValueError as nothing:
                raise AnsibleParserError(f"{path}: {error}; and last_known: {nothing}") from error
            display.warning(f"{path}: {error}; the {len(nodes)} nodes that it told at {told_at} are used")
            return nodes
        if place is not None:
            try:
                keep(place, server, nodes)
            except OSError as error:
                display.warning(f"{path}: last_known: {place} cannot be written: {error.strerror}")
        return nodes

    def _add(self, node: dict[str, Json], group: str) -> None:
        name, kind, family = str(node["name"]), self.get_option("address_type"), self.get_option("family")
        address = address_of(node, kind, family)
        if address is None:
            held = ", ".join(f"{item['type']} {item['address']}" for item in node["addresses"]) or "none at all"
            display.warning(f"node {name} is left out: it has no {kind}{f' of {family}' if family else ''}; its addresses are {held}")
            return
        self.inventory.add_host(name, group=group)
        variables = {
            "ansible_host": address,
            "podnet_node_name": name,
            **{f"node_{key}": node[key] for key in ("labels", "addresses", "ready", "os", "kubelet_version", "unschedulable")},
        }
        for key, value in variables.items():
            self.inventory.set_variable(name, key, never_a_template(value))
        for each in groups_of(node, self.get_option("group_by")):
            self.inventory.add_group(each)
            self.inventory.add_host(name, group=each)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)
