# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _sysctls


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.vxlan/calico.rp_filter", "net/ipv4/conf/vxlan.calico/rp_filter"),
        ("net.ipv4.conf.vxlan.calico.rp_filter", "net/ipv4/conf/vxlan.calico/rp_filter"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net/ipv4/conf/vxlan.calico/rp_filter", "net/ipv4/conf/vxlan.calico/rp_filter"),
        ("net.ipv6.neigh.wg-v6/cali.proxy_delay", "net/ipv6/neigh/wg-v6.cali/proxy_delay"),
        ("kernel.hostname", "kernel/hostname"),
    ],
)
def test_path(name: str, path: str) -> None:
    assert _sysctls.path(name) == path


def test_parse() -> None:
    text = "net.ipv4.ip_forward = 1\nsysctl: permission denied on key = x\nnet.ipv4.ping_group_range = 1\t0\nnonsense\nnet.ipv4.conf.all.rp_filter=0\n"
    assert _sysctls.parse(text) == {"net/ipv4/ip_forward": "1", "net/ipv4/ping_group_range": "1\t0", "net/ipv4/conf/all/rp_filter": "0"}


def test_read(tmp_path: t.Any) -> None:
    for name, value in {"net/ipv4/ip_forward": "1\n", "net/ipv4/conf/vxlan.calico/rp_filter": "0\n", "net/ipv4/conf/eth0/tag": "5\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(value)
    found = _sysctls.read(["vxlan.calico", "eth0", "../../../etc"], str(tmp_path))
    assert found == {"net/ipv4/ip_forward": "1", "net/ipv4/conf/vxlan.calico/rp_filter": "0"}


@given(st.text() | st.lists(st.sampled_from(["net.ipv4.conf.", "net.ipv4.", "all", ".", "/", " = ", "1", "\n", "rp_filter"])).map("".join))
def test_property_any_text(text: str) -> None:
    for name, value in _sysctls.select(_sysctls.parse(text)).items():
        assert name.startswith("net/") and value == value.strip()


def test_recorded(captures: t.Callable[..., t.Any]) -> None:
    folder = captures()
    counted = 0
    for path in [*folder.glob("*/nodes/*/sysctl.txt"), *folder.glob("*/pods/*/sysctl.txt")]:
        values = _sysctls.parse(path.read_text())
        assert len(values) >= 3 and all(name.startswith(("net/", "kernel/", "vm/", "fs/")) for name in values), path
        if "/nodes/" in str(path):
            chosen = _sysctls.select(values)
            assert "net/ipv4/ip_forward" in chosen and "net/ipv4/conf/all/rp_filter" in chosen, path
        counted += 1
    assert counted > 500
