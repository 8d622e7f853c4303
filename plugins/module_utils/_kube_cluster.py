# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The cluster document: which resource each section is, how a question narrows it, and the reading of all at once.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import time
import typing as t
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import quote

from ansible_collections.podnet.doctor.plugins.module_utils import _kube_fields
from ansible_collections.podnet.doctor.plugins.module_utils._address import canonical
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, sentence
from ansible_collections.podnet.doctor.plugins.module_utils._kube_api import PAGE, Api, ApiError
from ansible_collections.podnet.doctor.plugins.module_utils._kube_options import Options
from ansible_collections.podnet.doctor.plugins.module_utils._processes import rfc3339

SCHEMA = "podnet.doctor/cluster/1"
WORKERS = 4
COMPONENTS = "k8s-app in (calico-kube-controllers,calico-typha,kube-dns)"
SANDBOX_FAILURES = "reason=FailedCreatePodSandBox"
AGENTS = "k8s-app in (calico-node,canal)"
CORE = {
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "serviceaccounts": "/api/v1/serviceaccounts",
    "services": "/api/v1/services",
    "endpointslices": "/apis/discovery.k8s.io/v1/endpointslices",
    "networkpolicies": "/apis/networking.k8s.io/v1/networkpolicies",
    "daemonsets": "/apis/apps/v1/daemonsets",
    "deployments": "/apis/apps/v1/deployments",
    "events": "/api/v1/events",
}
CALICO = {
    "ippools": "ippools",
    "ipamblocks": "ipamblocks",
    "blockaffinities": "blockaffinities",
    "bgpconfigurations": "bgpconfigurations",
    "bgppeers": "bgppeers",
    "felixconfigurations": "felixconfigurations",
    "clusterinformations": "clusterinformations",
    "hostendpoints": "hostendpoints",
    "globalnetworkpolicies": "globalnetworkpolicies",
    "calico_networkpolicies": "networkpolicies",
    "tiers": "tiers",
    "networksets": "networksets",
    "globalnetworksets": "globalnetworksets",
    "ipamconfigs": "ipamconfigs",
}
# policies of the cluster's administrator; which version has which of them changed
POLICY_GROUP = "policy.networking.k8s.io"
POLICY = ("clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies")
# where flannel's and canal's manifests keep net-conf.json
FLANNEL_CONFIGURATIONS = (
    ("kube-flannel", "kube-flannel-cfg"),
    ("kube-system", "kube-flannel-cfg"),
    ("kube-system", "canal-config"),
    ("kube-system", "rke2-canal-config"),
)
SECTIONS = (*CORE, "configmaps", *POLICY, *CALICO)
GROUPS = ("crd.projectcalico.org/v1", "projectcalico.org/v3")
BETWEEN_PODS = ("services", "endpointslices")
Narrow = t.Mapping[str, t.Sequence[t.Any]]


def sections_of(wanted: t.Iterable[str] | None) -> list[str]:
    """The sections asked for; ``!name`` leaves one out."""
    words = list(wanted or SECTIONS)
    unknown = sorted({word.lstrip("!") for word in words} - {*SECTIONS, "all"})
    if unknown:
        raise ValueError(f"sections: there is no section {', '.join(unknown)}; known are all, {', '.join(SECTIONS)}")
    chosen = {word for word in words if not word.startswith("!")}
    if not chosen or "all" in chosen:
        chosen = set(SECTIONS)
    return [name for name in SECTIONS if name in chosen and f"!{name}" not in words]


DNS_SERVICE = ("svc", ("kube-system", "kube-dns"))


def _pieces(text: t.Any) -> tuple[str, tuple[str, ...]] | None:
    """``("pod", (namespace, name))``, ``("node", (name,))``, ``("svc", ...)``, ``("address", (ip,))``; None if it is none of them."""
    words = str(text).strip().split("/")
    if len(words) == 1:
        address, labels = canonical(words[0]), words[0].split(".")
        if address is None and len(labels) > 2 and labels[2] == "svc":  # name.namespace.svc.cluster.local
            return "svc", (labels[1], labels[0])
        return ("address", (address,)) if address else None
    if len(words) == 2 and words[0] == "dns":  # a name, asked of the cluster's DNS
        return DNS_SERVICE
    if len(words) == 2 and words[0] == "node":
        return "node", (words[1],)
    if len(words) == 3 and words[0] in ("svc", "service"):
        return "svc", (words[1], words[2].partition(":")[0])
    if len(words) == 3 and words[0] == "pod":
        return "pod", (words[1], words[2])
    return ("pod", (words[0], words[1])) if len(words) == 2 else None


class Narrowing:
    """The pods that a question is about: itself, all on its nodes, and the components that everything needs."""

    def __init__(self, api: Api, narrow: Narrow) -> None:
        self.api = api
        self.found: dict[tuple[str, str], dict[str, t.Any]] = {}
        self.nodes: set[str] = set(narrow.get("nodes") or ())
        self.node_ports = {str(port) for port in narrow.get("node_ports") or ()}
        self.wanted: list[tuple[str, tuple[str, ...]]] = []
        for pod in narrow.get("pods") or ():
            self.wanted.append(("pod", (str(pod["namespace"]), str(pod["name"]))))
        for address in narrow.get("pod_addresses") or ():
            self.wanted.append(("address", (str(canonical(address) or address),)))
        for end in narrow.get("endpoints") or ():
            pieces = _pieces(end)
            if pieces is not None:
                self.wanted.append(pieces)

    def _add(self, pods: t.Iterable[dict[str, t.Any]], with_nodes: bool) -> None:
        for pod in pods:
            metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
            self.found[(str(metadata.get("namespace")), str(metadata.get("name")))] = pod
            if with_nodes and spec.get("nodeName"):
                self.nodes.add(spec["nodeName"])

    def _pod(self, namespace: str, name: str) -> None:
        base = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
        try:
            self._add([self.api.get_json(f"{base}/{quote(name, safe='')}")], True)
        except ApiError as error:
            if error.status != 404:
                raise
            self._add(self.api.items(base), False)  # so that near names can be suggested

    def _service(self, namespace: str, name: str) -> None:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace, safe='')}/endpointslices"
        for piece in self.api.items(path, {"labelSelector": f"kubernetes.io/service-name={name}"}):
            for endpoint in piece.get("endpoints") or []:
                if endpoint.get("nodeName"):
                    self.nodes.add(endpoint["nodeName"])

    def _address(self, address: str) -> None:
        """The API selects by the first address of a pod only, in dual stack normally the IPv4 one; for the others all pods are looked through."""
        found = list(self.api.items(CORE["pods"], {"fieldSelector": f"status.podIP={address}"}))
        if not found and ":" in address:
            found = [pod for pod in self.api.items(CORE["pods"]) if address in map(canonical, _addresses(pod))]
        self._add(found, True)
        if not found or (self.node_ports and all((pod.get("spec") or {}).get("hostNetwork") for pod in found)):
            self._services_of(address)

    def _services_of(self, address: str | None) -> None:
        """The Services with this address, and those that have one of the asked ports on the nodes."""
        for service in self.api.items(CORE["services"]):
            metadata, spec = service.get("metadata") or {}, service.get("spec") or {}
            addresses = map(canonical, [spec.get("clusterIP"), *(spec.get("clusterIPs") or [])])
            ports = {str(port.get("nodePort")) for port in spec.get("ports") or []}
            if (address and address in addresses) or ports & self.node_ports:
                self._service(str(metadata.get("namespace")), str(metadata.get("name")))

    def _ask(self, kind: str, words: tuple[str, ...]) -> None:
        if kind == "pod":
            self._pod(*words)
        elif kind == "svc":
            self._service(*words)
        elif kind == "address":
            self._address(words[0])
        else:
            self.nodes.add(words[0])
            if self.node_ports:
                self._services_of(None)

    def read(self, pool: ThreadPoolExecutor) -> list[dict[str, t.Any]]:
        """The pods."""
        components = pool.submit(self.api.items, CORE["pods"], {"labelSelector": COMPONENTS})
        agents = pool.submit(self.api.get_json, CORE["pods"], {"labelSelector": AGENTS, "limit": PAGE})
        for asked in [pool.submit(self._ask, kind, words) for kind, words in dict.fromkeys(self.wanted)]:
            asked.result()
        on_nodes = [pool.submit(self.api.items, CORE["pods"], {"fieldSelector": f"spec.nodeName={node}"}) for node in sorted(self.nodes)]
        for answer in on_nodes:
            self._add(answer.result(), False)
        self._add(components.result(), False)
        self._add(agents.result().get("items") or [], False)  # one page: in a big cluster those of other nodes are not worth it
        return list(self.found.values())


def _addresses(pod: dict[str, t.Any]) -> list[t.Any]:
    return [entry.get("ip") for entry in (pod.get("status") or {}).get("podIPs") or []]


class Reader:
    """One reading of the cluster."""

    def __init__(self, api: Api, sections: t.Sequence[str], narrow: Narrow | None) -> None:
        self.api = api
        self.sections = sections
        self.narrow = narrow
        self.calico: str | None = None
        self.policy_versions: list[str] = []

    def _reduced(self, kind: str, items: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
        configmaps: dict[tuple[str, str], t.Any] = {}
        for namespace, name in sorted({reference for item in items for reference in _kube_fields.references(kind, item)}):
            try:
                path = f"/api/v1/namespaces/{quote(namespace, safe='')}/configmaps/{quote(name, safe='')}"
                configmaps[(namespace, name)] = self.api.get_json(path).get("data") or {}
            except ApiError:
                continue  # the reference stays in the document, so what is not known can be seen
        return [_kube_fields.reduce(kind, item, configmaps) for item in items]

    def _core(self, name: str) -> list[dict[str, t.Any]]:
        params = {"deployments": {"labelSelector": COMPONENTS}, "events": {"fieldSelector": SANDBOX_FAILURES}}.get(name)
        return self._reduced(name, self.api.items(CORE[name], params))

    def _configmaps(self, daemonsets: Future[list[dict[str, t.Any]]] | None) -> list[dict[str, t.Any]]:
        """flannel's configuration, where a DaemonSet runs it, and CoreDNS's, where DNS is asked for and it may be read."""
        found = self._corefile()
        if daemonsets is not None and not any(_kube_fields.is_flannel(daemonset) for daemonset in daemonsets.result()):
            return self._reduced("configmaps", found)
        for namespace, name in FLANNEL_CONFIGURATIONS:
            try:
                found.append(self.api.get_json(f"/api/v1/namespaces/{namespace}/configmaps/{name}"))
            except ApiError as error:
                if error.status != 404:
                    raise
        return self._reduced("configmaps", found)

    def _corefile(self) -> list[dict[str, t.Any]]:
        ends = [] if self.narrow is None else [str(end) for end in self.narrow.get("endpoints") or ()]
        if not any(_pieces(end) == DNS_SERVICE or (_pieces(end) is None and "." in end) for end in ends):
            return []
        try:
            return [self.api.get_json("/api/v1/namespaces/kube-system/configmaps/coredns")]
        except ApiError:
            return []

    def _calico(self, name: str) -> list[dict[str, t.Any]]:
        if self.calico is None:
            raise ApiError("the API serves no Calico resources (neither crd.projectcalico.org nor projectcalico.org)", 404)
        return self._reduced(name, self.api.items(f"/apis/{self.calico}/{CALICO[name]}"))

    def _policy(self, name: str) -> list[dict[str, t.Any]]:
        for version in self.policy_versions:
            try:
                return self._reduced(name, self.api.items(f"/apis/{version}/{name}"))
            except ApiError as error:
                if error.status != 404:
                    raise
        raise ApiError(f"the API serves no {name} ({POLICY_GROUP})", 404)

    def _between_pods(self) -> bool:
        """Whether the question is about pods alone: then no Service stands between them, and of the endpoints only those that policies name are read."""
        if self.narrow is None or self.narrow.get("nodes"):
            return False
        kinds = [_pieces(end) for end in self.narrow.get("endpoints") or ()]
        return all(pieces is not None and pieces[0] == "pod" for pieces in kinds)

    def _slices_in_policies(self, policies: t.Sequence[Future[list[dict[str, t.Any]]]]) -> list[dict[str, t.Any]]:
        """The EndpointSlices of the Services that rules name."""
        named: set[tuple[str, str]] = set()
        for answer in policies:
            if answer.exception() is None:
                named.update(*(_kube_fields.services_in_rules(policy) for policy in answer.result()))
        found = []
        for namespace, name in sorted(named):
            path = f"/apis/discovery.k8s.io/v1/namespaces/{quote(namespace, safe='')}/endpointslices"
            found += self.api.items(path, {"labelSelector": f"kubernetes.io/service-name={name}"})
        return self._reduced("endpointslices", found)

    def _groups(self) -> dict[str, list[str]] | None:
        """The groups that are served, each with its versions; None where that may not be read."""
        try:
            found = self.api.get_json("/apis").get("groups") or []
        except ApiError as error:
            if error.status in (0, 401):
                raise
            return None
        return {str(group.get("name")): [str(version.get("groupVersion")) for version in group.get("versions") or []] for group in found}

    def read(self, document: dict[str, t.Any]) -> None:
        """Fill the document in. Raises ApiError only if there is no talking to the API at all."""
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="api") as pool, ThreadPoolExecutor(WORKERS) as questions:
            groups = pool.submit(self._groups)
            version = pool.submit(self.api.get_json, "/version")
            found: dict[str, Future[list[dict[str, t.Any]]]] = {}
            narrowed = self.narrow is not None and "pods" in self.sections
            if narrowed and self.narrow is not None:
                narrowing = Narrowing(self.api, self.narrow)
                pods = pool.submit(narrowing.read, questions)
                found["pods"] = pool.submit(lambda: self._reduced("pods", pods.result()))
            between = self._between_pods()
            for name in self.sections:
                if name in CORE and name not in found and not (between and name in BETWEEN_PODS):
                    found[name] = pool.submit(self._core, name)
            if "configmaps" in self.sections:
                found["configmaps"] = pool.submit(self._configmaps, found.get("daemonsets"))
            served = groups.result()
            # the group under which Calico's resources are stored: v3 only if nothing serves v1
            self.calico = GROUPS[0] if served is None else next((group for group in GROUPS if group.partition("/")[0] in served), None)
            self.policy_versions = [f"{POLICY_GROUP}/v1alpha2", f"{POLICY_GROUP}/v1alpha1"] if served is None else served.get(POLICY_GROUP, [])
            document["calico_api"] = self.calico
            for name in self.sections:
                if name in CALICO:
                    found[name] = pool.submit(self._calico, name)
                elif name in POLICY:
                    found[name] = pool.submit(self._policy, name)
            if between:
                policies = [found[name] for name in ("calico_networkpolicies", "globalnetworkpolicies") if name in found]
                found["services"] = pool.submit(list)
                if "endpointslices" in self.sections:  # the last in the queue: it waits for what stands before it
                    found["endpointslices"] = pool.submit(self._slices_in_policies, policies)
            try:
                document["version"] = {"gitVersion": str(version.result().get("gitVersion"))}
            except ApiError as error:
                document["version"] = {"error": sentence(error)}
            for name in self.sections:
                document[name] = _result(found[name])
        partial = {"deployments", "events", *(("pods",) if narrowed else ()), *(BETWEEN_PODS if between else ())}
        document["narrowed"] = [name for name in SECTIONS if name in self.sections and name in partial]


def _result(answer: Future[list[dict[str, t.Any]]]) -> t.Any:
    try:
        return answer.result()
    except Exception as error:  # noqa: BLE001 - a section that failed by itself
        absent = isinstance(error, ApiError) and error.status == 404
        return {"error": sentence(error), **({"reason": "absent"} if absent else {})}


def read_cluster(
    options: Options,
    sections: t.Iterable[str] | None = None,
    narrow: Narrow | None = None,
    timeout: float = 20.0,
) -> dict[str, t.Any]:
    """The cluster document. Raises KubeError only for options that lead nowhere (no kubeconfig, a broken one).

    narrow names what a question is about: ``endpoints`` (texts such as ``shop/web-0``, ``node/k8s01``, ``svc/ns/name``, an address),
    ``pods`` (namespace and name), ``pod_addresses``, ``nodes``, and ``node_ports``, which may be a Service's where an end is a node.
    """
    started = time.monotonic()
    wanted = sections_of(sections)
    document: dict[str, t.Any] = {
        "schema": SCHEMA,
        "collected_at": rfc3339(time.time()),
        "seconds": 0.0,
        "server": None,
        "reachable": True,
        "version": None,
        "calico_api": None,
        "scope": "cluster" if narrow is None else "pair",
        "narrowed": [],
    }
    with Api(options, deadline=Deadline(timeout)) as api:
        document["server"] = api.server
        try:
            Reader(api, wanted, narrow).read(document)
        except Exception as error:  # noqa: BLE001 - an API that cannot be asked is told in the document
            document["reachable"] = False
            document["error"] = sentence(error)
            for name in ("version", *wanted):
                if not document.get(name) or isinstance(document[name], dict):
                    document[name] = {"error": sentence(error)}
    document["seconds"] = round(time.monotonic() - started, 3)
    return document
