# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A capture that waits for the packets of one probe: a process of its own that keeps what it saw in memory, hands it over through
an abstract socket named by the probe's id, and ends by itself.

It listens without promiscuous mode, behind a filter in the kernel that lets through only what bears the probe's marks.
This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import struct
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _icmp
from ansible_collections.podnet.doctor.plugins.module_utils._address import from_bytes
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import sentence
from ansible_collections.podnet.doctor.plugins.module_utils._marks import Marks
from ansible_collections.podnet.doctor.plugins.module_utils._netns import _enter

ETH_P_ALL = 0x0003
SO_ATTACH_FILTER = 26
SNAP = 256
SAMPLES = 32
PR_SET_NAME = 15
SYN, RST, ACK = 0x02, 0x04, 0x10
_TCP = struct.Struct("!HHIIBB")


class Place(t.NamedTuple):
    """Where to listen: a network namespace (its path, None for the own) and there one link or all."""

    where: str
    path: str | None = None
    ifname: str | None = None


def program(marks: Marks) -> bytes:
    """A classic BPF program over packets that begin with their IP header."""
    first, last = marks.port, marks.port + marks.length - 1
    load_byte, load_half, load_half_x, ihl = 0x30, 0x28, 0x48, 0xB1
    equal, above, at_least, give, shift, load_byte_x = 0x15, 0x25, 0x35, 0x06, 0x74, 0x50
    # (code, jump if true, jump if false, k); jumps are labels here
    lines: list[tuple[int, str | int, str | int, int] | str] = [
        (load_byte, 0, 0, 0),
        (shift, 0, 0, 4),
        (equal, "four", "maybe6", 4),
        "maybe6",
        (equal, "six", "drop", 6),
        "four",
        (load_byte, 0, 0, 9),
        (equal, "icmp4", "maybe_tcp4", 1),
        "maybe_tcp4",
        (equal, "tcp4", "drop", 6),
        "icmp4",
        (ihl, 0, 0, 0),
        (load_half_x, 0, 0, 4),
        (equal, "take", "error4", marks.identifier),
        "error4",
        (load_byte_x, 0, 0, 0),
        (equal, "take", "expired4", 3),
        "expired4",
        (equal, "take", "drop", 11),
        "tcp4",
        (ihl, 0, 0, 0),
        (load_half_x, 0, 0, 0),
        (at_least, "below4", "to4", first),
        "below4",
        (above, "to4", "take", last),
        "to4",
        (load_half_x, 0, 0, 2),
        (at_least, "end4", "drop", first),
        "end4",
        (above, "drop", "take", last),
        "six",
        (load_byte, 0, 0, 6),
        (equal, "icmp6", "maybe_tcp6", 58),
        "maybe_tcp6",
        (equal, "tcp6", "drop", 6),
        "icmp6",
        (load_half, 0, 0, 44),
        (equal, "take", "error6", marks.identifier),
        "error6",
        (load_byte, 0, 0, 40),
        (at_least, "drop", "take", 4),
        "tcp6",
        (load_half, 0, 0, 40),
        (at_least, "below6", "to6", first),
        "below6",
        (above, "to6", "take", last),
        "to6",
        (load_half, 0, 0, 42),
        (at_least, "end6", "drop", first),
        "end6",
        (above, "drop", "take", last),
        "take",
        (give, 0, 0, SNAP),
        "drop",
        (give, 0, 0, 0),
    ]
    labels: dict[str, int] = {}
    code: list[tuple[int, str | int, str | int, int]] = []
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(code)
        else:
            code.append(line)

    def jump(target: str | int, place: int) -> int:
        return labels[target] - place - 1 if isinstance(target, str) else target

    return b"".join(struct.pack("=HBBI", what, jump(yes, place), jump(no, place), value) for place, (what, yes, no, value) in enumerate(code))


def attach(listener: socket.socket, code: bytes) -> None:
    """Put a BPF program in front of a socket."""
    buffer = ctypes.create_string_buffer(code)
    listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(code) // 8, ctypes.addressof(buffer)))


def packet_socket(marks: Marks, ifname: str | None) -> socket.socket:
    """A socket that sees the probe's packets in the calling process's namespace, on one link or on all."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    try:
        attach(made, program(marks))  # before it is bound, so that no other packet is ever in its queue
        made.setblocking(False)
        _bind(made, socket.if_nametoindex(ifname) if ifname else 0)
    except BaseException:
        made.close()
        raise
    return made


def _bind(listener: socket.socket, index: int) -> None:
    """Bind to a link, or with index 0 to all of them, which Python's own bind cannot."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(ETH_P_ALL), index, 0, 0, 0, b"")
    if ctypes.CDLL(None, use_errno=True).bind(listener.fileno(), address, len(address)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Seen(t.NamedTuple):
    """One packet of the probe."""

    protocol: str
    kind: str
    number: int
    source: str
    destination: str
    ttl: int


def _tcp(data: bytes, marks: Marks) -> tuple[str, int] | None:
    if len(data) < 14:
        return None
    source, destination, _seq, _ack, _offset, flags = _TCP.unpack_from(data)
    if source in marks.ports:
        return ("request", source - marks.port) if flags & SYN and not flags & ACK else None
    if destination in marks.ports:
        if flags & RST:
            return "reset", destination - marks.port
        return ("reply", destination - marks.port) if flags & SYN and flags & ACK else None
    return None


def decode(data: bytes, marks: Marks) -> Seen | None:
    """A packet that begins with its IP header; None if it is not of this probe."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        length, protocol, ttl = (data[0] & 0xF) * 4, data[9], data[8]
        source, destination = from_bytes(data[12:16]), from_bytes(data[16:20])
    elif version == 6 and len(data) >= 40:
        length, protocol, ttl = 40, data[6], data[7]
        source, destination = from_bytes(data[8:24]), from_bytes(data[24:40])
    else:
        return None
    inner = data[length:]
    if protocol in (1, 58):
        message = _icmp.decode(version, inner)
        if message is None or message.identifier != marks.identifier or (message.kind != "error" and not message.payload.startswith(marks.payload)):
            return None
        return Seen("icmp", message.kind, message.sequence, str(source), str(destination), ttl)
    found = _tcp(inner, marks) if protocol == 6 else None
    return None if found is None else Seen("tcp", found[0], found[1], str(source), str(destination), ttl)


class Record:
    """What was seen on one socket."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._numbers: dict[tuple[str, str, str], set[int]] = {}
        self._packets: list[dict[str, t.Any]] = []

    def add(self, seen: Seen, ifname: str) -> None:
        """Count a packet; retransmissions count once."""
        self._numbers.setdefault((ifname, seen.protocol, seen.kind), set()).add(seen.number)
        if len(self._packets) < SAMPLES:
            self._packets.append({"ifname": ifname, **seen._asdict()})

    def result(self) -> list[dict[str, t.Any]]:
        """One entry for each link and protocol; an entry of zeros if nothing came."""
        kinds = (("request", "requests"), ("reply", "replies"), ("reset", "resets"), ("error", "errors"))
        links = sorted({ifname for ifname, _protocol, _kind in self._numbers} - {"lo"}) or [self.place.ifname or ""]
        found = []
        for ifname in links:
            for protocol in ("icmp", "tcp"):
                counts = {word: len(self._numbers.get((ifname, protocol, kind), ())) for kind, word in kinds}
                packets = [packet for packet in self._packets if packet["ifname"] == ifname and packet["protocol"] == protocol]
                found.append({"where": self.place.where, "ifname": ifname, "protocol": protocol, **counts, "packets": packets})
        return found


def name(probe: str) -> str:
    """The abstract socket of a probe; it is known only in the node's own network namespace."""
    return f"\0podnet.doctor/{probe}"


def _listener(probe: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    made.bind(name(probe))
    made.listen(2)
    made.setblocking(False)
    return made


def _drain(listener: socket.socket, record: Record, marks: Marks) -> None:
    while True:
        try:
            data, address = listener.recvfrom(SNAP)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:  # the link went down or away; what was seen stays
            return
        seen = decode(data, marks)
        if seen is not None:
            record.add(seen, str(address[0]))


def _is_root(peer: socket.socket) -> bool:
    _pid, uid, _gid = struct.unpack("=iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(uid in (0, os.geteuid()))


def _serve(door: socket.socket, records: list[tuple[socket.socket, Record]], marks: Marks, end: float) -> None:
    """Listen until someone collects, or until the end."""
    poll = select.poll()
    poll.register(door, select.POLLIN)
    for listener, _record in records:
        poll.register(listener, select.POLLIN)
    while time.monotonic() < end:
        poll.poll(max(int((end - time.monotonic()) * 1000), 1))
        for listener, record in records:
            _drain(listener, record, marks)
        try:
            peer, _address = door.accept()
        except (BlockingIOError, InterruptedError):
            continue
        with peer:
            if not _is_root(peer):
                continue
            for listener, record in records:
                _drain(listener, record, marks)
            peer.settimeout(5)
            answer = {"pid": os.getpid(), "seen": [entry for _listener, record in records for entry in record.result()]}
            peer.sendall(json.dumps(answer).encode("utf-8"))
            return


def _capture(probe: str, places: list[Place], marks: Marks, limit: float, tell: t.Callable[[str], None]) -> None:
    """The whole life of the capturing process."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"podnet-capture", 0, 0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end = time.monotonic() + limit
    door = _listener(probe)
    records: list[tuple[socket.socket, Record]] = []
    for place in sorted(places, key=lambda one: one.path is not None):  # the own namespace first: there is no way back
        if place.path is not None:
            _enter(place.path)
        try:
            records.append((packet_socket(marks, place.ifname), Record(place)))
        except OSError as error:
            if place.ifname is None:
                raise
            raise OSError(f"{place.ifname}: {sentence(error)}") from error
    tell("armed")
    _serve(door, records, marks, end)


def arm(probe: str, places: list[Place], marks: Marks, limit: float) -> str | None:
    """Start the capture; None if it listens, else why it does not."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _become_daemon(writing, lambda tell: _capture(probe, places, marks, limit, tell))
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
        while len(data) < 1 << 20:
            piece = connection.recv(1 << 16)
            if not piece:
                break
            data += piece
    found: dict[str, t.Any] = json.loads(data)
    end = time.monotonic() + timeout
    while os.path.exists(f"/proc/{found['pid']}") and time.monotonic() < end:
        time.sleep(0.01)
    return found
