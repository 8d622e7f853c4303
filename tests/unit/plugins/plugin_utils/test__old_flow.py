# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _old_flow
from ansible_collections.podnet.doctor.plugins.plugin_utils._packet_walk import Walked
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion, Question
from ansible_collections.podnet.doctor.tests.unit import small

TEXT = "tcp/10.253.1.5:43210-10.253.2.7:8080"


@pytest.mark.parametrize("text", [TEXT, "udp/[2001:db8::1]:53-[2001:db8::2]:5353"])
def test_a_connection_is_named_by_its_five_fields(text):
    assert _old_flow.parse(text).text == text


@pytest.mark.parametrize("text", ["", "tcp/10.0.0.1-10.0.0.2:80", "icmp/10.0.0.1:1-10.0.0.2:2", "tcp/10.0.0.1:0-10.0.0.2:80", "tcp/web:1-10.0.0.2:80"])
def test_what_is_none_is_refused(text):
    with pytest.raises(BadQuestion, match="is no connection like"):
        _old_flow.parse(text)


@given(st.text(max_size=60) | st.from_regex(r"tcp/[0-9.:]{3,20}:[0-9]{1,5}-[0-9.:]{3,20}:[0-9]{1,5}"))
def test_property_any_text_is_a_connection_or_refused(text):
    try:
        assert _old_flow.parse(_old_flow.parse(text).text) == _old_flow.parse(text)
    except BadQuestion:
        return


def tracked(**changes):
    entry = {"family": "inet", "protocol": "tcp", "src": "10.253.1.5", "dst": "10.253.2.7", "sport": 43210, "dport": 8080, "state": "ESTABLISHED",
             "reply": {"src": "10.253.2.7", "dst": "10.253.1.5", "sport": 8080, "dport": 43210},
             "flags": ["seen_reply", "assured"], "timeout": 86390, **changes}  # fmt: skip
    return {"pairs": [], "entries": [entry], "left_out": 0}


def looked_up(monkeypatch, established, new, one=None, two=None, text=TEXT):
    def walk(_self, _flow, established=False):
        return Walked(ends[established], "k8s02: -A FORWARD -j DROP", ())

    ends = {True: established, False: new}
    monkeypatch.setattr(_old_flow.Walks, "walk", walk)
    parts = {node: {"conntrack": part} for node, part in (("k8s01", one), ("k8s02", two)) if part is not None}
    changes = {node: (lambda document, part=part: document.update(part)) for node, part in parts.items()}
    diagnosis = small.diagnose(**changes)
    question = replace(diagnosis.question, port=8080, protocol="tcp", flow=text)
    assert Question.from_json(question.to_json()) == question
    return _old_flow.look_up(diagnosis.documents, question)


NONE = {"pairs": [], "entries": [], "left_out": 0}


@pytest.mark.parametrize(
    ("established", "new", "one", "text"),
    [
        ("works", "works", tracked(), "as a new one would"),
        ("works", "timeout", tracked(), "It lives, and a new one is dropped: k8s02: -A FORWARD -j DROP."),
        ("works", "timeout", tracked(flags=[], state="SYN_SENT"), "It was let in, and a new one is dropped"),
        ("timeout", "timeout", tracked(), "It is dropped, too"),
        ("works", "unknown", tracked(), "Whether a new one passes cannot be told"),
        ("works", "timeout", NONE, "No node tracks it: it has ended, or never began. A new one is dropped"),
        ("works", "works", {"error": "Permission denied"}, "Whether it lives is not known"),
    ],
)
def test_old_and_new(monkeypatch, established, new, one, text):
    assert text in looked_up(monkeypatch, established, new, one, NONE)["text"]


def test_one_that_a_service_leads_elsewhere_is_found_by_both_of_its_names(monkeypatch):
    entry = tracked(dst="10.96.0.20", dport=80, flags=["seen_reply", "assured", "dst_nat"])
    for text in (TEXT, "tcp/10.253.1.5:43210-10.96.0.20:80"):
        (one, _two) = looked_up(monkeypatch, "works", "works", entry, NONE, text)["nodes"]
        assert one["text"] == "ESTABLISHED both ways, led to 10.253.2.7:8080, forgotten in 86390 s"


def test_it_is_in_the_report_and_on_the_screen(monkeypatch):
    from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _text

    told = looked_up(monkeypatch, "works", "timeout", tracked(), tracked())
    screen = _text.screen({**small.diagnose().report([]), "flow": told})
    assert any(line.startswith("FLOW") and TEXT in line for line in screen)
