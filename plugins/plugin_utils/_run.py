# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the actions of one run share.

from __future__ import annotations

import json
import typing as t
from collections.abc import Iterable, Iterator, Mapping

from ..module_utils import _kube
from ._answers import node_facts
from ._catalogue import catalogue
from ._cluster import Cluster
from ._collection import Wanted
from ._diagnosis import Diagnosis, node_summary
from ._documents import Documents, Evidence, NodeFacts
from ._inventory import machine_of, not_matched
from ._json import Json, NotCollected, as_mapping
from ._question import BadQuestion, Question, check_port, resolve, split_service

FIRST_ANSWER = "diagnose_node"
LATER_ANSWER = "diagnose_node_again"


def refuse_free_strategy(task: t.Any) -> str | None:
    """Hosts must move through the tasks together, or a verdict would be given before all answers are there."""
    parent = getattr(task, "_parent", None)
    play = None
    while parent is not None and play is None:
        play = getattr(parent, "_play", None)
        parent = getattr(parent, "_parent", None)
    strategy = str(getattr(play, "strategy", "") or "linear")
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


def ask_api(arguments: Mapping[str, Json]) -> tuple[dict[str, Json], Question]:
    """The cluster document narrowed to the question, and the question resolved. Errors: BadQuestion, _kube.KubeError."""
    arguments = _with_earlier_question(arguments)
    destination, port, protocol = split_service(str(arguments.get("destination") or ""))
    arguments = {**arguments, "destination": destination}
    if port is not None:
        if str(arguments.get("port") or port) != port:
            raise BadQuestion(f"the destination says port {port}, but port says {arguments['port']}; give one of them")
        arguments.update(port=port, protocol=arguments.get("protocol") or protocol)
    check_port(arguments.get("port"))
    for role in ("source", "destination"):
        if not str(arguments.get(role) or "").strip():
            raise BadQuestion(f"{role} is missing: give a pod (namespace/name), a node (node/name) or an address, such as -e {role}=shop/web-0")
    options = _kube.options_of(arguments)
    ends = [str(arguments["source"]).strip(), str(arguments["destination"]).strip()]
    document = _kube.read_cluster(options, None, narrow={"endpoints": ends}, timeout=float(arguments.get("timeout") or 20))
    if document.get("reachable") is False:
        raise BadQuestion(f"the Kubernetes API at {document.get('server') or 'an unknown address'} cannot be read: {document.get('error')}")
    return document, resolve(Cluster(document), ends[0], ends[1], arguments.get("protocol"), arguments.get("port"))


def _with_earlier_question(arguments: Mapping[str, Json]) -> Mapping[str, Json]:
    """What an earlier report was about, in place of what is not given."""
    if not arguments.get("report"):
        return arguments
    asked = as_mapping(read_document(str(arguments["report"]), "podnet.doctor/report/1").get("question"))
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
            "gather_subset": list(wanted.subset) + (["reachability"] if wanted.reachability else []),
            "flows": wanted.flows,
            "pods": wanted.pods,
            "reachability": wanted.reachability,
        }
        for wanted in wave
        if wanted.node in hosts
    }


def answers(variables: Mapping[str, t.Any], hosts: Mapping[str, str]) -> dict[str, NodeFacts]:
    """Node -> its facts, from the results that were registered on its host. Reads them raw: nothing from a node is ever templated."""
    hostvars = variables["hostvars"]
    result: dict[str, NodeFacts] = {}
    for node, host in hosts.items():
        raw = hostvars.raw_get(host)
        for name in (LATER_ANSWER, FIRST_ANSWER):
            answer = raw.get(name)
            if isinstance(answer, Mapping) and not answer.get("skipped"):
                facts = node_facts(node, answer)
                if facts.collected or node not in result:
                    result[node] = facts
                if facts.collected:
                    break
    return result


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


def diagnose(asked: Mapping[str, Json], variables: Mapping[str, t.Any], evidence: Mapping[str, Json] | None = None) -> tuple[Diagnosis, list[dict[str, Json]]]:
    """Judge what the hosts answered. asked: the result of the question action. Returns the diagnosis and the report's `collected`."""
    catalogue()
    cluster = Cluster(read_document(str(asked["cluster_file"]), "podnet.doctor/cluster/1"))
    question = Question.from_json(asked["question"])
    hosts = {str(node): str(host) for node, host in asked["nodes"].items()}
    found = answers(variables, hosts)
    nodes: dict[str, NodeFacts] = {}
    missing = not_matched(question.nodes, hosts)
    collected = []
    for node in dict.fromkeys((*question.nodes, *found)):
        facts = found.get(node) or NodeFacts(node, None, missing.get(node) or "was not asked by this run (--limit, serial, or a stopped play)")
        machine, matching = machine_of(cluster, node, facts.document)
        if machine == "other" and matching:
            facts = NodeFacts(node, None, f"was not looked at: the inventory's host {hosts[node]} is {', '.join(matching)}")
        nodes[node] = facts
        collected.append({**node_summary(hosts.get(node, ""), node, facts.document, f"{node} {facts.reason}"), "machine": machine})
    witnesses = tuple(node for node in nodes if node not in question.nodes)
    return Diagnosis(question, Documents(cluster, nodes, Evidence(evidence)), witnesses), collected


__all__ = ["NotCollected"]
