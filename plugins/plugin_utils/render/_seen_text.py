# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: how far the packets of the probes came, a sentence each. Reads only the report document.

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .._grid import lines

Json = t.Any
PACKETS = {"request": "requests", "reply": "answers"}


def texts(report: Mapping[str, Json]) -> list[str]:
    """What is the same of several trains of one direction is told once."""
    told: dict[tuple[str, str], list[str]] = {}
    for probe in report.get("probes") or []:
        kind, port = str(probe.get("protocol")), (probe.get("destination") or {}).get("port")
        told.setdefault((str(probe.get("direction")), _text(probe)), []).append(f"{kind}{f'/{port}' if port and kind != 'icmp' else ''}{_size(probe)}")
    seen = [f"{direction} {', '.join(kinds)}: {text}" for (direction, text), kinds in told.items()]
    seen += _further(report)
    seen += [f"{one['packets']} packets were counted meanwhile on {one['node']} by {one['rule']} ({one['table']}, {one['chain']})"
             for one in (report.get("rules") or [])[:3]]  # fmt: skip
    return seen + [f"{one.get('pod') or one['node']} asked on {one['device']} who has {one['address']}, and nobody answered" for one in report.get("arp") or []]


def _further(report: Mapping[str, Json]) -> list[str]:
    """Of a Service's other endpoints: those that do not answer one by one, the others together."""
    found, fine = [], 0
    for pair in report.get("pairs") or []:
        for probe in pair.get("probes") or []:
            if probe.get("arrived") is True and probe.get("replied") == probe.get("sent"):
                fine += 1
                continue
            end = probe.get("destination") or {}
            found.append(f"to {end.get('address')}{':' + str(end['port']) if end.get('port') else ''} {probe.get('protocol')}: {_text(probe)}")
    return found + [f"to {fine} more endpoint{'s' * (fine > 1)}: arrived, all answered"] * bool(fine)


def grid(report: Mapping[str, Json]) -> list[str]:
    """Who reaches whom, and what that says."""
    told = report.get("grid") or {}
    return lines(told.get("cells") or []) + ([str(told["pattern"])] if told.get("pattern") else [])


def traced(report: Mapping[str, Json]) -> list[str]:
    """Which rules ended packets, and of the others how many there were."""
    found = []
    for node in report.get("trace") or []:
        rules = [rule for rule in node.get("rules") or [] if isinstance(rule, Mapping)]
        ends = [rule for rule in rules if rule.get("verdict") == "drop"]
        for rule in ends[:4]:
            what = f"{rule['packets']} {rule['protocol']} {PACKETS.get(str(rule['kind']), 'packets')}"
            found.append(f"{node['node']}: {_rule(rule)} dropped {what} ({rule['direction']})")
        if rules and not ends:
            met = len({(rule["family"], rule["table"], rule["chain"], rule["handle"]) for rule in rules})
            found.append(f"{node['node']}: they met {met} rules and policies, none dropped them")
        if node.get("reason"):
            found.append(f"{node['node']}: {node['reason']}")
        elif not rules:
            found.append(f"{node['node']}: they met no rule")
    return found


def _rule(rule: Mapping[str, Json]) -> str:
    where = f"{rule['family']} {rule['table']} {rule['chain']}"
    return f"the policy of {where}" if rule["handle"] is None else f"{where}: {rule.get('rule') or 'handle ' + str(rule['handle'])}"


def watched(report: Mapping[str, Json]) -> list[str]:
    """What a watch saw."""
    watch = report.get("watch") or {}
    echoes, flows = watch.get("echoes"), watch.get("flows")
    if not echoes:
        return []
    rtt = echoes.get("rtt")
    took = f", {1000 * rtt['min']:.1f} / {1000 * rtt['median']:.1f} / {1000 * rtt['max']:.1f} ms" if rtt else ""
    lines = [f"{watch['seconds']:g} s: {echoes['replied']} of {echoes['sent']} echoes answered{took}"]
    lines += [f"{one['packets']} of {one['of']} {one['what']} never passed {one['hop']}, last seen at {one['after'] or 'the sender'}" for one in echoes["lost"]]
    long = [f"{one['from']:g}-{one['to']:g} s" for one in echoes["stretches"] if one["packets"] > 2]
    lines += [f"without an answer at {', '.join(long[:6])}"] if long else []
    lines += [f"the latency changed at {one['at']:g} s from {1000 * one['before']:.1f} to {1000 * one['after']:.1f} ms" for one in echoes["steps"][:2]]
    lines += [f"{echoes[name]} {text}" for name, text in (("duplicates", "answers came twice"), ("reordered", "echoes came out of order")) if echoes[name]]
    if flows:
        bad = f", not: source ports {', '.join(str(one['port']) for one in flows['failing'][:8])}" if flows["failing"] else ""
        good = flows["flows"] - len(flows["failing"])
        lines.append(f"{good} of {flows['flows']} flows to {flows['address']}:{flows['port']} always answered{bad}")
        lines += [f"{one['answered']} of {one['flows']} flows led to {one['address']} answered" for one in flows["destinations"]] * bool(flows["failing"])
    return lines


def _text(probe: Mapping[str, Json]) -> str:
    arrived, sent, hops = probe.get("arrived"), probe.get("sent"), _entries(probe, "hops")
    missed = probe.get("lost") if isinstance(probe.get("lost"), Mapping) else None
    if arrived is True:
        told = f"arrived{_watched(hops)}, {probe.get('replied')} of {sent} answered{_said(probe)}"
        return told + (f"; the answers {_way(_entries(probe, 'back'), missed)}" if missed else "")
    if arrived is False:
        if missed and missed.get("after"):
            return f"{_way(hops, missed)}{_said(probe)}"
        return f"{sent} marked packets sent, {'none left the sender' if missed else 'none seen at the far end'}{_said(probe)}"
    reason = probe.get("reason") or probe.get("error") or "no reason given"
    last = next((hop for hop in reversed(hops) if hop.get("packets")), None)
    return f"not known whether it arrived ({reason})" + (f"; last seen on {_place(last)}" if last else "")


def _size(probe: Mapping[str, Json]) -> str:
    return f" of {probe['size']} bytes" if probe.get("size") else ""


def _entries(probe: Mapping[str, Json], name: str) -> list[Mapping[str, Json]]:
    return [hop for hop in probe.get(name) or [] if isinstance(hop, Mapping)]


def _watched(hops: Sequence[Mapping[str, Json]]) -> str:
    looked = [hop for hop in hops if hop.get("packets") is not None]
    passed = [hop for hop in looked if hop.get("packets")]
    if not looked:
        return ""
    return f", seen at {'all' if len(passed) == len(hops) else f'{len(passed)} of'} {len(hops)} hops"


def _said(probe: Mapping[str, Json]) -> str:
    """Errors and resets, and who sent them."""
    told = [f"{error.get('source')} says {error.get('text')}" for error in _entries(probe, "errors")[:2]]
    if probe.get("refused") is not True and (probe.get("refused") or 0) > 0:
        told.append(f"refused {probe['refused']} times" + (f", first seen on {_hop_name(probe['reset_at'])}" if probe.get("reset_at") else ""))
    return "".join(f"; {text}" for text in told)


def _hop_name(hop: str) -> str:
    return hop.partition(":")[2].rpartition("/")[2]


def _place(hop: Mapping[str, Json]) -> str:
    device = str(hop.get("device") or "the NIC")
    name = str(hop.get("hop"))
    if name.startswith("pod:"):
        return f"{device} of {name.rpartition('/')[2]}"
    return f"{device} of {hop.get('node')}" + (f" (in {str(hop['encapsulation']).upper()})" if hop.get("encapsulation") else "")


def _way(hops: Sequence[Mapping[str, Json]], missed: Mapping[str, Json]) -> str:
    """Where packets were seen last, and where not any more."""
    seen = list(dict.fromkeys(_place(hop) for hop in hops if hop.get("packets")))
    never = next((_place(hop) for hop in hops if hop.get("hop") == missed.get("hop")), "the next hop")
    if not seen:
        return "were never seen"
    return f"left {seen[0]}" + (f", were last seen on {seen[-1]}" if seen[1:] else "") + f", never on {never}"
