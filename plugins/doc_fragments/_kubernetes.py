# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to reach the Kubernetes API: the options of kubernetes.core."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - The path of a kubeconfig, or its content as a dictionary.
      - Can also be given by the environment variable E(K8S_AUTH_KUBECONFIG). Without both, E(KUBECONFIG) and C(~/.kube/config)
        are used as by C(kubectl).
    type: raw
  context:
    description: The context of the kubeconfig. Can also be given by E(K8S_AUTH_CONTEXT).
    type: str
  host:
    description: The URL of the API. Can also be given by E(K8S_AUTH_HOST).
    type: str
  api_key:
    description: A bearer token. Can also be given by E(K8S_AUTH_API_KEY).
    type: str
  username:
    description: A name for basic authentication. Can also be given by E(K8S_AUTH_USERNAME).
    type: str
  password:
    description: A password for basic authentication. Can also be given by E(K8S_AUTH_PASSWORD).
    type: str
  client_cert:
    description: The path of a client certificate. Can also be given by E(K8S_AUTH_CLIENT_CERT).
    type: path
    aliases: [cert_file]
  client_key:
    description: The path of the key of the client certificate. Can also be given by E(K8S_AUTH_CLIENT_KEY).
    type: path
    aliases: [key_file]
  ca_cert:
    description: The path of the certificate of the authority that the API is checked against. Can also be given by E(K8S_AUTH_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  validate_certs:
    description: Whether to check the certificate of the API. Can also be given by E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  proxy:
    description: The URL of a proxy. Can also be given by E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description: Hosts that are reached without the proxy. Can also be given by E(K8S_AUTH_NO_PROXY).
    type: str
  proxy_headers:
    description: Headers for the proxy.
    type: dict
    suboptions:
      basic_auth:
        description: Name and password with a colon between, for basic authentication.
        type: str
      proxy_basic_auth:
        description: Name and password with a colon between, for basic authentication at the proxy.
        type: str
      user_agent:
        description: The name of this client.
        type: str
  impersonate_user:
    description: The user to act as. Can also be given by E(K8S_AUTH_IMPERSONATE_USER).
    type: str
  impersonate_groups:
    description: The groups to act as. Can also be given by E(K8S_AUTH_IMPERSONATE_GROUPS), with commas between.
    type: list
    elements: str
  in_cluster:
    description:
      - Use the service account of the pod that this runs in.
      - It is never used unasked, because a controller that runs in one cluster usually looks at another.
    type: bool
    default: false
"""
