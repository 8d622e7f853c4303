#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: silent_nodes_info
short_description: Read through the Kubernetes API what nodes that gave no answer would have told
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - For each node of the question on whose host M(podnet.doctor.node_info) brought nothing back (no SSH, not in the inventory), programs of
    calico-node's own container are run through the API (C(pods/exec)), where these credentials may. That container shares the node's network
    namespace. Only C(ip), C(bridge), C(birdcl), C(iptables-save), C(ipset), C(nft), C(grep), C(cat) and C(calico-node -felix-live) are run, to read.
  - Of nodes that cannot be read like that, a CalicoNodeStatus tells the BGP sessions, if somebody has made one and it is up to date.
  - Nothing that was learnt like this makes a cause certain.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.actiongroup_podnet
  - podnet.doctor._kubernetes
options:
  question:
    description: The registered result of M(podnet.doctor.question).
    type: dict
    required: true
  exec:
    description: Whether commands may be run in calico-node's containers.
    type: bool
    default: true
  timeout:
    description: Seconds that all of it may take.
    type: float
    default: 20.0
seealso:
  - module: podnet.doctor.node_info
  - module: podnet.doctor.verdict
"""

EXAMPLES = r"""
- name: Read what silent nodes would have told
  podnet.doctor.silent_nodes_info:
    question: "{{ asked }}"
  run_once: true
  delegate_to: localhost
  register: diagnose_silent
"""

RETURN = r"""
documents:
  description: The node documents, packed, by node.
  type: dict
  returned: success
  sample: {}
reasons:
  description: Why there is none, by node, as half a sentence that follows the node's name.
  type: dict
  returned: success
  sample: {"k8s07": "is not Ready, so that nothing can be run there through its kubelet either"}
"""
