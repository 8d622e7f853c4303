# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import copy
import datetime
import http.server
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.module_utils import _compact
from ansible_collections.podnet.doctor.plugins.module_utils._packing import pack
from ansible_collections.podnet.doctor.plugins.plugin_utils import _audit, _run, _store, _tables
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._files import file_of
from ansible_collections.podnet.doctor.tests.unit import small
from ansible_collections.podnet.doctor.tests.unit.plugins.support import HostVars

NOW = datetime.datetime(2026, 11, 21, 9, 30, 42, tzinfo=datetime.timezone.utc)
SINCE = "2026-11-21T09:00:00+00:00"
NODES = {"k8s01": "one", "k8s02": "two"}


class Bucket(http.server.BaseHTTPRequestHandler):
    """Keeps what is PUT, for those who know the token."""

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer secret":
            self.send_error(403, "Forbidden")
            return
        self.server.objects[self.path] = data
        self.send_response(201)
        self.end_headers()

    def do_GET(self):
        data = self.server.objects.get(self.path)
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments):
        pass


@contextlib.contextmanager
def bucket():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket) as server:
        server.objects = {}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def address(server, token="secret"):
    return _store.store_of({"store": f"http://127.0.0.1:{server.server_port}/podnet/?sig=x", "store_headers": {"Authorization": f"Bearer {token}"}})


def whole():
    """The small cluster's tables and answers, as an audit collects them."""
    cluster = Cluster(small.cluster_document())
    shared = _tables.shared(cluster)
    everyone = _audit.scope_of(cluster).everyone
    own = {host: _tables.of_node([pod for pod in everyone if pod.node == node]) for node, host in NODES.items()}
    answers = {}
    for node, host in NODES.items():
        rows = json.loads(json.dumps({**shared, **own[host]}))
        answers[node] = {"changed": False, "packed": pack(_compact.compact(small.node_document(node), rows))}
    return shared, own, answers


def saved(store, *nodes, now=NOW):
    shared, own, answers = whole()
    _store.save(store, {node: answers[node] for node in nodes}, NODES, shared, own.__getitem__, now)


def test_answers_come_back_with_their_rows_however_they_were_divided(tmp_path):
    for node in NODES:
        saved(_store.Folder(str(tmp_path)), node)
    stored = _store.Stored(str(tmp_path), SINCE)
    variables = {"hostvars": HostVars(one={}, two={})}
    found = _run.answers(variables, NODES, None, stored)
    assert {name: len(facts.routes) for name, facts in found.items()} == {name: len(small.node_document(name)["routes"]) for name in NODES}
    assert _run.waves(variables, NODES, stored) == [2, 0, 0, 0] and _run.silent(variables, NODES, NODES, stored) == []
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.glob("*/*"))


def test_answers_travel_through_an_address(tmp_path):
    with bucket() as server:
        store = address(server)
        saved(store, *NODES)
        assert all(path.startswith("/podnet/") and path.endswith("?sig=x") for path in server.objects) and len(server.objects) == 3
        assert "sig" not in store.where("x")
        _store.fetch(store, [*NODES, "k8s03"], str(tmp_path))
    stored = _store.Stored(str(tmp_path), SINCE)
    assert stored.answer("k8s01")[0]["packed"] == whole()[2]["k8s01"]["packed"]
    assert stored.answer("k8s03")[0]["stored"] is False


def test_a_refused_request_is_one_sentence_without_secrets():
    with bucket() as server:
        with pytest.raises(_store.StoreError, match=r"^PUT http://127.0.0.1:\d+/podnet/x: 403 Forbidden$"):
            address(server, "guess").put("x", b"data")
    with pytest.raises(_store.StoreError, match="a folder, or an http or https address"):
        _store.store_of({"store": "s3://bucket"})


def test_a_lost_slice_is_not_checked_for_its_nodes(tmp_path):
    store = _store.Folder(str(tmp_path))
    saved(store, "k8s01")
    saved(store, "k8s02", now=NOW - datetime.timedelta(hours=2))
    stored = _store.Stored(str(tmp_path), SINCE)
    variables = {"hostvars": HostVars(one={}, two={})}
    found = _run.answers(variables, NODES, None, stored)
    assert found["k8s01"].collected and not found["k8s02"].collected
    assert "too long ago" in found["k8s02"].reason
    assert _run.waves(variables, NODES, stored) == [1, 0, 0, 0]
    (tmp_path / "nodes" / file_of("k8s02")).unlink()
    assert "is not in the store" in _run.answers(variables, NODES, None, stored)["k8s02"].reason


def test_the_reason_why_a_node_was_silent_is_kept(tmp_path):
    shared, own, _answers = whole()
    told = {"k8s01": {"unreachable": True, "msg": "No route to host", "secret": "x"}}
    _store.save(_store.Folder(str(tmp_path)), told, NODES, shared, own.__getitem__, NOW)
    stored = _store.Stored(str(tmp_path), SINCE)
    variables = {"hostvars": HostVars(one={}, two={})}
    assert _run.answers(variables, {"k8s01": "one"}, None, stored)["k8s01"].reason == "is unreachable (No route to host)"
    assert _run.silent(variables, {"k8s01": "one"}, ["k8s01"], stored) == ["k8s01"]
    assert "secret" not in stored.answer("k8s01")[0]


def test_a_document_in_another_nodes_place_is_no_answer(tmp_path):
    saved(_store.Folder(str(tmp_path)), "k8s01")
    (tmp_path / "nodes" / file_of("k8s01")).rename(tmp_path / "nodes" / file_of("k8s02"))
    assert "another node" in _store.Stored(str(tmp_path), SINCE).answer("k8s02")[0]["why"]


@given(st.binary() | st.from_type(dict).map(lambda value: json.dumps(value, default=str).encode()))
def test_property_what_is_not_ours_is_a_reason(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("store")
    _store.Folder(str(folder)).put(f"nodes/{file_of('k8s01')}", data)
    answer, rows = _store.Stored(str(folder), SINCE).answer("k8s01")
    assert answer["stored"] is False and answer["why"] and not rows


def test_rows_that_are_lost_make_an_answer_unreadable(tmp_path):
    saved(_store.Folder(str(tmp_path)), "k8s01")
    for path in (tmp_path / "tables").iterdir():
        path.unlink()
    found = _run.answers({"hostvars": HostVars(one={})}, {"k8s01": "one"}, None, _store.Stored(str(tmp_path), SINCE))
    assert "cannot be read" in found["k8s01"].reason


def test_pods_younger_than_the_answer_are_not_looked_for():
    document = small.cluster_document()
    young = copy.deepcopy(document["pods"][0])
    young["metadata"].update(name="young", uid="young")
    waiting = copy.deepcopy(young)
    waiting["metadata"].update(name="waiting", uid="waiting")
    waiting["status"] = {"phase": "Pending"}
    document["pods"] += [young, waiting]
    shared, own, _answers = whole()
    rows = {"k8s01": {**shared, **own["one"]}, "k8s02": {}}
    names = [pod["metadata"]["name"] for pod in _store.as_collected(document, rows)["pods"]]
    assert names == ["web-0", "api-0", "waiting"]
