# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the module cluster_info, and its one call.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import os
import tempfile
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _kube, _packing

if t.TYPE_CHECKING:  # pragma: no cover
    from ansible.module_utils.basic import AnsibleModule

POD: dict[str, t.Any] = {"namespace": {"type": "str", "required": True}, "name": {"type": "str", "required": True}}
NARROWING = ("endpoints", "pods", "pod_addresses", "nodes")
ARGUMENT_SPEC: dict[str, t.Any] = {
    "sections": {"type": "list", "elements": "str", "default": ["all"]},
    "endpoints": {"type": "list", "elements": "str"},
    "pods": {"type": "list", "elements": "dict", "options": POD},
    "pod_addresses": {"type": "list", "elements": "str"},
    "nodes": {"type": "list", "elements": "str"},
    "dest": {"type": "path"},
    "packed": {"type": "bool", "default": False},
    "timeout": {"type": "float", "default": 20},
    **_kube.ARGUMENT_SPEC,
}


def write(path: str, document: t.Any) -> None:
    """The document as a file that only its owner can read, whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".cluster-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, separators=(",", ":"))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def run(module: AnsibleModule) -> None:
    """The whole of cluster_info."""
    options = module.params
    module.no_log_values.update(_kube.secrets(options["kubeconfig"]))
    narrow = {name: options[name] for name in NARROWING if options[name]}
    if options["timeout"] <= 0:
        module.fail_json(msg=f"timeout: {options['timeout']:g} is not a positive number of seconds")
    try:
        document = _kube.read_cluster(_kube.options_of(options), options["sections"], narrow or None, options["timeout"])
    except (_kube.KubeError, ValueError) as error:
        module.fail_json(msg=str(error))
    errors = {name: section["error"] for name, section in document.items() if isinstance(section, dict) and "error" in section}
    result: dict[str, t.Any] = {"changed": False, "reachable": document["reachable"], "errors": errors}
    if options["dest"]:
        try:
            write(options["dest"], document)
        except OSError as error:
            module.fail_json(msg=f"dest: {options['dest']} cannot be written: {error.strerror}", **result)
        result["dest"] = options["dest"]
    elif options["packed"]:
        result["packed"] = _packing.pack(document)
    else:
        result["cluster"] = document
    module.exit_json(**result)
