# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _kube
from ansible_collections.podnet.doctor.tests.unit.plugins import support
from ansible_collections.podnet.doctor.tests.unit.plugins.fake_api import FakeApi


@pytest.fixture
def api() -> t.Iterator[FakeApi]:
    made = FakeApi()
    yield made
    made.close()


@pytest.fixture(params=["ipip-healthy", "v333-ipip-healthy"])
def recorded(api: FakeApi, captures: t.Callable[..., t.Any], request: pytest.FixtureRequest) -> FakeApi:
    api.load(captures(request.param) / request.param / "api")
    api.name = request.param  # type: ignore[attr-defined]
    return api


def names(document: dict[str, t.Any], section: str) -> set[str]:
    return {item["metadata"]["name"] for item in document[section]}


def test_whole_cluster(recorded: FakeApi) -> None:
    document = _kube.read_cluster({"host": recorded.url})
    support.valid("cluster", document)
    assert (document["scope"], document["narrowed"], document["reachable"]) == ("cluster", ["deployments", "events"], True)
    version = "projectcalico.org/v3" if recorded.name.startswith("v333") else "crd.projectcalico.org/v1"  # type: ignore[attr-defined]
    assert document["calico_api"] == version
    errors = {name: section for name, section in document.items() if isinstance(section, dict) and "error" in section}
    assert all(section["reason"] == "absent" for section in errors.values()), errors
    assert len(document["nodes"]) == 3 and document["ippools"] and document["ipamblocks"] and document["calico_networkpolicies"]
    assert document["networkpolicies"] != document["calico_networkpolicies"]
    calico = next(item for item in document["daemonsets"] if item["metadata"]["name"] == "calico-node")
    environment = {entry["name"]: entry.get("value") for entry in calico["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert environment["CALICO_NETWORKING_BACKEND"] == "bird"
    assert not any("secrets" in path for _method, path, _body, _headers in recorded.asked)


def test_narrowed_to_a_question(recorded: FakeApi) -> None:
    pods = [item for item in recorded.lists["/api/v1/pods"] if item["metadata"]["namespace"] == "shop"]
    one, two = pods[0], pods[-1]
    end = f"shop/{one['metadata']['name']}"
    document = _kube.read_cluster({"host": recorded.url}, narrow={"endpoints": [end, two["status"]["podIP"]]})
    support.valid("cluster", document)
    assert document["scope"] == "pair" and document["narrowed"] == ["pods", "deployments", "events"]
    on_nodes = {
        item["metadata"]["name"] for item in recorded.lists["/api/v1/pods"] if item["spec"]["nodeName"] in (one["spec"]["nodeName"], two["spec"]["nodeName"])
    }
    assert on_nodes <= names(document, "pods") and "calico-kube-controllers" in "".join(names(document, "pods"))
    assert not any(path.startswith("/api/v1/pods?limit") for _method, path, _body, _headers in recorded.asked)


def test_second_address_of_a_pod(api: FakeApi, captures: t.Callable[..., t.Any]) -> None:
    api.load(captures("dualstack-healthy") / "dualstack-healthy" / "api")
    pod = next(item for item in api.lists["/api/v1/pods"] if item["metadata"]["name"].startswith("web-"))
    second = pod["status"]["podIPs"][1]["ip"]
    assert ":" in second
    document = _kube.read_cluster({"host": api.url}, ["pods"], {"endpoints": [second]})
    assert pod["metadata"]["name"] in names(document, "pods")
    document = _kube.read_cluster({"host": api.url}, ["pods"], {"endpoints": ["fd00::dead"]})
    assert pod["metadata"]["name"] not in names(document, "pods")


def test_unknown_pod_brings_its_namespace(recorded: FakeApi) -> None:
    document = _kube.read_cluster({"host": recorded.url}, ["pods", "namespaces"], {"endpoints": ["shop/web-typo", "nonsense", "node/none"]})
    assert any(name.startswith("web-") for name in names(document, "pods"))


def test_service_brings_its_nodes(api: FakeApi) -> None:
    api.objects["/apis"] = {"groups": []}
    api.lists["/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"] = [{"metadata": {"name": "api-x"}, "endpoints": [{"nodeName": "b"}, {}]}]
    api.lists["/api/v1/pods"] = [{"metadata": {"name": f"p-{node}", "namespace": "shop"}, "spec": {"nodeName": node}, "status": {}} for node in ("a", "b")]
    document = _kube.read_cluster({"host": api.url}, ["pods"], {"endpoints": ["svc/shop/api"], "nodes": [], "pods": [], "pod_addresses": []})
    assert names(document, "pods") == {"p-b"}


@pytest.mark.parametrize("asked", ["svc/shop/api:80", "api.shop.svc", "api.shop.svc.cluster.local", "10.96.0.7", "fd00::7"])
def test_every_name_of_a_service_brings_the_nodes_of_its_endpoints(api: FakeApi, asked: str) -> None:
    api.objects["/apis"] = {"groups": []}
    api.lists["/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"] = [{"metadata": {"name": "api-x"}, "endpoints": [{"nodeName": "b"}]}]
    spec = {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"]}
    api.lists["/api/v1/services"] = [{"metadata": {"name": "api", "namespace": "shop"}, "spec": spec}]
    api.lists["/api/v1/pods"] = [{"metadata": {"name": f"p-{node}", "namespace": "shop"}, "spec": {"nodeName": node}, "status": {}} for node in ("a", "b")]
    document = _kube.read_cluster({"host": api.url}, ["pods", "services"], {"endpoints": [asked], "nodes": [], "pods": [], "pod_addresses": []})
    assert "p-b" in names(document, "pods") and names(document, "services") == {"api"}


@pytest.mark.parametrize("asked", ["svc/kube-system/kube-dns", "dns/web", "www.example.com", "shop/web-0", "10.96.0.7"])
def test_the_corefile_is_read_where_dns_is_asked_for_and_it_may_be(api: FakeApi, asked: str) -> None:
    path, wanted = "/api/v1/namespaces/kube-system/configmaps/coredns", not asked.startswith(("shop/", "10."))
    api.objects["/apis"] = {"groups": []}
    assert _kube.read_cluster({"host": api.url}, ["pods", "configmaps"], {"endpoints": [asked]})["configmaps"] == []
    api.objects[path] = {"metadata": {"name": "coredns", "namespace": "kube-system"}, "data": {"Corefile": ".:53 {\n}\n", "other": "x"}}
    found = _kube.read_cluster({"host": api.url}, ["pods", "configmaps"], {"endpoints": [asked]})["configmaps"]
    assert [item["data"] for item in found] == ([{"Corefile": ".:53 {\n}\n"}] if wanted else [])


def test_forbidden_and_missing_are_their_sections_errors(api: FakeApi) -> None:
    api.objects["/apis"] = {"groups": [{"name": "crd.projectcalico.org"}]}
    api.lists["/api/v1/nodes"] = [{"metadata": {"name": "a"}}]
    api.refused["/api/v1/pods"] = 403
    document = _kube.read_cluster({"host": api.url}, ["nodes", "pods", "hostendpoints"])
    assert names(document, "nodes") == {"a"}
    assert document["pods"]["error"].startswith("the API forbids it: ")
    assert document["hostendpoints"]["error"].startswith("the API does not have it: ")
    assert document["reachable"] is True
    support.valid("cluster", document)


def test_groups_that_cannot_be_listed(api: FakeApi) -> None:
    api.refused["/apis"] = 403
    api.lists["/apis/crd.projectcalico.org/v1/ippools"] = [{"metadata": {"name": "pool"}}]
    assert names(_kube.read_cluster({"host": api.url}, ["ippools"]), "ippools") == {"pool"}


def test_no_calico(api: FakeApi) -> None:
    api.objects["/apis"] = {"groups": [{"name": "apps"}]}
    document = _kube.read_cluster({"host": api.url}, ["ippools"])
    assert document["calico_api"] is None and "serves no Calico resources" in document["ippools"]["error"]


@pytest.mark.parametrize(("name", "configured"), [("flannel-hostgw-healthy", ["host-gw"]), ("canal-healthy", ["vxlan"]), ("ipip-healthy", [])])
def test_flannels_configuration_and_no_other_configmap(api: FakeApi, captures: t.Callable[..., t.Any], name: str, configured: list[str]) -> None:
    api.load(captures(name) / name / "api")
    document = _kube.read_cluster({"host": api.url})
    support.valid("cluster", document)
    assert [json.loads(item["data"].pop("net-conf.json"))["Backend"]["Type"] for item in document["configmaps"]] == configured
    assert not any(item["data"] for item in document["configmaps"])
    asked = [path for _method, path, _body, _headers in api.asked if "/configmaps/kube-flannel-cfg" in path]
    assert bool(asked) is bool(configured)


def test_a_configuration_that_is_forbidden_is_an_error_and_not_absent(api: FakeApi, captures: t.Callable[..., t.Any]) -> None:
    api.load(captures("canal-healthy") / "canal-healthy" / "api")
    api.refused["/api/v1/namespaces/kube-system/configmaps/canal-config"] = 403
    document = _kube.read_cluster({"host": api.url}, ["daemonsets", "configmaps"])
    assert document["configmaps"]["error"].startswith("the API forbids it")


@pytest.mark.parametrize("refused", [True, False])
def test_unreachable(api: FakeApi, refused: bool) -> None:
    if refused:
        api.refused.update({"/apis": 401, "/version": 401, "/api/v1/nodes": 401})
    document = _kube.read_cluster({"host": api.url if refused else "http://127.0.0.1:1"}, ["nodes", "ippools"])
    support.valid("cluster", document)
    assert document["reachable"] is False
    assert document["error"] == document["ippools"]["error"]
    assert ("refuses these credentials" if refused else "does not answer: Connection refused") in json.dumps(document["nodes"])


def test_sections() -> None:
    assert _kube.sections_of(None) == list(_kube.SECTIONS)
    assert _kube.sections_of(["all", "!pods"]) == [name for name in _kube.SECTIONS if name != "pods"]
    assert _kube.sections_of(["ippools", "nodes"]) == ["nodes", "ippools"]
    with pytest.raises(ValueError, match="no section secrets"):
        _kube.sections_of(["secrets"])


def test_policies_of_the_cluster(api: FakeApi) -> None:
    """Each kind in whichever version of the group has it; what none has is absent, what is forbidden is not."""
    group = "policy.networking.k8s.io"
    versions = [{"groupVersion": f"{group}/v1alpha2"}, {"groupVersion": f"{group}/v1alpha1"}]
    api.objects["/apis"] = {"groups": [{"name": group, "versions": versions}]}
    api.lists[f"/apis/{group}/v1alpha2/clusternetworkpolicies"] = [{"metadata": {"name": "first"}, "spec": {"priority": 1}}]
    api.lists[f"/apis/{group}/v1alpha1/adminnetworkpolicies"] = [{"metadata": {"name": "second"}, "spec": {"priority": 2}}]
    wanted = ["clusternetworkpolicies", "adminnetworkpolicies", "baselineadminnetworkpolicies"]
    document = _kube.read_cluster({"host": api.url}, [*wanted, "tiers"])
    support.valid("cluster", document)
    assert document["clusternetworkpolicies"] == [{"metadata": {"name": "first"}, "spec": {"priority": 1}}]
    assert names(document, "adminnetworkpolicies") == {"second"}
    assert document["baselineadminnetworkpolicies"]["reason"] == document["tiers"]["reason"] == "absent"
    api.refused[f"/apis/{group}/v1alpha2/clusternetworkpolicies"] = 403
    forbidden = _kube.read_cluster({"host": api.url}, wanted)["clusternetworkpolicies"]
    assert "forbids" in forbidden["error"] and "reason" not in forbidden


def test_a_group_that_is_not_served_is_not_asked(api: FakeApi) -> None:
    api.objects["/apis"] = {"groups": []}
    document = _kube.read_cluster({"host": api.url}, ["clusternetworkpolicies"])
    assert document["clusternetworkpolicies"]["reason"] == "absent"
    assert not any("policy.networking" in path for _method, path, _body, _headers in api.asked)


def test_labels_of_service_accounts(api: FakeApi) -> None:
    account = {"metadata": {"name": "runner", "namespace": "shop", "labels": {"role": "ci"}, "resourceVersion": "7"}, "secrets": [{"name": "runner-token"}]}
    api.lists["/api/v1/serviceaccounts"] = [account]
    document = _kube.read_cluster({"host": api.url}, ["serviceaccounts"])
    assert document["serviceaccounts"] == [{"metadata": {"name": "runner", "namespace": "shop", "labels": {"role": "ci"}}}]


def test_between_pods_only_the_services_that_policies_name_are_followed(api: FakeApi) -> None:
    group = "/apis/crd.projectcalico.org/v1"
    api.objects["/apis"] = {"groups": [{"name": "crd.projectcalico.org", "versions": []}]}
    rule = {"action": "Allow", "destination": {"services": {"name": "api"}}}
    api.lists[f"{group}/networkpolicies"] = [{"metadata": {"name": "out", "namespace": "shop"}, "spec": {"egress": [rule]}}]
    api.lists[f"{group}/globalnetworkpolicies"] = []
    api.lists["/apis/discovery.k8s.io/v1/endpointslices"] = [{"metadata": {"name": "other"}}]
    api.lists["/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"] = [{"metadata": {"name": "api-x", "namespace": "shop"}}]
    api.lists["/api/v1/services"] = [{"metadata": {"name": "api", "namespace": "shop"}}]
    for pod in ("web-0", "api-0"):
        api.objects[f"/api/v1/namespaces/shop/pods/{pod}"] = {"metadata": {"name": pod, "namespace": "shop"}}
    api.lists["/api/v1/pods"] = []
    document = _kube.read_cluster({"host": api.url}, None, {"endpoints": ["shop/web-0", "shop/api-0"]})
    assert (names(document, "endpointslices"), document["services"]) == ({"api-x"}, [])
    assert document["narrowed"] == ["pods", "services", "endpointslices", "deployments", "events"]
    whole = _kube.read_cluster({"host": api.url}, None, {"endpoints": ["shop/web-0", "10.96.0.1"]})
    assert (names(whole, "endpointslices"), names(whole, "services")) == ({"other"}, {"api"}) and "services" not in whole["narrowed"]
