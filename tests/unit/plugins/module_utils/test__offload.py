# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.podnet.doctor.plugins.module_utils import _offload


def test_an_interface_says_whether_it_leaves_checksums_to_its_driver():
    assert _offload.transmit_checksum("lo") is True  # the loopback's cannot be switched off (drivers/net/loopback.c)
    assert _offload.transmit_checksum("no-such-link") is None


def test_only_tunnels_are_asked():
    links = [{"ifname": "lo"}, {"ifname": "lo", "linkinfo": {"info_kind": "vxlan"}}, {"ifname": "gone", "linkinfo": {"info_kind": "vxlan"}}]
    assert [link.get("tx_checksum") for link in _offload.mark_tunnels(links)] == [None, True, None]
