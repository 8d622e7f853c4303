# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import pathlib
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ansible_collections.podnet.doctor.plugins.plugin_utils import _bundle, _changes, _changes_of_node, _since
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text
from ansible_collections.podnet.doctor.tests.unit.plugins.plugin_utils.test__diagnosis import JUNK, places, put
from ansible_collections.podnet.doctor.tests.unit.small import diagnose, documents, lost

ROOT = pathlib.Path(__file__).resolve().parents[4]
RECORDED = ROOT / "lab/recorded"
SCHEMA = Draft202012Validator(json.loads((ROOT / "docs/schemas/report-1.json").read_text(encoding="utf-8")))
NOTHING: frozenset[str] = frozenset()


def between(before: Documents, after: Documents, **more: t.Any) -> tuple[list[str], list[str]]:
    changes, left = _since.between(before, after, more.get("asked", NOTHING), more.get("addresses", NOTHING), more.get("ifnames", NOTHING))
    return [f"{change.node}: {change.text}" if change.node else change.text for change in changes], left


def test_nothing_changed_between_two_equal_states():
    assert between(documents(), documents()) == ([], [])


def test_the_recorded_incident_is_told_by_what_changed_since_it_was_well():
    diagnosis, _collected = _bundle.load(str(RECORDED / "incident.zip"))
    report = diagnosis.report(created_at="2026-11-21T17:45:48Z", version="1")
    report["since"] = _since.since(str(RECORDED / "repaired.zip"), report, diagnosis.documents)
    texts = [change["text"] for change in report["since"]["changes"]]
    assert "address 192.188.1.1/24 on br0 is new" in texts
    assert "Node k8s02 projectcalico.org/IPv4Address: 10.2.7.202/24 before, now 192.188.1.1/24" in texts
    assert "BIRD was started again" in texts
    assert not any("neighbour" in text or "fe80" in text for text in texts)
    times = [change["at"] for change in report["since"]["changes"]]
    dated = [at for at in times if at]
    assert dated == sorted(dated) and times[: len(dated)] == dated, "oldest first, those without a time last"
    SCHEMA.validate(report)
    shown = "\n".join(_text.since_texts(report))
    assert shown.startswith("2026-11-21T17:46:13Z: 15 changes") and "k8s02: address 192.188.1.1/24 on br0 is new" in shown


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["links"][1].update(mtu=1400), "mtu"),
        (lambda d: d["sysctls"].update({"net/ipv4/ip_forward": "0"}), "sysctl net/ipv4/ip_forward: 1 before, now 0"),
        (lambda d: d["addresses"].append({"ifname": "eth0", "family": "inet", "local": "192.0.2.7", "prefixlen": 24}), "address 192.0.2.7/24 on eth0 is new"),
        (lambda d: d["routes"].clear(), "is gone: it was"),
        (lambda d: d["rules"].append({"family": "inet", "priority": 99, "src": "10.0.0.0/8", "table": 100}), "rule inet 99: src 10.0.0.0/8 table 100 is new"),
    ],
)
def test_what_changed_on_a_node_is_told(change, told):
    name = next(iter(documents().nodes))
    texts, left = between(documents(), documents(**{name: change}))
    assert any(told in text and text.startswith(f"{name}: ") for text in texts), texts
    assert left == []


def test_a_section_that_was_not_read_is_not_compared_and_no_change():
    name = next(iter(documents().nodes))
    texts, left = between(documents(), documents(**{name: lost("routes")}))
    assert texts == []
    assert any("routes" in reason for reason in left)


def test_a_node_that_is_not_in_the_earlier_documents_is_said():
    earlier = documents()
    name = next(iter(earlier.nodes))
    without = Documents(earlier.cluster, {key: facts for key, facts in earlier.nodes.items() if key != name})
    assert between(without, documents())[1] == [f"{name} is not in the earlier documents"]


@pytest.mark.parametrize(
    ("said", "is_"),
    [
        ("17:45:42", "2026-11-21T15:45:42Z"),
        ("23:59:00", "2026-11-20T21:59:00Z"),
        ("2026-11-19 08:00:01", "2026-11-19T06:00:01Z"),
        ("2026-11-19 08:00:01.123", "2026-11-19T06:00:01Z"),
        ("2026-11-19", None),
        (None, None),
        ("soon", None),
    ],
)
def test_the_times_of_bird_are_those_of_its_node(said, is_):
    assert _changes_of_node.moment(said, "2026-11-21 17:45:44", "2026-11-21T15:45:46Z") == is_


@given(st.one_of(st.none(), st.text(), st.integers()), st.text(), st.text())
def test_no_time_raises(said, server, collected):
    moment = _changes_of_node.moment(said, server, collected)
    assert moment is None or moment.endswith("Z")


RECORDS = {name: _bundle.load(str(RECORDED / f"{name}.zip"))[0].documents for name in ("repaired", "incident")}
WHOLE = {"cluster": RECORDS["incident"].cluster.document, **{name: facts.document for name, facts in RECORDS["incident"].nodes.items()}}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(list(places(WHOLE))), JUNK), min_size=1, max_size=3))
def test_property_mutated_documents_never_raise(changes):
    """Of any document something is told, or that it could not be compared."""
    changed = copy.deepcopy(WHOLE)
    for path, junk in changes:
        try:
            put(changed, path, junk)
        except (KeyError, IndexError, TypeError):
            continue
    cluster, *nodes = (document if isinstance(document, dict) else {} for document in changed.values())
    mutated = Documents(Cluster(cluster), {name: NodeFacts(name, document) for name, document in zip(list(WHOLE)[1:], nodes)})
    for before, after in ((RECORDS["repaired"], mutated), (mutated, RECORDS["repaired"])):
        found, _left = _since.between(before, after, frozenset({"shop/web-1"}), NOTHING, NOTHING)
        json.dumps([change.to_json() for change in found])


def test_a_restart_is_told_once_and_a_session_that_came_back_too():
    before = {"felix": _changes.Thing({"": "runs"}, at="2026-11-21T01:00:00Z", again="was started again")}
    after = {"felix": _changes.Thing({"": "runs"}, at="2026-11-21T02:00:00Z", again="was started again")}
    (change,) = _changes.compared(before, after, "n1", "calico")
    assert (change.text, change.at) == ("felix was started again", "2026-11-21T02:00:00Z")
    assert list(_changes.compared(after, after, "n1", "calico")) == []


def test_two_reports_are_compared_by_their_findings(tmp_path):
    name = next(iter(documents().nodes))
    good, bad = diagnose().report(), diagnose(**{name: lambda d: d["sysctls"].update({"net/ipv4/ip_forward": "0"})}).report()
    path = tmp_path / "good.json"
    path.write_text(json.dumps(good), encoding="utf-8")
    told = _since.since(str(path), bad, documents())
    assert any("finding" in change["text"] and "is new" in change["text"] for change in told["changes"])
    assert "keeps no documents" in told["not_compared"][0]
    other = copy.deepcopy(good)
    other["question"] = None
    path.write_text(json.dumps(other), encoding="utf-8")
    assert "about different things" in _since.since(str(path), bad, documents())["error"]


def test_a_baseline_that_cannot_be_read_is_one_sentence(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(BadQuestion, match="there is no baseline"):
        _since.read(str(path))
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(BadQuestion, match="is no podnet"):
        _since.read(str(path))
    report = diagnose().report(version="1")
    report["since"] = _since.since(str(path), report, documents())
    SCHEMA.validate(report)
    assert "not compared" in _text.since_texts(report)[0]
