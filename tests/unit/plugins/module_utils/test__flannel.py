# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _flannel
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired
from ansible_collections.podnet.doctor.tests.unit import recorded

CONTAINER = "2bf85cbf763e36dba981ed20dcb4b67e6533247ddf8fb1dbc91a052734791629"


def test_subnet_env() -> None:
    text = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.0.1/24\n\nFLANNEL_MTU=1450\nSECRET=x\nnonsense\n FLANNEL_IPMASQ=true\n"
    assert _flannel.subnet_env(text) == {
        "FLANNEL_NETWORK": "10.244.0.0/16", "FLANNEL_SUBNET": "10.244.0.1/24", "FLANNEL_MTU": "1450", "FLANNEL_IPMASQ": "true",
    }  # fmt: skip


def test_a_file_that_is_not_there_is_not_an_empty_one(tmp_path: pathlib.Path) -> None:
    assert _flannel.read_subnet_env(str(tmp_path / "subnet.env")) is None
    (tmp_path / "subnet.env").write_text("")
    assert _flannel.read_subnet_env(str(tmp_path / "subnet.env")) == {}
    with pytest.raises(IsADirectoryError):
        _flannel.read_subnet_env(str(tmp_path))


def test_host_local(tmp_path: pathlib.Path) -> None:
    network = tmp_path / "cbr0"
    network.mkdir()
    (network / "10.244.0.2").write_text(f"{CONTAINER}\r\neth0")
    (network / "10.244.0.3").write_text("old-form-without-interface")
    (network / "10.244.0.4").write_text("")
    (network / "last_reserved_ip.0").write_text("10.244.0.4")
    (network / "lock").write_text("")
    (tmp_path / "stray").write_text("")
    assert _flannel.host_local(str(tmp_path)) == [
        {"network": "cbr0", "address": "10.244.0.2", "container_id": CONTAINER, "ifname": "eth0"},
        {"network": "cbr0", "address": "10.244.0.3", "container_id": "old-form-without-interface"},
    ]
    assert _flannel.host_local(str(tmp_path / "nothing")) == []


def test_a_long_store_ends_at_the_deadline(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cbr0").mkdir()
    (tmp_path / "cbr0" / "10.244.0.2").write_text(CONTAINER)
    with pytest.raises(Expired):
        _flannel.host_local(str(tmp_path), Deadline(0).check)


@pytest.mark.parametrize(
    ("argv", "found"),
    [(["/opt/bin/flanneld", "--ip-masq"], True), (["flanneld"], True), (["/bin/sh", "-c", "flanneld"], False), (["/usr/local/bin/k3s", "server"], False)],
)
def test_flanneld_among_processes(argv: list[str], found: bool) -> None:
    assert _flannel.is_flanneld(argv) is found


@pytest.mark.parametrize("name", ["flannel-vxlan-healthy", "canal-healthy"])
def test_a_recorded_node_tells_its_leases_and_addresses(name: str) -> None:
    if recorded.folder() is None:
        pytest.skip(recorded.ABSENT)
    base = recorded.unpacked(name)
    for folder in (base / "nodes").iterdir():
        section: dict[str, t.Any] = recorded.node(name, folder.name)["flannel"]
        assert section["flanneld"] == {"running": True} and section["subnet_env"]["FLANNEL_MTU"] == "1450"
        sandboxes = [recorded.read_json(path) for path in (base / "pods").glob("*/sandbox.json")]
        mine = {(one["ips"][0], one["sandbox_id"]) for one in sandboxes if one["node"] == folder.name}
        assert {(entry["address"], entry["container_id"]) for entry in section["host_local"]} == mine
