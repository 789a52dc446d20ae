# SPDX-License-Identifier: GPL-2.0-only
"""Measurements are made again while the machine's neighbour is busy, for a bounded time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from traffic import calm
from traffic.calm import Calm


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the next probes take, the first one first; then 100 ns for ever."""
    taken: list[float] = []
    monkeypatch.setattr(calm, "_probe_ns", lambda: taken.pop(0) if taken else 100.0)
    return taken


def numbers() -> Iterator[float]:
    return (float(n) for n in itertools.count())


def test_a_disturbed_measurement_is_made_again(probes: list[float]) -> None:
    probes += [100, 100, 100, 170, 170, 170, 100, 100]  # the second's end, the third
    values = numbers()
    patient = Calm(1.0)
    assert [patient.measured(lambda: next(values)) for _ in range(2)] == [0.0, 3.0]


def test_without_patience_everything_counts(probes: list[float]) -> None:
    probes += [100, 170, 170, 170]
    values = numbers()
    hasty = Calm(0.0)
    assert [hasty.measured(lambda: next(values)) for _ in range(2)] == [0.0, 1.0]
    assert len(probes) == 4, "nothing was probed"


def test_patience_has_an_end_and_the_calmest_counts(
    probes: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = numbers()
    monkeypatch.setattr(calm, "GRACE_S", 0.0)
    monkeypatch.setattr("traffic.calm.time.monotonic", lambda: next(seconds))  # each try takes one
    probes += [100, 100, 170, 170, 130, 130, 150, 150, 160, 160]
    values = numbers()
    patient = Calm(2.0)
    assert [patient.measured(lambda: next(values)) for _ in range(2)] == [0.0, 2.0]
    assert not probes


def test_the_probe_takes_time() -> None:
    assert calm._probe_ns() > 0
