# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counters and listening sockets of the calling thread's network namespace.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._processes import read_file

NET = "/proc/thread-self/net"
CONNTRACK = "/proc/sys/net/netfilter/nf_conntrack_"
PORTS = (53, 179, 5473, 8472, 9098, 9099, 9091, 10249, 10250, 10256, 6443)
MOST_SERVED = 200  # sockets of one pod that are told
KEPT = {"snmp": ("Ip", "Icmp", "Tcp"), "netstat": ("IpExt", "TcpExt")}
LISTEN = "0A"
UNCONNECTED = "07"  # of a UDP socket that takes from anybody


def pairs(text: str, kept: t.Container[str] | None = None) -> dict[str, dict[str, int]]:
    """``/proc/net/snmp`` and ``/proc/net/netstat``: a line of names, then a line of numbers."""
    result: dict[str, dict[str, int]] = {}
    names: list[str] = []
    heading = ""
    for line in text.splitlines():
        title, colon, rest = line.partition(":")
        words = rest.split()
        if not colon or (kept is not None and title not in kept):
            continue
        if title == heading and len(words) == len(names):
            try:
                result[title] = {name: int(word) for name, word in zip(names, words)}
            except ValueError:
                pass
            heading = ""
        else:
            heading, names = title, words
    return result


def per_cpu(text: str) -> list[dict[str, int]] | None:
    """``/proc/net/stat/*``: a line of names, then a line of hexadecimal numbers for each CPU. None if it is not that."""
    names, *lines = text.splitlines() or [""]
    try:
        rows = [dict(zip(names.split(), (int(word, 16) for word in line.split()))) for line in lines if line.strip()]
    except ValueError:
        return None
    return rows or None


def arp_cache(text: str) -> dict[str, int] | None:
    """``entries`` is the same on all CPUs."""
    rows = per_cpu(text)
    if rows is None or any("entries" not in row or "table_fulls" not in row for row in rows):
        return None
    return {"entries": rows[0]["entries"], "table_fulls": sum(row["table_fulls"] for row in rows)}


def softnet(text: str) -> dict[str, int] | None:
    """``/proc/net/softnet_stat``, a line of hexadecimal numbers for each CPU (net/core/net-procfs.c): packets dropped because a backlog was full, and how
    often there was more to do than time. It counts for the whole machine."""
    try:
        rows = [[int(word, 16) for word in line.split()[:3]] for line in text.splitlines() if line.strip()]
    except ValueError:
        return None
    return {"dropped": sum(row[1] for row in rows), "squeezed": sum(row[2] for row in rows)} if rows and min(map(len, rows)) == 3 else None


LOSSES = ("insert_failed", "drop", "early_drop")


def conntrack_losses(text: str) -> dict[str, int]:
    """What connection tracking has thrown away since the machine started, of all CPUs together."""
    rows = per_cpu(text) or []
    return {name: sum(row[name] for row in rows) for name in LOSSES if rows and all(name in row for row in rows)}


def read() -> dict[str, t.Any]:
    """The counters."""
    result: dict[str, t.Any] = {}
    for name, kept in KEPT.items():
        text = read_file(f"{NET}/{name}")
        result[name] = {"error": f"{NET}/{name} cannot be read"} if text is None else pairs(text, kept)
    conntrack = {name: read_file(f"{CONNTRACK}{name}") for name in ("count", "max")}
    told = {name: int(text) for name, text in conntrack.items() if text and text.strip().isdigit()}
    result["nf_conntrack"] = {**told, **conntrack_losses(read_file(f"{NET}/stat/nf_conntrack") or "")} if told else None
    result["softnet"] = softnet(read_file(f"{NET}/softnet_stat") or "")
    result["arp_cache"] = arp_cache(read_file(f"{NET}/stat/arp_cache") or "")
    return result


class ChecksumErrors:
    """How many segments and datagrams the network namespace of the calling thread throws away because their checksum is wrong, from now on."""

    def __init__(self) -> None:
        self._file = os.open(f"{NET}/snmp", os.O_RDONLY | os.O_CLOEXEC)  # it stays bound to this namespace
        self._before = self._read()

    def _read(self) -> dict[str, int]:
        os.lseek(self._file, 0, os.SEEK_SET)
        found = pairs(os.read(self._file, 1 << 16).decode("ascii", "replace"), ("Tcp", "Udp"))
        return {title.lower(): numbers["InCsumErrors"] for title, numbers in found.items() if "InCsumErrors" in numbers}

    def since(self) -> dict[str, int]:
        """``{"tcp": 3, "udp": 0}``."""
        return {name: number - self._before.get(name, 0) for name, number in self._read().items()}


def _address(text: str) -> str | None:
    try:
        words = struct.pack(f"={len(text) // 8}I", *(int(text[place : place + 8], 16) for place in range(0, len(text), 8)))
        return socket.inet_ntop(socket.AF_INET if len(words) == 4 else socket.AF_INET6, words)
    except (ValueError, struct.error, OSError):
        return None


def sockets(text: str, family: str, ports: t.Container[int] | None = PORTS, protocol: str = "tcp") -> list[dict[str, t.Any]]:
    """The listening sockets in ``/proc/net/tcp`` or ``tcp6`` (the kernel lists them first), ``udp`` or ``udp6``; ports: None for all."""
    state = LISTEN if protocol == "tcp" else UNCONNECTED
    result = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 4 or words[3] != state:
            continue
        address, port = words[1].partition(":")[::2]
        local = _address(address)
        try:
            number = int(port, 16)
        except ValueError:
            continue
        if local is not None and (ports is None or number in ports):
            result.append({"family": family, "address": local, "port": number, "protocol": protocol})
    return result


def listeners(ports: t.Container[int] | None = PORTS) -> list[dict[str, t.Any]]:
    """Listening TCP sockets on the ports that matter."""
    result: list[dict[str, t.Any]] = []
    for name, family in (("tcp", "inet"), ("tcp6", "inet6")):
        text = _listening(f"{NET}/{name}")
        if text is None and family == "inet":
            raise OSError(f"{NET}/{name} cannot be read")
        result.extend(sockets(text or "", family, ports))
    return result


def served() -> list[dict[str, t.Any]]:
    """Everything that listens here, by TCP and UDP: of a pod, whose sockets are few."""
    result = listeners(None)
    for name, family in (("udp", "inet"), ("udp6", "inet6")):
        result += sockets(read_file(f"{NET}/{name}") or "", family, None, "udp")
    return result[:MOST_SERVED]


def _listening(path: str) -> str | None:
    """The lines up to the first socket that does not listen: a busy node has very many others."""
    found: list[str] = []
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                words = line.split(None, 4)
                if found and len(words) > 3 and words[3] != LISTEN:
                    break
                found.append(line)
    except OSError:
        return None
    return "".join(found)
