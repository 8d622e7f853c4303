# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: a place for documents, a folder or an address, and the answers of nodes that were asked in one run and are judged in another.

from __future__ import annotations

import datetime
import json
import os
import pathlib
import tempfile
import typing as t
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from ..module_utils import _compact
from ._files import file_of
from ._json import Json, as_mapping, objects

SCHEMA = "podnet.doctor/answer/1"
OPTIONS: dict[str, t.Any] = {
    "store": {"type": "str", "required": True},
    "store_headers": {"type": "dict", "default": {}, "no_log": True},
    "store_timeout": {"type": "float", "default": 30.0},
}
AT_ONCE = 8
LARGEST = 64 << 20  # of one document
KEPT = ("unreachable", "failed", "msg", "rc", "module_stderr", "module_stdout", "packed", "node")


class StoreError(Exception):
    """One sentence that names the place and what went wrong."""


class Folder:
    """Files, each written whole or not at all and readable by its owner only."""

    def __init__(self, path: str) -> None:
        self.path = pathlib.Path(path).expanduser()

    def where(self, name: str) -> str:
        return str(self.path / name)

    def put(self, name: str, data: bytes) -> None:
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(data)
                os.replace(temporary, target)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as exc:
            raise StoreError(f"{target} cannot be written: {exc.strerror or exc}") from exc

    def get(self, name: str) -> bytes | None:
        try:
            with open(self.path / name, "rb") as stream:
                return stream.read(LARGEST)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise StoreError(f"{self.path / name} cannot be read: {exc.strerror or exc}") from exc


class Address:
    """Objects below an address."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float) -> None:
        self.parts = urllib.parse.urlsplit(url)
        self.headers = {str(name): str(value) for name, value in headers.items()}
        self.timeout = timeout

    def where(self, name: str) -> str:
        """Without what follows a question mark: that may be a signature."""
        return urllib.parse.urlunsplit(self.parts._replace(path=f"{self.parts.path.rstrip('/')}/{urllib.parse.quote(name)}", query=""))

    def put(self, name: str, data: bytes) -> None:
        self._ask("PUT", name, data)

    def get(self, name: str) -> bytes | None:
        return self._ask("GET", name)

    def _ask(self, method: str, name: str, data: bytes | None = None) -> bytes | None:
        from ansible.module_utils.urls import open_url

        address = urllib.parse.urlunsplit(urllib.parse.urlsplit(self.where(name))._replace(query=self.parts.query))
        try:
            with open_url(address, data=data, headers=self.headers, method=method, timeout=self.timeout) as answer:
                return t.cast(bytes, answer.read(LARGEST))
        except urllib.error.HTTPError as exc:
            if method == "GET" and exc.code == 404:
                return None
            raise StoreError(f"{method} {self.where(name)}: {exc.code} {exc.reason}") from exc
        except (OSError, ValueError) as exc:
            raise StoreError(f"{method} {self.where(name)}: {getattr(exc, 'reason', None) or exc}") from exc


Store = Folder | Address


def store_of(arguments: Mapping[str, Json]) -> Store:
    """The place that is named. Errors: StoreError."""
    place = str(arguments["store"])
    scheme, separator, _rest = place.partition("://")
    if not separator:
        return Folder(place)
    if scheme not in ("http", "https"):
        raise StoreError(f"{place}: a store is a folder, or an http or https address")
    return Address(place, as_mapping(arguments.get("store_headers")), float(arguments.get("store_timeout") or 30))


# ---------------------------------------------------------------- answers


def _node_file(node: str) -> str:
    return f"nodes/{file_of(node)}"


def _tables_file(digest: str) -> str:
    return f"tables/{digest}.json"


def _written(document: Json) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("utf-8", "surrogateescape")


def save(store: Store, answers: Mapping[str, Mapping[str, Json]], hosts: Mapping[str, str], shared: Mapping[str, Json],
         own: Callable[[str], Mapping[str, Json]], now: datetime.datetime) -> int:  # fmt: skip
    """Each node's answer as a document of its own, however the nodes were divided among runs. Returns how many bytes. Errors: StoreError."""
    digest = _compact.digest(t.cast("_compact.Tables", shared))
    store.put(_tables_file(digest), _written({"tables": shared}))

    def one(node: str) -> int:
        host = hosts[node]
        told = {name: value for name, value in answers[node].items() if name in KEPT}
        data = _written({"schema": SCHEMA, "node": node, "host": host, "collected_at": now.isoformat(), "tables": digest, "own": own(host), "answer": told})
        store.put(_node_file(node), data)
        return len(data)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(one, answers))


def fetch(store: Store, nodes: Iterable[str], folder: str) -> None:
    """Copies of what a store has of these nodes, as files. Errors: StoreError."""
    target = Folder(folder)

    def one(name: str) -> set[str]:
        data = store.get(name)
        if data is None:
            return set()
        target.put(name, data)
        return {_tables_file(str(as_mapping(_document(data)).get("tables")))} if name.startswith("nodes/") else set()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        tables: set[str] = set().union(*pool.map(one, map(_node_file, nodes)))
        list(pool.map(one, tables))


def _document(data: bytes) -> Json:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


class Stored:
    """Answers in a folder. since: what is older counts as not there."""

    def __init__(self, folder: str, since: str) -> None:
        self.folder, self.since = Folder(folder), since
        self._shared: dict[str, Mapping[str, Json]] = {}

    def _read(self, node: str) -> Mapping[str, Json] | str:
        try:
            data = self.folder.get(_node_file(node))
        except StoreError as exc:
            return str(exc)
        if data is None:
            return "is not in the store: the slice that it belongs to was lost, or never ran"
        document = _document(data)
        if not isinstance(document, Mapping) or document.get("schema") != SCHEMA or not isinstance(document.get("answer"), Mapping):
            return "has a document in the store that is none of ours"
        if document.get("node") != node:
            return "has the document of another node in the store"
        if str(document.get("collected_at")) < self.since:
            return f"was read last at {document.get('collected_at')}, which is too long ago: the slice that it belongs to was lost"
        return document

    def answer(self, node: str) -> tuple[Mapping[str, Json], dict[str, Json]]:
        """What podnet.doctor.node_info registered for the node, and the rows that it answered by."""
        document = self._read(node)
        if isinstance(document, str):
            return {"stored": False, "why": document}, {}
        digest = str(document.get("tables"))
        if digest not in self._shared:
            try:
                found = as_mapping(_document(self.folder.get(_tables_file(digest)) or b""))
            except StoreError:
                found = {}
            self._shared[digest] = as_mapping(found.get("tables"))
        return document["answer"], {**self._shared[digest], **as_mapping(document.get("own"))}


def as_collected(document: Mapping[str, Json], asked: Mapping[str, Mapping[str, Json]]) -> dict[str, Json]:
    """The cluster document without pods that are younger than their node's answer. asked: node -> the rows that it answered by."""
    known = {node: {str(row[0]) for row in as_mapping(rows).get("pods") or ()} for node, rows in asked.items() if rows}
    pods = document.get("pods")
    if not isinstance(pods, list):
        return dict(document)

    def old(pod: Mapping[str, Json]) -> bool:
        node = as_mapping(pod.get("spec")).get("nodeName")
        status = as_mapping(pod.get("status"))
        has_address = status.get("phase") == "Running" and (status.get("podIP") or status.get("podIPs"))
        if node not in known or as_mapping(pod.get("spec")).get("hostNetwork") or not has_address:
            return True
        return str(as_mapping(pod.get("metadata")).get("uid", "")) in known[str(node)]

    return {**document, "pods": [pod for pod in objects(pods) if old(pod)]}
