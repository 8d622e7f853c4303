# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.podnet.doctor.plugins.plugin_utils import _plan
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _plan_text
from ansible_collections.podnet.doctor.tests.unit import small

HOSTS = {"k8s01": "k8s01", "k8s02": "worker-2"}


def report(value="0", **more):
    def clear(document):
        document["sysctls"]["net/ipv4/ip_forward"] = value
        document["counters"] = {"at": more.get("at", 1)}

    return small.diagnose(k8s02=clear).report()


def plan(found, **options):
    return _plan.plan(found, small.documents().cluster, HOSTS, _plan.Wishes(**options))


def test_the_same_fault_gives_the_same_id():
    first, second = plan(report(at=1)), plan(report(at=2))
    assert first["id"] == second["id"]
    assert first["actions"][0]["remedy"] == "set_sysctl"
    assert first["actions"][0]["host"] == "worker-2"
    assert first["actions"][0]["blast_radius"]["pods"] == 1


def test_another_state_gives_another_id():
    assert plan(report("0"))["id"] != plan(report("2"))["id"]


def test_a_node_that_cannot_be_reached_by_ansible_is_refused():
    found = _plan.plan(report(), small.documents().cluster, {"k8s01": "k8s01"})
    assert not found["actions"]
    assert "k8s02 is not in the inventory" in found["refused"][0]["reason"]


def test_advice_is_never_an_action():
    def no_default(document):
        document["sandboxes"][0]["network"]["routes"] = []

    def bare(document):
        for pod in document["pods"]:
            pod["metadata"].pop("ownerReferences")

    found = plan(small.diagnose(cluster=bare, k8s02=no_default).report())
    assert found["actions"] == []
    assert found["refused"][0]["class"] == "R0"
    assert "nothing to do by itself" in _plan_text.screen(found)[0]


def test_the_screen_tells_change_radius_and_way_back():
    lines = "\n".join(_plan_text.screen(plan(report())))
    assert "way back: sysctl -w net.ipv4.ip_forward=0" in lines
    assert "1 pod on k8s02" in lines
    assert "done when: net.ipv4.ip_forward is 1 on k8s02" in lines
    assert max(map(len, lines.splitlines())) <= 80


def test_nothing_wrong_nothing_to_do():
    found = plan(small.diagnose().report())
    assert found["actions"] == found["refused"] == []
    assert _plan_text.screen(found) == ["PLAN     nothing to do"]


def test_nothing_is_changed_on_another_machine():
    found = plan({**report(), "collected": [{"node": "k8s02", "machine": "other"}]})
    assert found["actions"] == []
    assert "the inventory's host worker-2 is another machine" in found["refused"][0]["reason"]


def test_an_interface_is_deleted_only_where_that_was_asked_for():
    found = report()
    first = found["verdict"]["causes"][0]["remedies"][0]
    found["verdict"]["causes"][0]["remedies"] = [{**first, "id": "delete_link", "class": "R2", "action": "delete the interface vxlan-old"}]
    (refused,) = plan(found)["refused"]
    assert refused["reason"] == "delete the interface vxlan-old (with -e podnet_delete_interface=true it is a step of the plan)"
    assert not plan(found)["actions"] and [action["remedy"] for action in plan(found, delete_interface=True)["actions"]] == ["delete_link"]


def no_route(document):
    document["routes"] = [route for route in document["routes"] if route["dst"] != "10.253.2.7/32"]


def test_the_question_goes_on_with_the_successor_of_a_pod_that_it_names():
    found = report()
    cause = found["verdict"]["causes"][0]
    made_again = {**cause["remedies"][0], "id": "recreate_pod", "class": "R2", "blast_radius": "pod restarts"}
    for pod, asked, text in (("shop/web-0", ["shop/web-0"], f"pod restarts{_plan.GOES_ON}"), ("shop/web-9", [], "pod restarts")):
        cause["remedies"] = [{**made_again, "parameters": {"component": "pod", "pod": pod}}]
        (action,) = plan(found)["actions"]
        assert (action["asked"], action["blast_radius"]["text"], action["by"]) == (asked, text, "api")


def test_a_node_with_a_step_of_its_own_is_not_waited_for_before_it():
    found = report()
    cause = found["verdict"]["causes"][0]
    (remedy,) = cause["remedies"]
    found["findings"] = [*found["findings"], {**found["findings"][0], "node": "k8s01"}]
    alone = plan(found)["actions"]
    assert [watched["node"] for action in alone for watched in action["watch"]] == ["k8s01"]
    cause["remedies"] = [remedy, {**remedy, "node": "k8s01"}]
    first, second = plan(found)["actions"]
    assert (first["watch"], [watched["node"] for watched in second["watch"]]) == ([], ["k8s02"])


def test_waiting_is_the_first_step():
    found = plan(small.diagnose(k8s02=no_route).report())
    assert [(a["remedy"], a["class"], a["by"]) for a in found["actions"]] == [("wait", "R0", "wait"), ("restart_calico_node", "R2", "api")]
    assert "puts it right within 100 s" in "\n".join(_plan_text.screen(found))
    at_once = plan(small.diagnose(k8s02=no_route).report(), at_once=True)
    assert [(a["remedy"], a["only_if"]) for a in at_once["actions"]] == [("restart_calico_node", "")]


def test_a_node_guards_what_can_be_taken_back():
    (action,) = plan(report(), guard=7)["actions"]
    assert (action["by"], action["guard_seconds"]) == ("node", action["wait_seconds"] + 7)
    (_wait, restart) = plan(small.diagnose(k8s02=no_route).report())["actions"]
    assert restart["guard_seconds"] == 0


def no_forwarding(document):
    document["sysctls"]["net/ipv4/ip_forward"] = "0"


def test_a_setting_is_kept_in_a_file_where_that_was_asked_for():
    broken = small.diagnose(k8s02=no_forwarding).report()
    for_now, for_good = (next(a for a in plan(broken, persistent=asked)["actions"] if a["remedy"] == "set_sysctl") for asked in (False, True))
    assert "persistent" not in for_now["parameters"] and for_good["parameters"]["persistent"]
    assert for_good["change"] == {"before": "0", "after": "1, also in /etc/sysctl.d/99-podnet-doctor.conf"}
    assert for_good["way_back"].endswith(", and take it out of /etc/sysctl.d/99-podnet-doctor.conf")


def test_all_nodes_are_restarted_one_after_the_other_and_each_is_a_gate():
    found = plan(small.diagnose().report(), restart_all=True, restart_wait=15)
    assert [(a["cause"], a["remedy"], a["node"], a["gate"], a["wait_seconds"]) for a in found["actions"]] == [
        ("restart_asked_for", "restart_calico_node", node, True, 15) for node in ("k8s01", "k8s02")
    ]
    assert not plan(small.diagnose().report())["actions"]


def test_what_is_restarted_anyway_is_not_restarted_for_a_cause():
    found = plan(small.diagnose(k8s02=no_route).report(), restart_all=True)
    assert [(a["cause"], a["node"]) for a in found["actions"] if a["remedy"] == "restart_calico_node"] == [
        ("restart_asked_for", "k8s01"), ("restart_asked_for", "k8s02"),
    ]  # fmt: skip


def test_the_last_restart_for_a_cause_is_judged_by_the_diagnosis_after_it():
    actions = plan(small.diagnose(k8s02=no_route).report())["actions"]
    assert [(a["remedy"], a["gate"]) for a in actions] == [("wait", False), ("restart_calico_node", False)]


def test_findings_of_other_causes_are_not_waited_for():
    def two(document):
        document["sysctls"]["net/ipv4/ip_forward"] = "0"
        no_route(document)

    found = small.diagnose(k8s02=two).report()
    for action in plan(found)["actions"]:
        assert action["findings"] and action["known"] and not set(action["findings"]) & set(action["known"])


def other_mask(cluster):
    node = next(node for node in cluster["nodes"] if node["metadata"]["name"] == "k8s02")
    node["metadata"]["annotations"]["projectcalico.org/IPv4Address"] = "10.2.7.202/32"


def test_objects_of_the_api_are_changed_only_with_their_own_flag():
    found = small.diagnose(cluster=other_mask).report()
    without, allowed = plan(found), plan(found, allow_r3=True)
    assert not without["actions"] and [entry["remedy"] for entry in without["refused"]] == ["set_node_address"]
    assert "with -e podnet_allow_r3=true it is a step of the plan" in without["refused"][0]["reason"]
    (action,) = allowed["actions"]
    assert (action["class"], action["by"], action["guard_seconds"]) == ("R3", "object", 0)
    assert action["change"] == {"before": "10.2.7.202/32", "after": "10.2.7.202/24"}
    assert action["way_back"].endswith("projectcalico.org/IPv4Address=10.2.7.202/32")


def old_name(cluster):
    nodes = {node["metadata"]["name"]: node for node in cluster["nodes"]}
    nodes["k8s02"]["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    old = {**nodes["k8s02"]["status"], "conditions": [{"type": "Ready", "status": "Unknown"}]}
    cluster["nodes"].append({"metadata": {**nodes["k8s02"]["metadata"], "name": "old02"}, "spec": {}, "status": old})


def test_an_object_of_a_node_that_is_gone_needs_no_host():
    found = plan(small.diagnose(cluster=old_name).report(), allow_r3=True)
    (action,) = found["actions"]
    assert (action["remedy"], action["by"], action["host"], action["node"]) == ("clear_node_address", "object", None, "")


def test_without_the_api_only_what_one_kernel_shows_is_changed():
    def silent(cluster):
        cluster["rebuilt"] = {"sections": ["nodes"]}

    def two(document):
        document["sysctls"]["net/ipv4/ip_forward"] = "0"
        no_route(document)

    (action,) = plan(small.diagnose(k8s02=two, cluster=silent).report())["actions"]
    assert action["remedy"] == "set_sysctl" and "the Kubernetes API is silent, so what it says was not compared" in action["preconditions"]
