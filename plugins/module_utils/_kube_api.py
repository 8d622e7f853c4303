# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Kubernetes API as JSON: the kubernetes client finds the way and the credentials, its models are never used.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import json
import os
import typing as t
from urllib.parse import quote, urlencode

from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._kube_options import KubeError, Options

PAGE = 500
CONNECT_SECONDS = 5.0
RESTARTS = 3
AGENT = "podnet.doctor"
IN_CLUSTER = "/var/run/secrets/kubernetes.io/serviceaccount/token"
WORDS = {401: "refuses these credentials", 403: "forbids it", 404: "does not have it", 410: "no longer has this list"}


class ApiError(KubeError):
    """The API's refusal, or none at all: then status is 0."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def _client() -> t.Any:
    try:
        import kubernetes  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise KubeError(f"the Python library kubernetes is missing on the controller ({error}); install it with: pip install kubernetes") from error
    return kubernetes


def _from_kubeconfig(kubernetes: t.Any, options: Options) -> t.Any:
    source = options.get("kubeconfig")
    context = options.get("context")
    configuration = kubernetes.client.Configuration()
    if isinstance(source, dict):
        place = "the given kubeconfig"
    else:
        path = os.path.expanduser(str(source or os.environ.get("KUBECONFIG") or "~/.kube/config"))
        place = f"the kubeconfig {path}"
        if not source and ":" in path:
            path = ""
        elif not os.path.isfile(path):
            raise KubeError(f"{place} does not exist; give its path with the option kubeconfig or the variable K8S_AUTH_KUBECONFIG")
    try:
        if isinstance(source, dict):
            kubernetes.config.load_kube_config_from_dict(source, context=context, client_configuration=configuration, persist_config=False)
        else:
            kubernetes.config.load_kube_config(config_file=path or None, context=context, client_configuration=configuration, persist_config=False)
    except Exception as error:
        known = isinstance(error, kubernetes.config.ConfigException)
        reason = " ".join(str(error).split()) if known else f"it is not a kubeconfig ({type(error).__name__})"
        raise KubeError(f"{place} cannot be used: {reason}") from error
    return configuration


def configure(options: Options) -> t.Any:
    """The client's configuration for these options."""
    kubernetes = _client()
    direct = bool(options.get("host")) and not options.get("kubeconfig") and not options.get("context")
    if options.get("in_cluster"):
        configuration = kubernetes.client.Configuration()
        try:
            kubernetes.config.load_incluster_config(client_configuration=configuration)
        except Exception as error:
            raise KubeError(f"in_cluster: this is not a pod with a service account ({IN_CLUSTER}): {error}") from error
    elif direct:
        configuration = kubernetes.client.Configuration()
    else:
        configuration = _from_kubeconfig(kubernetes, options)
    for name, attribute in (
        ("host", "host"),
        ("username", "username"),
        ("password", "password"),
        ("client_cert", "cert_file"),
        ("client_key", "key_file"),
        ("ca_cert", "ssl_ca_cert"),
        ("validate_certs", "verify_ssl"),
        ("proxy", "proxy"),
        ("no_proxy", "no_proxy"),
    ):
        if options.get(name) is not None:
            setattr(configuration, attribute, options[name])
    for name in ("client_cert", "client_key", "ca_cert"):
        if options.get(name) and not os.path.isfile(options[name]):
            raise KubeError(f"{name}: the file {options[name]} does not exist")
    if options.get("api_key"):
        configuration.api_key = {"authorization": f"Bearer {options['api_key']}"}
        configuration.refresh_api_key_hook = None
    if options.get("proxy_headers"):
        urllib3 = __import__("urllib3")
        given = {name: value for name, value in options["proxy_headers"].items() if value}
        configuration.proxy_headers = urllib3.util.make_headers(**given)
    return configuration


class Api:
    """Requests against one API server."""

    def __init__(self, options: Options, timeout: float = 20.0, deadline: Deadline | None = None) -> None:
        self.deadline = deadline or Deadline(timeout)
        self._configuration = configure(options)
        self.server = str(self._configuration.host)
        kubernetes = _client()
        self._pool = kubernetes.client.ApiClient(self._configuration).rest_client.pool_manager
        self._headers = self._authorization()
        self._headers.update({"Accept": "application/json", "User-Agent": AGENT})
        if options.get("impersonate_user"):
            self._headers["Impersonate-User"] = str(options["impersonate_user"])
        self._groups = [("Impersonate-Group", group) for group in options.get("impersonate_groups") or []]

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and take away the certificates that the client wrote to temporary files."""
        self._pool.clear()
        kube_config = getattr(getattr(_client(), "config", None), "kube_config", None)
        cleanup = getattr(kube_config, "_cleanup_temp_files", None)
        if cleanup is not None:
            cleanup()

    def _authorization(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        configuration = self._configuration
        for setting in configuration.auth_settings().values():
            if setting.get("in") == "header" and setting.get("value"):
                headers[setting["key"]] = setting["value"]
        if configuration.username and "authorization" not in {name.lower() for name in headers}:
            headers["authorization"] = configuration.get_basic_auth_token()
        return headers

    def request(
        self,
        method: str,
        path: str,
        params: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        content_type: str = "application/json",
    ) -> dict[str, t.Any]:
        """One request; its JSON answer."""
        urllib3 = __import__("urllib3")
        if self.deadline.expired():
            raise ApiError(f"the API at {self.server} was not asked for {path}: {self.deadline.seconds:g} s had passed")
        url = self.server.rstrip("/") + path + (f"?{urlencode(params)}" if params else "")
        headers = urllib3.HTTPHeaderDict(self._headers)
        for name, value in self._groups:
            headers.add(name, value)
        data = None
        if body is not None:
            data = json.dumps(body).encode("utf-8")
            headers["Content-Type"] = content_type
        left = self.deadline.remaining()
        try:
            answer = self._pool.request(
                method,
                url,
                body=data,
                headers=headers,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, left), read=left),
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise ApiError(f"the API at {self.server} does not answer: {_plain(error)}") from error
        return self._json(answer, path)

    def _json(self, answer: t.Any, path: str) -> dict[str, t.Any]:
        try:
            data = json.loads(answer.data)
        except (ValueError, RecursionError):
            data = None
        if answer.status >= 400:
            said = data.get("message") if isinstance(data, dict) else None
            word = WORDS.get(answer.status, f"answers with status {answer.status}")
            raise ApiError(" ".join(f"the API {word}: {said or path}".split())[:300], answer.status)
        if not isinstance(data, dict):
            raise ApiError(f"{self.server}{path} does not answer in JSON; is this a Kubernetes API?", answer.status)
        return data

    def get_json(self, path: str, params: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
        """One GET."""
        return self.request("GET", path, params)

    def items(self, path: str, params: t.Mapping[str, t.Any] | None = None) -> list[dict[str, t.Any]]:
        """A whole list, page by page. A list that expired in between is read again from its beginning."""
        for _attempt in range(RESTARTS):
            found: list[dict[str, t.Any]] = []
            asked = {**(params or {}), "limit": PAGE}
            try:
                while True:
                    page = self.get_json(path, asked)
                    found.extend(item for item in page.get("items") or [] if isinstance(item, dict))
                    following = (page.get("metadata") or {}).get("continue")
                    if not following:
                        return found
                    asked["continue"] = following
            except ApiError as error:
                if error.status != 410:
                    raise
        raise ApiError(f"{path} changes faster than it can be read", 410)

    def delete_pod(self, namespace: str, name: str, uid: str | None = None, grace: int | None = None) -> dict[str, t.Any]:
        """Delete a pod, only if it still is the one with this uid."""
        body: dict[str, t.Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        return self.request("DELETE", f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}", body=body)

    def patch(self, path: str, body: t.Any, kind: str = "merge", dry_run: bool = False) -> dict[str, t.Any]:
        """Change an object: kind is ``merge``, ``json`` or ``strategic-merge``."""
        return self.request("PATCH", path, {"dryRun": "All"} if dry_run else None, body, f"application/{kind}-patch+json")

    def access_review(self, verb: str, resource: str, group: str = "", namespace: str = "", name: str = "") -> tuple[bool, str]:
        """Whether these credentials may do this, and the API's reason."""
        attributes = {"verb": verb, "resource": resource, "group": group, "namespace": namespace, "name": name}
        wanted = {key: value for key, value in attributes.items() if value}
        resource_name, subresource = resource.partition("/")[::2]
        if subresource:
            wanted.update(resource=resource_name, subresource=subresource)
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": wanted}}
        status = self.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body).get("status") or {}
        return bool(status.get("allowed")), str(status.get("reason") or status.get("evaluationError") or "")


def _plain(error: BaseException) -> str:
    """The reason at the bottom of urllib3's layers, in one line."""
    seen: set[int] = set()
    inner: t.Any = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        error = inner
        reason = getattr(inner, "reason", None)
        inner = reason if isinstance(reason, BaseException) else inner.__cause__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    return (text.rpartition(": ")[2] if "object at 0x" in text else text)[:200]
