#!/usr/bin/python

# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: route_info
short_description: A node's routes, policy rules and route look-ups
version_added: 1.0.0
description:
  - Reads the routes of all tables and the policy rules from the kernel, and asks it which way packets would go.
  - It needs no program on the node and no root.
author:
  - podnet.doctor contributors (@podnet)
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.node
  - podnet.doctor._attributes.actiongroup_nodes
requirements:
  - Python 3.9 or newer on the node
  - pyroute2 0.9.1 or newer on the controller (it travels with the call) or on the node
options:
  family:
    description: Only entries of this address family.
    type: str
    choices: [inet, inet6]
  table:
    description: Only routes of the table with this number. The main table is 254.
    type: int
  dst:
    description: Only routes to exactly this prefix. An address alone means itself as a /32 or /128, V(default) the default route.
    type: str
  dev:
    description: Only routes through this link.
    type: str
  protocol:
    description: Only routes of this origin, such as V(bird), V(kernel), V(static), or V(80) (Felix).
    type: str
  flows:
    description: Packets that the kernel is asked about, with the same question that C(ip route get) asks.
    type: list
    elements: dict
    default: []
    suboptions:
      dst:
        description: The destination address.
        type: str
        required: true
      src:
        description: The source address.
        type: str
      iif:
        description: The link through which the packet comes in. Without it, the packet is the node's own.
        type: str
      oif:
        description: The link through which the packet has to leave.
        type: str
      mark:
        description: The packet's mark.
        type: int
      protocol:
        description: The packet's protocol, for policy rules that look at it.
        type: str
        choices: [tcp, udp, icmp]
      sport:
        description: Its source port.
        type: int
      dport:
        description: Its destination port.
        type: int
  timeout:
    description: The number of seconds after which the call ends.
    type: float
    default: 15
  pyroute2:
    description:
      - The copy of pyroute2 that is used if the node has none. The action sets it.
      - It is imported from memory and never written to the node's disk.
    type: str
seealso:
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: The routes that BIRD made
  podnet.doctor.route_info:
    protocol: bird
  register: this

- name: Which way a pod's packet to another node would go
  podnet.doctor.route_info:
    flows:
      - dst: 10.244.1.7
        src: 10.244.0.5
        iif: cali94639384039
  register: this
"""

RETURN = r"""
routes:
  description: The routes that fit.
  returned: success
  type: list
  elements: dict
  contains:
    family:
      description: The address family.
      type: str
    table:
      description: The number of the table.
      type: int
    type:
      description: The kind of route, such as V(unicast) or V(blackhole).
      type: str
    dst:
      description: The prefix, always with its length.
      type: str
    gateway:
      description: The next hop.
      type: str
      returned: the route has one next hop with an address
    dev:
      description: The link.
      type: str
      returned: the route has one next hop
    nexthops:
      description: The next hops with C(gateway), C(dev), C(weight), and C(flags).
      type: list
      elements: dict
      returned: the route has several
    protocol:
      description: Who made it.
      type: str
    scope:
      description: Its scope.
      type: str
    metric:
      description: Its priority, the lower the better.
      type: int
    prefsrc:
      description: The source address that it suggests.
      type: str
      returned: the route has one
    mtu:
      description: The MTU that it sets.
      type: int
      returned: the route has one
    flags:
      description: Its flags, such as V(onlink) or V(linkdown).
      type: list
      elements: str
  sample:
    - {"family": "inet", "table": 254, "type": "unicast", "dst": "10.244.1.0/26", "gateway": "192.0.2.12", "dev": "tunl0",
       "protocol": "bird", "scope": "global", "metric": 1024, "flags": ["onlink"]}
rules:
  description: The policy rules.
  returned: success
  type: list
  elements: dict
  sample:
    - {"family": "inet", "priority": 32766, "table": 254, "action": "to_tbl"}
lookups:
  description: The asked flows, each with C(route), the kernel's answer or its error.
  returned: success
  type: list
  elements: dict
  sample:
    - {"dst": "10.244.1.7", "route": {"type": "unicast", "gateway": "192.0.2.12", "dev": "tunl0", "table": 254,
       "dst": "10.244.1.7", "match": {"dst": "10.244.1.0/26", "table": 254, "protocol": "bird", "metric": 1024}}}
    - {"dst": "10.244.9.1", "route": {"error": "Network is unreachable", "errno": 101}}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _doors


def main() -> None:
    """Read the routes."""
    _doors.route_info(AnsibleModule(argument_spec=_doors.ROUTE_SPEC, supports_check_mode=True))


if __name__ == "__main__":
    main()
