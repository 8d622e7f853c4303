# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: from documents to a report. Pure: nothing here reads, and every incident can be replayed from files.

from __future__ import annotations

import datetime
import hashlib
import json
import typing as t
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..module_utils._compact import Opened
from ..module_utils._entries import Entries
from . import _audit, _old_flow
from ._catalogue import Cause, Remedy, catalogue, remedy_json
from ._collection import MOST_AGAIN, MOST_WITNESSES, WITNESS, Wanted, flows, full
from ._confront import confront, object_of
from ._dataplane import Unmodelled, unmodelled
from ._documents import Documents, Evidence
from ._graph import Explanation, Fact, FactId, Finding, Judged, Severity, closure, explain, judge, settle_severity, wrong_ancestors
from ._json import NOT_ASKED, Json, NotCollected, as_list, as_mapping, objects
from ._path import Hop, Path, answer_fact, settle, walk
from ._policy import policy_forbids
from ._question import Question, Scope
from ._topology import BGP_PORT, families, peer_addresses

SCHEMA = "podnet.doctor/report/1"
# that these were not looked at is the rule: they say nothing of what was meant to be seen
# the packet's way rests on them at no certain hop
ALWAYS = ("probe", "probe.full_size", "probe.watch", "pod.listener", "service.endpoints", "service.port", "service.rules", "service.way", "service.answer",
          "dns.answer", "dns.name")
UNTRIED = ("policy", "policy.intent", "underlay.tcp179", "flow.crossing")
API_SILENT = ("the Kubernetes API did not answer: what it alone knows (Kubernetes' own node addresses, IPAM, configuration, pods of unseen nodes) was"
              " taken from the nodes where they tell it, and else not looked at")  # fmt: skip
OUTCOMES = ("ok", "finding", "not_checked", "not_applicable", "not_reached")
OF_ONE_NODE = ("add_gateway_route", "restart_bird", "set_link_up", "set_sysctl")  # what the node alone shows to be wrong, whatever the API wants


@dataclass
class Diagnosis:
    """One run over one set of documents."""

    question: Question
    documents: Documents
    witnesses: tuple[str, ...] = ()
    judged: dict[FactId, Judged] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scope = Scope(self.question, self.question.nodes, self.witnesses, whole=self.question if self.question.asked else None)
        self.facts: dict[FactId, Fact] = {}  # without those that the tally has
        self.tally = _audit.Tally()
        self.paths: list[Path] = [Path()]  # of each of question.pairs
        try:
            if not self.documents.cluster.nodes or not self.documents.cluster.pods:
                raise NotCollected("the Kubernetes API told of no node or no pod")
            if self.scope.audit:
                self.scope = _audit.scope_of(self.documents.cluster, self.documents)
            else:
                self.paths = [walk(self.documents.cluster, pair) for pair in self.question.pairs]
        except NotCollected as exc:
            self.blind: str | None = exc.reason
            return
        self.blind = None
        self.documents = replace(self.documents, evidence=self._weighed())
        self._judge()
        self._mark_not_reached()
        self._mark_explained()
        settle_severity(self.judged, {fact for hop in self.hops for fact in hop.facts})
        for pair, path in self._seen_paths():
            evidence = self._evidence_of(pair)
            confront(self.judged, {object_of("forward", pair, self.scope): path.forward, object_of("reverse", pair, self.scope): path.reverse}, evidence)
            settle(path.forward, self.judged, evidence, "forward")
            settle(path.reverse, self.judged, evidence, "reverse")

    def _judge(self) -> None:
        untold: dict[str, str] = {}
        needed: set[FactId] = set()
        seen: set[FactId] = set()
        unmodelled_on = self._unmodelled()
        for scope in self.scope.parts() if self.scope.audit else [replace(self.scope, question=way) for way in self.question.pairs]:
            expected, missing = catalogue().expect(self.documents.cluster, scope)
            fresh = [fact for fact in expected if fact.id not in self.facts and fact.id not in seen and scope.holds(fact.node)]
            documents = replace(self.documents, evidence=self._evidence_of(scope.question))
            for fact_id, verdict in judge(fresh, catalogue().checks, documents, scope).items():
                verdict = _as_modelled(verdict, unmodelled_on.get(fact_id.node, ()))
                if scope.part_of is not None and self.tally.add(verdict):
                    if fact_id.node not in scope.mine:  # other parts have it, too
                        seen.add(fact_id)
                    continue
                self.facts[fact_id] = verdict.fact
                if self._counts(verdict):
                    self.judged[fact_id] = verdict
            untold.update(missing)
            needed.update(need for fact in fresh for need in fact.needs if need.kind in missing)
            for facts in self.documents.nodes.values() if scope.part_of is not None else ():
                facts.close()
        self._mark_untold(untold, needed)

    @property
    def hops(self) -> list[Hop]:
        return [hop for path in self.paths for hop in path.forward + path.reverse]

    @property
    def path(self) -> Path:
        """The one that is shown: the first that is broken, else the first."""
        return next((path for pair, path in self._seen_paths() if self._blocked(path) or self._lost(pair)), self.paths[0])

    def _seen_paths(self) -> Iterator[tuple[Question, Path]]:
        return zip(self.question.pairs, self.paths)

    def _evidence_of(self, pair: Question) -> Evidence:
        """What packets between the two did."""
        evidence = self.documents.evidence
        return evidence if pair == self.question.lead else evidence.of_way(pair.destination.address, pair.port)

    def _lost(self, pair: Question) -> bool:
        """Whether packets between the two were seen to be lost."""
        evidence = self._evidence_of(pair)
        return False in (evidence.arrived("forward"), evidence.arrived("reverse"))

    def _blocked(self, path: Path) -> bool:
        return any(self._critical(fact) for hop in path.forward + path.reverse for fact in hop.facts)

    def _critical(self, fact: FactId) -> bool:
        verdict = self.judged.get(fact)
        return verdict is not None and verdict.finding is not None and verdict.finding.severity == "critical"

    def _weighed(self) -> Evidence:
        """The evidence, with what policy keeps back of the packets that the other end sent by itself."""
        evidence, near, far = self.documents.evidence, self.question.lead.source, self.question.lead.destination
        lost = {str(probe.get("protocol")) for probe in evidence.probes if probe.get("direction") == "reverse" and probe.get("arrived") is False}
        return replace(evidence, forbidden=frozenset(protocol for protocol in lost if policy_forbids(self.documents.cluster, far, near, protocol)))

    def _counts(self, verdict: Judged) -> bool:
        """Facts of nodes that were never meant to be asked say nothing, not even that they were not checked; nor does what no node is asked in an audit."""
        if self.scope.audit and verdict.outcome == "not_checked" and verdict.absent:
            return False
        asked = not verdict.fact.node or verdict.fact.node in self.scope.mine or (verdict.fact.node in self.witnesses and NOT_ASKED not in verdict.reason)
        return verdict.outcome != "not_checked" or asked

    def _mark_untold(self, untold: Mapping[str, str], needed: set[FactId]) -> None:
        """What a hop or a finding rests on, and what the API did not tell enough to expect, is not checked."""
        for fact_id in sorted(needed.union(fact for hop in self.hops for fact in hop.facts)):
            if fact_id.kind in untold and fact_id not in self.judged:
                check_id = catalogue().checks[fact_id.kind][0]
                self.judged[fact_id] = Judged(Fact(*fact_id), check_id, "not_checked", reason=untold[fact_id.kind])

    def _unmodelled(self) -> Mapping[str, list[Unmodelled]]:
        """What a node's own dataplane decides otherwise, by node."""
        found: dict[str, list[Unmodelled]] = {}
        for node in self.scope.asked_nodes:
            try:
                found[node] = unmodelled(self.documents.cluster, node)
            except NotCollected:  # the fact of the dataplane itself tells it
                continue
        return found

    def _mark_not_reached(self) -> None:
        for hops in (hops for path in self.paths for hops in (path.forward, path.reverse)):
            dead = False
            for hop in hops:
                verdicts = [(fact, self.judged[fact]) for fact in hop.facts if fact in self.judged]
                if dead:
                    for fact, verdict in verdicts:
                        if verdict.outcome == "not_checked" and verdict.fact.node in self.scope.core:
                            self.judged[fact] = Judged(verdict.fact, verdict.check, "not_reached", reason=verdict.reason)
                dead = dead or any(v.finding is not None and v.finding.severity == "critical" for _fact, v in verdicts)

    def _mark_explained(self) -> None:
        """What nobody asked for, because something above it is wrong already, is not reached rather than not checked. In an audit, whatever was not read."""
        for fact_id, verdict in list(self.judged.items()):
            unasked = self.scope.audit or verdict.reason.endswith(NOT_ASKED)
            if verdict.outcome == "not_checked" and unasked and wrong_ancestors(fact_id, self.judged)[0]:
                self.judged[fact_id] = Judged(verdict.fact, verdict.check, "not_reached", reason=verdict.reason)

    # ------------------------------------------------------------------ what is wrong

    @cached_property
    def explanation(self) -> Explanation:
        return explain(self.judged)

    @cached_property
    def findings(self) -> list[Finding]:
        return [verdict.finding for verdict in self.judged.values() if verdict.finding is not None]

    @cached_property
    def on_path(self) -> set[FactId]:
        """Facts that the packet's way rests on, directly or through what they need. A need that was seen to be right ends the search. In an audit, all."""
        if self.scope.audit:
            return set(self.facts)
        start = [fact for hop in self.hops for fact in hop.facts] + [fact for fact in self.facts if fact.kind in ALWAYS]
        right = {fact for fact, verdict in self.judged.items() if verdict.outcome == "ok"}.difference(start)
        return closure(start, {fact_id: fact for fact_id, fact in self.facts.items() if fact_id not in right})

    @cached_property
    def causes(self) -> list[Cause]:
        roots = [t.cast(Finding, self.judged[root].finding) for root in self.explanation.roots]
        found: list[Cause] = []
        for checks, rule in catalogue().causes:
            mine = [finding for finding in roots if finding.check in checks]
            try:
                found += rule(mine, self) if mine else ()
            except NotCollected:  # what would name it was not read: its findings stay unexplained
                continue
        found = _together(found) if self.question.asked is not None else found
        absorbed = {finding.id for cause in found for finding in cause.also}
        found = [cause for cause in found if not all(root.id in absorbed for root in cause.roots) and not self._may_follow(cause)]
        asked = self.scope.labels
        return sorted(found, key=lambda c: (not self.affects_path(c), self.severity(c) == "latent", -len(self.explained_by(c)), asked.isdisjoint(c.objects),
                                            c.node, c.id))  # fmt: skip

    def _may_follow(self, cause: Cause) -> bool:
        """Whether what each of its roots needs was left unread in part, and may be what is wrong in the first place."""
        return all(any(above.kind not in UNTRIED for above in self.explanation.unread_above.get(root.fact.id, ())) for root in cause.roots)

    def unseen_on(self, node: str) -> bool:
        """Whether something that the packet needs on a node could not be read, or the API did not tell what it should be."""
        needed = self.on_path.union(fact for hop in self.hops for fact in hop.facts)
        return any(
            self.judged[fact_id].outcome == "not_checked" and not self.judged[fact_id].reason.endswith(NOT_ASKED)
            for fact_id in needed
            if fact_id in self.judged and fact_id.node == node and fact_id.kind not in UNTRIED
        )

    def explained_by(self, cause: Cause) -> list[Finding]:
        ids: set[FactId] = set()
        for root in (*cause.roots, *cause.also):
            ids |= self.explanation.explains.get(root.fact.id, frozenset())
        return [t.cast(Finding, self.judged[fact_id].finding) for fact_id in ids]

    def severity(self, cause: Cause) -> Severity:
        """The worst of what the cause is made of and explains."""
        found = {finding.severity for finding in [*cause.roots, *self.explained_by(cause)]}
        return next(severity for severity in ("critical", "warning", "latent") if severity in found)

    def affects_path(self, cause: Cause) -> bool:
        """Whether the asked packet needs what is wrong. A latent cause never stands in its way."""
        return self.severity(cause) != "latent" and any(finding.fact.id in self.on_path for finding in cause.roots)

    def confidence(self, cause: Cause) -> str:
        """certain: two independent sources agree and nothing that the root needs was left unread; possible: a pattern only."""
        if cause.heuristic:
            return "possible"
        sources: set[str] = set()
        for finding in [*cause.roots, *self.explained_by(cause)]:
            sources.update(finding.sources)
        if cause.node in as_list(self.documents.evidence.grid.get("nodes")):
            sources.add("grid")
        unread = any(
            self.explanation.unread_above.get(root.fact.id) or self.documents.node(root.fact.node).via for root in cause.roots
        )
        return "certain" if len(sources) >= 2 and not unread and not self.documents.cluster.rebuilt else "likely"

    @cached_property
    def unexplained(self) -> list[Finding]:
        named = {finding.id for cause in self.causes for finding in [*cause.roots, *cause.also, *self.explained_by(cause)]}
        return [finding for finding in self.findings if finding.id not in named]

    # ------------------------------------------------------------------ the verdict

    @cached_property
    def outcome(self) -> str:
        if self.blind is not None:
            return "unknown"
        if self.scope.audit:
            return "broken" if self.findings else "unknown" if self.not_checked() else "healthy"
        if any(self._lost(pair) for pair in self.question.pairs):
            return "broken"
        if any(self._critical(fact) for fact in self.facts if fact.kind in ALWAYS and fact.kind != "probe"):
            return "broken"
        if (self._crossed or self._resolved) and (self.question.asked is None or self._answered):
            return "healthy"
        if any(map(self._blocked, self.paths)):
            return "broken"
        return "unknown"  # healthy means seen: rules and routes that are right do not tell of what is between the nodes

    @property
    def _crossed(self) -> bool:
        """Whether packets were seen to cross both ways."""
        return all(self.documents.evidence.arrived(direction) for direction in ("forward", "reverse"))

    @property
    def _answered(self) -> bool:
        """Whether the Service, and each endpoint that was looked at, answered."""
        tried = [verdict for fact_id, verdict in self.judged.items() if fact_id.kind in ("service.answer", "dns.answer", "dns.name")]
        compared = [verdict for verdict in tried if verdict.outcome != "not_applicable"]
        return bool(compared) and all(verdict.outcome == "ok" for verdict in compared)

    @property
    def _resolved(self) -> bool:
        """Whether DNS is asked for, and every server answered by the asked protocol: packets that were seen to cross."""
        mine = [verdict for fact_id, verdict in self.judged.items() if fact_id.kind == "dns.answer" and fact_id.object.endswith(f" {self.question.protocol}")]
        return bool(mine) and all(verdict.outcome == "ok" for verdict in mine)

    @cached_property
    def summary(self) -> str:
        if self.scope.audit:
            return self._audit_summary()
        ends = f"{self.question.source.label} to {self.question.destination.label}"
        if self.blind is not None:
            return f"{ends}: nothing could be judged, because {self.blind}"
        if self.outcome == "healthy":
            crossed = "marked packets crossed both ways" + (", it and its endpoints answered" if self.question.asked is not None else "")
            crossed = crossed if self._crossed else "every server answered" if self._resolved else ""
            text = crossed or "every hop of both directions is as it must be"
            return f"{ends}: {text}" + ("; some findings beside the path" if self.causes or self.unexplained else "")
        if self.outcome == "unknown":
            reasons = list(dict.fromkeys(entry["reason"].removeprefix(f"{entry['node']}: ") for entry in self.not_checked()))
            if not reasons:
                return f"{ends}: no fault found, and no packet was seen to cross"
            return f"{ends}: no fault found; not checked: {'; '.join(reasons[:3])}"
        if self.causes and self.affects_path(self.causes[0]):
            return f"{ends}: {self.causes[0].summary}"
        first = next((f for f in self.unexplained if f.fact.id in self.on_path), None)
        return f"{ends}: broken, without a named cause" + (f"; first sign: {first.evidence}" if first else "")

    @property
    def _all_nodes(self) -> list[str]:
        """Of an audit; where the API was silent, the hosts of the inventory that were not seen are among them."""
        return list(dict.fromkeys((*self.scope.core, *self.documents.nodes)))

    def _audit_summary(self) -> str:
        if self.blind is not None:
            return f"nothing could be judged, because {self.blind}"
        unseen = _audit.unseen(self.documents, self._all_nodes)
        number = len(self._all_nodes)
        seen = f"{number} nodes" if not unseen else f"{number - len(unseen)} of {number} nodes seen"
        if not self.findings:
            left = len(self.not_checked()) - len(unseen)
            gaps = [f"{len(unseen)} nodes not seen"] * bool(unseen) + [f"{left} checks not made"] * bool(left)
            return f"{seen}: " + (f"no fault found; {' and '.join(gaps)}" if gaps else "everything that was compared is as it must be")
        waiting = all(finding.severity == "latent" for finding in self.findings)
        text = f"{seen}: " + (f"{len(self.causes)} named causes" if len(self.causes) != 1 else self.causes[0].summary.rstrip("."))
        text += f", {len(self.unexplained)} findings without a named cause" if self.unexplained else ""
        return text + ("; no traffic is lost yet" if waiting else "")

    def not_checked(self) -> list[dict[str, str]]:
        entries = [
            {"check": v.check, "node": v.fact.node, "object": v.fact.object, "reason": v.reason}
            for v in self.judged.values()
            if v.outcome == "not_checked"
        ]
        if self.blind is not None:
            entries.append({"check": "everything", "node": "", "object": "", "reason": self.blind})
        if self.scope.doubts is not None and self.scope.doubts.left_out:
            reason = f"{self.scope.doubts.left_out} more pairs of nodes between which something is not right were not looked at one by one"
            entries.append({"check": "pairs", "node": "", "object": "", "reason": reason})
        if self.documents.cluster.rebuilt and self.blind is None:
            entries.insert(0, {"check": "kubernetes.api", "node": "", "object": str(self.documents.cluster.document.get("server")), "reason": API_SILENT})
        return _audit.folded(entries, _audit.unseen(self.documents, self._all_nodes)) if self.scope.audit else entries

    # ------------------------------------------------------------------ whom to ask next

    def wanted(self) -> list[Wanted]:
        """Nodes that the findings point to and that were not asked yet: peers of dead sessions, possible origins of wrong routes."""
        if self.blind is not None:
            return []
        cluster = self.documents.cluster
        try:
            known = {family: peer_addresses(cluster, family) for family in families(cluster)}
        except NotCollected:  # which addresses the nodes should have cannot be told, so neither whom to ask
            return []
        addresses = {name: address for family in reversed(known) for name, address in known[family].items()}
        votes: dict[str, str] = {}
        everyone: dict[str, str] = {}
        dead: dict[str, list[str]] = {}
        for finding in self.findings:
            if finding.fact.kind == "bgp.session":
                peer = str(finding.fact.value["peer"])
                if not peer:
                    continue
                votes.setdefault(peer, f"{finding.fact.node} has no session with it")
                dead.setdefault(finding.fact.node, []).append(peer)
                dead.setdefault(peer, []).append(finding.fact.node)
            elif finding.fact.kind == "route.block":
                votes.setdefault(str(finding.fact.value["owner"]), f"{finding.fact.node} has a wrong route to its block")
                if finding.check == "route.block.different" and not everyone:
                    everyone = dict.fromkeys(addresses, f"the wrong route on {finding.fact.node} may begin there")
                    votes = {**votes, **{name: why for name, why in everyone.items() if name not in votes}}
        roots = set(self.explanation.roots)
        unexplained_sessions = any(f.fact.kind == "bgp.session" and f.fact.id in roots and f.fact.value["peer"] for f in self.findings)
        result = []
        fresh = [name for name in votes if name in addresses and name not in self.scope.asked_nodes][:MOST_WITNESSES]
        scope = Scope(self.question, self.scope.core, (*self.witnesses, *fresh))
        for name in fresh:
            result.append(Wanted(name, WITNESS, votes[name], flows(self.documents.cluster, scope, name)))
        if unexplained_sessions:
            most = sorted(dead, key=lambda name: -len(dead[name]))[:MOST_AGAIN] if self.scope.audit else list(dead)
            for name, peers in ((name, dead[name]) for name in most):
                tests = [{"dst": addresses[p], "port": BGP_PORT, "protocol": "tcp"} for p in dict.fromkeys(peers) if p in addresses][:MOST_WITNESSES]
                target = next((w for w in result if w.node == name), None)
                if target is not None:
                    target.subset, target.reachability = (*target.subset, "netfilter"), tests
                elif name in self.scope.asked_nodes and not self._was_tried(name):
                    subset = WITNESS if name in self.witnesses else full(self.documents.cluster)
                    again = Wanted(name, subset, "its sessions are dead and nothing read so far says why")
                    again.flows = flows(self.documents.cluster, scope, name)
                    again.pods = [{"ifname": p.ifname, "uid": p.uid, "ip": p.address} for p in scope.pods if p.node == name]
                    again.reachability = tests
                    result.append(again)
        return result

    def _was_tried(self, node: str) -> bool:
        try:
            return any(test.get("port") == BGP_PORT for test in self.documents.node(node).entries("reachability"))
        except NotCollected:
            return not self.documents.node(node).collected

    # ------------------------------------------------------------------ the report

    def report(
        self, collected: Sequence[Mapping[str, Json]] = (), created_at: str | None = None, version: str = "", waves: Sequence[int] = ()
    ) -> dict[str, Json]:
        """The document podnet.doctor/report/1."""
        compared = Counter((verdict.check, verdict.outcome) for verdict in self.judged.values()) + self.tally.outcomes
        counts = {name: sum(number for (_check, outcome), number in compared.items() if outcome == name) for name in OUTCOMES}
        created = created_at or datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        body: dict[str, Json] = {
            "schema": SCHEMA,
            "id": "",
            "created_at": created,
            "tool": {"name": "podnet.doctor", "version": version},
            "question": None if self.scope.audit else self.question.to_json(),
            "verdict": {
                "outcome": self.outcome,
                "summary": self.summary,
                "unexplained": [finding.id for finding in self.unexplained],
                "causes": [self._cause_json(cause) for cause in self.causes],
            },
            "path": self.path.to_json(),
            "findings": [self._finding_json(finding) for finding in self.findings],
            "checks": counts,
            "check_list": [{"check": name, "outcome": outcome, "compared": number} for (name, outcome), number in sorted(compared.items())],
            "not_checked": self.not_checked(),
            "collected": [dict(entry) for entry in collected],
            "waves": list(waves),
            "node_tasks": sum(waves),
            "wanted": [entry.to_json() for entry in self.wanted()],
            "probes": [dict(probe) for probe in self.documents.evidence.probes],
        }
        if self.documents.evidence.watch is not None:
            body["watch"] = dict(self.documents.evidence.watch)
        for name in ("arp", "rules", "trace"):
            entries = objects(as_mapping(self.documents.evidence.document).get(name))
            if entries:
                body[name] = [dict(entry) for entry in entries]
        if self.question.flow:
            body["flow"] = _old_flow.look_up(self.documents, self.question)
        if self.documents.evidence.grid:
            body["grid"] = dict(self.documents.evidence.grid)
        if self.question.asked is not None:
            body["pairs"] = [self._pair_json(way, path) for way, path in zip(self.question.pairs, self.paths) if way in self.question.ways]
        if self.documents.cluster.rebuilt:
            known = self.documents.cluster.document
            body["api"] = {"server": str(known.get("server")), "error": str(known.get("error")), "rebuilt": list(known["rebuilt"]["sections"])}
        if self.scope.audit:
            body["audit"] = {
                "nodes": _audit.rows(self.scope, self.documents, self.judged, self.tally), "sessions": _audit.sessions(self.judged, self.documents),
            }  # fmt: skip
        body["id"] = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:8]
        return body

    def _pair_json(self, way: Question, path: Path) -> dict[str, Json]:
        """One endpoint of a Service. answered: whether a connection to it was, null where none was tried."""
        mine = {fact for hop in path.forward + path.reverse for fact in hop.facts}
        answer = self.judged.get(answer_fact(way))
        if answer is None or answer.outcome == "not_applicable":
            answer = self.judged.get(FactId("dns.answer", str(way.source.node), f"{way.destination.address} {way.protocol}"))
        tried = answer.outcome if answer is not None else ""
        return {
            "destination": way.destination.to_json(), "port": way.port, "outcome": "broken" if self._blocked(path) or self._lost(way) or tried == "finding" else
            "healthy" if tried == "ok" else "unknown", "answered": {"ok": True, "finding": False}.get(tried), "path": path.to_json(),
            "findings": [finding.id for finding in self.findings if finding.fact.id in mine],
            **({"probes": [dict(probe) for probe in self._evidence_of(way).probes]} if way != self.question.lead else {}),
        }  # fmt: skip

    def _finding_json(self, finding: Finding) -> dict[str, Json]:
        return {
            "id": finding.id, "check": finding.check, "node": finding.fact.node, "object": finding.fact.object, "expected": finding.fact.value,
            "actual": finding.actual, "evidence": finding.evidence, "severity": finding.severity, "sources": list(finding.sources),
            "docs": f"docs/findings/{finding.check}.md",
        }  # fmt: skip

    def _cause_json(self, cause: Cause) -> dict[str, Json]:
        return {
            "id": cause.id, "fault": cause.fault, "confidence": self.confidence(cause), "node": cause.node, "objects": list(cause.objects),
            "summary": cause.summary, "severity": self.severity(cause), "why": list(cause.why), "affects_path": self.affects_path(cause),
            "roots": [finding.id for finding in cause.roots],
            "explains": sorted({finding.id for finding in [*cause.also, *self.explained_by(cause)]}),
            "remedies": [remedy_json(self._still_sure(remedy)) for remedy in cause.remedies],
        }  # fmt: skip

    def _still_sure(self, remedy: Remedy) -> Remedy:
        """Nothing is changed on the word of the nodes alone, nor on a node of which only the API tells: it becomes advice."""
        if remedy.risk == "R0":
            return remedy
        if self.documents.node(remedy.node).via:
            text = f"by hand, as {remedy.node} gives no answer itself: {remedy.action}" + (f", if {remedy.only_if}" if remedy.only_if else "")
            return Remedy(f"advise_{remedy.id}", "R0", text, "", node=remedy.node)
        if not self.documents.cluster.rebuilt:
            return remedy
        if remedy.id in OF_ONE_NODE:
            return replace(remedy, preconditions=(*remedy.preconditions, "the Kubernetes API is silent, so what it says was not compared"))
        return Remedy(f"advise_{remedy.id}", "R0", f"once the Kubernetes API answers, diagnose again; then likely: {remedy.action}", "", node=remedy.node)


def _as_modelled(verdict: Judged, unmodelled_there: Iterable[Unmodelled]) -> Judged:
    """What a node's own dataplane decides otherwise is neither right nor wrong."""
    covering = next((one for one in unmodelled_there if one.covers(verdict.fact.kind)), None)
    if covering is None or verdict.outcome not in ("ok", "finding"):
        return verdict
    return Judged(verdict.fact, verdict.check, "not_checked", reason=f"{verdict.fact.node}: {covering.reason}")


def _together(causes: list[Cause]) -> list[Cause]:
    """What is wrong in the same way on the ways to several endpoints of a Service, once."""
    groups: dict[tuple[t.Any, ...], list[Cause]] = {}
    for cause in causes:
        groups.setdefault((cause.id, cause.node, *cause.objects), []).append(cause)
    return [
        replace(mine[0], roots=[root for cause in mine for root in cause.roots], also=[finding for cause in mine for finding in cause.also])
        for mine in groups.values()
    ]


def node_summary(host: str, node: str, document: Mapping[str, Json] | None, reason: str) -> dict[str, Json]:
    """One entry of a report's `collected`."""
    if isinstance(document, Opened):
        document = document.closed
    if document is None:
        return {"host": host, "node": node, "sections": [], "errors": [{"section": "everything", "error": reason}], "seconds": None}
    errors = [
        {"section": name, "error": value["error"]}
        for name, value in document.items()
        if isinstance(value, Mapping) and isinstance(value.get("error"), str)
    ]
    sections = sorted(k for k, v in document.items() if k != "via" and isinstance(v, (list, dict, Entries)) and not (isinstance(v, dict) and "error" in v))
    summary = {"host": host, "node": node, "sections": sections, "errors": errors, "seconds": document.get("seconds")}
    return {**summary, "via": dict(as_mapping(document["via"]))} if document.get("via") else summary


__all__ = ["Diagnosis", "Wanted", "as_mapping", "node_summary", "objects"]
