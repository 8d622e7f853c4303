#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Say whether a diagnosis would find its way to the nodes and the API
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Composes what the tasks of the role P(podnet.doctor.preflight#role) registered on each host (C(preflight_ssh), C(preflight_root),
    C(preflight_node)) and what the Kubernetes API answers into one line for each, with the fix for what is missing.
  - A host must be the machine that the API's node of that name is, by machine-id or system UUID.
  - Runs on the controller and only reads.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.actiongroup_podnet
  - podnet.doctor._kubernetes
options:
  fail_on:
    description: With V(finding) the task fails if something is missing.
    type: str
    choices: [never, finding]
    default: finding
  timeout:
    description: Seconds that the API may take.
    type: float
    default: 20.0
seealso:
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: Say what is missing, and go on
  podnet.doctor.preflight:
    fail_on: never
  run_once: true
  delegate_to: localhost
  register: preflight_answer
"""

RETURN = r"""
ready:
  description: Whether nothing is missing.
  type: bool
  returned: success
lines:
  description: The API and each node that was asked, or that nobody can ask.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The host of the inventory, or V(API).
      type: str
      returned: always
    node:
      description: The node of the API that it is.
      type: str
      returned: always
    ok:
      description: What is well.
      type: list
      elements: str
      returned: always
    problems:
      description: What is missing.
      type: list
      elements: dict
      returned: always
      sample:
        - problem: "become: Missing sudo password"
          fix: allow sudo without a password, or run with --ask-become-pass
"""
