# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _in_container, _sysctls
from ansible_collections.podnet.doctor.plugins.module_utils._kube_exec import Finished
from ansible_collections.podnet.doctor.tests.unit import recorded

MISSING = Finished("", "no such file or directory", 127)
FILES = {
    ("ip", "-d", "-s", "-j", "link", "show"): "ip-link.json",
    ("ip", "-d", "-j", "addr", "show"): "ip-addr.json",
    ("ip", "-d", "-j", "-4", "route", "show", "table", "all"): "ip-route.json",
    ("ip", "-d", "-j", "-6", "route", "show", "table", "all"): "ip6-route.json",
    ("ip", "-d", "-j", "-4", "rule", "show"): "ip-rule.json",
    ("ip", "-d", "-j", "-6", "rule", "show"): "ip6-rule.json",
    ("ip", "-d", "-j", "neigh", "show"): "ip-neigh.json",
    ("bridge", "-d", "-j", "fdb", "show"): "bridge-fdb.json",
    ("iptables-nft-save", "-c"): "iptables-save.txt",
    ("ip6tables-nft-save", "-c"): "ip6tables-save.txt",
    ("ipset", "save"): "ipset-save.txt",
    ("nft", "-j", "list", "ruleset"): "nft-ruleset.json",
}
BIRD = {("show", "status"): "status.txt", ("show", "protocols", "all"): "protocols-all.txt", ("show", "route", "all"): "route.txt"}


class Image:
    """The programs of calico-node's image, answering with what a recorded node had."""

    def __init__(self, where: pathlib.Path) -> None:
        self.where = where
        self.sysctls = _sysctls.parse(recorded.text(where / "sysctl.txt"))

    def __call__(self, argv):
        words = tuple(argv)
        if words in FILES:
            return Finished(recorded.text(self.where / FILES[words]), "", 0)
        if words[0] == "birdcl":
            folder = self.where / ("bird6" if "6" in words[4] else "bird")
            if not (folder / "status.txt").is_file():
                return Finished("", "Unable to connect to server control socket (birdcl): No such file or directory", 1)
            return Finished(recorded.text(folder / BIRD[words[5:]]), "", 0)
        if words[0] == "grep":
            told = [(path, self.sysctls.get(path.removeprefix("/proc/sys/"))) for path in words[3:]]
            return Finished("".join(f"{path}:{value}\n" for path, value in told if value is not None), "", 2)
        if words == ("/bin/calico-node", "-felix-live"):
            return Finished("", "", 0)
        return MISSING


@pytest.mark.parametrize("name", recorded.asked())
def test_it_tells_what_the_node_itself_would_have_told(name):
    where = recorded.unpacked(name) / "nodes"
    for folder in sorted(where.iterdir()):
        expected = recorded.node(name, folder.name)
        document = _in_container.read(folder.name, Image(folder), "kube-system/calico-node-x")
        for section in ("links", "addresses", "routes", "rules", "neighbours", "fdb"):
            assert document[section] == expected[section], section
        assert document["sysctls"] == _sysctls.select(expected["sysctls"])
        for family in ("ipv4", "ipv6"):
            if "error" in expected["bird"][family]:
                assert document["bird"][family]["error"]
            else:
                assert {key: document["bird"][family][key] for key in ("status", "protocols", "routes")} == {
                    key: expected["bird"][family][key] for key in ("status", "protocols", "routes")
                }
        assert document["via"] == {"by": "calico-node", "pod": "kube-system/calico-node-x"}


def test_an_image_without_any_program_is_a_document_of_errors():
    document = _in_container.read("n1", lambda argv: MISSING, "kube-system/calico-node-x")
    for section in ("links", "addresses", "routes", "rules", "neighbours", "fdb", "sysctls", "netfilter", "sandboxes"):
        assert document[section]["error"], section
    assert document["bird"]["ipv4"]["reason"] == "garbage", "no birdcl says nothing of BIRD"
    assert document["calico"]["felix"]["error"]


def test_felix_that_refuses_is_not_running():
    def run(argv):
        return Finished("", "calico/node is not ready: Get http://localhost:9099/liveness: dial tcp: connect: connection refused", 1)

    assert _in_container.read("n1", run, "p")["calico"]["felix"] == {"running": False}


@given(st.text(), st.text(), st.integers(0, 255))
def test_any_output_is_a_document(stdout, stderr, code):
    document = _in_container.read("n1", lambda argv: Finished(stdout, stderr, code), "p")
    assert document["schema"] == "podnet.doctor/node/1"
