#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: answers_save
short_description: Keep the answers of nodes, to be judged by another run
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - What M(podnet.doctor.node_info) registered as C(diagnose_node) on the hosts of this play is written to a store, one document for each node, so that it does
    not matter how the nodes were divided among runs, and a run that is repeated for some hosts fills the holes.
  - Answers that did not come are kept, too, with the reason. A play without any node of the cluster fails.
  - Runs on the controller.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._store
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
options:
  question:
    description: The registered result of M(podnet.doctor.question) with O(podnet.doctor.question#module:audit=true).
    type: dict
    required: true
seealso:
  - module: podnet.doctor.answers_load
"""

EXAMPLES = r"""
- name: Keep the answers of this slice
  podnet.doctor.answers_save:
    question: "{{ diagnose_question }}"
    store: https://files.example.org/podnet
    store_headers:
      Authorization: "Bearer {{ token }}"
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
nodes:
  description: How many nodes' answers were kept.
  type: int
  returned: always
silent:
  description: How many of them are only the reason why there is none.
  type: int
  returned: always
bytes:
  description: How much was written.
  type: int
  returned: always
"""
