# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules for nodes have in common: options, pyroute2, root.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import socket
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _pyroute2

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

PODS: dict[str, t.Any] = {"uid": {"type": "str"}, "container_id": {"type": "str"}, "ifname": {"type": "str"}, "ip": {"type": "str"}}
FLOWS: dict[str, t.Any] = {
    "dst": {"type": "str", "required": True},
    "src": {"type": "str"},
    "iif": {"type": "str"},
    "oif": {"type": "str"},
    "mark": {"type": "int"},
    "protocol": {"type": "str", "choices": ["tcp", "udp", "icmp"]},
    "sport": {"type": "int"},
    "dport": {"type": "int"},
    "netns_of": {"type": "str"},
}
COMMON: dict[str, t.Any] = {"timeout": {"type": "float", "default": 15}, "pyroute2": {"type": "str", "no_log": True}}


def load_pyroute2(module: AnsibleModule) -> None:
    """Make pyroute2 importable; without it the sections that need it say so themselves."""
    try:
        _pyroute2.load(module.params["pyroute2"])
    except _pyroute2.Missing as error:
        module.warn(f"what is particular to some kinds of links (tun, vlan, vrf, bond) cannot be read: {error}")
    except ValueError as error:
        module.fail_json(msg=f"the option pyroute2 is not a packed copy of pyroute2: {error}")


def need_root(module: AnsibleModule, what: str) -> None:
    """Fail with the next step if the call cannot see anything that matters."""
    if os.geteuid() != 0:
        module.fail_json(msg=f"{what} of {socket.gethostname()} belongs to root; run this task with become: true")
