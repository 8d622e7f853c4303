"""The demo's part for people without root: the recorded incident is judged as it was."""

from __future__ import annotations

import pytest

from lab import demo


def test_the_recorded_incident_gives_the_same_verdicts(capfd: pytest.CaptureFixture[str]) -> None:
    demo.replay()
    screen = capfd.readouterr().out
    assert "k8s02 announces 192.188.1.1, an address of its interface br0." in screen
    assert "not root" in screen
    assert "HEALTHY" in screen
