#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: question
short_description: Resolve what is asked to pods and nodes, and say which hosts to ask
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Reads from the Kubernetes API what a diagnosis of one path needs, resolves both ends, matches nodes with hosts of the inventory, and returns the
    arguments with which M(podnet.doctor.node_info) is to be called on each of them.
  - Runs on the controller and only reads. An unknown pod, a pod without an address and the like end in one sentence that says what to do.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.actiongroup_podnet
  - podnet.doctor._kubernetes
options:
  report:
    description: A report of an earlier diagnosis. What it was about is asked again, where the options below do not say otherwise.
    type: path
  baseline:
    description: An earlier report or bundle that M(podnet.doctor.verdict) is to compare with. Here it is only tried, so that a wrong path is told at once.
    type: path
  source:
    description: Where the packet starts, V(namespace/name) of a pod, V(node/name), or an address of one of them.
    type: str
    default: ""
  destination:
    description:
      - Where it goes, V(namespace/name) of a pod, V(node/name), any address, or a Service.
      - V(dns/name), or a name with a dot that is none of these, is asked of the cluster's DNS.
      - A Service is V(svc/namespace/name), its ClusterIP, or its DNS name V(name.namespace.svc) with whatever domain follows. Its port may be left out where it
        has one only. The ways to at most five of its ready endpoints are looked at.
      - The port may follow, as in V(shop/api-0:8080) or V(kube-system/coredns-x2x9v:53/udp). (C(-e port=) works too, but there Ansible warns
        that C(port) is one of its own words.)
    type: str
    default: ""
  protocol:
    description: The protocol. If it is not given, V(tcp) with a O(port) and V(icmp) without.
    type: str
    choices: [tcp, udp, icmp]
  port:
    description: The destination's port.
    type: raw
  successors:
    description: Pods that another one has taken the place of meanwhile. Of each, as the question names it, the V(namespace/name) of its successor.
    type: dict
    default: {}
  log:
    description:
      - Take O(source) and O(destination), where they are not given, from the line of an ingress's log in the variable C(log_line), or from the last such
        line of the file that the variable C(log_file) names. They are read as they are and never as templates, since strangers write into such lines.
    type: bool
    default: false
  audit:
    description:
      - Ask for the whole cluster instead of a pair. What is asked of each node then is in files, because it is much; RV(asked) is their folder.
    type: bool
    default: false
  probe:
    description: Whether packets are to be sent. If not, RV(probes) is empty.
    type: bool
    default: true
  watch:
    description: For how many seconds the source is to send a light train after that, at most 300.
    type: float
    default: 0
  pcap:
    description: Whether the packets that are captured are to be kept.
    type: bool
    default: false
  trace:
    description:
      - Whether to ask the nodes which of their rules the packets meet. B(Each makes a table of nf_tables for it), which ends with the capture.
      - In check mode none is made.
    type: bool
    default: false
  grid:
    description: Whether the grid of the runbooks is to be tried, too. With V(auto), M(podnet.doctor.verdict) adds it where what was read is broken.
    type: str
    choices: [auto, "true", "false"]
    default: auto
  flow:
    description:
      - A connection that is there already, like V(tcp/10.244.1.5:43210-10.244.2.7:8080). O(source), O(destination), O(protocol) and O(port) are its
        own, where they are not given.
    type: str
  timeout:
    description: Seconds that the Kubernetes API may take in all.
    type: float
    default: 20.0
seealso:
  - module: podnet.doctor.verdict
"""

EXAMPLES = r"""
- name: Resolve the question
  podnet.doctor.question:
    source: shop/web-0
    destination: kube-system/coredns-7d9c6b8f4-x2x9v
    protocol: udp
    port: 53
    kubeconfig: ~/.kube/config
  run_once: true
  delegate_to: localhost
  register: asked
"""

RETURN = r"""
question:
  description: Both ends as they were resolved, protocol and port. Null in an audit.
  type: dict
  returned: success
cluster_file:
  description: The cluster document, a file on the controller that lasts as long as the run.
  type: str
  returned: success
nodes:
  description: Kubernetes name of each node that the inventory has, with its inventory name.
  type: dict
  returned: success
  sample: {k8s01: k8s01, k8s02: worker-2.example.com}
hosts:
  description: Hosts on the path.
  type: list
  elements: str
  returned: success
ask:
  description: Arguments of M(podnet.doctor.node_info) for each of RV(hosts).
  type: dict
  returned: success
api:
  description: The server and its error, where the Kubernetes API is silent. Then all hosts of the play are to be asked, and RV(question) is null.
  type: dict
  returned: when the Kubernetes API is silent
given:
  description: The question as it was given, to be resolved from what the nodes tell.
  type: dict
  returned: when the Kubernetes API is silent
asked:
  description: The folder of what is asked of each host, for O(podnet.doctor.node_info#module:asked). It lasts as long as the run.
  type: str
  returned: when O(audit=true)
audit:
  description: Whether the whole cluster is asked for.
  type: bool
  returned: when O(audit=true)
probes:
  description: Arguments of M(podnet.doctor.path_probe) for each host and phase.
  type: dict
  returned: success
sending:
  description: What of O(probe), O(watch), O(pcap), O(grid) and O(trace) M(podnet.doctor.verdict) is to know.
  type: dict
  returned: when the whole cluster is not asked for
not_in_inventory:
  description: Nodes on the path that the inventory does not have, with the next step.
  type: dict
  returned: success
"""
