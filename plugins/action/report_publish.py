# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

from ansible_collections.podnet.doctor.plugins.plugin_utils import _run, _store
from ansible_collections.podnet.doctor.plugins.plugin_utils._controller_action import ControllerAction, Refused
from ansible_collections.podnet.doctor.plugins.plugin_utils._question import BadQuestion
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _export, _page

ARGUMENTS: dict[str, t.Any] = {**_store.OPTIONS, "report": {"type": "path", "required": True}, "bundle": {"type": "path"}}


class ActionModule(ControllerAction):
    """Bring a report, its page and its bundle to a place where others find them."""

    SPEC = ARGUMENTS

    def act(self, result: dict[str, t.Any], arguments: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
        try:
            report = _run.read_document(arguments["report"], _export.SCHEMA)
            store, base = _store.store_of(arguments), f"reports/{report['id']}"
            shown = {"md": _export.markdown(report), "html": _page.html(report)}
            parts = {"json": pathlib.Path(arguments["report"]).read_bytes(), **{kind: text.encode("utf-8", "replace") for kind, text in shown.items()}}
            if arguments["bundle"]:
                parts["zip"] = pathlib.Path(arguments["bundle"]).expanduser().read_bytes()
            if not self._task.check_mode:
                for kind, data in parts.items():
                    store.put(f"{base}.{kind}", data)
        except (_store.StoreError, BadQuestion, OSError, ValueError) as exc:
            raise Refused(f"the report is in {arguments['report']}, but could not be published: {exc}") from exc
        return {**result, "changed": True, "published": {kind: store.where(f"{base}.{kind}") for kind in parts}}
