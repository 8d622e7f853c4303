# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib.util
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

FILE = pathlib.Path(__file__).resolve().parents[6] / "extensions" / "eda" / "plugins" / "event_source" / "webhooks.py"


@pytest.fixture(scope="module")
def webhooks():
    spec = importlib.util.spec_from_file_location("webhooks", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def alert(status="firing", **labels):
    return {"status": status, "labels": labels}


def test_all_alerts_of_one_call_come_one_by_one(webhooks):
    found = list(webhooks.of_alerts({"alerts": [alert(alertname="TargetDown", instance=f"n{number}") for number in range(500)]}))
    assert len(found) == 500
    assert {(event["name"], event["cause"], event["firing"], event["pair"]) for event in found} == {("TargetDown", "cluster", True, False)}


def test_a_pair_is_a_cause_of_its_own_and_so_is_a_cluster(webhooks):
    ends = {"podnet_source": "shop/web-0", "podnet_destination": "shop/api-0", "podnet_port": "8080"}
    payload = {"alerts": [alert(alertname="A", **ends), alert(alertname="B", cluster="west", **ends), alert("resolved", alertname="A", podnet_source="x")]}
    pair, other, over = webhooks.of_alerts(payload)
    assert (pair["cause"], pair["source"], pair["destination"], pair["port"]) == ("shop/web-0 to shop/api-0 8080", "shop/web-0", "shop/api-0", "8080")
    assert other["cause"] == "west shop/web-0 to shop/api-0 8080"
    assert (over["firing"], over["pair"]) == (False, False)


@pytest.mark.parametrize("label", ["podnet_source", "podnet_destination", "podnet_port"])
@pytest.mark.parametrize("text", ["{{ lookup('pipe', 'id') }}", "{% raw %}", "shop/web-0 -e x=y", "shop/web-0\n"])
def test_what_could_be_a_template_is_no_pair(webhooks, label, text):
    ends = {"podnet_source": "shop/web-0", "podnet_destination": "svc/shop/api", "podnet_port": "8080", label: text}
    (event,) = webhooks.of_alerts({"alerts": [alert(alertname="TargetDown", **ends)]})
    assert (event["pair"], event["source"], event["destination"], event["port"], event["cause"]) == (False, "", "", "", "cluster")


def test_events_of_kubernetes(webhooks):
    event = {"reason": "FailedCreatePodSandBox", "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web-0"}, "source": {"host": "k8s02"}}
    (one,) = webhooks.of_events(event)
    assert (one["kind"], one["name"], one["node"], one["pair"], one["firing"]) == ("event", "FailedCreatePodSandBox", "k8s02", False, True)
    (two,) = webhooks.of_events([{"reason": "NodeNotReady", "regarding": {"kind": "Node", "name": "k8s03"}}, {"message": "no reason"}])
    assert two["node"] == "k8s03"


NAMES = st.sampled_from(["alerts", "labels", "alertname", "status", "reason", "involvedObject", "source", "podnet_source", "podnet_destination"])
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner))


@given(JSON)
def test_property_whatever_is_posted_gives_events_of_one_shape(webhooks, payload):
    for event in (*webhooks.of_alerts(payload), *webhooks.of_events(payload)):
        assert all(isinstance(event[name], str) for name in ("kind", "name", "cause", "source", "destination", "port", "node"))
        assert isinstance(event["firing"], bool) and isinstance(event["pair"], bool) and event["cause"]
