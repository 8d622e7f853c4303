# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import errno
import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _marks, _probe, _trace
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import attribute
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside

ID = "0123456789abcdef"
TABLE = f"{_trace.TABLE}_{ID}"
MARKS = _marks.of(ID, 3)
RULESET = """
table inet lab {
  chain refuse {
    tcp dport 99 counter drop
  }
  chain out {
    type filter hook output priority 0
    ip protocol tcp jump refuse
    counter accept
  }
}
"""


def test_rules_that_our_packets_meet_and_no_others(namespaces: t.Any) -> None:
    """Packets of the marked flow are traced, those beside it are not, and nothing is left."""
    space = namespaces()
    assert space.run("nft", "-f", "-", input=RULESET).returncode == 0
    before = space.run("nft", "-s", "list", "ruleset").stdout
    flows = [_trace.Flow("127.0.0.1", "127.0.0.1", 0, "icmp"), _trace.Flow("", "127.0.0.1", 0, "tcp", 99), _trace.Flow("::1", "::1", 1, "icmp")]

    def traced() -> list[dict[str, t.Any]]:
        tracer = _trace.Tracer(ID, flows, MARKS, Deadline(5))
        try:
            assert TABLE in space.run("nft", "list", "tables").stdout
            _probe.icmp("127.0.0.1", None, MARKS, 0.2, flow=0)
            _probe.icmp("127.0.0.1", None, MARKS, 0.2, flow=2)  # nobody asked for it
            _probe.icmp("::1", None, MARKS, 0.2, flow=1)
            _probe.tcp("127.0.0.1", 99, None, MARKS, 0.2, flow=0)
            _probe.tcp("127.0.0.1", 98, None, MARKS, 0.2, flow=0)  # another port
            tracer.drain()
            assert tracer.result()["lost"] is False
            return _trace.with_texts(tracer.result()["met"], Deadline(5))
        finally:
            tracer.close()

    met = [(one["flow"], one["protocol"], one["kind"], one["chain"], one["verdict"], one.get("rule"), one["packets"])
           for one in inside(space.path, traced, Deadline(30))]  # fmt: skip
    accepted = [one[:3] for one in met if one[3:5] == ("out", "accept")]
    assert accepted == [(0, "icmp", "request"), (0, "icmp", "reply"), (1, "icmp", "request"), (1, "icmp", "reply")]
    assert [one for one in met if one[1] == "tcp"] == [
        (0, "tcp", "request", "out", "jump refuse", "ip protocol tcp jump refuse", 3), (0, "tcp", "request", "refuse", "drop", "tcp dport 99 drop", 3)
    ]  # fmt: skip
    assert space.run("nft", "-s", "list", "ruleset").stdout == before


def test_a_second_trace_of_one_probe_is_refused_and_harms_nothing(namespaces: t.Any) -> None:
    space = namespaces()

    def twice() -> str:
        first = _trace.Tracer(ID, [_trace.Flow("", "127.0.0.1", 0, "icmp")], MARKS, Deadline(5))
        try:
            with pytest.raises(OSError) as caught:
                _trace.Tracer(ID, [_trace.Flow("", "127.0.0.1", 0, "icmp")], MARKS, Deadline(5))
            assert caught.value.errno in (errno.EEXIST, errno.EPERM)
            return str(space.run("nft", "list", "tables").stdout)
        finally:
            first.close()

    assert TABLE in inside(space.path, twice, Deadline(30))
    assert space.run("nft", "list", "tables").stdout == ""


def test_an_old_kernel_is_told_to_make_nothing() -> None:
    assert "before 5.12" in _trace.refused(OSError(errno.EINVAL, "Invalid argument"))
    assert _trace.refused(PermissionError(errno.EPERM, "Operation not permitted")) == "Operation not permitted"


def test_where_no_trace_may_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = _trace.Flow("", "127.0.0.1", 0, "icmp")
    monkeypatch.setattr("ansible_collections.podnet.doctor.plugins.module_utils._netfilter.has_module", lambda _name: True)
    assert _trace.why_not([flow], False) == ""
    assert "check mode" in _trace.why_not([flow], True) and "no flow" in _trace.why_not([], False)
    monkeypatch.setattr("ansible_collections.podnet.doctor.plugins.module_utils._netfilter.has_module", lambda _name: None)
    assert "iptables-legacy" in _trace.why_not([flow], False)


@pytest.mark.parametrize(
    "told", [{"dst": "web"}, {"dst": "10.0.0.1", "src": "::1"}, {"dst": "10.0.0.1", "src": "x"}, {"dst": None}, {"dst": "10.0.0.1; flush ruleset"}]
)
def test_what_is_no_address_is_no_flow(told: dict[str, t.Any]) -> None:
    assert _trace.flow_of({"flow": 0, "protocol": "tcp", "port": 80, **told}) is None


def test_rules_as_nft_shows_them() -> None:
    chain = "table ip filter {\n\tchain F { # handle 2\n\t\tmeta l4proto tcp  counter packets 3 bytes 180 drop # handle 7\n"
    assert _trace.rules_of(chain + "\t\tcounter packets 1 bytes 2 # handle 8\n\t}\n}\n") == {7: "meta l4proto tcp drop", 8: "counter packets 1 bytes 2"}


@given(st.text())
def test_property_nft_may_show_anything(listed: str) -> None:
    for handle, text in _trace.rules_of(listed).items():
        assert handle >= 0 and len(text) <= _trace.TEXT


@given(st.lists(st.dictionaries(st.integers(1, 16), st.binary(max_size=64), max_size=8), max_size=4), st.binary(max_size=80))
def test_property_the_kernel_may_say_anything(told: list[dict[int, bytes]], rest: bytes) -> None:
    record = _trace.Record(TABLE, MARKS)
    for one in told:
        for table in (one.get(_trace.TRACE_TABLE, b""), TABLE.encode()):
            fields = {**one, _trace.TRACE_TABLE: table}
            record.add(bytes(4) + b"".join(attribute(kind, value) for kind, value in fields.items()))
    record.add(rest)
    json.dumps(record.result())
