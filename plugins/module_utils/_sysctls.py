# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sysctls by their path below /proc/sys, from there or from the text of ``sysctl -a``.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import typing as t

SINGLE = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/all/disable_ipv6",
    "net/netfilter/nf_conntrack_max",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
)
INTERFACE4 = ("proxy_arp", "forwarding", "rp_filter", "route_localnet")
INTERFACE6 = ("forwarding", "disable_ipv6", "proxy_ndp")
_TREES = ("net.ipv4.conf.", "net.ipv6.conf.", "net.ipv4.neigh.", "net.ipv6.neigh.", "net.mpls.conf.")


def path(name: str) -> str:
    """``net.ipv4.conf.vxlan/calico.rp_filter`` becomes ``net/ipv4/conf/vxlan.calico/rp_filter``.

    In the names of ``sysctl`` a dot separates and a slash is a dot of the interface's own name. A dotted interface name
    that was written with plain dots is understood as well, because only the last word is the setting.
    """
    name = name.strip()
    first = min((name.find(mark) for mark in "./" if mark in name), default=-1)
    if first >= 0 and name[first] == "/":
        return name
    for tree in _TREES:
        if name.startswith(tree):
            interface, dot, setting = name[len(tree) :].rpartition(".")
            if dot:
                return f"{tree.replace('.', '/')}{interface.replace('/', '.')}/{setting}"
    return name.translate(str.maketrans("./", "/."))


def parse(text: str) -> dict[str, str]:
    """The text of ``sysctl -a``, by path."""
    result: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip() and not name.startswith("sysctl:"):
            result[path(name)] = value.strip()
    return result


def wanted(names: t.Iterable[str]) -> list[str]:
    """The paths of the settings that the node document holds, for these interfaces."""
    result = list(SINGLE)
    for name in ("all", "default", *names):
        if "/" in name or name in (".", ".."):
            continue
        result.extend(f"net/ipv4/conf/{name}/{setting}" for setting in INTERFACE4)
        result.extend(f"net/ipv6/conf/{name}/{setting}" for setting in INTERFACE6)
    return list(dict.fromkeys(result))


def select(values: dict[str, str]) -> dict[str, str]:
    """Of all settings those that the node document holds."""
    interfaces = {parts[3] for parts in (name.split("/") for name in values) if len(parts) == 5 and parts[2] == "conf"}
    return {name: values[name] for name in wanted(sorted(interfaces)) if name in values}


def read(names: t.Iterable[str], root: str = "/proc/sys", check: t.Callable[[], None] | None = None) -> dict[str, str]:
    """The settings as the calling thread's network namespace has them; a file that is not there is left out."""
    result: dict[str, str] = {}
    for name in wanted(names):
        if check is not None:
            check()
        try:
            handle = os.open(f"{root}/{name}", os.O_RDONLY)
        except OSError:
            continue
        try:
            result[name] = os.read(handle, 4096).decode("utf-8", "replace").strip()
        except OSError:
            continue
        finally:
            os.close(handle)
    return result
