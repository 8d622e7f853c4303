# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import struct
import threading
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _dns
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline

KNOWN = {"nameservers": ["127.0.0.1"], "search": ["shop.svc.lab", "svc.lab", "lab"], "ndots": 5}


def test_resolver() -> None:
    text = "# x\nnameserver 10.96.0.10\nnameserver nonsense\nsearch a b\nsearch shop.svc.lab svc.lab. lab\noptions ndots:5\nnameserver fd00:0::1 ; y\n"
    assert _dns.resolver(text) == {"nameservers": ["10.96.0.10", "fd00::1"], "search": ["shop.svc.lab", "svc.lab", "lab"], "ndots": 5}
    assert _dns.resolver("") == {"nameservers": [], "search": [], "ndots": 1}


def test_the_order_of_the_search_list() -> None:
    assert _dns.candidates("web", KNOWN) == ["web.shop.svc.lab", "web.svc.lab", "web.lab", "web"]
    assert _dns.candidates("www.example.com", {**KNOWN, "ndots": 2})[0] == "www.example.com"
    assert _dns.candidates("www.example.com.", KNOWN) == ["www.example.com"]
    assert _dns.cluster_domain(KNOWN) == "lab" and _dns.cluster_domain({"search": []}) == "cluster.local"


@pytest.mark.parametrize("name", ["", "a..b", "a b", "x" * 64 + ".y", ".".join(["a" * 50] * 6), "a;b", "ä.b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError):
        _dns.encode(name, _dns.A, 1)


def answer(query: bytes, rcode: int, *addresses: str) -> bytes:
    number = struct.unpack_from("!H", query)[0]
    records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 30, 4) + socket.inet_aton(address) for address in addresses)
    return struct.pack("!6H", number, 0x8180 | rcode, 1, len(addresses), 0, 0) + query[12:] + records


def test_an_answer() -> None:
    query = _dns.encode("web.lab", _dns.A, 7)
    assert _dns.decode(answer(query, 0, "10.96.0.1"), 7) == {"rcode": "NOERROR", "addresses": ["10.96.0.1"]}
    assert _dns.decode(answer(query, 3), 7) == {"rcode": "NXDOMAIN", "addresses": []}
    assert _dns.decode(answer(query, 0), 8) is None
    assert _dns.decode(query, 7) is None
    endless = struct.pack("!6H", 7, 0x8000, 1, 0, 0, 0) + b"\x01"
    assert _dns.decode(endless, 7) is None


@given(st.binary(max_size=600), st.integers(0, 65535))
def test_property_any_answer(data: bytes, identifier: int) -> None:
    _dns.decode(data, identifier)
    _dns.decode(struct.pack("!H", identifier) + b"\x80" + data, identifier)


@given(st.text(max_size=200))
def test_property_any_resolver(text: str) -> None:
    found = _dns.resolver(text)
    assert _dns.candidates("a.b", found)[-1].startswith("a.b") and _dns.cluster_domain(found)


@given(st.lists(st.text("abc-_09", min_size=1, max_size=63), min_size=1, max_size=3), st.integers(0, 65535))
def test_property_what_is_asked_comes_back(labels: list[str], identifier: int) -> None:
    query = _dns.encode(".".join(labels), _dns.A, identifier)
    assert _dns.decode(answer(query, 5, "192.0.2.1"), identifier) == {"rcode": "REFUSED", "addresses": ["192.0.2.1"]}


class Server:
    """A DNS server on a port of the loopback: UDP and TCP. says: name -> (rcode, addresses), or None for silence."""

    def __init__(self, says: dict[str, t.Any]) -> None:
        self.says = says
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.tcp.getsockname()[1]))
        for work in (self._udp, self._tcp):
            threading.Thread(target=work, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.tcp.getsockname()[1])

    def _answer(self, query: bytes) -> bytes | None:
        place, labels = 12, []
        while query[place]:
            labels.append(query[place + 1 : place + 1 + query[place]].decode())
            place += 1 + query[place]
        said = self.says.get(".".join(labels), (3,))
        return None if said is None else answer(query, *said)

    def _udp(self) -> None:
        while True:
            query, sender = self.udp.recvfrom(4096)
            reply = self._answer(query)
            if reply:
                self.udp.sendto(b"\0\0" + reply[2:], sender)  # of another query: not heeded
                self.udp.sendto(reply, sender)

    def _tcp(self) -> None:
        while True:
            connection, _sender = self.tcp.accept()
            with connection:
                query = connection.recv(4096)[2:]
                reply = self._answer(query)
                if reply:
                    whole = struct.pack("!H", len(reply)) + reply
                    connection.sendall(whole[:5])
                    connection.sendall(whole[5:])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[dict[str, t.Any]], None]:
    def begin(says: dict[str, t.Any]) -> None:
        monkeypatch.setattr(_dns, "PORT", Server(says).port)
        monkeypatch.setattr(_dns, "_first_resolver", lambda pids: KNOWN)

    return begin


def test_a_pod_that_asks(server: t.Callable[[dict[str, t.Any]], None]) -> None:
    server({"kubernetes.default.svc.lab": (0, "10.96.0.1"), "web.svc.lab": (0, "10.96.0.7")})
    found = _dns.read_one({"netns_of": None, "name": "web", "servers": ["127.0.0.1"]}, None, [], Deadline(20))
    assert [(one["protocol"], one["outcome"], one["rcode"], one["addresses"]) for one in found["queries"]] == [
        ("udp", "answered", "NOERROR", ["10.96.0.1"]),
        ("tcp", "answered", "NOERROR", ["10.96.0.1"]),
    ]
    assert [(one["name"], one["rcode"]) for one in found["search"]] == [("web.shop.svc.lab", "NXDOMAIN"), ("web.svc.lab", "NOERROR")]
    assert found["control"] == "kubernetes.default.svc.lab"


def test_silence_and_refusal(server: t.Callable[[dict[str, t.Any]], None], monkeypatch: pytest.MonkeyPatch) -> None:
    server({"kubernetes.default.svc.lab": None})
    monkeypatch.setattr(_dns, "PATIENCE", 0.05)
    found = _dns.read_one({"servers": []}, None, [], Deadline(20))
    assert [one["outcome"] for one in found["queries"]] == ["timeout", "refused"] and found["search"] == []
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setattr(_dns, "PORT", port)
    found = _dns.read_one({"servers": []}, None, [], Deadline(20))
    assert [one["outcome"] for one in found["queries"]] == ["refused", "refused"]


def test_the_file_of_a_process_is_read_and_no_link_is_followed() -> None:
    try:
        found = _dns.read_resolver(os.getpid())
    except OSError as error:  # /etc/resolv.conf is a link on some machines
        assert os.path.islink("/etc/resolv.conf") or not os.path.exists("/etc/resolv.conf"), error
    else:
        assert isinstance(found["nameservers"], list)
    assert "cannot be read" in _dns._first_resolver([])["error"]
