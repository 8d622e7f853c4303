# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which rules of nf_tables the packets of a probe meet: a table of its own that marks them to be traced, and the kernel's messages about them.

The table belongs to the netlink socket that made it: the kernel takes it away when that socket is closed, however its process ends. A kernel that
does not know of owners (before 5.12) refuses to make it. This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import re
import shutil
import socket
import struct
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _icmp, _netfilter, _packets
from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._marks import Marks
from ansible_collections.podnet.doctor.plugins.module_utils._netfilter import NETLINK_NETFILTER
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import (
    NLM_F_ACK,
    NLMSG_ERROR,
    SOL_NETLINK,
    Netlink,
    attribute,
    attributes,
    messages,
    refusal,
)

TABLE = "podnet_doctor_trace"
FIRST_PRIORITY = -500  # before whatever else looks at packets, defragmentation included
MOST_FLOWS = 16
MOST_RULES = 256  # that are told
MOST_CHAINS = 64
TEXT = 300  # characters of a rule
LOST = "some messages about rules were lost"
ROOM = 4 << 20  # bytes of messages that may wait

NFNL_SUBSYS_NFTABLES = 10
BATCH_BEGIN, BATCH_END = 16, 17
NEWTABLE, NEWCHAIN, NEWRULE, TRACE = (NFNL_SUBSYS_NFTABLES << 8 | kind for kind in (0, 3, 6, 17))
GROUP_TRACE, ADD_MEMBERSHIP = 9, 1
CREATE, EXCLUSIVE, APPEND = 0x400, 0x200, 0x800
NESTED = 0x8000
OWNER = 0x2
IPV4, IPV6 = 2, 10  # NFPROTO_IPV4, NFPROTO_IPV6
HOOKS = {"prerouting": 0, "output": 3}
NETWORK, TRANSPORT = 1, 2
REGISTER = 1
META_NFTRACE, META_L4PROTO = 12, 16
EQUAL, AT_MOST, AT_LEAST = 0, 3, 5
TRACE_TABLE, TRACE_CHAIN, TRACE_HANDLE, TRACE_TYPE, TRACE_VERDICT, TRACE_ID = 1, 2, 3, 4, 5, 6
TRACE_NETWORK, TRACE_TRANSPORT, TRACE_POLICY = 8, 9, 16
OF_POLICY, OF_RULE = 1, 3
VERDICTS = {0: "drop", 1: "accept", 2: "stolen", 3: "queue", -1: "continue", -3: "jump", -4: "goto", -5: "return"}
PROTOCOLS = {"icmp": {4: 1, 6: 58}, "tcp": {4: 6, 6: 6}, "udp": {4: 17, 6: 17}}
ECHOES = {4: (8, 0), 6: (128, 129)}  # request, reply
NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)
HANDLE = re.compile(r"^\s*(.*?) # handle (\d+)$")
COUNTED = re.compile(r"counter packets \d+ bytes \d+ ?")


class Flow(t.NamedTuple):
    """Packets of one protocol of one flow of a probe. source: "" where it is not known."""

    source: str
    destination: str
    flow: int
    protocol: str
    port: int = 0


class Met(t.NamedTuple):
    """A rule, or the policy of a chain, that packets met."""

    flow: int
    protocol: str
    kind: str
    family: str
    table: str
    chain: str
    handle: t.Optional[int]
    verdict: str


def flow_of(told: t.Mapping[str, t.Any]) -> Flow | None:
    """One flow as it was asked for; None if it is none."""
    source, destination = canonical(told.get("src") or ""), canonical(told.get("dst") or "")
    if destination is None or (told.get("src") and (source is None or (":" in source) != (":" in destination))):
        return None
    return Flow(source or "", destination, told["flow"], told["protocol"], told.get("port") or 0)


def _nested(kind: int, *inner: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(inner))


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode("ascii") + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!i" if value < 0 else "!I", value))


def _expression(name: str, *inner: bytes) -> bytes:
    return _nested(1, _text(1, name), _nested(2, *inner))


def _compared(operation: int, value: bytes) -> bytes:
    return _expression("cmp", _number(1, REGISTER), _number(2, operation), _nested(3, attribute(1, value)))


def _field(base: int, offset: int, first: bytes, last: bytes | None = None) -> bytes:
    """A field of the packet that is a value, or lies between two."""
    loaded = _expression("payload", _number(1, REGISTER), _number(2, base), _number(3, offset), _number(4, len(first)))
    if last is None:
        return loaded + _compared(EQUAL, first)
    return loaded + _compared(AT_LEAST, first) + _compared(AT_MOST, last)


def _rules(flow: Flow, marks: Marks) -> list[bytes]:
    """The expressions of a rule for its requests, and of one for their answers."""
    version = 6 if ":" in flow.destination else 4
    family, offset = (socket.AF_INET6, 8) if version == 6 else (socket.AF_INET, 12)
    protocol = PROTOCOLS[flow.protocol][version]
    ports = marks.ports_of(flow.flow)
    found = []
    for answer, (source, destination) in enumerate(((flow.source, flow.destination), (flow.destination, flow.source))):
        fields = b""
        for position, address in ((0, source), (1, destination)):
            packed = socket.inet_pton(family, address) if address else b""
            fields += _field(NETWORK, offset + position * len(packed), packed) if packed else b""
        fields += _expression("meta", _number(1, REGISTER), _number(2, META_L4PROTO)) + _compared(EQUAL, bytes([protocol]))
        if flow.protocol == "icmp":
            fields += _field(TRANSPORT, 0, bytes([ECHOES[version][answer]]))
            fields += _field(TRANSPORT, 4, marks.identifier_of(flow.flow).to_bytes(2, "big"))
        else:
            own, other = (2, 0) if answer else (0, 2)
            fields += _field(TRANSPORT, own, ports[0].to_bytes(2, "big"), ports[-1].to_bytes(2, "big"))
            fields += _field(TRANSPORT, other, flow.port.to_bytes(2, "big"))
        fields += _expression("immediate", _number(1, REGISTER), _nested(2, attribute(1, b"\1")))
        fields += _expression("meta", _number(2, META_NFTRACE), _number(3, REGISTER))
        found.append(fields)
    return found


def _ours(family: int, name: str, flows: t.Sequence[Flow], marks: Marks) -> list[tuple[int, int, int, bytes]]:
    """(family, kind, flags, attributes) of what makes the table of one family."""
    made = [(family, NEWTABLE, CREATE | EXCLUSIVE, _text(1, name) + _number(2, OWNER))]
    for chain, hook in HOOKS.items():
        place = _nested(4, _number(1, hook), _number(2, FIRST_PRIORITY))
        made.append((family, NEWCHAIN, CREATE | EXCLUSIVE, _text(1, name) + _text(3, chain) + place + _text(7, "filter")))
        for fields in (fields for flow in flows for fields in _rules(flow, marks)):
            made.append((family, NEWRULE, CREATE | APPEND, _text(1, name) + _text(2, chain) + _nested(4, fields)))
    return made


class Nftables(Netlink):
    """A socket for nf_tables. What it has made as its owner is gone as soon as it is closed."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(deadline, NETLINK_NETFILTER)

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def commit(self, changes: t.Sequence[tuple[int, int, int, bytes]]) -> None:
        """All of them, or none. OSError with the kernel's reason."""
        batch, waiting = b"", set()
        frame = (BATCH_BEGIN, 0, struct.pack("!BBH", 0, 0, NFNL_SUBSYS_NFTABLES)), (BATCH_END, 0, struct.pack("!BBH", 0, 0, NFNL_SUBSYS_NFTABLES))
        inner = [(kind, flags | NLM_F_ACK, struct.pack("!BBH", family, 0, 0) + body) for family, kind, flags, body in changes]
        for kind, flags, body in (frame[0], *inner, frame[1]):
            header = self.framed(kind, flags, body)
            batch += header
            if flags & NLM_F_ACK:
                waiting.add(self._sequence)
        self._socket.send(batch)
        while waiting:
            for kind, flags, sequence, payload in messages(self._read()):
                error = refusal(flags, payload) if kind == NLMSG_ERROR else None
                if error is not None:
                    raise error
                waiting.discard(sequence)

    def hear_traces(self) -> None:
        """From now on the kernel's messages come here."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, GROUP_TRACE)
        self._socket.setblocking(False)

    def heard(self) -> t.Iterator[bytes]:
        """The messages that wait. OSError where some were lost."""
        while True:
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                return
            for kind, _flags, _sequence, payload in messages(data):
                if kind == TRACE:
                    yield payload


def _string(found: t.Mapping[int, bytes], kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode("utf-8", "replace")


def _integer(found: t.Mapping[int, bytes], kind: int) -> int | None:
    value = found.get(kind, b"")
    return int.from_bytes(value, "big") if len(value) in (4, 8) else None


def packet_of(network: bytes, transport: bytes, marks: Marks) -> tuple[int, str, str] | None:
    """(flow, protocol, request or reply) by the headers of a packet that was marked; None where they do not tell."""
    found = _packets.header(network)
    if found is None:
        return None
    if found.protocol in (_packets.ICMP, _packets.ICMP6):
        echo = _icmp.echo_of(found.version, transport)
        flow = marks.flow_of(echo.identifier) if echo is not None else None
        return None if echo is None or flow is None else (flow, "icmp", echo.kind)
    if found.protocol not in (_packets.TCP, _packets.UDP) or len(transport) < 4:
        return None
    protocol = "tcp" if found.protocol == _packets.TCP else "udp"
    for kind, port in zip(("request", "reply"), struct.unpack_from("!HH", transport)):
        if port in marks.ports:
            return marks.place_of(port)[0], protocol, kind
    return None


class Record:
    """What the messages said, of the packets that our own table has marked."""

    def __init__(self, table: str, marks: Marks) -> None:
        self._table, self._marks = table, marks
        self._packets: dict[int, tuple[int, str, str]] = {}
        self._met: dict[Met, int] = {}

    def add(self, payload: bytes) -> None:
        """One message."""
        found = attributes(payload, 4)
        number, table = _integer(found, TRACE_ID), _string(found, TRACE_TABLE)
        if number is None or not payload:
            return
        if table == self._table:
            packet = packet_of(found.get(TRACE_NETWORK, b""), found.get(TRACE_TRANSPORT, b""), self._marks)
            if packet is not None:
                self._packets[number] = packet
            return
        kind = _integer(found, TRACE_TYPE)
        verdict = _verdict(found)
        handle = _integer(found, TRACE_HANDLE)
        if number not in self._packets or not verdict or not (kind == OF_POLICY or (kind == OF_RULE and handle is not None)):
            return
        handle = handle if kind == OF_RULE else None
        family = _netfilter.NFPROTO.get(payload[0], str(payload[0]))
        met = Met(*self._packets[number], family, table, _string(found, TRACE_CHAIN), handle, verdict)
        if met in self._met or len(self._met) < MOST_RULES:
            self._met[met] = self._met.get(met, 0) + 1

    def result(self) -> list[dict[str, t.Any]]:
        """In the order in which they were met first."""
        return [{**met._asdict(), "packets": packets} for met, packets in self._met.items()]


def _verdict(found: t.Mapping[int, bytes]) -> str:
    policy = _integer(found, TRACE_POLICY)
    if policy is not None:
        return VERDICTS.get(policy, "")
    told = attributes(found.get(TRACE_VERDICT, b""))
    code = told.get(1, b"")
    word = VERDICTS.get(_signed(code), "") if len(code) == 4 else ""
    chain = _string(told, 2)
    return f"{word} {chain}" if word in ("jump", "goto") and chain else word


def _signed(code: bytes) -> int:
    """NF_QUEUE and NF_DROP have more in their upper half."""
    number = int(struct.unpack("!i", code)[0])
    return number if -16 < number < 0 else number & 0xFF


class Tracer:
    """A trace that lasts as long as this object's socket."""

    def __init__(self, probe: str, flows: t.Sequence[Flow], marks: Marks, deadline: Deadline) -> None:
        table = f"{TABLE}_{probe[:16]}"
        self.lost = False
        self.record = Record(table, marks)
        self.kernel = Nftables(deadline)
        try:
            families: dict[int, list[Flow]] = {}
            for flow in flows:
                families.setdefault(IPV6 if ":" in flow.destination else IPV4, []).append(flow)
            self.kernel.commit([change for family, mine in families.items() for change in _ours(family, table, mine, marks)])
            self.kernel.hear_traces()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """With the socket goes what it has made."""
        self.kernel.close()

    def drain(self) -> None:
        """Take what has come."""
        try:
            for payload in self.kernel.heard():
                self.record.add(payload)
        except OSError:  # ENOBUFS: more came than there was room for
            self.lost = True

    def result(self) -> dict[str, t.Any]:
        """What it has seen."""
        return {"met": self.record.result(), "lost": self.lost}


def why_not(flows: t.Sequence[Flow], check_mode: bool) -> str:
    """Why no trace may be begun here; "" if it may. Nothing is loaded into a kernel that has no nf_tables."""
    if check_mode:
        return "no rule is made in check mode"
    if not flows:
        return "no flow to trace was named"
    if not _netfilter.has_module(_netfilter.NF_TABLES):
        return "the kernel has no nf_tables: there is no trace for iptables-legacy"
    return ""


def not_traced() -> str:
    """What rules of the node a trace does not see."""
    for _name, path in _netfilter.FAMILIES.values():
        try:
            with open(path, encoding="ascii") as stream:
                if stream.read().split():
                    return "rules of iptables-legacy are there, too, which cannot be traced"
        except (OSError, ValueError):
            continue
    return ""


def refused(error: OSError) -> str:
    """Why the kernel did not make the table."""
    if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
        return "the kernel gives no table an owner (Linux before 5.12), and one that could stay is not made"
    return sentence(error)


def with_texts(met: t.Sequence[dict[str, t.Any]], deadline: Deadline) -> list[dict[str, t.Any]]:
    """With what nft says of the rules, as they are now."""
    path = shutil.which("nft", path=_netfilter.PATH)
    texts: dict[tuple[str, str, str], dict[int, str]] = {}
    for place in list(dict.fromkeys((one["family"], one["table"], one["chain"]) for one in met if one["handle"] is not None))[:MOST_CHAINS]:
        if path is None or not all(NAME.fullmatch(word) for word in place):
            continue
        try:
            texts[place] = rules_of(_netfilter.output([path, "-a", "list", "chain", *place], deadline))
        except (_netfilter.Failed, Expired, OSError):
            continue
    found = []
    for one in met:
        text = texts.get((one["family"], one["table"], one["chain"]), {}).get(one["handle"] or 0)
        found.append({**one, **({"rule": text} if text else {})})
    return found


def rules_of(listed: str) -> dict[int, str]:
    """Handle -> rule, of a chain as nft -a shows it."""
    lines = (HANDLE.match(line) for line in listed.split("\n"))
    return {int(line[2]): " ".join((COUNTED.sub("", line[1]) or line[1]).split())[:TEXT] for line in lines if line and not line[1].endswith("{")}
