# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _cni

CONFIG = {
    "name": "k8s-pod-network",
    "plugins": [
        {"type": "calico", "mtu": 0, "nodename": "k8s01", "ipam": {"type": "calico-ipam"}, "etcd_key": "secret", "kubernetes": {"k8s_auth_token": "secret"}},
        {"type": "portmap"},
    ],
}
RESULT = {
    "kind": "cniCacheV1",
    "containerId": "0069",
    "ifName": "eth0",
    "networkName": "k8s-pod-network",
    "netns": "/var/run/netns/cni-1",
    "cniArgs": [["K8S_POD_NAMESPACE", "ops"], ["K8S_POD_NAME", "probe-1"], ["K8S_POD_UID", "u-1"], ["odd"]],
    "result": {
        "interfaces": [{"name": "cali1"}, {"mac": "26:b1:83:7c:b8:9d", "name": "eth0", "sandbox": "/x"}],
        "ips": [{"address": "192.168.5.66/32"}, {"address": "bad"}],
    },
}


def test_config_without_secrets() -> None:
    found = _cni.config(json.dumps(CONFIG))
    assert found == {
        "name": "k8s-pod-network",
        "plugins": [{"type": "calico", "ipam_type": "calico-ipam", "mtu": 0, "nodename": "k8s01"}, {"type": "portmap"}],
    }
    assert _cni.config('{"type": "bridge", "name": "old"}') == {"name": "old", "plugins": [{"type": "bridge"}]}
    assert _cni.config("[]") is None and _cni.config('{"plugins": 3}') is None and _cni.config("{}") is None


def test_result() -> None:
    found = _cni.result(json.dumps(RESULT))
    assert found is not None
    assert (found["pod_namespace"], found["pod_name"], found["pod_uid"], found["ips"]) == ("ops", "probe-1", "u-1", ["192.168.5.66/32"])
    assert found["interfaces"][1] == {"name": "eth0", "mac": "26:b1:83:7c:b8:9d", "sandbox": "/x"}
    assert _cni.result('{"containerId": 3}') is None


def test_read(tmp_path: t.Any) -> None:
    config, results = tmp_path / "net.d", tmp_path / "results"
    config.mkdir()
    results.mkdir()
    (config / "00-broken.conflist").write_text("{")
    (config / "10-calico.conflist").write_text(json.dumps(CONFIG))
    (config / "20-other.conflist").write_text(json.dumps({**CONFIG, "name": "other"}))
    (config / "calico-kubeconfig").write_text("token: secret")
    (results / "a").write_text(json.dumps(RESULT))
    (results / "b").write_text("nonsense")
    found = _cni.read([str(tmp_path / "absent"), str(config)], [str(results)])
    assert found["config"]["name"] == "k8s-pod-network" and len(found["results"]) == 1
    assert "secret" not in json.dumps(found)
    assert _cni.read([], []) == {"results": [], "config": None}


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
KEYS = ["plugins", "type", "ipam", "name", "containerId", "cniArgs", "result", "ips", "address", "interfaces", "mtu"]
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5), max_leaves=15)


@given(st.text() | VALUES.map(json.dumps))
def test_property_any_text(text: str) -> None:
    _cni.config(text)
    _cni.result(text)


def test_recorded(captures: t.Callable[..., t.Any]) -> None:
    folder = captures()
    results = [_cni.result(path.read_text()) for path in folder.glob("*/nodes/*/cni/results/*")]
    assert len(results) > 1000
    assert all(result is not None and result["pod_name"] and result["ips"] and result["pod_uid"] for result in results)
    for path in folder.glob("*/nodes/*/cni/net.d/*.conflist"):
        found = _cni.config(path.read_text())
        assert found is not None and found["plugins"][0]["type"] in ("calico", "flannel"), path
