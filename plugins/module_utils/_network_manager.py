# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NetworkManager on a node: whether it runs, and which interfaces it manages, as its own program nmcli(1) tells.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._calico import daemon
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netfilter import output
from ansible_collections.podnet.doctor.plugins.module_utils._processes import Processes

SHOW = ("nmcli", "--terse", "--escape", "no", "--fields", "GENERAL.DEVICE,GENERAL.STATE,GENERAL.NM-MANAGED", "device", "show")
ANSWER = 3.0  # seconds: where it hangs, D-Bus would wait for 25
STATE = re.compile(r"([0-9]{1,3}) \((.*)\)\Z")


def is_network_manager(argv: list[str]) -> bool:
    """The daemon itself, not its dispatcher."""
    return os.path.basename(argv[0]) == "NetworkManager"


def devices(text: str) -> list[dict[str, t.Any]]:
    """Of each device its name, the number and the words of its state (NMDeviceState; 10 is unmanaged), and whether it is managed."""
    found: list[dict[str, t.Any]] = []
    for line in text.split("\n"):
        name, _colon, value = line.partition(":")
        if name == "GENERAL.DEVICE" and value:
            found.append({"ifname": value, "state": None, "state_text": "", "managed": None})
        elif name == "GENERAL.STATE" and found:
            state = STATE.match(value)
            if state:
                found[-1].update(state=int(state[1]), state_text=state[2])
        elif name == "GENERAL.NM-MANAGED" and found and value in ("yes", "no"):
            found[-1]["managed"] = value == "yes"
    return found


def read(processes: Processes, deadline: Deadline) -> dict[str, t.Any]:
    """The section; devices only where it runs. Errors: Failed, Expired, OSError."""
    found = daemon(processes, is_network_manager)
    if found["running"]:
        found["devices"] = devices(output(list(SHOW), Deadline(deadline.remaining(ANSWER))))
    return found
