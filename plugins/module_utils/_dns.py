# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS as a pod sees it: its own resolv.conf, and a bounded number of queries from inside of its network namespace, by UDP and TCP.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import struct
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Running, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside

PORT = 53
PATIENCE = 1.5  # seconds for one try
TRIES = 2  # of a UDP query: one lost packet proves nothing
MOST_SERVERS = 8
MOST_SEARCH = 12  # names that a search list makes, which are asked
MOST_BYTES = 65536
A, AAAA, IN = 1, 28, 1
RECURSION_DESIRED, ANSWER, TRUNCATED = 0x0100, 0x8000, 0x0200
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
HEADER = struct.Struct("!6H")
CONTROL = "kubernetes.default.svc"  # the Service that every cluster has
LABEL = re.compile(rb"[A-Za-z0-9_-]{1,63}")
Query = dict[str, t.Any]


def resolver(text: str) -> dict[str, t.Any]:
    """resolv.conf as glibc reads it: of `search` and `domain` the last one counts."""
    found: dict[str, t.Any] = {"nameservers": [], "search": [], "ndots": 1}
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver" and canonical(words[1]):
            found["nameservers"].append(canonical(words[1]))
        elif words[0] in ("search", "domain"):
            found["search"] = [word.rstrip(".") for word in words[1:]]
        elif words[0] == "options":
            for word in words[1:]:
                name, _colon, value = word.partition(":")
                if name == "ndots" and value.isdecimal():
                    found["ndots"] = min(int(value), 15)
    return found


def candidates(name: str, known: dict[str, t.Any]) -> list[str]:
    """The names that a resolver asks for, in its order (resolv.conf(5), ndots)."""
    if name.endswith("."):
        return [name.rstrip(".")]
    longer = [f"{name}.{domain}" for domain in known["search"] if domain]
    return [name, *longer] if name.count(".") >= known["ndots"] else [*longer, name]


def cluster_domain(known: dict[str, t.Any]) -> str:
    """`cluster.local`, or what the search list has instead."""
    return next((domain[4:] for domain in known["search"] if domain.startswith("svc.") and len(domain) > 4), "cluster.local")


def encode(name: str, kind: int, identifier: int) -> bytes:
    """A query. Errors: ValueError for what is no name."""
    labels = name.rstrip(".").encode("ascii").split(b".")
    if not all(LABEL.fullmatch(label) for label in labels) or len(name) > 253:
        raise ValueError(f"{name[:60]!r} is no name that DNS can be asked for")
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return HEADER.pack(identifier, RECURSION_DESIRED, 1, 0, 0, 0) + question + struct.pack("!2H", kind, IN)


def _past_name(data: bytes, place: int) -> int:
    while True:
        length = data[place]
        if length >= 0xC0:
            return place + 2
        place += 1 + length
        if length == 0:
            return place


def decode(data: bytes, identifier: int) -> dict[str, t.Any] | None:
    """What an answer says; None if it is none to this query."""
    try:
        number, flags, questions, answers = HEADER.unpack_from(data)[:4]
        if number != identifier or not flags & ANSWER:
            return None
        place = HEADER.size
        for _question in range(questions):
            place = _past_name(data, place) + 4
        addresses = []
        for _answer in range(answers):
            place = _past_name(data, place)
            kind, _class, _ttl, length = struct.unpack_from("!HHIH", data, place)
            place += 10
            if kind in (A, AAAA) and length == {A: 4, AAAA: 16}[kind] and len(data) >= place + length:
                addresses.append(socket.inet_ntop({A: socket.AF_INET, AAAA: socket.AF_INET6}[kind], data[place : place + length]))
            place += length
    except (struct.error, IndexError):
        return None
    rcode = flags & 0xF
    return {"rcode": RCODES.get(rcode, str(rcode)), "addresses": sorted(addresses)[:8], **({"truncated": True} if flags & TRUNCATED else {})}


def _by_udp(server: str, query: bytes, identifier: int, end: float) -> dict[str, t.Any]:
    with socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.connect((server, PORT))  # so that an ICMP error is heard of
        for _try in range(TRIES):
            connection.send(query)
            limit = min(time.monotonic() + PATIENCE, end)
            while (left := limit - time.monotonic()) > 0:
                connection.settimeout(left)
                try:
                    found = decode(connection.recv(4096), identifier)
                except socket.timeout:
                    break
                if found is not None:
                    return {"outcome": "answered", **found}
    return {"outcome": "timeout"}


def _by_tcp(server: str, query: bytes, identifier: int, end: float) -> dict[str, t.Any]:
    limit = min(time.monotonic() + PATIENCE * TRIES, end)
    with socket.create_connection((server, PORT), timeout=max(limit - time.monotonic(), 0.01)) as connection:
        connection.sendall(struct.pack("!H", len(query)) + query)
        data = b""
        while len(data) < 2 or len(data) < 2 + struct.unpack_from("!H", data)[0]:
            connection.settimeout(max(limit - time.monotonic(), 0.01))
            piece = connection.recv(4096)
            if not piece:
                return {"outcome": "refused", "error": "the connection was closed without an answer"}
            data += piece
    found = decode(data[2:], identifier)
    return {"outcome": "answered", **found} if found is not None else {"outcome": "refused", "error": "the answer cannot be understood"}


def ask(server: str, protocol: str, name: str, kind: int, end: float) -> Query:
    """One query of the calling thread's network namespace."""
    result: Query = {"server": server, "protocol": protocol, "name": name}
    started = time.monotonic()
    identifier = struct.unpack("!H", os.urandom(2))[0]
    try:
        query = encode(name, kind, identifier)
        result.update((_by_tcp if protocol == "tcp" else _by_udp)(server, query, identifier, end))
    except (socket.timeout, TimeoutError):
        result["outcome"] = "timeout"
    except (OSError, ValueError) as error:
        refused = isinstance(error, OSError) and error.errno in (errno.ECONNREFUSED, errno.ECONNRESET)
        result.update(outcome="refused" if refused else "unreachable", error=sentence(error))
    result["seconds"] = round(time.monotonic() - started, 3)
    return result


def read_resolver(pid: int) -> dict[str, t.Any]:
    """A process's own /etc/resolv.conf: no link of the pod's leads out of it. Errors: OSError."""
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folder = os.open("etc", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            file = os.open("resolv.conf", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
    finally:
        os.close(root)
    with os.fdopen(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "resolv.conf is no plain file")
        return resolver(stream.read(MOST_BYTES).decode("utf-8", "replace"))


def _first_resolver(pids: t.Sequence[int]) -> dict[str, t.Any]:
    """Of the first process that has one: a sandbox's own may have none."""
    error: Exception = LookupError("no process is left in it")
    for pid in pids:
        try:
            found = read_resolver(pid)
            if found["nameservers"]:
                return found
        except OSError as caught:
            error = caught
    return {"error": f"its resolv.conf cannot be read: {sentence(error)}"}


def _walked(server: str, names: t.Sequence[str], kind: int, end: float) -> list[Query]:
    """The search list as a resolver goes through it: until a name has an address, or does not answer."""
    found = []
    for name in names[:MOST_SEARCH]:
        found.append(ask(server, "udp", name, kind, end))
        if found[-1].get("addresses") or found[-1]["outcome"] != "answered":
            break
    return found


def read_one(asked: dict[str, t.Any], path: str | None, pids: t.Sequence[int], deadline: Deadline) -> dict[str, t.Any]:
    """What one pod, or the node itself, gets for a name. netns_of, name (or ""), servers, family."""
    known = _first_resolver(pids)
    usable: dict[str, t.Any] = known if "error" not in known else {"nameservers": [], "search": [], "ndots": 5}
    kind = AAAA if asked.get("family") == "inet6" else A
    control = f"{CONTROL}.{cluster_domain(usable)}"
    given: list[str] = [str(server) for server in map(canonical, asked.get("servers") or []) if server]
    servers: list[str] = list(dict.fromkeys([*usable["nameservers"], *given]))[:MOST_SERVERS]
    end = time.monotonic() + deadline.remaining(PATIENCE * TRIES * 2)
    result: dict[str, t.Any] = {"netns_of": asked.get("netns_of"), "name": asked.get("name") or "", "control": control, "resolver": known}

    def there(work: t.Callable[[], t.Any]) -> t.Any:
        return work() if path is None else inside(path, work, deadline)

    def query(server: str, protocol: str) -> Running:
        return Running("dns", lambda: {"query": there(lambda: ask(server, protocol, control, kind, end))})

    running = [query(server, protocol) for server in servers for protocol in ("udp", "tcp")]
    names = candidates(result["name"], usable) if result["name"] else []
    search = Running("dns", lambda: {"search": there(lambda: _walked(servers[0], names, kind, end))}) if names and servers else None
    for one in [*running, *([search] if search else [])]:
        one.wait(deadline.remaining())
    result["queries"] = [found["query"] for one in running if "query" in (found := one.result())]
    result["search"] = (search.result().get("search") or []) if search else []
    return result
