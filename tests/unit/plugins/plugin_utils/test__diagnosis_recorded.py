# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of real clusters, healthy and broken on purpose, is held against what was done to them."""

from __future__ import annotations

import pytest

from ansible_collections.podnet.doctor.tests.unit import recorded

# recordings whose fault lies in what this version judges: name -> cause
NAMED = {
    "bgp-f01-stale-node-address": "node_ip_wrong_nic",
    "bgp-f01-stray-nic": "node_ip_wrong_nic",
    "ipip-f01-stray-nic": "node_ip_wrong_nic",
    "v328-bgp-legacy-f01-stray-nic": "node_ip_wrong_nic",
    "v328-ipip-f01-stray-nic": "node_ip_wrong_nic",
    "v333-ipip-f01-stray-nic": "node_ip_wrong_nic",
    "bgp-f17-ip-forward-off": "proxy_arp_or_forwarding_cleared",
    "bgp-f17-proxy-arp-off": "proxy_arp_or_forwarding_cleared",
    "bgp-f18-node-without-default-route": "no_route_to_169_254_1_1",
    "bgp-f20-local-pod-route-missing": "local_pod_route_missing",
    "v328-ipip-f20-local-pod-route-missing": "local_pod_route_missing",
    "v333-ipip-f20-local-pod-route-missing": "local_pod_route_missing",
    "canal-f20-local-pod-route-missing": "local_pod_route_missing",
    "bgp-f21-pod-route-wrong-interface": "pod_route_wrong_iface",
    "bgp-f22-alien-static-route": "remote_block_route_missing_bird_has_it",
    "bgp-f49-bird-dead-late": "bird_down_or_config_rejected",
    "bgp-f49-bird-dead-early": "bird_down_or_config_rejected",
    "v328-ipip-f49-bird-dead-late": "bird_down_or_config_rejected",
    "v333-ipip-f49-bird-dead-late": "bird_down_or_config_rejected",
    "bgp-f51-pod-arp-poisoned": "pod_side_broken",
    "bgp-f51-pod-default-route-lost": "pod_side_broken",
    "bgp-f52-host-veth-deleted": "host_veth_missing",
    "bgp-f52-host-veth-down": "host_veth_missing",
    "bgp-f53-host-neighbour-wrong": "stale_host_neighbour",
    "ipip-f34-tunl0-down": "tunnel_device_missing_or_down",
    "canal-f76-fdb-missing": "flannel_vtep_stale",
    "canal-x-flannel-device-gone": "flannel_device_missing",
    "flannel-f52-host-veth-down": "host_veth_missing",
    "flannel-f61-duplicate-pod-ip": "duplicate_pod_ip",
    "flannel-f75-public-ip-wrong": "flannel_public_ip_wrong",
    "flannel-f76-device-recreated-empty": "flannel_vtep_stale",
    "flannel-f76-fdb-missing": "flannel_vtep_stale",
    "flannel-f76-stale-vtep-mac": "flannel_vtep_stale",
    "flannel-f76-wrong-vtep-neighbour": "flannel_vtep_stale",
    "flannel-f77-cni0-other-subnet": "cni0_mismatch",
    "flannel-f78-podcidr-duplicated": "podcidr_missing_or_overlapping",
    "flannel-hostgw-f17-ip-forward-off": "proxy_arp_or_forwarding_cleared",
    "flannel-hostgw-f75-public-ip-wrong": "flannel_public_ip_wrong",
    "flannel-hostgw-x-peer-route-missing": "flannel_peer_route_missing",
    "flannel-x-bridge-port-disabled": "bridge_port_disabled",
    "flannel-x-peer-route-missing": "flannel_peer_route_missing",
    "flannel-x-veth-not-on-cni0": "veth_not_on_bridge",
}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_fault_is_named_first_and_alone(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    diagnosis = recorded.diagnose(name)
    assert diagnosis.causes[0].id == NAMED[name]
    assert not diagnosis.unexplained
    on_path = [cause for cause in diagnosis.causes if diagnosis.affects_path(cause)]
    truth = recorded.about(name)["truth"]
    assert [cause.id for cause in on_path] == ([] if truth["symptom"]["works"] else [NAMED[name]])
    named = (diagnosis.causes[0].node, *diagnosis.causes[0].objects)
    assert any(word in text for word in named for text in truth["objects"])
    if truth["symptom"]["works"] is False:
        assert diagnosis.outcome == "broken"
    else:
        assert diagnosis.outcome != "broken"


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("flannel-f77-subnet-env-missing", "subnet_env_missing"),
        ("bgp-f47-cni-nodename-mismatch", "nodename_mismatch"),
        ("bgp-f48-cni-unauthorized", "cni_unauthorized"),
        ("bgp-x-node-cannot-reach-api", "typha_unreachable"),
    ],
)
def test_what_hits_only_new_pods_is_named_beside_the_path(name, cause):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    diagnosis = recorded.diagnose(name)
    assert [found.id for found in diagnosis.causes] == [cause] and not diagnosis.unexplained
    assert diagnosis.outcome == "unknown"


def healthy():
    return [name for name in recorded.names() if "healthy" in name and "/" not in name]


@pytest.mark.parametrize("name", healthy() or ["absent"])
def test_a_healthy_cluster_raises_nothing(name):
    if name == "absent":
        pytest.skip(recorded.ABSENT)
    diagnosis = recorded.diagnose(name)
    assert diagnosis.findings == []
    assert diagnosis.outcome == "unknown"  # nothing was sent and policy was not read: never healthy on static facts alone


@pytest.mark.parametrize("name", ["bgp-f12-default-deny", "ipip-f03-network-drops-proto4", "vxlan-f04-network-drops-4789", "legacy-f08-forward-reject",
                                  "flannel-f04-udp8472-blocked", "flannel-f14-underlay-mtu", "canal-f12-default-deny"])
def test_what_is_not_judged_yet_is_unknown_and_never_healthy(name):
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    assert recorded.diagnose(name).outcome == "unknown"
