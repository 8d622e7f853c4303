# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import tempfile
import typing as t

from ansible import constants

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.plugins.plugin_utils import _audit, _evidence, _files, _inventory, _run, _since, _tables
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._collection import audit_wave, first_wave
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction
from ansible_collections.podnet.doctor.plugins.plugin_utils._screen import printable

ARGUMENTS: dict[str, t.Any] = {
    "report": {"type": "path"},
    "baseline": {"type": "path"},
    "source": {"type": "str", "default": ""},
    "destination": {"type": "str", "default": ""},
    "protocol": {"type": "str", "choices": ["tcp", "udp", "icmp"]},
    "port": {"type": "raw"},
    "successors": {"type": "dict", "default": {}},
    "log": {"type": "bool", "default": False},
    "audit": {"type": "bool", "default": False},
    "flow": {"type": "str"},
    "probe": {"type": "bool", "default": True},
    "watch": {"type": "float", "default": 0},
    "pcap": {"type": "bool", "default": False},
    "trace": {"type": "bool", "default": False},
    "grid": {"type": "str", "default": "auto", "choices": ["auto", "true", "false"]},
    "timeout": {"type": "float", "default": 20.0},
}

SENDING = ("probe", "watch", "pcap", "grid", "trace")  # what the verdict must know of what is sent


def _kept(document: t.Any) -> str:
    """A file that lasts as long as the run."""
    handle, path = tempfile.mkstemp(prefix="podnet-cluster-", suffix=".json", dir=constants.DEFAULT_LOCAL_TMP)
    with os.fdopen(handle, "w") as stream:
        json.dump(document, stream)
    return path


class ActionModule(ControllerAction):
    """Resolve the question to pods and nodes, and say what has to be asked of which host."""

    SPEC = {**ARGUMENTS, **_kube.ARGUMENT_SPEC}
    READS_OTHER_HOSTS = True

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        try:
            if arguments["baseline"]:
                _since.read(arguments["baseline"])
            if arguments["audit"]:
                return {**result, **self._audit(_run.ask_whole(arguments), variables)}
            document, question = _run.ask_api({**arguments, **_run.of_log(arguments, variables)})
        except _run.ApiSilent as exc:
            return {**result, **self._alone(exc, arguments, variables)}
        cluster = Cluster(document)
        hosts = _inventory.match(cluster, _run.of_play(variables, self._task))
        wave = first_wave(cluster, question, arguments["probe"])
        result.update(
            question=question.to_json(),
            sending={name: arguments[name] for name in SENDING},
            cluster_file=_kept(document),
            nodes=hosts,
            ask=_run.ask(wave, hosts),
            probes=_evidence.probes(
                cluster, question, hosts, arguments["watch"], arguments["pcap"], arguments["grid"] == "true", arguments["trace"]
            ) if arguments["probe"] else {},
            hosts=[hosts[w.node] for w in wave if w.node in hosts],
            not_in_inventory=_inventory.not_matched([w.node for w in wave], hosts),
        )
        return result

    def _audit(self, document: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """What to ask of every node."""
        cluster = Cluster(document)
        hosts = _inventory.match(cluster, _run.of_play(variables, self._task))
        scope = _audit.scope_of(cluster)
        wave = audit_wave(cluster, scope)
        pods: dict[str, list[t.Any]] = {node: [] for node in cluster.nodes}
        for pod in scope.everyone:
            pods[str(pod.node)].append(pod)
        tables = {host: _tables.of_node(pods[node]) for node, host in hosts.items()}
        asked = self._files(_run.ask(wave, hosts), tables, _tables.shared(cluster))
        return {
            "question": None, "audit": True, "cluster_file": _kept(document), "nodes": hosts, "asked": asked, "ask": {},
            "probes": {}, "hosts": [hosts[w.node] for w in wave if w.node in hosts], "not_in_inventory": _inventory.not_matched(cluster.nodes, hosts),
        }  # fmt: skip

    def _alone(self, silent: _run.ApiSilent, arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        """The API is silent: all hosts of the play are asked, and the question is resolved from what they say."""
        hosts = _run.every_host(variables)
        ask = _run.ask_alone(hosts)
        server = str(silent.document.get("server") or "an unknown address")
        text = f"the Kubernetes API at {server} is silent: {printable(silent.error)}; going on with the {len(hosts)} hosts of the play alone"
        self._display.display(f"WARNING     {text}", color="yellow")
        return {
            "question": None, "audit": silent.given is None, "given": silent.given, "probes": {},
            "api": {"server": server, "error": silent.error}, "cluster_file": _kept(silent.document), "nodes": hosts, "hosts": list(ask),
            "ask": ask if silent.given is not None else {}, "asked": self._files(ask) if silent.given is None else None, "not_in_inventory": {},
            "sending": {name: arguments[name] for name in SENDING},
        }  # fmt: skip

    @staticmethod
    def _files(ask: dict[str, dict[str, t.Any]], tables: dict[str, t.Any] | None = None, shared: dict[str, t.Any] | None = None) -> str:
        """The folder of what each host is asked, and of the rows that it may answer by; it is much, so it does not pass through templates."""
        folder = tempfile.mkdtemp(prefix="podnet-asked-", dir=constants.DEFAULT_LOCAL_TMP)
        parts = {_files.file_of(host): {"arguments": arguments, "tables": (tables or {}).get(host, {})} for host, arguments in ask.items()}
        for name, part in {_tables.SHARED: {"tables": shared or {}}, **parts}.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as stream:
                json.dump(part, stream)
        return folder
