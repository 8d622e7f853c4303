#!/usr/bin/python

# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: calico_node_info
short_description: What calico-node's daemons on a node say
version_added: 1.0.0
description:
  - Asks BIRD through its control socket for its status, protocols (with BGP sessions), and routes, after C(restrict), so that this
    session cannot change anything.
  - Tells which of Calico's daemons run, since when, and what Felix says of its own liveness and readiness.
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
  bird_socket:
    description:
      - The path of BIRD's control socket, or the folder that holds C(bird.ctl) and C(bird6.ctl).
      - By default it is looked for in the usual places and where a running C(bird) process was told to serve it.
    type: path
  timeout:
    description: The number of seconds after which the call ends.
    type: float
    default: 15
notes:
  - Needs to be root on the node, because BIRD's socket is root's.
seealso:
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: Ask BIRD and Felix
  podnet.doctor.calico_node_info:
  become: true
  register: this

- name: Show the BGP sessions that are not established
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.info }}"
  loop: "{{ this.bird.ipv4.protocols | selectattr('proto', 'equalto', 'BGP') | rejectattr('info', 'equalto', 'Established') }}"
  loop_control:
    label: "{{ item.name }}"
"""

RETURN = r"""
bird:
  description: The daemons of both families under C(ipv4) and C(ipv6).
  returned: success
  type: dict
  contains:
    ipv4:
      description: What BIRD says, or C(error) with the C(reason) V(absent), V(denied), V(refused), V(timeout), V(late), or V(garbage).
      type: dict
      sample:
        socket: /var/run/calico/bird.ctl
        version: v0.3.3+birdv1.6.8
        status: {"router_id": "192.0.2.11", "message": "Daemon is up and running", "graceful_restart": null}
        protocols:
          - {"name": "Mesh_192_0_2_12", "proto": "BGP", "table": "master", "state": "up", "since": "09:28:04", "info": "Established"}
        routes:
          - {"prefix": "10.244.1.0/26", "type": "unicast", "nexthops": [{"gateway": "192.0.2.12", "dev": "eth0"}],
             "protocol": "Mesh_192_0_2_12", "since": "09:28:05", "state": "*", "preference": 100, "metric": 0}
    ipv6:
      description: The same of the daemon for IPv6.
      type: dict
      sample: {"error": "/var/run/calico/bird6.ctl: there is no control socket", "reason": "absent"}
calico:
  description: Calico's daemons.
  returned: success
  type: dict
  sample:
    nodename: k8s01
    mtu: "1480"
    felix: {"running": true, "pid": 166, "started_at": "2026-11-21T09:27:59Z", "liveness": {"status": 200}, "readiness": {"status": 200}}
    confd: {"running": true, "pid": 167, "started_at": "2026-11-21T09:27:59Z"}
    bird: {"running": true, "pid": 234, "started_at": "2026-11-21T09:28:01Z"}
    bird6: {"running": false}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _doors


def main() -> None:
    """Ask the daemons."""
    _doors.calico_node_info(AnsibleModule(argument_spec=_doors.CALICO_SPEC, supports_check_mode=True))


if __name__ == "__main__":
    main()
