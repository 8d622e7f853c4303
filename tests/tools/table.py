# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""README's tables of modes and causes: from the pages of the findings and the faults of the lab.

make table     writes them anew between their markers; a unit test holds README against them
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lab import faults  # noqa: E402
from lab.modes import MODES, Mode  # noqa: E402
from tests.remedy_cases import CASES  # noqa: E402

README = ROOT / "README.md"
PAGES = ROOT / "docs" / "findings"
BEGIN, END = "<!-- made by `make table` -->", "<!-- until here -->"
TITLE = re.compile(r"# `(?P<check>[\w.]+)`: (?P<title>.+)")
NAMED = re.compile(r"`(?P<cause>\w+)`(?: \((?P<fault>F\d\d)\))?")
WORDS = "Named as cause: "


@dataclass
class Cause:
    """A cause that a diagnosis may name. titles: check -> title of its page."""

    name: str
    fault: str = ""
    titles: dict[str, str] = field(default_factory=dict)


def causes() -> dict[str, Cause]:
    """Every cause that a page of a finding names, by its name."""
    found: dict[str, Cause] = {}
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text()
        title = TITLE.match(text)
        for line in text.splitlines():
            if title is None or not line.startswith(WORDS):
                continue
            for named in NAMED.finditer(line):
                cause = found.setdefault(named["cause"], Cause(named["cause"]))
                fault = named["fault"] or ""
                if cause.fault != fault and cause.titles:
                    raise ValueError(f"{page.name}: {cause.name} is {fault or 'no fault'} here and {cause.fault or 'none'} elsewhere")
                cause.fault = fault
                cause.titles[title["check"]] = title["title"]
    return found


def _what(mode: Mode) -> str:
    if mode.flannel:
        return f"{'canal' if mode.backend else 'flannel'}, backend {mode.flannel}"
    kind = {"ipip": "IPIP", "vxlan": "VXLAN"}.get(mode.tunnel, "no encapsulation")
    words = ["Calico", kind + (" across subnets" if mode.cross_subnet else "")]
    words.append(("BGP route reflectors" if mode.reflectors else "BGP mesh") if mode.bird else "no BGP")
    if len(mode.families) > 1:
        words.append("IPv4 and IPv6")
    return ", ".join([*words, mode.version])


def tables() -> str:
    """What stands between the markers."""
    broken = {fault.cause for fault in faults.catalogue()}
    repairs: dict[str, list[str]] = {}
    for remedy, fault, _mode, _variables in CASES:
        repairs.setdefault(faults.find(fault).cause, []).append(f"`{remedy}`")
    lines = ["| mode of the lab | what it is |", "| --- | --- |"]
    lines += [f"| `{name}` | {_what(mode)} |" for name, mode in MODES.items()]
    told = "All causes that are named, their faults' numbers, whether the lab breaks a cluster that way, and repairs of it that are proven there"
    lines += ["", f"<details><summary>{told}</summary>", ""]
    lines += ["| cause | fault | findings that it is named by | lab | proven repairs |", "| --- | --- | --- | --- | --- |"]
    for cause in sorted(causes().values(), key=lambda one: (one.fault or "F99", one.name)):
        shown = "; ".join(f"[{title}](docs/findings/{check}.md)" for check, title in cause.titles.items())
        proven = ", ".join(dict.fromkeys(repairs.get(cause.name, []))) or "-"
        lines.append(f"| `{cause.name}` | {cause.fault or '-'} | {shown} | {'yes' if cause.name in broken else '-'} | {proven} |")
    return "\n".join([*lines, "", "</details>"])


def parts() -> tuple[str, str, str]:
    """README before, between and after the markers. Errors: ValueError where they are not there."""
    before, begin, rest = README.read_text().partition(BEGIN + "\n")
    between, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("README.md has no place for the tables")
    return before, between.rstrip("\n"), after


def main() -> int:
    before, _between, after = parts()
    README.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{after}")
    print(f"{len(causes())} causes, {len(MODES)} modes: README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
