# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the module node_info, and its one call.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _compact, _node, _packing
from ansible_collections.podnet.doctor.plugins.module_utils._node_common import COMMON, FLOWS, PODS, load_pyroute2, need_root

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

TARGETS: dict[str, t.Any] = {
    "dst": {"type": "str", "required": True},
    "port": {"type": "int"},
    "protocol": {"type": "str", "choices": ["tcp", "icmp"]},
    "source": {"type": "str"},
    "timeout": {"type": "float"},
    "netns_of": {"type": "str"},
}
LOOKUPS: dict[str, t.Any] = {
    "netns_of": {"type": "str"},
    "name": {"type": "str", "default": ""},
    "servers": {"type": "list", "elements": "str", "default": []},
    "family": {"type": "str", "choices": ["inet", "inet6"], "default": "inet"},
}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "gather_subset": {"type": "list", "elements": "str", "default": ["all"]},
    "node": {"type": "str"},
    "host": {"type": "str"},
    "pods": {"type": "list", "elements": "dict", "default": [], "options": PODS},
    "flows": {"type": "list", "elements": "dict", "default": [], "options": FLOWS},
    "reachability": {"type": "list", "elements": "dict", "default": [], "options": TARGETS},
    "dns": {"type": "list", "elements": "dict", "default": [], "options": LOOKUPS},
    "asked": {"type": "path"},
    "expect": {"type": "str"},
    "bird_socket": {"type": "path"},
    "packed": {"type": "bool", "default": False},
    **COMMON,
}


def run(module: AnsibleModule) -> None:
    """The whole of node_info."""
    options = module.params
    try:
        sections = _node.subset(options["gather_subset"])
    except ValueError as error:
        module.fail_json(msg=str(error))
    if options["timeout"] <= 0:
        module.fail_json(msg=f"timeout: {options['timeout']:g} is not a positive number of seconds")
    need_root(module, "the network state")
    load_pyroute2(module)
    question = _node.Question(
        sections=sections,
        host=options["host"],
        node=options["node"],
        pods=options["pods"],
        flows=options["flows"],
        reachability=options["reachability"],
        dns=options["dns"],
        bird_socket=options["bird_socket"],
        timeout=options["timeout"],
    )
    document = _node.Collector(question).read()
    if options["expect"]:
        try:
            document = _compact.compact(document, _packing.unpack(options["expect"]))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            module.warn(f"the answer goes uncompacted: {error}")
    result: dict[str, t.Any] = {"changed": False, "sections": sections, "errors": _node.errors(document)}
    if options["packed"]:
        result["packed"] = _packing.pack(document)
    else:
        result["node"] = document
    module.exit_json(**result)
