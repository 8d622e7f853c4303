# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# DNS as the source's pod sees it: which server answers by which protocol, and what becomes of the asked name (real-calico.md 77 to 83).

from __future__ import annotations

import ipaddress
import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster
from .._documents import Documents
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import Json, NotCollected, as_list, as_mapping, objects, parse_address
from .._path import answer_fact, hop_facts, listener_fact, service_fact
from .._question import Question, Scope
from .._remedies import recreate_pod

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

PROTOCOLS = ("udp", "tcp")
MOST_DOMAINS, MOST_CHARACTERS = 6, 256  # of a search list: what glibc before 2.26 reads of it (resolv.conf(5))
CHECKS = {"REFUSED": "dns.refused", "SERVFAIL": "dns.servfail", "NXDOMAIN": "dns.zone.unknown"}
OF_NAMES = {"REFUSED": "dns.name.refused", "SERVFAIL": "dns.name.failed", "NXDOMAIN": "dns.name.unknown"}


def _leg(whole: Question, server: str, protocol: str) -> FactId:
    return FactId("dns.answer", str(whole.source.node), f"{server} {protocol}")


@expects("dns.resolver", "dns.search", "dns.answer", "dns.name")
def names_resolve(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    whole = scope.whole
    if whole is None or whole.asked is None or not whole.asked.dns:
        return
    node, service = str(whole.source.node), whole.destination.address
    yield Fact("dns.resolver", node, whole.source.label, value=service)
    yield Fact("dns.search", node, whole.source.label, value=MOST_DOMAINS)
    ends, target, rules = (service_fact(kind, whole) for kind in ("endpoints", "port", "rules"))
    for protocol in PROTOCOLS:
        legs = []
        for pair in whole.ways:
            leg = _leg(whole, pair.destination.address, protocol)
            needs = (target, listener_fact(pair), *hop_facts(cluster, pair))
            yield Fact(*leg, value={"protocol": whole.protocol, "where": pair.destination.label, "node": pair.destination.node}, needs=needs)
            legs.append(leg)
        ways = [FactId("service.way", node, f"{whole.asked.key} {whole.service} {pair.destination.address}") for pair in whole.ways]
        value = {"protocol": whole.protocol, "where": whole.asked.key, "node": node}
        yield Fact(*_leg(whole, service, protocol), value=value, needs=(rules, ends, *ways, *legs, answer_fact(whole)))
    if whole.asked.name:
        needs = (FactId("dns.resolver", node, whole.source.label), _leg(whole, service, "udp"))
        yield Fact("dns.name", node, whole.asked.name, value="an address", needs=needs)


def _told(documents: Documents, scope: Scope) -> t.Mapping[str, Json]:
    """What was asked from the source. Errors: NotApplicable, NotCollected."""
    if scope.whole is None or scope.whole.asked is None:
        raise NotApplicable("no Service is asked for")
    node, source = str(scope.whole.source.node), scope.whole.source
    facts = documents.node(node)
    if facts.document is not None and "dns" not in facts.document:
        raise NotApplicable("DNS was not asked in this run")
    mine = [one for one in facts.entries("dns") if one.get("netns_of") in ((source.uid, source.address) if source.kind == "pod" else (None, ""))]
    if not mine:
        raise NotCollected(f"{node}: DNS was not asked from {source.label}")
    if mine[0].get("error"):
        raise NotCollected(f"{node}: DNS could not be asked from {source.label}: {mine[0]['error']}")
    return mine[0]


def _resolver(told: t.Mapping[str, Json], node: str) -> t.Mapping[str, Json]:
    known = as_mapping(told.get("resolver"))
    if not known or known.get("error"):
        raise NotCollected(f"{node}: {known.get('error') or 'its resolv.conf was not read'}")
    return known


@check("dns.resolver.different", fact="dns.resolver")
def asks_the_cluster(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """A resolver on the node itself (NodeLocal DNSCache) is at a link-local address."""
    servers = [str(server) for server in as_list(_resolver(_told(documents, scope), fact.node).get("nameservers"))]
    pod = documents.cluster.once("raw pods", lambda: {_key(raw): raw for raw in documents.cluster.section("pods")}).get(fact.object, {})
    if scope.whole is None or scope.whole.source.kind != "pod" or as_mapping(pod.get("spec")).get("dnsPolicy") in ("Default", "None"):
        raise NotApplicable("the pod does not want the cluster's DNS (dnsPolicy)")
    if fact.value in servers or any(_on_the_node(server) for server in servers):
        return None
    shown = ", ".join(servers) or "none"
    return Finding("dns.resolver.different", fact, servers, f"in {fact.object}: resolv.conf has nameserver {shown}, not {fact.value}",
                   (f"pod {fact.object}", "Kubernetes API"), severity="warning")  # fmt: skip


def _on_the_node(server: str) -> bool:
    address = parse_address(server)
    return address is not None and (address.is_link_local or address.is_loopback or address in ipaddress.ip_network("169.254.0.0/16"))


def _key(raw: t.Mapping[str, t.Any]) -> str:
    metadata = as_mapping(raw.get("metadata"))
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


@check("dns.search.deep", fact="dns.search")
def search_list_is_read(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    known = _resolver(_told(documents, scope), fact.node)
    domains = [str(domain) for domain in as_list(known.get("search"))]
    length = len(" ".join(domains))
    if len(domains) <= MOST_DOMAINS and length <= MOST_CHARACTERS:
        return None
    evidence = f"in {fact.object}: resolv.conf searches {len(domains)} domains ({length} characters) with ndots:{known.get('ndots')}"
    return Finding("dns.search.deep", fact, domains, evidence, (f"pod {fact.object}",), severity="latent", hint={"ndots": known.get("ndots")})


@check("dns.unanswered", *CHECKS.values(), fact="dns.answer")
def server_answers(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """The Service that every cluster has, asked of one server by one protocol."""
    told = _told(documents, scope)
    server, protocol = fact.object.split(" ")
    tried = next((one for one in objects(told.get("queries")) if (one.get("server"), one.get("protocol")) == (server, protocol)), None)
    if tried is None:
        raise NotCollected(f"{fact.node}: {server} was not asked by {protocol}")
    where = f"{server} ({fact.value['where']}) by {protocol}"
    sources, other = (f"DNS from {fact.node}",), protocol != fact.value["protocol"]
    severity: t.Literal["latent", "critical"] = "latent" if other else "critical"  # long answers need TCP
    if tried.get("outcome") != "answered":
        said = f"{tried.get('outcome')}{': ' + str(tried['error']) if tried.get('error') else ''}"
        return Finding("dns.unanswered", fact, said, f"{told.get('control')} asked of {where}: {said}", sources, severity=severity,
                       hint={"where": fact.value["where"], "node": fact.value["node"], "said": said})  # fmt: skip
    if tried.get("rcode") == "NOERROR":
        return None
    check_id = CHECKS.get(str(tried.get("rcode")), "dns.servfail")
    return Finding(check_id, fact, tried.get("rcode"), f"{told.get('control')} asked of {where}: {tried.get('rcode')}", sources, severity=severity,
                   hint={"where": fact.value["where"], "node": fact.value["node"], "said": str(tried.get("rcode"))})  # fmt: skip


@check("dns.name.unknown", *dict.fromkeys(OF_NAMES.values()), fact="dns.name")
def name_resolves(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """The asked name through the pod's own search list: the last answer is the one that programs get."""
    asked = objects(_told(documents, scope).get("search"))
    if not asked:
        raise NotCollected(f"{fact.node}: {fact.object} was not asked for")
    last = asked[-1]
    if last.get("addresses"):
        return None
    wrong = next((one for one in asked if one.get("rcode") in ("SERVFAIL", "REFUSED")), last)  # such an answer for one domain ends the search of some programs
    shown = "; ".join(f"{one.get('name')} {one.get('rcode') or one.get('outcome')}" for one in asked)
    said = str(wrong.get("rcode") or wrong.get("outcome"))
    check_id = OF_NAMES.get(said, "dns.name.failed" if wrong.get("outcome") != "answered" else "dns.name.unknown")
    return Finding(check_id, fact, said, f"{last.get('server')}: {shown}", (f"DNS from {fact.node}",),
                   hint={"name": wrong.get("name"), "tried": len(asked), "said": said})  # fmt: skip


# ------------------------------------------------------------------ causes


def _advice(text: str, thing: str = "") -> list[Remedy]:
    return [Remedy("advise_dns", "R0", text, "", object=thing)]


def _cause(
    name: str, node: str, summary: str, findings: list[Finding], thing: str, advice: str, why: t.Sequence[str] = (), first: t.Sequence[Remedy] = ()
) -> Cause:  # fmt: skip
    return Cause(name, None, node, summary, findings, objects=[thing], why=why, remedies=[*first, Remedy("advise_dns", "R0", advice, "", object=thing)])


def _by_server(findings: list[Finding]) -> Iterator[tuple[str, str, list[Finding]]]:
    """(server, its node, what is wrong with it)"""
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        found.setdefault((str(finding.hint["where"]), str(finding.hint["node"] or "")), []).append(finding)
    for (where, node), mine in found.items():
        yield where, node, mine


@cause(roots=("dns.unanswered",))
def no_answer(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    """A server that is reached, by all that was looked at, and says nothing."""
    for where, node, mine in _by_server(findings):
        ways = " and ".join(finding.fact.object.split(" ")[1] for finding in mine)
        summary = f"{where} does not answer DNS by {ways} ({mine[0].hint['said']})."
        advice = f"see the log of {where}, and ask it by hand: dig @{mine[0].fact.object.split(' ')[0]} kubernetes.default.svc.cluster.local"
        why = ["A server that listens and says nothing hangs, or something that was not looked at takes the packets."]
        silent = {finding.fact.object.split(" ")[1] for finding in mine} == set(PROTOCOLS) and _is_pod(diagnosis, where)
        yield _cause("dns_unanswered", node, summary, mine, where, advice, why, recreate_pod(diagnosis.documents, where, node) if silent else ())


def _is_pod(diagnosis: Diagnosis, name: str) -> bool:
    try:
        return name in diagnosis.documents.cluster.pods
    except NotCollected:
        return False


@cause(roots=tuple(CHECKS.values()))
def wrong_answer(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for where, node, mine in _by_server(findings):
        advice = f"see the Corefile (kubectl -n kube-system get configmap coredns -o yaml) and the log of {where}"
        if mine[0].check == "dns.refused":
            summary = f"{where} refuses the cluster's own names (REFUSED)."
            yield _cause("dns_refused", node, summary, mine, where, advice, ["Usually an acl of its Corefile, or no server block for the zone."])
        elif mine[0].check == "dns.zone.unknown":
            summary = f"{where} does not know the Service kubernetes (NXDOMAIN)."
            yield _cause("dns_zone_unknown", node, summary, mine, where, advice, ["Usually the zone of its Corefile is another than the pods search."])
        else:
            summary = f"{where} fails for the cluster's own names ({mine[0].hint['said']})."
            yield _cause("dns_servfail", node, summary, mine, where, advice, ["Usually its plugin kubernetes has no data, because it does not reach the API."])


@cause(roots=tuple(OF_NAMES.values()))
def name_is_lost(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        name, asked, mine = str(finding.hint["name"]), finding.fact.object, [finding]
        why = _forwards(diagnosis.documents)
        if finding.check == "dns.name.failed":
            summary = f"DNS fails for {name} ({finding.hint['said']}), not for the cluster's names: the resolver that CoreDNS forwards to does not answer."
            advice = "see whether the upstream resolvers (forward in the Corefile, /etc/resolv.conf of CoreDNS's nodes) answer"
            yield _cause("dns_upstream_dead", "", summary, mine, name, advice, why)
        elif finding.check == "dns.name.refused":
            summary = f"DNS refuses {name} (REFUSED): no server block of the Corefile is for it, or an acl forbids it."
            yield _cause("dns_name_refused", "", summary, mine, name, "let the Corefile forward what is not the cluster's", why)
        else:
            tried = f"all {finding.hint['tried']} names of the search list" if finding.hint["tried"] > 1 else "the name"
            summary = f"{asked} does not exist in DNS: {tried} gave no address."
            advice = "see whether the name is right, and in which namespace the Service is"
            yield _cause("dns_name_unknown", "", summary, mine, asked, advice, ["DNS itself works: the cluster's own names resolve."])


def _forwards(documents: Documents) -> list[str]:
    """What the Corefile says of other names, where it was read."""
    try:
        found = next((raw for raw in documents.cluster.section("configmaps") if as_mapping(raw.get("metadata")).get("name") == "coredns"), {})
    except NotCollected:
        return []
    text = str(as_mapping(found.get("data")).get("Corefile") or "")
    forwards = [line.strip().rstrip(" {") for line in text.splitlines() if line.strip().startswith("forward ")]
    return [f"The Corefile says: {'; '.join(forwards) or 'nothing of other zones (no forward)'}."] if text else []


@cause(roots=("dns.search.deep",))
def deep_search(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        pod = finding.fact.object
        summary = f"{pod} searches {len(finding.actual)} domains for a name: older C libraries read {MOST_DOMAINS}, and outside names are asked for that often."
        advice = "shorten the search list (dnsConfig.searches of the pod, resolv.conf of its node), or lower ndots"
        yield _cause("dns_search_too_deep", finding.fact.node, summary, [finding], pod, advice)


@cause(roots=("dns.resolver.different",))
def other_resolver(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        pod, node = finding.fact.object, finding.fact.node
        servers = ", ".join(map(str, finding.actual)) or "no server"
        summary = f"{pod} asks {servers} for names, and not the cluster's DNS at {finding.fact.value}."
        advice = f"see clusterDNS of kubelet on {node}; pods keep the resolv.conf that they were started with"
        yield _cause("dns_resolver_foreign", node, summary, [finding], pod, advice)
