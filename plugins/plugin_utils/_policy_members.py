# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what policy selectors choose from: pods, host endpoints and network sets, with all labels that Calico gives them.

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ._cluster import Cluster, Pod
from ._json import IPAddress, Json, NotCollected, as_list, as_mapping, objects, parse_address, parse_network
from ._selectors import NAMESPACE_NAME, BadSelector, Labels, Selector, parse, parse_namespaces

NAMESPACE = "projectcalico.org/namespace"
ORCHESTRATOR = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT = "projectcalico.org/serviceaccount"
PROTOCOL_NUMBERS = {1: "ICMP", 4: "IPIP", 6: "TCP", 17: "UDP", 58: "ICMPV6", 132: "SCTP", 136: "UDPLITE"}
MemberKind = t.Literal["pod", "hostendpoint", "networkset", "globalnetworkset"]


class NamedPort(t.NamedTuple):
    name: str
    protocol: str
    number: int


@dataclass(frozen=True)
class Member:
    """node, interface, profiles and addresses are a HostEndpoint's own; namespace is "" where it is in none."""

    kind: MemberKind
    name: str
    namespace: str = ""
    labels: Labels = field(default_factory=dict, hash=False)
    node: str = ""
    interface: str = ""
    addresses: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    account: str = ""
    ports: tuple[NamedPort, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def id(self) -> tuple[str, str]:
        return self.kind, self.key


def served(cluster: Cluster, section: str) -> list[Mapping[str, Json]]:
    """The objects of a section; a resource that this API does not serve has none. Errors: NotCollected."""
    try:
        return cluster.section(section)
    except NotCollected as exc:
        if exc.errno == "absent":
            return []
        raise


def protocol_name(value: Json) -> str:
    """`TCP`, `tcp`, 6 and `6` are one protocol."""
    text = str(value).upper()
    return PROTOCOL_NUMBERS.get(int(text), text) if re.fullmatch("[0-9]{1,3}", text) else text


def texts(value: Json) -> dict[str, str]:
    return {str(key): str(text) for key, text in as_mapping(value).items()}


def _named_ports(entries: Iterable[Mapping[str, Json]], number: str) -> tuple[NamedPort, ...]:
    found = []
    for entry in entries:
        if entry.get("name") and isinstance(entry.get(number), int):
            found.append(NamedPort(str(entry["name"]), protocol_name(entry.get("protocol") or "TCP"), entry[number]))
    return tuple(found)


def selector_of(text: str, of_namespaces: bool = False) -> Selector:
    """Errors: NotCollected, where the text is no selector that is known here: what it selects cannot be told."""
    try:
        return parse_namespaces(text) if of_namespaces else parse(text)
    except (BadSelector, RecursionError) as exc:
        raise NotCollected(str(exc)) from exc


class Networks:
    """Many prefixes, each of which belongs to something."""

    def __init__(self) -> None:
        self.places: dict[tuple[int, int], dict[int, list[Member]]] = {}

    def add(self, prefix: Json, member: Member) -> None:
        network = parse_network(prefix)
        if network is None:
            raise NotCollected(f"{member.kind} {member.key} holds {str(prefix)[:50]!r}, which is no prefix")
        bits = int(network.network_address) >> (network.max_prefixlen - network.prefixlen)
        self.places.setdefault((network.version, network.prefixlen), {}).setdefault(bits, []).append(member)

    def holding(self, address: IPAddress) -> list[Member]:
        found = []
        for (version, length), places in self.places.items():
            if version == address.version:
                found += places.get(int(address) >> (address.max_prefixlen - length), [])
        return found


class Members:
    """Everything that a selector can choose, by address. Only what is asked for is looked at."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._made: dict[str, Member] = {}
        self._at: dict[str, list[Member]] = {}

    # ------------------------------------------------------------------ labels that come from elsewhere

    def namespace_labels(self, name: str) -> dict[str, str]:
        """Errors: NotCollected, where the namespace was not read or is not known."""

        def read() -> dict[str, dict[str, str]]:
            result = {}
            for raw in self.cluster.section("namespaces"):
                metadata = as_mapping(raw.get("metadata"))
                result[str(metadata.get("name"))] = {**texts(metadata.get("labels")), NAMESPACE_NAME: str(metadata.get("name"))}
            return result

        found = self.cluster.once("labels of namespaces", read).get(name)
        if found is None:
            raise NotCollected(f"the Kubernetes API knows no namespace {name}")
        return found

    def account_labels(self, member: Member) -> dict[str, str]:
        def read() -> dict[tuple[str, str], dict[str, str]]:
            result = {}
            for raw in self.cluster.section("serviceaccounts"):
                metadata = as_mapping(raw.get("metadata"))
                name = str(metadata.get("name"))
                result[(str(metadata.get("namespace")), name)] = {**texts(metadata.get("labels")), NAMESPACE_NAME: name}
            return result

        if not member.account:
            return {}
        return self.cluster.once("labels of service accounts", read).get((member.namespace, member.account), {})

    def selects(self, member: Member, selector: str) -> bool:
        """Whether a selector over labels fits, those that a pod has from its namespace (pcns.) and its service account (pcsa.) among them."""
        labels: Labels = member.labels
        if member.namespace and "pcns." in selector:
            labels = {**{f"pcns.{key}": text for key, text in self.namespace_labels(member.namespace).items()}, **labels}
        if member.account and "pcsa." in selector:
            labels = {**{f"pcsa.{key}": text for key, text in self.account_labels(member).items()}, **labels}
        return selector_of(selector)(labels)

    def in_namespace(self, member: Member, selector: str) -> bool:
        matches = selector_of(selector, True)
        return matches(self.namespace_labels(member.namespace) if member.namespace else {})

    def has_account(self, member: Member, selector: str) -> bool:
        matches = selector_of(selector, True)
        return matches(self.account_labels(member))

    # ------------------------------------------------------------------ the members

    def pod(self, key: str) -> Member:
        """Errors: NotCollected."""
        if key not in self._made:
            raw = self.cluster.once("raw pods", self._raw_pods).get(key)
            if raw is None:
                raise NotCollected(f"the Kubernetes API knows no pod {key}")
            metadata, spec = as_mapping(raw.get("metadata")), as_mapping(raw.get("spec"))
            namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
            account = str(spec.get("serviceAccountName") or "")
            own = {NAMESPACE: namespace, ORCHESTRATOR: "k8s", **({SERVICE_ACCOUNT: account} if account else {})}
            ports = [port for container in objects(spec.get("containers")) for port in objects(container.get("ports"))]
            self._made[key] = Member("pod", name, namespace, {**texts(metadata.get("labels")), **own}, account=account,
                                     ports=_named_ports(ports, "containerPort"))  # fmt: skip
        return self._made[key]

    def _raw_pods(self) -> dict[str, Mapping[str, Json]]:
        result = {}
        for raw in self.cluster.section("pods"):
            metadata = as_mapping(raw.get("metadata"))
            result[f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"] = raw
        return result

    def _pods_at(self, address: str) -> list[Pod]:
        """Pods that Calico has an endpoint for: those that end still count until they have ended."""

        def by_address() -> dict[str, list[Pod]]:
            result: dict[str, list[Pod]] = {}
            for pod in self.cluster.pods.values():
                if not pod.host_network and pod.node and pod.phase not in ("Succeeded", "Failed"):
                    for held in pod.addresses:
                        result.setdefault(held, []).append(pod)
            return result

        return self.cluster.once("endpoints of pods by address", by_address).get(address, [])

    @property
    def host_endpoints(self) -> list[Member]:
        def read() -> list[Member]:
            result = []
            for raw in served(self.cluster, "hostendpoints"):
                metadata, spec = as_mapping(raw.get("metadata")), as_mapping(raw.get("spec"))
                result.append(
                    Member(
                        "hostendpoint", str(metadata.get("name", "")), labels=texts(metadata.get("labels")), node=str(spec.get("node") or ""),
                        interface=str(spec.get("interfaceName") or ""), addresses=tuple(str(a) for a in as_list(spec.get("expectedIPs"))),
                        profiles=tuple(str(p) for p in as_list(spec.get("profiles"))), ports=_named_ports(objects(spec.get("ports")), "port"),
                    )
                )  # fmt: skip
            return sorted(result, key=lambda member: member.name)

        return self.cluster.once("host endpoints", read)

    @property
    def _networks(self) -> Networks:
        def read() -> Networks:
            result = Networks()
            for section, kind in (("networksets", "networkset"), ("globalnetworksets", "globalnetworkset")):
                for raw in served(self.cluster, section):
                    metadata = as_mapping(raw.get("metadata"))
                    namespace = str(metadata.get("namespace") or "") if kind == "networkset" else ""
                    labels = {**texts(metadata.get("labels")), **({NAMESPACE: namespace} if namespace else {})}
                    member = Member(t.cast("MemberKind", kind), str(metadata.get("name", "")), namespace, labels)
                    for prefix in as_list(as_mapping(raw.get("spec")).get("nets")):
                        result.add(prefix, member)
            for host in self.host_endpoints:
                for address in host.addresses:
                    result.add(address, host)
            return result

        return self.cluster.once("networks of sets and host endpoints", read)

    def at(self, address: str) -> list[Member]:
        """Whatever has the address. Errors: NotCollected, where something that might have it was not read."""
        if address not in self._at:
            parsed = parse_address(address)
            if parsed is None:
                raise NotCollected(f"{address!r} is no address")
            pods = [self.pod(pod.key) for pod in self._pods_at(str(parsed))]
            self._at[address] = pods + self._networks.holding(parsed)
        return self._at[address]


def members_of(cluster: Cluster) -> Members:
    return cluster.once("members of policies", lambda: Members(cluster))


def endpoint_slices(cluster: Cluster, service: str) -> list[Mapping[str, Json]]:
    """The EndpointSlices of a Service, `namespace/name`."""

    def read() -> dict[str, list[Mapping[str, Json]]]:
        result: dict[str, list[Mapping[str, Json]]] = {}
        for raw in cluster.section("endpointslices"):
            metadata = as_mapping(raw.get("metadata"))
            name = as_mapping(metadata.get("labels")).get("kubernetes.io/service-name")
            result.setdefault(f"{metadata.get('namespace')}/{name}", []).append(raw)
        return result

    return cluster.once("endpoint slices by service", read).get(service, [])
