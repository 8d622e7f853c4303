#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verify
short_description: Ask one node again whether given findings are gone
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Reads the node and the Kubernetes API again and judges them as M(podnet.doctor.verdict) does. RV(done) is true only if none of the findings is left on
    this node, and everything that they rest on could be read.
  - It only reads, and sends what O(packets) and O(answered) say.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.actiongroup_podnet
  - podnet.doctor._attributes.node
  - podnet.doctor._kubernetes
options:
  restart:
    description:
      - Say instead whether calico-node of this node may be restarted as things are now. RV(done) is false if the node would come back with another address,
        or if it is the only route reflector, and RV(left) says so.
    type: bool
    default: false
  packets:
    description:
      - Also send packets from this node, to pods and nodes that are other ones, and from the question's pod here to the other end. Which of them are answered
        is RV(answered).
    type: bool
    default: false
  answered:
    description: The packets that were answered before, RV(answered) of an earlier task. RV(done) is true only if they are answered again.
    type: list
    elements: str
    default: []
  others:
    description: Which other findings on this node count, too, unless they are in O(known).
    type: str
    choices: [none, critical, any]
    default: critical
  known:
    description: Ids of findings on this node that are of other causes, and are not waited for.
    type: list
    elements: str
    default: []
  successors:
    description:
      - Of each pod that was made again since O(question) was resolved, as the question names it, the V(namespace/name) of the one that came in its place.
    type: dict
    default: {}
  question:
    description: The registered result of M(podnet.doctor.question).
    type: dict
    required: true
  node:
    description: Kubernetes name of the node that this task runs on.
    type: str
    required: true
  findings:
    description: Ids of findings of a report.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds that the node, or the API, may take.
    type: float
    default: 20.0
  wait_seconds:
    description: Look again, every two seconds, until nothing of it is left or so many seconds have passed.
    type: float
    default: 0.0
"""

EXAMPLES = r"""
- name: Wait until the node is right again
  podnet.doctor.verify:
    question: "{{ asked }}"
    node: k8s02
    findings: [node.address.wrong-1f0c2a3b]
    wait_seconds: 60
  register: verified
  become: true
"""

RETURN = r"""
done:
  description: Whether nothing of it is left.
  type: bool
  returned: always
answered:
  description: The packets that were answered.
  type: list
  elements: str
  returned: O(packets=true), and the node could be read
  sample: [node/k8s02 > shop/web-0 icmp]
attempts:
  description: How often it was looked.
  type: int
  returned: always
left:
  description: Evidence of what is left, or what could not be read.
  type: list
  elements: str
  returned: always
"""
