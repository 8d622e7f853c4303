# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the actions of one run share.

from __future__ import annotations

import contextlib
import gc
import json
import typing as t
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ..module_utils import _compact, _kube
from . import _evidence, _log_line, _old_flow, _rebuild, _store, _tables
from ._answers import node_facts
from ._catalogue import catalogue
from ._cluster import Cluster
from ._collection import FULL, LINK_LOCAL_GATEWAY, Wanted
from ._diagnosis import Diagnosis, node_summary
from ._documents import Documents, Evidence, NodeFacts
from ._inventory import machine_of, not_matched
from ._json import Json, NotCollected, as_mapping
from ._question import AUDIT, BadQuestion, Question, check_port, split_service
from ._services import resolve

INDIRECT = "diagnose_silent"
ANSWERS = ("diagnose_node", "diagnose_node_again", "diagnose_node_third")  # of each wave


def play_of(task: t.Any) -> t.Any:
    """The play that a task stands in."""
    parent = getattr(task, "_parent", None)
    play = None
    while parent is not None and play is None:
        play = getattr(parent, "_play", None)
        parent = getattr(parent, "_parent", None)
    return play


def refuse_free_strategy(task: t.Any) -> str | None:
    """Hosts must move through the tasks together, or a verdict would be given before all answers are there."""
    strategy = str(getattr(play_of(task), "strategy", "") or "linear")
    if strategy.rpartition(".")[2] in ("linear", "debug"):
        return None
    return f"this play runs with strategy {strategy}, in which hosts do not wait for each other; use strategy: linear for podnet.doctor"


def batches_follow(variables: Mapping[str, t.Any]) -> bool:
    """Whether hosts of this play wait for a later batch (serial), whose verdict will know more than this one's."""
    batch, hosts, alive = (list(variables.get(f"ansible_play_{name}") or []) for name in ("batch", "hosts_all", "hosts"))
    if not batch or batch[-1] not in hosts:
        return False
    return any(host in alive for host in hosts[hosts.index(batch[-1]) + 1 :])


def inventory(variables: Mapping[str, t.Any]) -> Iterator[tuple[str, Mapping[str, t.Any]]]:
    """(host, the few variables that tell which node it is), without templating anything."""
    hostvars = variables["hostvars"]
    for host in (variables.get("groups") or {}).get("all", []):
        raw = hostvars.raw_get(host)
        yield str(host), {name: raw.get(name) for name in ("podnet_node_name", "ansible_host")}


class ApiSilent(Exception):
    """The API told of no nodes or no pods, so the nodes must do alone."""

    def __init__(self, document: dict[str, Json], given: Mapping[str, Json] | None = None) -> None:
        self.error = _rebuild.needed(document) or "no reason given"
        super().__init__(self.error)
        self.document = {**document, "error": self.error}
        self.given = dict(given) if given is not None else None


def ask_whole(arguments: Mapping[str, Json]) -> dict[str, Json]:
    """The cluster document of an audit. Errors: ApiSilent, _kube.KubeError."""
    document = _kube.read_cluster(_kube.options_of(arguments), None, timeout=float(arguments.get("timeout") or 20))
    if _rebuild.needed(document):
        raise ApiSilent(document)
    return document


def of_play(variables: Mapping[str, t.Any], task: t.Any) -> Iterator[tuple[str, Mapping[str, t.Any]]]:
    """The inventory; where the play is for some groups of it, these alone: the others may be another cluster's, with nodes of the same names."""
    play = play_of(task)
    groups = variables.get("groups") or {}
    patterns = [play.hosts] if isinstance(getattr(play, "hosts", None), str) else list(getattr(play, "hosts", None) or [])
    mine = {str(host) for pattern in patterns for host in groups[pattern]} if patterns and all(pattern in groups for pattern in patterns) else None
    return ((host, known) for host, known in inventory(variables) if mine is None or host in mine)


def every_host(variables: Mapping[str, t.Any]) -> dict[str, str]:
    """Node -> host for the play's hosts, by the names that the inventory has for them."""
    chosen = {str(host) for host in variables.get("ansible_play_hosts_all") or []}
    return {_rebuild.node_name(host, known["podnet_node_name"], None): host for host, known in inventory(variables) if host in chosen}


def ask_alone(hosts: Mapping[str, str]) -> dict[str, dict[str, Json]]:
    """Inventory host -> arguments for node_info, where the API does not say what to ask."""
    subset = (*FULL, "flannel", "cni")
    return ask([Wanted(name, subset, "the Kubernetes API is silent", [{"dst": LINK_LOCAL_GATEWAY}]) for name in hosts], hosts)


def ask_api(arguments: Mapping[str, Json]) -> tuple[dict[str, Json], Question]:
    """The cluster document narrowed to the question, and the question resolved. Errors: BadQuestion, ApiSilent, _kube.KubeError."""
    arguments = _with_earlier_question(arguments)
    destination, port, protocol = split_service(str(arguments.get("destination") or ""))
    arguments = {**arguments, "destination": destination}
    if port is not None:
        if str(arguments.get("port") or port) != port:
            raise BadQuestion(f"the destination says port {port}, but port says {arguments['port']}; give one of them")
        arguments.update(port=port, protocol=arguments.get("protocol") or protocol)
    named = _old_flow.parse(str(arguments["flow"])) if arguments.get("flow") else None
    if named is not None:
        own = {"source": named.src, "destination": named.dst, "protocol": named.protocol, "port": str(named.dport)}
        arguments = {**arguments, **{name: arguments.get(name) or value for name, value in own.items()}}
    check_port(arguments.get("port"))
    for role in ("source", "destination"):
        if not str(arguments.get(role) or "").strip():
            raise BadQuestion(f"{role} is missing: give a pod (namespace/name), a node (node/name) or an address, such as -e {role}=shop/web-0")
    options = _kube.options_of(arguments)
    ends = [str(arguments["source"]).strip(), str(arguments["destination"]).strip()]
    ends = [str(as_mapping(arguments.get("successors")).get(end, end)) for end in ends]
    narrow = {"endpoints": ends, "node_ports": [arguments["port"]] if arguments.get("port") else []}
    document = _kube.read_cluster(options, None, narrow=narrow, timeout=float(arguments.get("timeout") or 20))
    if _rebuild.needed(document):
        raise ApiSilent(document, {"source": ends[0], "destination": ends[1], **{name: arguments.get(name) for name in ("protocol", "port")}})
    question = resolve(Cluster(document), ends[0], ends[1], arguments.get("protocol"), arguments.get("port"))
    return document, replace(question, flow=named.text if named is not None else "")


def of_log(arguments: Mapping[str, Json], variables: Mapping[str, t.Any]) -> dict[str, Json]:
    """Source and destination of an ingress's log line, where one is given and they are not. Errors: BadQuestion, ApiSilent, _kube.KubeError."""
    line = _log_line.given(variables) if arguments.get("log") else ""
    if not line:
        return {}
    tried = _log_line.read(line)
    source = str(arguments.get("source") or "").strip() or _log_line.source_of(Cluster(ask_whole(arguments)), tried)
    return {"source": source, "destination": str(arguments.get("destination") or "").strip() or tried.destination}


def _with_earlier_question(arguments: Mapping[str, Json]) -> Mapping[str, Json]:
    """What an earlier report was about, in place of what is not given."""
    if not arguments.get("report"):
        return arguments
    earlier_question = read_document(str(arguments["report"]), "podnet.doctor/report/1").get("question")
    if earlier_question is None and not (arguments.get("source") and arguments.get("destination")):
        raise BadQuestion(f"{arguments['report']} is the report of an audit, which asks for no pair; give source and destination of a pair that suffers")
    asked = as_mapping(earlier_question)
    earlier = {
        "source": as_mapping(asked.get("source")).get("asked"), "destination": as_mapping(asked.get("destination")).get("asked"),
        "protocol": asked.get("protocol"), "port": asked.get("port"),
    }  # fmt: skip
    given = {key: value for key, value in arguments.items() if value not in (None, "")}
    return {**arguments, **{key: value for key, value in earlier.items() if value is not None}, **given}


def ask(wave: Iterable[Wanted], hosts: Mapping[str, str]) -> dict[str, dict[str, Json]]:
    """Inventory host -> arguments for node_info."""
    return {
        hosts[wanted.node]: {
            "node": wanted.node,
            "gather_subset": list(wanted.subset) + (["reachability"] if wanted.reachability else []) + (["dns"] if wanted.dns else []),
            "flows": wanted.flows,
            "pods": wanted.pods,
            "reachability": wanted.reachability,
            "dns": wanted.dns,
        }
        for wanted in wave
        if wanted.node in hosts
    }


def no_nodes(variables: Mapping[str, t.Any], hosts: Mapping[str, str]) -> list[str]:
    """The play's hosts that are no node of the cluster."""
    known = set(hosts.values())
    return [str(host) for host in variables.get("ansible_play_hosts_all") or [] if str(host) not in known]


def stored_answers(asked: Mapping[str, Json]) -> _store.Stored | None:
    """The first answers, where they were given in runs before this one."""
    told = asked.get("stored")
    return _store.Stored(str(told["folder"]), str(told["since"])) if isinstance(told, Mapping) else None


def answers(
    variables: Mapping[str, t.Any], hosts: Mapping[str, str], folder: str | None = None, stored: _store.Stored | None = None
) -> dict[str, NodeFacts]:
    """Node -> its facts, from the results that were registered on its host. Reads them raw: nothing from a node is ever templated."""
    hostvars = variables["hostvars"]
    result: dict[str, NodeFacts] = {}
    expander = _compact.Expander()
    for node, host in hosts.items():
        raw = hostvars.raw_get(host)
        first, rows = stored.answer(node) if stored is not None else (raw.get(ANSWERS[0]), None)
        for name in ANSWERS:
            answer = first if name == ANSWERS[0] else raw.get(name)
            if isinstance(answer, Mapping) and not answer.get("skipped"):
                facts = _whole(node_facts(node, answer), answer, folder, host, expander, rows)
                before = result.get(node)
                if before is None or before.document is None:
                    result[node] = facts
                elif facts.document is not None:
                    result[node] = NodeFacts(node, _later(before.document, facts.document))
    return result


def silent(variables: Mapping[str, t.Any], hosts: Mapping[str, str], nodes: Iterable[str], stored: _store.Stored | None = None) -> list[str]:
    """The nodes that were asked and gave no answer, and those that the inventory lacks. Who is left out by --limit or serial is not asked."""
    result = []
    for node in nodes:
        answer: Json = {"failed": True}
        if node in hosts:
            answer = stored.answer(node)[0] if stored is not None else variables["hostvars"].raw_get(hosts[node]).get(ANSWERS[0])
        if isinstance(answer, Mapping) and (answer.get("failed") or answer.get("unreachable")):
            result.append(node)
    return result


def heard(variables: Mapping[str, t.Any]) -> Mapping[str, Json]:
    """What podnet.doctor.silent_nodes_info registered: documents and reasons, by node. It ran once, for the host that was the first."""
    for host in (variables.get("groups") or {}).get("all", []):
        answer = variables["hostvars"].raw_get(host).get(INDIRECT)
        if isinstance(answer, Mapping) and not answer.get("skipped") and not answer.get("failed"):
            return answer
    return {}


def asked_nodes(asked: Mapping[str, Json], cluster: Cluster) -> tuple[str, ...]:
    """The nodes that the question is about; all, in an audit."""
    return Question.from_json(asked["question"]).nodes if asked.get("question") else _names(cluster)


def _indirectly(node: str, facts: NodeFacts, told: Mapping[str, Json]) -> NodeFacts:
    """A node that gave no answer, as the API tells of it."""
    packed, reason = as_mapping(told.get("documents")).get(node), as_mapping(told.get("reasons")).get(node)
    if facts.collected or not (packed or reason):
        return facts
    if not packed:
        return NodeFacts(node, None, f"{facts.reason}, and {reason}")
    document = node_facts(node, {"packed": packed}).document
    if document is None:
        return facts
    return NodeFacts(node, {**document, "via": {**as_mapping(document.get("via")), "because": facts.reason}})


def _whole(
    facts: NodeFacts, answer: Mapping[str, Json], folder: str | None, host: str, expander: _compact.Expander, rows: Mapping[str, Json] | None
) -> NodeFacts:
    """An answer that was given by the rows of tables, with these rows in it."""
    if facts.document is None or "expected" not in facts.document:
        return facts
    try:
        tables = _tables.read(str(folder), host) if rows is None else rows
        packed = answer.get("packed")
        return NodeFacts(facts.name, _compact.Opened(facts.document, tables, expander, packed if isinstance(packed, str) else None))
    except (OSError, ValueError, KeyError) as exc:
        return NodeFacts(facts.name, None, f"gave an answer that cannot be read: {exc}")


def _later(before: Mapping[str, Json], after: Mapping[str, Json]) -> dict[str, Json]:
    """Two answers of one node: each section as it was read last, and all live tests."""
    tests = [entry for document in (after, before) if isinstance(document.get("reachability"), list) for entry in document["reachability"]]
    return {**before, **after, **({"reachability": tests} if tests else {})}


def waves(variables: Mapping[str, t.Any], hosts: Mapping[str, str], stored: _store.Stored | None = None) -> list[int]:
    """How many tasks the nodes were given: in each wave of questions, and, where packets were sent, for these."""
    counts = dict.fromkeys((*ANSWERS, "probes"), 0)
    for node, host in hosts.items():
        raw = variables["hostvars"].raw_get(host)
        for name in ANSWERS:
            answer = raw.get(name)
            if stored is not None and name == ANSWERS[0]:
                answer = stored.answer(node)[0]
                answer = None if answer.get("stored") is False else answer
            counts[name] += isinstance(answer, Mapping) and not answer.get("skipped")
    counts["probes"] = _evidence.sent_to(variables, hosts)
    return [counts[name] for name in (*ANSWERS, "probes")]


def asked_twice(variables: Mapping[str, t.Any], hosts: Mapping[str, str]) -> bool:
    """Whether the second wave is over."""
    found = (variables["hostvars"].raw_get(host).get(ANSWERS[1]) for host in hosts.values())
    return any(isinstance(answer, Mapping) and not answer.get("skipped") for answer in found)


def read_document(path: str, schema: str) -> dict[str, Json]:
    """A document from a file. Errors: BadQuestion, one sentence that names the file."""
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except OSError as exc:
        raise BadQuestion(f"{path} cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise BadQuestion(f"{path} is no JSON document: {exc}") from exc
    if not isinstance(document, dict) or document.get("schema") != schema:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise BadQuestion(f"{path} is no {schema} document (it says {found!r})")
    return document


def _alone(
    document: dict[str, Json], hosts: Mapping[str, str], variables: Mapping[str, t.Any], folder: str | None
) -> tuple[dict[str, Json], dict[str, str]]:  # fmt: skip
    """The cluster document with what the nodes tell instead of the API, and the hosts by the names that the nodes have for themselves."""
    known = {host: values for host, values in inventory(variables) if host in hosts.values()}
    named = {}
    for facts in answers(variables, hosts, folder).values():
        host = hosts[facts.name]
        named[_rebuild.node_name(host, known[host]["podnet_node_name"], facts.document)] = host
    hosts = {**{name: host for name, host in hosts.items() if host not in named.values()}, **named}
    reached_at = {name: str(known[host]["ansible_host"]) for name, host in hosts.items() if known[host]["ansible_host"]}
    return _rebuild.rebuilt(document, answers(variables, hosts, folder), reached_at), hosts


def _question(asked: Mapping[str, Json], cluster: Cluster) -> Question:
    if asked.get("question"):
        return Question.from_json(asked["question"])
    given = asked.get("given")
    if not isinstance(given, Mapping):
        return AUDIT
    try:
        return resolve(cluster, str(given["source"]), str(given["destination"]), given.get("protocol"), given.get("port"))
    except BadQuestion as exc:
        silent = f"the Kubernetes API at {as_mapping(asked.get('api')).get('server')} is silent ({as_mapping(asked.get('api')).get('error')})"
        raise BadQuestion(f"{silent}, and the nodes that answered do not tell: {exc}") from exc


def silent_question(asked: Mapping[str, Json], variables: Mapping[str, t.Any]) -> tuple[Cluster, Question]:
    """The cluster as the nodes told of it when the API was silent, and the question. Errors: BadQuestion."""
    document = read_document(str(asked["cluster_file"]), "podnet.doctor/cluster/1")
    hosts = {str(node): str(host) for node, host in asked["nodes"].items()}
    cluster = Cluster(_alone(document, hosts, variables, asked.get("asked"))[0])
    return cluster, _question(asked, cluster)


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Of the millions of objects of a large audit none refers to itself; looking for such ones takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.freeze()  # what was made here is needed until the process ends
            gc.enable()


@_no_search_for_cycles()
def diagnose(asked: Mapping[str, Json], variables: Mapping[str, t.Any]) -> tuple[Diagnosis, list[dict[str, Json]], dict[str, str]]:
    """Judge what the hosts answered. asked: the result of the question action. Returns the diagnosis, the report's `collected`, and node -> host."""
    catalogue()
    document = read_document(str(asked["cluster_file"]), "podnet.doctor/cluster/1")
    hosts = {str(node): str(host) for node, host in asked["nodes"].items()}
    if asked.get("api"):
        document, hosts = _alone(document, hosts, variables, asked.get("asked"))
    stored = stored_answers(asked)
    if stored is not None:
        document = _store.as_collected(document, {node: stored.answer(node)[1] for node in hosts})
    cluster = Cluster(document)
    question = _question(asked, cluster)
    evidence = _evidence.gather(variables, cluster, question, hosts) if question != AUDIT else None
    found = answers(variables, hosts, asked.get("asked"), stored)
    nodes: dict[str, NodeFacts] = {}
    core = question.nodes if question != AUDIT else _names(cluster)
    missing = not_matched(core, hosts)
    collected = []
    told = heard(variables)
    for node in dict.fromkeys((*core, *found)):
        facts = found.get(node) or NodeFacts(node, None, missing.get(node) or "was not asked by this run (--limit, serial, or a stopped play)")
        facts = _indirectly(node, facts, told)
        machine, matching = machine_of(cluster, node, facts.document)
        if machine == "other" and matching:
            facts = NodeFacts(node, None, f"was not looked at: the inventory's host {hosts[node]} is {', '.join(matching)}")
        nodes[node] = facts
        collected.append({**node_summary(hosts.get(node, ""), node, facts.document, f"{node} {facts.reason}"), "machine": machine})
        facts.close()
    witnesses = tuple(node for node in nodes if node not in core)
    return Diagnosis(question, Documents(cluster, nodes, Evidence(evidence)), witnesses), collected, hosts


def _names(cluster: Cluster) -> tuple[str, ...]:
    try:
        return tuple(cluster.nodes)
    except NotCollected:
        return ()


__all__ = ["NotCollected"]
