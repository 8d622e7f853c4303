# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""flanneld on a node: whether it runs, the file it writes for its CNI plugin, and the address store of host-local.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical
from ansible_collections.podnet.doctor.plugins.module_utils._calico import daemon
from ansible_collections.podnet.doctor.plugins.module_utils._processes import GONE, Processes, read_if_there

SUBNET_ENV = "/run/flannel/subnet.env"
STORE = "/var/lib/cni/networks"
KNOWN = ("FLANNEL_NETWORK", "FLANNEL_SUBNET", "FLANNEL_MTU", "FLANNEL_IPMASQ", "FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET")


def is_flanneld(argv: list[str]) -> bool:
    """flanneld of flannel and of canal; k3s, which has it inside, is another program."""
    return os.path.basename(argv[0]) == "flanneld"


def subnet_env(text: str) -> dict[str, str]:
    """The known lines of ``subnet.env``."""
    pairs = (line.strip().partition("=") for line in text.splitlines())
    return {name: value for name, _equals, value in pairs if name in KNOWN}


def read_subnet_env(path: str = SUBNET_ENV) -> dict[str, str] | None:
    """The file, None if it does not exist."""
    text = read_if_there(path, 4096)
    return None if text is None else subnet_env(text)


def entry(network: str, name: str, text: str) -> dict[str, t.Any] | None:
    """One file of the store: its name is the address, its first line the container's id, its second the interface in it."""
    address = canonical(name)
    lines = text.split("\n")
    container = lines[0].strip()
    if address is None or not container:
        return None
    found = {"network": network, "address": address, "container_id": container}
    if len(lines) > 1 and lines[1].strip():
        found["ifname"] = lines[1].strip()
    return found


def host_local(store: str = STORE, check: t.Callable[[], None] | None = None) -> list[dict[str, t.Any]]:
    """All addresses that host-local has given out, of all networks."""
    result = []
    for network in _names(store):
        for name in _names(f"{store}/{network}"):
            if check is not None:
                check()
            if canonical(name) is not None:
                found = entry(network, name, read_if_there(f"{store}/{network}/{name}", 4096) or "")
                if found is not None:
                    result.append(found)
    return result


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except GONE:
        return []


def read(processes: Processes, check: t.Callable[[], None] | None = None) -> dict[str, t.Any]:
    """The section."""
    return {"flanneld": daemon(processes, is_flanneld), "subnet_env": read_subnet_env(), "host_local": host_local(check=check)}
