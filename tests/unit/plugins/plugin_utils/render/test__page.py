# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import html.parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _page
from ansible_collections.podnet.doctor.tests.unit import small

EMPTY = ("meta", "link", "br", "hr")


class Read(html.parser.HTMLParser):
    """The text of a page, its elements, and whether each that was opened is closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _value in attrs]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def report(**changes):
    return small.diagnose(**changes).report(created_at="2026-11-21T09:30:42Z", version="test")


def no_forwarding(document):
    document["sysctls"]["net/ipv4/ip_forward"] = "0"


def read(page):
    found = Read(page)
    assert found.open == []
    return found, " ".join(" ".join(found.text).split())


def test_what_is_broken_is_told_with_its_cause_its_place_and_its_repair():
    broken = report(k8s02=no_forwarding)
    _found, text = read(_page.html(broken))
    (cause,) = broken["verdict"]["causes"]
    assert text.startswith("BROKEN: shop/web-0 on k8s01 → shop/api-0 on k8s02")
    assert cause["summary"] in text and cause["id"] in text and cause["confidence"] in text
    assert all(remedy["action"] in text and remedy["way_back"] in text for remedy in cause["remedies"] if remedy["class"] == "R1")
    assert "There" in text and "And back" in text and "k8s02 forwarding OFF" in text
    assert all(finding["evidence"] in text for finding in broken["findings"])


def test_what_is_healthy_names_no_cause_and_says_what_was_not_sent():
    _found, text = read(_page.html(report()))
    assert "Root cause" not in text and "Findings" not in text and "No packets were sent: what is said here was read, and is unproven." in text


def test_what_was_not_checked_stands_with_its_reason():
    missing = report()
    missing["not_checked"] = [{"check": "route.block.missing", "node": "k8s02", "object": "", "reason": "k8s02 did not answer"}] * 3
    _found, text = read(_page.html(missing))
    assert "k8s02 did not answer 3 route.block.missing" in text


def test_a_table_ends():
    many = report(k8s02=no_forwarding)
    many["findings"] = [{**many["findings"][0], "id": f"x-{number}"} for number in range(_page.MOST_ROWS + 7)]
    found, text = read(_page.html(many))
    assert "and 7 more in the report" in text and found.tags.count("tr") < _page.MOST_ROWS + 50


WORDS = [
    ([True, False, True, False], ["packets seen", "not seen on tunl0", "packets seen on eth0", "not seen"]),
    ([None] * 4, [""] * 4),
]


@pytest.mark.parametrize(("packets", "words"), WORDS)
def test_where_packets_were_seen(packets, words):
    devices = {"pod": ("eth0", "eth0"), "node": (None, "tunl0"), "tunnel": ("tunl0", "eth0"), "wire": (None, None)}
    common = {"outcome": "ok", "checks": [], "node": "k8s01"}
    hops = [{"id": kind, "kind": kind, "device": device, "seen": seen, **common} for (kind, (device, _on)), seen in zip(devices.items(), packets)]
    probes = [{"direction": "forward", "hops": [{"hop": kind, "device": on, "packets": 0} for kind, (_device, on) in devices.items()]}]
    lane = _page._lane({**report(), "path": {"forward": hops}, "probes": probes}, "forward", "There")
    assert [hop["packets"] for node in lane["nodes"] for hop in node["hops"]] == words


MARKUP = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "</pre><h1>HEALTHY</h1>", "\x1b[2J"]
HOSTILE = st.one_of(st.sampled_from(MARKUP), st.text())


@given(HOSTILE)
def test_property_whatever_a_cluster_says_is_text(text):
    told = report(k8s02=no_forwarding)
    for finding in told["findings"]:
        finding.update(evidence=text, object=text, actual=text, expected={"value": text})
    told["verdict"]["summary"] = text
    told["verdict"]["causes"][0].update(summary=text, why=[text])
    told["verdict"]["causes"][0]["remedies"][0].update(action=text, way_back=text)
    told["not_checked"] = [{"check": text, "node": text, "object": text, "reason": text}]
    told["collected"] = [{"host": text, "node": text, "sections": [text], "errors": [text], "seconds": None}]
    told["question"]["destination"].update(namespace=text)
    found, shown = read(_page.html(told))
    assert not {"script", "img"} & set(found.tags) and found.tags.count("h1") == 1
    assert set(found.attributes) <= {"lang", "charset", "name", "content", "http-equiv", "class"}
    assert "49" not in shown.replace(text, "") or "7 * 7" not in text
