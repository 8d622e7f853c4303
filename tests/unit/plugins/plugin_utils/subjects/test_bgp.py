# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import small


def lose_session(state="Connect", keep_routes=False):
    def change(document):
        document["bird"]["ipv4"]["protocols"][0].update(info=state)
        document["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = state

    return change


def bird(running=None, **daemon):
    def change(document):
        document["bird"] = {"ipv4": daemon}
        document["calico"]["bird"] = {"running": running} if running is not None else {"error": "no process list"}

    return change


# ---------------------------------------------------------------------------------- the daemon


@pytest.mark.parametrize(
    ("change", "outcome", "sources"),
    [
        (bird(False, error="x", errno="ENOENT"), "finding", ("bird k8s02", "processes k8s02")),
        (bird(None, error="x", errno="ECONNREFUSED"), "finding", ("bird k8s02",)),
        (bird(None, error="x", reason="refused"), "finding", ("bird k8s02",)),
        (bird(True, error="x", errno="ECONNREFUSED"), "finding", ("bird k8s02",)),
        (bird(False, error="x", reason="absent"), "finding", ("bird k8s02", "processes k8s02")),
        (bird(None, error="x", reason="absent"), "not_checked", None),
        (bird(None, error="x", errno="EACCES"), "not_checked", None),
        (bird(True, error="x", reason="denied"), "not_checked", None),
        (bird(True, error="x", reason="timeout"), "finding", ("bird k8s02", "processes k8s02")),
        (bird(None, error="x", reason="timeout"), "not_checked", None),
        (bird(True, error="x", reason="late"), "not_checked", None),
        (small.lost("bird"), "not_checked", None),
        (lambda document: None, "ok", None),
    ],
)
def test_whether_bird_runs(change, outcome, sources):
    found = small.verdict(small.diagnose(k8s02=change), "bird.running", "k8s02")
    assert (found.outcome, found.finding.sources if found.finding else None) == (outcome, sources)


def test_a_dead_bird_explains_its_sessions_and_is_restarted():
    diagnosis = small.diagnose(k8s02=bird(False, error="no socket", reason="absent"), k8s01=lose_session())
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.node) == ("bird_down_or_config_rejected", "F49", "k8s02")
    assert [remedy.id for remedy in cause.remedies] == ["restart_calico_node"]
    assert {f.check for f in diagnosis.explained_by(cause)} == {"bgp.session.down"}


def test_a_bird_that_hangs_is_restarted_before_its_pod():
    diagnosis = small.diagnose(k8s02=bird(True, error="/run/bird.ctl: connected, but BIRD does not answer", reason="timeout"), k8s01=lose_session())
    (cause,) = diagnosis.causes
    assert (cause.id, cause.node, cause.objects) == ("bird_down_or_config_rejected", "k8s02", ["bird"])
    assert [(remedy.id, remedy.risk, remedy.only_if) for remedy in cause.remedies] == [
        ("restart_bird", "R2", ""), ("restart_calico_node", "R2", "bird on k8s02 does not answer even then"),
    ]  # fmt: skip
    assert {f.check for f in diagnosis.explained_by(cause)} == {"bgp.session.down"}


# ---------------------------------------------------------------------------------- sessions


def test_each_side_is_judged_by_what_it_says_itself():
    diagnosis = small.diagnose(k8s01=lose_session("Active"))
    assert small.verdict(diagnosis, "bgp.session", "k8s01", "k8s02").finding.check == "bgp.session.down"
    assert small.verdict(diagnosis, "bgp.session", "k8s02", "k8s01").outcome == "ok"
    finding = small.verdict(diagnosis, "bgp.session", "k8s01", "k8s02").finding
    assert (finding.actual, finding.sources) == ("Active", ("bird k8s01",))
    assert finding.evidence == "Mesh_k8s02 BGP master up 10:00 Active"


def test_a_session_that_is_disabled_at_one_end_is_not_one_that_cannot_be_opened():
    def disabled(document):
        document["bird"]["ipv4"]["protocols"][0].update(state="down", info="")
        document["bird"]["ipv4"]["protocols"][0]["bgp"]["state"] = "Down"

    def told(document):
        lose_session("Passive")(document)
        document["bird"]["ipv4"]["protocols"][0]["bgp"]["last_error"] = "Received: Administrative shutdown"

    (cause,) = small.diagnose(k8s02=disabled, k8s01=told).causes
    assert (cause.id, cause.node, cause.objects) == ("bgp_session_disabled", "k8s02", ["k8s01"])
    assert {finding.fact.node for finding in cause.roots} == {"k8s01", "k8s02"}
    (remedy,) = cause.remedies
    assert remedy.risk == "R0" and 'on k8s02: birdc enable "Mesh_k8s01"' in remedy.action


def test_a_protocol_for_the_wrong_address():
    def announce(document):
        document["nodes"][1]["metadata"]["annotations"]["projectcalico.org/IPv4Address"] = "192.188.1.1/24"

    def towards(state):
        def change(document):
            lose_session(state)(document)
            document["bird"]["ipv4"]["protocols"][0]["bgp"]["neighbor_address"] = "192.188.1.1"

        return change

    found = small.verdict(small.diagnose(cluster=announce, k8s01=towards("Connect")), "bgp.session", "k8s01", "k8s02")
    assert (found.finding.check, found.finding.actual) == ("bgp.session.down", "192.188.1.1")
    assert small.verdict(small.diagnose(cluster=announce, k8s01=towards("Established")), "bgp.session", "k8s01", "k8s02").outcome == "ok"


def test_no_protocol_at_all():
    found = small.verdict(small.diagnose(k8s01=lambda d: d["bird"]["ipv4"].update(protocols=[])), "bgp.session", "k8s01", "k8s02")
    assert found.finding.check == "bgp.session.missing"
    assert "has no protocol for 10.2.7.202; its peers: none" in found.finding.evidence


def test_bird_that_told_no_protocols():
    diagnosis = small.diagnose(k8s01=lambda d: d["bird"]["ipv4"].update(protocols={"error": "timeout"}))
    assert small.verdict(diagnosis, "bgp.session", "k8s01", "k8s02").outcome == "not_checked"


def test_without_a_mesh_or_without_bird_there_are_no_sessions():
    mesh_off = small.diagnose(cluster=lambda d: d.update(bgpconfigurations=[{"metadata": {"name": "default"}, "spec": {"nodeToNodeMeshEnabled": False}}]))
    assert not [fact for fact in mesh_off.facts if fact.kind in ("bgp.session", "underlay.tcp179")]
    assert [fact for fact in mesh_off.facts if fact.kind == "bird.running"]

    def vxlan(document):
        env = document["daemonsets"][0]["spec"]["template"]["spec"]["containers"][0]["env"]
        env.append({"name": "CALICO_NETWORKING_BACKEND", "value": "vxlan"})

    assert not [fact for fact in small.diagnose(cluster=vxlan).facts if fact.kind.startswith(("bgp", "bird", "underlay.tcp"))]


# ---------------------------------------------------------------------------------- TCP 179


def tried(outcome, port=179, dst="10.2.7.202"):
    return small.together(lose_session(), lambda document: document.update(reachability=[{"dst": dst, "port": port, "outcome": outcome}]))


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (lambda document: None, "ok"),  # Established is the best proof
        (tried("answered"), "ok"),
        (tried("timeout"), "finding"),
        (tried("unreachable"), "finding"),
        (tried("refused"), "not_applicable"),
        (tried("timeout", port=9099), "not_checked"),
        (tried("timeout", dst="10.2.7.203"), "not_checked"),
        (lose_session(), "not_checked"),
        (small.together(small.lost("bird"), small.lost("reachability")), "not_checked"),
    ],
)
def test_a_half_open_test_of_port_179(change, outcome):
    assert small.verdict(small.diagnose(k8s01=change), "underlay.tcp179", "k8s01", "k8s02").outcome == outcome


def test_a_blocked_port_is_the_root_of_the_dead_sessions():
    diagnosis = small.diagnose(k8s01=tried("timeout"), k8s02=tried("timeout", dst="10.2.7.201"))
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.objects) == ("bgp_tcp179_blocked", "F02", ["k8s02"])
    assert len(cause.roots) == 2
    assert "cannot be told from two nodes alone" in " ".join(cause.why)
    assert [remedy.risk for remedy in cause.remedies] == ["R0"]
    assert {f.check for f in diagnosis.explained_by(cause)} == {"bgp.session.down"}


def test_a_dead_session_without_a_reason_asks_both_ends():
    wanted = {w.node: w for w in small.diagnose(k8s01=lose_session()).wanted()}
    assert wanted["k8s01"].reachability == [{"dst": "10.2.7.202", "port": 179, "protocol": "tcp"}]
    assert wanted["k8s02"].reachability == [{"dst": "10.2.7.201", "port": 179, "protocol": "tcp"}]


def test_who_was_tried_is_not_asked_again():
    again = small.diagnose(k8s01=tried("refused"), k8s02=tried("refused", dst="10.2.7.201")).wanted()
    assert again == []


# ---------------------------------------------------------------------------------- graceful restart


def test_a_bird_that_waits_for_its_peers():
    def waiting(document):
        document["bird"]["ipv4"]["status"]["graceful_restart"] = {"waiting": "1 channel", "timer": 113, "timeout": 240}
        document["routes"] = [r for r in document["routes"] if r["dst"] != "10.253.2.0/26"]

    diagnosis = small.diagnose(k8s01=waiting)
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault) == ("bgp_gr_stuck_after_restart", "F19")
    assert "113 s" in cause.summary
    assert cause.remedies == ()
    assert "route.block.missing" in {f.check for f in diagnosis.explained_by(cause)}


def test_a_status_that_was_not_read():
    diagnosis = small.diagnose(k8s01=lambda d: d["bird"]["ipv4"].update(status={"error": "timeout"}))
    assert small.verdict(diagnosis, "bgp.graceful_restart", "k8s01").outcome == "not_checked"


# ---------------------------------------------------------------------------------- who peers with whom


def peers(*specs, mesh=False):
    def change(document):
        document["bgpconfigurations"] = [{"metadata": {"name": "default"}, "spec": {"nodeToNodeMeshEnabled": mesh}}]
        document["bgppeers"] = [{"metadata": {"name": f"peer-{number}"}, "spec": spec} for number, spec in enumerate(specs)]
        for node in document["nodes"]:
            node["metadata"]["labels"] = {"name": node["metadata"]["name"]}

    return change


@pytest.mark.parametrize(
    ("cluster", "gap"),
    [
        (peers(mesh=True), False),
        (peers(), True),
        (peers({"nodeSelector": "all()", "peerSelector": "name == 'k8s02'"}), False),
        (peers({"nodeSelector": "all()", "peerSelector": "rr == 'true'"}), True),
        (peers({"node": "k8s01", "peerIP": "10.2.7.202", "asNumber": 64512}), False),
        (peers({"peerIP": "10.2.7.254", "asNumber": 65000}), None),  # an outside peer may carry the routes
    ],
)
def test_a_gap_in_the_peering(cluster, gap):
    diagnosis = small.diagnose(cluster=cluster)
    outcome = small.verdict(diagnosis, "bgp.topology", "k8s01", "k8s02").outcome
    assert outcome == ("finding" if gap else "not_applicable" if gap is None else "ok")
    if gap:
        assert "rr_or_peer_topology_gap" in small.named(diagnosis)


def test_a_selector_that_cannot_be_understood_is_not_guessed():
    diagnosis = small.diagnose(cluster=peers({"nodeSelector": "all(", "peerSelector": "all()"}))
    assert diagnosis.findings == [] and diagnosis.outcome == "unknown"
    assert any("selector" in entry["reason"] for entry in diagnosis.not_checked())


def test_an_outside_peer_that_is_down_is_latent():
    def outside(document):
        document["bird"]["ipv4"]["protocols"].append(
            {"name": "Global_10_2_7_254", "proto": "BGP", "table": "master", "state": "start", "since": "10:00", "info": "Active Socket: Connection refused",
             "bgp": {"state": "Active", "neighbor_address": "10.2.7.254"}}
        )  # fmt: skip

    diagnosis = small.diagnose(cluster=peers({"node": "k8s01", "peerIP": "10.2.7.254", "asNumber": 65000}, mesh=True), k8s01=outside)
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, diagnosis.severity(cause)) == ("bgp_outside_peer_down", None, "latent")


def refused(by, configured):
    def change(document):
        protocol = document["bird"]["ipv4"]["protocols"][0]
        protocol.update(info=f"Idle {by}: Bad peer AS")
        protocol["bgp"].update(state="Idle", neighbor_as=configured)

    return change


def test_as_numbers_that_do_not_agree():
    def own(document):
        document["nodes"][1]["metadata"]["annotations"]["projectcalico.org/ASNumber"] = "65001"

    diagnosis = small.diagnose(cluster=own, k8s01=refused("Received", "65001"), k8s02=refused("BGP Error", "65001"))
    (cause,) = diagnosis.causes
    assert (cause.id, cause.fault, cause.node) == ("bgp_as_or_password_mismatch", "F70", "k8s02")
    assert not diagnosis.unexplained


def test_a_node_that_is_gone():
    def gone(document):
        document["nodes"].append({"metadata": {"name": "old", "annotations": {"projectcalico.org/IPv4Address": "10.2.7.209/24"}}, "spec": {}, "status": {
            "addresses": [{"type": "InternalIP", "address": "10.2.7.209"}], "conditions": [{"type": "Ready", "status": "Unknown"}]}})  # fmt: skip

    def passive(document):
        document["bird"]["ipv4"]["protocols"].append(
            {"name": "Mesh_10_2_7_209", "proto": "BGP", "table": "master", "state": "start", "since": "10:00", "info": "Passive",
             "bgp": {"state": "Passive", "neighbor_address": "10.2.7.209"}}
        )  # fmt: skip

    diagnosis = small.diagnose(cluster=gone, k8s01=passive, k8s02=passive)
    assert small.named(diagnosis) == ["stale_node_peer"]
    assert diagnosis.outcome != "broken" and not diagnosis.unexplained


def test_a_session_that_one_side_takes_for_up():
    (cause,) = small.diagnose(k8s01=lose_session("Connect"), k8s02=lambda document: None).causes
    assert (cause.id, cause.fault, cause.node, list(cause.objects)) == ("bgp_session_one_sided", None, "k8s01", ["k8s02"])
    wait, restart = cause.remedies
    assert (wait.id, wait.risk, wait.wait_seconds) == ("wait", "R0", 240)
    assert (restart.id, restart.risk, restart.node, restart.only_if) == (
        "restart_protocol", "R1", "k8s01", "BIRD on k8s01 has not put it right within 240 s, so it hangs",
    )  # fmt: skip
    assert restart.parameters == {"protocol": "Mesh_k8s02", "family": "ipv4"}


def test_an_end_that_waits_to_be_called_is_called_by_the_other_one():
    (cause,) = small.diagnose(k8s01=lose_session("Passive"), k8s02=lambda document: None).causes
    wait, restart = cause.remedies
    assert (cause.node, wait.node, restart.node) == ("k8s01", "k8s01", "k8s02")
    assert restart.only_if == "BIRD on k8s02 has not put it right within 240 s, so it hangs"
    assert restart.parameters == {"protocol": "Mesh_k8s01", "family": "ipv4", "since": small.node_document("k8s02")["bird"]["ipv4"]["protocols"][0]["since"]}
    assert restart.preconditions == ("Mesh_k8s01 is established",)
