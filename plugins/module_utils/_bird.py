# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replies of BIRD's control socket (1.6 and 2.x) as data.

A reply is a list of lines ``CCCC-text`` (more follows), ``CCCC text`` (the last one) or `` text`` (the code of the line
before). Output of ``birdc``, which leaves the codes out, is understood too. Columns are padded and overflow, so they are
split on white space; ``since`` has many forms and stays the text it is. Every function is total: any text gives a result.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical, canonical_prefix

_CODE = re.compile(r"([0-9]{4})(?:[- ](.*)|$)", re.ASCII | re.DOTALL)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{2}-[0-9]{2}-[0-9]{4}", re.ASCII)
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9.]+)?", re.ASCII)
_ROUTES = re.compile(r"([0-9]{1,18}) (imported|exported|preferred)", re.ASCII)
_ROUTE = re.compile(
    r"""(?P<prefix>\S+)?\s+
        (?:via\s+(?P<gateway>\S+)\s+on\s+(?P<via_dev>\S+)(?:\s+onlink)?|dev\s+(?P<dev>\S+)|(?P<type>[a-z]+))\s+
        \[(?P<source>[^\]]*)\]\s*
        (?P<state>[*!])?\s*
        (?:\((?P<rank>[^)]*)\))?""",
    re.VERBOSE | re.ASCII,
)
_HOP = re.compile(r"\s+(?:via\s+(?P<gateway>\S+)\s+on\s+(?P<via_dev>\S+)|dev\s+(?P<dev>\S+))", re.ASCII)
_ATTRIBUTE = re.compile(r"\s*([A-Za-z][\w.]*):\s?(.*)", re.ASCII | re.DOTALL)
_TYPES = {
    "prohibited": "prohibit",
    "multipath": "unicast",
    "unicast": "unicast",
    "blackhole": "blackhole",
    "unreachable": "unreachable",
    "prohibit": "prohibit",
}
_BGP = {
    "BGP state": "state",
    "Neighbor address": "neighbor_address",
    "Neighbor AS": "neighbor_as",
    "Neighbor ID": "neighbor_id",
    "Neighbor caps": "neighbor_caps",
    "Source address": "source_address",
    "Last error": "last_error",
    "Session": "session",
    "Hold timer": "hold_timer",
}
ROW, DETAIL, HEADING = 1002, 1006, 2002


def lines(text: str) -> list[tuple[int, str]]:
    """The lines of a reply with their codes; 0 where nothing gave a code."""
    result: list[tuple[int, str]] = []
    code = 0
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if line.startswith("+"):  # an asynchronous log line
            continue
        match = _CODE.match(line)
        if match:
            code = int(match.group(1))
            result.append((code, match.group(2) or ""))
        elif line:
            result.append((code, line[1:] if code else line))
    return result


def error(text: str) -> str | None:
    """What BIRD complained about (codes 8000 and above), None if it did not."""
    for code, line in lines(text):
        if code >= 8000:
            return line.strip() or f"BIRD answered with code {code}"
    return None


def version(text: str) -> str | None:
    """``v0.3.3+birdv1.6.8`` from the greeting (``0001 BIRD ... ready.``) or from ``show status``."""
    for code, line in lines(text):
        words = line.split()
        if code in (0, 1, 1000) and len(words) >= 2 and words[0] == "BIRD":
            return words[1]
    return None


def status(text: str) -> dict[str, t.Any]:
    """``show status``."""
    result: dict[str, t.Any] = {
        "router_id": None,
        "server_time": None,
        "last_reboot": None,
        "last_reconfiguration": None,
        "graceful_restart": None,
        "message": None,
    }
    prefixes = {
        "Router ID is ": "router_id",
        "Current server time is ": "server_time",
        "Last reboot on ": "last_reboot",
        "Last reconfiguration on ": "last_reconfiguration",
    }
    recovery: dict[str, t.Any] | None = None
    for code, line in lines(text):
        line = line.strip()
        for prefix, name in prefixes.items():
            if line.startswith(prefix):
                result[name] = line[len(prefix) :]
        if line.startswith("Graceful restart recovery in progress"):
            recovery = {"waiting": None, "timer": None, "timeout": None}
        elif recovery is not None and line.startswith("Waiting for "):
            recovery["waiting"] = _number(line.split()[2:3])
        elif recovery is not None and line.startswith("Wait timer is "):
            timer, timeout = line[len("Wait timer is ") :].partition("/")[::2]
            recovery["timer"], recovery["timeout"] = _number([timer]), _number([timeout])
        elif code == 13 or line.startswith("Daemon is "):
            result["message"] = line
    result["graceful_restart"] = recovery
    return result


def _number(words: list[str]) -> int | None:
    try:
        return int(float(words[0]))
    except (ValueError, IndexError, OverflowError):
        return None


def _coded(text: str, heading: str) -> t.Iterator[tuple[int, str]]:
    """The lines of a table, the codes put back where ``birdc`` left them out."""
    rows = lines(text)
    if any(code for code, _line in rows):
        yield from rows
        return
    seen = False
    for _code, line in rows:
        if line.lower().startswith(heading):
            seen = True
            yield HEADING, line
        elif seen:
            yield (DETAIL if line[0].isspace() else ROW), line


def _row(line: str) -> dict[str, t.Any] | None:
    words = line.split()
    if len(words) < 4:
        return None
    since, rest = words[4] if len(words) > 4 else "", words[5:]
    if rest and _DATE.fullmatch(since) and _CLOCK.fullmatch(rest[0]):
        since, rest = f"{since} {rest[0]}", rest[1:]
    return {"name": words[0], "proto": words[1], "table": words[2], "state": words[3], "since": since, "info": " ".join(rest)}


def protocols(text: str) -> list[dict[str, t.Any]]:
    """``show protocols`` and ``show protocols all``."""
    result: list[dict[str, t.Any]] = []
    for code, line in _coded(text, "name "):
        if code == ROW:
            row = _row(line)
            if row is not None:
                result.append(row)
        elif code == DETAIL and result:
            name, colon, value = line.strip().partition(":")
            if colon:
                _detail(result[-1], name, value.strip())
    return result


def _detail(protocol: dict[str, t.Any], name: str, value: str) -> None:
    if name == "Routes":
        for count, what in _ROUTES.findall(value):
            protocol[what] = protocol.get(what, 0) + int(count)
    elif name in _BGP:
        bgp = protocol.setdefault("bgp", {})
        if name == "Neighbor address":
            address, interface = value.partition("%")[::2]
            value = canonical(address) or address
            if interface:
                bgp["neighbor_interface"] = interface
        elif name == "Source address":
            value = canonical(value) or value
        bgp[_BGP[name]] = _number([value]) if name == "Neighbor AS" else value


def routes(text: str) -> list[dict[str, t.Any]]:
    """``show route`` and ``show route all``."""
    result: list[dict[str, t.Any]] = []
    prefix: str | None = None
    for code, line in lines(text):
        if code in (1007, 0):
            match = _ROUTE.match(line)
            if match:
                prefix = canonical_prefix(match.group("prefix")) if match.group("prefix") else prefix
                route = _route(prefix, match)
                if route is not None:
                    result.append(route)
                continue
            hop = _HOP.match(line)
            if hop and result:
                result[-1]["nexthops"].append(_nexthop(hop))
        if code in (1008, 1012, 0) and result:
            attribute = _ATTRIBUTE.match(line)
            if attribute and attribute.group(1) != "Table":
                result[-1].setdefault("attributes", {})[attribute.group(1)] = attribute.group(2).strip()
    return result


def _nexthop(match: re.Match[str]) -> dict[str, t.Any]:
    if match.group("gateway"):
        gateway = match.group("gateway")
        return {"gateway": canonical(gateway) or gateway, "dev": match.group("via_dev")}
    return {"dev": match.group("dev")}


def _route(prefix: str | None, match: re.Match[str]) -> dict[str, t.Any] | None:
    kind = match.group("type")
    source = match.group("source").split()
    if prefix is None or not source or (kind is not None and kind not in _TYPES):
        return None
    origin: str | None = None
    if "from" in source[1:]:
        place = source.index("from", 1)
        origin = " ".join(source[place + 1 :])
        source = source[:place]
    route: dict[str, t.Any] = {
        "prefix": prefix,
        "type": _TYPES[kind] if kind else "unicast",
        "nexthops": [] if kind else [_nexthop(match)],
        "protocol": source[0],
        "since": " ".join(source[1:]),
    }
    if origin:
        route["from"] = canonical(origin) or origin
    route["state"] = match.group("state") or ""
    preference, slash, metric = (match.group("rank") or "").partition("/")
    route["preference"] = _number([preference])
    if slash:
        route["metric"] = _number([metric.split("/")[0]])
    return route
