#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Make a repair plan from a report
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Orders the remedies of the named causes, with blast radius, preconditions, the fact that must turn right and the way back, shows the plan and records it
    beside the report.
  - The id of a plan is a hash of causes, objects, exact changes and preconditions, so the same fault gives the same id in the next run.
  - Runs on the controller and carries nothing out.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
options:
  question:
    description: The registered result of M(podnet.doctor.question).
    type: dict
    required: true
  report:
    description: The report, as M(podnet.doctor.verdict) wrote it.
    type: path
    required: true
  report_dir:
    description: Folder on the controller in which the plan is recorded.
    type: path
    default: reports
  approve:
    description: Id of the plan that somebody approved. The task fails if what is found now gives another plan.
    type: str
    default: ""
  auto_approve:
    description:
      - What needs no further approval, a list of classes such as V([R1]), or a dictionary with C(classes), C(causes), C(not_causes), C(nodes), C(not_nodes)
        (lists of names) and C(hours) (such as V(22:00-06:00), in the controller's time). A plan is approved if each of its steps is.
      - R3 and R4 cannot be approved like this.
    type: raw
  delete_interface:
    description: Take the whole interface of a stray address away instead of the address. That cannot be taken back.
    type: bool
    default: false
  at_once:
    description: Do not wait for what would heal by itself.
    type: bool
    default: false
  guard:
    description: Seconds, beyond the time for the verification of a step, after which a node takes a change back by itself that nobody confirmed.
    type: float
    default: 60.0
  allow_r3:
    description: Change objects of the API, too, where a remedy of class R3 says exactly how. Otherwise they are advice.
    type: bool
    default: false
  restart_all:
    description:
      - Restart calico-node of all nodes, too, one after the other. The plan ends at the first node that does not come back.
    type: bool
    default: false
  persistent:
    description:
      - Write settings into C(/etc/sysctl.d/99-podnet-doctor.conf) of the node, too, so that they outlive a boot.
      - Settings of one interface, which are made anew with it, are not written.
      - Take interfaces of the pod network from NetworkManager, in C(/etc/NetworkManager/conf.d/99-podnet-doctor.conf), where it manages them.
    type: bool
    default: false
  restart_wait:
    description: The most seconds that a restarted component has to come back. V(0) is what the step itself says.
    type: float
    default: 0.0
seealso:
  - module: podnet.doctor.verdict
  - module: podnet.doctor.node_repair
"""

EXAMPLES = r"""
- name: Show what would be done
  podnet.doctor.plan:
    question: "{{ asked }}"
    report: "{{ verdict.report_path }}"
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
plan_id:
  description: Id of the plan.
  type: str
  returned: success
  sample: 9f400a60fa4c
plan_path:
  description: The plan as a file.
  type: str
  returned: success
  sample: reports/plan-9f400a60fa4c.json
approved:
  description: Whether O(approve) names this plan, or O(auto_approve) covers each of its steps.
  type: bool
  returned: success
approved_by:
  description: V(id), V(policy), or empty.
  type: str
  returned: success
  sample: policy
objections:
  description: Why O(auto_approve) does not approve the plan, if it was given.
  type: list
  elements: str
  returned: success
trail_path:
  description: The audit trail, which begins with the plan. Empty in check mode and where there is nothing to do.
  type: str
  returned: success
  sample: reports/trail-9f400a60fa4c-20261121T230501Z-4711.jsonl
actions:
  description: The steps, each with C(remedy), C(parameters), C(node), C(host), C(class), C(change), C(blast_radius), C(verify) and C(way_back).
  type: list
  elements: dict
  returned: success
refused:
  description: What is advice only, or cannot be done, with the reason.
  type: list
  elements: dict
  returned: success
outcome:
  description: The outcome of the report.
  type: str
  returned: success
  sample: broken
"""
