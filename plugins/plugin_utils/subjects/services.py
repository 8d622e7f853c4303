# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# A Service: its endpoints in the API, what the source's own node makes of its address, and whether it answers (calico.md F13; real-calico.md 77).

from __future__ import annotations

import typing as t

from .._catalogue import Cause, Remedy, cause, check, expects
from .._cluster import Cluster, Pod
from .._documents import Documents
from .._graph import Fact, FactId, Finding, NotApplicable
from .._json import NotCollected, as_mapping, objects
from .._listeners import listening, served
from .._netfilter_rules import Unknown
from .._packet_blame import blame, misreads_status
from .._packet_walk import Walked, Walks, Way, flow_of
from .._path import answer_fact, hop_facts, listener_fact, service_fact
from .._policy_members import endpoint_slices
from .._question import Question, Scope
from .._services import pods_selected, port_entry, ready_backends, service_port, services

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from .._diagnosis import Diagnosis

SHOWN = 3
REQUESTS = ("request", "next request")


def _object(question: Question) -> str:
    return f"{question.asked.key if question.asked else ''} {question.service}"


@expects("service.endpoints", "service.port", "service.rules", "service.way", "service.answer")
def service_works(cluster: Cluster, scope: Scope) -> Iterator[Fact]:
    whole = scope.whole
    if whole is None or whole.asked is None:
        return
    ends, target, rules = (service_fact(kind, whole) for kind in ("endpoints", "port", "rules"))
    yield Fact(*ends, value="at least one ready endpoint")
    yield Fact(*target, value="a port on which the pods listen", needs=(ends,))
    if not whole.asked.headless:
        yield Fact(*rules, value=[f"{way.destination.address}:{way.port}" for way in whole.ways], needs=(ends,))
    ways = []
    for pair in whole.ways:
        hops = hop_facts(cluster, pair)
        way = FactId("service.way", str(whole.source.node), f"{_object(whole)} {pair.destination.address}")
        if not whole.asked.headless:
            yield Fact(*way, value={"address": pair.destination.address, "port": pair.port}, needs=(rules, ends, target, *hops))
            ways.append(way)
        yield Fact(*answer_fact(pair), value="answered", needs=(target, listener_fact(pair), *hops))
    if not whole.asked.headless:
        yield Fact(*answer_fact(whole), value="answered", needs=(rules, ends, *ways, *(answer_fact(pair) for pair in whole.ways)))


def _whole(scope: Scope) -> tuple[Question, str]:
    if scope.whole is None or scope.whole.asked is None:
        raise NotApplicable("no Service is asked for")
    return scope.whole, scope.whole.asked.key


# ------------------------------------------------------------------ the API


@check("service.endpoints.none", fact="service.endpoints")
def has_endpoints(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    whole, key = _whole(scope)
    if whole.ways:
        return None
    elsewhere = sorted({str(backend.node) for backend in ready_backends(documents.cluster, key)})
    if elsewhere and whole.asked is not None and not whole.asked.headless:
        policy = "externalTrafficPolicy" if whole.destination.node else "internalTrafficPolicy"
        evidence = f"Service {key}: {policy} is Local, and {whole.translator} has no ready endpoint; {', '.join(elsewhere[:SHOWN])} has some"
        return Finding("service.endpoints.none", fact, [], evidence, ("Kubernetes API",), hint={"key": key, "elsewhere": elsewhere, "policy": policy,
                       "node": whole.translator})  # fmt: skip
    pods = pods_selected(documents.cluster, key)
    selector = as_mapping(as_mapping(services(documents.cluster)[key].get("spec")).get("selector"))
    shown = ",".join(f"{name}={value}" for name, value in selector.items()) or "none"
    evidence = f"Service {key}: no ready endpoint for {whole.service}; selector {shown} means {len(pods)} pods"
    return Finding("service.endpoints.none", fact, [], evidence, ("Kubernetes API",), hint={"key": key, "pods": pods, "selector": shown})


@check("service.port.unserved", fact="service.port")
def port_is_served(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """What listens inside of the pods, where that was read; else what the pods' containers say of their ports, which nothing makes them say."""
    whole, key = _whole(scope)
    if not whole.ways:
        raise NotApplicable("the Service has no ready endpoint")
    if _answered(documents, whole):
        return None
    told, witnesses = [], ["Kubernetes API"]
    for pair in whole.ways:
        found = listening(documents, pair)
        if found is None:
            continue
        witnesses.append(f"kernel {pair.destination.node}")
        held = served(found, pair.destination.address)
        if pair.port in held or not held:  # what listens on nothing does not run
            return None
        told.append(f"{pair.destination.label} listens on {_numbers(held)}")
    if not told:
        declared = _declared_elsewhere(documents, whole)
        if not declared:
            raise NotApplicable("the pods do not say on which ports they listen")
        told = [f"the containers name the ports {_numbers(declared)}"]
    seen = len(witnesses) > 1
    entry = port_entry(services(documents.cluster)[key], whole)
    target = entry.get("targetPort", entry.get("port"))
    port = whole.ways[0].port
    evidence = f"Service {key}: {whole.service} goes to targetPort {target} ({port}); {told[0]}"
    return Finding("service.port.unserved", fact, told, evidence, tuple(dict.fromkeys(witnesses)),
                   severity="critical" if seen else "latent", hint={"key": key, "port": port, "target": target, "seen": seen})  # fmt: skip


def _answered(documents: Documents, whole: Question) -> bool:
    """Whether an endpoint answered a connection to the port that the Service sends to."""
    ends = {(way.destination.address, way.port, whole.protocol) for way in whole.ways}
    tried = [one for node in whole.nodes for one in _tries(documents, node)]
    return any((one.get("dst"), one.get("port"), one.get("protocol")) in ends and one.get("outcome") == "answered" for one in tried)


def _declared_elsewhere(documents: Documents, whole: Question) -> set[int]:
    """The ports that containers of the endpoints' pods name, where all of them name some and none names the one that is used."""
    found: set[int] = set()
    raw = documents.cluster.once("raw pods", lambda: {_key(pod): pod for pod in documents.cluster.section("pods")})
    for pair in whole.ways:
        containers = objects(as_mapping(as_mapping(raw.get(pair.destination.label)).get("spec")).get("containers"))
        ports = [port for container in containers for port in objects(container.get("ports"))]
        mine = {int(p["containerPort"]) for p in ports if isinstance(p.get("containerPort"), int) and str(p.get("protocol") or "TCP").lower() == pair.protocol}
        if not mine or pair.port in mine:
            return set()
        found |= mine
    return found


def _key(raw: t.Mapping[str, t.Any]) -> str:
    metadata = as_mapping(raw.get("metadata"))
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def _numbers(ports: set[int]) -> str:
    return ", ".join(map(str, sorted(ports))) or "nothing"


# ------------------------------------------------------------------ the source's node


def _walks(documents: Documents) -> Walks:
    return documents.cluster.once(f"walks of {sorted(documents.nodes)}", lambda: Walks(documents.collected()))


def _walked(documents: Documents, whole: Question) -> Walked:
    flow = flow_of(whole)
    return documents.cluster.once(f"walk {sorted(documents.nodes)} {flow}", lambda: _walks(documents).walk(flow))


def _virtual_servers(documents: Documents, node: str) -> list[t.Mapping[str, t.Any]] | None:
    """Where kube-proxy translates with IPVS, its virtual servers. Errors: NotCollected, where it does and they were not read."""
    if "kube-ipvs0" not in documents.node(node).links:
        return None
    section = as_mapping(documents.node(node).section("netfilter"))
    if not isinstance(section.get("ipvs"), list):
        raise NotCollected(f"{node}: kube-proxy works with IPVS, whose virtual servers were not read")
    return objects(section["ipvs"])


def _translated(documents: Documents, whole: Question, node: str) -> set[tuple[str, int | None]]:
    """Where the node sends what goes to the Service. Errors: Unknown, NotCollected."""
    servers = _virtual_servers(documents, node)
    if servers is None:
        return _walks(documents).translated(flow_of(whole), node)
    plain = (whole.destination.address, whole.port)
    mine = [one for one in servers if (one.get("address"), one.get("port"), one.get("protocol")) == (*plain, whole.protocol)]
    if not mine:
        return {plain}
    return {(str(server.get("address")), server.get("port")) for one in mine for server in objects(one.get("servers")) if server.get("weight")}


def _not_by_ipvs(documents: Documents, node: str) -> None:
    """Errors: NotCollected, where IPVS translates: a packet that it takes leaves the way through the hooks that is modelled (ip_vs_in, LOCAL_IN)."""
    if _virtual_servers(documents, node) is not None:
        raise NotCollected(f"{node}: IPVS translates, and the way of a packet through it is not followed")


@check("service.rules.missing", "service.rules.stale", fact="service.rules")
def node_translates(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    whole, key = _whole(scope)
    if not whole.ways:
        raise NotApplicable("the Service has no ready endpoint")
    documents.node(fact.node).section("netfilter")
    by_ipvs = _virtual_servers(documents, fact.node) is not None
    try:
        found = _translated(documents, whole, fact.node)
    except Unknown as exc:
        raise NotCollected(f"{fact.node}: what its rules make of {whole.destination.address} cannot be told: {exc}") from exc
    if not found and not by_ipvs:
        raise NotApplicable("its rules end the packet before they translate it")
    known = service_port(documents.cluster, whole.destination.address, whole.protocol, int(whole.port or 0), whole.source)
    wanted = {(backend.address, backend.port) for backend in known.backends(whole.source.node)} if known is not None else set()
    plain = (whole.destination.address, whole.port)
    node, sources = fact.node, (f"netfilter {fact.node}", "Kubernetes API")
    what = f"{whole.destination.address}:{whole.port}/{whole.protocol}"
    if found == {plain}:
        said = "" if by_ipvs else _refusal(documents, whole)
        if said:
            return Finding("service.rules.stale", fact, said, f"{node}: {said}", sources, hint={"key": key, "extra": [], "lacking": sorted(wanted)})
        if _all_answered(documents, whole):
            raise NotCollected(f"{node}: no rule translates {what}, and it answers all the same: something else than kube-proxy's rules translates it")
        lacks = f"{node}: no {'virtual server' if by_ipvs else 'rule'} translates {what} ({key})"
        return Finding("service.rules.missing", fact, "not translated", lacks, sources, hint={"key": key})
    extra, lacking = sorted(found - wanted - {plain}, key=str), sorted(wanted - found)
    hints = any(endpoint.get("hints") for piece in endpoint_slices(documents.cluster, key) for endpoint in objects(piece.get("endpoints")))
    if not extra and (not lacking or hints):
        return None
    shown = [f"to {_pairs(extra)}, which the API does not have as ready"] * bool(extra) + [f"not to {_pairs(lacking)}"] * bool(lacking)
    return Finding("service.rules.stale", fact, [f"{address}:{port}" for address, port in sorted(found, key=str)],
                   f"{node}: {what} is translated {' and '.join(shown)}", sources, severity="critical" if extra or not found else "latent",
                   hint={"key": key, "extra": extra, "lacking": lacking})  # fmt: skip


def _all_answered(documents: Documents, whole: Question) -> bool:
    ends = (whole.destination.address, whole.port, whole.protocol)
    tried = [one for one in _tries(documents, str(whole.source.node)) if (one.get("dst"), one.get("port"), one.get("protocol")) == ends]
    return bool(tried) and all(one.get("outcome") == "answered" for one in tried)


def _refusal(documents: Documents, whole: Question) -> str:
    """The rule by which kube-proxy ends what it knows no endpoint for."""
    result = _walked(documents, whole)
    way = result.way
    if way is None or not way.filtered or way.ends_at != whole.translator or way.phase not in REQUESTS:
        return ""
    found = blame(way.steps)
    return found.line if found.owner == "kube-proxy" else ""


def _pairs(ends: t.Sequence[tuple[str, int | None]]) -> str:
    shown = ", ".join(f"{address}:{port}" for address, port in ends[:SHOWN])
    return shown + (f" and {len(ends) - SHOWN} more" if len(ends) > SHOWN else "")


@check("service.way.dropped", "service.source.hidden", fact="service.way")
def way_through(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    """The same endpoint by the Service's address: policies of its node see the packet as it was translated."""
    whole, key = _whole(scope)
    for node in dict.fromkeys((fact.node, whole.translator)):
        documents.node(node).section("netfilter")
        _not_by_ipvs(documents, node)
    result = _walked(documents, whole)
    end = (fact.value["address"], fact.value["port"])
    ends = {id(way): (way.backend, (way.packet.dst, way.packet.dport)) for way in result.ways if way.packet is not None}
    untranslated = (whole.destination.address, whole.port)
    mine = [way for way in result.ways if end in ends.get(id(way), ()) or (way.filtered and untranslated in ends.get(id(way), ()))]
    if not mine and end not in _walks(documents).translated(flow_of(whole), whole.translator):
        raise NotApplicable(f"the rules of {whole.translator} do not lead to {end[0]}:{end[1]}")
    if not mine:
        raise NotCollected(f"{fact.node}: the way through {whole.destination.address} to {end[0]}:{end[1]} was not walked: {result.reason}")
    if any(way.verdict == "works" for way in mine):
        return None
    way = mine[0]
    if not way.filtered or way.packet is None:
        raise NotCollected(f"{fact.node}: the way through {whole.destination.address} to {end[0]} was not walked to its end: {way.reason}")
    hidden = way.phase in REQUESTS and way.packet.src != whole.source.address
    found = blame(way.steps)
    by = _masquerade(way) if hidden else ""
    evidence = f"{way.ends_at}: {found.line}, in {found.where}"
    if hidden:
        evidence = f"through {whole.destination.address} the source {whole.source.address} becomes {way.packet.src} ({by}); {evidence}"
    sources = (f"netfilter {fact.node}", f"netfilter {way.ends_at}")
    return Finding("service.source.hidden" if hidden else "service.way.dropped", fact, found.line, evidence, sources,
                   hint={"blame": found, "key": key, "source": way.packet.src, "by": by, "ends_at": way.ends_at,
                         "misread": misreads_status(way.steps), "hides": whole.translator, "node_port": whole.destination.node is not None})  # fmt: skip


def _masquerade(way: Way) -> str:
    """The first rule of the request that marks it to be masqueraded, or that translates its source."""
    lines = [step.line for step in way.steps if step.rule is not None]
    for words in (("KUBE-MARK-MASQ", "mark-for-masquerade"), ("MASQUERADE", "SNAT", "masquerade", "snat")):
        found = next((line for line in lines if any(word in line for word in words)), None)
        if found is not None:
            return found
    return ""


# ------------------------------------------------------------------ whether it answers


@check("service.unanswered", fact="service.answer")
def answers(fact: Fact, documents: Documents, scope: Scope) -> Finding | None:
    whole, _key_of = _whole(scope)
    address, service = fact.object.split(" ")
    protocol, _slash, port = service.partition("/")
    asked = (address, protocol, port)
    tried = [one for one in _tries(documents, fact.node) if (one.get("dst"), one.get("protocol"), str(one.get("port"))) == asked]
    if not tried:
        raise NotApplicable(f"no connection to {address}:{port}/{protocol} was tried in this run")
    good = [one for one in tried if one.get("outcome") == "answered"]
    if len(good) == len(tried):
        return None
    bad = next(one for one in tried if one.get("outcome") != "answered")
    said = f"{bad.get('outcome')}{': ' + str(bad['error']) if bad.get('error') else ''}"
    evidence = f"{len(good)} of {len(tried)} connections from {whole.source.label} to {address}:{port}/{protocol} answered; {said}"
    return Finding("service.unanswered", fact, said, evidence, (f"connections from {fact.node}",))


def _tries(documents: Documents, node: str) -> t.Sequence[t.Mapping[str, t.Any]]:
    try:
        return documents.node(node).entries("reachability")
    except NotCollected:
        return []


# ------------------------------------------------------------------ causes


def _state(pod: Pod, raw: t.Mapping[str, t.Any]) -> str:
    for status in objects(as_mapping(raw.get("status")).get("containerStatuses")):
        waiting = as_mapping(as_mapping(status.get("state")).get("waiting"))
        if waiting.get("reason"):
            return f"{pod.key}: {waiting['reason']}" + (f" ({status.get('restartCount')} restarts)" if status.get("restartCount") else "")
    return f"{pod.key}: {'is being deleted' if pod.deleting else 'not ready' if pod.phase == 'Running' else pod.phase or 'no phase'}"


@cause(roots=("service.endpoints.none",))
def no_endpoints(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    cluster = diagnosis.documents.cluster
    for finding in findings:
        key = finding.hint["key"]
        if "elsewhere" in finding.hint:
            yield _no_local_endpoint(finding)
            continue
        key, pods, selector = finding.hint["key"], finding.hint["pods"], finding.hint["selector"]
        raw = {_key(pod): pod for pod in cluster.section("pods")}
        if pods:
            why = [_state(pod, raw.get(pod.key, {})) for pod in pods[:SHOWN]]
            summary = f"Service {key} has no ready endpoint: none of its {len(pods)} pods is ready."
            advice = f"see why the pods are not ready: kubectl -n {key.partition('/')[0]} logs {pods[0].name} --previous"
        else:
            whole = cluster.is_whole("pods")
            why = ["Pods of other nodes were not read." if not whole else "No pod of its namespace has these labels."]
            summary = f"Service {key} has no endpoint: " + (f"its selector {selector} means no pod." if selector != "none" else "it has no selector.")
            advice = f"let the selector of Service {key} fit the labels of its pods, or start them"
        yield Cause("service_without_endpoints", None, "", summary, [finding], objects=[f"Service {key}"],
                    why=["kube-proxy refuses connections to such a Service at once.", *why],
                    remedies=[Remedy("advise_endpoints", "R0", advice, "", object=f"Service {key}")])  # fmt: skip


def _no_local_endpoint(finding: Finding) -> Cause:
    key, policy = finding.hint["key"], finding.hint["policy"]
    node = finding.hint["node"]
    shown = ", ".join(finding.hint["elsewhere"][:SHOWN])
    summary = f"{node} sends Service {key} only to endpoints of its own ({policy}: Local), and has none."
    advice = f"go through a node that has an endpoint ({shown}), set {policy} of Service {key} to Cluster, or run a pod of it on {node}"
    return Cause("service_without_local_endpoint", None, node, summary, [finding], objects=[f"Service {key}"],
                 why=[f"It has ready endpoints on {shown}."],
                 remedies=[Remedy("advise_traffic_policy", "R0", advice, "", node=node, object=f"Service {key}")])  # fmt: skip


@cause(roots=("service.port.unserved",))
def target_port(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        key, port, target = finding.hint["key"], finding.hint["port"], finding.hint["target"]
        told = "and nothing listens there: " if finding.hint["seen"] else "but "
        summary = f"Service {key} sends to port {port}, {told}{finding.actual[0]}."
        yield Cause("service_target_port_wrong", None, "", summary, [finding], objects=[f"Service {key}"],
                    remedies=[Remedy("advise_target_port", "R0", f"set targetPort of Service {key} (now {target}) to the port that its pods serve", "",
                                     object=f"Service {key}")])  # fmt: skip


@cause(roots=("service.rules.missing", "service.rules.stale"))
def kube_proxy(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        node, key = finding.fact.node, finding.hint["key"]
        text = f"on {node}, see that kube-proxy runs and reaches the API, and read its log; it writes its rules anew when it starts"
        advice = Remedy("advise_kube_proxy", "R0", text, "", node=node, object=f"kube-proxy on {node}")
        why = _proxy_pod(diagnosis.documents.cluster, node)
        if finding.check == "service.rules.missing":
            summary = f"{node} does not translate the address of Service {key}: kube-proxy's rules are missing there."
            yield Cause("kube_proxy_rules_missing", None, node, summary, [finding], objects=[f"kube-proxy on {node}", f"Service {key}"],
                        why=["Pods of other nodes may reach the Service all the same.", *why], remedies=[advice])  # fmt: skip
            continue
        extra, lacking = finding.hint["extra"], finding.hint["lacking"]
        what = f"still sends to {_pairs(extra)}" if extra else f"does not send to {_pairs(lacking)}"
        yield Cause("kube_proxy_rules_stale", None, node, f"kube-proxy's rules on {node} are behind: Service {key} {what}.", [finding],
                    objects=[f"kube-proxy on {node}", f"Service {key}"],
                    why=[*([f"It does not send to {_pairs(lacking)} yet."] if extra and lacking else []), *why], remedies=[advice])  # fmt: skip


def _proxy_pod(cluster: Cluster, node: str) -> list[str]:
    """What the API says of kube-proxy on the node."""
    found = [pod for pod in cluster.pods.values() if pod.node == node and pod.labels.get("k8s-app") == "kube-proxy"]
    if not found:
        return []
    ready = "runs" if found[0].running else f"is in phase {found[0].phase}"
    return [f"In the API its pod {found[0].key} {ready}."]


@cause(roots=("service.source.hidden",))
def hidden_source(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    first, found = findings[0], findings[0].hint["blame"]
    node, key = first.hint["hides"], first.hint["key"]
    named = f" ({', '.join(found.policies)})" if found.policies else ""
    summary = f"{node} hides the source of what goes to Service {key} behind {first.hint['source']}, which the policy there does not allow{named}."
    why = ["Without the Service the same packet is let through."]
    what = f"kube-proxy on {node}"
    advice = "let kube-proxy keep the source: masqueradeAll false, and clusterCIDR the network of all pods; or take out the rule that is not kube-proxy's"
    if first.hint["node_port"]:
        why, what = ["A port of a node hides who asks, unless externalTrafficPolicy is Local."], f"Service {key}"
        advice = f"set externalTrafficPolicy of {what} to Local and ask a node that has an endpoint, or let the policy allow the nodes' addresses"
    yield Cause("snat_hides_source_from_policy", "F13", node, summary, findings, objects=[*found.policies, what],
                why=[f"The rule is {first.hint['by']}.", *why] if first.hint["by"] else why,
                remedies=[Remedy("advise_masquerade", "R0", advice, "", node=node, object=what)])  # fmt: skip


@cause(roots=("service.way.dropped",))
def dropped_on_the_way(findings: list[Finding], diagnosis: Diagnosis) -> Iterator[Cause]:
    for finding in findings:
        found, key = finding.hint["blame"], finding.hint["key"]
        node = str(finding.hint["ends_at"])
        if finding.hint["misread"]:
            yield _misread(finding, node)
            continue
        advice = Remedy("advise_foreign_rule", "R0", f"on {node}, take out, or accept before: {found.rule}", "", node=node, object=found.rule)
        yield Cause("filter_drops", None, node, f"{node} drops what goes through Service {key}, and only that: {found.line}", [finding],
                    objects=[found.rule], why=[f"It is in {found.where}."], remedies=[advice])  # fmt: skip


def _misread(finding: Finding, node: str) -> Cause:
    """Felix, felix/nftables/match_builder.go NotConntrackStatus (v3.32): nft compares the whole word."""
    found, key = finding.hint["blame"], finding.hint["key"]
    summary = f"{node} holds what goes through Service {key} to its own pods against a HostEndpoint that it never passes."
    advice = f"allow it in a policy that selects the HostEndpoint of {node}, or run Felix in iptables mode, until Felix compares the one bit"
    return Cause("hostendpoint_meets_service", None, node, summary, [finding], objects=[found.step.chain],
                 why=["In nftables mode Felix writes `ct status != dnat`, true for translated packets, too: nft compares the whole status, not the bit.",
                      f"The rule that ends it is in {found.where}."],
                 remedies=[Remedy("advise_hostendpoint", "R0", advice, "", node=node, object=found.step.chain)])  # fmt: skip
