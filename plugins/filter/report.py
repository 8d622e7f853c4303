# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.podnet.doctor.plugins.plugin_utils._plain import plain
from ansible_collections.podnet.doctor.plugins.plugin_utils.render import _export, _page


def _written(name: str, make: Callable[..., str], *arguments: t.Any) -> t.Any:
    """The text, which is never templated: names in it were given by others."""
    try:
        return wrap_var(make(*(plain(argument) for argument in arguments)))
    except (ValueError, TypeError) as exc:
        raise AnsibleFilterError(f"podnet.doctor.{name}: {exc}") from exc


def junit(report: t.Any) -> t.Any:
    """A report as JUnit XML."""
    return _written("junit", _export.junit, report)


def prometheus(report: t.Any, labels: t.Any = None) -> t.Any:
    """Reports as gauges of Prometheus."""
    return _written("prometheus", _export.prometheus, report, labels)


def markdown(report: t.Any) -> t.Any:
    """A report as a Markdown summary."""
    return _written("markdown", _export.markdown, report)


def html(report: t.Any) -> t.Any:
    """A report as one page of HTML."""
    return _written("html", _page.html, report)


class FilterModule:
    """Reports in the forms of other programs."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"junit": junit, "prometheus": prometheus, "markdown": markdown, "html": html}
