# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible_collections.podnet.doctor.plugins.plugin_utils import _bundle, _evidence, _files, _pcapng, _run, _since
from ansible_collections.podnet.doctor.plugins.plugin_utils._catalogue import catalogue
from ansible_collections.podnet.doctor.plugins.plugin_utils._collection import first_wave
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction, Refused
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._json import as_mapping
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion
from ansible_collections.podnet.doctor.plugins.plugin_utils._screen import show
from ansible_collections.podnet.doctor.plugins.plugin_utils._user_checks import UserCheckError, run_checks
from ansible_collections.podnet.doctor.plugins.plugin_utils._version import VERSION
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _page, _text

catalogue()  # kept by it: Ansible loads an action once, and then forks a process for each task
ARGUMENTS: dict[str, t.Any] = {
    "question": {"type": "dict"},
    "replay": {"type": "path"},
    "bundle": {"type": "path"},
    "baseline": {"type": "path"},
    "final": {"type": "bool", "default": True},
    "report_dir": {"type": "path", "default": "reports"},
    "fail_on": {"type": "str", "default": "never", "choices": ["never", "finding"]},
    "quiet": {"type": "bool", "default": False},
    "checks": {"type": "list", "elements": "dict", "default": []},
}


def _probes(asked: dict[str, t.Any], diagnosis: Diagnosis, hosts: dict[str, str]) -> dict[str, t.Any]:
    """What to send, where that was not told with the question: the grid, too, where what was read is broken."""
    sending = as_mapping(asked.get("sending"))
    if not sending.get("probe"):
        return {}
    grid = sending.get("grid") == "true" or (sending.get("grid") == "auto" and diagnosis.outcome == "broken")
    watch, keep = float(sending.get("watch") or 0), bool(sending.get("pcap"))
    return _evidence.probes(diagnosis.documents.cluster, diagnosis.question, hosts, watch, keep, grid, bool(sending.get("trace")))


def _packets(diagnosis: Diagnosis, variables: dict[str, t.Any], hosts: dict[str, str]) -> bytes | None:
    """What the captures kept as a file for Wireshark; None where they kept nothing."""
    if not hosts or diagnosis.scope.audit:
        return None
    kept = _evidence.packets(variables, diagnosis.documents.cluster, diagnosis.question, hosts)
    return _pcapng.written(kept, f"podnet.doctor {VERSION}") if kept else None


class ActionModule(ControllerAction):
    """Judge what was collected; finally write and show the report."""

    SPEC = ARGUMENTS
    CONDITIONS: t.ClassVar[dict[str, t.Any]] = {"mutually_exclusive": [("question", "replay")], "required_one_of": [("question", "replay")]}

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        asked = arguments["question"]
        try:
            if arguments["replay"]:
                diagnosis, collected = _bundle.load(arguments["replay"])
                hosts: dict[str, str] = {}
            elif not any(asked.get(name) for name in ("question", "audit", "api")):
                raise BadQuestion("question is not what podnet.doctor.question returned; register that task and pass its result")
            else:
                diagnosis, collected, hosts = _run.diagnose(asked, variables)
            if not arguments["final"]:
                wanted, probes = diagnosis.wanted(), asked.get("probes") or {}
                if asked.get("given") and not _run.asked_twice(variables, hosts):
                    wanted = first_wave(diagnosis.documents.cluster, diagnosis.question)
                    probes = _probes(asked, diagnosis, hosts)
                elif probes and as_mapping(asked.get("sending")).get("grid") == "auto" and diagnosis.outcome == "broken":
                    probes = _probes(asked, diagnosis, hosts)
                ask = _run.ask(wanted, hosts)
                return {**result, "ask": ask, "hosts": list(ask), "probes": probes, "outcome": diagnosis.outcome}
            waves = _run.waves(variables, hosts, _run.stored_answers(asked)) if asked else []
            report = diagnosis.report(collected, version=VERSION, waves=waves)
            report["user_checks"] = run_checks(arguments["checks"], diagnosis.documents, report)
            if asked and not asked.get("api"):
                report["no_nodes"] = _run.no_nodes(variables, hosts)
            if arguments["baseline"]:
                report["since"] = _since.since(arguments["baseline"], report, diagnosis.documents)
            captured = _packets(diagnosis, variables, hosts)
            if arguments["bundle"]:
                _bundle.save(arguments["bundle"], diagnosis, report, captured)
            path = _files.write(report, arguments["report_dir"], report["id"])
            result["page_path"] = _files.write_bytes(_page.html(report).encode("utf-8", "replace"), arguments["report_dir"], f"{report['id']}.html")
            if captured is not None:
                result["packets_path"] = _files.write_bytes(captured, arguments["report_dir"], f"{report['id']}.pcapng")
        except UserCheckError as exc:
            raise Refused(str(exc)) from exc
        except OSError as exc:
            raise Refused(f"the report cannot be written to {arguments['report_dir']}: {exc.strerror or exc}") from exc
        verdict = report["verdict"]
        result.update(
            report_id=report["id"],
            report_path=path,
            outcome=verdict["outcome"],
            summary=verdict["summary"],
            causes=[{key: cause[key] for key in ("id", "fault", "confidence", "node", "summary")} for cause in verdict["causes"]],
            nodes_asked=len([entry for entry in collected if entry["sections"]]),
            node_tasks=report["node_tasks"],
        )
        if not arguments["quiet"] and not _run.batches_follow(variables):
            lines = _text.screen(report, path, result["page_path"])
            show(result, lines + _text.labelled("PACKETS", [result["packets_path"]] if "packets_path" in result else []), self._display)
        if arguments["fail_on"] == "finding" and (verdict["outcome"] != "healthy" or report["findings"]):
            result.update(failed=True, msg=f"{verdict['outcome']}: {verdict['summary']}")
        return result
