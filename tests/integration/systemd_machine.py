# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real systemd with D-Bus, logind and sshd, in namespaces of its own: for what only a node with systemd shows. It has one stray address."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t
from types import TracebackType

import pytest

from lab import cgroups, processes
from lab.errors import LabError

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEMD = pathlib.Path("/usr/lib/systemd/systemd")
OWN = ("dbus.service", "dbus.socket", "systemd-logind.service", "user.slice", "user@.service", "user-runtime-dir@.service")
EMPTY = "[Unit]\nDefaultDependencies=no\n"
# logind spares root unless the list of whom it spares names somebody else
LOGIND = "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=nobody\n"
SSHD = """HostKey /run/machine/host
AuthorizedKeysFile /run/machine/key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM yes
UseDNS no
PidFile none
ListenAddress 127.0.0.1
"""
STRAY = "192.188.1.1/24"


class Machine:
    """Is gone at the end of the `with`, with its cgroups."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        unified = cgroups.unified()
        if os.geteuid() != 0 or not SYSTEMD.exists() or unified is None:
            pytest.skip("needs root, systemd and a version 2 hierarchy of cgroups")
        self.cgroup = unified / f"podnet-systemd-{os.getpid()}"
        self.init = 0
        self.starter: subprocess.Popen[bytes] | None = None

    def _prepare(self) -> None:
        units = self.folder / "units"
        units.mkdir()
        for name in OWN:
            (units / name).symlink_to(f"/lib/systemd/system/{name}")
        for name in ("sysinit", "basic", "sockets", "shutdown"):
            (units / f"{name}.target").write_text(EMPTY)
        (units / "machine.target").write_text("[Unit]\nRequires=dbus.socket systemd-logind.service machine-sshd.service\n")
        (units / "machine-sshd.service").write_text("[Service]\nExecStart=/usr/sbin/sshd -D -f /run/machine/sshd\n")
        (self.folder / "logind.conf").write_text(LOGIND)
        (self.folder / "sshd").write_text(SSHD)
        for name in ("host", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)

    def __enter__(self) -> Machine:
        self._prepare()
        try:
            self._boot()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _boot(self) -> None:
        log = self.folder / "log"
        try:
            self.cgroup.mkdir()
        except OSError as error:
            pytest.skip(f"systemd gets no cgroup of its own here: {error}")
        with log.open("wb") as output:
            self.starter = subprocess.Popen(
                [str(ROOT / "tests/integration/systemd_machine.sh"), str(self.cgroup), str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        try:
            processes.wait_for(lambda: self._running() or self.starter.poll() is not None, "systemd runs", 30)
        except LabError as error:
            pytest.skip(f"systemd does not boot here: {error}; {log.read_text()[-300:]}")
        if not self.init:
            pytest.skip(f"systemd does not boot here: {log.read_text().strip()[-300:]}")
        for line in ("link add br0 type bridge", "link set br0 up", f"addr add {STRAY} dev br0"):
            self.run("ip", *line.split())

    def _running(self) -> bool:
        """Its first process, which is the only child of the one that waits for it."""
        try:
            children = pathlib.Path(f"/proc/{self.starter.pid}/task/{self.starter.pid}/children").read_text().split()
            if not children or pathlib.Path(f"/proc/{children[0]}/comm").read_text().strip() != "systemd":
                return False
        except OSError:  # it is just ending
            return False
        self.init = int(children[0])
        return self.run("systemctl", "is-active", "machine.target", "machine-sshd.service", "systemd-logind.service", check=False).split() == ["active"] * 3

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.starter is not None:
            self.starter.kill()  # and the kernel kills its child, the namespace's first process, and so all in it
            self.starter.wait()
        folders = [pathlib.Path(folder) for folder, _folders, _files in os.walk(self.cgroup, topdown=False)]
        for folder in folders:
            processes.wait_for(lambda folder=folder: _removed(folder), f"{folder} can be removed", 20)

    def run(self, *command: str, check: bool = True) -> str:
        inside = ["nsenter", "-t", str(self.init), "-m", "-n", "-u", "-i", "-p", "-C", "--", *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=60, check=check).stdout

    def repair(self, remedy: str, parameters: dict[str, str], guard: float = 0) -> dict[str, t.Any]:
        """The module over SSH, in a login session that ends with it."""
        options = ["UserKnownHostsFile=/dev/null", "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "IdentitiesOnly=yes", "ControlMaster=no",
                   f"'ProxyCommand=nsenter --net=/proc/{self.init}/ns/net nc 127.0.0.1 22'"]  # fmt: skip
        variables = {
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(self.folder / "key"),
            "ansible_ssh_args": " ".join(f"-o {option}" for option in options),
        }
        arguments = json.dumps({"remedy": remedy, "parameters": parameters, "guard": guard})
        done = subprocess.run(
            [str(pathlib.Path(sys.executable).parent / "ansible"), "machine", "-i", "machine,", "-o", "-m", "podnet.doctor.node_repair", "-a", arguments,
             "-e", json.dumps(variables)],
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"), "ANSIBLE_PIPELINING": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        _name, found, result = done.stdout.partition(" => ")
        assert found, done.stdout + done.stderr
        return json.loads(result)

    def there(self) -> bool:
        return STRAY in self.run("ip", "addr")

    def guards(self) -> list[str]:
        return [line for line in self.run("cat", "/proc/net/unix").splitlines() if "@podnet-doctor-" in line]

    def scopes(self) -> list[str]:
        return [line.split()[0] for line in self.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "podnet-doctor-*").splitlines()]

    def sessions(self) -> list[str]:
        return self.run("loginctl", "list-sessions", "--no-legend").splitlines()


def _removed(folder: pathlib.Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass
    except OSError:  # the last process is just leaving
        return False
    return True
