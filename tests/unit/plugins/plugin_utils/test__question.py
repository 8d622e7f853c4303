# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import (
    BadQuestion,
    Question,
    check_port,
    host_interface,
    resolve,
    split_service,
)
from ansible_collections.podnet.doctor.tests.unit import small


def cluster(*pods):
    document = small.cluster_document()
    document["pods"] += pods
    return Cluster(document)


def test_the_names_of_calicos_own_test_vectors():
    assert host_interface("default", "podA") == "cali7f94ce7c295"
    assert host_interface("namespace", "podname", "eni") == "eni82111e10a96"


def test_ends_by_name_and_by_address():
    found = resolve(cluster(), "shop/web-0", "10.253.2.7", None, "8080")
    assert (found.source.node, found.destination.label, found.protocol, found.port) == ("k8s01", "shop/api-0", "tcp", 8080)
    assert resolve(cluster(), "node/k8s01", "10.2.7.202", None, None).destination.kind == "node"
    assert resolve(cluster(), "shop/web-0", "192.0.2.9", None, None).destination.kind == "address"


def test_a_question_survives_json():
    found = resolve(cluster(), "shop/web-0", "shop/api-0", "tcp", 80)
    assert Question.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("pod", "sentence"),
    [
        (small.pod("shop/p", "k8s01", None), "has no address yet"),
        (small.pod("shop/p", None, None, status={"phase": "Pending"}), "is not scheduled on any node yet \\(phase Pending\\)"),
        (small.pod("shop/p", "k8s01", "10.2.7.201", spec={"hostNetwork": True}), "ask for node/k8s01 instead"),
        (small.pod("shop/p", "k8s01", "10.253.1.9", status={"phase": "Succeeded"}), "has ended"),
    ],
)
def test_pods_that_cannot_be_asked_for(pod, sentence):
    with pytest.raises(BadQuestion, match=sentence):
        resolve(cluster(pod), "shop/p", "shop/api-0", None, None)


def test_an_address_of_two_pods():
    with pytest.raises(BadQuestion, match="belongs to 2 running pods"):
        resolve(cluster(small.pod("shop/twin", "k8s02", "10.253.2.7")), "shop/web-0", "10.253.2.7", None, None)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("shop/api-0:8080", ("shop/api-0", "8080", None)),
        ("kube-system/dns-1:53/udp", ("kube-system/dns-1", "53", "udp")),
        ("10.2.7.1:443", ("10.2.7.1", "443", None)),
        ("[2001:db8::1]:443", ("2001:db8::1", "443", None)),
        ("2001:db8::1", ("2001:db8::1", None, None)),
        ("shop/api-0", ("shop/api-0", None, None)),
    ],
)
def test_a_port_may_follow(text, parts):
    assert split_service(text) == parts


@pytest.mark.parametrize("port", [0, 65536, -1, "http", "8080x", 1.5])
def test_ports_that_are_none(port):
    with pytest.raises(BadQuestion, match="is not a number from 1 to 65535"):
        check_port(port)


@given(st.text(max_size=40))
def test_property_any_text_is_an_end_or_a_sentence(text):
    try:
        resolve(cluster(), text, "shop/api-0", None, None)
    except BadQuestion as exc:
        assert "\n" not in str(exc) or "\n" in text
