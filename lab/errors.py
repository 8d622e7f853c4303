"""The one error that a user of the lab sees: a sentence, no traceback."""

from __future__ import annotations


class LabError(Exception):
    """Something that the lab cannot do, said in one sentence."""
