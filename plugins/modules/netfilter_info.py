#!/usr/bin/python

# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: netfilter_info
short_description: A node's packet filters with their counters
version_added: 1.0.0
description:
  - Reads the rules and chains of iptables, of both of its backends and both address families, and the tables of nftables that iptables does not own.
  - It starts C(iptables-save), C(ip6tables-save) and C(nft), and these only where the kernel has what they would otherwise load.
author:
  - podnet.doctor contributors (@podnet)
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.node
  - podnet.doctor._attributes.actiongroup_nodes
requirements:
  - Python 3.9 or newer on the node
  - iptables and nft on the node, where its kernel has rules of them
options:
  family:
    description: Only rules of iptables of this address family.
    type: str
    choices: [inet, inet6]
  table:
    description: Only rules of this table of iptables, such as V(filter).
    type: str
  chain:
    description: Only rules of these chains of iptables.
    type: list
    elements: str
  timeout:
    description: The number of seconds after which the call ends.
    type: float
    default: 15
notes:
  - Needs to be root on the node.
seealso:
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: What comes to the node itself
  podnet.doctor.netfilter_info:
    family: inet
    table: filter
    chain: [INPUT]
  become: true
  register: this

- name: Rules that have dropped something
  ansible.builtin.debug:
    msg: "{{ this.rules | selectattr('target', 'in', ['DROP', 'REJECT']) | selectattr('packets', '>', 0) }}"
"""

RETURN = r"""
chains:
  description: The chains of iptables that fit.
  returned: success
  type: list
  elements: dict
  contains:
    backend:
      description: The backend, V(nft) or V(legacy).
      type: str
    family:
      description: The address family.
      type: str
    table:
      description: The table.
      type: str
    chain:
      description: The chain.
      type: str
    policy:
      description: What becomes of a packet at the end of the chain; null for a chain that only rules lead to.
      type: str
    packets:
      description: How many packets the policy has decided about.
      type: int
  sample:
    - {"backend": "nft", "family": "inet", "table": "filter", "chain": "INPUT", "policy": "ACCEPT", "packets": 0}
rules:
  description: The rules of iptables that fit, in their order.
  returned: success
  type: list
  elements: dict
  contains:
    backend:
      description: The backend, V(nft) or V(legacy).
      type: str
    family:
      description: The address family.
      type: str
    table:
      description: The table.
      type: str
    chain:
      description: The chain.
      type: str
    line:
      description: The rule, as C(iptables-save) prints it.
      type: str
    target:
      description: The target, or the chain that it leads to; null for a rule that only counts.
      type: str
    packets:
      description: How many packets it has matched.
      type: int
    bytes:
      description: How many bytes these had.
      type: int
    understood:
      description: Whether every word of it is known to this collection.
      type: bool
  sample:
    - {"backend": "nft", "family": "inet", "table": "filter", "chain": "INPUT", "line": "-A INPUT -p tcp -m tcp --dport 179 -j DROP",
       "target": "DROP", "packets": 30, "bytes": 1756, "understood": true}
nft:
  description: The tables of nftables that iptables does not own. C(json) is what C(nft -j list table) prints, C(error) is why it could not.
  returned: success
  type: list
  elements: dict
  sample:
    - {"family": "inet", "name": "firewalld", "json": "{\"nftables\": []}"}
ipsets:
  description:
    - The IP sets that rules of iptables ask for. C(members) is what C(ipset save) prints of them.
    - Of a set with more than 1000 members, only those are here that hold an address of the node, which then are its C(cut).
  returned: success
  type: list
  elements: dict
  sample:
    - {"name": "cali40this-host", "type": "hash:ip", "family": "inet", "members": ["10.2.7.201", "127.0.0.1"]}
ipvs:
  description: The virtual servers of IPVS with their real servers, empty where the kernel has no ip_vs loaded. Virtual servers by mark are left out.
  returned: success
  type: list
  elements: dict
  sample:
    - {"protocol": "tcp", "address": "10.96.0.1", "port": 443, "scheduler": "rr", "persistent": false,
       "servers": [{"address": "10.2.7.201", "port": 6443, "forward": "Masq", "weight": 1, "active": 3, "inactive": 0}]}
errors:
  description: What could not be read, one sentence each.
  returned: success
  type: list
  elements: str
  sample: ["there is no iptables-save for legacy"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _doors


def main() -> None:
    """Read the packet filters."""
    _doors.netfilter_info(AnsibleModule(argument_spec=_doors.NETFILTER_SPEC, supports_check_mode=True))


if __name__ == "__main__":
    main()
