#!/usr/bin/python

# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_info
short_description: What the Kubernetes API says about the pod network
version_added: 1.0.0
description:
  - Reads nodes, pods, services, policies, Calico's resources and the workloads that make up the pod network, each reduced to the
    fields that a diagnosis uses.
  - Runs where the kubeconfig is, usually on the controller with C(delegate_to=localhost) and C(become=false).
  - A resource that is forbidden or missing is that section's error. If the API cannot be reached, every section is an error,
    RV(cluster.reachable) is false, and the module does not fail. It fails only if the options lead nowhere.
  - It never reads Secrets. Of environment variables only the settings of Calico's own containers are kept.
author:
  - podnet.doctor contributors (@podnet)
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.info_module
  - podnet.doctor._attributes.actiongroup_podnet
  - podnet.doctor._kubernetes
requirements:
  - Python 3.9 or newer
  - kubernetes 29.0.0 or newer
options:
  sections:
    description:
      - The sections to read. The default is all of them. A section with V(!) before its name is left out.
      - The sections are V(nodes), V(pods), V(namespaces), V(serviceaccounts), V(services), V(endpointslices), V(networkpolicies),
        V(daemonsets), V(deployments), V(events), V(configmaps), V(clusternetworkpolicies), V(adminnetworkpolicies),
        V(baselineadminnetworkpolicies), V(ippools), V(ipamblocks), V(blockaffinities), V(bgpconfigurations), V(bgppeers),
        V(felixconfigurations), V(clusterinformations), V(hostendpoints), V(globalnetworkpolicies), V(calico_networkpolicies),
        V(tiers), V(networksets), V(globalnetworksets), and V(ipamconfigs).
      - V(configmaps) is the configuration of flannel and, where DNS is asked for, of CoreDNS, and no other ConfigMap.
    type: list
    elements: str
    default: [all]
  endpoints:
    description:
      - What a question is about, so that not all pods of the cluster are read, but those of its nodes and a few that everything
        needs. V(namespace/name) of a pod, V(node/name), V(svc/namespace/name), or an address.
      - Only pods are narrowed, and if all of these are pods, Services and EndpointSlices, of which those remain that policies name.
    type: list
    elements: str
  pods:
    description: Pods that a question is about; see O(endpoints).
    type: list
    elements: dict
    suboptions:
      namespace:
        description: The namespace.
        type: str
        required: true
      name:
        description: The name.
        type: str
        required: true
  pod_addresses:
    description: Addresses of pods that a question is about; see O(endpoints).
    type: list
    elements: str
  nodes:
    description: Nodes that a question is about; see O(endpoints).
    type: list
    elements: str
  dest:
    description:
      - Write the document to this file, with mode 0600, instead of returning it.
      - The file is the answer, so it is written in check mode too, and does not count as a change.
    type: path
  packed:
    description: Return the document as one compressed text, which is cheaper for the controller than a big result.
    type: bool
    default: false
  timeout:
    description: The number of seconds after which the whole call ends. What has not answered by then is that section's error.
    type: float
    default: 20
seealso:
  - module: podnet.doctor.node_info
"""

EXAMPLES = r"""
- name: Read the whole cluster
  podnet.doctor.cluster_info:
    kubeconfig: ~/.kube/config
  delegate_to: localhost
  run_once: true
  become: false
  register: this

- name: Read what the question about two pods needs
  podnet.doctor.cluster_info:
    endpoints:
      - shop/web-0
      - svc/kube-system/kube-dns
    dest: /tmp/cluster.json
  delegate_to: localhost
  run_once: true
  become: false

- name: Which BGP peers and pools there are
  podnet.doctor.cluster_info:
    context: production
    sections: [bgpconfigurations, bgppeers, ippools]
  delegate_to: localhost
  run_once: true
  become: false
"""

RETURN = r"""
cluster:
  description:
    - The document, C(podnet.doctor/cluster/1). Its JSON Schema is in C(docs/schemas/cluster-1.json), its fields are explained in
      C(docs/documents.md).
    - Only the asked sections are there. Each is a list of API objects, or a dictionary with C(error).
  returned: O(packed=false) and O(dest) is not given
  type: dict
  contains:
    schema:
      description: The kind of document.
      type: str
      sample: podnet.doctor/cluster/1
    server:
      description: The URL of the API.
      type: str
      sample: https://10.0.0.1:6443
    reachable:
      description: Whether the API could be asked at all.
      type: bool
      sample: true
    error:
      description: Why it could not.
      type: str
      returned: C(reachable) is false
    version:
      description: The version of the API server.
      type: dict
      sample: {"gitVersion": "v1.34.4"}
    calico_api:
      description: The group and version under which Calico's resources are stored, null if there are none.
      type: str
      sample: crd.projectcalico.org/v1
    scope:
      description: V(pair) if pods were narrowed to a question, else V(cluster).
      type: str
      sample: cluster
    narrowed:
      description: The sections that do not hold everything.
      type: list
      elements: str
      sample: [pods]
    nodes:
      description: The nodes. The other sections look like it.
      type: list
      elements: dict
      sample:
        - {"metadata": {"name": "k8s01", "annotations": {"projectcalico.org/IPv4Address": "192.0.2.11/24"}}, "spec": {}, "status": {}}
packed:
  description: The same document as zlib-compressed JSON in base64.
  returned: O(packed=true) and O(dest) is not given
  type: str
dest:
  description: The file that was written.
  returned: O(dest) is given
  type: str
  sample: /tmp/cluster.json
reachable:
  description: Whether the API could be asked at all.
  returned: always
  type: bool
  sample: true
errors:
  description: The sections that could not be read, with the reason.
  returned: always
  type: dict
  sample: {"hostendpoints": "the API forbids it"}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _cluster_options


def main() -> None:
    """Read the cluster."""
    _cluster_options.run(AnsibleModule(argument_spec=_cluster_options.ARGUMENT_SPEC, supports_check_mode=True))


if __name__ == "__main__":
    main()
