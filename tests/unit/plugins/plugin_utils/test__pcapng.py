# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import shutil
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _evidence, _pcapng
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import resolve
from ansible_collections.podnet.doctor.tests.unit import small

ECHO = bytes.fromhex("4500001c000100004001f7c00afd01050afd02070800f7fe00010000")
ECHO6 = bytes([0x60, 0, 0, 0, 0, 8, 58, 64]) + bytes(15) + b"\1" + bytes(15) + b"\2" + bytes([128, 0, 0, 0, 0, 1, 0, 0])


def options(data):
    found, place = {}, 0
    while place < len(data):
        code, length = struct.unpack_from("<HH", data, place)
        if code == 0:
            break
        found[code] = data[place + 4 : place + 4 + length]
        place += 4 + length + -length % 4
    return found


def parsed(content):
    """(links, packets) of a file, by the draft's own words and none of the writer's."""
    links, packets, place = [], [], 0
    while place < len(content):
        kind, length = struct.unpack_from("<II", content, place)
        assert length % 4 == 0 and content[place + length - 4 : place + length] == struct.pack("<I", length)
        body = content[place + 8 : place + length - 4]
        if kind == 0x0A0D0D0A:
            assert place == 0 and struct.unpack_from("<IHH", body) == (0x1A2B3C4D, 1, 0)
        elif kind == 1:
            link_type, _reserved, snap = struct.unpack_from("<HHI", body)
            links.append((link_type, snap, options(body[8:])))
        else:
            assert kind == 6
            link, high, low, kept, length_before = struct.unpack_from("<IIIII", body)
            padded = kept + -kept % 4
            packets.append((link, (high << 32 | low) / 1e6, body[20 : 20 + kept], length_before, options(body[20 + padded :])))
        place += length
    return links, packets


def packet(link="k8s01 eth0", at=1795312800.25, data=ECHO, way="out"):
    return _pcapng.Packet(link, f"hop of {link}", way, at, data, "icmp request 0; wire:k8s01:k8s02")


def test_one_interface_for_each_link_and_the_hop_as_a_comment():
    content = _pcapng.written([packet("k8s02 eth0", 1795312801.0, way="in"), packet(), packet(at=1795312800.5)], "podnet.doctor")
    links, packets = parsed(content)
    assert [options[2] for _type, _snap, options in links] == [b"k8s01 eth0", b"k8s02 eth0"]
    assert [tuple(one[:2]) for one in packets] == [(0, 1795312800.25), (0, 1795312800.5), (1, 1795312801.0)]
    assert [data[4:] for _link, _at, data, *_rest in packets] == [ECHO] * 3
    assert packets[0][4][1] == b"icmp request 0; wire:k8s01:k8s02"
    assert [told[2][0] for *_rest, told in packets] == [2, 2, 1]  # outbound, outbound, inbound


def test_what_was_cut_tells_its_length():
    data = ECHO[:2] + (1400).to_bytes(2, "big") + ECHO[4:]
    assert parsed(_pcapng.written([packet(data=data)], "x"))[1][0][3] == 1404


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="there is no tcpdump here")
def test_tcpdump_reads_it(tmp_path):
    path = tmp_path / "packets.pcapng"
    path.write_bytes(_pcapng.written([packet(), packet("k8s02 eth0", 1795312801.0), packet("k8s02 tunl0", 1795312802.0, ECHO6)], "podnet.doctor"))
    done = subprocess.run(["tcpdump", "-nr", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.partition(": ")[0].split(" ", 1)[1] for line in done.stdout.splitlines()] == ["IP 10.253.1.5 > 10.253.2.7"] * 2 + ["IP6 ::1 > ::2"]


class Variables(dict):
    def raw_get(self, host):
        return self[host]


def kept(*packets):
    """What the collecting task of k8s01 registered, as packets of the file."""
    cluster = Cluster(small.cluster_document())
    result = {"diagnose_probe_item": {"direction": "both"}, "packets": list(packets)}
    variables = {"hostvars": Variables(one={"diagnose_seen": {"results": [result]}})}
    return _evidence.packets(variables, cluster, resolve(cluster, "shop/web-0", "shop/api-0", "tcp", 8080), {"k8s01": "one"})


def test_packets_are_named_by_their_hops():
    data = base64.b64encode(ECHO).decode()
    inside, tunnel, nic = kept(
        ["pod", 0, "eth0", "out", 1.0, data, "tcp request 0"], ["host", None, "tunl0", "out", 1.1, data, "tcp request 0"],
        ["host", None, "eth0", "out", 1.2, data, "tcp request 0"],
    )  # fmt: skip
    assert (inside.link, inside.comment) == ("shop/web-0 eth0", "tcp request 0; pod:shop/web-0 out")
    assert (tunnel.link, tunnel.comment) == ("k8s01 tunl0", "tcp request 0; node:k8s01 out")
    assert (nic.link, nic.comment) == ("k8s01 eth0", "tcp request 0; tunnel:k8s01 out")
    assert (nic.at, nic.data) == (1.2, ECHO)


junk = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=8).map(lambda raw: base64.b64encode(raw).decode())


@given(st.lists(st.lists(junk, min_size=6, max_size=8) | junk, max_size=5))
def test_property_any_packets_of_a_node_make_a_file(packets):
    found = kept(*packets)
    _links, written = parsed(_pcapng.written(found, "x"))
    assert len(written) == len(found)
