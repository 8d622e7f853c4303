# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the Kubernetes API tells of nodes that gave no answer themselves: through calico-node's container, or by CalicoNodeStatus.

from __future__ import annotations

import datetime
import typing as t
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from ..module_utils import _in_container, _kube
from ..module_utils._deadline import Deadline, Expired
from ..module_utils._kube_exec import Container, Exec, Finished
from ._cluster import Cluster, Pod
from ._json import Json, NotCollected, as_mapping, objects, parse_address

AT_ONCE = 8  # nodes
GROUP = "crd.projectcalico.org/v1"
PERIODS = 3  # after as many update periods a CalicoNodeStatus is out of date
CONTAINER = "calico-node"


class Heard(t.NamedTuple):
    """Node -> its document, and node -> why there is none: half a sentence that follows the node's name."""

    documents: dict[str, dict[str, Json]]
    reasons: dict[str, str]


def agent_pods(cluster: Cluster) -> dict[str, Pod]:
    """Node -> the running pod of calico-node there."""
    found = {}
    for pod in cluster.pods.values():
        if pod.labels.get("k8s-app") in ("calico-node", "canal") and pod.owner == "DaemonSet" and pod.running and pod.node:
            found[pod.node] = pod
    return found


def _age(said: Json, now: datetime.datetime) -> float | None:
    try:
        return (now - datetime.datetime.fromisoformat(str(said).replace("Z", "+00:00"))).total_seconds()
    except (ValueError, TypeError):
        return None


def _daemon(agent: Mapping[str, Json], peers: Json) -> dict[str, Json]:
    if not agent and not peers:
        return {"error": "the CalicoNodeStatus tells nothing of this daemon (its classes must hold Agent and BGP)", "reason": "absent"}
    protocols = []
    for peer in objects(peers):
        address, state = str(peer.get("peerIP")), str(peer.get("state"))
        kind = {"NodeMesh": "Mesh", "NodePeer": "Node", "GlobalPeer": "Global"}.get(str(peer.get("type")), "Peer")
        if parse_address(address) is None:
            continue
        name = f"{kind}_{address.replace('.', '_').replace(':', '_')}"
        up = "up" if state == "Established" else "start"
        protocols.append(
            {"name": name, "proto": "BGP", "table": "master", "state": up, "since": str(peer.get("since") or ""), "info": state,
             "bgp": {"state": state, "neighbor_address": address}}
        )  # fmt: skip
    return {
        "socket": None, "version": agent.get("version"),
        "status": {"router_id": agent.get("routerID"), "server_time": None, "last_reboot": agent.get("lastBootTime"),
                   "last_reconfiguration": agent.get("lastReconfigurationTime"), "graceful_restart": None, "message": str(agent.get("state") or "")},
        "protocols": protocols,
        "routes": {"error": "a CalicoNodeStatus does not tell all of BIRD's routes"},
    }  # fmt: skip


def of_status(raw: Mapping[str, Json], now: datetime.datetime) -> dict[str, Json] | str:
    """The node document that a CalicoNodeStatus makes, or why it makes none. Its fields: docs.tigera.io, reference, CalicoNodeStatus."""
    spec, status = as_mapping(raw.get("spec")), as_mapping(raw.get("status"))
    name = as_mapping(raw.get("metadata")).get("name")
    updated = status.get("lastUpdated")
    age, period = _age(updated, now), spec.get("updatePeriodSeconds")
    if age is None:
        return f"its CalicoNodeStatus {name} was never filled"
    if not isinstance(period, int) or period <= 0 or age > PERIODS * period:
        return f"its CalicoNodeStatus {name} is {int(age)} s old"
    agent, bgp = as_mapping(status.get("agent")), as_mapping(status.get("bgp"))
    node = str(spec.get("node"))
    bird = {
        family: _daemon(as_mapping(agent.get(f"bird{version}")), bgp.get(f"peers{version}")) for family, version in (("ipv4", "V4"), ("ipv6", "V6"))
    }  # fmt: skip
    via = {"by": "CalicoNodeStatus", "object": str(name), "updated": str(updated)}
    document: dict[str, Json] = {
        "schema": _in_container.SCHEMA,
        "collected_at": str(updated),
        "seconds": 0,
        "host": node,
        "node": node,
        "via": via,
        "bird": bird,
    }
    untold = ("identity", "links", "addresses", "routes", "rules", "neighbours", "fdb", "sysctls", "calico", "netfilter", *_in_container.UNSEEN)
    return {**document, **{section: {"error": "is not told by a CalicoNodeStatus"} for section in untold}}


def _statuses(group: Json, options: _kube.Options, deadline: Deadline) -> list[dict[str, Json]]:
    try:
        with _kube.Api(options, deadline=deadline) as api:
            return api.items(f"/apis/{group or GROUP}/caliconodestatuses")
    except _kube.KubeError:  # many clusters have none, and few users may read them
        return []


def hear(cluster: Cluster, silent: Iterable[str], options: _kube.Options, may_exec: bool, timeout: float) -> Heard:
    """Ask the API for the nodes that gave no answer."""
    names = [name for name in silent if name in cluster.nodes]
    heard = Heard({}, {})
    if not names:
        return heard
    deadline = Deadline(timeout)
    if may_exec:
        _through_containers(cluster, names, options, deadline, heard)
    left = {name for name in names if name not in heard.documents}
    now = datetime.datetime.now(datetime.timezone.utc)
    for raw in _statuses(cluster.document.get("calico_api"), options, deadline) if left else []:
        node = as_mapping(raw.get("spec")).get("node")
        if node in left:
            made = of_status(raw, now)
            if isinstance(made, str):
                heard.reasons[node] = "; ".join(filter(None, (heard.reasons.get(node), made)))
            else:
                heard.documents[node] = made
                left.discard(node)
    return heard


def _through_containers(cluster: Cluster, names: list[str], options: _kube.Options, deadline: Deadline, heard: Heard) -> None:
    try:
        pods = agent_pods(cluster)
        namespaces = {pod.namespace for pod in pods.values()}
        if not all(_may_run(options, deadline, namespace) for namespace in namespaces):
            heard.reasons.update(dict.fromkeys(names, "may not be read through calico-node's container with these credentials (create on pods/exec)"))
            return
        runner = Exec(options)
    except (_kube.KubeError, NotCollected, Expired) as exc:
        heard.reasons.update(dict.fromkeys(names, str(exc)))
        return
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        for name, answer in zip(names, pool.map(lambda name: _one(cluster, name, pods.get(name), runner, deadline), names)):
            if isinstance(answer, str):
                heard.reasons[name] = answer
            else:
                heard.documents[name] = answer


def _may_run(options: _kube.Options, deadline: Deadline, namespace: str) -> bool:
    with _kube.Api(options, deadline=deadline) as api:
        return api.access_review("create", "pods/exec", namespace=namespace)[0]


def _one(cluster: Cluster, name: str, pod: Pod | None, runner: Exec, deadline: Deadline) -> dict[str, Json] | str:
    if cluster.nodes[name].ready is False:
        return "is not Ready, so that nothing can be run there through its kubelet either"
    if pod is None:
        return "runs no pod of calico-node that it could be read through"
    container = Container(pod.namespace, pod.name, CONTAINER)

    def run(argv: t.Sequence[str]) -> Finished:
        return runner.run(container, argv, deadline)

    try:
        run(["ip", "-V"])
    except (_kube.KubeError, Expired) as exc:
        return f"could not be read through {pod.key} either ({exc})"
    return _in_container.read(name, run, pod.key)
