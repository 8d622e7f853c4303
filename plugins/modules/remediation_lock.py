#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: remediation_lock
short_description: Keep two remediations of one cluster apart
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Holds the Lease C(podnet-doctor) in the namespace kube-system, so that a second remediation of the cluster is refused with the name of who is at work.
  - A lease ends by itself after O(seconds), so that one that was interrupted locks nobody out for good.
  - Where the credentials have no right to leases, it warns and goes on.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.actiongroup_podnet
  - podnet.doctor._kubernetes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  state:
    description: Whether to hold the lease or to give it back.
    type: str
    choices: [present, absent]
    default: present
  plan:
    description: Id of the plan that is carried out. It is part of the holder's name.
    type: str
    required: true
  seconds:
    description: After how long the lease ends by itself.
    type: int
    default: 600
  without_api:
    description: Warn and go on where the API does not answer. Changes of one node are kept apart by the node itself.
    type: bool
    default: false
  timeout:
    description: Seconds that the API may take.
    type: float
    default: 20.0
seealso:
  - module: podnet.doctor.plan
"""

EXAMPLES = r"""
- name: Be the only one
  podnet.doctor.remediation_lock:
    plan: "{{ plan.plan_id }}"
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
locked:
  description: Whether the lease is held now.
  type: bool
  returned: success
holder:
  description: Who holds it.
  type: str
  returned: RV(locked) is true
  sample: ann at ops01, plan 9f400a60fa4c
"""
