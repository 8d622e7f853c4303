# Copyright (c) 2026 the podnet.doctor contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: Calico's selector language (libcalico-go/lib/selector).

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

Labels = Mapping[str, str]
Selector = Callable[[Labels], bool]
NAMESPACE_NAME = "projectcalico.org/name"  # the label that Calico gives to every namespace
_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"[^"]*"|'[^']*')|(?P<operator>==|!=|&&|\|\||[!(){},])|(?P<call>has|all|global)\s*\(|(?P<word>[A-Za-z0-9_./-]+))"""
)
_CONDITIONS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda value, text: text in value,
    "starts with": lambda value, text: value.startswith(text),
    "ends with": lambda value, text: value.endswith(text),
}


class BadSelector(ValueError):
    """The text is no selector; the message says where it stops making sense."""


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise BadSelector(f"selector {text!r}: cannot be understood from {text[position:position + 20]!r} on")
        found.append(f"{match['call']}(" if match["call"] else match["string"] or match["operator"] or match["word"])
        position = match.end()
    return found


class _Parser:
    """Recursive descent: or, and, not, one test."""

    def __init__(self, text: str, everything: Selector, nowhere: Selector) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.everything = everything
        self.nowhere = nowhere

    def next(self, *wanted: str) -> str:
        if not self.tokens or (wanted and self.tokens[0] not in wanted):
            raise BadSelector(f"selector {self.text!r}: expected {' or '.join(wanted) or 'more'}, found {self.tokens[0] if self.tokens else 'its end'}")
        return self.tokens.pop(0)

    def at(self, token: str) -> bool:
        return bool(self.tokens) and self.tokens[0] == token

    def either(self) -> Selector:
        parts = [self.both()]
        while self.at("||"):
            self.next()
            parts.append(self.both())
        return lambda labels: any(part(labels) for part in parts)

    def both(self) -> Selector:
        parts = [self.single()]
        while self.at("&&"):
            self.next()
            parts.append(self.single())
        return lambda labels: all(part(labels) for part in parts)

    def single(self) -> Selector:
        if self.at("!"):
            self.next()
            inner = self.single()
            return lambda labels: not inner(labels)
        if self.at("("):
            self.next()
            whole = self.either()
            self.next(")")
            return whole
        if self.at("all(") or self.at("global("):
            name = self.next()
            self.next(")")
            return self.everything if name == "all(" else self.nowhere
        if self.at("has("):
            self.next()
            key = self.word()
            self.next(")")
            return lambda labels: key in labels
        return self.test(self.word())

    def test(self, key: str) -> Selector:
        operator = self.next()
        if operator == "==":
            wanted = self.string()
            return lambda labels: labels.get(key) == wanted
        if operator == "!=":
            unwanted = self.string()
            return lambda labels: labels.get(key) != unwanted
        if operator == "in":
            members = self.strings()
            return lambda labels: labels.get(key) in members
        if operator == "not":
            self.next("in")
            others = self.strings()
            return lambda labels: labels.get(key) not in others
        if operator in ("starts", "ends"):
            operator = f"{operator} {self.next('with')}"
        condition = _CONDITIONS.get(operator)
        if condition is None:
            raise BadSelector(f"selector {self.text!r}: {operator!r} is no operator")
        text = self.string()
        return lambda labels: key in labels and condition(labels[key], text)

    def word(self) -> str:
        token = self.next()
        if not re.fullmatch(r"[A-Za-z0-9_./-]+", token):
            raise BadSelector(f"selector {self.text!r}: expected the name of a label, found {token}")
        return token

    def string(self) -> str:
        token = self.next()
        if token[0] not in "\"'":
            raise BadSelector(f"selector {self.text!r}: expected a text in quotes, found {token}")
        return token[1:-1]

    def strings(self) -> frozenset[str]:
        self.next("{")
        members = set()
        while not self.at("}"):
            members.add(self.string())
            if not self.at("}"):
                self.next(",")
        self.next("}")
        return frozenset(members)


def _every(labels: Labels) -> bool:
    return True


def _none(labels: Labels) -> bool:
    return False


def _namespaced(labels: Labels) -> bool:
    return NAMESPACE_NAME in labels


def _global(labels: Labels) -> bool:
    return NAMESPACE_NAME not in labels


@lru_cache(maxsize=16384)
def parse(text: str) -> Selector:
    """A function from labels to whether they match; an empty selector matches everything. Errors: BadSelector."""
    return _parsed(text, _every, _none)


@lru_cache(maxsize=16384)
def parse_namespaces(text: str) -> Selector:
    """As `parse`, over the labels of the namespace that something is in, {} for what is in none: all() is every namespace, global() none of them."""
    return _parsed(text, _namespaced, _global)


def _parsed(text: str, everything: Selector, nowhere: Selector) -> Selector:
    if not text.strip():
        return _every
    parser = _Parser(text, everything, nowhere)
    selector = parser.either()
    if parser.tokens:
        raise BadSelector(f"selector {text!r}: {parser.tokens[0]} is not expected")
    return selector


__all__ = ["BadSelector", "Labels", "Selector", "parse", "parse_namespaces"]
