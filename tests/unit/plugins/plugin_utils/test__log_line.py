# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.podnet.doctor.plugins.plugin_utils import _log_line
from ansible_collections.podnet.doctor.plugins.plugin_utils._cluster import Cluster
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion
from ansible_collections.podnet.doctor.tests.unit import small

HEAD = '203.0.113.9 - - [21/Nov/2026:10:00:00 +0000] "GET /a?b=c HTTP/1.1"'
NGINX = HEAD + ' 504 160 "-" "curl/8.5.0" 83 15.001 [shop-api-80] [] 10.253.1.5:8080, 10.253.2.7:8080 0, 0 5.000, 10.001 504, 504 5f1c'
NGINX_ERROR = (
    "2026/11/21 10:00:00 [error] 31#31: *7 upstream timed out (110: Operation timed out) while connecting to upstream, client: 203.0.113.9, server: _, "
    'request: "GET / HTTP/1.1", upstream: "http://10.253.2.7:8080/", host: "shop.example.com"'
)
ISTIO = (
    '[2026-11-21T10:00:00.000Z] "GET / HTTP/1.1" 503 UF upstream_reset_before_response_started{connection_timeout} - "-" 0 91 10001 - "203.0.113.9" "curl/8" '
    '"d1d5" "shop.example.com" "10.253.2.7:8080" outbound|80||api.shop.svc.cluster.local 10.253.1.5:43210 10.253.1.5:8080 203.0.113.9:51514 - -'
)
ENVOY = '[2026-11-21T10:00:00.000Z] "GET / HTTP/1.1" 503 UF 0 91 10001 - "203.0.113.9" "curl/8" "d1d5" "shop.example.com" "[fd00::7]:8080"'
HAPROXY = (
    "Nov 21 10:00:00 lb haproxy[8]: 203.0.113.9:51514 [21/Nov/2026:10:00:00.000] http shop_api_80/pod:api-0:http:10.253.2.7:8080 0/0/-1/-1/3001 503 217 - - "
    'SC-- 1/1/0/0/3 0/0 "GET / HTTP/1.1"'
)
JSON = json.dumps({"time": "x", "status": 502, "upstream_addr": "10.253.2.7:8080", "request": "GET / HTTP/1.1"})
LOGFMT = 'level=warn status=499 upstream_addr="10.253.2.7:8080" request="GET /"'


@pytest.mark.parametrize(
    ("line", "destination", "status", "local"),
    [
        (NGINX, "10.253.2.7:8080", 504, ""),
        (NGINX.replace('"GET /a?b=c HTTP/1.1" ', ""), "10.253.2.7:8080", 504, ""),  # a word with = in it is taken away by Ansible
        (NGINX_ERROR, "10.253.2.7:8080", None, ""),
        (ISTIO, "10.253.2.7:8080", 503, "10.253.1.5"),
        (ENVOY, "[fd00::7]:8080", 503, ""),
        (HAPROXY, "10.253.2.7:8080", 503, ""),
        (JSON, "10.253.2.7:8080", 502, ""),
        ("2026-11-21T10:00:00Z stdout F " + JSON, "10.253.2.7:8080", 502, ""),
        (LOGFMT, "10.253.2.7:8080", 499, ""),
    ],
)
def test_what_the_proxy_tried(line, destination, status, local):
    found = _log_line.read(line)
    assert (found.destination, found.status, found.local) == (destination, status, local)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "is empty"),
        ("hello", "names no upstream"),
        (HEAD + ' 502 150 "-" "curl"', "names no upstream"),
        (NGINX.replace(" 504 160 ", " 200 160 "), "status 200"),
        (HAPROXY.replace("pod:api-0:http:10.253.2.7:8080", "srv1"), "srv1 is a name"),
        (NGINX.replace("10.253.2.7:8080", "10.253.2.777:8080"), "is no address with a port"),
        (NGINX.replace("10.253.2.7:8080", "10.253.2.7:99999"), "not a number from 1 to 65535"),
    ],
)
def test_what_is_missing_is_one_sentence(line, said):
    with pytest.raises(BadQuestion, match=said):
        _log_line.read(line)


LINES = [NGINX, NGINX_ERROR, ISTIO, ENVOY, HAPROXY, JSON, LOGFMT]
WORDS = st.sampled_from([*LINES, "[", "]", '"', "{", "}", " 502 ", "10.0.0.1:80", "[::]:1", "/", "-1/", "٣", "\0"])


PIECES = st.lists(st.one_of(WORDS, st.text(max_size=5)), max_size=12).map("".join)


@given(st.one_of(st.text(max_size=300), PIECES, st.binary().map(lambda raw: raw.decode("latin-1"))))
@example("[" * 5000 + "{" * 5000)
@example('{"status": "٣٣٣", "upstream_addr": "1.2.3.4:5"}')
def test_property_any_text_is_a_question_or_one_sentence(text):
    try:
        found = _log_line.read(text)
    except BadQuestion as error:
        assert str(error)
        assert "\n" not in str(error)
    else:
        assert 1 <= found.port <= 65535
        assert found.status in (*_log_line.FAILED, None)


def cluster(**labels):
    document = small.cluster_document()
    document["pods"] += [small.pod(f"edge/{name}", "k8s01", f"10.253.1.{20 + number}") for number, name in enumerate(("gate-a", "gate-b"))]
    for pod in document["pods"]:
        pod["metadata"]["labels"] = labels.get(pod["metadata"]["name"].replace("-", "_"), {})
    return Cluster(document)


INGRESS = {"app.kubernetes.io/name": "ingress-nginx"}


def test_the_pod_that_wrote_it():
    assert _log_line.source_of(cluster(gate_a=INGRESS), _log_line.read(NGINX)) == "edge/gate-a"
    assert _log_line.source_of(cluster(), _log_line.read(ISTIO)) == "shop/web-0"  # by its address
    both = cluster(gate_a=INGRESS, gate_b=INGRESS)
    assert _log_line.source_of(both, _log_line.read(f"[pod/gate-b/controller] {NGINX}")) == "edge/gate-b"


@pytest.mark.parametrize(("labels", "said"), [({}, "no running pod has the labels"), ({"gate_a": INGRESS, "gate_b": INGRESS}, "edge/gate-a, edge/gate-b")])
def test_who_wrote_it_is_not_guessed(labels, said):
    with pytest.raises(BadQuestion, match=said):
        _log_line.source_of(cluster(**labels), _log_line.read(NGINX))


def test_the_line_is_put_together_again():
    first, _blank, rest = NGINX.partition(" ")
    assert _log_line.given({"log_line": first, "_raw_params": rest}) == NGINX
    assert _log_line.given({"_raw_params": "something else"}) == ""


def test_the_last_line_that_fits_is_taken_from_a_file(tmp_path):
    (tmp_path / "x.log").write_text(f"{NGINX_ERROR}\n{JSON}\n{HEAD} 200 5\n\n")
    assert _log_line.given({"log_file": str(tmp_path / "x.log")}) == JSON
    with pytest.raises(BadQuestion, match="cannot be read"):
        _log_line.given({"log_file": str(tmp_path / "y.log")})
