# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: all policies of a cluster in the order in which Calico asks them, and what they decide about one packet at one endpoint.

from __future__ import annotations

import math
import typing as t
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from . import _policy_kubernetes as kubernetes
from ._cluster import Cluster
from ._json import Json, NotCollected, as_list, as_mapping
from ._policy_members import Member, Members, members_of, served
from ._policy_rules import Packet, Rule, rules_of
from ._topology import at_least

Way = t.Literal["ingress", "egress"]
Chain = t.Literal["normal", "forward", "untracked", "prednat"]
WAYS: tuple[Way, ...] = ("ingress", "egress")
DEFAULT_ALLOW = "projectcalico-default-allow"
DEFAULT_TIER_ORDER = 1_000_000.0
# tiers that Calico makes by itself: name -> (order, default action)
OWN_TIERS = {"default": (DEFAULT_TIER_ORDER, "Deny"), "kube-admin": (1000.0, "Pass"), "kube-baseline": (10_000_000.0, "Pass"),
             "adminnetworkpolicy": (1000.0, "Pass"), "baselineadminnetworkpolicy": (10_000_000.0, "Pass")}  # fmt: skip


@dataclass(frozen=True)
class Tier:
    name: str
    order: float
    default: str  # deny, pass

    @property
    def key(self) -> tuple[float, str]:
        return self.order, self.name


@dataclass(frozen=True)
class Policy:
    """One policy. `trouble` says why it cannot be understood; wherever it might apply nothing can be told then."""

    kind: str
    api: str
    name: str
    namespace: str
    tier: str
    order: float
    sort_name: str
    ways: frozenset[str]
    selector: str = "all()"
    namespace_selector: str = ""
    account_selector: str = ""
    chains: frozenset[Chain] = frozenset({"normal"})
    rules: Mapping[Way, tuple[Rule, ...]] = field(default_factory=dict, hash=False, compare=False)
    spec: Mapping[str, Json] = field(default_factory=dict, hash=False, compare=False)
    trouble: str = ""

    @property
    def key(self) -> tuple[float, str, str, str]:
        return self.order, self.sort_name, self.namespace, self.kind

    @property
    def label(self) -> str:
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{'Calico ' if self.kind == 'NetworkPolicy' and 'calico' in self.api else ''}{self.kind} {name}"

    def selects(self, member: Member, members: Members) -> bool:
        """Errors: NotCollected."""
        if self.namespace:
            if member.kind != "pod" or member.namespace != self.namespace:
                return False
        elif member.kind != "pod" and (self.namespace_selector or self.account_selector or self.kind != "GlobalNetworkPolicy"):
            return False
        if self.trouble:
            raise NotCollected(f"{self.label}: {self.trouble}")
        if self.namespace_selector and not members.in_namespace(member, self.namespace_selector):
            return False
        if self.account_selector and not members.has_account(member, self.account_selector):
            return False
        return members.selects(member, self.selector)


@dataclass(frozen=True)
class Decision:
    """action: allow, deny, or none, where no policy of this chain has a say. by and rule are None where no rule matched.

    asked: the policies that apply to the endpoint in this direction, in their order; why: one clause for a report.
    """

    action: t.Literal["allow", "deny", "none"]
    why: str
    by: Policy | None = None
    rule: int | None = None
    tier: str = ""
    asked: tuple[Policy, ...] = ()


def _order(value: Json) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.inf


class Policies:
    """The policies and tiers of a cluster document; each endpoint that is asked for is held against the selectors once."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.members = members_of(cluster)
        self._asked: dict[tuple[tuple[str, str], Way, Chain], list[tuple[Tier, list[Policy]]]] = {}

    # ------------------------------------------------------------------ reading

    @cached_property
    def tiers(self) -> dict[str, Tier]:
        found = {name: Tier(name, order, default.lower()) for name, (order, default) in OWN_TIERS.items()}
        for raw in served(self.cluster, "tiers"):
            name, spec = str(as_mapping(raw.get("metadata")).get("name")), as_mapping(raw.get("spec"))
            own = OWN_TIERS.get(name, (math.inf, "Deny"))
            order = own[0] if spec.get("order") is None else _order(spec["order"])
            found[name] = Tier(name, order, str(spec.get("defaultAction") or own[1]).lower())
        return found

    @cached_property
    def all(self) -> list[Policy]:
        """Errors: NotCollected, where a kind of policy could not be read."""
        found = [*self._network_policies(), *self._calico_policies("calico_networkpolicies"), *self._calico_policies("globalnetworkpolicies")]
        for section, kind, tier in (
            ("clusternetworkpolicies", "ClusterNetworkPolicy", ""),
            ("adminnetworkpolicies", "AdminNetworkPolicy", "adminnetworkpolicy"),
            ("baselineadminnetworkpolicies", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicy"),
        ):
            found += self._cluster_policies(section, kind, tier)
        return sorted(found, key=lambda policy: policy.key)

    def _sort_name(self, kind: str, name: str, tier: str) -> str:
        """Since v3.32 plain names; before, the names under which the policies were stored."""
        if at_least(self.cluster.calico_version, (3, 32)):
            return name
        if kind == "networking.k8s.io":
            return f"knp.default.{name}"
        return name if name.startswith(f"{tier}.") else f"{tier}.{name}"

    def _network_policies(self) -> Iterator[Policy]:
        for raw in self.cluster.section("networkpolicies"):
            metadata, spec = as_mapping(raw.get("metadata")), as_mapping(raw.get("spec"))
            name, namespace = str(metadata.get("name")), str(metadata.get("namespace"))

            def read(spec: Mapping[str, Json] = spec, namespace: str = namespace) -> dict[str, Json]:
                rules = {way: tuple(kubernetes.network_policy_rules(spec, way, namespace)) for way in WAYS}
                return {"selector": kubernetes.pod_selector(spec.get("podSelector")), "rules": rules}

            yield self._made(read, kind="NetworkPolicy", api="networking.k8s.io/v1", name=name, namespace=namespace, tier="default", order=1000.0,
                             sort_name=self._sort_name("networking.k8s.io", name, "default"), ways=kubernetes.directions(spec), spec=spec)  # fmt: skip

    @staticmethod
    def _made(read: Callable[[], dict[str, Json]], **known: t.Any) -> Policy:
        try:
            return Policy(**known, **read())
        except NotCollected as exc:
            return Policy(**known, trouble=exc.reason)

    def _calico_policies(self, section: str) -> Iterator[Policy]:
        kind = "NetworkPolicy" if section == "calico_networkpolicies" else "GlobalNetworkPolicy"
        for raw in served(self.cluster, section):
            metadata, spec = as_mapping(raw.get("metadata")), as_mapping(raw.get("spec"))
            name, namespace = str(metadata.get("name")), str(metadata.get("namespace") or "")
            types, tier = as_list(spec.get("types")), str(spec.get("tier") or "default")
            chains: frozenset[Chain] = frozenset({"normal", "forward"} if spec.get("applyOnForward") else {"normal"})
            if spec.get("doNotTrack"):
                chains = frozenset({"untracked"})
            elif spec.get("preDNAT"):
                chains = frozenset({"prednat"})
            yield Policy(
                kind=kind, api="projectcalico.org/v3", name=name, namespace=namespace, tier=tier, order=_order(spec.get("order")),
                sort_name=self._sort_name("projectcalico.org", name, tier), ways=frozenset(str(way).lower() for way in types) or frozenset(WAYS),
                selector=str(spec.get("selector") or "all()"), namespace_selector=str(spec.get("namespaceSelector") or ""),
                account_selector=str(spec.get("serviceAccountSelector") or ""), chains=chains,
                rules={way: rules_of(spec, way, namespace) for way in WAYS}, spec=spec,
                trouble="" if tier in self.tiers else f"the API knows no tier {tier}",
            )  # fmt: skip

    def _cluster_policies(self, section: str, kind: str, tier: str) -> Iterator[Policy]:
        for raw in served(self.cluster, section):
            name, spec = str(as_mapping(raw.get("metadata")).get("name")), as_mapping(raw.get("spec"))
            own_tier = tier or ("kube-baseline" if spec.get("tier") == "Baseline" else "kube-admin")

            def read(spec: Mapping[str, Json] = spec) -> dict[str, Json]:
                selector, namespaces = kubernetes.subject(spec)
                rules = {way: tuple(kubernetes.cluster_policy_rules(spec, way)) for way in WAYS}
                return {"selector": selector, "namespace_selector": namespaces, "rules": rules}

            yield self._made(read, kind=kind, api="policy.networking.k8s.io", name=name, namespace="", tier=own_tier, order=_order(spec.get("priority")),
                             sort_name=name, ways=frozenset(way for way in WAYS if spec.get(way)), spec=spec)  # fmt: skip

    @cached_property
    def _by_namespace(self) -> dict[str, list[Policy]]:
        result: dict[str, list[Policy]] = {}
        for policy in self.all:
            result.setdefault(policy.namespace, []).append(policy)
        return result

    def asked(self, member: Member, way: Way, chain: Chain) -> list[tuple[Tier, list[Policy]]]:
        """The tiers that have a policy for this endpoint in this direction and chain, in their order. Errors: NotCollected."""
        key = (member.id, way, chain)
        if key not in self._asked:
            by_tier: dict[str, list[Policy]] = {}
            mine = [*self._by_namespace.get("", []), *(self._by_namespace.get(member.namespace, []) if member.namespace else [])]
            for policy in sorted(mine, key=lambda policy: policy.key):
                applies = chain in policy.chains or (chain == "normal" and member.kind == "pod" and not policy.chains & {"untracked", "prednat"})
                if applies and way in policy.ways and policy.selects(member, self.members):
                    by_tier.setdefault(policy.tier, []).append(policy)
            self._asked[key] = sorted(((self.tiers[name], policies) for name, policies in by_tier.items()), key=lambda pair: pair[0].key)
        return self._asked[key]

    # ------------------------------------------------------------------ deciding

    def decide(self, member: Member, way: Way, packet: Packet, chain: Chain = "normal") -> Decision:
        """What the policies, and after them the profiles, say of a packet that comes to (ingress) or from (egress) an endpoint. Errors: NotCollected."""
        tiers = self.asked(member, way, chain)
        asked = tuple(policy for _tier, policies in tiers for policy in policies)
        ends = chain in ("normal", "forward")  # the others only pick out what they name
        for tier, policies in tiers:
            action, policy, rule = _first(policies, way, packet, self.members)
            if policy is not None and rule is not None and action != "pass":
                done: t.Literal["allow", "deny"] = "allow" if action == "allow" else "deny"
                return Decision(done, f"rule {rule.number} of {policy.label} {'allows' if done == 'allow' else 'denies'} it", policy, rule.number, tier.name,
                                asked)  # fmt: skip
            if policy is None and ends and tier.default != "pass":
                return Decision("deny", f"no rule of the policies that apply to {member.key} allows it", tier=tier.name, asked=asked)
        if chain != "normal":
            return Decision("none", "no policy of this chain decides it", asked=asked)
        return self._profiles(member, asked)

    def _profiles(self, member: Member, asked: tuple[Policy, ...]) -> Decision:
        """What no policy decides: a pod's namespace allows it, a HostEndpoint's own profiles decide."""
        if member.kind == "pod":
            self.members.namespace_labels(member.namespace)
            return Decision("allow", f"the profile of namespace {member.namespace} allows what no policy decides", asked=asked)
        for profile in member.profiles:
            if profile == DEFAULT_ALLOW or profile.startswith(("kns.", "ksa.")):
                return Decision("allow", f"profile {profile} allows what no policy decides", asked=asked)
        if member.profiles:
            raise NotCollected(f"HostEndpoint {member.name} has the profile {member.profiles[0]}, whose rules are not read")
        return Decision("deny", f"no policy decides it, and HostEndpoint {member.name} has no profile", asked=asked)


def _first(policies: list[Policy], way: Way, packet: Packet, members: Members) -> tuple[str, Policy | None, Rule | None]:
    """The first rule that decides. Errors: NotCollected, where whether one matches cannot be told."""
    for policy in policies:
        for rule in policy.rules.get(way, ()):
            if rule.action == "log" or not rule.matches(packet, members):
                continue
            if rule.action not in ("allow", "deny", "pass"):
                raise NotCollected(f"rule {rule.number} of {policy.label} has the action {rule.action[:30]!r}, which is not known here")
            return rule.action, policy, rule
    return "", None, None


def policies_of(cluster: Cluster) -> Policies:
    return cluster.once("policies", lambda: Policies(cluster))
