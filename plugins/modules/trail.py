#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: trail
short_description: Write down what a remediation did, and say what came of it
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Appends a line of JSON to the audit trail that M(podnet.doctor.plan) began with the plan, beside the report.
  - With O(event=outcome) it compares the plan with the diagnosis after it. The outcome is V(repaired) (the causes are gone, and packets were seen to
    cross), V(partly) (the causes are gone, but something else is wrong), or V(not repaired).
  - Runs on the controller.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.actiongroup_podnet
  - podnet.doctor._kubernetes
options:
  path:
    description: The trail, RV(podnet.doctor.plan#module:trail_path).
    type: path
    required: true
  event:
    description: What is to be written down.
    type: str
    required: true
    choices:
      approval: Somebody typed yes.
      step: A step of the plan was carried out, or tried.
      outcome: The diagnosis after the last step.
      back: What did not help was taken back.
  step:
    description: With O(event=step), the action of the plan.
    type: dict
  results:
    description: With O(event=step), what its tasks registered, by any name. With O(event=back), as C(back), what the loop over the ways back registered.
    type: dict
    default: {}
  plan:
    description: With O(event=outcome), the plan.
    type: path
  report:
    description: With O(event=outcome), the report of the diagnosis after it.
    type: path
  trouble:
    description: With O(event=outcome), why no further step was taken.
    type: str
    default: ""
  successors:
    description: With O(event=outcome), of each pod that was made again, V(namespace/name), the one that came in its place.
    type: dict
    default: {}
  events:
    description:
      - With O(event=outcome), write a Kubernetes Event (reason C(PodnetRepair), namespace C(default)) on each node of the plan, if this user may create events.
    type: bool
    default: true
  timeout:
    description: Seconds that the API may take.
    type: float
    default: 20.0
seealso:
  - module: podnet.doctor.plan
"""

EXAMPLES = r"""
- name: Say what came of the plan
  podnet.doctor.trail:
    path: "{{ plan.trail_path }}"
    event: outcome
    plan: "{{ plan.plan_path }}"
    report: "{{ diagnose_report.report_path }}"
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
outcome:
  description: What came of the plan.
  type: str
  returned: O(event=outcome)
  sample: repaired
left:
  description: Causes of the plan that are still found, each with its node.
  type: list
  elements: str
  returned: O(event=outcome)
others:
  description: Causes on the path that the plan does not have, each with its node.
  type: list
  elements: str
  returned: O(event=outcome)
event_refused:
  description: Why no Kubernetes Event was written.
  type: str
  returned: O(event=outcome), and if it was not
said:
  description: The outcome as a sentence, for where it is an error.
  type: str
  returned: O(event=outcome)
"""
