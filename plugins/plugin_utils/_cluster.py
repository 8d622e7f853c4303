# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the typed view of the cluster document (docs/documents.md).

from __future__ import annotations

import ipaddress
import json
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ._json import (
    FAMILIES,
    Family,
    IPInterface,
    IPNetwork,
    Json,
    NotCollected,
    as_list,
    as_mapping,
    family_of,
    in_family,
    objects,
    parse_address,
    parse_network,
    section_of,
)

CALICO = "projectcalico.org/"
FLANNEL = "flannel.alpha.coreos.com/"
CALICO_SECTIONS = frozenset(
    {
        "ippools", "ipamblocks", "blockaffinities", "bgpconfigurations", "bgppeers", "felixconfigurations", "clusterinformations", "hostendpoints",
        "globalnetworkpolicies", "calico_networkpolicies", "tiers", "networksets", "globalnetworksets", "ipamconfigs",
    }
)  # fmt: skip
DEFAULT_AS_NUMBER = 64512  # libcalico-go/lib/options: the AS of a cluster that names none
ADDRESS_ANNOTATION: dict[Family, str] = {"ipv4": "IPv4Address", "ipv6": "IPv6Address"}


Made = t.TypeVar("Made")


@dataclass(frozen=True)
class Pod:
    """A pod as the API tells it; `address` is its first IPv4 (or else first) address, None before it has one."""

    namespace: str
    name: str
    uid: str
    node: str | None
    phase: str
    host_network: bool
    addresses: tuple[str, ...]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owner: str | None
    deleting: bool
    created: str | None
    ready: bool | None = None  # None: it does not tell

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def address(self) -> str | None:
        for text in self.addresses:
            if "." in text:
                return text
        return self.addresses[0] if self.addresses else None

    def address_in(self, family: Family) -> str | None:
        return in_family(self.addresses, family)

    @property
    def running(self) -> bool:
        return self.phase == "Running" and not self.deleting

    @classmethod
    def of(cls, raw: Mapping[str, Json]) -> Pod:
        metadata, spec, status = (as_mapping(raw.get(part)) for part in ("metadata", "spec", "status"))
        annotations = {str(k): str(v) for k, v in as_mapping(metadata.get("annotations")).items()}
        found = [str(entry["ip"]) for entry in objects(status.get("podIPs")) if parse_address(entry.get("ip"))]
        if not found and parse_address(status.get("podIP")):
            found = [str(status["podIP"])]
        if not found:
            for name in ("podIPs", "podIP"):
                texts = annotations.get(f"cni.{CALICO}{name}", "").split(",")
                found = [text.split("/")[0] for text in texts if parse_address(text.split("/")[0])]
                if found:
                    break
        if status.get("phase") in ("Succeeded", "Failed"):
            found = []
        owners = objects(metadata.get("ownerReferences"))
        return cls(
            namespace=str(metadata.get("namespace", "")),
            name=str(metadata.get("name", "")),
            uid=str(metadata.get("uid", "")),
            node=spec.get("nodeName") if isinstance(spec.get("nodeName"), str) else None,
            phase=str(status.get("phase", "")),
            host_network=bool(spec.get("hostNetwork")),
            addresses=tuple(dict.fromkeys(found)),
            labels={str(k): str(v) for k, v in as_mapping(metadata.get("labels")).items()},
            annotations=annotations,
            owner=str(owners[0].get("kind")) if owners else None,
            deleting=bool(metadata.get("deletionTimestamp")),
            created=metadata.get("creationTimestamp") if isinstance(metadata.get("creationTimestamp"), str) else None,
            ready=next((entry.get("status") == "True" for entry in objects(status.get("conditions")) if entry.get("type") == "Ready"), None),
        )


@dataclass(frozen=True)
class Node:
    """A Kubernetes Node with Calico's annotations (calico.md section 4.2)."""

    name: str
    uid: str
    internal_ips: tuple[str, ...]
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    ready: bool | None
    machine_id: str | None
    system_uuid: str | None
    pod_cidrs: tuple[str, ...]
    provider: str  # scheme of spec.providerID, such as aws

    @property
    def internal_ip(self) -> str | None:
        for text in self.internal_ips:
            if "." in text:
                return text
        return self.internal_ips[0] if self.internal_ips else None

    def internal_ip_in(self, family: Family) -> str | None:
        return in_family(self.internal_ips, family)

    def annotation(self, name: str) -> str | None:
        return self.annotations.get(CALICO + name) or None

    def flannel(self, name: str) -> str | None:
        """An annotation of flanneld, such as public-ip."""
        return self.annotations.get(FLANNEL + name) or None

    def calico_interface(self, family: Family = "ipv4") -> IPInterface | None:
        try:
            found = ipaddress.ip_interface(self.annotation(ADDRESS_ANNOTATION[family]) or "")
        except ValueError:
            return None
        return found if family_of(str(found)) == family else None

    def calico_address(self, family: Family = "ipv4") -> str | None:
        """Host part of the annotation projectcalico.org/IPv4Address (IPv6Address): what the node announces."""
        interface = self.calico_interface(family)
        return str(interface.ip) if interface else None

    @property
    def calico_addresses(self) -> tuple[str, ...]:
        return tuple(address for family in FAMILIES if (address := self.calico_address(family)) is not None)

    @property
    def known_addresses(self) -> tuple[str, ...]:
        """Every address that the API knows of the node: Kubernetes' own, what it announces, and what its interfaces hold."""
        listed = (address for held in self.listed_interfaces.values() for address in held)
        return (*self.internal_ips, *self.calico_addresses, *listed)

    @cached_property
    def listed_interfaces(self) -> Mapping[str, tuple[str, ...]]:
        """Annotation projectcalico.org/Interfaces: interface name -> its addresses, as calico-node saw them."""
        try:
            raw = json.loads(self.annotation("Interfaces") or "[]")
        except ValueError:
            return {}
        return {
            str(entry.get("name")): tuple(str(a) for a in as_list(entry.get("addresses")))
            for entry in objects(raw)
        }

    def interface_of(self, address: str | None) -> str | None:
        return next((name for name, held in self.listed_interfaces.items() if address in held), None)

    @classmethod
    def of(cls, raw: Mapping[str, Json]) -> Node:
        metadata, spec, status = (as_mapping(raw.get(part)) for part in ("metadata", "spec", "status"))
        ready: bool | None = None
        for condition in objects(status.get("conditions")):
            if condition.get("type") == "Ready":
                ready = condition.get("status") == "True"
        info = as_mapping(status.get("nodeInfo"))
        return cls(
            name=str(metadata.get("name", "")),
            uid=str(metadata.get("uid", "")),
            internal_ips=tuple(
                str(entry["address"])
                for entry in objects(status.get("addresses"))
                if entry.get("type") == "InternalIP" and parse_address(entry.get("address"))
            ),
            annotations={str(k): str(v) for k, v in as_mapping(metadata.get("annotations")).items()},
            labels={str(k): str(v) for k, v in as_mapping(metadata.get("labels")).items()},
            ready=ready,
            machine_id=info.get("machineID") or None,
            system_uuid=info.get("systemUUID") or None,
            pod_cidrs=tuple(str(c) for c in as_list(spec.get("podCIDRs"))),
            provider=str(spec.get("providerID") or "").partition(":")[0],
        )


@dataclass(frozen=True)
class Pool:
    name: str
    cidr: IPNetwork
    ipip: str  # Never | Always | CrossSubnet
    vxlan: str
    disabled: bool
    nat_outgoing: bool
    bgp_export: bool


@dataclass(frozen=True)
class Block:
    cidr: IPNetwork
    node: str | None  # owner, from the block's affinity "host:NODE"
    allocated: frozenset[str]
    told: bool = True  # whether it says what it has given out


@dataclass
class Cluster:
    """The cluster document. Every accessor raises NotCollected where its section could not be read."""

    document: Mapping[str, Json]
    _cache: dict[str, t.Any] = field(default_factory=dict, repr=False)

    def section(self, name: str) -> list[Mapping[str, Json]]:
        if name in CALICO_SECTIONS and self.document.get("calico_api", "") is None and self.document.get("reachable") is not False:
            return []  # the API answered, and it serves no Calico resources
        return self.once(f"section {name}", lambda: objects(section_of(self.document, name, "Kubernetes API")))

    def once(self, key: str, make: t.Callable[[], Made]) -> Made:
        """What was worked out from this document under this name, once."""
        if key not in self._cache:
            self._cache[key] = make()
        return t.cast(Made, self._cache[key])

    @property
    def rebuilt(self) -> bool:
        """Whether the API was silent, and the nodes' own documents stand in for it."""
        return bool(self.document.get("rebuilt"))

    def is_whole(self, section: str) -> bool:
        """False where the section was narrowed to the question, so that absence proves nothing."""
        return section not in as_list(self.document.get("narrowed"))

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self.once("nodes", lambda: {node.name: node for node in map(Node.of, self.section("nodes"))})

    def node(self, name: str) -> Node:
        """Errors: NotCollected, where the API knows no such node (it was deleted, or its name differs)."""
        found = self.nodes.get(name)
        if found is None:
            raise NotCollected(f"the Kubernetes API knows no node {name}")
        return found

    @property
    def pods(self) -> Mapping[str, Pod]:
        return self.once("pods", lambda: {pod.key: pod for pod in map(Pod.of, self.section("pods"))})

    @property
    def workloads(self) -> list[Pod]:
        """Running pods with an address and a network namespace of their own."""
        return self.once("workloads", lambda: [p for p in self.pods.values() if p.running and not p.host_network and p.address and p.node])

    def pods_at(self, address: str) -> list[Pod]:
        """Running pods that have the address; more than one is a fault."""

        def by_address() -> dict[str, list[Pod]]:
            result: dict[str, list[Pod]] = {}
            for pod in self.workloads:
                for held in pod.addresses:
                    result.setdefault(held, []).append(pod)
            return result

        return self.once("pods by address", by_address).get(address, [])

    def workloads_on(self, node: str) -> list[Pod]:
        def by_node() -> dict[str, list[Pod]]:
            result: dict[str, list[Pod]] = {}
            for pod in self.workloads:
                result.setdefault(str(pod.node), []).append(pod)
            return result

        return self.once("workloads_by_node", by_node).get(node, [])

    @property
    def pools(self) -> list[Pool]:
        def read() -> list[Pool]:
            result = []
            for raw in self.section("ippools"):
                spec = as_mapping(raw.get("spec"))
                cidr = parse_network(spec.get("cidr"))
                if cidr is not None:
                    result.append(
                        Pool(
                            name=str(as_mapping(raw.get("metadata")).get("name", "")),
                            cidr=cidr,
                            ipip=str(spec.get("ipipMode") or "Never"),
                            vxlan=str(spec.get("vxlanMode") or "Never"),
                            disabled=bool(spec.get("disabled")),
                            nat_outgoing=bool(spec.get("natOutgoing")),
                            bgp_export=not spec.get("disableBGPExport"),
                        )
                    )
            return result

        return self.once("pools", read)

    def pool_of(self, address: str | IPNetwork) -> Pool | None:
        network = address if not isinstance(address, str) else parse_network(address)
        if network is None:
            return None
        for pool in self.pools:
            if pool.cidr.version == network.version and network.subnet_of(pool.cidr):  # type: ignore[arg-type]
                return pool
        return None

    @property
    def blocks(self) -> list[Block]:
        """IPAM blocks that a node owns and that are not deleted (calico.md section 4.1)."""

        def read() -> list[Block]:
            result = []
            for raw in self.section("ipamblocks"):
                spec = as_mapping(raw.get("spec"))
                cidr = parse_network(spec.get("cidr"))
                if cidr is None or str(spec.get("deleted", "")).lower() == "true":
                    continue
                affinity = str(spec.get("affinity") or "")
                slots = as_list(spec.get("allocations"))
                taken = frozenset(str(cidr[i]) for i, slot in enumerate(slots) if slot is not None and i < cidr.num_addresses)
                result.append(Block(cidr, affinity[5:] if affinity.startswith("host:") else None, taken, bool(slots)))
            return result

        return self.once("blocks", read)

    def block_of(self, address: str) -> Block | None:
        """The block that holds the address; of several that overlap the first."""
        parsed = parse_address(address)
        if parsed is None:
            return None
        found = []
        for (version, length), places in self.once("places of blocks", self._places_of_blocks).items():
            if version == parsed.version:
                place = places.get(int(parsed) >> (parsed.max_prefixlen - length))
                found += [] if place is None else [place]
        return self.blocks[min(found)] if found else None

    def _places_of_blocks(self) -> dict[tuple[int, int], dict[int, int]]:
        """(IP version, prefix length) -> leading bits of the prefix -> place of the block in `blocks`."""
        result: dict[tuple[int, int], dict[int, int]] = {}
        for place, block in enumerate(self.blocks):
            bits = int(block.cidr.network_address) >> (block.cidr.max_prefixlen - block.cidr.prefixlen)
            result.setdefault((block.cidr.version, block.cidr.prefixlen), {}).setdefault(bits, place)
        return result

    @property
    def blocks_by_prefix(self) -> Mapping[str, Block]:
        return self.once("blocks by prefix", lambda: {str(block.cidr): block for block in self.blocks})

    @property
    def confirmed_affinities(self) -> set[tuple[str, str]]:
        """(node, cidr) of the BlockAffinity objects that count: confirmed and not deleted."""

        def read() -> set[tuple[str, str]]:
            result = set()
            for raw in self.section("blockaffinities"):
                spec = as_mapping(raw.get("spec"))
                if str(spec.get("deleted", "")).lower() == "true" or spec.get("state") != "confirmed":
                    continue
                if str(spec.get("type") or "host") == "host":
                    result.add((str(spec.get("node", "")), str(parse_network(spec.get("cidr")) or spec.get("cidr"))))
            return result

        return self.once("affinities", read)

    @property
    def claimers(self) -> Mapping[str, list[str]]:
        """Block -> the nodes with a confirmed BlockAffinity for it."""

        def read() -> dict[str, list[str]]:
            result: dict[str, list[str]] = {}
            for node, prefix in sorted(self.confirmed_affinities):
                result.setdefault(prefix, []).append(node)
            return result

        return self.once("claimers", read)

    # ------------------------------------------------------------- settings of Calico

    @property
    def calico_daemonset(self) -> Mapping[str, Json] | None:
        for raw in self.section("daemonsets"):
            template = as_mapping(as_mapping(raw.get("spec")).get("template"))
            labels = as_mapping(as_mapping(template.get("metadata")).get("labels"))
            if labels.get("k8s-app") in ("calico-node", "canal") or as_mapping(raw.get("metadata")).get("name") == "calico-node":
                return raw
        return None

    @property
    def calico_environment(self) -> Mapping[str, str]:
        """Environment of the calico-node container, as far as the document holds it."""

        def read() -> dict[str, str]:
            daemonset = self.calico_daemonset
            if daemonset is None:
                return {}
            spec = as_mapping(as_mapping(as_mapping(daemonset.get("spec")).get("template")).get("spec"))
            result: dict[str, str] = {}
            for container in objects(spec.get("containers")):
                if container.get("name") == "calico-node":
                    for entry in objects(container.get("env")):
                        if isinstance(entry.get("value"), str):
                            result[str(entry.get("name"))] = entry["value"]
            return result

        return self.once("environment", read)

    @property
    def interface_prefix(self) -> str:
        """First entry of FELIX_INTERFACEPREFIX, `cali` by default."""
        try:
            return self.calico_environment.get("FELIX_INTERFACEPREFIX", "cali").split(",")[0] or "cali"
        except NotCollected:
            return "cali"

    @property
    def backend(self) -> str:
        """CALICO_NETWORKING_BACKEND: bird (also when unset), vxlan or none; "" where no Calico runs."""
        if self.calico_daemonset is None:
            return ""
        return self.calico_environment.get("CALICO_NETWORKING_BACKEND") or "bird"

    @property
    def flannel_daemonset(self) -> Mapping[str, Json] | None:
        """The DaemonSet that runs flanneld: flannel's own, or canal's. k3s has none, flannel is part of its program."""
        for raw in self.section("daemonsets"):
            spec = as_mapping(as_mapping(as_mapping(raw.get("spec")).get("template")).get("spec"))
            if any("flannel" in str(container.get(part, "")) for container in objects(spec.get("containers")) for part in ("name", "image")):
                return raw
        return None

    @property
    def plugin(self) -> str:
        """The network plugin: calico, flannel, canal (flannel carries the packets, Calico enforces policy), or "" where neither was found."""

        def read() -> str:
            backend = self.backend
            if backend in ("bird", "vxlan"):
                return "calico"
            leased = self.flannel_daemonset is not None or any(node.flannel("backend-type") for node in self.nodes.values())
            if backend:
                return "canal" if leased else "calico"
            return "flannel" if leased else ""

        return self.once("plugin", read)

    @property
    def flannel_configuration(self) -> Mapping[str, Json]:
        """flannel's net-conf.json; {} where its ConfigMap does not have one."""
        for raw in self.section("configmaps"):
            text = as_mapping(raw.get("data")).get("net-conf.json")
            if isinstance(text, str):
                try:
                    return as_mapping(json.loads(text))
                except (ValueError, RecursionError):
                    raise NotCollected("Kubernetes API: flannel's net-conf.json is no JSON") from None
        return {}

    @property
    def autodetection(self) -> str:
        """The IPv4 autodetection method in calico-node's words, `first-found` by default; "" when autodetection is off."""
        return self.autodetection_in("ipv4")

    def autodetection_in(self, family: Family) -> str:
        """As `autodetection`; IPv6 is off unless IP6=autodetect."""
        environment = self.calico_environment
        name, default = ("IP", "autodetect") if family == "ipv4" else ("IP6", "none")
        if environment.get(name, default) != "autodetect":
            return ""
        return environment.get(f"{name}_AUTODETECTION_METHOD") or "first-found"

    @property
    def monitor_interval(self) -> float:
        """Seconds between two looks of calico-node's address monitor (AUTODETECT_POLL_INTERVAL, 60 s by default)."""
        text = self.calico_environment.get("AUTODETECT_POLL_INTERVAL", "")
        try:
            return float(text[:-1] if text.endswith("s") else text)
        except ValueError:
            return 60.0

    def bgp_configuration(self) -> Mapping[str, Json]:
        for raw in self.section("bgpconfigurations"):
            if as_mapping(raw.get("metadata")).get("name") == "default":
                return as_mapping(raw.get("spec"))
        return {}

    def felix_configuration(self) -> Mapping[str, Json]:
        for raw in self.section("felixconfigurations"):
            if as_mapping(raw.get("metadata")).get("name") == "default":
                return as_mapping(raw.get("spec"))
        return {}

    def as_number(self, node: str) -> str:
        """The node's AS number: its own annotation, else the cluster's, else Calico's default."""
        own = self.nodes[node].annotation("ASNumber") if node in self.nodes else None
        return own or str(self.bgp_configuration().get("asNumber") or DEFAULT_AS_NUMBER)

    @property
    def mesh(self) -> bool:
        return self.bgp_configuration().get("nodeToNodeMeshEnabled") is not False

    @property
    def calico_version(self) -> str | None:
        for raw in self.section("clusterinformations"):
            version = as_mapping(raw.get("spec")).get("calicoVersion")
            if isinstance(version, str):
                return version
        return None

    def dns_pods(self) -> list[Pod]:
        """Pods behind the cluster's DNS Service, found by the label k8s-app=kube-dns."""
        return self.once("dns pods", lambda: [pod for pod in self.workloads if pod.labels.get("k8s-app") == "kube-dns"])
