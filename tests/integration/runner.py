# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbooks run by ansible-runner as AWX runs them: a private data folder, variables and environment as files, the inventory as a script, events."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
LARGEST_EVENT = 700_000  # what AWX keeps of a result
SCRIPT = "#!/bin/sh\ncat <<'INVENTORY'\n{}\nINVENTORY\n"


@dataclass
class Job:
    """What AWX would know of a job."""

    folder: pathlib.Path
    status: str
    code: int

    @property
    def events(self) -> list[dict[str, t.Any]]:
        paths = [path for path in (self.folder / "job_events").glob("*.json") if not path.name.endswith("-partial.json")]
        paths.sort(key=lambda path: int(path.name.partition("-")[0]))
        return [json.loads(path.read_text()) for path in paths]

    @property
    def artifacts(self) -> dict[str, t.Any]:
        last = [event for event in self.events if event["event"] == "playbook_on_stats"]
        return dict(last[-1]["event_data"].get("artifact_data") or {}) if last else {}

    @property
    def screen(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def largest(self) -> int:
        return max(len(str(event.get("event_data", {}).get("res"))) for event in self.events)


def hosts_of(inventory: pathlib.Path) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """(host -> its variables, variables of all) of a lab."""
    (whole,) = yaml.safe_load(inventory.read_text()).values()
    return whole["hosts"], whole.get("vars") or {}


class Runner:
    """Private data folders of jobs over one lab."""

    def __init__(self, folder: pathlib.Path, inventory: pathlib.Path, kubeconfig: pathlib.Path) -> None:
        self.folder, self.kubeconfig, self.jobs = folder, kubeconfig, 0
        self.hosts, self.common = hosts_of(inventory)

    def prepared(self, variables: Mapping[str, t.Any], hosts: Iterable[str] | None = None) -> pathlib.Path:
        self.jobs += 1
        folder = self.folder / f"job-{self.jobs}"
        chosen = list(self.hosts if hosts is None else hosts)
        listed = {"all": {"hosts": chosen, "vars": self.common}, "_meta": {"hostvars": {name: self.hosts[name] or {} for name in chosen}}}
        files = {
            "env/extravars": json.dumps({**variables, "awx_job_id": self.jobs, "awx_user_name": "operator"}),
            "env/envvars": json.dumps({
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "K8S_AUTH_KUBECONFIG": str(self.kubeconfig), "ANSIBLE_FORKS": "10",
                "ANSIBLE_STDOUT_CALLBACK": "default", "MAX_EVENT_RES": str(LARGEST_EVENT), "ANSIBLE_RETRY_FILES_ENABLED": "False",
            }),
            "inventory/hosts": SCRIPT.format(json.dumps(listed)),
        }  # fmt: skip
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (folder / "inventory" / "hosts").chmod(0o755)
        (folder / "project").mkdir()
        return folder

    def started(self, playbook: str, variables: Mapping[str, t.Any], hosts: Iterable[str] | None = None, limit: str = "",
                settings: Mapping[str, t.Any] | None = None, check: bool = False) -> tuple[pathlib.Path, subprocess.Popen[bytes]]:  # fmt: skip
        folder = self.prepared(variables, hosts)
        if check:
            (folder / "env" / "cmdline").write_text("--check --diff")
        command = [str(pathlib.Path(sys.executable).parent / "ansible-runner"), "run", str(folder), "-p", playbook, "--ident", "job", "--quiet",
                   *(["--limit", limit] if limit else [])]  # fmt: skip
        (folder / "env" / "settings").write_text(json.dumps(dict(settings or {})))
        environment = {**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"}
        return folder, subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def ended(self, folder: pathlib.Path, process: subprocess.Popen[bytes]) -> Job:
        process.wait(300)
        artifacts = folder / "artifacts" / "job"
        return Job(artifacts, (artifacts / "status").read_text(), int((artifacts / "rc").read_text()))

    def run(self, playbook: str, hosts: Iterable[str] | None = None, limit: str = "", settings: Mapping[str, t.Any] | None = None,
            check: bool = False, **variables: t.Any) -> Job:  # fmt: skip
        return self.ended(*self.started(playbook, variables, hosts, limit, settings, check))
