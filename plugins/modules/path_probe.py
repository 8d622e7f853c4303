#!/usr/bin/python

# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: path_probe
short_description: Send marked packets from a pod and see how far they come
version_added: 1.0.0
description:
  - Sends a few marked packets from inside a pod (or from a node), and captures them on all links of every node that listens, also inside of
    IPIP and VXLAN, and inside of its pods. So it is known which hop was the last that saw them, and a packet that I(arrived) was seen there.
  - A probe has three phases, each a task of its own, so that it needs no clocks that agree and works with any number of forks.
    O(phase=arm) on every node of the path, O(phase=fire) on the node of the sender, O(phase=collect) on every node of the path.
    All three get the same O(id), from which each computes the marks.
  - The capture is a process of its own that keeps what it saw in memory and ends when it is collected, or at its O(limit). It
    sets no promiscuous mode, writes no file, and a filter in the kernel shows it only packets with the marks of this probe.
  - Nothing is configured, but for what O(trace) makes and takes away again. What a probe may leave is what every packet may leave, entries of
    the neighbour and connection tracking tables, a learned path MTU, and counters.
author:
  - podnet.doctor contributors (@podnet)
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.node
  - podnet.doctor._attributes.actiongroup_nodes
attributes:
  check_mode:
    details:
      - This action does not modify state. The packets are sent in check mode too.
requirements:
  - Python 3.9 or newer on the node
  - pyroute2 0.9.1 or newer on the controller (it travels with the call) or on the node
options:
  phase:
    description: What to do.
    type: str
    required: true
    choices:
      arm: Begin to capture.
      fire: Send the packets.
      collect: End the capture and return what it saw.
  id:
    description: A random name for this probe, of 16 to 64 lower-case hexadecimal digits. The same in all three phases.
    type: str
    required: true
  pod:
    description:
      - With O(phase=fire), the pod to send from. Without it, the node itself.
      - Of several ways to name it, the first that leads to a sandbox counts.
    type: dict
    suboptions: &pod
      uid:
        description: The pod's uid.
        type: str
      container_id:
        description: The id of one of its containers or of its sandbox.
        type: str
      ifname:
        description: The host's link that leads into it.
        type: str
      ip:
        description: Its address; the host's own route to it tells the link.
        type: str
  pods:
    description:
      - With O(phase=arm), the pods to listen in, beside the node itself. Each is named as O(pod) is.
      - With O(phase=collect), the same, so that their links can be told.
    type: list
    elements: dict
    default: []
    suboptions: *pod
  vxlan_ports:
    description: With O(phase=arm), the UDP ports of VXLAN; packets inside of it are seen on the wire, too. At most 8.
    type: list
    elements: int
    default: [4789, 8472]
  flow:
    description:
      - With O(phase=fire), which of the 16 flows of this probe to send, from 0. Each has marks of its own, so that one capture can
        watch both directions.
    type: int
    default: 0
  limit:
    description: With O(phase=arm), the number of seconds after which the capture ends by itself. At most 600.
    type: float
    default: 60
  keep:
    description: With O(phase=arm), whether to keep the packets themselves, too, at most 512 bytes of each and 1 MiB of all.
    type: bool
    default: false
  count_rules:
    description:
      - With O(phase=arm), whether to tell with O(phase=collect) which rules that drop or reject have counted packets meanwhile. It starts
        C(iptables-save) and C(nft), where they are installed, in both phases.
    type: bool
    default: false
  trace:
    description:
      - With O(phase=arm), which packets of the probe to trace through the rules of the node. At most 16.
      - B(Makes a table of nf_tables), C(podnet_doctor_trace_<id>), whose rules mark exactly these packets to be traced. The table belongs to the
        netlink socket of the capturing process; the kernel takes it away as soon as that process ends, however it does. A kernel before 5.12, which
        knows no such owner, is told to make none. Rules of iptables-legacy cannot be traced. In check mode no table is made.
    type: list
    elements: dict
    default: []
    suboptions:
      src:
        description: The source address of the requests. Without it, any.
        type: str
      dst:
        description: Their destination address.
        type: str
        required: true
      protocol:
        description: The protocol; of ICMP, the echoes.
        type: str
        choices: [icmp, tcp, udp]
        default: icmp
      port:
        description: The destination port of TCP and UDP.
        type: int
      flow:
        description: Which of the 16 flows of this probe.
        type: int
        default: 0
  next_hops:
    description: With O(phase=arm), addresses of neighbours; ARP requests and IPv6 neighbour solicitations for them, and their answers, are seen, too. With
      them, the routers that the node reaches them by. At most 16.
    type: list
    elements: str
    default: []
  dst:
    description: With O(phase=fire), the address to send to.
    type: str
  port:
    description: With O(phase=fire), the port to send to as well. Without it, only ICMP echoes are sent.
    type: int
  protocol:
    description:
      - With O(phase=fire), how to send to O(port). V(tcp) connects and closes at once; V(udp) sends to port 53 a DNS question for a name
        that nobody has, and to other ports nothing but the mark.
    type: str
    choices: [tcp, udp]
    default: tcp
  full_size:
    description:
      - With O(phase=fire), whether to send echoes, too, that are as large as the kernel lets packets to O(dst) be, not to be fragmented.
      - If somebody on the way says that they are too large, the smaller size is tried, as TCP does.
    type: bool
    default: false
  source:
    description: With O(phase=fire), the source address. The default is the one that the kernel chooses.
    type: str
  watch:
    description:
      - With O(phase=fire), for how many seconds to repeat a light train instead, at most 30 a call. Five echoes a second, and, with O(port),
        three connects a second (with O(protocol=udp), DNS questions to port 53 and nothing else), from the same 24 source ports in turn.
    type: float
    default: 0
  offset:
    description: With O(watch), how many seconds of the watch earlier calls have had; what is sent is numbered on from there.
    type: float
    default: 0
  cells:
    description:
      - With O(phase=fire), what else to try at the same time, at most 16 cells of a grid.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: A name for the result.
        type: str
        required: true
      inside:
        description: Whether to send from inside of O(pod), or else from the node itself.
        type: bool
        default: false
      dst:
        description: The address to send to.
        type: str
        required: true
      protocol:
        description: How. V(dns) asks the server O(cells[].dst) for O(cells[].question).
        type: str
        choices: [icmp, tcp, udp, dns]
        default: icmp
      port:
        description: The port, of TCP and UDP.
        type: int
      flow:
        description: Which of the 16 flows of this probe to use.
        type: int
        default: 0
      question:
        description: The name to ask for.
        type: str
  service:
    description: With O(watch), an address to connect to instead of O(dst), such as that of a Service. Echoes go to O(dst).
    type: str
  service_port:
    description: The port of O(service). The default is O(port).
    type: int
  count:
    description: The number of packets of each protocol. The same in all three phases. At most 32.
    type: int
    default: 3
  wait:
    description: With O(phase=fire), how many seconds to wait for the last answer.
    type: float
    default: 2
  timeout:
    description: The number of seconds after which the call ends.
    type: float
    default: 15
  pyroute2:
    description:
      - The copy of pyroute2 that is used if the node has none. The action sets it.
      - It is imported from memory and never written to the node's disk.
    type: str
notes:
  - Needs to be root on the node, because of raw sockets and the network namespaces of pods.
seealso:
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: Begin to listen on both nodes and in both pods
  podnet.doctor.path_probe:
    phase: arm
    id: 5f1c0b7d2a4e4c1f9d3e8a6b7c5d4e3f
    pods:
      - ifname: "{{ pod_link }}"
  become: true

- name: Send from the source
  podnet.doctor.path_probe:
    phase: fire
    id: 5f1c0b7d2a4e4c1f9d3e8a6b7c5d4e3f
    pod:
      ifname: cali94639384039
    dst: 10.244.1.7
    port: 8080
  delegate_to: k8s01
  run_once: true
  become: true
  register: sent

- name: What each node saw
  podnet.doctor.path_probe:
    phase: collect
    id: 5f1c0b7d2a4e4c1f9d3e8a6b7c5d4e3f
  become: true
  register: seen
"""

RETURN = r"""
armed:
  description: Whether the capture listens.
  returned: O(phase=arm)
  type: bool
  sample: true
captures:
  description: Where it listens. C(pod) is the position in O(pods), C(ifname) the host's link that leads to it.
  returned: O(phase=arm) and RV(armed) is true
  type: list
  elements: dict
  sample: [{"where": "host"}, {"where": "pod", "pod": 0, "ifname": "cali1c0ffee1c0f"}]
next_hops:
  description: The neighbours that are asked for, those of O(next_hops) and the routers between the node and them.
  returned: O(phase=arm) and RV(armed) is true
  type: list
  elements: str
  sample: ["169.254.1.1", "10.244.1.7", "192.0.2.11"]
missing:
  description: The pods of O(pods) that it cannot listen in.
  returned: O(phase=arm)
  type: list
  elements: dict
  contains:
    pod:
      description: The position in O(pods).
      type: int
    reason:
      description: Why.
      type: str
  sample: []
fired:
  description: What was sent and what was answered, for each train of packets.
  returned: O(phase=fire)
  type: list
  elements: dict
  contains:
    protocol:
      description: V(icmp), V(tcp) or V(udp).
      type: str
    size:
      description: The size of each packet in bytes, with its IP header.
      type: int
      returned: O(full_size=true), of its train
    sent:
      description: How many packets were sent.
      type: int
    replied:
      description: How many were answered; a TCP connect that was refused is not.
      type: int
    refused:
      description: How many connects were refused. For ICMP, C(true) if raw sockets are.
      type: int
      returned: it applies
    errors:
      description: What the kernel or ICMP messages said.
      type: list
      elements: str
    error:
      description: The first of them.
      type: str
      returned: nothing was answered and there was one
    rtt:
      description: The quickest and the slowest answer in seconds.
      type: dict
      returned: something was answered
  sample:
    - {"protocol": "icmp", "sent": 3, "replied": 3, "errors": [], "rtt": {"min": 0.00012, "max": 0.0004}}
    - {"protocol": "tcp", "sent": 3, "replied": 0, "refused": 3, "errors": ["Connection refused"], "error": "Connection refused", "port": 8080}
watched:
  description: What was sent and what was answered meanwhile.
  returned: O(phase=fire) and O(watch)
  type: list
  elements: dict
  contains:
    protocol:
      description: V(icmp), V(tcp) or V(udp).
      type: str
    sent:
      description: How many packets or connects were sent.
      type: int
    replied:
      description: How many were answered.
      type: int
    first:
      description: The number of the first echo.
      type: int
      returned: of echoes
    times:
      description: Of each answered echo its number, when it was sent, in seconds since the call began, and how many seconds its answer took.
      type: list
      elements: list
      returned: of echoes
    twice:
      description: How many answers came again.
      type: int
      returned: of echoes
    errors:
      description: What the kernel or ICMP messages said.
      type: list
      elements: str
      returned: of echoes
    error:
      description: Why nothing could be sent.
      type: str
      returned: of echoes, and it applies
    address:
      description: Where connects went to.
      type: str
      returned: of connects
    port:
      description: The port that they went to.
      type: int
      returned: of connects
    flows:
      description: Of each source port how often it was tried, answered and refused.
      type: list
      elements: list
      returned: of connects
  sample:
    - {"protocol": "icmp", "first": 0, "sent": 2, "replied": 1, "errors": [], "twice": 0, "times": [[0, 0.0, 0.0003]]}
    - {"protocol": "tcp", "address": "10.244.1.7", "port": 8080, "sent": 1, "replied": 1, "flows": [[40345, 1, 1, 0]]}
cells:
  description: What came of each cell.
  returned: O(phase=fire) and O(cells)
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    sent:
      description: How many packets or questions were sent.
      type: int
    replied:
      description: How many were answered.
      type: int
    refused:
      description: How many were refused.
      type: int
      returned: it applies
    rcode:
      description: What a DNS server said.
      type: str
      returned: a DNS server answered
    addresses:
      description: The addresses that it told.
      type: list
      elements: str
      returned: a DNS server told some
    error:
      description: The first error.
      type: str
      returned: there was one
  sample: [{"name": "node-pod", "sent": 3, "replied": 3}]
captured:
  description: Whether there was a capture to collect from.
  returned: O(phase=collect)
  type: bool
  sample: true
seen:
  description: What was captured. Where nothing is said of a link, nothing was seen on it.
  returned: O(phase=collect)
  type: list
  elements: dict
  contains:
    where:
      description: V(pod) or V(host).
      type: str
    pod:
      description: The position of the pod in O(pods).
      type: int
      returned: RV(seen[].where=pod)
    ifname:
      description: The link.
      type: str
    way:
      description: V(in) or V(out), as the namespace of the link sees it; V(by) for what came by and was addressed to another machine.
      type: str
    encapsulation:
      description: V(ipip) or V(vxlan) if the packets were inside of another one.
      type: str
    flow:
      description: The flow.
      type: int
    train:
      description: V(icmp), V(full) for echoes of full size, V(watch) for those of a watch, V(tcp), V(udp), V(arp), or V(ndp).
      type: str
    kind:
      description: V(request), V(reply), V(reset) or V(error); the last is an ICMP error about a request.
      type: str
    numbers:
      description:
        - Of each different packet its number, and when it was seen first, in seconds since the capture began.
        - Of ARP and neighbour discovery the number is the place of the address in RV(next_hops).
      type: list
      elements: list
    repeated:
      description: How many packets were seen again.
      type: int
    ttl:
      description: The time to live of the first.
      type: int
    sources:
      description: Its source addresses, at most four.
      type: list
      elements: str
    destinations:
      description: Its destination addresses, at most four.
      type: list
      elements: str
    of:
      description: Of each different packet its number and its destination address, where they differ.
      type: list
      elements: list
    texts:
      description: What the ICMP errors say, at most four.
      type: list
      elements: str
  sample:
    - {"where": "host", "ifname": "eth0", "way": "in", "encapsulation": "ipip", "flow": 0, "train": "icmp", "kind": "request", "numbers": [[0, 1.2]],
       "repeated": 0, "ttl": 63, "sources": ["10.244.0.2"], "destinations": ["10.244.1.7"], "texts": [], "of": []}
rules:
  description: The rules that drop or reject, and have counted packets since the capture was armed, whosesoever they were. At most 16.
  returned: O(phase=collect), and the capture was armed with O(count_rules)
  type: list
  elements: dict
  contains:
    filter:
      description: The packet filter.
      type: str
    table:
      description: The table.
      type: str
    chain:
      description: The chain.
      type: str
    rule:
      description: The rule.
      type: str
    packets:
      description: How many it has counted.
      type: int
  sample: [{"filter": "iptables (nft)", "table": "filter", "chain": "INPUT", "rule": "-A INPUT -p 4 -j DROP", "packets": 9}]
trace:
  description: The rules of nf_tables that the packets met, in the order in which they were met first. At most 256.
  returned: O(phase=collect), and the capture was armed with O(trace)
  type: dict
  contains:
    rules:
      description: The rules, and the policies of chains.
      type: list
      elements: dict
      contains:
        flow:
          description: The flow.
          type: int
        protocol:
          description: V(icmp), V(tcp) or V(udp).
          type: str
        kind:
          description: V(request) or V(reply).
          type: str
        family:
          description: The family of the table.
          type: str
        table:
          description: The table.
          type: str
        chain:
          description: The chain.
          type: str
        handle:
          description: The handle of the rule; C(null) is the policy of the chain.
          type: int
        rule:
          description: The rule, as C(nft) shows it.
          type: str
          returned: C(nft) is installed and shows it
        verdict:
          description: What it said.
          type: str
        packets:
          description: How many packets met it.
          type: int
    reason:
      description: Why nothing, or not everything, was traced.
      type: str
      returned: it applies
  sample:
    rules: [{flow: 0, protocol: tcp, kind: request, family: ip, table: filter, chain: FORWARD, handle: 7, rule: tcp dport 8080 drop, verdict: drop, packets: 3}]
packets:
  description:
    - The packets, in the order in which they came. Of each, V(pod) or V(host); the position of the pod in O(pods); the link; the way; the time, in
      seconds since 1970; its first bytes from the outermost IP header on, in Base64; what it is.
  returned: O(phase=collect), and the capture was armed with O(keep)
  type: list
  elements: list
  sample: [["host", null, "eth0", "in", 1795312800.25, "RQAAHA==", "icmp request 0, flow 0"]]
left_out:
  description: How many packets there was no room for.
  returned: O(phase=collect), and the capture was armed with O(keep)
  type: int
  sample: 0
checksum_errors:
  description: How many packets each place that was listened in has thrown away meanwhile, because their checksum was wrong.
  returned: O(phase=collect), and there was a capture
  type: list
  elements: dict
  contains:
    where:
      description: V(pod) or V(host).
      type: str
    pod:
      description: The position of the pod in O(pods).
      type: int
    tcp:
      description: Of TCP.
      type: int
    udp:
      description: Of UDP.
      type: int
  sample: [{"where": "host", "pod": null, "tcp": 0, "udp": 0}, {"where": "pod", "pod": 0, "tcp": 3, "udp": 0}]
carrier_changes:
  description: How often the carriers of the host's links to O(pods) have come and gone since they were made.
  returned: O(phase=arm) and O(phase=collect)
  type: dict
  sample: {"cali1c0ffee1c0f": 2}
counters:
  description: How many packets the host's links to O(pods) have received and sent since they were made.
  returned: O(phase=arm) and O(phase=collect)
  type: dict
  sample: {"cali1c0ffee1c0f": {"rx": 812, "tx": 790}}
reason:
  description: Why nothing could be captured or sent.
  returned: it could not
  type: str
  sample: there is no sandbox of the pod ifname cali1c0ffee1c0f on this node
hostname:
  description: The node's own name.
  returned: always
  type: str
  sample: k8s02
marks:
  description: What tells the packets of this probe from others.
  returned: always
  type: dict
  sample: {"identifier": 4096, "first_port": 40321, "last_port": 40344}
id:
  description: The probe.
  returned: always
  type: str
  sample: 5f1c0b7d2a4e4c1f9d3e8a6b7c5d4e3f
phase:
  description: The phase.
  returned: always
  type: str
  sample: collect
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _probe_options


def main() -> None:
    """One phase of a probe."""
    _probe_options.run(
        AnsibleModule(argument_spec=_probe_options.ARGUMENT_SPEC, required_if=_probe_options.REQUIRED_IF, supports_check_mode=True),
    )


if __name__ == "__main__":
    main()
