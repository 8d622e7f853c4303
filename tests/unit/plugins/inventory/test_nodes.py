# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from ansible_collections.podnet.doctor.plugins.inventory import nodes
from ansible_collections.podnet.doctor.tests.unit.plugins.fake_api import FakeApi

ROOT = pathlib.Path(__file__).resolve().parents[4]


def node(name, *, labels=(), addresses=None, ready="True"):
    held = [("InternalIP", f"10.0.0.{len(name)}"), ("Hostname", name)] if addresses is None else addresses
    return {
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {},
        "status": {
            "addresses": [{"type": kind, "address": address} for kind, address in held],
            "conditions": [{"type": "Ready", "status": ready}],
            "nodeInfo": {"operatingSystem": "linux", "kubeletVersion": "v1.34.4"},
        },
    }


@pytest.fixture
def api():
    made = FakeApi()
    made.lists["/api/v1/nodes"] = [
        node("control-1", labels={"node-role.kubernetes.io/control-plane": "", "topology.kubernetes.io/zone": "eu-1a"}),
        node("w2", labels={"eks.amazonaws.com/nodegroup": "big ones"}, ready="Unknown"),
        node("w34", addresses=[("InternalIP", "10.0.0.34"), ("InternalIP", "2001:db8::34"), ("ExternalIP", "198.51.100.34")]),
    ]
    yield made
    made.close()


def plain(value):
    """Without the marks that ansible-inventory puts on texts that are no templates."""
    if isinstance(value, dict):
        return plain(value["__ansible_unsafe"]) if "__ansible_unsafe" in value else {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


class Listing:
    def __init__(self, tmp_path, url):
        self.file, self.url = tmp_path / "cluster.podnet.yml", url
        self.stderr = self.stdout = ""

    def __call__(self, **options):
        given = {"plugin": "podnet.doctor.nodes", "host": self.url, "timeout": 20, **options}
        self.file.write_text(json.dumps(given))
        done = subprocess.run(
            [str(pathlib.Path(sys.executable).parent / "ansible-inventory"), "-i", str(self.file), "--list"],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true"},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        self.stderr = " ".join(done.stderr.split())
        self.stdout = done.stdout
        return plain(json.loads(done.stdout)) if done.returncode == 0 else {}


@pytest.fixture
def listing(tmp_path, api):
    return Listing(tmp_path, api.url)


def test_each_node_is_a_host_at_its_internal_address(listing):
    found = listing()
    variables = found["_meta"]["hostvars"]
    assert sorted(found["nodes"]["hosts"]) == ["control-1", "w2", "w34"]
    assert {name: own["ansible_host"] for name, own in variables.items()} == {"control-1": "10.0.0.9", "w2": "10.0.0.2", "w34": "10.0.0.34"}
    assert variables["w2"]["podnet_node_name"] == "w2" and variables["w2"]["node_ready"] is None and variables["w34"]["node_ready"] is True
    assert found["role_control_plane"]["hosts"] == found["zone_eu_1a"]["hosts"] == ["control-1"]
    assert found["pool_big_ones"]["hosts"] == ["w2"]


def test_another_kind_of_address_and_family(listing):
    assert listing(family="ipv6")["_meta"]["hostvars"]["w34"]["ansible_host"] == "2001:db8::34"
    assert "node w2 is left out: it has no InternalIP of ipv6; its addresses are InternalIP 10.0.0.2, Hostname w2" in listing.stderr
    assert listing(address_type="ExternalIP")["nodes"]["hosts"] == ["w34"]


def test_the_api_filters_by_labels(listing, api):
    listing(label_selector="!node-role.kubernetes.io/control-plane")
    assert any("labelSelector=%21node-role" in path for _method, path, _body, _headers in api.asked)


def test_groups_and_variables_can_be_composed(listing):
    found = listing(group="all_nodes", group_by=["os"], compose={"ansible_user": "'core'"}, keyed_groups=[{"prefix": "kubelet", "key": "node_kubelet_version"}])
    assert len(found["all_nodes"]["hosts"]) == len(found["os_linux"]["hosts"]) == len(found["kubelet_v1_34_4"]["hosts"]) == 3
    assert found["_meta"]["hostvars"]["w2"]["ansible_user"] == "core"


def test_what_a_label_says_is_never_a_template(listing, api):
    api.lists["/api/v1/nodes"] = [node("w1", labels={"note": "{{ lookup('pipe', 'id') }}"})]
    assert listing()["_meta"]["hostvars"]["w1"]["node_labels"]["note"] == "{{ lookup('pipe', 'id') }}"
    assert json.loads(listing.stdout)["_meta"]["hostvars"]["w1"]["node_labels"]["note"] == {"__ansible_unsafe": "{{ lookup('pipe', 'id') }}"}


def test_the_last_known_nodes_serve_while_the_api_does_not(listing, api, tmp_path):
    last = tmp_path / "kept" / "nodes.json"
    before = listing(last_known=str(last))
    assert last.stat().st_mode & 0o777 == 0o600
    api.refused["/api/v1/nodes"] = 503
    assert listing(last_known=str(last)) == before
    assert "the 3 nodes that it told at 20" in listing.stderr
    assert listing(last_known=str(last), timeout=0.000001) == before
    assert "was not asked for /api/v1/nodes" in listing.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "does not exist yet"), ("[]", "does not hold nodes"), ('{"nodes": 3, "told_at": ""}', "does not hold nodes"), ("\x00", "does not hold")],
)
def test_no_last_known_nodes(listing, api, tmp_path, content, said):
    last = tmp_path / "nodes.json"
    if content is not None:
        last.write_text(content)
    api.refused["/api/v1/nodes"] = 403
    assert listing(last_known=str(last)) == {}
    assert "the API forbids it" in listing.stderr and said in listing.stderr and "Traceback" not in listing.stderr


def test_an_api_that_does_not_answer_is_one_sentence(listing):
    listing.url = "http://127.0.0.1:9"
    assert listing() == {}
    assert "the API at http://127.0.0.1:9 does not answer" in listing.stderr and "last_known" in listing.stderr and "Traceback" not in listing.stderr


def test_a_node_without_anything_is_still_understood():
    empty = nodes.reduced({"metadata": {"name": "bare"}})
    assert nodes.address_of(empty, "InternalIP", None) is None
    assert nodes.groups_of(empty, ["role", "zone", "pool", "os"]) == []
