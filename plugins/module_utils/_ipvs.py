# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The virtual servers of IPVS in the calling thread's network namespace, as ``/proc/net/ip_vs`` lists them; the file is there only where ip_vs is loaded.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

PATH = "/proc/thread-self/net/ip_vs"
MOST = 1000
# net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_info_seq_show: IPv4 as eight hexadecimal digits, IPv6 as it is written, in brackets
_END = r"(?:(?P<v4>[0-9A-Fa-f]{8})|\[(?P<v6>[0-9A-Fa-f:.]+)\]):(?P<port>[0-9A-Fa-f]{4})"
_SERVICE = re.compile(rf"^(?P<protocol>[A-Z]+)\s+{_END}\s+(?P<scheduler>\S+)(?P<flags>.*)$")
_SERVER = re.compile(rf"^\s*->\s+{_END}\s+(?P<forward>\S+)\s+(?P<weight>-?\d+)\s+(?P<active>\d+)\s+(?P<inactive>\d+)\s*$")


def _end(found: re.Match[str]) -> tuple[str, int] | None:
    try:
        address = ipaddress.IPv4Address(int(found["v4"], 16)) if found["v4"] else ipaddress.IPv6Address(found["v6"])
    except ValueError:
        return None
    return str(address), int(found["port"], 16)


def parse(text: str) -> list[dict[str, t.Any]]:
    """``{protocol, address, port, scheduler, persistent, servers: [{address, port, forward, weight, active, inactive}]}``, without those by mark."""
    result: list[dict[str, t.Any]] = []
    servers: list[dict[str, t.Any]] = []
    for line in text.splitlines():
        service, server = _SERVICE.match(line), _SERVER.match(line)
        if service is not None:
            end, servers = _end(service), []
            if end is not None:
                result.append({"protocol": service["protocol"].lower(), "address": end[0], "port": end[1], "scheduler": service["scheduler"],
                               "persistent": "persistent" in service["flags"], "servers": servers})  # fmt: skip
        elif server is not None:
            end = _end(server)
            if end is not None:
                numbers = {name: int(server[name]) for name in ("weight", "active", "inactive")}
                servers.append({"address": end[0], "port": end[1], "forward": server["forward"], **numbers})
        elif line[:1].strip():
            servers = []  # of something that is not understood, or of a mark
    return result


def read(addresses: t.Container[str] = ()) -> list[dict[str, t.Any]] | None:
    """None where the kernel has no ip_vs loaded. addresses: those that matter, where there are very many virtual servers. Errors: OSError."""
    try:
        with open(PATH, encoding="ascii", errors="replace") as file:
            found = parse(file.read())
    except FileNotFoundError:
        return None
    return found if len(found) <= MOST else [server for server in found if server["address"] in addresses]
