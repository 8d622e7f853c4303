#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: verdict
short_description: Judge what was collected and write the report
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Holds the answers of the nodes, which M(podnet.doctor.node_info) registered as C(diagnose_node), C(diagnose_node_again) and C(diagnose_probe) on each host,
    against what the Kubernetes API says must be there, and names the root causes with all that they explain.
  - Runs on the controller and only reads. Nodes that gave no answer are in the report as not checked, with the reason.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
options:
  question:
    description: The registered result of M(podnet.doctor.question). Either this or O(replay).
    type: dict
  replay:
    description: Judge the documents of this bundle instead. Nothing is asked, so it needs neither a cluster nor root.
    type: path
  bundle:
    description: Write all documents into this file (zip), so that the diagnosis can be replayed elsewhere. It tells names and addresses of the cluster.
    type: path
  baseline:
    description: An earlier report or bundle. The report then lists under C(since) what changed on the path after it, oldest first.
    type: path
  final:
    description: Write and show the report. With V(false) only tell which nodes the answers point to and should be asked next.
    type: bool
    default: true
  report_dir:
    description: Folder on the controller, made if it is missing.
    type: path
    default: reports
  fail_on:
    description: With V(finding) the task fails unless the path is healthy and nothing at all was found, for pipelines.
    type: str
    choices: [never, finding]
    default: never
  quiet:
    description: Write the report without showing it.
    type: bool
    default: false
  checks:
    description:
      - Checks of your own as data. What the expression yields, if anything but null, false or empty, is a finding of that check.
    type: list
    elements: dict
    default: []
seealso:
  - module: podnet.doctor.question
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: Give the verdict, with a check of our own
  podnet.doctor.verdict:
    question: "{{ asked }}"
    report_dir: /var/lib/podnet/reports
    checks:
      - id: mtu_below_1400
        severity: warning
        message: a link with an MTU below 1400
        expression: links[?mtu < `1400`].ifname
  run_once: true
  delegate_to: localhost
  register: verdict
"""

RETURN = r"""
outcome:
  description: V(broken), V(healthy) or V(unknown). What could not be seen is never called healthy.
  type: str
  returned: always
  sample: broken
summary:
  description: The verdict in one sentence.
  type: str
  returned: when O(final=true)
causes:
  description: The root causes, those that affect the asked path first.
  type: list
  elements: dict
  returned: when O(final=true)
  sample:
    - id: node_ip_wrong_nic
      fault: F01
      confidence: certain
      node: k8s02
      summary: k8s02 announces 192.188.1.1, an address of its interface br0.
report_id:
  description: Id of the report.
  type: str
  returned: when O(final=true)
  sample: 7f3a11c0
report_path:
  description: The report as a file on the controller.
  type: str
  returned: when O(final=true)
  sample: reports/7f3a11c0.json
page_path:
  description: The report as one page of HTML, beside it.
  type: str
  returned: when O(final=true)
  sample: reports/7f3a11c0.html
packets_path:
  description: The packets that the captures kept, as a pcapng file on the controller.
  type: str
  returned: when O(final=true) and packets were kept
  sample: reports/7f3a11c0.pcapng
nodes_asked:
  description: How many nodes gave an answer.
  type: int
  returned: when O(final=true)
node_tasks:
  description: How many tasks the nodes were given, in all waves together.
  type: int
  returned: when O(final=true)
hosts:
  description: Hosts to ask next, because the answers point to them.
  type: list
  elements: str
  returned: when O(final=false)
probes:
  description: Arguments of M(podnet.doctor.path_probe) for each host and phase.
  type: dict
  returned: when O(final=false)
ask:
  description: Arguments of M(podnet.doctor.node_info) for each of RV(hosts).
  type: dict
  returned: when O(final=false)
"""
