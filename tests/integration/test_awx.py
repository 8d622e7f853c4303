# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What playbooks/awx.yml makes, held against the playbooks that it starts, and these run as AWX runs them."""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.integration.awx_api import Awx
from tests.integration.conftest import ROOT
from tests.integration.runner import LARGEST_EVENT, Runner

OTHERS = ROOT / "build" / "others"
GIVEN = {"awx_image": "registry.example.org/podnet:1", "awx_kubeconfig": "text", "awx_ssh_key": "text", "awx_store": "https://store.example.org",
         "awx_notify_url": "https://chat.example.org/hook"}  # fmt: skip
HARM = "net.ipv4.ip_forward"


def set_up(awx, **variables):
    command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "podnet.doctor.awx", "-e", json.dumps({**GIVEN, **variables})]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": f"{ROOT}/build/collections:{OTHERS}", "CONTROLLER_HOST": awx.url,
                   "CONTROLLER_OAUTH_TOKEN": "token", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_PIPELINING": "1"}  # fmt: skip
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def awx():
    if not OTHERS.is_dir():
        pytest.skip("the collection awx.awx is absent: tests/tools/others.sh fetches it")
    with Awx() as made:
        set_up(made)
        yield made


def survey_of(awx, kind, name):
    return {entry["variable"]: entry for entry in awx.surveys.get(f"{kind}/{awx.named(kind)[name]['id']}", {}).get("spec", [])}


def options_behind(variable):
    """The options of roles that a short variable is the default of: (role, option, its specification)."""
    for role in ("diagnose", "audit", "remediate"):
        specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
        defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text())
        for option, value in defaults.items():
            if re.match(rf"\{{\{{ {variable} \|", str(value)):
                yield role, option, specs[option]


@pytest.mark.thorough
def test_run_again_it_changes_nothing(awx):
    awx.writes.clear()
    set_up(awx)
    assert awx.writes == []


def test_what_is_made(awx):
    templates = awx.named("job_templates")
    assert set(templates) == {f"podnet {name}" for name in ("Preflight", "Diagnose", "Audit", "Collect", "Compare", "Plan", "Remediate", "Remediate approved")}
    for name, template in templates.items():
        assert (ROOT / template["playbook"]).is_file(), name
        place = f"job_templates/{template['id']}"
        assert {one["name"] for one in awx.all_of(f"{place}/credentials")} == {"podnet kubeconfig", "podnet nodes"}
        assert {one["name"] for one in awx.all_of(f"{place}/labels")} == {"podnet"}
        assert template["ask_variables_on_launch"] and template["ask_limit_on_launch"] and template["timeout"]
    assert templates["podnet Collect"]["job_slice_count"] == 8 and templates["podnet Compare"]["job_slice_count"] == 1
    assert templates["podnet Plan"]["job_type"] == "check"
    assert json.loads(templates["podnet Remediate approved"]["extra_vars"])["podnet_approve"] == "{{ podnet_plan.id }}"
    kubeconfig = awx.named("credential_types")["podnet kubeconfig"]
    assert kubeconfig["injectors"] == {"file": {"template": "{{ kubeconfig }}"}, "env": {"K8S_AUTH_KUBECONFIG": "{{ tower.filename }}"}}
    (schedule,) = awx.named("schedules").values()
    assert schedule["unified_job_template"] == awx.named("workflow_job_templates")["podnet Audit in slices"]["id"]
    source = awx.named("inventory_sources")["podnet nodes"]
    assert yaml.safe_load((ROOT / source["source_path"]).read_text())["plugin"] == "podnet.doctor.nodes"


def test_nothing_is_repaired_without_an_approval_before(awx):
    workflow = awx.named("workflow_job_templates")["podnet Diagnose and repair"]
    nodes = {one["identifier"]: one for one in awx.objects["workflow_job_template_nodes"].values() if one["workflow_job_template"] == workflow["id"]}
    by_id = {one["id"]: name for name, one in nodes.items()}
    follows = {name: [by_id[number] for number in awx.links.get(f"workflow_job_template_nodes/{one['id']}/success_nodes", [])] for name, one in nodes.items()}
    assert follows == {"diagnose": ["plan"], "plan": ["approval"], "approval": ["remediate"], "remediate": []}
    for one in nodes.values():
        assert not awx.links.get(f"workflow_job_template_nodes/{one['id']}/always_nodes")
    approval = awx.objects["workflow_approval_templates"][nodes["approval"]["unified_job_template"]]
    assert approval["timeout"] and all(word in approval["description"] for word in ("cause", "plan's id", "blast radius", "way back"))


TEMPLATES = ("podnet Diagnose", "podnet Audit", "podnet Compare", "podnet Plan", "podnet Remediate", "podnet Remediate approved")
SURVEYED = [*(("job_templates", name) for name in TEMPLATES), ("workflow_job_templates", "podnet Diagnose and repair")]


@pytest.mark.parametrize(("kind", "name"), SURVEYED)
def test_surveys_ask_for_what_the_roles_take(awx, kind, name):
    survey = survey_of(awx, kind, name)
    assert survey
    question = importlib.import_module("ansible_collections.podnet.doctor.plugins.action.question").ARGUMENTS
    for variable, entry in survey.items():
        behind = list(options_behind(variable))
        assert behind, f"no role takes {variable}"
        for _role, option, spec in behind:
            choices = spec.get("choices") or question.get(option.partition("_")[2], {}).get("choices")
            choices = choices or (["true", "false"] if spec["type"] == "bool" else None)
            assert (entry["type"] == "multiplechoice") is (choices is not None), (variable, option)
            assert not choices or set(entry["choices"]) == set(choices)
        if entry["required"] and entry["type"] == "multiplechoice":
            assert entry["default"] in entry["choices"]


@pytest.fixture
def runner(lab, tmp_path):
    return Runner(tmp_path, lab.inventory, lab.kubeconfig)


def places(runner):
    return {"podnet_report_dir": str(runner.folder / "reports"), "podnet_store": str(runner.folder / "store")}


QUESTION = {"source": "shop/web-0", "destination": "shop/api-0", "protocol": "tcp", "port": "8080", "probe": "true"}  # as a survey gives them


def playbook(name):
    return str(ROOT / "playbooks" / f"{name}.yml")


def test_a_workflow_from_question_to_repair(runner, lab):
    lab.run("k8s02", "sysctl", "-qw", f"{HARM}=0")
    try:
        diagnosed = runner.run(playbook("diagnose"), **QUESTION, **places(runner))
        assert diagnosed.status == "successful", diagnosed.screen
        told = diagnosed.artifacts["podnet_report"]
        assert told["outcome"] == "broken" and told["causes"] == ["proxy_arp_or_forwarding_cleared"] and len(json.dumps(told)) < 1000
        assert (runner.folder / "store" / "reports" / f"{told['id']}.md").is_file()
        planned = runner.run(playbook("remediate"), check=True, **QUESTION, **places(runner))
        assert planned.status == "successful" and lab.run("k8s02", "sysctl", "-n", HARM).strip() == "0", planned.screen
        plan = planned.artifacts["podnet_plan"]
        for word in (plan["id"], "way back", "k8s02 forwards again"):
            assert word in planned.screen
        refused = runner.run(playbook("remediate"), **QUESTION, **places(runner), podnet_approve="0" * 12)
        assert refused.status == "failed" and lab.run("k8s02", "sysctl", "-n", HARM).strip() == "0"
        handed = {**QUESTION, **places(runner), "podnet_approve": "{{ podnet_plan.id }}", "podnet_plan": plan}
        repaired = runner.run(playbook("remediate"), **handed)
        assert repaired.status == "successful", repaired.screen
        assert repaired.artifacts["podnet_report"]["outcome"] == "healthy"
        assert max(job.largest for job in (diagnosed, planned, repaired)) < LARGEST_EVENT
    finally:
        lab.run("k8s02", "sysctl", "-qw", f"{HARM}=1")


def test_a_limit_ends_in_a_verdict(runner):
    limited = runner.run(playbook("diagnose"), limit="k8s01", **QUESTION, **places(runner))
    assert limited.status == "successful", limited.screen
    assert limited.artifacts["podnet_report"]["outcome"] in ("unknown", "healthy") and "k8s02 was not asked by this run" in limited.screen


def test_a_launch_for_a_host_that_is_no_node_ends_in_a_clear_failure_or_verdict(runner):
    runner.hosts["gone"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    again = runner.run(playbook("diagnose"), limit="gone", **QUESTION, **places(runner))
    assert again.artifacts["podnet_report"]["outcome"] == "unknown", again.screen


def test_a_cancelled_job_and_a_time_out_are_no_verdict(runner):
    folder, process = runner.started(playbook("diagnose"), {**QUESTION, **places(runner)})
    until = time.monotonic() + 60
    while not list((folder / "artifacts" / "job").glob("job_events/*-*.json")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert runner.ended(folder, process).status == "canceled"
    late = runner.run(playbook("diagnose"), settings={"job_timeout": 1}, **QUESTION, **places(runner))
    assert late.status == "timeout"
    assert not list((runner.folder / "reports").glob("*.json")) and "podnet_report" not in late.artifacts
