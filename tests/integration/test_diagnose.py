# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The diagnosis in every way that it is called, with its exit code."""

from __future__ import annotations

import pathlib
import re
import shutil

import pytest
import yaml

from lab.faults import find

NO_SSH = {"ansible_ssh_common_args": "-o ProxyCommand=false -o ControlPath=none"}
PLAY = """
- hosts: all
  gather_facts: false
  {keywords}
  tasks:
    - ansible.builtin.import_role:
        name: podnet.doctor.diagnose
      vars:
        diagnose_source: shop/web-0
        diagnose_destination: shop/api-0
        diagnose_port: 8080
    - ansible.builtin.debug:
        msg: "the role said {{{{ diagnose_report.outcome }}}}"
      run_once: true
"""


def play(site, keywords="order: inventory"):
    path = site.folder / "play.yml"
    path.write_text(PLAY.format(keywords=keywords))
    return path


def test_a_healthy_path_is_healthy_because_packets_were_seen(site):
    run = site.diagnose()
    assert run.code == 0
    assert run.report["verdict"]["outcome"] == "healthy"
    assert all(probe["arrived"] for probe in run.report["probes"])
    assert {(hop["packets"], probe["sent"]) for probe in run.report["probes"] for hop in probe["hops"] + probe["back"]} == {(3, 3)}
    page = next(line for line in run.screen.splitlines() if line.startswith("PAGE")).split()[1]
    assert pathlib.Path(site.folder, page).read_text().rstrip().endswith("</html>")
    lines = [line for line in run.screen.splitlines() if not line.startswith(("REPORT", "PAGE"))]
    first = next(number for number, line in enumerate(lines) if line.endswith("HEALTHY"))
    assert lines[first].startswith("shop/web-0 on k8s01")
    assert max(map(len, lines[first:])) <= 80


def test_without_probes_nothing_is_called_healthy(site):
    run = site.diagnose(probe=False)
    assert run.report["verdict"]["outcome"] == "unknown"


@pytest.mark.parametrize(
    ("source", "destination", "hops"),
    [("shop/web-0", "shop/api-2:8080", 5), ("node/k8s01", "shop/api-0:8080", 7), ("shop/web-0", "node/k8s02", 5), ("shop/web-0", "10.2.7.254", 4)],
)
def test_other_kinds_of_ends(site, source, destination, hops):
    report = site.diagnose(source, destination).report
    assert len(report["path"]["forward"]) == hops
    assert report["verdict"]["outcome"] == ("unknown" if destination == "10.2.7.254" else "healthy")
    assert not report["findings"]


def test_only_the_nodes_on_the_path_are_asked(site):
    report = site.diagnose().report
    assert {entry["node"] for entry in report["collected"]} == {"k8s01", "k8s02"}


def test_every_node_unreachable(site):
    run = site.diagnose(**NO_SSH)
    assert run.code == 0
    assert run.report["verdict"]["outcome"] == "unknown"
    assert {entry["node"] for entry in run.report["not_checked"]} >= {"k8s01", "k8s02"}
    assert "is unreachable" in run.screen


def test_every_node_unreachable_and_a_pipeline(site):
    run = site.diagnose(podnet_fail_on="finding", **NO_SSH)
    assert run.code == 2
    assert run.report["verdict"]["outcome"] == "unknown"


def test_a_pipeline_with_a_healthy_path(site):
    assert site.diagnose(podnet_fail_on="finding").code == 0


def test_an_outer_play_with_any_errors_fatal(site):
    run = site.play(play(site, "any_errors_fatal: true"), **NO_SSH)
    assert run.code == 0
    assert run.report["verdict"]["outcome"] == "unknown"
    assert "the role said unknown" in run.screen


def test_in_a_play_of_somebody_else(site):
    run = site.play(play(site))
    assert run.code == 0
    assert run.report["verdict"]["outcome"] == "healthy"
    assert "the role said healthy" in run.screen


def test_serial_says_what_it_could_not_watch(site):
    run = site.play(play(site, "serial: 1"))
    assert run.code == 0
    assert run.last["verdict"]["outcome"] == "unknown"
    assert not run.last["findings"]
    assert "not watched at the same time" in " ".join(entry["reason"] for entry in run.last["not_checked"])


@pytest.mark.thorough
def test_forks_1(site):
    run = site.diagnose("shop/web-0", "shop/api-0:8080", "--forks", "1")
    assert run.report["verdict"]["outcome"] == "healthy"


@pytest.mark.parametrize("limit", ["k8s01", pytest.param("k8s03", marks=pytest.mark.thorough)])
def test_limit_cuts_nodes_away(site, limit):
    run = site.diagnose("shop/web-0", "shop/api-0:8080", "--limit", limit)
    assert run.code == 0
    assert run.report["verdict"]["outcome"] == "unknown"
    assert any("--limit" in entry["reason"] for entry in run.report["not_checked"])


def test_limit_that_matches_nothing_fails(site):
    run = site.diagnose("shop/web-0", "shop/api-0:8080", "--limit", "nowhere")
    assert run.code != 0
    assert not run.reports


def test_become_in_the_inventory(site):
    assert site.diagnose(ansible_become=True).report["verdict"]["outcome"] == "healthy"


def test_strategy_free_is_refused_in_one_sentence(site):
    run = site.play(play(site, "strategy: free"))
    assert run.code == 2
    assert "strategy free" in run.screen
    assert not run.reports


def test_results_for_the_next_play(site):
    run = site.diagnose("shop/web-0", "shop/api-0:8080", "-v", podnet_hosts="all")
    assert run.code == 0
    assert run.report["id"]


def test_checks_of_ones_own(site):
    checks = [{"id": "small_mtu", "severity": "warning", "message": "a small MTU", "expression": "links[?mtu < `1490`].ifname"}]
    run = site.diagnose(podnet_checks=checks)
    assert "small_mtu on k8s01" in run.screen
    assert run.report["user_checks"][0]["outcome"] == "finding"


def test_a_wrong_check_names_itself(site):
    run = site.diagnose(podnet_checks=[{"id": "broken_one", "message": "m", "expression": "links[?"}])
    assert run.code == 2
    assert "check broken_one" in run.screen


BAD = [
    ({"source": "shop/web-9"}, "knows no pod shop/web-9; did you mean shop/web-"),
    ({"source": "web-0"}, "'web-0' is neither a pod"),
    ({"source": ""}, "source is missing"),
    ({"destination": "shop/api-0:99999"}, "port '99999' is not a number from 1 to 65535"),
    ({"destination": "shop/api-0", "protocol": "icmp", "port": 80}, "icmp has no ports"),
    ({"destination": "node/k8s09"}, "knows no node k8s09"),
    ({"destination": "shop/web-0"}, "source and destination are the same"),
    ({"kubeconfig": "/nowhere/config"}, "the kubeconfig /nowhere/config does not exist"),
    ({"source": "10.99.99.99"}, "is the address of no pod and no node"),
    ({"destination": "svc/kube-system/kube-dn"}, "knows no Service kube-system/kube-dn"),
]


@pytest.mark.parametrize(("variables", "sentence"), BAD, ids=[text[:30] for _variables, text in BAD])
def test_bad_input_is_one_sentence(site, variables, sentence):
    run = site.play("podnet.doctor.diagnose", **{"source": "shop/web-0", "destination": "shop/api-0:8080", **variables})
    assert run.code == 2
    assert sentence in run.screen
    assert "Traceback" not in run.screen
    assert not run.reports


def test_a_pod_on_the_network_of_its_node(site):
    pod = next(pod for pod in site.lab.client.list("pods") if pod["spec"].get("hostNetwork"))
    run = site.diagnose(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
    assert run.code == 2
    assert f"ask for node/{pod['spec']['nodeName']} instead" in run.screen


@pytest.fixture
def pending(site):
    body = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "waiting", "namespace": "shop"},
        "spec": {"containers": [{"name": "c", "image": "registry.example/none"}], "nodeSelector": {"nowhere": "true"}},
    }  # fmt: skip
    site.lab.client.create("pods", body)
    yield "shop/waiting"
    site.lab.client.delete("pods", "waiting", "shop", now=True)


def test_a_pod_that_is_not_scheduled(site, pending):
    run = site.diagnose(pending)
    assert run.code == 2
    assert "pod shop/waiting is not scheduled on any node yet (phase Pending)" in run.screen


def test_the_api_is_down(site):
    wrong = site.folder / "kubeconfig"
    wrong.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", site.kubeconfig.read_text()))
    run = site.diagnose(kubeconfig=str(wrong))
    assert run.code == 0
    assert run.report["verdict"]["outcome"] == "healthy"  # packets were seen to cross
    assert "Connection refused" in run.report["api"]["error"] and "is silent" in run.screen


def test_a_node_that_the_inventory_does_not_have(site):
    partial = site.folder / "inventory.yml"
    text = site.inventory.read_text()
    partial.write_text(text.replace("    k8s02:", "    other-machine:"))
    site.inventory = partial
    run = site.diagnose(ansible_host="{{ {'other-machine': '10.9.9.9'}[inventory_hostname] | default('10.2.7.201') }}")
    assert run.code == 0
    assert run.report["verdict"]["outcome"] == "unknown"
    assert "is not in the inventory" in run.screen


def with_host_variables(site, **variables):
    """The inventory as somebody else wrote it: k8s02 has variables of its own."""
    document = yaml.safe_load(site.inventory.read_text())
    document["nodes"]["hosts"]["k8s02"].update(variables)
    site.inventory = site.folder / "inventory.yml"
    site.inventory.write_text(yaml.safe_dump(document))


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ansible_python_interpreter": "/nowhere/python3"}, "k8s02 has no Python where Ansible looks for it"),
        ({"ansible_ssh_common_args": "-o ProxyCommand='sleep 60' -o ControlPath=none", "ansible_ssh_timeout": 2}, "k8s02 is unreachable"),
        ({"ansible_user": "nobody"}, "k8s02 is unreachable"),
    ],
)
def test_a_node_that_cannot_be_asked_has_its_own_sentence(site, variables, sentence):
    with_host_variables(site, **variables)
    run = site.diagnose(podnet_exec=False)
    assert run.code == 0
    assert sentence in " ".join(entry["reason"] for entry in run.report["not_checked"])
    assert run.report["verdict"]["outcome"] == "unknown"
    assert {entry["node"]: bool(entry["sections"]) for entry in run.report["collected"]} == {"k8s01": True, "k8s02": False}


def interpreter(version):
    """A Python of this version that this machine has, beside the one of its distribution."""
    installed = sorted(pathlib.Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    return shutil.which(f"python{version}", path="/usr/local/bin:/usr/bin") or (str(installed[-1]) if installed else None)


@pytest.mark.parametrize("version", ["3.9", pytest.param("3.13", marks=pytest.mark.thorough)])
def test_nodes_with_an_older_or_a_newer_python(site, version):
    path = interpreter(version)
    if path is None:
        pytest.skip(f"this machine has no Python {version}")
    with_host_variables(site, ansible_python_interpreter=path)
    run = site.diagnose()
    assert run.report["verdict"]["outcome"] == "healthy", run.screen
    assert not [entry["errors"] for entry in run.report["collected"] if entry["errors"]]


def test_a_node_that_refuses_become(site, lab):
    """The lab logs in as root, so Ansible is told to call sudo all the same, and the node's sudoers names nobody."""
    sudoers = lab.run("k8s02", "cat", "/etc/sudoers")
    lab.run("k8s02", "sh", "-c", "echo > /etc/sudoers")
    try:
        run = site.play(
            "podnet.doctor.diagnose", source="shop/web-0", destination="shop/api-0:8080", podnet_exec=False,
            environment={"ANSIBLE_BECOME_ALLOW_SAME_USER": "true"},
        )  # fmt: skip
    finally:
        lab.run("k8s02", "sh", "-c", 'printf %s "$0" > /etc/sudoers', sudoers)
    assert run.code == 0
    assert "k8s02 refuses to become root" in " ".join(entry["reason"] for entry in run.report["not_checked"])
    assert {entry["node"]: bool(entry["sections"]) for entry in run.report["collected"]} == {"k8s01": True, "k8s02": False}


def test_a_hanging_bird_is_one_section_that_was_not_read(site, lab):
    fault = find("bird_down_or_config_rejected.hung")
    fault.inject(lab)
    try:
        run = site.diagnose(podnet_timeout=8)
    finally:
        fault.heal(lab)
    reasons = " ".join(entry["reason"] for entry in run.report["not_checked"])
    assert "k8s02: bird" in reasons
    assert not [finding for finding in run.report["findings"] if finding["check"] == "bird.down"]
    assert run.report["verdict"]["outcome"] == "healthy"  # the packets crossed
