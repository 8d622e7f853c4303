# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _lasting


def written(root: pathlib.Path, **files: str) -> str:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_D_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_a_setting_that_comes_back(tmp_path: pathlib.Path) -> None:
    hardening = "# net.ipv4.ip_forward=0\n\nnet.ipv4.ip_forward = 0\n-net/ipv4/conf/all/rp_filter=1\nnet.ipv4.conf.*.proxy_arp=0\n"
    root = written(tmp_path, etc__sysctl_D_d__99_D_conf=hardening, etc__sysctl_D_conf="net.ipv4.ip_forward=1\n")
    assert _lasting.settings("net/ipv4/ip_forward", "1", root) == ["/etc/sysctl.d/99.conf:3"]
    assert _lasting.settings("net/ipv4/ip_forward", "0", root) == ["/etc/sysctl.conf:1"]
    assert _lasting.settings("net/ipv4/conf/eth1/rp_filter", "2", root) == ["/etc/sysctl.d/99.conf:4"]
    assert _lasting.settings("net/ipv4/conf/cali1/proxy_arp", "1", root) == ["/etc/sysctl.d/99.conf:5"]


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("etc__network__interfaces", "auto br0\niface br0 inet static\n  address 192.188.1.1/24\n", 3),
        ("etc__netplan__01_D_yaml", "network:\n  bridges:\n    x:\n      addresses: [192.188.1.1/24]\n", 4),
        ("etc__systemd__network__x_D_network", "[Network]\nAddress=192.188.1.1/24\n", 2),
        ("etc__NetworkManager__system-connections__x_D_nmconnection", "[ipv4]\naddress1=192.188.1.1/24\n", 2),
    ],
)
def test_an_address_that_comes_back(tmp_path: pathlib.Path, file: str, text: str, line: int) -> None:
    root = written(tmp_path, **{file: text})
    (found,) = _lasting.network(["192.188.1.1"], root)
    assert found.endswith(f":{line}") and "192.188" not in found
    assert _lasting.network(["192.188.1.11", "92.188.1.1"], root) == []


def test_an_interface_is_a_word(tmp_path: pathlib.Path) -> None:
    root = written(tmp_path, etc__network__interfaces="auto br01\n# br0\nauto br0\n")
    assert _lasting.network(["br0", ""], root) == ["/etc/network/interfaces:3"]


def test_of_other_remedies_nothing_is_looked_for() -> None:
    assert _lasting.of("set_link_up", {"ifname": "lo"}) == []
    assert _lasting.of("delete_route", {"route": "x"}) == []


@given(st.text(), st.text())
def test_property_whatever_a_file_holds(text: str, word: str) -> None:
    assert isinstance(_lasting._meant(text, "net/ipv4/ip_forward"), bool)
    assert _lasting.network([word], "/nowhere") == []
