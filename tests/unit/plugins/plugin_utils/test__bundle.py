# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import json
import stat
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _bundle
from ansible_collections.podnet.doctor.plugins.plugin_utils._diagnosis import Diagnosis
from ansible_collections.podnet.doctor.plugins.plugin_utils._documents import Documents, NodeFacts
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion
from ansible_collections.podnet.doctor.tests.unit import small

COLLECTED = [{"host": "one", "node": "k8s01", "sections": ["links"], "errors": [], "seconds": 0.1}]


def diagnosis():
    def clear(document):
        document["sysctls"]["net/ipv4/ip_forward"] = "0"

    found = small.diagnose(evidence={"schema": "podnet.doctor/evidence/1", "probes": [small.probe("forward", False)]}, k8s02=clear)
    nodes = {**found.documents.nodes, "k8s03/../x": NodeFacts("k8s03/../x", None, "is unreachable (gone)")}
    return Diagnosis(found.question, Documents(found.documents.cluster, nodes, found.documents.evidence), ("k8s03/../x",))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    made = diagnosis()
    path = tmp_path_factory.mktemp("bundle") / "new" / "x.zip"
    _bundle.save(str(path), made, made.report(COLLECTED))
    return path, made


def parts(path):
    with zipfile.ZipFile(path) as archive:
        return {name: json.loads(archive.read(name)) for name in archive.namelist()}


def write(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in content.items():
            archive.writestr(name, part if isinstance(part, bytes) else json.dumps(part))


def test_judged_again_it_says_the_same(saved):
    path, made = saved
    loaded, collected = _bundle.load(str(path))
    assert collected == COLLECTED
    assert loaded.report(COLLECTED, "t") == made.report(COLLECTED, "t")
    assert loaded.documents.nodes["k8s03/../x"].reason == "is unreachable (gone)"


def test_only_its_owner_reads_it_and_no_name_is_a_path(saved):
    path = saved[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["x.zip"]
    assert set(parts(path)) == {"question.json", "cluster.json", "report.json", "evidence.json", "nodes/0.json", "nodes/1.json", "nodes/2.json"}


def test_a_failed_write_leaves_nothing(tmp_path):
    made = diagnosis()
    with pytest.raises(TypeError):
        _bundle.save(str(tmp_path / "x.zip"), made, {"collected": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"PK no zip", "is no bundle of podnet.doctor"),
        ({}, "is no bundle of podnet.doctor: KeyError 'question.json'"),
        ({"question.json": b"{"}, "is no bundle of podnet.doctor"),
        ({"question.json": b"[" * 100_000}, "is no bundle of podnet.doctor: RecursionError"),
    ],
)
def test_what_is_no_bundle(tmp_path, content, sentence):
    path = tmp_path / "x.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write(path, content)
    with pytest.raises(BadQuestion, match=sentence) as caught:
        _bundle.load(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_not_unpacked(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(_bundle, "MOST_BYTES", 100)
    with pytest.raises(BadQuestion, match="larger than 256 MiB"):
        _bundle.load(str(saved[0]))


JUNK = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text(max_size=4), st.just([]), st.just({}), st.just([{}]), st.just({"error": "lost"}))


def places(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_property_a_mutated_bundle_is_judged_or_refused_in_one_sentence(saved, tmp_path, data):
    content = parts(saved[0])
    known = [p for p in places(content) if p]
    for path in data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3)):
        target = content
        try:
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = copy.deepcopy(data.draw(JUNK))
        except (KeyError, IndexError, TypeError):
            continue
    write(tmp_path / "x.zip", content)
    try:
        found, collected = _bundle.load(str(tmp_path / "x.zip"))
        report = found.report(collected)
    except BadQuestion as exc:
        assert str(exc).startswith(str(tmp_path))
        return
    json.dumps(report)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_property_a_damaged_file_is_judged_or_refused_in_one_sentence(saved, tmp_path, data):
    raw = bytearray(saved[0].read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=8)):
        raw[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))
    (tmp_path / "x.zip").write_bytes(bytes(raw[:cut]))
    try:
        _bundle.load(str(tmp_path / "x.zip"))
    except BadQuestion as exc:
        assert str(exc).startswith(str(tmp_path))
