#!/usr/bin/python
# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: object_repair
short_description: Make one small, exact change to one object of the Kubernetes API
version_added: 1.0.0
author:
  - podnet.doctor contributors (@podnet)
description:
  - Carries out one remedy of class R3 of a plan. It first looks whether anything has to be done, so a second run changes nothing.
  - It refuses if the object is another by now than when the plan was made, also if that happens between its look and its change.
  - The role P(podnet.doctor.remediate#role) calls it with what a plan says, after approval.
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
  remedy:
    description: What to do.
    type: str
    required: true
    choices: [clear_node_address, create_pool, delete_block_affinity, set_autodetection, set_felix_backend, set_flannel_address, set_node_address, take_back]
  parameters:
    description:
      - For V(set_node_address), C(node), C(annotation) (C(projectcalico.org/IPv4Address) or C(IPv6Address)), C(value), an address of this Node with its
        prefix length, and C(was), what is there now.
      - For V(clear_node_address), C(node), which must not be Ready, C(annotation) and C(was) as for V(set_node_address), and C(twin), a Ready Node that has
        and announces this address.
      - For V(set_flannel_address), C(node), C(value), an address of this Node, and C(was), what both C(flannel.alpha.coreos.com/public-ip) and
        C(public-ip-overwrite) are now.
      - For V(delete_block_affinity), C(api) (group and version of Calico's resources), C(name), C(node) and C(cidr). It is deleted only if there is no
        such block. With C(owner), only if the block is that node's, and neither IPAM nor a pod of C(node) has an address of it.
      - For V(set_autodetection), C(namespace) of the DaemonSet C(calico-node), and C(was), its method (V(first-found) where it names none). It becomes
        V(kubernetes-internal-ip), in the DaemonSet, or in the operator's Installation where that makes it.
      - For V(create_pool), C(api), C(cidr), that of a block which is in no IP pool, C(ipip), C(vxlan) and C(nat), which must be those of all other pools of
        its family. The pool is disabled, so that nothing is given out from it.
      - For V(set_felix_backend), C(api), C(name) (V(default), or V(node.NAME)) of a FelixConfiguration, C(value) (V(NFT) or V(Legacy)) for its
        C(iptablesBackend), and C(was), what it says now; without C(was) only if it says nothing.
      - For V(take_back), C(steps), what the change returned in RV(back).
    type: dict
    required: true
  timeout:
    description: Seconds that the API may take.
    type: float
    default: 20.0
  wait_seconds:
    description:
      - The seconds within which all pods of C(calico-node) must be made again and available, where the change or the way back has that effect. If they are
        not, the module fails, and RV(back) says how the change is undone.
    type: float
    default: 300.0
requirements:
  - kubernetes
seealso:
  - module: podnet.doctor.plan
"""

EXAMPLES = r"""
- name: Correct the mask that a node announces
  podnet.doctor.object_repair:
    remedy: set_node_address
    parameters:
      node: k8s02
      annotation: projectcalico.org/IPv4Address
      value: 192.0.2.12/24
      was: 192.0.2.12/32
    kubeconfig: ~/.kube/config
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
before:
  description: What was found; empty if nothing had to be changed.
  type: str
  returned: success
  sample: "projectcalico.org/IPv4Address: 192.0.2.12/32"
after:
  description: What is there now; empty if it was deleted.
  type: str
  returned: success
  sample: "projectcalico.org/IPv4Address: 192.0.2.12/24"
back:
  description: What V(take_back) needs to undo the change; empty if nothing was changed.
  type: list
  elements: dict
  returned: success, and when it was changed and RV(back) may be needed
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.podnet.doctor.plugins.module_utils import _detection, _kube, _objects
from ansible_collections.podnet.doctor.plugins.module_utils._object_steps import Refused, Unfinished


def main() -> None:
    """Carry out one remedy."""
    module = AnsibleModule(
        argument_spec={
            "remedy": {"type": "str", "required": True, "choices": sorted([*_objects.REMEDIES, "take_back"])},
            "parameters": {"type": "dict", "required": True},
            "timeout": {"type": "float", "default": 20.0},
            "wait_seconds": {"type": "float", "default": 300.0},
            **_kube.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    module.no_log_values.update(_kube.secrets(module.params["kubeconfig"]))
    remedy, given, options = module.params["remedy"], module.params["parameters"], _kube.options_of(module.params)
    try:
        with _kube.Api(options, timeout=module.params["timeout"]) as api:
            if remedy == "take_back":
                result = _objects.take_back(api, given, module.check_mode)
            else:
                result = _objects.carry_out(api, remedy, given, module.check_mode)
    except Refused as error:
        module.fail_json(msg=f"refused: {error}", refused=True)
    except _kube.KubeError as error:
        module.fail_json(msg=str(error))
    rollouts = result.pop("rollouts")
    if rollouts:
        try:
            with _kube.Api(options, timeout=module.params["wait_seconds"]) as api:
                _detection.await_rollouts(api, rollouts)
        except Unfinished as error:
            module.fail_json(msg=str(error), **result)
    if module._diff and result["changed"]:
        result["diff"] = {"before": result["before"] + "\n" if result["before"] else "", "after": result["after"] + "\n" if result["after"] else ""}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
