#!/usr/bin/python

# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: veth_info
short_description: A node's veth links and what is at their other end
version_added: 1.0.0
description:
  - Tells for each host end of a veth pair, such as Calico's C(cali) links, which network namespace it leads to, which pod and
    containers that is, and what the other end looks like.
  - Everything is read from the kernel, so it is the same for docker, containerd and CRI-O.
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
  names:
    description: Only the links with these names. The default is all.
    type: list
    elements: str
  timeout:
    description: The number of seconds after which the call ends.
    type: float
    default: 15
  pyroute2:
    description:
      - The copy of pyroute2 that is used if the node has none. The action sets it.
      - It is imported from memory and never written to the node's disk.
    type: str
notes:
  - Needs to be root on the node, because the network namespaces of pods are root's.
seealso:
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: Which pod is behind this link
  podnet.doctor.veth_info:
    names: [cali94639384039]
  become: true
  register: this
"""

RETURN = r"""
veths:
  description: The links.
  returned: success
  type: list
  elements: dict
  contains:
    ifname:
      description: The name.
      type: str
    ifindex:
      description: The index.
      type: int
    flags:
      description: Its flags.
      type: list
      elements: str
    mtu:
      description: Its MTU.
      type: int
    operstate:
      description: Its operational state.
      type: str
    address:
      description: Its link-layer address.
      type: str
    master:
      description: The bridge that it is a port of.
      type: str
      returned: it is one
    link_index:
      description: The index of the other end, in the other namespace.
      type: int
      returned: the other end is in another namespace
    link_netnsid:
      description: The number by which the kernel knows the other namespace.
      type: int
      returned: the other end is in another namespace
    sandbox:
      description: The other namespace, with C(netns) (its inode), C(pids), C(container_ids), and C(pod_uid).
      type: dict
      returned: the other namespace was found
    peer:
      description: The other end as a link, with its C(addresses).
      type: dict
      returned: the other namespace was found
  sample:
    - {"ifname": "cali94639384039", "ifindex": 4, "mtu": 1480, "operstate": "UP", "address": "ee:ee:ee:ee:ee:ee",
       "link_index": 2, "link_netnsid": 0,
       "sandbox": {"netns": 4026532501, "nsid": 0, "pids": [812], "pod_uid": "fe9689c8-cb5c-4f39-9f1b-6c68482c7ed3"},
       "peer": {"ifname": "eth0", "ifindex": 2, "mtu": 1480, "operstate": "UP", "addresses": ["192.168.5.65/32"]}}
missing:
  description: The names that were asked for and are not there.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _doors


def main() -> None:
    """Read the links."""
    _doors.veth_info(AnsibleModule(argument_spec=_doors.VETH_SPEC, supports_check_mode=True))


if __name__ == "__main__":
    main()
