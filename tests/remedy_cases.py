# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which remedy mends which fault of the lab: the rows of tests/remedies.py."""

from __future__ import annotations

import typing as t

# remedy, the fault that it mends, the mode in which `make test` proves it (None: only make remedies does), what is given beside the approval
CASES: list[tuple[str, str, str | None, dict[str, t.Any]]] = [
    ("set_sysctl", "proxy_arp_or_forwarding_cleared.ip_forward", "ipip", {}),
    ("delete_route", "remote_block_route_missing_bird_has_it.alien", "ipip", {}),
    ("delete_neighbour", "stale_host_neighbour", "noencap", {}),
    ("set_link_up", "host_veth_missing.down", "noencap", {}),
    ("add_gateway_route", "no_route_to_169_254_1_1", "ipip", {}),
    ("leave_unmanaged", "networkmanager_manages_cali", "ipip", {"podnet_persistent": True}),
    ("delete_address", "node_ip_wrong_nic", None, {}),  # in `make test` with ten nodes: tests/integration/test_incident.py
    ("delete_link", "node_ip_wrong_nic", "ipip", {"podnet_delete_interface": True}),
    ("restart_calico_node", "bird_down_or_config_rejected.stopped", "ipip", {}),
    ("restart_bird", "bird_down_or_config_rejected.hung", "noencap", {}),
    ("reload_protocol", "remote_block_route_missing_not_learned.soft", "noencap", {}),
    ("reload_protocol", "remote_block_route_missing_not_learned.router", None, {}),
    ("delete_rule", "nm_cloud_setup_rules", "ipip", {}),
    ("restart_protocol", "bgp_session_one_sided", "noencap", {"podnet_at_once": True}),
    ("delete_connection", "stale_conntrack_udp", "ipip", {}),
    ("delete_route", "second_default_route", None, {}),
    ("set_offload", "vxlan_checksum_offload", "vxlan", {}),
    ("clear_node_address", "node_renamed", "ipip", {"podnet_allow_r3": True}),
    ("delete_link", "vxlan_conflicting_device", None, {"podnet_delete_interface": True}),
    ("wait", "vxlan_fdb_or_neigh_drift.hung", None, {}),
    ("set_node_address", "node_mask_32", "ipip", {"podnet_allow_r3": True}),
    ("delete_block_affinity", "affinity_without_block", None, {"podnet_allow_r3": True}),
    ("delete_block_affinity", "blackhole_wrong_block.two_owners", "ipip", {"podnet_allow_r3": True}),
    ("create_pool", "pool_outside_cluster_cidr", "noencap", {"podnet_allow_r3": True}),
    ("set_felix_backend", "iptables_backend_split.elsewhere", "policed-nft", {"podnet_allow_r3": True}),
    ("set_autodetection", "node_ip_wrong_nic", None, {"podnet_allow_r3": True}),  # the last one of its fault: the lab detects otherwise from then on
    ("set_autodetection", "node_ip_wrong_nic", "operator", {"podnet_allow_r3": True}),  # in the Installation: the DaemonSet is written over
    ("recreate_pod", "pod_side_broken", None, {}),
    ("recreate_pod", "pod_side_broken.replicaset", "ipip", {}),
    ("recreate_pod", "duplicate_pod_ip", None, {}),
    ("recreate_pod", "tunnel_ip_equals_pod_ip.pod", None, {}),
    ("recreate_pod", "used_not_allocated", None, {}),
    ("restart_calico_node", "tunnel_ip_equals_pod_ip", None, {}),
    ("restart_calico_node", "duplicate_tunnel_ip", None, {}),
    ("restart_calico_node", "tunnel_address_missing_or_mismatch.device", None, {}),
    ("restart_calico_node", "felix_not_ready", None, {}),
    ("restart_calico_node", "cni_unauthorized", None, {}),
    ("restart_kube_controllers", "kube_controllers_down", "noencap", {}),
    ("restart_typha", "stale_typha_data", None, {"podnet_at_once": True}),
    ("restart_typha", "typha_unreachable.not_ready", None, {}),
    ("delete_route", "remote_block_route_missing_bird_has_it.host_route", None, {}),
    ("delete_route", "remote_block_route_missing_bird_has_it.unlearned", None, {}),
    ("delete_route", "route_wrong_encap", None, {}),
    ("set_sysctl", "proxy_arp_or_forwarding_cleared.proxy_arp", None, {}),
    ("set_sysctl", "proxy_arp_or_forwarding_cleared.forwarding", None, {}),
    ("set_sysctl", "rp_filter_strict_underlay", None, {}),
    ("restart_calico_node", "dataplane_lags_intent", None, {}),
    ("restart_calico_node", "unknown_interface_drop", None, {}),
    ("restart_calico_node", "policy_not_enforced", None, {}),
    ("restart_calico_node", "nat_outgoing_missing", None, {}),
    ("restart_calico_node", "local_pod_route_missing", None, {}),
    ("restart_calico_node", "pod_route_wrong_iface", None, {}),
    ("restart_calico_node", "felix_owned_route_missing", None, {}),
    ("restart_calico_node", "vxlan_fdb_or_neigh_drift.fdb", None, {}),
    ("restart_calico_node", "bird_down_or_config_rejected.killed", None, {}),
    ("recreate_pod", "dns_unanswered", None, {}),
    ("set_flannel_address", "flannel_public_ip_wrong", "flannel", {"podnet_allow_r3": True}),
    ("add_route", "flannel_peer_route_missing.vxlan", "flannel", {}),
    ("set_fdb", "flannel_vtep_stale.fdb", "flannel", {}),
    ("set_neighbour", "flannel_vtep_stale.neighbour", "flannel", {}),
    ("set_bridge_port", "veth_not_on_bridge", "flannel", {}),
    ("set_bridge_port", "bridge_port_disabled", None, {}),
    ("restart_flannel", "flannel_vtep_stale.recreated", None, {}),
    ("restart_flannel", "flanneld_not_running", "flannel", {}),
    ("restart_flannel", "flannel_device_down", None, {}),
    ("restart_flannel", "flannel_device_missing", None, {}),
    ("restart_flannel", "flannel_vtep_stale.mac", None, {}),
    ("restart_flannel", "subnet_env_missing", None, {}),
    ("set_link_up", "bridge_down", None, {}),
]
PROVEN = {fault for _remedy, fault, mode, _given in CASES if mode is not None}  # faults that `make test` diagnoses where it repairs them
