#!/usr/bin/python

# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_info
short_description: What one Kubernetes node's kernel and network daemons say
version_added: 1.0.0
description:
  - Reads in one call what a diagnosis of the pod network needs from a node, which are links, addresses, routes of all tables,
    policy rules, neighbours, forwarding database, sysctls, packet filters, BIRD through its control socket, Calico's daemons and their
    health, flanneld and its files, the pod sandboxes and the network inside of asked pods, and the kernel's own route look-ups.
  - It only reads. It judges nothing, changes nothing and leaves nothing behind on the node. It starts no program, except for V(netfilter)
    C(iptables-save), C(ip6tables-save) and C(nft), and these only where the kernel has what they would otherwise load.
  - Every section can fail by itself. It then is a dictionary with C(error), one sentence, and the rest goes on.
author:
  - podnet.doctor contributors (@podnet)
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.node
  - podnet.doctor._attributes.actiongroup_nodes
requirements:
  - Python 3.9 or newer on the node
  - pyroute2 0.9.1 or newer on the controller (it travels with the call) or on the node
options:
  gather_subset:
    description:
      - The sections to read. V(all) is every section, a section with V(!) before its name is left out.
      - The sections are V(identity), V(links), V(addresses), V(routes), V(rules), V(neighbours), V(fdb), V(sysctls), V(bird),
        V(calico), V(flannel), V(netfilter), V(conntrack), V(sandboxes), V(lookups), V(listeners), V(counters), V(cni),
        V(network_manager), V(reachability), and V(dns).
    type: list
    elements: str
    default: [all]
  node:
    description: The node's name in Kubernetes, to be written into the document.
    type: str
  host:
    description: The node's name in the inventory, to be written into the document. The action sets it.
    type: str
  pods:
    description: The pods whose inside is read too. Of several ways to name one, the first that leads to a sandbox counts.
    type: list
    elements: dict
    default: []
    suboptions:
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
  flows:
    description: Packets that the kernel is asked about, with the same question that C(ip route get) asks.
    type: list
    elements: dict
    default: []
    suboptions:
      dst:
        description: The destination address.
        type: str
        required: true
      src:
        description: The source address.
        type: str
      iif:
        description: The link through which the packet comes in. Without it, the packet is the node's own.
        type: str
      oif:
        description: The link through which the packet has to leave.
        type: str
      mark:
        description: The packet's mark.
        type: int
      protocol:
        description: The packet's protocol, for policy rules that look at it.
        type: str
        choices: [tcp, udp, icmp]
      sport:
        description: Its source port.
        type: int
      dport:
        description: Its destination port.
        type: int
      netns_of:
        description: Ask inside of this pod. Its uid, the id of one of its containers, its address, or the host's link that leads to it.
        type: str
  reachability:
    description: Targets that are tried, each with one TCP connect or one ICMP echo, all at the same time. At most 64.
    type: list
    elements: dict
    default: []
    suboptions:
      dst:
        description: The address to reach.
        type: str
        required: true
      port:
        description: The TCP port. Without it, an ICMP echo is sent.
        type: int
      protocol:
        description: The protocol. The default is V(tcp) with O(reachability[].port) and V(icmp) without.
        type: str
        choices: [tcp, icmp]
      source:
        description: The source address to bind to.
        type: str
      timeout:
        description: How many seconds to wait for an answer. The default is 2.
        type: float
      netns_of:
        description: Try from inside of this pod; see O(flows[].netns_of).
        type: str
  dns:
    description:
      - What is to be asked of DNS, each with a bounded number of queries, by UDP and TCP. The servers of the pod's own C(resolv.conf) are asked for the
        Service that every cluster has (C(kubernetes.default.svc)), and O(dns[].name) through its search list.
    type: list
    elements: dict
    default: []
    suboptions:
      netns_of:
        description: Ask from inside of this pod; see O(flows[].netns_of). Without it the node itself asks.
        type: str
      name:
        description: The name to look up. Without it, none but the cluster's own.
        type: str
        default: ""
      servers:
        description: More servers that are asked for the cluster's own name.
        type: list
        elements: str
        default: []
      family:
        description: Whether an IPv4 or an IPv6 address is asked for.
        type: str
        choices: [inet, inet6]
        default: inet
  asked:
    description:
      - A folder on the controller with the options of each host, written by M(podnet.doctor.question). The action reads them, so that a long list does
        not pass through templates. Options of the task itself win.
    type: path
  expect:
    description:
      - What the API says of blocks, peers, tunnel ends and pods, packed. What the node has of it is then told by reference, and what differs in full,
        which keeps the answer of an audit small. The action sets it.
    type: str
  bird_socket:
    description:
      - The path of BIRD's control socket, or the folder that holds C(bird.ctl) and C(bird6.ctl).
      - By default it is looked for in the usual places and where a running C(bird) process was told to serve it, also if that
        runs in a mount namespace of its own.
    type: path
  timeout:
    description: The number of seconds after which the whole call ends. What has not answered by then is that section's error.
    type: float
    default: 15
  packed:
    description: Return the document as one compressed text, which is cheaper for the controller than a big result.
    type: bool
    default: false
  pyroute2:
    description:
      - The copy of pyroute2 that is used if the node has none. The action sets it.
      - It is imported from memory and never written to the node's disk.
    type: str
notes:
  - Needs to be root on the node, because BIRD's socket and the network namespaces of pods are root's.
seealso:
  - module: podnet.doctor.cluster_info
  - module: podnet.doctor.route_info
  - module: podnet.doctor.neighbor_info
  - module: podnet.doctor.netfilter_info
  - module: podnet.doctor.veth_info
  - module: podnet.doctor.calico_node_info
"""

EXAMPLES = r"""
- name: Read everything
  podnet.doctor.node_info:
  become: true
  register: this

- name: Which way a packet of a pod would go, and whether the peer's BGP port answers
  podnet.doctor.node_info:
    gather_subset: [lookups, reachability]
    flows:
      - dst: 10.244.1.7
        src: 10.244.0.5
        iif: cali94639384039
    reachability:
      - dst: 192.0.2.12
        port: 179
        source: 192.0.2.11
  become: true
  register: this

- name: The network inside of one pod
  podnet.doctor.node_info:
    gather_subset: [links, routes, sandboxes]
    pods:
      - ifname: cali94639384039
  become: true
"""

RETURN = r"""
node:
  description:
    - The document, C(podnet.doctor/node/1). Its JSON Schema is in C(docs/schemas/node-1.json), its fields are explained in
      C(docs/documents.md).
    - Only the asked sections are there. A section that could not be read is a dictionary with C(error).
  returned: O(packed=false)
  type: dict
  contains:
    schema:
      description: The kind of document.
      type: str
      sample: podnet.doctor/node/1
    collected_at:
      description: When the reading began.
      type: str
      sample: "2026-11-21T09:28:23Z"
    seconds:
      description: How long it took.
      type: float
      sample: 0.12
    identity:
      description: Which machine this is.
      type: dict
      sample: {"hostname": "k8s01", "machine_id": "8e750783689848ae99431137092f1df2", "netns": 4026531833}
    routes:
      description: The routes of all tables.
      type: list
      elements: dict
      sample:
        - {"family": "inet", "table": 254, "type": "unicast", "dst": "10.244.1.0/26", "gateway": "192.0.2.12", "dev": "eth0",
           "protocol": "bird", "scope": "global", "metric": 1024, "flags": []}
    bird:
      description: What the BIRD daemons of both families say, or why they cannot be asked.
      type: dict
packed:
  description: The same document as zlib-compressed JSON in base64.
  returned: O(packed=true)
  type: str
  sample: eJyrVipOzkjNTVSyUirIT8lLLdFLyU8uyS/Sz8tPSdU3VKoFAMVQC1Y=
sections:
  description: The sections that were read.
  returned: always
  type: list
  elements: str
  sample: [identity, links, routes]
errors:
  description: The sections that could not be read, with the reason.
  returned: always
  type: dict
  sample: {"cni": "Permission denied"}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _node_options


def main() -> None:
    """Read the node."""
    _node_options.run(AnsibleModule(argument_spec=_node_options.ARGUMENT_SPEC, supports_check_mode=True))


if __name__ == "__main__":
    main()
