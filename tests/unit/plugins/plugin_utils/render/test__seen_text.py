# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _seen_text
from ansible_collections.podnet.doctor.tests.unit import small


def way(*packets):
    places = [("pod:shop/web-0", "k8s01", "eth0"), ("veth:k8s01:cali1", "k8s01", "cali1"), ("node:k8s01", "k8s01", "eth0"), ("wire:k8s01:k8s02", "k8s02", None)]
    hops = [{"hop": hop, "node": node, "device": device, "way": "out", "packets": count} for (hop, node, device), count in zip(places, packets)]
    hops[2]["encapsulation"] = "ipip"
    return hops


def told(*probes):
    return _seen_text.texts({"probes": list(probes)})


LOST = {"what": "requests", "after": "node:k8s01", "hop": "wire:k8s01:k8s02"}


@pytest.mark.parametrize(
    ("probe", "text"),
    [
        (small.probe("forward", True, hops=way(3, 3, 3, 3)), "forward tcp: arrived, seen at all 4 hops, 3 of 3 answered"),
        (small.probe("forward", True, hops=way(3, None, 3, 3)), "forward tcp: arrived, seen at 3 of 4 hops, 3 of 3 answered"),
        (small.probe("forward", False, hops=way(3, 3, 3, 0), lost=LOST),
         "forward tcp: left eth0 of web-0, were last seen on eth0 of k8s01 (in IPIP), never on the NIC of k8s02"),
        (small.probe("forward", False, hops=way(0, 0, 0, 0), lost={"what": "requests", "after": None, "hop": "pod:shop/web-0"}),
         "forward tcp: 3 marked packets sent, none left the sender"),
        (small.probe("forward", None, hops=way(3, 3, 3, None), reason="k8s02 was not reached"),
         "forward tcp: not known whether it arrived (k8s02 was not reached); last seen on eth0 of k8s01 (in IPIP)"),
        (small.probe("reverse", False, "icmp", size=1480), "reverse icmp of 1480 bytes: 3 marked packets sent, none seen at the far end"),
        (small.probe("forward", True, hops=way(3, 3, 3, 3), replied=0, refused=3, reset_at="node:k8s02"),
         "forward tcp: arrived, seen at all 4 hops, 0 of 3 answered; refused 3 times, first seen on k8s02"),
        (small.probe("forward", True, hops=way(3, 3, 3, 3), back=way(3, 3, 3, 0), replied=0, lost={**LOST, "what": "replies"}),
         "forward tcp: arrived, seen at all 4 hops, 0 of 3 answered; the answers left eth0 of web-0, were last seen on eth0 of k8s01 (in IPIP),"
         " never on the NIC of k8s02"),
        (small.probe("forward", False, errors=[{"text": "host unreachable", "source": "10.2.7.201", "node": "k8s01", "device": "eth0"}]),
         "forward tcp: 3 marked packets sent, none seen at the far end; 10.2.7.201 says host unreachable"),
    ],
)  # fmt: skip
def test_how_far_packets_came(probe, text):
    assert told(probe) == [text]


def test_what_is_the_same_is_told_once():
    hops = way(3, 3, 3, 3)
    probes = [small.probe("forward", True, protocol, hops=hops, destination={"port": 53}) for protocol in ("icmp", "udp")]
    assert told(*probes) == ["forward icmp, udp/53: arrived, seen at all 4 hops, 3 of 3 answered"]
    assert told() == []
