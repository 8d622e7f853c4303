"""Fills the API of a new lab."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from lab import dns, tigera_operator
from lab.api import calico, calico_node, crds, objects
from lab.api.client import CALICO, CALICO_RESOURCES, ApiError, Client, Json
from lab.flannel import objects as flannel
from lab.plan import Description, Pod, random_name

T = TypeVar("T")


def _each(work: Callable[[T], object], items: Iterable[T]) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, items))


def ensure(client: Client, resource: str, body: Json, group: str = "") -> Json:
    """Create an object, or take the one that is there."""
    try:
        return client.create(resource, body, group)
    except ApiError as error:
        if error.status not in (409, 422):  # 422: a Service whose address is taken, by itself
            raise
        try:
            return client.get(resource, body["metadata"]["name"], body["metadata"].get("namespace", ""), group)
        except ApiError:
            raise error from None


def create_pod(client: Client, lab: Description, item: Pod, owner: Json) -> Json:
    """A pod and its status. The API decides the uid; the plan's is kept if the API lets it."""
    body = objects.pod(lab, item, owner)
    body["metadata"]["uid"] = item.uid
    made = client.create("pods", body)
    tell_status(client, lab, item)
    return made


def tell_status(client: Client, lab: Description, item: Pod) -> None:
    """What kubelet says of a pod that runs."""
    status = objects.status(lab.node(item.node), item.addresses, item.container, objects.image(lab, item.app), item.app)
    client.patch("pods", item.name, status, item.namespace, part="status")


def create_calico_node_pod(client: Client, lab: Description, node: str, owner: Json) -> Json:
    """A calico-node pod for a node, running."""
    host = lab.node(node)
    made = client.create("pods", objects.calico_node_pod(host, f"calico-node-{random_name()}", owner))
    image = objects.image(lab, "calico-node")
    status = objects.status(host, host.addresses, secrets.token_hex(32), image, "calico-node")
    return client.patch("pods", made["metadata"]["name"], status, made["metadata"]["namespace"], part="status")


def owners(client: Client, lab: Description) -> dict[str, Json]:
    """Create the controllers; the object that owns each app's pods."""
    found: dict[str, Json] = {}
    for app in dict.fromkeys(item.app for item in lab.pods):
        count = sum(item.app == app for item in lab.pods)
        body = objects.controller(lab, app, count)
        made = ensure(client, f"{body['kind'].lower()}s", body)
        if body["kind"] == "Deployment":
            made = ensure(client, "replicasets", objects.replicaset(app, {**made, "kind": "Deployment"}, count))
            found[app] = {**made, "kind": "ReplicaSet"}
        else:
            found[app] = {**made, "kind": body["kind"]}
    body = flannel.daemonset(lab) if lab.calico.flannel else calico_node.daemonset(lab)
    if lab.operator:
        body["metadata"]["ownerReferences"] = [objects.reference(tigera_operator.installation(client, lab))]
    found["agent"] = {**ensure(client, "daemonsets", body), "kind": "DaemonSet"}
    return found


def create_agent_pod(client: Client, lab: Description, node: str, owner: Json) -> Json:
    """A pod of the network plugin for a node, running."""
    create = flannel.create_agent_pod if lab.calico.flannel else create_calico_node_pod
    return create(client, lab, node, owner)


def refresh_endpoints(client: Client, lab: Description) -> None:
    """Write the EndpointSlices anew."""
    uids = {f"{p['metadata']['namespace']}/{p['metadata']['name']}": p["metadata"]["uid"] for p in client.list("pods")}
    for body in objects.services():
        service = {**ensure(client, "services", body), "kind": "Service"}
        fresh = objects.endpointslice(lab, service, uids)
        try:
            client.create("endpointslices", fresh)
        except ApiError as error:
            if error.status != 409:
                raise
            meta = fresh["metadata"]
            client.patch("endpointslices", meta["name"], {"endpoints": fresh["endpoints"]}, meta["namespace"])


def write_ipam(client: Client, lab: Description, node: str) -> None:
    """Bring the blocks of a node to what the lab's plan says; host-local has none."""
    if lab.calico.flannel:
        return
    host = lab.node(node)
    for block in host.blocks:
        client.patch("ipamblocks", calico.cidr_name(block), {"spec": calico.block_spec(lab, host, block)})


def _wait_served(client: Client, group: str, wanted: Iterable[str]) -> None:
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        try:
            names = {r["name"] for r in client.request("GET", f"/apis/{group}").get("resources", [])}
            if set(wanted) <= names:
                for resource in wanted:  # known, but its storage may still be made
                    client.list_raw(resource, "", group, limit="1")
                return
        except ApiError:
            pass
        time.sleep(0.1)
    raise ApiError(404, "the CRDs of the lab were not established within 20 s")


def fill(client: Client, lab: Description) -> None:
    """Everything but the pods' statuses comes from the plan; uids that the API gave come back into it."""
    if lab.calico.backend:
        _each(lambda body: ensure(client, "customresourcedefinitions", body), [*crds.all_crds(), *([tigera_operator.CRD] if lab.operator else [])])
    for name in dict.fromkeys(("shop", "ops", lab.calico.agent.namespace)):
        meta = {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
        ensure(client, "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    _each(lambda item: ensure(client, "nodes", objects.node(lab, item)), lab.nodes)
    for item in lab.nodes:
        status = {"status": objects.node(lab, item)["status"]}
        client.patch("nodes", item.name, status, part="status")
        client.patch("nodes", item.name, {"spec": {"taints": None}})
    ensure(client, "configmaps", flannel.config_map(lab) if lab.calico.flannel else calico_node.config_map(lab))
    if lab.operator:
        _wait_served(client, tigera_operator.GROUP, ["installations"])
    made = owners(client, lab)

    def create(item: Pod) -> None:
        item.uid = create_pod(client, lab, item, made[item.app])["metadata"]["uid"]

    _each(create, lab.pods)
    if lab.calico.backend:
        _wait_served(client, CALICO, CALICO_RESOURCES)
        plurals = {kind: plural for plural, kind in CALICO_RESOURCES.items()}
        _each(lambda body: ensure(client, plurals[body["kind"]], body, CALICO), calico.calico_objects(lab))
    for host in lab.nodes:
        create_agent_pod(client, lab, host.name, made["agent"])
    refresh_endpoints(client, lab)
    if lab.dns == "coredns":
        meta = {"name": "coredns", "namespace": "kube-system"}
        ensure(client, "configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"Corefile": dns.COREFILE}})
