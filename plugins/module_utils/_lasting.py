# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a node's configuration files name what a repair changed, so that it would come back: file and line, never the text, which may hold secrets.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import glob
import re
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._processes import read_file
from ansible_collections.podnet.doctor.plugins.module_utils._sysctls import path as setting_path

SYSCTLS = ("/etc/sysctl.conf", "/etc/sysctl.d/*.conf", "/run/sysctl.d/*.conf", "/usr/local/lib/sysctl.d/*.conf", "/usr/lib/sysctl.d/*.conf")
# ifupdown, netplan, systemd-networkd, NetworkManager
NETWORKS = (
    "/etc/network/interfaces", "/etc/network/interfaces.d/*", "/etc/netplan/*.yaml", "/etc/netplan/*.yml", "/run/netplan/*.yaml",
    "/etc/systemd/network/*.net*", "/run/systemd/network/*.net*", "/etc/NetworkManager/system-connections/*",
    "/run/NetworkManager/system-connections/*", "/etc/sysconfig/network-scripts/ifcfg-*", "/etc/sysconfig/network-scripts/route-*",
)  # fmt: skip
MOST = 8
LARGEST = 1 << 18


def _lines(patterns: t.Sequence[str], root: str, wanted: t.Callable[[str], bool]) -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        for name in sorted(glob.glob(root + pattern)):
            for number, line in enumerate((read_file(name, LARGEST) or "").splitlines(), 1):
                text = line.strip()
                if text and text[0] not in "#;" and wanted(text) and len(found) < MOST:
                    found.append(f"{name[len(root) :]}:{number}")
    return found


def settings(path: str, value: str, root: str = "") -> list[str]:
    """Lines that set one sysctl to another value."""

    def clears(line: str) -> bool:
        name, equals, given = line.lstrip("-").partition("=")
        return bool(equals) and _meant(setting_path(name), path) and given.strip() != value

    return _lines(SYSCTLS, root, clears)


def _meant(name: str, path: str) -> bool:
    """Whether a name of a file, which may be a pattern, or stand for interfaces that come later, is this setting."""
    parts, wanted = name.split("/"), path.split("/")
    return len(parts) == len(wanted) and all(
        part == other or part == "*" or (part in ("all", "default") and place == 3 and len(parts) == 5)
        for place, (part, other) in enumerate(zip(parts, wanted))
    )  # fmt: skip


def network(words: t.Sequence[str], root: str = "") -> list[str]:
    """Lines that name one of these addresses, prefixes or interfaces."""
    known = [re.compile(rf"(?<![\w.:-]){re.escape(word)}(?![\w.:-])") for word in words if word]
    return _lines(NETWORKS, root, lambda line: any(pattern.search(line) for pattern in known))


def of(remedy: str, params: t.Mapping[str, t.Any]) -> list[str]:
    """What would bring back what this remedy changes."""
    if remedy == "set_sysctl":
        return settings(str(params.get("path")), str(params.get("value")))
    if remedy in ("delete_address", "delete_link"):
        return network([str(params.get("address") or "").partition("/")[0], str(params.get("ifname") or "")])
    if remedy == "delete_route" and isinstance(params.get("route"), dict):
        return network([str(params["route"].get("dst"))])
    return []
