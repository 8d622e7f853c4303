# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: all documents of one diagnosis in one file, so that it can be judged again anywhere.

from __future__ import annotations

import json
import os
import pathlib
import tempfile
import zipfile
import zlib
from collections.abc import Mapping

from ._cluster import Cluster
from ._diagnosis import Diagnosis
from ._documents import Documents, Evidence, NodeFacts
from ._json import Json, objects
from ._question import BadQuestion, Question

MOST_BYTES = 256 * 1024 * 1024  # of one document; a bundle comes from elsewhere


def save(path: str, diagnosis: Diagnosis, report: Mapping[str, Json], packets: bytes | None = None) -> None:
    """A zip file: question.json, cluster.json, nodes/<name>.json, evidence.json, report.json, packets.pcapng. Readable by its owner only. Errors: OSError."""
    target = pathlib.Path(path).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".bundle-")
    documents = diagnosis.documents
    parts: dict[str, Json] = {
        "question.json": {**diagnosis.question.to_json(), "witnesses": list(diagnosis.witnesses)},
        "cluster.json": documents.cluster.document,
        "report.json": report,
    }
    if documents.evidence.document is not None:
        parts["evidence.json"] = documents.evidence.document
    for number, facts in enumerate(documents.nodes.values()):
        parts[f"nodes/{number}.json"] = {"name": facts.name, "reason": facts.reason, "document": facts.whole}
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, part in parts.items():
                archive.writestr(name, json.dumps(part, separators=(",", ":")))
            if packets is not None:
                archive.writestr("packets.pcapng", packets)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def load(path: str) -> tuple[Diagnosis, list[dict[str, Json]]]:
    """The diagnosis of a bundle, made anew, and what its report says was collected. Errors: BadQuestion, one sentence that names the file."""
    try:
        with zipfile.ZipFile(pathlib.Path(path).expanduser()) as archive:
            parts = {}
            for info in archive.infolist():
                if info.file_size > MOST_BYTES:
                    raise BadQuestion(f"{path}: {info.filename} is larger than 256 MiB; this is no bundle of ours")
                if info.filename.endswith(".json"):
                    parts[info.filename] = json.loads(archive.read(info))
        asked = parts["question.json"]
        nodes = {}
        for name, part in parts.items():
            if name.startswith("nodes/"):
                nodes[str(part["name"])] = NodeFacts(str(part["name"]), part["document"], str(part["reason"]))
        documents = Documents(Cluster(parts["cluster.json"]), nodes, Evidence(parts.get("evidence.json")))
        diagnosis = Diagnosis(Question.from_json(asked), documents, tuple(str(w) for w in asked.get("witnesses") or ()))
        collected = [dict(entry) for entry in objects(parts.get("report.json", {}).get("collected"))]
    except OSError as exc:
        raise BadQuestion(f"{path} cannot be read: {exc.strerror}") from exc
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as exc:
        raise BadQuestion(f"{path} is no bundle of podnet.doctor: {type(exc).__name__} {exc}") from exc
    return diagnosis, collected
