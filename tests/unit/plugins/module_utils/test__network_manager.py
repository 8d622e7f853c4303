# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _network_manager

# as NetworkManager 1.42 says it
SAID = """\
GENERAL.DEVICE:cali751425ce827
GENERAL.STATE:70 (connecting (getting IP configuration))
GENERAL.NM-MANAGED:yes

GENERAL.DEVICE:lo
GENERAL.STATE:10 (unmanaged)
GENERAL.NM-MANAGED:no
"""


def test_each_device_with_its_state():
    assert _network_manager.devices(SAID) == [
        {"ifname": "cali751425ce827", "state": 70, "state_text": "connecting (getting IP configuration)", "managed": True},
        {"ifname": "lo", "state": 10, "state_text": "unmanaged", "managed": False},
    ]


def test_only_the_daemon_itself():
    assert _network_manager.is_network_manager(["/usr/sbin/NetworkManager", "--no-daemon"])
    assert not _network_manager.is_network_manager(["/usr/lib/NetworkManager/nm-dispatcher"])


@given(st.lists(st.from_regex(r"(GENERAL\.(DEVICE|STATE|NM-MANAGED):)?[^\n]{0,30}", fullmatch=True)).map("\n".join))
def test_whatever_it_says(text):
    for device in _network_manager.devices(text):
        assert device["ifname"] and set(device) == {"ifname", "state", "state_text", "managed"}
        assert device["state"] is None or 0 <= device["state"] < 1000
