#!/usr/bin/python

# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: path_probe
short_description: Send marked packets from a pod and see whether they arrive
version_added: 1.0.0
description:
  - Sends a few marked ICMP echoes and TCP connects from inside a pod (or from a node), and captures them at the far end. So that
    a packet I(arrived) means that it was seen there, not that something answered.
  - A probe has three phases, each a task of its own, so that it needs no clocks that agree and works with any number of forks.
    O(phase=arm) on the node of the destination, O(phase=fire) on the node of the source, O(phase=collect) on the node of the
    destination. All three get the same O(id), from which both ends compute the marks.
  - The capture is a process of its own that keeps what it saw in memory and ends when it is collected, or at its O(limit). It
    sets no promiscuous mode, writes no file, and a filter in the kernel shows it only packets with the marks of this probe.
  - Nothing is configured. What a probe may leave is what every packet may leave, entries of the neighbour and connection tracking
    tables, a learned path MTU, and counters.
author:
  - podnet.doctor contributors (@podnet)
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.node
  - podnet.doctor._attributes.actiongroup_nodes
attributes:
  check_mode:
    details:
      - This action does not modify state. The packets are sent in check mode too.
requirements:
  - Python 3.9 or newer on the node
  - pyroute2 0.9.1 or newer on the controller (it travels with the call) or on the node
options:
  phase:
    description: What to do.
    type: str
    required: true
    choices:
      arm: Begin to capture.
      fire: Send the packets.
      collect: End the capture and return what it saw.
  id:
    description: A random name for this probe, of 16 to 64 lower-case hexadecimal digits. The same in all three phases.
    type: str
    required: true
  pod:
    description:
      - The pod to capture in or to send from. Without it, the node itself.
      - Of several ways to name it, the first that leads to a sandbox counts.
    type: dict
    suboptions:
      uid:
        description: The pod's uid.
        type: str
      container_id:
        description: The id of one of its containers or of its sandbox.
        type: str
      ifname:
        description: The host's link that leads into it.
        type: str
      ip:
        description: Its address; the host's own route to it tells the link.
        type: str
  ifnames:
    description: With O(phase=arm), links of the node to capture on as well.
    type: list
    elements: str
    default: []
  limit:
    description: With O(phase=arm), the number of seconds after which the capture ends by itself. At most 600.
    type: float
    default: 60
  dst:
    description: With O(phase=fire), the address to send to.
    type: str
  port:
    description: With O(phase=fire), the TCP port to connect to. Without it, only ICMP echoes are sent.
    type: int
  source:
    description: With O(phase=fire), the source address. The default is the one that the kernel chooses.
    type: str
  count:
    description: The number of packets of each protocol. The same in all three phases. At most 32.
    type: int
    default: 3
  wait:
    description: With O(phase=fire), how many seconds to wait for the last answer.
    type: float
    default: 2
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
  - Needs to be root on the node, because of raw sockets and the network namespaces of pods.
seealso:
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: Begin to capture in the destination
  podnet.doctor.path_probe:
    phase: arm
    id: 5f1c0b7d2a4e4c1f9d3e8a6b7c5d4e3f
    pod:
      ifname: cali1c0ffee1c0f
  delegate_to: k8s02
  become: true

- name: Send from the source
  podnet.doctor.path_probe:
    phase: fire
    id: 5f1c0b7d2a4e4c1f9d3e8a6b7c5d4e3f
    pod:
      ifname: cali94639384039
    dst: 10.244.1.7
    port: 8080
  delegate_to: k8s01
  become: true
  register: sent

- name: What the destination saw
  podnet.doctor.path_probe:
    phase: collect
    id: 5f1c0b7d2a4e4c1f9d3e8a6b7c5d4e3f
  delegate_to: k8s02
  become: true
  register: seen
"""

RETURN = r"""
armed:
  description: Whether the capture listens.
  returned: O(phase=arm)
  type: bool
  sample: true
captures:
  description: Where it listens.
  returned: O(phase=arm) and RV(armed) is true
  type: list
  elements: dict
  sample: [{"where": "host", "ifname": "cali1c0ffee1c0f"}, {"where": "pod", "ifname": null}]
fired:
  description: What was sent and what was answered, for each protocol.
  returned: O(phase=fire)
  type: list
  elements: dict
  contains:
    protocol:
      description: V(icmp) or V(tcp).
      type: str
    sent:
      description: How many packets were sent.
      type: int
    replied:
      description: How many were answered; a TCP connect that was refused is not.
      type: int
    refused:
      description: How many connects were refused. For ICMP, C(true) if raw sockets are.
      type: int
      returned: it applies
    errors:
      description: What the kernel or ICMP messages said.
      type: list
      elements: str
    error:
      description: The first of them.
      type: str
      returned: nothing was answered and there was one
    rtt:
      description: The quickest and the slowest answer in seconds.
      type: dict
      returned: something was answered
  sample:
    - {"protocol": "icmp", "sent": 3, "replied": 3, "errors": [], "rtt": {"min": 0.00012, "max": 0.0004}}
    - {"protocol": "tcp", "sent": 3, "replied": 0, "refused": 3, "errors": ["Connection refused"], "error": "Connection refused", "port": 8080}
captured:
  description: Whether there was a capture to collect from.
  returned: O(phase=collect)
  type: bool
  sample: true
seen:
  description: What was captured, for each link and protocol. An entry of zeros means that the capture worked and nothing came.
  returned: O(phase=collect)
  type: list
  elements: dict
  contains:
    where:
      description: V(pod) or V(host).
      type: str
    ifname:
      description: The link.
      type: str
    protocol:
      description: V(icmp) or V(tcp).
      type: str
    requests:
      description: How many different packets of the probe.
      type: int
    replies:
      description: How many different answers to them.
      type: int
    resets:
      description: How many connects were reset.
      type: int
    errors:
      description: How many of its echoes an ICMP error was about.
      type: int
    packets:
      description: The first packets, with C(kind), C(number), C(source), C(destination), and C(ttl).
      type: list
      elements: dict
  sample:
    - {"where": "pod", "ifname": "eth0", "protocol": "icmp", "requests": 3, "replies": 3, "resets": 0, "errors": 0, "packets": []}
carrier_changes:
  description: How often the carrier of the host's link to the pod has come and gone since it was made.
  returned: O(phase=arm) and O(phase=collect), if O(pod.ifname) is given and the link is there
  type: int
  sample: 2
reason:
  description: Why nothing could be captured or sent.
  returned: it could not
  type: str
  sample: there is no sandbox of the pod ifname cali1c0ffee1c0f on this node
hostname:
  description: The node's own name.
  returned: always
  type: str
  sample: k8s02
marks:
  description: What tells the packets of this probe from others.
  returned: always
  type: dict
  sample: {"identifier": 4097, "first_port": 40321, "last_port": 40323}
id:
  description: The probe.
  returned: always
  type: str
  sample: 5f1c0b7d2a4e4c1f9d3e8a6b7c5d4e3f
phase:
  description: The phase.
  returned: always
  type: str
  sample: collect
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _probe_options


def main() -> None:
    """One phase of a probe."""
    _probe_options.run(
        AnsibleModule(argument_spec=_probe_options.ARGUMENT_SPEC, required_if=_probe_options.REQUIRED_IF, supports_check_mode=True),
    )


if __name__ == "__main__":
    main()
