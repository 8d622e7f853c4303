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
  - Carries out one remedy of a plan on a node, over netlink, in C(/proc/sys) or with BIRD. It first looks whether anything has to be done,
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
    choices:
      - add_gateway_route
      - add_route
      - delete_address
      - delete_connection
      - delete_link
      - delete_neighbour
      - delete_route
      - delete_rule
      - keep
      - leave_unmanaged
      - reload_protocol
      - restart_bird
      - restart_protocol
      - set_bridge_port
      - set_fdb
      - set_link_up
      - set_neighbour
      - set_offload
      - set_sysctl
      - take_back
  parameters:
    description:
      - C(ifname) and C(address) with its prefix length for V(delete_address); C(ifname) for V(delete_link), V(set_link_up) and V(set_offload), which makes
        the kernel compute the checksums of what this VXLAN device sends;
        C(dst) and C(dev) for V(delete_neighbour); C(route), as the node document holds it, for V(delete_route), and
        C(unused), which refuses where a TCP connection ends at an address of its interface;
        C(rule), as the node document holds it, for V(delete_rule), which deletes none but those of nm-cloud-setup; C(path) below C(/proc/sys) and C(value)
        for V(set_sysctl), and C(persistent), which writes it into C(/etc/sysctl.d/99-podnet-doctor.conf), too.
      - C(ifname) of a veth and C(master), the bridge of the pods, for V(set_bridge_port).
      - For the VXLAN device C(dev) of flannel or Calico, C(dst) and C(gateway) for V(add_route), C(mac) and C(dst) for V(set_fdb), and C(dst) and
        C(lladdr) for V(set_neighbour).
      - C(dev), the interface of the node's own address, for V(add_gateway_route).
      - For BIRD C(family) (V(ipv4) or V(ipv6)), and C(protocol), a BGP session. V(restart_protocol) restarts one that is not established,
        or, with C(since), one that has been established since then. V(reload_protocol) asks the peer of an established one for its routes again where
        the one to C(prefix) is not there; with V(out) as C(direction) it tells the peer its own again, if C(prefix) is announced to it.
        V(restart_bird) kills a BIRD that does not answer, and waits until the one answers that runit starts in its place.
      - C(interfaces), names and patterns of interfaces of the pod network, for V(leave_unmanaged), which takes them from NetworkManager in
        C(/etc/NetworkManager/conf.d/99-podnet-doctor.conf).
      - C(src), C(dst), C(sport), C(dport) and C(gone) (the end that answers by the kernel's table) of one tracked UDP flow for V(delete_connection).
      - C(kind), V(vxlan), where V(delete_link) is to delete a VXLAN device that is not Calico's.
      - C(intended), the node's Kubernetes address, for V(delete_address) and V(delete_link), which never take it away.
      - C(steps), what the change returned in RV(back), for V(take_back); C(guard), what it returned in RV(guard), for V(keep) and V(take_back).
    type: dict
    required: true
  guard:
    description:
      - Seconds after which the node itself takes the change back unless V(keep) confirms it, also where the connection broke. V(0) does without.
      - A process in a session of its own waits for it, in a scope of its own where systemd runs. It leaves nothing behind.
    type: float
    default: 0
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
back:
  description: What V(take_back) needs to undo the change; empty if nothing was changed or it cannot be undone.
  type: list
  elements: dict
  returned: success
lasting:
  description: Files and lines of the node's own configuration that name what was changed, so that it may come back from there.
  type: list
  elements: str
  returned: success
  sample: ["/etc/sysctl.d/99-hardening.conf:3"]
guard:
  description: What V(keep) needs to confirm the change; empty if nobody waits for that.
  type: str
  returned: success
  sample: 0f6c3b1a9d2e4758
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _lasting, _node_common, _repairs
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._steps import Refused


def main() -> None:
    """Carry out one remedy."""
    module = AnsibleModule(
        argument_spec={
            "remedy": {"type": "str", "required": True, "choices": sorted([*_repairs.REMEDIES, "keep", "take_back"])},
            "parameters": {"type": "dict", "required": True},
            "guard": {"type": "float", "default": 0},
            "timeout": {"type": "float", "default": 15.0},
            "pyroute2": {"type": "str", "no_log": True},
        },
        supports_check_mode=True,
    )
    _node_common.need_root(module, "the network state")
    _node_common.load_pyroute2(module)
    remedy, given, deadline = module.params["remedy"], module.params["parameters"], Deadline(module.params["timeout"])
    try:
        if remedy == "keep":
            result = _repairs.keep(given, module.check_mode)
        elif remedy == "take_back":
            result = _repairs.take_back(given, deadline, module.check_mode)
        else:
            result = _repairs.carry_out(remedy, given, deadline, module.check_mode, module.params["guard"])
    except Refused as error:
        module.fail_json(msg=f"refused: {error}", refused=True)
    except OSError as error:
        module.fail_json(msg=f"{remedy} failed: {sentence(error)}")
    result["lasting"] = _lasting.of(remedy, given)
    if module._diff and result["changed"]:
        result["diff"] = {"before": result["before"] + "\n" if result["before"] else "", "after": result["after"] + "\n" if result["after"] else ""}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
