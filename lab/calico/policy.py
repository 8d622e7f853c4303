"""Which rules follow from the API's objects for one node: policies, profiles, and what holds them together.

Kubernetes' NetworkPolicies are enforced; Calico's own policies and HostEndpoints are not.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lab.api.client import Client, Json
from lab.calico.common import TUNNEL_ANNOTATION, annotations_of
from lab.calico.rules import (
    ACCEPT,
    ACCEPTED,
    BLOCK,
    DROP,
    LONGEST_SET,
    MASQUERADE,
    NONE,
    NOTRACK,
    OURS,
    PASSED,
    RETURN,
    SCRATCH,
    Action,
    AddressSet,
    Direction,
    Member,
    Ports,
    Rule,
    Ruleset,
    goto,
    hashed,
    jump,
    limited,
    mark,
)

VXLAN_PORT = 4789
MULTIPORT = 15  # that many ports fit into one match; a range counts twice
STRIDE = 5  # policies of a group between two looks at the mark
IS_ACCEPTED = (ACCEPTED, ACCEPTED)
NOT_PASSED = (0, PASSED)
Selector = Json


@dataclass(frozen=True)
class Endpoint:
    """A pod with a sandbox of its own."""

    namespace: str
    name: str
    node: str
    account: str
    addresses: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    ports: tuple[tuple[str, str, int], ...]  # name, protocol, number

    @property
    def interface(self) -> str:
        return "cali" + hashlib.sha1(f"{self.namespace}.{self.name}".encode()).hexdigest()[:11]

    @property
    def profiles(self) -> tuple[str, str]:
        return (f"kns.{self.namespace}", f"ksa.{self.namespace}.{self.account}")

    @classmethod
    def of(cls, pod: Json) -> Endpoint | None:
        meta, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
        if spec.get("hostNetwork") or not status.get("podIP") or meta.get("deletionTimestamp") or status.get("phase") in ("Succeeded", "Failed"):
            return None
        addresses = tuple(item["ip"] for item in status.get("podIPs") or [{"ip": status["podIP"]}] if ":" not in item["ip"])
        ports = [port for container in spec["containers"] for port in container.get("ports") or []]
        named = tuple((port["name"], (port.get("protocol") or "TCP").lower(), port["containerPort"]) for port in ports if port.get("name"))
        labels = tuple(sorted((meta.get("labels") or {}).items()))
        return cls(meta["namespace"], meta["name"], spec.get("nodeName", ""), spec.get("serviceAccountName") or "default", addresses, labels, named)


def _expression(labels: dict[str, str], wanted: Json) -> bool:
    key, values = wanted["key"], wanted.get("values") or []
    return {
        "In": lambda: key in labels and labels[key] in values,
        "NotIn": lambda: labels.get(key) not in values,
        "Exists": lambda: key in labels,
        "DoesNotExist": lambda: key not in labels,
    }[wanted["operator"]]()


def fits(labels: dict[str, str], selector: Selector) -> bool:
    """A label selector of Kubernetes; the empty one fits everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(labels, wanted) for wanted in selector.get("matchExpressions") or [])


@dataclass
class World:
    """What of the API the rules depend on."""

    node: str
    pods: list[Endpoint]
    namespaces: dict[str, dict[str, str]]
    policies: list[Json]
    pools: list[Json]
    nodes: list[Json]
    tunnel: str = ""  # "ipip" or "vxlan"
    tunnel_addresses: dict[str, str] = field(default_factory=dict)  # by node

    @property
    def local(self) -> list[Endpoint]:
        return sorted((pod for pod in self.pods if pod.node == self.node), key=lambda pod: pod.interface)

    def peers(self, peer: Json, namespace: str) -> list[Endpoint]:
        """The pods that a peer of a policy's rule means."""
        spaces = peer.get("namespaceSelector")
        chosen = {name for name, labels in self.namespaces.items() if fits(labels, spaces)} if spaces is not None else {namespace}
        selector = peer.get("podSelector") or {}
        return [pod for pod in self.pods if pod.namespace in chosen and fits(dict(pod.labels), selector)]


@dataclass(frozen=True)
class Way:
    """One direction: Kubernetes' words for it, and the beginnings of Felix's names."""

    kind: str
    peers: str
    side: Direction  # where the peer is
    policy: str
    group: str
    profile: str
    endpoint: str
    dispatch: str


INGRESS = Way("Ingress", "from", "src", "cali-pi-", "cali-gi-", "cali-pri-", "cali-tw-", "cali-to-wl-dispatch")
EGRESS = Way("Egress", "to", "dst", "cali-po-", "cali-go-", "cali-pro-", "cali-fw-", "cali-from-wl-dispatch")
WAYS = (EGRESS, INGRESS)


def _simplified(ports: Iterable[tuple[int, int]]) -> Ports:
    """In order, and neighbours as one."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ports):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _split(ports: Ports) -> list[Ports]:
    """Parts that one match can hold."""
    parts: list[list[tuple[int, int]]] = []
    room = 0
    for low, high in ports:
        needs = 1 if low == high else 2
        if needs > room:
            parts.append([])
            room = MULTIPORT
        parts[-1].append((low, high))
        room -= needs
    return [tuple(part) for part in parts]


class Writer:
    """Collects the chains and sets of a node."""

    def __init__(self, world: World, nft: bool = False) -> None:
        self.world = world
        self.nft = nft
        self.out = Ruleset()

    def name(self, prefix: str, suffix: str) -> str:
        return prefix + suffix if self.nft else limited(prefix, suffix)

    # ---- sets
    def address_set(self, key: str, pods: Sequence[Endpoint]) -> str:
        name = f"cali40s:{hashed(key, LONGEST_SET)}"[:LONGEST_SET]
        self.out.sets[name] = AddressSet("hash:net", frozenset(address for pod in pods for address in pod.addresses))
        return name

    def port_set(self, key: str, pods: Sequence[Endpoint], protocol: str, port: str) -> str:
        name = f"cali40n:{hashed(f'{key},{protocol},{port}', LONGEST_SET)}"[:LONGEST_SET]
        members = {
            f"{address},{protocol}:{number}"
            for pod in pods
            for named, kind, number in pod.ports
            if (named, kind) == (port, protocol)
            for address in pod.addresses
        }
        self.out.sets[name] = AddressSet("hash:ip,port", frozenset(members))
        return name

    # ---- policies
    def policy_rules(self, policy: Json, way: Way) -> list[Rule]:
        """The rules of one direction of a policy: protocol by protocol, and in each of them peer by peer."""
        found: list[Rule] = []
        namespace = policy["metadata"]["namespace"]
        for given in policy["spec"].get(way.kind.lower()) or []:
            by_protocol: dict[str, list[Json]] = {}
            for port in given.get("ports") or []:
                by_protocol.setdefault((port.get("protocol") or "TCP").lower(), []).append(port)
            for protocol in sorted(by_protocol) or [""]:
                for peer in given.get(way.peers) or [{}]:
                    block = self._peer(peer, protocol, by_protocol.get(protocol, []), namespace, way)
                    if found:
                        found.append(Rule(RETURN, marked=IS_ACCEPTED))
                    found += block
        if not found:
            found = [Rule(NONE)]
        said = f"KubernetesNetworkPolicy {namespace}/{policy['metadata']['name']} {way.kind.lower()}"
        return [replace(found[0], comment=said), *found[1:]]

    def _peer(self, peer: Json, protocol: str, ports: list[Json], namespace: str, way: Way) -> list[Rule]:
        rule = Rule(mark(ACCEPTED, ACCEPTED), protocol=protocol)
        everything = any("port" not in port for port in ports)
        named = [] if everything else [port["port"] for port in ports if isinstance(port["port"], str)]
        numbers = () if everything else _simplified((p["port"], p.get("endPort") or p["port"]) for p in ports if not isinstance(p["port"], str))
        pods, key = self._selected(peer, namespace)
        limited_to = pods if way is EGRESS and pods is not None else self.world.pods
        names = [self.port_set(key if limited_to is pods else "", limited_to, protocol, port) for port in named]
        if pods is not None and not (names and way is EGRESS):
            rule = replace(rule, members=(Member(self.address_set(key, pods), way.side),))
        blocks: list[Rule] = []
        parts = _split(numbers)
        if len(parts) + len(names) > 1:
            blocks.append(Rule(mark(0, SCRATCH | BLOCK)))
            blocks += [Rule(mark(SCRATCH, SCRATCH), protocol=protocol, ports=part) for part in parts]
            blocks += [Rule(mark(SCRATCH, SCRATCH), protocol=protocol, port_set=name) for name in names]
        elif parts:
            rule = replace(rule, ports=parts[0])
        elif names:
            rule = replace(rule, port_set=names[0])
        network = peer.get("ipBlock")
        if network:
            side = "source" if way is INGRESS else "destination"
            rule = replace(rule, **{side: network["cidr"]})
            excepted = network.get("except") or []
            if excepted and not blocks:
                blocks.append(Rule(mark(SCRATCH, SCRATCH | BLOCK)))
            blocks += [Rule(mark(0, SCRATCH), **{side: one}) for one in excepted]
        if blocks:
            rule = replace(rule, marked=(SCRATCH, SCRATCH))
        return [*blocks, rule]

    def _selected(self, peer: Json, namespace: str) -> tuple[list[Endpoint] | None, str]:
        """The pods of a peer, None where it is no selector; and what tells its set from others."""
        if "podSelector" not in peer and "namespaceSelector" not in peer:
            return None, ""
        own = "" if peer.get("namespaceSelector") is not None else namespace
        return self.world.peers(peer, namespace), repr((own, peer.get("namespaceSelector"), peer.get("podSelector")))

    def chosen(self, pod: Endpoint, way: Way) -> list[Json]:
        """The policies of a pod in one direction, in Felix's order: all of Kubernetes' have the same, so by name and namespace."""
        found = []
        for policy in self.world.policies:
            spec, meta = policy["spec"], policy["metadata"]
            kinds = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
            if meta["namespace"] == pod.namespace and way.kind in kinds and fits(dict(pod.labels), spec.get("podSelector") or {}):
                found.append(policy)
        return sorted(found, key=lambda policy: (policy["metadata"]["name"], policy["metadata"]["namespace"]))

    def policy_chain(self, policy: Json, way: Way) -> str:
        name = self.name(way.policy, f"knp/{policy['metadata']['namespace']}/{policy['metadata']['name']}")
        if name not in self.out.chains["filter"]:
            self.out.chain("filter", name, self.policy_rules(policy, way))
        return name

    def groups(self, policies: list[Json]) -> list[list[Json]]:
        """Neighbours with the same selector."""
        found: list[list[Json]] = []
        for policy in policies:
            if found and repr(found[-1][0]["spec"].get("podSelector")) == repr(policy["spec"].get("podSelector")):
                found[-1].append(policy)
            else:
                found.append([policy])
        return found

    def group_chain(self, group: list[Json], way: Way) -> str:
        if len(group) == 1:
            return self.policy_chain(group[0], way)
        chains = [self.policy_chain(policy, way) for policy in group]
        name = way.group + hashed(" ".join(chains), 16)
        if name not in self.out.chains["filter"]:
            rules = []
            for number, chain in enumerate(chains):
                first = number % STRIDE == 0
                if number and first:
                    rules.append(Rule(RETURN, "Return on verdict", any_mark=ACCEPTED | PASSED))
                rules.append(Rule(jump(chain), marked=None if first else (0, ACCEPTED | PASSED)))
            self.out.chain("filter", name, rules)
        return name

    # ---- endpoints
    def profile_chain(self, profile: str, way: Way) -> str:
        name = self.name(way.profile, profile)
        if name not in self.out.chains["filter"]:
            allows = mark(ACCEPTED, ACCEPTED) if profile.startswith("kns.") else NONE
            self.out.chain("filter", name, [Rule(allows, f"Profile {profile} {way.kind.lower()}")])
        return name

    def endpoint_chain(self, pod: Endpoint, way: Way) -> str:
        rules = [
            Rule(ACCEPT, states="RELATED,ESTABLISHED"),
            Rule(DROP, states="INVALID"),
            Rule(mark(0, ACCEPTED | PASSED)),
        ]
        if way is EGRESS:
            rules += [
                Rule(DROP, "Drop VXLAN encapped packets originating in workloads", protocol="udp", ports=((VXLAN_PORT, VXLAN_PORT),)),
                Rule(DROP, "Drop IPinIP encapped packets originating in workloads", protocol="ipencap"),
            ]
        policies = self.chosen(pod, way)
        if policies:
            rules.append(Rule(mark(0, PASSED), "Start of tier default"))
            for group in self.groups(policies):
                rules.append(Rule(jump(self.group_chain(group, way)), marked=NOT_PASSED))
                rules.append(Rule(RETURN, "Return if policy accepted", marked=IS_ACCEPTED))
            rules.append(Rule(DROP, "End of tier default. Drop if no policies passed packet", marked=NOT_PASSED))
        for profile in pod.profiles:
            rules.append(Rule(jump(self.profile_chain(profile, way))))
            rules.append(Rule(RETURN, "Return if profile accepted", marked=IS_ACCEPTED))
        rules.append(Rule(DROP, "Drop if no profiles matched"))
        return self.out.chain("filter", way.endpoint + pod.interface, rules)

    # ---- the whole
    def write(self) -> Ruleset:
        for way in WAYS:
            chains = tuple((pod.interface, self.endpoint_chain(pod, way)) for pod in self.world.local)
            self.out.chain("filter", way.dispatch, self._dispatch(way, self._tree(way, chains)))
        self._fixed_sets()
        self._filter()
        self._raw()
        self._mangle()
        self._nat()
        return self.out

    @staticmethod
    def _dispatch(way: Way, chains: tuple[tuple[str, str], ...]) -> list[Rule]:
        device = "cali+"
        by_device = Rule(NONE, inward=device, dispatch=chains) if way is EGRESS else Rule(NONE, outward=device, dispatch=chains)
        return [by_device, Rule(DROP, "Unknown interface")]

    def _tree(self, way: Way, chains: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        """By device; in iptables those with the same next letter share a chain of their own."""
        if self.nft or len(chains) < 2:
            return chains
        first, last = chains[0][0], chains[-1][0]  # they are in order
        length = next(place for place in range(len(first)) if first[place] != last[place]) + 1
        found: list[tuple[str, str]] = []
        for start, group in itertools.groupby(chains, lambda item: item[0][:length]):
            together = tuple(group)
            if len(together) == 1:
                found += together
            else:
                child = self.out.chain("filter", f"{way.dispatch}-{start[length - 1 :]}", self._dispatch(way, together))
                found.append((f"{start}+", child))
        return tuple(found)

    def _fixed_sets(self) -> None:
        pools = [pool["spec"] for pool in self.world.pools if ":" not in pool["spec"]["cidr"]]
        own = {"127.0.0.0", "127.0.0.1"}
        others = set()
        for node in self.world.nodes:
            addresses = {item["address"] for item in node.get("status", {}).get("addresses", []) if item["type"] == "InternalIP" and ":" not in item["address"]}
            if node["metadata"]["name"] == self.world.node:
                own |= addresses
            else:
                others |= addresses
        tunnel = self.world.tunnel_addresses.get(self.world.node)
        self.out.sets |= {
            "cali40this-host": AddressSet("hash:ip", frozenset(own | ({tunnel} if tunnel else set()))),
            "cali40network-ip-pools": AddressSet("hash:net", frozenset(pool["cidr"] for pool in pools)),
            "cali40masq-ipam-pools": AddressSet("hash:net", frozenset(pool["cidr"] for pool in pools if pool.get("natOutgoing"))),
            "cali40dscp-src-net": AddressSet("hash:net", frozenset()),
        }
        if self.world.tunnel == "ipip":
            self.out.sets["cali40all-hosts-net"] = AddressSet("hash:net", frozenset(others | (own - {"127.0.0.0", "127.0.0.1"})))
        if self.world.tunnel == "vxlan":
            self.out.sets["cali40all-vxlan-net"] = AddressSet("hash:net", frozenset(others))

    def _tunnel_rules(self, side: Direction) -> list[Rule]:
        """What may come out of the tunnel (src), or go into it (dst)."""
        other: Direction = "dst" if side == "src" else "src"
        told = "from" if side == "src" else "to other"
        if self.world.tunnel == "ipip":
            hosts = (Member("cali40all-hosts-net", side),)
            said = f"Allow IPIP packets {told} Calico hosts"
            found = [Rule(ACCEPT, said, protocol="ipencap", members=hosts, local=other)]
            return [*found, Rule(DROP, "Drop IPIP packets from non-Calico hosts", protocol="ipencap")] if side == "src" else found
        if self.world.tunnel == "vxlan":
            hosts, ports = (Member("cali40all-vxlan-net", side),), ((VXLAN_PORT, VXLAN_PORT),)
            said = f"Allow IPv4 VXLAN packets {told} allowed hosts"
            found = [Rule(ACCEPT, said, protocol="udp", ports=ports, members=hosts, local=other, late=True)]
            drop = Rule(DROP, "Drop IPv4 VXLAN packets from non-allowed hosts", protocol="udp", ports=ports, local="dst", late=True)
            return [*found, drop] if side == "src" else found
        return []

    def _hook(self, table: str, kernel: str, chain: str) -> None:
        self.out.first[(table, kernel)] = [Rule(jump(chain))]

    def _filter(self) -> None:
        policed = "Host endpoint policy accepted packet."
        clear, accepted = Rule(mark(0, OURS)), Rule(ACCEPT, marked=IS_ACCEPTED)
        for name in ("cali-cidr-block", "cali-from-hep-forward", "cali-from-host-endpoint", "cali-to-hep-forward", "cali-to-host-endpoint"):
            self.out.chain("filter", name)
        self.out.chain("filter", "cali-FORWARD", [
            Rule(mark(0, OURS & ~ACCEPTED)),
            Rule(jump("cali-from-hep-forward"), marked=(0, ACCEPTED)),
            Rule(jump("cali-from-wl-dispatch"), inward="cali+"),
            Rule(jump("cali-to-wl-dispatch"), outward="cali+"),
            Rule(jump("cali-to-hep-forward")),
            Rule(jump("cali-cidr-block")),
        ])  # fmt: skip
        self.out.chain("filter", "cali-INPUT", [
            *self._tunnel_rules("src"), Rule(goto("cali-wl-to-host"), inward="cali+"), accepted, clear, Rule(jump("cali-from-host-endpoint")),
            replace(accepted, comment=policed),
        ])  # fmt: skip
        self.out.chain("filter", "cali-OUTPUT", [
            accepted, Rule(RETURN, outward="cali+"), *self._tunnel_rules("dst"), clear, Rule(jump("cali-to-host-endpoint"), states="!DNAT"),
            replace(accepted, comment=policed),
        ])  # fmt: skip
        self.out.chain("filter", "cali-wl-to-host", [Rule(jump("cali-from-wl-dispatch")), Rule(ACCEPT, "Configured DefaultEndpointToHostAction")])
        for kernel in ("INPUT", "FORWARD", "OUTPUT"):
            self._hook("filter", kernel, f"cali-{kernel}")
        self.out.last[("filter", "FORWARD")] = [
            replace(accepted, comment="Policy explicitly accepted packet."),
            Rule(mark(ACCEPTED, ACCEPTED)),
        ]

    def _raw(self) -> None:
        clear, accepted = Rule(mark(0, OURS)), Rule(ACCEPT, marked=IS_ACCEPTED)
        untracked = [Rule(NOTRACK, protocol="udp", ports=((VXLAN_PORT, VXLAN_PORT),))] if self.world.tunnel == "vxlan" else []
        for name in ("cali-from-host-endpoint", "cali-rpf-skip", "cali-to-host-endpoint"):
            self.out.chain("raw", name)
        self.out.chain("raw", "cali-PREROUTING", [
            clear, *untracked,
            Rule(mark(SCRATCH, SCRATCH), inward="cali+"),
            Rule(jump("cali-rpf-skip"), marked=(SCRATCH, SCRATCH)),
            Rule(DROP, marked=(SCRATCH, SCRATCH), reverse=True),
            Rule(jump("cali-from-host-endpoint"), marked=(0, SCRATCH)),
            accepted,
        ])  # fmt: skip
        self.out.chain("raw", "cali-OUTPUT", [clear, Rule(jump("cali-to-host-endpoint")), *untracked, accepted])
        for kernel in ("PREROUTING", "OUTPUT"):
            self._hook("raw", kernel, f"cali-{kernel}")

    def _mangle(self) -> None:
        policed = "Host endpoint policy accepted packet."
        clear = Rule(mark(0, OURS))
        for name in ("cali-egress-dscp", "cali-from-host-endpoint", "cali-to-host-endpoint"):
            self.out.chain("mangle", name)
        leaving = (Member("cali40dscp-src-net", "src"), Member("cali40network-ip-pools", "dst", False), Member("cali40this-host", "dst", False))
        self.out.chain("mangle", "cali-PREROUTING", [
            Rule(ACCEPT, states="RELATED,ESTABLISHED"), Rule(ACCEPT, marked=IS_ACCEPTED), Rule(jump("cali-from-host-endpoint")),
            Rule(ACCEPT, policed, marked=IS_ACCEPTED),
        ])  # fmt: skip
        self.out.chain("mangle", "cali-POSTROUTING", [
            Rule(jump("cali-egress-dscp"), "set dscp for traffic leaving cluster.", members=leaving), Rule(RETURN, marked=IS_ACCEPTED), clear,
            Rule(jump("cali-to-host-endpoint"), states="DNAT"), Rule(RETURN, policed, marked=IS_ACCEPTED),
        ])  # fmt: skip
        for kernel in ("PREROUTING", "POSTROUTING"):
            self._hook("mangle", kernel, f"cali-{kernel}")

    def _nat(self) -> None:
        outgoing = (Member("cali40masq-ipam-pools", "src"), Member("cali40network-ip-pools", "dst", False))
        device = {"ipip": "tunl0", "vxlan": "vxlan.calico"}.get(self.world.tunnel, "")
        chains: dict[str, Sequence[Action | Rule]] = {
            "cali-fip-dnat": [],
            "cali-fip-snat": [],
            "cali-nat-outgoing": [Rule(MASQUERADE, members=outgoing)] if self.out.sets["cali40masq-ipam-pools"].members else [],
            "cali-PREROUTING": [jump("cali-fip-dnat")],
            "cali-OUTPUT": [jump("cali-fip-dnat")],
            "cali-POSTROUTING": [jump("cali-fip-snat"), jump("cali-nat-outgoing"), *([Rule(MASQUERADE, tunnel=device)] if device else [])],
        }
        for name, rules in chains.items():
            self.out.chain("nat", name, [rule if isinstance(rule, Rule) else Rule(rule) for rule in rules])
        for kernel in ("PREROUTING", "OUTPUT", "POSTROUTING"):
            self._hook("nat", kernel, f"cali-{kernel}")


POLICED = ("pods", "namespaces", "networkpolicies", "ippools", "nodes")


def read(client: Client) -> dict[str, list[Json]]:
    """What the rules follow from."""
    return {resource: client.list(resource) for resource in POLICED}


def world_of(node: str, lists: dict[str, list[Json]], tunnel: str = "") -> World:
    """What of the API's lists a node's rules depend on; tunnel: "ipip", "vxlan" or ""."""
    pods = [endpoint for endpoint in map(Endpoint.of, lists["pods"]) if endpoint]
    labels = {item["metadata"]["name"]: {"kubernetes.io/metadata.name": item["metadata"]["name"], **(item["metadata"].get("labels") or {})}
              for item in lists["namespaces"]}  # fmt: skip
    addresses = {item["metadata"]["name"]: annotations_of(item).get(TUNNEL_ANNOTATION[tunnel], "") for item in lists["nodes"]} if tunnel else {}
    return World(node, pods, labels, lists["networkpolicies"], lists["ippools"], lists["nodes"], tunnel, addresses)


def told(lists: dict[str, list[Json]]) -> str:
    """Which policies, labels of namespaces and pods there are, in a few letters."""
    policies = [(item["metadata"]["namespace"], item["metadata"]["name"], item["spec"]) for item in lists["networkpolicies"]]
    labels = [(item["metadata"].get("namespace", ""), item["metadata"]["name"], item["metadata"].get("labels") or {})
              for resource in ("namespaces", "pods") for item in lists[resource]]  # fmt: skip
    return hashed(json.dumps([sorted(policies, key=repr), sorted(labels, key=repr)], sort_keys=True), 16)


def rules_of(world: World, nft: bool = False) -> Ruleset:
    """All rules and sets of a node."""
    return Writer(world, nft).write()
