# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: the line of an ingress's log as a question: which pod did the proxy try to reach, and from which pod.

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ._cluster import Cluster, Pod
from ._json import Json, as_mapping, parse_address
from ._question import BadQuestion, check_port

FAILED = (499, 502, 503, 504)
LONGEST = 8192  # characters of a line that are looked at
ADDRESS = r"(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:.]{2,45}\])"
UPSTREAM = rf"{ADDRESS}:\d{{1,5}}"
# ingress-nginx: ... "request" status bytes "referer" "agent" length time [namespace-service-port] [alternative] upstreams lengths times statuses request
NGINX = re.compile(rf'(?:^|[\]"] )(?P<status>\d{{3}}) \d+ .*?\[[^\[\]]*\] \[[^\[\]]*\] (?P<upstreams>{UPSTREAM}(?:(?:, | : ){UPSTREAM})*) ')
NGINX_ERROR = re.compile(rf'upstream: "[a-z0-9]+://(?P<upstreams>{UPSTREAM})')
# envoy, and Istio's form of it: "upstream host" cluster local-address ...
ENVOY = re.compile(rf'^\[[^\]]*\] (?:"[^"]*" )?(?P<status>\d{{3}}) .*"(?P<upstreams>{UPSTREAM})" ?(?:\S+ )?(?P<local>{UPSTREAM})?')
# haproxy: frontend backend/server timers status; ingress controllers put the address into the server's name
HAPROXY = re.compile(r"\] \S+ [^\s/]+/(?P<server>\S+) (?:-?\+?\d+/){2,4}-?\+?\d+ (?P<status>\d{3}|-1) ")
NAMED = re.compile(rf'\b(?:upstream_addr|upstream_host|upstream|proxy_host)"?[=:] ?"?(?P<upstreams>{UPSTREAM})')
STATUS = re.compile(r'\b(?:status|response_code|upstream_status)"?[=:] ?"?(?P<status>\d{3})\b')
JSON_UPSTREAM = ("upstream_addr", "upstream_host", "upstreamaddr", "upstream", "serviceaddr")
JSON_STATUS = ("status", "response_code", "downstreamstatus", "originstatus")
# kubectl logs --prefix, and what stern and the like put ahead
POD = re.compile(r"^\[pod/(?P<pod>[a-z0-9.-]{1,253})/")
INGRESSES = {
    "app.kubernetes.io/name": (
        "ingress-nginx", "nginx-ingress", "haproxy-ingress", "kubernetes-ingress", "traefik", "contour", "envoy", "istio-ingressgateway",
    ),
    "app": ("istio-ingressgateway", "ingress-nginx", "nginx-ingress", "haproxy-ingress", "envoy"),
    "istio": ("ingressgateway",),
}  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """What a proxy tried. status: None in an error log; pod: the name of the proxy's own, local: its address, where the line says so."""

    address: str
    port: int
    status: int | None
    pod: str = ""
    local: str = ""

    @property
    def destination(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def _split(upstream: str) -> tuple[str, int]:
    address, _colon, port = upstream.strip().rpartition(":")
    parsed, number = parse_address(address.strip("[]")), check_port(port)
    if parsed is None or number is None:
        raise BadQuestion(f"log_line: {upstream} is no address with a port")
    return str(parsed), number


def _fields(line: str) -> Mapping[str, Json]:
    """A line that is a JSON object, its keys in small letters."""
    begin = line.find("{")
    if begin < 0:
        return {}
    try:
        found = as_mapping(json.loads(line[begin:]))
    except (ValueError, RecursionError):
        return {}
    return {str(key).lower(): value for key, value in found.items()}


def _matches(line: str) -> tuple[str, int | None, str]:
    """The last upstream that was tried, the status, and the proxy's own address. Errors: BadQuestion."""
    fields = _fields(line)
    if fields:
        upstream = next((str(fields[key]) for key in JSON_UPSTREAM if fields.get(key)), "")
        status = next((int(str(fields[key])) for key in JSON_STATUS if re.fullmatch(r"\d{3}", str(fields.get(key)), re.ASCII)), None)
        tried = re.findall(UPSTREAM, upstream)
        if tried:
            return tried[-1], status, ""
    for pattern in (NGINX, ENVOY, NGINX_ERROR, NAMED):
        found = pattern.search(line)
        if found is not None:
            said = found.groupdict().get("status") or (STATUS.search(line) or {"status": None})["status"]
            local = found.groupdict().get("local") or ""
            return re.findall(UPSTREAM, found["upstreams"])[-1], int(said) if said else None, local.rpartition(":")[0].strip("[]")
    found = HAPROXY.search(line)
    if found is not None:
        tried = re.findall(UPSTREAM, found["server"])
        if not tried:
            raise BadQuestion(f"log_line: haproxy's server {found['server'][:80]} is a name and no address: give -e source= and -e destination=")
        return tried[-1], int(found["status"]) if found["status"] != "-1" else None, ""
    raise BadQuestion("log_line names no upstream as address:port in a form of ingress-nginx, envoy or haproxy: give -e source= and -e destination=")


def read(text: str) -> Tried:
    """The line as a question. Errors: BadQuestion, one sentence."""
    line = text.strip()[:LONGEST]
    if not line:
        raise BadQuestion("log_line is empty")
    upstream, status, local = _matches(line)
    if status is not None and status not in FAILED:
        raise BadQuestion(f"log_line tells of status {status}, and only {', '.join(map(str, FAILED))} are about the way to the pod behind")
    address, port = _split(upstream)
    prefix = POD.match(line)
    return Tried(address, port, status, prefix["pod"] if prefix else "", str(parse_address(local) or ""))


def is_ingress(pod: Pod) -> bool:
    return any(pod.labels.get(key) in values for key, values in INGRESSES.items())


def source_of(cluster: Cluster, tried: Tried) -> str:
    """The pod that wrote the line. Errors: BadQuestion, one sentence."""
    running = [pod for pod in cluster.pods.values() if pod.running and pod.address and pod.node]
    for fits in (lambda pod: pod.name == tried.pod, lambda pod: tried.local in pod.addresses, is_ingress):
        found = sorted((pod for pod in running if fits(pod)), key=lambda pod: pod.key)
        if len(found) == 1:
            return found[0].key
        if found:
            names = ", ".join(pod.key for pod in found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
            raise BadQuestion(f"log_line does not say which of {names} wrote it: give one of them as -e source=")
    raise BadQuestion("log_line does not say which pod wrote it, and no running pod has the labels of an ingress controller: give it as -e source=")


def last_line(text: str) -> str:
    """Of a file the last line that can be a question; the last of all if none can."""
    lines = [line for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        try:
            read(line)
        except BadQuestion:
            continue
        return line
    return lines[-1] if lines else ""


Variables = t.Mapping[str, t.Any]


def given(variables: Variables) -> str:
    """The line as it was given, never through a template: it holds what strangers asked the ingress.

    `-e log_line=...` is cut at its blanks by Ansible, which keeps the rest as another variable.
    """
    path = str(variables.get("log_file") or "")
    if path:
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                return last_line(stream.read()[-1_000_000:])
        except OSError as exc:
            raise BadQuestion(f"log_file {path} cannot be read: {exc.strerror}") from exc
    line = str(variables.get("log_line") or "")
    rest = str(variables.get("_raw_params") or "") if line else ""
    return f"{line} {rest}".strip()
