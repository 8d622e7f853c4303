# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection as its users have it: built, installed into an empty folder, in virtual environments that hold what it asks for and nothing else."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import pytest
import yaml

from tests.integration.conftest import ROOT
from tests.integration.runner import hosts_of

TESTED = ("filter", "callback", "action/test_question.py", "action/test_verdict.py")  # unit tests of what touches Ansible


def works(python):
    """Whether it is a Python, and no signpost to one."""
    done = subprocess.run([python, "-c", "import venv, ensurepip"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


def newer():
    """A Python that ansible-core 2.20 runs on: in the PATH, or a version manager's."""
    found = [shutil.which(f"python3.{minor}") for minor in (14, 13, 12)]
    managed = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"), "versions").glob("3.1[2-4]*/bin/python3")
    return next((python for python in [*filter(None, found), *map(str, managed)] if works(python)), None)


CORES = {"2.17": sys.executable, "2.18": sys.executable, "2.19": sys.executable, "2.20": newer()}  # with the Python that each is run by
if os.environ.get("PODNET_CORES") != "all":  # `make cores` has them all; 2.19 is what everything else runs on
    CORES = {"2.17": CORES["2.17"]}
USER = 48213  # nobody's
BIN = pathlib.Path(sys.executable).parent


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact")
    run(ROOT / "tests/tools/copy_collection.sh", folder / "source", cwd=ROOT)
    run(BIN / "ansible-galaxy", "collection", "build", "--output-path", folder, folder / "source")
    return next(folder.glob("podnet-doctor-*.tar.gz"))


def declared(collections, name):
    """What the metadata of an execution environment names, of the installed collection."""
    meta = collections / "ansible_collections" / "podnet" / "doctor" / "meta"
    about = yaml.safe_load((meta / "execution-environment.yml").read_text())
    return (meta.parent / about["dependencies"][name]).read_text()


@pytest.fixture(scope="module", params=CORES)
def installed(request, artifact):
    """(virtual environment, folder of collections), which anybody may read."""
    with tempfile.TemporaryDirectory(prefix="podnet-installed-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        environment, collections = folder / "venv", folder / "collections"
        if CORES[request.param] is None:
            pytest.skip("ansible-core 2.20 needs Python 3.12, and there is none")
        run(CORES[request.param], "-m", "venv", environment)
        install = [environment / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        major, minor = request.param.split(".")
        run(*install, f"ansible-core>={request.param},<{major}.{int(minor) + 1}")
        run(environment / "bin" / "ansible-galaxy", "collection", "install", artifact, "-p", collections, cwd=folder,
            env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections)})  # fmt: skip
        (folder / "requirements.txt").write_text(declared(collections, "python"))
        run(*install, "-r", folder / "requirements.txt")
        house = collections / "ansible_collections" / "podnet" / "doctor"
        for entry in house.iterdir():
            if entry.name not in ("meta", "plugins", "roles", "playbooks", "MANIFEST.json", "FILES.json"):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        yield environment, collections


class Outsider:
    """A user with a number and nothing else, in the network of the lab's nodes: no home, a project that cannot be written, no terminal, no sudo."""

    def __init__(self, site, folder):
        self.site, self.folder = site, folder
        self.fabric = f"/run/netns/podnet-{site.lab.name}-fabric"
        self.helpers = []

    def __enter__(self):
        server = re.search(r"https?://127\.0\.0\.1:(\d+)", self.site.kubeconfig.read_text())
        socket_path = self.folder / "api"
        self._help("socat", f"UNIX-LISTEN:{socket_path},fork", f"TCP:127.0.0.1:{server[1]}")
        self._help("nsenter", f"--net={self.fabric}", "socat", f"TCP-LISTEN:{server[1]},bind=127.0.0.1,reuseaddr,fork", f"UNIX-CONNECT:{socket_path}")
        until = time.monotonic() + 20
        ready = ["nsenter", f"--net={self.fabric}", "nc", "-z", "127.0.0.1", server[1]]
        while subprocess.run(ready, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            assert time.monotonic() < until, "the API is not reachable from the nodes' network"
            time.sleep(0.1)
        return self

    def __exit__(self, *_reason):
        for helper in self.helpers:
            helper.kill()
            helper.wait()

    def _help(self, *command):
        self.helpers.append(subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def files(self):
        """Inventory, key and kubeconfig that the user may read, and a folder of his own."""
        hosts, common = hosts_of(self.site.inventory)
        key = self.folder / "key"
        shutil.copy(common["ansible_ssh_private_key_file"], key)
        known = re.search(r"UserKnownHostsFile=(\S+)", common["ansible_ssh_common_args"])[1]
        shutil.copy(known, self.folder / "known_hosts")
        arguments = f"-o UserKnownHostsFile={self.folder}/known_hosts -o GlobalKnownHostsFile=/dev/null -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
        variables = {name: value for name, value in common.items() if not name.startswith("ansible_control")}
        variables.update(ansible_ssh_private_key_file=str(key), ansible_ssh_common_args=arguments)
        (self.folder / "inventory.yml").write_text(yaml.safe_dump({"nodes": {"vars": variables, "hosts": hosts}}))
        shutil.copy(self.site.kubeconfig, self.folder / "kubeconfig")
        (self.folder / "passwd").write_text(pathlib.Path("/etc/passwd").read_text() + f"runner:x:{USER}:0::/nonexistent:/sbin/nologin\n")
        for name in ("project", "work"):
            (self.folder / name).mkdir()
        for path in (self.folder, *self.folder.iterdir()):
            os.chown(path, USER, 0)
        return self.folder / "inventory.yml"

    def play(self, program, collections, **variables):
        inventory = self.files()
        # the rest of the machine's programs is there, but sudo and su are not
        hidden = " ".join(f"[ ! -e {path} ] || mount --bind /dev/null {path};" for path in ("/usr/bin/sudo", "/usr/bin/su"))
        base = sys.base_prefix  # this Python may lie in root's home, where the user may not go
        base = str(pathlib.Path(base).parent) if base.startswith("/root/") else base  # and others beside it
        prefix = shlex.quote(base)
        python = (
            f"mkdir {self.folder}/python {self.folder}/root; mount --bind {prefix} {self.folder}/python; mount --bind {self.folder}/root /root; "
            f"mkdir -p {prefix}; mount --bind {self.folder}/python {prefix}; "
        )
        inside = (python if base.startswith("/root/") else "") + (
            f"mount --bind {self.folder}/passwd /etc/passwd; mount --bind {self.folder}/project {self.folder}/project; "
            f"mount -o remount,bind,ro {self.folder}/project; {hidden} cd {self.folder}/project; "
            f'exec setpriv --reuid {USER} --regid 0 --clear-groups --no-new-privs setsid -w "$@"'
        )
        command = ["nsenter", f"--net={self.fabric}", "unshare", "--mount", "sh", "-ec", inside, "sh", program, "podnet.doctor.diagnose", "-i", inventory,
                   "-e", json.dumps(variables)]  # fmt: skip
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", "ANSIBLE_HOME": str(self.folder / "work"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "work" / "cp"),
            "ANSIBLE_COLLECTIONS_PATH": str(collections), "K8S_AUTH_KUBECONFIG": str(self.folder / "kubeconfig"),
            "ANSIBLE_STDOUT_CALLBACK": "podnet.doctor.screen",
        }  # fmt: skip
        return subprocess.run([str(word) for word in command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                              check=False)  # fmt: skip


def test_what_is_declared_is_enough_for_a_user_without_name_home_and_terminal(installed, site):
    environment, collections = installed
    with tempfile.TemporaryDirectory(prefix="podnet-outsider-") as name:
        folder = pathlib.Path(name)
        with Outsider(site, folder) as outsider:
            reports = str(folder / "work" / "reports")
            done = outsider.play(environment / "bin" / "ansible-playbook", collections, source="shop/web-0", destination="shop/api-0:8080",
                                 podnet_report_dir=reports)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (report,) = (json.loads(path.read_text()) for path in pathlib.Path(reports).glob("*.json"))
        assert report["verdict"]["outcome"] == "healthy", (report["verdict"], report["collected"])
        assert not list((folder / "project").iterdir())
        assert "deprecat" not in (done.stdout + done.stderr).lower()


def test_the_context_of_an_execution_environment(artifact, tmp_path):
    definition = ROOT / "docs" / "examples" / "execution-environment.yml"
    run(BIN / "ansible-builder", "create", "-f", definition, "-c", tmp_path / "context", "--output-filename", "Containerfile")
    run(BIN / "hadolint", "--failure-threshold", "error", tmp_path / "context" / "Containerfile")
    run("shellcheck", "--severity", "error", tmp_path / "context" / "_build" / "scripts" / "assemble")
    run(BIN / "ansible-galaxy", "collection", "install", artifact, "-p", tmp_path / "collections",
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections")})  # fmt: skip
    found = yaml.safe_load(run(BIN / "ansible-builder", "introspect", tmp_path / "collections"))
    told = json.dumps(found)
    assert all(name in told for name in ("pyroute2>=", "kubernetes>=", "jmespath>=", "openssh-clients [platform:rpm]"))


def test_what_is_declared_of_the_system_is_what_ssh_comes_from(installed):
    names = {line.split()[0]: line for line in declared(installed[1], "system").splitlines() if line and not line.startswith("#")}
    assert {"openssh-client", "openssh-clients"} == set(names)
    assert "[platform:dpkg]" in names["openssh-client"] and "[platform:rpm]" in names["openssh-clients"]


def test_unit_tests_of_what_touches_ansible(installed):
    """The other unit tests do not know which ansible-core there is."""
    environment, _collections = installed
    needed = [line.strip() for line in (ROOT / "tests/unit/requirements.txt").read_text().splitlines() if line.strip() and not line.startswith("#")]
    run(environment / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "pytest", *needed)
    folders = [f"tests/unit/plugins/{name}" for name in TESTED]
    house = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build/collections")}
    run(environment / "bin" / "python", "-m", "pytest", "-q", *folders, "-p", "no:cacheprovider", cwd=ROOT, env=house)
