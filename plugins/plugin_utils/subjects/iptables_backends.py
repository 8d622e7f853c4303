# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Whether Felix, kube-proxy and what else there is write into one backend of iptables; the kernel runs the rules of both (calico.md F07).

from __future__ import annotations

import json
import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._dataplane import felix_setting
from .._documents import Documents, NodeFacts
from .._graph import Fact, Finding, NotApplicable
from .._json import Json, NotCollected, as_mapping
from .._packet_blame import Blame, calico_chain
from .._question import Scope
from .._remedies import dead_felix, restart_calico_node
from .._topology import families

if t.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .._diagnosis import Diagnosis

BACKENDS = {"iptables (nft)": "NFT", "iptables (legacy)": "Legacy"}  # and Felix's words for them
COMMANDS = {"iptables (nft)": "iptables-nft", "iptables (legacy)": "iptables-legacy"}
KUBE_PROXY = ("KUBE-SERVICES", "KUBE-FORWARD")  # kubelet has chains of its own, whose names begin with KUBE-, too
FAMILIES = {"ipv4": "inet", "ipv6": "inet6"}
SHOWN = 3


class Apart(t.NamedTuple):
    """The one backend that Felix writes into on a node, and the other one, that kube-proxy writes into."""

    felix: str
    kube_proxy: str


def _with(facts: NodeFacts, family: str, chain: t.Callable[[str], bool]) -> set[str]:
    """The backends that have such chains. Errors: NotCollected."""
    return {base.backend for base in facts.filters(family).bases if any(chain(name) for name in base.chains)}


def _of_felix(name: str) -> bool:
    return calico_chain(name) is not None


def _of_kube_proxy(name: str) -> bool:
    return name in KUBE_PROXY


def _apart(facts: NodeFacts, family: str) -> Apart | None:
    """Errors: NotCollected."""
    felix, others = _with(facts, family, _of_felix), _with(facts, family, _of_kube_proxy)
    if len(felix) != 1 or len(others) != 1 or felix == others or not felix | others <= set(BACKENDS):
        return None
    return Apart(felix.pop(), others.pop())


def is_split(facts: NodeFacts, family: str, found: Blame) -> bool:
    """Whether a packet ends because Felix's rules are in another backend than those that end it.

    What is left in iptables-legacy beside a Felix that writes elsewhere; or the policy of FORWARD in the backend of kube-proxy, before which Felix accepts
    if it writes there: its ACCEPT is the last rule of FORWARD, so a rule that ends the packet there would come before it all the same.
    """
    base = found.step.base
    if base.backend == "iptables (legacy)" and any(backend != base.backend for backend in _with(facts, family, _of_felix)):
        return True
    apart = _apart(facts, family)
    return apart is not None and _by_policy_of_forward(found) and base.backend == apart.kube_proxy


def _by_policy_of_forward(found: Blame) -> bool:
    return found.step.rule is None and found.step.base.hook == "forward"


def _families(cluster: Cluster) -> list[str]:
    """As the packet filters name them."""
    return [FAMILIES[family] for family in families(cluster)]


@expects("felix.backend")
def one_backend(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    for node in scope.core if cluster.backend else ():
        yield Fact("felix.backend", node, value="Felix and kube-proxy write into one backend of iptables")


@check("netfilter.backend.apart", fact="felix.backend")
def in_one_backend(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """Only where what is forwarded ends in the backend that Felix does not write into."""
    facts, read = documents.node(fact.node), _families(documents.cluster)
    if not any(_with(facts, family, _of_felix) and _with(facts, family, _of_kube_proxy) for family in read):
        raise NotApplicable(f"{fact.node} does not have the chains of both Felix and kube-proxy")
    for family in read:
        apart = _apart(facts, family)
        for base in facts.filters(family).bases if apart is not None else ():
            if apart is not None and base.backend == apart.kube_proxy and base.hook == "forward" and base.kind == "filter" and base.policy == "drop":
                felix, others = COMMANDS[apart.felix], COMMANDS[apart.kube_proxy]
                evidence = f"{fact.node}: Felix writes into {felix}, kube-proxy into {others}, where the policy of {base.chain} is DROP"
                return Finding("netfilter.backend.apart", fact, felix, evidence, (f"netfilter {fact.node}",), severity="latent", hint={"apart": apart})
    return None


@cause(roots=("netfilter.backend.split", "netfilter.backend.apart"))
def backend_split(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    aside = [finding for finding in findings if finding.check == "netfilter.backend.apart"]
    places = {finding.fact.node for finding in aside}
    ended = []
    for finding in findings:
        if finding.check == "netfilter.backend.split":
            if finding.fact.node in places and _by_policy_of_forward(finding.hint["blame"]):
                ended.append(finding)
            else:
                yield _leftover(finding, diagnosis.documents)
    if aside:
        yield _elsewhere(ended, aside, diagnosis)


def _leftover(finding: Finding, documents: Documents) -> Cause:
    node, found = finding.fact.node, finding.hint["blame"]
    backend = COMMANDS[found.step.base.backend]
    advice = f"on {node}, flush the rules that are left in {backend} (a reboot does){_pinned_backend(documents)}"
    return Cause(
        "iptables_backend_split", "F07", node, f"{node} still has rules in {backend}, and they drop the packet: {found.line}", [finding],
        objects=[found.rule], why=[f"It is in {found.where}.", "The kernel runs the rules of both backends; what one accepts the other may drop."],
        remedies=[Remedy("advise_backend", "R0", advice, "", node=node, object=found.rule)],
    )  # fmt: skip


def _elsewhere(ended: Sequence[Finding], aside: list[Finding], diagnosis: Diagnosis) -> Cause:
    """Felix of some nodes writes into another backend than kube-proxy. ended: the packets that end there because of it."""
    worst = ended[0] if ended else aside[0]
    node = worst.fact.node
    apart: Apart = next(finding.hint["apart"] for finding in aside if finding.fact.node == node)
    felix, others = COMMANDS[apart.felix], COMMANDS[apart.kube_proxy]
    whom = "the packet" if ended else "what is forwarded between pods, unless a rule there accepts it"
    why = [finding.evidence for finding in aside[:SHOWN]]
    why.append("The kernel runs the rules of both backends: what Felix accepts in one still meets the policy of FORWARD in the other.")
    return Cause(
        "iptables_backend_split", "F07", node,
        f"Felix on {node} writes into {felix}, kube-proxy into {others}, and the policy DROP of FORWARD in {others} ends {whom}.", list(ended) or [worst],
        objects=[f"FelixConfiguration {_configuration(diagnosis.documents, node)}"], also=[f for f in aside if f is not worst] + dead_felix(diagnosis, node),
        why=why, remedies=_set_backend(diagnosis.documents, apart, aside, node),
    )  # fmt: skip


def _configuration(documents: Documents, node: str) -> str:
    """The name of the FelixConfiguration that decides on a node: its own where that one says it."""
    return f"node.{node}" if "iptablesBackend" in _configurations(documents).get(f"node.{node}", {}) else "default"


def _configurations(documents: Documents) -> dict[str, Mapping[str, Json]]:
    """What each FelixConfiguration says, by its name; nothing where they were not read."""
    try:
        found = documents.cluster.section("felixconfigurations")
    except NotCollected:
        return {}
    return {str(as_mapping(raw.get("metadata")).get("name")): as_mapping(raw.get("spec")) for raw in found}


def _set_backend(documents: Documents, apart: Apart, aside: Sequence[Finding], node: str) -> list[Remedy]:
    """Let Felix write where kube-proxy does (R3), where all that is known of the nodes speaks for it; otherwise advice."""
    cluster, wanted = documents.cluster, BACKENDS[apart.kube_proxy]
    felix, others = COMMANDS[apart.felix], COMMANDS[apart.kube_proxy]
    name = _configuration(documents, node)
    spec, served = _configurations(documents).get(name), str(cluster.document.get("calico_api") or "crd.projectcalico.org")
    was = (spec or {}).get("iptablesBackend")
    agree, objections = _kube_proxies(documents, apart.kube_proxy)
    if spec is None:
        objections.append(f"no FelixConfiguration {name} was read")
    else:
        objections += _decided_otherwise(cluster, node)
    command = f"kubectl patch felixconfigurations.{served.partition('/')[0]} {name} --type=merge -p "
    action, back = (command + f"'{json.dumps({'spec': {'iptablesBackend': value}})}'" for value in (wanted, was))
    if objections:
        advice = f"let Felix write into {others}, once it is sure that all nodes need that: {action} ({'; '.join(objections)})"
        return [Remedy("advise_backend", "R0", advice, "", node=node, object=f"FelixConfiguration {name}")]
    if str(was).lower() == wanted.lower():  # Felix has not heard of it
        return restart_calico_node(documents, node, f"Felix on {node} writes into {others}")
    whose = f"Felix of {node} starts" if name != "default" else f"Felix of all {len(cluster.nodes)} nodes starts"
    stay = f"what it has written into {felix} stays there, and drops the packets of pods that are made from then on, until it is flushed or the node reboots"
    mine = sorted(finding.fact.node for finding in aside)
    return [
        Remedy(
            "set_felix_backend", "R3", action, back, node=node, object=f"FelixConfiguration/{name} spec.iptablesBackend", change=(str(was or ""), wanted),
            parameters={"api": served, "name": name, "value": wanted, "was": was}, verify=f"Felix writes into {others} on {', '.join(mine)}",
            blast_radius=f"{whose} anew and writes all its rules once more, while packets are forwarded as before; {stay}", wait_seconds=60,
            preconditions=(f"iptablesBackend of FelixConfiguration {name} is {was or 'not set'}", f"kube-proxy writes into {others} on {agree}"),
        ),
        Remedy("advise_flush", "R0", f"soon after, node by node: reboot, or flush Felix's chains in {felix}, which it leaves alone", "", node=node),
    ]  # fmt: skip


def _decided_otherwise(cluster: Cluster, node: str) -> Iterator[str]:
    """Why Felix does not follow iptablesBackend of a FelixConfiguration."""
    try:
        if "FELIX_IPTABLESBACKEND" in cluster.calico_environment:
            yield "FELIX_IPTABLESBACKEND of calico-node's DaemonSet decides"
        if str(felix_setting(cluster, node, "nftablesMode")).lower() == "enabled":
            yield "Felix works without iptables (nftablesMode)"
    except NotCollected as exc:
        yield f"whether calico-node's environment decides is not known: {exc.reason}"


def _kube_proxies(documents: Documents, backend: str) -> tuple[str, list[str]]:
    """The nodes on which kube-proxy writes into a backend and no other, and what is known against it of the rest that was read."""
    agree, objections = [], []
    for facts in documents.collected():
        try:
            found = {one for family in _families(documents.cluster) for one in _with(facts, family, _of_kube_proxy)}
        except NotCollected:
            continue
        if found == {backend}:
            agree.append(facts.name)
        else:
            objections.append(f"kube-proxy on {facts.name} writes into {' and '.join(sorted(COMMANDS.get(one, one) for one in found)) or 'no iptables'}")
    return ", ".join(sorted(agree)), objections


def _pinned_backend(documents: Documents) -> str:
    """How Felix is kept to the backend of kube-proxy, where all nodes that were read show one; empty where it is, or where they show none."""
    found: set[str] = set()
    for facts in documents.collected():
        try:
            found |= _with(facts, "inet", _of_kube_proxy)
        except NotCollected:
            continue
    backend = BACKENDS.get(found.pop()) if len(found) == 1 else None
    try:
        present, served = documents.cluster.felix_configuration().get("iptablesBackend"), documents.cluster.document.get("calico_api")
    except NotCollected:
        return ""
    if backend is None or str(present).upper() == backend.upper() or not served:
        return ""
    name, value = f"felixconfigurations.{str(served).partition('/')[0]} default", f'{{"spec":{{"iptablesBackend":"{backend}"}}}}'
    return f"; before that, so that Felix keeps to the backend of kube-proxy: kubectl patch {name} --type=merge -p '{value}'"
