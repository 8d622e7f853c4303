#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: answers_load
short_description: Take the answers of nodes that other runs have kept
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - What M(podnet.doctor.answers_save) has written for the nodes of the cluster, however many runs that were. A node whose answer is not there, or older than
    O(max_age), is in the report as not checked.
  - Fails where no answer is there at all.
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
  max_age:
    description: Seconds after which an answer is too old to be judged with the others.
    type: float
    default: 3600.0
seealso:
  - module: podnet.doctor.answers_save
"""

EXAMPLES = r"""
- name: Take what the slices have kept
  podnet.doctor.answers_load:
    question: "{{ asked }}"
    store: /var/lib/podnet/store
  run_once: true
  delegate_to: localhost
  register: asked
"""

RETURN = r"""
stored:
  description: Where the answers are, and how old they may be. With it come all keys of O(question), so that M(podnet.doctor.verdict) takes this result instead.
  type: dict
  returned: success
answers:
  description: How many nodes' answers are there.
  type: int
  returned: success
lost:
  description: How many nodes have none, or one that is too old.
  type: int
  returned: success
"""
