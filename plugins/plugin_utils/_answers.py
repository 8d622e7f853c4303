# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: what the hosts of a play answered, as documents or as the reason why there is none.

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ..module_utils._packing import unpack
from ._documents import NodeFacts

Json = t.Any
SCHEMA = "podnet.doctor/node/1"
_SPACES = re.compile(r"\s+")


_WRAPPING = re.compile(r'^(Task failed: |Failed to connect to the host via ssh: |Data could not be sent to remote host "[^"]*"\. Make sure this host can be '
                       r"reached over ssh: |ssh: |kex_exchange_identification: )+")  # fmt: skip


def _short(text: Json, most: int = 160) -> str:
    line = _WRAPPING.sub("", _SPACES.sub(" ", str(text)).strip()).rstrip(".")
    return line if len(line) <= most else line[: most - 3] + "..."


def why_nothing(result: Mapping[str, Json] | None) -> str:
    """One phrase that follows the name of the node: `k8s07 is unreachable (...)`."""
    if result is None:
        return "was not asked by this run (--limit, serial, or a stopped play)"
    if result.get("stored") is False:
        return str(result.get("why"))
    message = _short(result.get("msg") or result.get("module_stderr") or "")
    said = [line for name in ("module_stderr", "module_stdout", "msg") for line in str(result.get(name) or "").splitlines()]
    lower = " ".join(said).lower()
    refusal = next((line for line in said if any(word in line.lower() for word in ("sudo", "privilege", "su: "))), None)
    if refusal is not None:
        return f"refuses to become root ({_bare(_short(refusal))})"
    if result.get("unreachable"):
        return f"is unreachable ({_bare(message)})"
    if result.get("rc") == 127 or "interpreter" in lower or ("no such file or directory" in lower and "python" in lower):
        return "has no Python where Ansible looks for it: install python3 (3.9 or later), or set ansible_python_interpreter"
    if result.get("skipped"):
        return "was not asked by this run"
    if result.get("failed"):
        return f"could not be read ({_bare(message)})"
    return "gave an answer that cannot be understood"


def _bare(message: str) -> str:
    return message or "no reason given"


def node_facts(node: str, result: Mapping[str, Json] | None) -> NodeFacts:
    """What one host's registered node_info result says. Never raises: a broken answer is a reason, too."""
    if result is None or result.get("failed") or result.get("unreachable") or result.get("skipped") or result.get("stored") is False:
        return NodeFacts(node, None, why_nothing(result))
    document = result.get("node")
    try:
        if isinstance(result.get("packed"), str):
            document = unpack(result["packed"])
    except ValueError as exc:
        return NodeFacts(node, None, f"gave an answer that cannot be read: {_short(exc)}")
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return NodeFacts(node, None, "gave an answer that is no node document")
    return NodeFacts(node, document)
