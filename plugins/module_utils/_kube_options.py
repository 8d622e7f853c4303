# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How to reach the Kubernetes API: the options of kubernetes.core and their environment variables.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import os
import typing as t

Options = dict[str, t.Any]
ARGUMENT_SPEC: dict[str, t.Any] = {
    "kubeconfig": {"type": "raw"},
    "context": {"type": "str"},
    "host": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "client_cert": {"type": "path", "aliases": ["cert_file"]},
    "client_key": {"type": "path", "aliases": ["key_file"], "no_log": False},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"]},
    "validate_certs": {"type": "bool", "aliases": ["verify_ssl"]},
    "proxy": {"type": "str"},
    "no_proxy": {"type": "str"},
    "proxy_headers": {
        "type": "dict",
        "options": {
            "basic_auth": {"type": "str", "no_log": True},
            "proxy_basic_auth": {"type": "str", "no_log": True},
            "user_agent": {"type": "str"},
        },
    },
    "impersonate_user": {"type": "str"},
    "impersonate_groups": {"type": "list", "elements": "str"},
    "in_cluster": {"type": "bool", "default": False},
}
ENVIRONMENT = {name: f"K8S_AUTH_{name.upper()}" for name in ARGUMENT_SPEC if name not in ("in_cluster", "validate_certs", "proxy_headers")}
ENVIRONMENT["validate_certs"] = "K8S_AUTH_VERIFY_SSL"
SECRET = ("token", "password", "client-key-data", "client-certificate-data", "refresh-token", "id-token", "client-secret", "access-token")


class KubeError(Exception):
    """Nothing can be asked: the options are wrong. One sentence that names what is."""


def _bool(text: str) -> bool:
    return text.strip().lower() not in ("0", "false", "no", "off", "n", "f", "")


def options_of(arguments: t.Mapping[str, t.Any], environment: t.Mapping[str, str] | None = None) -> Options:
    """The options among arguments, the environment in place of those that are not given."""
    known = os.environ if environment is None else environment
    options: Options = {}
    for name in ARGUMENT_SPEC:
        value = arguments.get(name)
        if value is None or value == "":
            text = known.get(ENVIRONMENT.get(name, ""))
            if text:
                value = _bool(text) if name == "validate_certs" else text.split(",") if name == "impersonate_groups" else text
        if value is not None and value != "":
            options[name] = value
    return options


def secrets(value: t.Any) -> set[str]:
    """The secret texts inside a kubeconfig that was given as a dictionary."""
    found: set[str] = set()
    if isinstance(value, dict):
        for name, inner in value.items():
            if str(name) in SECRET and isinstance(inner, str) and inner:
                found.add(inner)
            else:
                found |= secrets(inner)
    elif isinstance(value, list):
        for inner in value:
            found |= secrets(inner)
    return found
