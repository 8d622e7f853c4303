# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.module_utils._kube_cluster import CALICO, CORE, POLICY, POLICY_GROUP
from ansible_collections.podnet.doctor.plugins.plugin_utils import _inventory, _preflight, _run
from ansible_collections.podnet.doctor.plugins.plugin_utils._answers import node_facts
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import Json, NotCollected, as_mapping, objects
from ansible_collections.podnet.doctor.plugins.plugin_utils._screen import show

ARGUMENTS: dict[str, t.Any] = {
    "fail_on": {"type": "str", "default": "finding", "choices": ["never", "finding"]},
    "timeout": {"type": "float", "default": 20.0},
}
SECTIONS = ("nodes", "daemonsets", *POLICY)


def _result(raw: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    value = raw.get(name)
    return value if isinstance(value, Mapping) and not value.get("skipped") else {}


def in_batches(task: t.Any) -> bool:
    """Whether the play takes its hosts in batches (serial)."""
    parent = getattr(task, "_parent", None)
    while parent is not None:
        play = getattr(parent, "_play", None)
        if play is not None:
            return bool(play.serial)
        parent = getattr(parent, "_parent", None)
    return False


def hosts(variables: Mapping[str, Json], cluster: Mapping[str, Json] | None, serial: bool) -> list[_preflight.Host]:
    """Every host of the inventory with what the tasks before brought back. Read raw: nothing from a node is templated."""
    turn = variables.get("ansible_play_batch" if serial else "ansible_play_hosts_all")
    in_play = {str(name) for name in turn or []}
    mapped: dict[str, str] = {}
    if cluster is not None:
        try:
            mapped = {host: node for node, host in _inventory.match(Cluster(cluster), _run.inventory(variables)).items()}
        except NotCollected:
            pass
    found = []
    for name in variables["groups"]["all"]:
        raw = variables["hostvars"].raw_get(name)
        facts = _result(raw, "preflight_node")
        found.append(
            _preflight.Host(
                name=str(name),
                ssh=_result(raw, "preflight_ssh"),
                become=_result(raw, "preflight_root"),
                facts=facts,
                document=node_facts(str(name), facts).document if facts else None,
                node=mapped.get(str(name)),
                asked=str(name) in in_play or "preflight_ssh" in raw,
            )
        )
    return found


def needed(document: Mapping[str, Json]) -> list[dict[str, Json]]:
    """What a diagnosis reads, and, as optional, what a repair would do."""
    wanted: list[dict[str, Json]] = [{"verb": "get", "resource": "pods", "group": ""}]
    calico = str(document.get("calico_api") or "").partition("/")[0]
    for section in _kube.SECTIONS:
        if section in CORE:
            words = CORE[section].split("/")
            wanted.append({"verb": "list", "resource": words[-1], "group": words[2] if words[1] == "apis" else ""})
        elif calico and section in CALICO:
            wanted.append({"verb": "list", "resource": CALICO[section], "group": calico})
        elif section in POLICY and as_mapping(document.get(section)).get("reason") != "absent" and section in document:
            wanted.append({"verb": "list", "resource": section, "group": POLICY_GROUP})
    cluster = Cluster(document)
    try:
        owners = [(cluster.calico_daemonset, "restart calico-node"), (cluster.flannel_daemonset, "restart flannel")]
    except NotCollected:
        owners = []
    for daemonset, optional in owners:
        if daemonset is not None:
            namespace = daemonset["metadata"].get("namespace") or "kube-system"
            wanted.append({"verb": "delete", "resource": "pods", "group": "", "namespace": namespace, "optional": optional})
    if any(daemonset is not None for daemonset, _optional in owners):
        wanted.append({"verb": "patch", "resource": "nodes", "group": "", "optional": "correct a Node's address (R3)"})
    if calico:
        wanted += [
            {"verb": "delete", "resource": "blockaffinities", "group": calico, "optional": "delete a BlockAffinity (R3)"},
            {"verb": "create", "resource": "ippools", "group": calico, "optional": "create an IPPool (R3)"},
            {"verb": "patch", "resource": "felixconfigurations", "group": calico, "optional": "set the iptables backend of Felix (R3)"},
        ]
    for daemonset, optional in owners:
        if daemonset is not None and optional == "restart calico-node" and daemonset["metadata"].get("name") == "calico-node":
            wanted.append(_detection(daemonset["metadata"]))
    return wanted


def _detection(daemonset: Mapping[str, Json]) -> dict[str, Json]:
    """The right to change how calico-node detects addresses: in its DaemonSet, or in what the operator makes it from."""
    wanted: dict[str, Json] = {"verb": "patch", "optional": "change the address autodetection (R3)"}
    if any(owner.get("kind") == "Installation" for owner in objects(daemonset.get("ownerReferences"))):
        return {**wanted, "resource": "installations", "group": "operator.tigera.io"}
    return {**wanted, "resource": "daemonsets", "group": "apps", "namespace": daemonset.get("namespace") or "kube-system"}


def rights_of(api: _kube.Api, document: Mapping[str, Json]) -> list[dict[str, Json]]:
    """Each needed right with C(allowed): true, false, or null and an error where the API would not say."""
    rights = needed(document)
    for right in rights:
        try:
            right["allowed"], _reason = api.access_review(right["verb"], right["resource"], right["group"], right.get("namespace", ""))
        except _kube.ApiError as exc:
            right.update(allowed=None, error=str(exc))
    return rights


def ask_api(arguments: Mapping[str, Json]) -> tuple[dict[str, Json] | None, dict[str, Json], list[dict[str, Json]]]:
    """The cluster document, or why there is none, and this user's rights."""
    timeout = float(arguments["timeout"])
    try:
        options = _kube.options_of(arguments)
        document: dict[str, Json] = _kube.read_cluster(options, SECTIONS, timeout=timeout)
        if document.get("reachable") is False:
            return None, {"msg": str(document.get("error"))}, []
        with _kube.Api(options, timeout=timeout) as api:
            return document, {}, rights_of(api, document)
    except _kube.KubeError as exc:
        return None, {"msg": str(exc)}, []


class ActionModule(ControllerAction):
    """Compose the answers of the nodes and of the API into one line each."""

    SPEC = {**ARGUMENTS, **_kube.ARGUMENT_SPEC}
    READS_OTHER_HOSTS = True

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        cluster, failure, rights = ask_api(arguments)
        answer = _preflight.check(hosts(variables, cluster, in_batches(self._task)), cluster, failure, rights)
        result.update(ready=answer.ready, lines=[line.to_json() for line in answer.lines if line.asked])
        show(result, answer.screen, self._display)
        if not answer.ready and arguments["fail_on"] == "finding":
            result.update(failed=True, msg="not ready for a diagnosis; the lines above say what is missing, and its fix")
        return result
