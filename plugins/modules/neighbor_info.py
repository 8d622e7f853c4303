#!/usr/bin/python

# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: neighbor_info
short_description: A node's neighbours and forwarding database
version_added: 1.0.0
description:
  - Reads the ARP and NDP tables and, if asked, the forwarding databases of bridges and VXLAN devices from the kernel.
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
options:
  family:
    description: Only entries of this address family.
    type: str
    choices: [inet, inet6]
  dev:
    description: Only entries of this link.
    type: str
  state:
    description: Only neighbours in one of these states, such as V(FAILED) or V(PERMANENT).
    type: list
    elements: str
  fdb:
    description: Read the forwarding databases too.
    type: bool
    default: false
  timeout:
    description: The number of seconds after which the call ends.
    type: float
    default: 15
seealso:
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: Neighbours that do not answer
  podnet.doctor.neighbor_info:
    state: [FAILED, INCOMPLETE]
  register: this

- name: The other ends of Calico's VXLAN
  podnet.doctor.neighbor_info:
    dev: vxlan.calico
    fdb: true
  register: this
"""

RETURN = r"""
neighbours:
  description: The neighbours that fit.
  returned: success
  type: list
  elements: dict
  contains:
    family:
      description: The address family.
      type: str
    dst:
      description: The neighbour's address.
      type: str
    dev:
      description: The link.
      type: str
    lladdr:
      description: Its link-layer address.
      type: str
      returned: it is known
    state:
      description: The states, as C(ip neigh) names them.
      type: list
      elements: str
    flags:
      description: Its flags, such as V(router) or V(proxy).
      type: list
      elements: str
      returned: it has some
  sample:
    - {"family": "inet", "dst": "192.0.2.12", "dev": "eth0", "lladdr": "52:54:00:6f:a7:2c", "state": ["REACHABLE"]}
fdb:
  description: The entries of the forwarding databases.
  returned: O(fdb=true)
  type: list
  elements: dict
  sample:
    - {"mac": "66:1c:4e:98:15:45", "ifname": "vxlan.calico", "dst": "192.0.2.12", "state": "permanent", "flags": ["self"]}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _doors


def main() -> None:
    """Read the neighbours."""
    _doors.neighbor_info(AnsibleModule(argument_spec=_doors.NEIGHBOR_SPEC, supports_check_mode=True))


if __name__ == "__main__":
    main()
