# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packet filters as their own tools print them: iptables of both backends, and the tables of nftables that iptables does not own.

A tool of a backend that the kernel does not have would load it. So each is started only where /proc or /sys say that it is there already.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import subprocess
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _ipset, _ipvs
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import Netlink, attributes
from ansible_collections.podnet.doctor.plugins.module_utils._processes import read_file, read_if_there

FAMILIES = {"inet": ("iptables", "/proc/thread-self/net/ip_tables_names"), "inet6": ("ip6tables", "/proc/thread-self/net/ip6_tables_names")}
NFT_FAMILIES = {"inet": "ip", "inet6": "ip6"}
IPTABLES_TABLES = ("raw", "mangle", "nat", "filter", "security")
BINARIES = {"nft": ("xtables-nft",), "legacy": ("xtables-legacy", "xtables-multi", "iptables-multi", "ip6tables-multi")}
PATH = "/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin:/run/current-system/sw/bin:/var/lib/rancher/k3s/data/current/bin/aux:/var/lib/rancher/rke2/bin"
LARGEST = 16 << 20
MOST_TABLES = 32
LARGE_TABLE = 1 << 20  # of a table's JSON that is longer, large sets are cut
MATCHED_SET = re.compile(r"--match-set (?:\"([^\"]*)\"|(\S+))")
NF_TABLES = "nf_tables"
NETLINK_NETFILTER, NFT_MSG_GETTABLE, NFTA_TABLE_NAME = 12, 10 << 8 | 1, 1
NFPROTO = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}


class Failed(Exception):
    """A program that did not say what it was asked."""


def output(argv: list[str], deadline: Deadline, given: str = "", largest: int = LARGEST) -> str:
    """What a program prints. Errors: Failed, Expired, OSError."""
    environment = {"PATH": PATH, "LC_ALL": "C"}
    source = subprocess.PIPE if given else subprocess.DEVNULL
    with subprocess.Popen(argv, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        try:
            pieces = _read(process, given, deadline, largest)
            status = process.wait(deadline.remaining())
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise Expired(f"{os.path.basename(argv[0])} did not end before the deadline") from error
        except BaseException:
            process.kill()
            raise
    if status != 0:
        raise Failed(f"{os.path.basename(argv[0])}: {' '.join(pieces[1].decode('utf-8', 'replace').split())[:200] or f'exit status {status}'}")
    return pieces[0].decode("utf-8", "replace")


def _read(process: subprocess.Popen[bytes], given: str, deadline: Deadline, largest: int) -> list[bytes]:
    """Its standard output and, of its standard error, the beginning."""
    found = [bytearray(), bytearray()]
    if process.stdin is not None:
        process.stdin.write(given.encode("utf-8"))
        process.stdin.close()
    with selectors.DefaultSelector() as waiting:
        for stream, kept in ((process.stdout, found[0]), (process.stderr, found[1])):
            if stream is not None:
                waiting.register(stream, selectors.EVENT_READ, kept)
        while waiting.get_map():
            deadline.check()
            for key, _events in waiting.select(deadline.remaining()):
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    waiting.unregister(key.fileobj)
                elif key.data is found[0]:
                    found[0] += piece
                    if len(found[0]) > largest:
                        raise Failed(f"more than {largest >> 20} MB of rules")
                elif len(found[1]) < 4096:
                    found[1] += piece
    return [bytes(kept) for kept in found]


def program(name: str, backend: str) -> str | None:
    """``iptables-nft-save``, or ``iptables-save`` where that is of this backend."""
    special = shutil.which(f"{name}-{backend}-save", path=PATH)
    if special:
        return special
    usual = shutil.which(f"{name}-save", path=PATH)
    return usual if usual and os.path.basename(os.path.realpath(usual)).startswith(BINARIES[backend]) else None


def has_module(name: str, root: str = "") -> bool | None:
    """Whether the kernel has a module in it without loading anything; None if that cannot be told."""
    if os.path.isdir(f"{root}/sys/module/{name}") or not os.path.exists(f"{root}/proc/modules"):
        return True  # loaded; or a kernel that can load nothing
    builtin = read_file(f"{root}/lib/modules/{os.uname().release}/modules.builtin", 1 << 20)
    return None if builtin is None else f"/{name}.ko" in builtin


def _save(name: str, backend: str, family: str, deadline: Deadline) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {"backend": backend, "family": family}
    path = program(name, backend)
    if path is None:
        return {**found, "error": f"there is no {name}-save for {backend}"}
    try:
        return {**found, "text": output([path, "-c"], deadline)}
    except (Failed, Expired, OSError) as error:
        return {**found, "error": sentence(error)}


def _own_tables(saved: t.Iterable[dict[str, t.Any]]) -> set[tuple[str, str]]:
    """The tables of nftables that iptables has shown, or would have: its error stands for them."""
    own: set[tuple[str, str]] = set()
    for entry in saved:
        if entry["backend"] == "nft":
            shown = [line[1:].strip() for line in entry["text"].split("\n") if line.startswith("*")] if "text" in entry else IPTABLES_TABLES
            own.update((NFT_FAMILIES[entry["family"]], name) for name in shown)
    return own


def by_table(ruleset: dict[str, t.Any], saved: t.Iterable[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """The tables of ``nft -j list ruleset``, but for those that iptables has shown."""
    own = _own_tables(saved)
    listed: dict[tuple[str, str], list[t.Any]] = {}
    for item in ruleset["nftables"]:
        for kind, value in item.items():
            table = (value.get("family"), value["name"] if kind == "table" else value.get("table"))
            if kind != "metainfo" and table not in own:
                listed.setdefault(table, []).append(item)
    return [{"family": family, "name": name, "json": json.dumps({"nftables": items})} for (family, name), items in listed.items()]


def tables(deadline: Deadline) -> list[tuple[str, str]]:
    """Family and name of each table of nftables, from the kernel itself: nft would first read every rule. Errors: OSError, Expired."""
    with Netlink(deadline, NETLINK_NETFILTER) as kernel:
        payloads = kernel.dump(NFT_MSG_GETTABLE, bytes(4))
    found = []
    for payload in payloads:
        name = attributes(payload, 4).get(NFTA_TABLE_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
        found.append((NFPROTO.get(payload[0], str(payload[0])) if payload else "", name))
    return found


def _nft(saved: list[dict[str, t.Any]], deadline: Deadline, addresses: t.Sequence[str]) -> list[dict[str, t.Any]] | dict[str, t.Any]:
    try:
        own = _own_tables(saved)
        foreign = [table for table in tables(deadline) if table not in own]
    except (Expired, OSError) as error:
        return {"error": sentence(error)}
    path = shutil.which("nft", path=PATH)
    if len(foreign) > MOST_TABLES:
        return {"error": f"{len(foreign)} tables, more than {MOST_TABLES}"}
    found = []
    for family, name in foreign:
        entry: dict[str, t.Any] = {"family": family, "name": name}
        question = json.dumps({"nftables": [{"list": {"table": {"family": family, "name": name}}}]})  # as JSON, where no name can be more than a name
        try:
            if path is None:
                raise Failed("nft is not installed")
            entry["json"] = cut_sets(output([path, "-j", "-f", "-"], deadline, question), addresses)
        except (Failed, Expired, OSError) as error:
            entry["error"] = sentence(error)
        found.append(entry)
    return found


def cut_sets(text: str, addresses: t.Sequence[str]) -> str:
    """A long table with large sets and maps of addresses cut to what holds some addresses, which then are its ``cut``."""
    if len(text) <= LARGE_TABLE:
        return text
    try:
        listed = json.loads(text)["nftables"]
        for item in listed:
            held = item.get("set") or item.get("map") or {}
            elements = held.get("elem") or []
            if len(elements) > _ipset.LARGE and any(str(kind).startswith("ipv") for kind in [held.get("type"), *(held.get("type") or [])]):
                held["elem"] = [element for element in elements if _holds(element, addresses)]
                held["cut"] = list(addresses)
        return json.dumps({"nftables": listed}, separators=(",", ":"))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return text


def _holds(element: t.Any, addresses: t.Sequence[str]) -> bool:
    """Whether any part of a member holds one of the addresses; what is no address holds none."""
    if isinstance(element, str):
        return element in addresses
    if isinstance(element, list):
        return any(_holds(part, addresses) for part in element)
    if isinstance(element, dict):
        if "prefix" in element:
            return _ipset.holds(f"{element['prefix'].get('addr')}/{element['prefix'].get('len')}", addresses)
        if "range" in element:
            return _ipset.holds("-".join(str(end) for end in element["range"]), addresses)
        return any(_holds(part, addresses) for part in element.values())
    return False


def _sets(saved: list[dict[str, t.Any]], deadline: Deadline, addresses: t.Sequence[str]) -> list[dict[str, t.Any]] | dict[str, t.Any]:
    """The IP sets that rules of iptables ask for."""
    names = {quoted or plain for entry in saved for quoted, plain in MATCHED_SET.findall(entry.get("text", ""))}
    if not names:
        return []
    try:
        return _ipset.read(deadline, names, addresses)
    except (Expired, OSError) as error:
        return {"error": sentence(error)}


def read(deadline: Deadline, addresses: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """``iptables``: what each backend says that the kernel has; ``nft``: the other tables of nftables; ``ipsets``: what the rules of iptables ask for.

    addresses: those that matter, where a set is too large to be told as a whole.
    """
    saved = []
    for family, (name, names) in FAMILIES.items():
        try:
            if (read_if_there(names) or "").split():
                saved.append(_save(name, "legacy", family, deadline))
        except OSError as error:
            saved.append({"backend": "legacy", "family": family, "error": f"whether there are rules cannot be told: {sentence(error)}"})
    present = has_module(NF_TABLES)
    nft: list[dict[str, t.Any]] | dict[str, t.Any] = []
    if present is None:
        nft = {"error": "whether the kernel has nf_tables cannot be told, and asking could load it"}
    elif present:
        if program("iptables", "nft"):
            saved += [_save(name, "nft", family, deadline) for family, (name, _names) in FAMILIES.items()]
        nft = _nft(saved, deadline, addresses)
    return {"iptables": saved, "nft": nft, "ipsets": _sets(saved, deadline, addresses), "ipvs": _virtual_servers(addresses)}


def _virtual_servers(addresses: t.Sequence[str]) -> list[dict[str, t.Any]] | dict[str, t.Any] | None:
    """None where the kernel has no ip_vs loaded."""
    try:
        return _ipvs.read(addresses)
    except OSError as error:
        return {"error": sentence(error)}
