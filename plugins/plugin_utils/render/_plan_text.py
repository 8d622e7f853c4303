# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: a plan as text.

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .._json import as_mapping
from .._trail import Back, Came
from ._phrases import count, listed
from ._text import labelled

Json = t.Any


OUTCOMES = {
    "repaired": "REPAIRED: the cause is gone, and packets were seen to cross",
    "partly": "PARTLY: the cause of the plan is gone, but the path is not healthy",
    "not repaired": "NOT REPAIRED",
}


def outcome(
    came: Came, report: Mapping[str, Json], report_path: str, trail: str, trouble: str = "", offered: Sequence[str] = ()
) -> list[str]:  # fmt: skip
    """What came of a plan. trouble: why it was not carried out to its end. offered: ways back that a person may take."""
    texts = [OUTCOMES[came.outcome] + (f": still found is {listed(came.left)}" if came.left else "")]
    if came.outcome == "partly" and as_mapping(report.get("verdict")).get("outcome") == "unknown":
        texts = ["PARTLY: the cause of the plan is gone; that the path is healthy is not proven"]
    if as_mapping(report.get("api")).get("error"):
        texts.append("not verified: what only the Kubernetes API knows, as it is silent")
    if came.others:
        texts.append(f"{'still' if came.outcome == 'repaired' else 'now'} named: {listed(came.others)}")
    if came.outcome != "repaired":
        texts.append(f"next: ansible-playbook podnet.doctor.remediate -e report={report_path}")
    stopped = labelled("STOPPED", [f"no further step was taken: {trouble}"]) if trouble else []
    ways = [line for way in offered for line in labelled("WAY BACK", [f"by hand, {way}"])]
    return [*stopped, *labelled("OUTCOME", texts), *ways, *labelled("TRAIL", [trail])]


def lasting(node: str, places: Sequence[str]) -> list[str]:
    """Where the node's own configuration would bring back what was changed."""
    return labelled("LASTING", [f"it may come back: on {node}, see {listed(places)}"]) if places else []


def became(restart: Mapping[str, Json]) -> list[str]:
    """The name of a pod that was made again, where it is another than before."""
    before, after = restart.get("before"), restart.get("after")
    return labelled("BECAME", [f"pod {before} is pod {after} now"]) if before and after and before != after else []


def taken_back(backs: Sequence[Back]) -> list[str]:
    """What was undone, as it did not help."""
    lines = []
    for back in backs:
        text = f"on {back.node}: {back.way_back}"
        lines += labelled("BACK", [f"FAILED {text}: {back.error}" if back.error else f"taken {text}"])
    return lines


def screen(plan: Mapping[str, Json], check_mode: bool = False, objections: Sequence[str] = (), approved_by: str = "") -> list[str]:
    actions = plan["actions"]
    if not actions:
        lines = ["PLAN     nothing to do" + (" by itself" if plan["refused"] else "")]
        for entry in plan["refused"]:
            lines += labelled("ADVICE", [f"{entry['reason']}"])
        return lines
    lines = [f"PLAN     {plan['id']}, {count(len(actions), 'step')}" + ("; check mode: nothing will be changed" if check_mode else "")]
    for number, action in enumerate(actions, 1):
        text = action["action"] + (f", if {action['only_if']}" if action["only_if"] else "")
        lines += labelled(f"STEP {number}", [text], str(action["class"]))
        before, after = action["change"]["before"], action["change"]["after"]
        lines += labelled("", [f"change: - {before}" + (f"  + {after}" if after else "")])
        radius = action["blast_radius"]
        numbers = f"{count(radius['pods'], 'pod')} on {action['node']}" if radius["pods"] is not None else f"pods on {action['node']}: not known"
        if radius["sessions"]:
            numbers += f", {count(radius['sessions'], 'BGP session')}"
        lines += labelled("", [f"touches: {radius['text']}" + (f" ({numbers})" if action["node"] else "")])
        if action["preconditions"]:
            lines += labelled("", [f"only because: {'; '.join(action['preconditions'])}"])
        patience = f"waits up to {action['wait_seconds']:.0f} s" if action["wait_seconds"] else "the next step follows at once"
        lines += labelled("", [f"done when: {action['verify']} ({patience})"])
        if action["way_back"]:
            lines += labelled("", [f"way back: {action['way_back']}"])
    for entry in plan["refused"]:
        lines += labelled("ADVICE", [f"{entry['reason']}"])
    if approved_by == "policy":
        lines += labelled("APPROVED", ["by the policy podnet_auto_approve"])
    elif objections and not approved_by:
        lines += labelled("POLICY", [f"does not approve this: {'; '.join(objections)}"])
    return lines
