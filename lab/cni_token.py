"""What the CNI plugin shows to the API: a token in a file of its node, which calico-node asks the API for when it starts.

The file is there as long as a fault is about it; without it no token is looked at.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from lab.api import objects
from lab.api.client import Client
from lab.plan import Node

NAMESPACE, ACCOUNT = "kube-system", "calico-cni-plugin"
ASKED_FOR = "/apis/crd.projectcalico.org/v1/clusterinformations/default"


def file(node: Node) -> Path:
    """The plugin's kubeconfig, as seen from outside of the node."""
    return Path(f"/proc/{node.pid}/root/etc/cni/net.d/calico-kubeconfig")


def create_account(client: Client) -> None:
    """The service account; tokens of one that was there before are not known any more."""
    client.delete("serviceaccounts", ACCOUNT, NAMESPACE)
    client.create("serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": objects.metadata(ACCOUNT, NAMESPACE)})


def write(client: Client, node: Node) -> None:
    """A new token (TokenRequest), as calico-node's token watcher writes it."""
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = client.request("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token", asked)["status"]["token"]
    place = file(node)
    place.touch(mode=0o600)
    place.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "users": [{"name": "calico", "user": {"token": token}}]}), encoding="utf-8")


def is_refused(client: Client, node: Node) -> bool:
    """Does the API not know who shows the node's token? What that one may do is another question."""
    try:
        token = json.loads(file(node).read_text(encoding="utf-8"))["users"][0]["user"]["token"]
    except FileNotFoundError:
        return False
    trust = ssl.create_default_context(cafile=str(client.authority))
    request = urllib.request.Request(client.server + ASKED_FOR, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5, context=trust):
            return False
    except urllib.error.HTTPError as error:
        return error.code == 401
