#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_repair
short_description: Make one small, exact change to a node's network state
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Carries out one remedy of a plan on a node, over netlink or in C(/proc/sys). It first looks whether anything has to be done,
    so a second run changes nothing.
  - It refuses what would break more than it mends. An address stays where its interface carries a route of somebody, or an established
    TCP connection ends at it (such as this SSH session). A route stays that is BIRD's, Felix's or the kernel's own.
  - The role P(podnet.doctor.remediate#role) calls it with what a plan says, after approval.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.node
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  remedy:
    description: What to do.
    type: str
    required: true
    choices: [add_route, delete_address, delete_link, delete_neighbour, delete_route, set_bridge_port, set_fdb, set_link_up, set_neighbour, set_sysctl]
  parameters:
    description:
      - C(ifname) and C(address) with its prefix length for V(delete_address); C(ifname) for V(delete_link) and V(set_link_up);
        C(dst) and C(dev) for V(delete_neighbour); C(route), as the node document holds it, for V(delete_route); C(path) below C(/proc/sys) and C(value)
        for V(set_sysctl).
      - C(ifname) of a veth and C(master), the bridge of the pods, for V(set_bridge_port).
      - For the VXLAN device C(dev) of flannel or Calico, C(dst) and C(gateway) for V(add_route), C(mac) and C(dst) for V(set_fdb), and C(dst) and
        C(lladdr) for V(set_neighbour).
    type: dict
    required: true
  timeout:
    description: Seconds that the change may take.
    type: float
    default: 15.0
  pyroute2:
    description: A packed copy of pyroute2. The action sets it.
    type: str
seealso:
  - module: podnet.doctor.plan
"""

EXAMPLES = r"""
- name: Take the stray address away
  podnet.doctor.node_repair:
    remedy: delete_address
    parameters:
      ifname: br0
      address: 192.188.1.1/24
  become: true

- name: Forward packets again
  podnet.doctor.node_repair:
    remedy: set_sysctl
    parameters:
      path: net/ipv4/ip_forward
      value: "1"
  become: true
"""

RETURN = r"""
before:
  description: What was found, as C(ip) or C(sysctl) would print it; empty if nothing had to be changed.
  type: str
  returned: success
  sample: 192.188.1.1/24 dev br0
after:
  description: What is there now; empty if it was deleted.
  type: str
  returned: success
  sample: ""
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _node_common, _repairs
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, sentence


def main() -> None:
    """Carry out one remedy."""
    module = AnsibleModule(
        argument_spec={
            "remedy": {"type": "str", "required": True, "choices": sorted(_repairs.REMEDIES)},
            "parameters": {"type": "dict", "required": True},
            "timeout": {"type": "float", "default": 15.0},
            "pyroute2": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    _node_common.need_root(module, "the network state")
    _node_common.load_pyroute2(module)
    try:
        result = _repairs.carry_out(module.params["remedy"], module.params["parameters"], Deadline(module.params["timeout"]), module.check_mode)
    except _repairs.Refused as error:
        module.fail_json(msg=f"refused: {error}", refused=True)
    except OSError as error:
        module.fail_json(msg=f"{module.params['remedy']} failed: {sentence(error)}")
    if module._diff and result["changed"]:
        result["diff"] = {"before": result["before"] + "\n" if result["before"] else "", "after": result["after"] + "\n" if result["after"] else ""}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
