#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: component_restart
short_description: Restart one component of Calico on one node, or recreate one pod
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Deletes the pod of the component through the Kubernetes API, only if it still is the one that was looked at, and waits until its successor is ready.
  - It refuses if the pod has no owner, if calico-node, or flannel, of another node does not run, or if their DaemonSet is being updated.
    A V(pod) is deleted only if a controller owns it, and if no PodDisruptionBudget keeps it.
  - Of V(typha) and V(coredns) all pods are restarted, one after the other, those that are not ready first. Each is deleted as a V(pod) is, and the next one
    only when its successor is ready. One that is not ready is kept by no PodDisruptionBudget.
  - It always restarts, so it is not idempotent. The role P(podnet.doctor.remediate#role) calls it only after a diagnosis that asks for it.
extends_documentation_fragment:
  - podnet.doctor._attributes
  - podnet.doctor._attributes.actiongroup_podnet
  - podnet.doctor._kubernetes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
options:
  component:
    description: What to restart.
    type: str
    required: true
    choices: [calico-node, coredns, flannel, kube-controllers, pod, typha]
  node:
    description: The Kubernetes node. Needed for V(calico-node) and V(flannel).
    type: str
  pod:
    description: With O(component=pod), its namespace and name, such as V(shop/web-1).
    type: str
  only_not_ready:
    description: With O(component=typha) and O(component=coredns), leave the pods alone that are ready.
    type: bool
    default: false
  timeout:
    description: Seconds until the successor, or the last of the successors, must be ready.
    type: float
    default: 120.0
requirements:
  - kubernetes
"""

EXAMPLES = r"""
- name: Restart calico-node on one node
  podnet.doctor.component_restart:
    component: calico-node
    node: k8s02
    kubeconfig: ~/.kube/config
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
before:
  description: The pod that was deleted.
  type: str
  returned: success
  sample: kube-system/calico-node-x7k2p
after:
  description: Its successor.
  type: str
  returned: success
  sample: kube-system/calico-node-9d4fq
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _components, _kube


def main() -> None:
    """Restart it."""
    module = AnsibleModule(
        argument_spec={
            "component": {"type": "str", "required": True, "choices": ["calico-node", "coredns", "flannel", "kube-controllers", "pod", "typha"]},
            "node": {"type": "str"},
            "pod": {"type": "str"},
            "only_not_ready": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 120.0},
            **_kube.ARGUMENT_SPEC,
        },
        required_if=[("component", "calico-node", ["node"]), ("component", "flannel", ["node"]), ("component", "pod", ["pod"])],
        supports_check_mode=True,
    )
    module.no_log_values.update(_kube.secrets(module.params["kubeconfig"]))
    try:
        with _kube.Api(_kube.options_of(module.params), timeout=module.params["timeout"]) as api:
            params = module.params
            result = _components.restart(api, params["component"], params["node"], module.check_mode, params["pod"] or "", params["only_not_ready"])
    except (_components.Refused, _kube.KubeError) as error:
        module.fail_json(msg=str(error))
    if module._diff:
        result["diff"] = {"before": result["before"] + "\n", "after": result["after"] + "\n" if result["after"] else "a new pod\n"}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
