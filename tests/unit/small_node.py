# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node of one namespace, whose network state a repair changes."""

from __future__ import annotations

import json
import re
import typing as t

import pytest

from ansible_collections.podnet.doctor.plugins.module_utils import _repairs
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline
from ansible_collections.podnet.doctor.plugins.module_utils._netns import inside
from ansible_collections.podnet.doctor.plugins.module_utils._steps import Refused

ADDRESS = {"ifname": "br0", "address": "192.188.1.1/24"}
NOTHING = {"changed": False, "before": "", "after": "", "back": [], "guard": ""}


class Node:
    """A namespace with an uplink, and a stray interface."""

    def __init__(self, space: t.Any) -> None:
        self.space = space
        for line in (
            "link add eth0 type veth peer name far0", "link set eth0 up", "link set far0 up", "addr add 10.2.7.202/24 dev eth0",
            "route add default via 10.2.7.254", "link add br0 type bridge", "link set br0 up", "addr add 192.188.1.1/24 dev br0",
        ):  # fmt: skip
            space.ip(line)

    def do(self, remedy: str, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
        return inside(self.space.path, lambda: _repairs.carry_out(remedy, parameters, Deadline(10), check), Deadline(20))

    def refused(self, remedy: str, **parameters: t.Any) -> str:
        before = self.state()
        with pytest.raises(Refused) as caught:
            self.do(remedy, **parameters)
        assert self.state() == before
        return str(caught.value)

    def state(self) -> str:
        """What a person configured; carriers and what IPv6 learns change by themselves."""
        links = [(link["ifname"], "UP" in link["flags"], link.get("master")) for link in self.space.json("link")]
        commands = ("-o addr", "-4 route show table all", "-4 neigh show nud permanent")
        shown = [str(sorted(re.sub(r"^[0-9]+: ", "", line) for line in self.space.ip(line).splitlines() if "fe80" not in line)) for line in commands]
        entries = [entry for entry in json.loads(self.space.run("bridge", "-j", "fdb", "show").stdout) if entry.get("dst")]
        values = self.space.run("sysctl", "-a", "--pattern", r"^net\.ipv4\.(conf|ip_forward)").stdout
        ports = [(link["ifname"], link["linkinfo"].get("info_slave_data", {}).get("state")) for link in self.space.json("link") if "linkinfo" in link]
        return "\n".join([str(links), *shown, str(entries), values, str(ports)]).replace(" linkdown", "").replace("NO-CARRIER,", "")

    def twice(self, remedy: str, before: str, after: str = "", back: bool = True, **parameters: t.Any) -> None:
        """In check mode, for real, taken back and that a second time, and for real again; then nothing is left to do."""
        was = self.state()
        assert self.do(remedy, check=True, **parameters) == {**NOTHING, "changed": True, "before": before, "after": after}
        assert self.state() == was
        done = self.do(remedy, **parameters)
        assert {key: done[key] for key in ("changed", "before", "after", "guard")} == {"changed": True, "before": before, "after": after, "guard": ""}
        assert bool(done["back"]) == back
        if back:
            assert self.state() != was
            steps = json.loads(json.dumps(done["back"]))  # as it travels
            assert self.take_back(steps, check=True) == NOTHING and self.state() != was
            assert self.take_back(steps) == {**NOTHING, "changed": True}
            assert self.state() == was
            assert self.take_back(steps)["changed"] in (False, "set" in remedy)  # an entry is written, whatever it was
            assert self.state() == was
            self.do(remedy, **parameters)
        assert self.do(remedy, **parameters) == NOTHING

    def take_back(self, steps: list[dict[str, t.Any]], check: bool = False) -> dict[str, t.Any]:
        return inside(self.space.path, lambda: _repairs.take_back({"steps": steps}, Deadline(10), check), Deadline(20))
