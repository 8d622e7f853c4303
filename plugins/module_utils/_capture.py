# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A capture that waits for the packets of one probe: a process of its own that keeps what it saw in memory, hands it over through
an abstract socket named by the probe's id, and ends by itself.

It listens on all links of the namespaces that it is given, without promiscuous mode, behind a filter in the kernel that lets through only what
bears the probe's marks. This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import select
import signal
import socket
import struct
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _capture_filter, _packets, _trace
from ansible_collections.podnet.doctor.plugins.module_utils._counters import ChecksumErrors
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._marks import Marks
from ansible_collections.podnet.doctor.plugins.module_utils._netns import _enter

ETH_P_ALL = 0x0003  # others are shown no packets that go out
SO_TIMESTAMPNS = 35
WAYS = {3: "by", 4: "out"}  # PACKET_OTHERHOST: meant for another machine, and dropped by this one; PACKET_OUTGOING
MOST_SIGHTS = 2048
MOST_ANSWER = 1 << 24  # bytes
MOST_KEPT = 1 << 20  # bytes of packets that one capture keeps
MOST_WORDS = 4  # different addresses or texts that are kept of one sight
PR_SET_NAME = 15
ANSWERED_WITHIN = 5  # seconds, by the kernel
_TIMESTAMP = struct.Struct("@ll")


class Place(t.NamedTuple):
    """A network namespace to listen in: the node's own, or that of the pod with this position among those that were asked for."""

    where: str
    path: str | None = None
    pod: int | None = None


def packet_socket(program: bytes) -> socket.socket:
    """A socket that sees what a filter lets through, on all links of the calling thread's namespace."""
    try:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    except PermissionError as error:
        raise OSError("packet sockets are refused here: root without CAP_NET_RAW") from error
    try:
        _capture_filter.attach(made, program)  # before it is bound, so that no other packet is ever in its queue
        made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        made.setblocking(False)
        _bind_to_all(made)
    except BaseException:
        made.close()
        raise
    return made


def _bind_to_all(listener: socket.socket) -> None:
    """Bind to all links, which Python's own bind cannot."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(ETH_P_ALL), 0, 0, 0, 0, b"")
    if ctypes.CDLL(None, use_errno=True).bind(listener.fileno(), address, len(address)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Sight(t.NamedTuple):
    """Where and as what packets were seen."""

    ifname: str
    way: str
    encapsulation: str | None
    flow: int
    train: str
    kind: str


class Record:
    """What was seen in one namespace."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._sights: dict[Sight, dict[str, t.Any]] = {}
        self._requests: set[tuple[str, int, int, int]] = set()

    def add(self, seen: _packets.Seen, ifname: str, way: str, seconds: float) -> None:
        """Keep a packet: the first of each number, and how many came again."""
        asked = (seen.train, seen.flow, seen.number, seen.port)
        if seen.port and seen.kind == "request":
            self._requests.add(asked)
        elif seen.port and seen.kind in ("reply", "reset") and asked not in self._requests:
            return  # somebody else's, whose port is one of ours by chance
        sight = Sight(ifname, way, seen.encapsulation, seen.flow, seen.train, seen.kind)
        kept = self._sights.get(sight)
        if kept is None:
            if len(self._sights) >= MOST_SIGHTS:
                return
            kept = self._sights[sight] = {"numbers": {}, "repeated": 0, "ttl": seen.ttl, "sources": [], "destinations": [], "texts": [], "of": {}}
        if seen.number in kept["numbers"]:
            kept["repeated"] += 1
            return
        kept["numbers"][seen.number] = round(seconds, 6)
        if seen.port:
            kept["of"][seen.number] = seen.destination
        for name, word in (("sources", seen.source), ("destinations", seen.destination), ("texts", seen.text)):
            if word and word not in kept[name] and len(kept[name]) < MOST_WORDS:
                kept[name].append(word)

    def result(self) -> list[dict[str, t.Any]]:
        """One entry for each sight."""
        own = {"where": self.place.where, **({} if self.place.pod is None else {"pod": self.place.pod})}
        told = []
        for sight, kept in self._sights.items():
            differ = len(set(kept["of"].values())) > 1
            told.append({**own, **sight._asdict(), **kept, "numbers": sorted(kept["numbers"].items()), "of": sorted(kept["of"].items()) if differ else []})
        return told


def name(probe: str) -> str:
    """The abstract socket of a probe; it is known only in the node's own network namespace."""
    return f"\0podnet.doctor/{probe}"


def _listener(probe: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    made.bind(name(probe))
    made.listen(2)
    made.setblocking(False)
    return made


class Kept:
    """The packets themselves, as far as there is room for them."""

    def __init__(self) -> None:
        self.packets: list[list[t.Any]] = []
        self.size = self.left_out = 0

    def add(self, place: Place, ifname: str, way: str, at: float, data: bytes, note: str) -> None:
        """Keep one."""
        if self.size + len(data) > MOST_KEPT:
            self.left_out += 1
            return
        self.size += len(data)
        self.packets.append([place.where, place.pod, ifname, way, at, base64.b64encode(data).decode("ascii"), note])


class Listener(t.NamedTuple):
    """A socket, and what it has heard."""

    socket: socket.socket
    record: Record
    begun: float
    marks: Marks
    vxlan_ports: t.Sequence[int]
    kept: Kept | None = None
    errors: ChecksumErrors | None = None
    next_hops: t.Sequence[str] = ()  # it hears questions for these neighbours alone

    def drain(self) -> None:
        """Take what has come."""
        while True:
            try:
                data, ancillary, _flags, address = self.socket.recvmsg(_capture_filter.SNAP, 256)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # a link went down or away; what was seen stays
                return
            seen = _packets.decode_neighbour(data, self.next_hops) if self.next_hops else _packets.decode(data, self.marks, self.vxlan_ports)
            if seen is not None and address[0] != "lo":
                stamp = next((value for _level, kind, value in ancillary if kind == SO_TIMESTAMPNS and len(value) >= _TIMESTAMP.size), None)
                whole, rest = _TIMESTAMP.unpack_from(stamp) if stamp is not None else (time.time(), 0)
                way = WAYS.get(address[2], "in")
                self.record.add(seen, str(address[0]), way, whole - self.begun + rest / 1e9)
                if self.kept is not None:
                    note = f"{seen.train} {seen.kind} {seen.number}, flow {seen.flow}"
                    self.kept.add(self.record.place, str(address[0]), way, whole + rest / 1e9, data, note)


def _is_root(peer: socket.socket) -> bool:
    _pid, uid, _gid = struct.unpack("=iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(uid in (0, os.geteuid()))


class Order(t.NamedTuple):
    """What is to be captured: the marks of which probe, where, in which encapsulations, and for how many seconds at most.

    keep: the packets, too, not only where they were seen. next_hops: addresses that neighbours are asked for.
    memory: what is handed over again with what was seen. trace: the flows to trace through the node's rules.
    """

    probe: str
    places: t.Sequence[Place]
    marks: Marks
    vxlan_ports: t.Sequence[int]
    limit: float
    keep: bool = False
    next_hops: t.Sequence[str] = ()
    memory: t.Any = None
    trace: t.Sequence[_trace.Flow] = ()


class Traced:
    """The trace of a capture, or why there is none."""

    def __init__(self, order: Order) -> None:
        self.reason, self.tracer = "", None
        try:
            if order.trace:
                self.tracer = _trace.Tracer(order.probe, order.trace, order.marks, Deadline(ANSWERED_WITHIN))
        except OSError as error:
            self.reason = _trace.refused(error)

    def result(self) -> dict[str, t.Any]:
        """What is told of it."""
        if self.tracer is None:
            return {"trace": {"reason": self.reason}} if self.reason else {}
        self.tracer.drain()
        return {"trace": self.tracer.result()}


def _serve(door: socket.socket, listeners: list[Listener], end: float, kept: Kept | None, memory: t.Any, traced: Traced) -> None:
    """Listen until someone collects, or until the end."""
    poll = select.poll()
    if traced.tracer is not None:
        poll.register(traced.tracer.kernel, select.POLLIN)
    poll.register(door, select.POLLIN)
    for listener in listeners:
        poll.register(listener.socket, select.POLLIN)
    while time.monotonic() < end:
        poll.poll(max(int((end - time.monotonic()) * 1000), 1))
        for listener in listeners:
            listener.drain()
        if traced.tracer is not None:
            traced.tracer.drain()
        try:
            peer, _address = door.accept()
        except (BlockingIOError, InterruptedError):
            continue
        with peer:
            if not _is_root(peer):
                continue
            for listener in listeners:
                listener.drain()
            peer.settimeout(5)
            answer: dict[str, t.Any] = {"pid": os.getpid(), "seen": [entry for listener in listeners for entry in listener.record.result()]}
            answer["checksum_errors"] = [
                {"where": one.record.place.where, "pod": one.record.place.pod, **one.errors.since()} for one in listeners if one.errors is not None
            ]
            answer.update(traced.result(), memory=memory)
            if kept is not None:
                answer.update(packets=kept.packets, left_out=kept.left_out)
            peer.sendall(json.dumps(answer).encode("utf-8"))
            return


def _checksum_errors() -> ChecksumErrors | None:
    try:
        return ChecksumErrors()
    except OSError:
        return None


def _capture(order: Order, tell: t.Callable[[str], None]) -> None:
    """The whole life of the capturing process."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"podnet-capture", 0, 0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end, begun = time.monotonic() + order.limit, float(int(time.time()))
    door = _listener(order.probe)
    listeners: list[Listener] = []
    kept = Kept() if order.keep else None
    traced = Traced(order)
    for place in sorted(order.places, key=lambda one: one.path is not None):  # the own namespace first: there is no way back
        if place.path is not None:
            _enter(place.path)
        opened, record = packet_socket(_capture_filter.program(order.marks, order.vxlan_ports)), Record(place)
        listeners.append(Listener(opened, record, begun, order.marks, order.vxlan_ports, kept, _checksum_errors()))
        if order.next_hops:
            opened, record = packet_socket(_capture_filter.neighbour_program(order.next_hops)), Record(place)
            listeners.append(Listener(opened, record, begun, order.marks, order.vxlan_ports, next_hops=order.next_hops))
    tell("armed")
    _serve(door, listeners, end, kept, order.memory, traced)


def arm(order: Order) -> str | None:
    """Start the capture; None if it listens, else why it does not."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _become_daemon(writing, lambda tell: _capture(order, tell))
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as answers:
        ready, _w, _x = select.select([answers], [], [], 10)
        said = answers.read().decode("utf-8", "replace") if ready else "no answer"
    return None if said == "armed" else said or "the capturing process ended at once"


def _become_daemon(writing: int, work: t.Callable[[t.Callable[[str], None]], None]) -> t.NoReturn:
    """In the child: leave the session and everything inherited, tell the parent how it went, work, and end without clean-up."""
    told = False

    def tell(text: str) -> None:
        nonlocal told
        if not told:
            told = True
            os.write(writing, text.encode("utf-8")[:4000])
            os.close(writing)

    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for handle in (0, 1, 2):
            os.dup2(nothing, handle)
        for open_file in (int(entry) for entry in os.listdir("/proc/self/fd")):
            if open_file > 2 and open_file != writing:
                try:
                    os.close(open_file)
                except OSError:
                    continue
        os.chdir("/")
        work(tell)
    except BaseException as error:  # noqa: BLE001 - this process must never return into the module
        tell(sentence(error))
    os._exit(0)


def collect(probe: str, timeout: float) -> dict[str, t.Any]:
    """What the capture saw; it ends then. OSError if there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        connection.settimeout(timeout)
        connection.connect(name(probe))
        data = b""
        while len(data) < MOST_ANSWER:
            piece = connection.recv(1 << 16)
            if not piece:
                break
            data += piece
    found: dict[str, t.Any] = json.loads(data)
    end = time.monotonic() + timeout
    while os.path.exists(f"/proc/{found['pid']}") and time.monotonic() < end:
        time.sleep(0.01)
    return found
