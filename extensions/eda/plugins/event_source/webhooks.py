# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Alerts of Alertmanager and events of Kubernetes, as they are posted by webhooks, one by one.

Arguments: host (127.0.0.1), port (5055), token (of the header Authorization: Bearer; none by default).
POST /alerts takes what Alertmanager's webhook receiver sends, POST /events one event of Kubernetes or a list of them, as exporters of events send them.

A pair whose names could not be names of a question (a template, for one: they become variables of a playbook) is none.

What comes out: {kind: alert | event, name, cause, firing, source, destination, port, node}; cause is the same for all that one fault makes fire alike.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Iterator
from typing import Any

LARGEST = 16 << 20
UNKNOWN = "unknown"
END = re.compile(r"[A-Za-z0-9._:/\[\]%-]{1,512}")
PORT = re.compile(r"[A-Za-z0-9-]{0,63}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def of_alerts(payload: Any) -> Iterator[dict[str, Any]]:
    """Each alert of one call of the webhook. An alert's labels may name the pair to be diagnosed: podnet_source, podnet_destination, podnet_port."""
    alerts = _mapping(payload).get("alerts")
    for alert in alerts if isinstance(alerts, list) else []:
        labels = _mapping(_mapping(alert).get("labels"))
        name = _text(labels.get("alertname")) or UNKNOWN
        ends = [_text(labels.get(f"podnet_{end}")) for end in ("source", "destination", "port")]
        yield _event("alert", name, _mapping(alert).get("status") == "firing", _text(labels.get("cluster")), ends, _text(labels.get("node")))


def of_events(payload: Any) -> Iterator[dict[str, Any]]:
    """Each event of Kubernetes."""
    for event in payload if isinstance(payload, list) else [payload]:
        told = _mapping(event)
        about, source = _mapping(told.get("involvedObject") or told.get("regarding")), _mapping(told.get("source"))
        node = _text(source.get("host")) or (_text(about.get("name")) if about.get("kind") == "Node" else "")
        if told.get("reason"):
            yield _event("event", _text(told.get("reason")), True, _text(told.get("clusterName")), ["", "", ""], node)


def _event(kind: str, name: str, firing: bool, cluster: str, ends: list[str], node: str) -> dict[str, Any]:
    source, destination, port = ends
    if not (END.fullmatch(source) and END.fullmatch(destination) and PORT.fullmatch(port)):
        source = destination = port = ""
    pair = f"{source} to {destination} {port}".strip() if source else ""
    return {"kind": kind, "name": name, "cause": " ".join(filter(None, (cluster, pair or "cluster"))), "firing": firing, "pair": bool(pair), "source": source,
            "destination": destination, "port": port, "node": node}  # fmt: skip


async def main(queue: asyncio.Queue[Any], args: dict[str, Any]) -> None:
    """Serve until the rulebook ends."""
    from aiohttp import web

    wanted = f"Bearer {args['token']}" if args.get("token") else ""

    def taker(read: Any) -> Any:
        async def take(request: web.Request) -> web.Response:
            if wanted and not hmac.compare_digest(request.headers.get("Authorization", "").encode(), wanted.encode()):
                return web.Response(status=401)
            try:
                payload = await request.json()
            except ValueError:
                return web.Response(status=400, text="this is no JSON")
            for event in read(payload):
                await queue.put(event)
            return web.Response(status=202)

        return take

    application = web.Application(client_max_size=LARGEST)
    application.add_routes([web.post("/alerts", taker(of_alerts)), web.post("/events", taker(of_events))])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, str(args.get("host") or "127.0.0.1"), int(args.get("port") or 5055)).start()
    try:
        await asyncio.Future()
    finally:
        await runner.cleanup()
