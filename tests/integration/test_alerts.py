# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rulebooks, run by ansible-rulebook against posted alerts and events."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
import yaml

from tests.integration.conftest import ROOT

RULEBOOK = ROOT / "build" / "rulebook" / "bin" / "ansible-rulebook"
JOB = """
- name: In place of a diagnosis
  hosts: all
  gather_facts: false
  tasks:
    - name: Say that it was started
      ansible.builtin.raw: "echo {{ source | default('audit') | quote }} {{ destination | default('') | quote }} >> %s"
"""


@pytest.fixture
def jobs(tmp_path):
    """What the rulebook starts, in order, as a function; and a function that posts."""
    if not RULEBOOK.is_file() or shutil.which("java") is None:
        pytest.skip("ansible-rulebook is absent: make rulebook installs it, and Java")
    started = tmp_path / "started"
    started.touch()
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (tmp_path / "job.yml").write_text(JOB % started)
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"localhost": {"ansible_connection": "local"}}}}))
    names = {"podnet_diagnose": str(tmp_path / "job.yml"), "podnet_audit": str(tmp_path / "job.yml"), "podnet_port": port, "podnet_report_dir": str(tmp_path)}
    (tmp_path / "vars.yml").write_text(yaml.safe_dump(names))
    command = [RULEBOOK, "-r", "podnet.doctor.alerts", "-i", tmp_path / "inventory.yml", "--vars", tmp_path / "vars.yml"]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "PATH": f"{RULEBOOK.parent}:{os.environ['PATH']}"}
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([str(word) for word in command], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=tmp_path)

    def post(path, document):
        data = json.dumps(document).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status

    def seen():
        return started.read_text().split("\n")[:-1]

    def until(condition):
        end = time.monotonic() + 120
        while not condition():
            assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.1)

    def up():
        try:
            return post("alerts", {"alerts": []}) == 202
        except (urllib.error.URLError, OSError):
            return False

    try:
        until(up)
        yield post, seen, until
    finally:
        process.terminate()
        process.wait(30)


def alert(number, status="firing", **labels):
    return {"status": status, "labels": {"alertname": "TargetDown", "instance": f"node-{number}", **labels}}


def test_a_storm_of_alerts_starts_one_job_for_each_cause(jobs):
    post, seen, until = jobs
    pair = {"podnet_source": "shop/web-0", "podnet_destination": "shop/api-0"}
    post("alerts", {"alerts": [alert(0, "resolved"), alert(1, alertname="SomethingElse")]})
    for number in range(250):
        post("alerts", {"alerts": [alert(number), alert(number, cluster="east")]})
    until(lambda: len(seen()) == 2)
    for number in range(50):
        post("alerts", {"alerts": [alert(number, **pair)]})
        post("events", {"reason": "FailedCreatePodSandBox", "involvedObject": {"kind": "Pod", "name": f"pod-{number}"}})
    post("alerts", {"alerts": [alert(0, podnet_source="last", podnet_destination="of-all")]})
    until(lambda: "last of-all" in seen())  # events are taken in their order, so that what came before has been decided
    assert sorted(seen()) == ["audit ", "audit ", "last of-all", "shop/web-0 shop/api-0"]


@pytest.mark.parametrize("path", sorted((ROOT / "extensions" / "eda" / "rulebooks").glob("*.yml")), ids=lambda path: path.name)
def test_no_rulebook_starts_a_repair_by_itself(path):
    actions = [action for ruleset in yaml.safe_load(path.read_text()) for rule in ruleset["rules"] for action in rule["action"].items()]
    assert {name for name, _told in actions} <= {"run_playbook", "run_job_template", "run_workflow_template"} and actions
    assert not [told for _name, told in actions if "emediate" in json.dumps(told) or "approve" in json.dumps(told)]
    assert all(rule["throttle"]["once_within"] and rule["throttle"]["group_by_attributes"] == ["event.cause"] for ruleset in
               yaml.safe_load(path.read_text()) for rule in ruleset["rules"])  # fmt: skip


def test_playbooks_that_the_documentation_names_exist():
    text = (ROOT / "extensions" / "eda" / "rulebooks" / "alerts.yml").read_text()
    assert all(pathlib.Path(ROOT, "playbooks", f"{name}.yml").is_file() for name in ("diagnose", "audit")) and "podnet.doctor.diagnose" in text
