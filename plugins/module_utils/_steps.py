# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single steps of a change, and of its way back, as plain data: a netlink message, one setting below /proc/sys, or a file of the repair's own.

This module util is PRIVATE to the collection. Its interface can change at any time.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import socket
import struct
import tempfile
import time
import typing as t

from ansible_collections.podnet.doctor.plugins.module_utils import _links, _offload
from ansible_collections.podnet.doctor.plugins.module_utils._deadline import Deadline, Expired
from ansible_collections.podnet.doctor.plugins.module_utils._netfilter import Failed, output
from ansible_collections.podnet.doctor.plugins.module_utils._netlink import NLM_F_ACK, NLMSG_ERROR, Netlink, NetlinkError, Rtnetlink
from ansible_collections.podnet.doctor.plugins.module_utils._network_manager import SHOW, devices

RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK = 16, 17, 19
RTM_NEWADDR, RTM_DELADDR = 20, 21
RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEIGH, RTM_DELNEIGH = 24, 25, 28, 29
RTM_NEWRULE, RTM_DELRULE = 32, 33
KINDS = (
    RTM_NEWLINK, RTM_DELLINK, RTM_SETLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEIGH, RTM_DELNEIGH, RTM_NEWRULE, RTM_DELRULE,
)  # fmt: skip
DELETIONS = (RTM_DELLINK, RTM_DELADDR, RTM_DELROUTE, RTM_DELNEIGH, RTM_DELRULE)
CLOUD_RULES = range(30200, 31000)  # the priorities, and tables, that nm-cloud-setup uses
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
LOOK_AGAIN, LETS_GO = 0.1, 5.0  # seconds
GONE = (errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT)
SETTING = re.compile(
    r"net/(ipv4/ip_forward|ipv4/conf/[^/\s]{1,15}/(forwarding|proxy_arp|rp_filter|route_localnet)"
    r"|ipv6/conf/[^/\s]{1,15}/(forwarding|proxy_ndp|disable_ipv6))\Z"
)
LIMIT = re.compile(r"net/(netfilter/nf_conntrack_max|ipv4/neigh/default/gc_thresh[123])\Z")
LARGEST_LIMIT = 16777216
OF_INTERFACE = re.compile(r"net/ipv[46]/conf/(?!(?:all|default)/)")  # is made anew with its interface
KEPT_SETTINGS = "/etc/sysctl.d/99-podnet-doctor.conf"
TUNNEL = re.compile(r"^(flannel\.[0-9]{1,8}|vxlan\.calico)\Z")
KEPT_LINE = re.compile(r"([a-z0-9_.]+) = ([0-9]+)\Z")
# Interfaces of pod networks, as NetworkManager.conf(5) matches them.
UNMANAGED = {
    "calico pods": ["cali*"], "calico tunnels": ["tunl*", "vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali"],
    "flannel pods": ["veth*", "cni0"], "flannel tunnels": ["flannel*"],
}  # fmt: skip
UNMANAGED_FILE = "/etc/NetworkManager/conf.d/99-podnet-doctor.conf"
UNMANAGED_HEADER = "# Interfaces that NetworkManager leaves to the pod network, as asked (podnet_persistent).\n[keyfile]\nunmanaged-devices+="
HEADER = "# Settings that podnet.doctor keeps through a boot, as asked (podnet_persistent).\n"

Step = t.Dict[str, t.Any]  # noqa: UP006 - evaluated on Python 3.9


Params = t.Mapping[str, t.Any]


class Refused(Exception):
    """The change is not made; the text says why."""


class Changing(Netlink):
    """A socket that also changes things."""

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        for answer, _flags, payload in self._answers(self._send(kind, NLM_F_ACK | flags, body)):
            if answer == NLMSG_ERROR and len(payload) >= 4:
                (number,) = struct.unpack_from("=i", payload)
                if number:
                    raise NetlinkError(-number)
                return


class Kernel(Rtnetlink, Changing):
    """For links, addresses, routes and neighbours."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__(deadline)
        self.links = _links.indexes(_links.dump(self))

    def __enter__(self) -> Kernel:
        return self

    def index(self, ifname: str) -> int | None:
        return next((number for number, name in self.links.items() if name == ifname), None)


class State(t.NamedTuple):
    """What was found. `before` and `after` are lines as `ip` would print them. `back` undoes what `steps` do; empty: there is no way back."""

    before: str
    after: str
    steps: list[Step]
    back: list[Step]


AS_IT_MUST_BE = State("", "", [], [])


def parameter(params: Params, name: str) -> str:
    """A parameter. Errors: Refused, where it is missing."""
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(f"the parameter {name} is missing")
    return value


def family_of(address: str) -> int:
    """The address family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def is_cloud_rule(rule: t.Mapping[str, t.Any]) -> bool:
    """Whether a routing policy rule has exactly the form that nm-cloud-setup gives its own: from one address, to the table of its priority."""
    asked = {name for name, value in rule.items() if value is not None} - {"family", "priority", "table", "action", "src"}
    return (
        not asked and rule.get("family") == "inet" and rule.get("action") == "to_tbl" and rule.get("priority") in CLOUD_RULES
        and rule.get("table") == rule.get("priority") and str(rule.get("src")).endswith("/32")
    )  # fmt: skip


def message(kind: int, body: bytes, flags: int = 0) -> Step:
    """A netlink message."""
    return {"netlink": kind, "flags": flags, "body": body.hex()}


def offload(ifname: str, on: bool) -> Step:
    """Whether a VXLAN device leaves checksums to the driver."""
    return {"offload": ifname, "on": on}


def setting(path: str, value: str) -> Step:
    """One value below /proc/sys."""
    return {"sysctl": path, "value": value}


def is_setting(path: str, value: str) -> bool:
    """Whether it is one of the few settings, or limits, that a repair changes."""
    if LIMIT.match(path):
        return bool(re.match(r"[1-9][0-9]{0,7}\Z", value)) and int(value) <= LARGEST_LIMIT
    return bool(SETTING.match(path)) and ".." not in path.split("/") and value in ("0", "1", "2")


def read_setting(path: str) -> str:
    """Errors: OSError."""
    with open(f"/proc/sys/{path}", encoding="ascii") as stream:
        return stream.read().strip()


def outlives_boots(path: str) -> bool:
    """Whether a file can set it when the node boots: what belongs to one interface is made anew with it."""
    return not OF_INTERFACE.match(path)


def kept_settings() -> str:
    """The file, empty where there is none. Errors: OSError."""
    return read_own(KEPT_SETTINGS)


def read_own(path: str) -> str:
    """A file of the repair's own, empty where there is none. Errors: OSError."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def unmanaged(names: t.Sequence[str]) -> str:
    """The file that takes interfaces from NetworkManager; it adds to what other files of it say. Errors: Refused."""
    known = [name for group in UNMANAGED.values() for name in group]
    if not names or not set(names) <= set(known):
        raise Refused(f"{', '.join(map(str, names)) or 'nothing'}: these are not interfaces of a pod network")
    return UNMANAGED_HEADER + ";".join(f"interface-name:{name}" for name in names) + "\n"


def leaving(text: str) -> Step:
    """The file that takes interfaces from NetworkManager; it is taken away where the text is empty."""
    return {"unmanaged": text}


def kept(text: str, path: str, value: str) -> str:
    """The file with this setting in it."""
    name = path.replace("/", ".")
    lines = [line for line in text.splitlines(keepends=True) if line.partition("=")[0].strip() != name]
    return "".join([*(lines or [HEADER]), f"{name} = {value}\n"])


def keeping(text: str) -> Step:
    """The file of settings that outlive a boot; it is taken away where the text is empty."""
    return {"kept": text}


def perform(kernel: Kernel, steps: t.Sequence[Step]) -> bool:
    """Whether anything had to be done: what is gone already, or there already, is as it must be. Errors: Refused, OSError."""
    changed = False
    for step in steps:
        if "unmanaged" in step:
            changed |= _leave(kernel, step)
            continue
        for name, carry_out in OTHER_STEPS.items():
            if name in step:
                changed |= carry_out(step)
                break
        else:
            changed |= _send(kernel, step)
    return changed


def _leave(kernel: Kernel, step: Step) -> bool:
    """NetworkManager takes an interface down in the moment in which it lets go of it (measured with 1.42), and Felix brings none up."""
    text = step["unmanaged"]
    names = [part.partition(":")[2] for part in str(text)[len(UNMANAGED_HEADER) :].strip().split(";")]
    if text != "" and text != unmanaged(names):
        raise Refused(f"this is not what a repair writes into {UNMANAGED_FILE}")
    up_before, was = _links_up(kernel, names), read_own(UNMANAGED_FILE)
    if not _write_own(UNMANAGED_FILE, text):
        return False
    patience = Deadline(kernel.deadline.remaining(LETS_GO))
    try:
        output(["nmcli", "general", "reload"], patience)
        while text and _still_managed(names, patience):
            patience.check()
            time.sleep(LOOK_AGAIN)
    except (Failed, Expired) as error:
        _write_own(UNMANAGED_FILE, was)
        raise OSError(0, f"NetworkManager does not let go of {', '.join(names)}, and the file is as it was: {error}") from error
    finally:
        for index in sorted(up_before - _links_up(kernel, names)):
            kernel.change(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, index, _links.IFF_UP, _links.IFF_UP))
    return True


def _links_up(kernel: Kernel, names: t.Sequence[str]) -> set[int]:
    links = _links.dump(kernel)
    index = _links.indexes(links)
    return {
        link["ifindex"] for link in _links.links(links, index)
        if "UP" in link["flags"] and any(fnmatch.fnmatchcase(link["ifname"], name) for name in names)
    }  # fmt: skip


def _still_managed(names: t.Sequence[str], deadline: Deadline) -> bool:
    listed = devices(output(list(SHOW), deadline))
    return any(device["managed"] and any(fnmatch.fnmatchcase(device["ifname"], name) for name in names) for device in listed)


def _keep(step: Step) -> bool:
    text = step["kept"]
    for line in text.splitlines() if isinstance(text, str) else [""]:
        found = KEPT_LINE.match(line)
        path = found[1].replace(".", "/") if found else ""
        if not line.startswith("#") and not (found and outlives_boots(path) and is_setting(path, found[2])):
            raise Refused(f"{line} is not a setting that a repair keeps")
    return _write_own(KEPT_SETTINGS, text)


def _write_own(path: str, text: str) -> bool:
    if read_own(path) == text:
        return False
    if not text:
        os.unlink(path)
        return True
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".podnet-doctor-")  # its name ends in none that is read
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return True


def _set(step: Step) -> bool:
    path, value = step.get("sysctl"), step.get("value")
    if not isinstance(path, str) or not isinstance(value, str) or not is_setting(path, value):
        raise Refused(f"{path}={value} is not a setting that a repair changes")
    if read_setting(path) == value:
        return False
    with open(f"/proc/sys/{path}", "w", encoding="ascii") as stream:
        stream.write(value)
    return True


def _send(kernel: Kernel, step: Step) -> bool:
    kind, flags = step.get("netlink"), step.get("flags")
    if kind not in KINDS or not isinstance(flags, int):
        raise Refused(f"{kind} is not a change that a repair makes")
    try:
        body = bytes.fromhex(str(step.get("body")))
    except ValueError as error:
        raise Refused("a step of the way back cannot be read") from error
    try:
        kernel.change(kind, body, flags)
    except NetlinkError as error:
        if (kind in DELETIONS and error.errno in GONE) or (flags & NLM_F_EXCL and error.errno == errno.EEXIST):
            return False
        raise
    return True


def _offload_step(step: Step) -> bool:
    ifname, on = step["offload"], step.get("on")
    if not isinstance(ifname, str) or not TUNNEL.match(ifname) or not isinstance(on, bool):
        raise Refused(f"{ifname} is no VXLAN device of flannel or Calico")
    if _offload.transmit_checksum(ifname) in (None, on):  # None: the device is gone
        return False
    _offload.set_transmit_checksum(ifname, on)
    return True


OTHER_STEPS: dict[str, t.Callable[[Step], bool]] = {"sysctl": _set, "kept": _keep, "offload": _offload_step}
