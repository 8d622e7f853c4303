# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: whose rule it was that ended a packet: a policy's, Calico's own, kube-proxy's, or a foreign one (calico.md 5).

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ._netfilter_rules import JUMP, Step

Owner = t.Literal["policy", "tier", "host endpoint", "profile", "unknown interface", "reverse path", "invalid", "calico", "kube-proxy", "foreign"]
# the kinds as Felix writes them into comments; "Policy" alone before v3.31
_POLICY = re.compile(r"\b((?:Kubernetes|Global|Staged|Cluster|KubernetesCluster)*(?:NetworkPolicy)|Policy) (\S+)(?: (ingress|egress))?")
_TIER = re.compile(r"End of tier ([^.\s]+)\.")
_COUNTER = re.compile(r"counter packets \d+ bytes \d+ ?")
_NFT_TABLE = re.compile(r"^(?:raw|mangle|nat|filter)-(?=cali-)")
_HOST_ENDPOINT = re.compile(r"^cali-(?:th|fh|thfw|fhfw|to-host|from-host|to-hep|from-hep)")
_POLICY_CHAIN = re.compile(r"^cali-(?:pi|po|gi|go)-")


@dataclass(frozen=True)
class Blame:
    """owner: whose rule it is. policies: those that decided, or, at the end of a tier, those that apply and do not allow it. step: the rule that decided."""

    owner: Owner
    step: Step
    policies: tuple[str, ...] = ()
    tier: str = ""

    @property
    def where(self) -> str:
        """`iptables (nft), table filter, chain FORWARD, line 2`."""
        place = f", line {self.step.rule.number}" if self.step.rule is not None else ""
        return f"{self.step.base.backend}, table {self.step.base.table}, chain {self.step.chain}{place}"

    @property
    def rule(self) -> str:
        """The rule, or the policy of the chain, as its tool prints it, without what it has counted."""
        return _COUNTER.sub("", self.step.line)

    @property
    def line(self) -> str:
        packets = self.step.packets
        return self.rule if packets is None else f"{self.rule} ({packets} packets)"


def calico_chain(name: str) -> str | None:
    """The name of a chain of Felix as it is in iptables; None for another's."""
    plain = _NFT_TABLE.sub("", name)
    return plain if plain.startswith("cali-") else None


def policies_in(text: str) -> Iterator[str]:
    """`NetworkPolicy shop/api-from-web` of each policy that a comment names."""
    for kind, name, _direction in _POLICY.findall(text):
        yield f"{kind} {name}"


def blame(steps: Sequence[Step]) -> Blame:
    """Of the rules that a packet met, the last of which ended it."""
    last = steps[-1]
    chain, comment, line = calico_chain(last.chain), last.rule.comment if last.rule is not None else "", last.line
    if chain is None:
        kube = last.chain.startswith("KUBE-") or last.base.table.endswith(" kube-proxy")
        return Blame("kube-proxy" if kube else "foreign", last)
    if "Unknown interface" in comment:
        return Blame("unknown interface", last)
    if "rpfilter" in line or "fib saddr" in line:
        return Blame("reverse path", last)
    if _POLICY_CHAIN.match(chain):
        return _explicit(steps, last)
    if "INVALID" in line or "ct state invalid" in line:
        return Blame("invalid", last)
    if "Drop if no policies passed" in comment:
        tier = _TIER.search(comment)
        owner: Owner = "host endpoint" if _HOST_ENDPOINT.match(chain) else "tier"
        return Blame(owner, last, tuple(_applied(steps, last)), tier[1] if tier else "default")
    if _HOST_ENDPOINT.match(chain):
        return Blame("host endpoint", last)
    return Blame("profile" if "no profiles matched" in comment else "calico", last)


def _explicit(steps: Sequence[Step], last: Step) -> Blame:
    """The rule of a policy that denies: it drops, or it marks what the next rule drops (real-calico.md 25)."""
    for step in reversed(steps):
        if step.chain != last.chain or step.base is not last.base:
            break
        named = tuple(policies_in(step.rule.comment)) if step.rule is not None else ()
        if named:
            return Blame("policy", step, named)
    return Blame("policy", last, tuple(_named(last, last.chain)))


def _applied(steps: Sequence[Step], last: Step) -> Iterator[str]:
    """The policies whose chains were asked from the chain that dropped."""
    seen: set[str] = set()
    for step in steps:
        if step.base is last.base and step.rule is not None and step.rule.verdict == JUMP and _POLICY_CHAIN.match(calico_chain(step.rule.target) or ""):
            for name in _named(step, step.rule.target):
                if name not in seen and (step.chain == last.chain or calico_chain(step.chain) is not None):
                    seen.add(name)
                    yield name


def _named(step: Step, chain: str) -> Iterator[str]:
    """The policies that the comments of a chain name, once each; its own name where they name none."""
    found = dict.fromkeys(name for rule in step.base.chains.get(chain, []) for name in policies_in(rule.comment))
    if found:
        yield from found
    elif (calico_chain(chain) or "").startswith(("cali-pi-", "cali-po-")):
        yield chain


def of_host_endpoint(step: Step) -> bool:
    """Whether a rule that ends a packet to or from the node itself is a HostEndpoint's: in its own chains, or in a policy's."""
    chain = calico_chain(step.chain) or ""
    return bool(_HOST_ENDPOINT.match(chain) or (_POLICY_CHAIN.match(chain) and step.base.hook in ("input", "output")))


def untracked_by(steps: Sequence[Step]) -> tuple[str, ...]:
    """The policy that keeps the packet out of connection tracking (doNotTrack); () where none does.

    Source: Felix's raw table marks what such a policy allows, and a rule after it says NOTRACK, also for what the node forwards.
    """
    at = next((number for number, step in enumerate(steps) if "notrack" in step.line.lower()), None)
    if at is None:
        return ()
    for step in reversed(steps[:at]):
        named = tuple(policies_in(step.rule.comment)) if step.rule is not None and step.base is steps[at].base else ()
        if named:
            return named
    return ()


def misreads_status(steps: Sequence[Step]) -> bool:
    """Whether a translated packet met a rule of Felix for those that are not: `ct status != dnat` compares the whole status word, of which DNAT is one bit."""
    translated = False
    for step in steps:
        translated = translated or "dnat to" in step.line
        if translated and "ct status != dnat" in step.line and calico_chain(step.chain) is not None:
            return True
    return False
