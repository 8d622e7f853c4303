# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks of docs/examples, as they are written there."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
import yaml

from tests.integration.conftest import ROOT

EXAMPLES = ROOT / "docs" / "examples"
PAIR = {"source": "shop/web-0", "destination": "shop/api-0:8080"}
DEFAULT = {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}


@pytest.fixture
def no_forwarding(lab):
    """k8s02 forwards no packets."""
    lab.run("k8s02", "sysctl", "-qw", "net.ipv4.ip_forward=0")
    yield
    lab.run("k8s02", "sysctl", "-qw", "net.ipv4.ip_forward=1")


def outcome_of_tests(path):
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    return {tag: sum(case.find(tag) is not None for case in cases) for tag in ("failure", "error")}, len(cases)


def test_a_gate_opens_for_what_is_healthy(site):
    junit = site.folder / "junit.xml"
    run = site.play(EXAMPLES / "gate.yml", **PAIR, junit=str(junit))
    assert run.code == 0, run.screen
    wrong, number = outcome_of_tests(junit)
    assert wrong == {"failure": 0, "error": 0} and number > 10


def test_a_gate_is_closed_for_what_is_broken_and_leaves_its_tests(site, no_forwarding):
    junit = site.folder / "junit.xml"
    run = site.play(EXAMPLES / "gate.yml", **PAIR, junit=str(junit))
    assert run.code == 2
    assert outcome_of_tests(junit)[0]["failure"] == len(run.report["findings"]) + 1


def test_a_summary_for_others(site, no_forwarding):
    run = site.play(EXAMPLES / "summary.yml", folder=str(site.folder), cluster_name="lab")
    assert run.code == 0, run.screen
    samples = (site.folder / "podnet.prom").read_text()
    assert 'podnet_report_outcome{cluster="lab",outcome="broken",question="whole cluster"} 1' in samples
    assert re.search(r'podnet_report_cause\{cause="proxy_arp_or_forwarding_cleared",cluster="lab",.*node="k8s02".*\} 1', samples)
    assert (site.folder / "podnet.md").read_text().startswith("## whole cluster: BROKEN\n")
    assert outcome_of_tests(site.folder / "podnet.xml")[0]["failure"]


@pytest.mark.parametrize(("harm", "code"), [("sysctl -qw net.ipv4.ip_forward=0", 2)])
def test_around_a_change_of_one_node(site, lab, harm, code):
    change = site.folder / "change.yml"
    change.write_text(yaml.safe_dump([{"name": "A step of an upgrade", "ansible.builtin.command": harm, "become": True}]))
    try:
        run = site.play(EXAMPLES / "around_upgrade.yml", **PAIR, node="k8s02", change=str(change), folder=str(site.folder))
    finally:
        lab.run("k8s02", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    assert run.code == code, run.screen
    assert [report["verdict"]["outcome"] for report in run.reports] == ["healthy", "healthy" if code == 0 else "broken"]
    assert run.last["since"].get("error") is None
    if code:
        assert any("ip_forward" in change["object"] + change["text"] for change in run.last["since"]["changes"])


def test_routes_of_two_nodes(site):
    run = site.play(EXAMPLES / "compare_routes.yml", first="k8s01", second="k8s02", environment=DEFAULT)
    assert run.code == 0 and "only_first" in run.screen, run.screen


def test_nodes_against_the_api(site, no_forwarding):
    run = site.play(EXAMPLES / "unexpected.yml", environment=DEFAULT)
    assert run.code == 0, run.screen
    assert run.screen.count("forwarding.off") == 1


def test_two_clusters_are_never_mixed(site):
    """Both groups have a host for each node, and a kubeconfig of their own; the hosts of the second cannot be reached."""
    (whole,) = yaml.safe_load(site.inventory.read_text()).values()
    hosts = whole["hosts"]
    gone = {name: {"ansible_host": "127.0.0.1", "ansible_port": 1, "podnet_node_name": name.partition("-")[2]} for name in (f"west-{host}" for host in hosts)}
    second = site.folder / "second"
    second.write_text(site.kubeconfig.read_text())
    groups = {
        "east": {"hosts": {name: {} for name in hosts}, "vars": {"cluster_kubeconfig": str(site.kubeconfig)}},
        "west": {"hosts": gone, "vars": {"cluster_kubeconfig": str(second)}},
    }
    other = site.folder / "clusters.yml"
    other.write_text(yaml.safe_dump({"all": {"children": groups}}))
    run = site.play(EXAMPLES / "clusters.yml", "-i", str(other), environment={"KUBECONFIG": "/dev/null"})
    east, west = run.reports
    assert {entry["host"] for entry in east["collected"]} == set(hosts) and all(entry["sections"] for entry in east["collected"])
    assert east["verdict"]["outcome"] == "healthy" and "api" not in east
    assert {entry["host"] for entry in west["collected"]} == set(gone) and not any(entry["sections"] for entry in west["collected"])
    assert west["verdict"]["outcome"] == "unknown"
