# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _ipvs

# as net/netfilter/ipvs/ip_vs_ctl.c prints it; the kernels of the lab have no ip_vs, so it is not recorded
TEXT = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> 0A0207C9:192B      Masq    1      3          0
UDP  0A60000A:0035 rr persistent 10800 FFFFFFFF
  -> 0AFD0207:0035      Masq    1      0          5
  -> 0AFD0105:0035      Masq    0      0          0
FWM  00000001 wlc
  -> 0AFD0105:0000      Route   1      0          0
TCP  [2001:0db8:0000:0000:0000:0000:0000:000a]:0050 sh
  -> [2001:0db8:0000:0000:0000:0000:0000:0001]:1F90      Masq    1      0          0
"""


def test_virtual_and_real_servers():
    one, dns, six = _ipvs.parse(TEXT)
    assert (one["protocol"], one["address"], one["port"], one["scheduler"], one["persistent"]) == ("tcp", "10.96.0.1", 443, "rr", False)
    assert one["servers"] == [{"address": "10.2.7.201", "port": 6443, "forward": "Masq", "weight": 1, "active": 3, "inactive": 0}]
    assert dns["persistent"] and [(server["address"], server["weight"]) for server in dns["servers"]] == [("10.253.2.7", 1), ("10.253.1.5", 0)]
    assert (six["address"], six["servers"][0]["address"], six["servers"][0]["port"]) == ("2001:db8::a", "2001:db8::1", 8080)


@given(st.text(alphabet="TCPUD 0A:1F[]->rMasq\n", max_size=200) | st.text(max_size=80))
def test_any_text_gives_servers_property(text):
    assert json.loads(json.dumps(_ipvs.parse(text))) == _ipvs.parse(text)


def test_a_kernel_without_ip_vs(monkeypatch, tmp_path):
    monkeypatch.setattr(_ipvs, "PATH", str(tmp_path / "ip_vs"))
    assert _ipvs.read() is None


def test_of_very_many_those_that_matter(monkeypatch, tmp_path):
    (tmp_path / "ip_vs").write_text(TEXT)
    monkeypatch.setattr(_ipvs, "PATH", str(tmp_path / "ip_vs"))
    assert len(_ipvs.read()) == 3
    monkeypatch.setattr(_ipvs, "MOST", 2)
    assert [server["address"] for server in _ipvs.read(["10.96.0.10"])] == ["10.96.0.10"]
