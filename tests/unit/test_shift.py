# SPDX-License-Identifier: GPL-2.0-only
"""Shifts are found within a few looks; noise, load and patience are none."""

from __future__ import annotations

import numpy as np
import pytest

from iridescent_xdp.adapt.reading import Reading, ReadingStatus
from iridescent_xdp.adapt.shift import Shift, ShiftDetector, ShiftSettings
from iridescent_xdp.adapt.signature import MISSES
from iridescent_xdp.adapt.track import ALONE
from iridescent_xdp.errors import ConfigError
from tests.unit.shift_model import LOOK_NS, NOTHING, USUAL, Model, Shares

LEARNING = ShiftSettings().learning
STEADY_LOOKS = 500  # with each dispersion; docs/adaptation.md tells of a longer run

SHIFTS: dict[str, tuple[float, ...]] = {
    "family": (0.0, 0.01, 0.69, 0.3),
    "transport": (0.01, 0.4, 0.57, 0.02),
    "tags": (0.9, 0.1, 0.0),
    "opening": (0.6, 0.4),
    "size": (0.3, 0.0, 0.0, 0.01, 0.6, 0.09, 0.0),
    "flows": (0.0, 0.0, 0.0, 0.0, 1.0),
    "kept": (0.0, 1.0),
    MISSES + "vlan_depth": (0.1, 0.9),
}


def looks_until(
    detector: ShiftDetector,
    model: Model,
    most: int,
    changed: Shares = NOTHING,
    *,
    load: float = 1.0,
    samples: int | None = None,
) -> int:
    """How many looks it takes to tell the shift; fails after ``most``."""
    for number in range(1, most + 1):
        if detector.update(model.reading(changed, load=load, samples=samples)) is not None:
            return number
    raise AssertionError(f"no shift in {most} looks")


def learned(model: Model, looks: int = LEARNING + 10) -> ShiftDetector:
    detector = ShiftDetector()
    for _ in range(looks):
        assert detector.update(model.reading()) is None
    assert not detector.learning
    return detector


@pytest.mark.parametrize("dispersion", [1.0, 3.0, 10.0])
def test_steady_traffic_is_no_shift(dispersion: float) -> None:
    """The load goes from full to a fifth and back, and the noise is several times that of
    independent packets."""
    model, detector = Model(seed=int(dispersion), dispersion=dispersion), ShiftDetector()
    for number in range(STEADY_LOOKS):
        load = 0.6 + 0.4 * np.cos(number / 40)
        assert detector.update(model.reading(load=load)) is None, number


@pytest.mark.parametrize("group", SHIFTS)
def test_a_shift_is_told_within_two_looks(group: str) -> None:
    model = Model(seed=7, dispersion=1.5)
    detector = learned(model)
    assert looks_until(detector, model, 2, {group: SHIFTS[group]}) <= 2


def test_what_is_told() -> None:
    model = Model(seed=1, dispersion=1.0)
    detector = learned(model)
    reading = model.reading({"tags": (0.5, 0.5, 0.0)})
    shift = detector.update(reading)
    assert isinstance(shift, Shift)
    assert (shift.at_ns, shift.group) == (reading.at_ns, "tags")
    assert shift.before["untagged"] == 1.0
    assert shift.after == reading.signature.groups["tags"].shares
    assert shift.statistic > shift.threshold == ALONE * ShiftSettings().noise_limit
    assert shift.reason.startswith("tags: 'untagged' from 100.0% to ")
    assert detector.update(model.reading({"tags": (0.0, 1.0, 0.0)})) is None  # told once
    detector.reset()
    for _ in range(20):
        assert detector.update(model.reading({"tags": (0.5, 0.5, 0.0)})) is None  # usual now


def test_a_small_shift_takes_longer_and_a_tiny_one_is_none() -> None:
    model = Model(seed=2)
    detector = learned(model)
    small = (0.0, 0.01, 0.82, 0.17)
    assert 2 <= looks_until(detector, model, 32, {"family": small}) <= 32
    tiny, detector = Model(seed=3), learned(Model(seed=3))
    for _ in range(300):
        assert detector.update(tiny.reading({"family": (0.0, 0.01, 0.875, 0.115)})) is None


def test_a_sudden_fall_of_the_load_is_no_shift() -> None:
    model = Model(seed=4)
    detector = learned(model)
    for load in (0.2, 1.0, 0.01, 1.0, 0.2):
        for _ in range(40):
            assert detector.update(model.reading(load=load)) is None


def test_few_packets_are_waited_for() -> None:
    """Ten samples a look: no alarm for long, and a shift is found when enough of them came."""
    model = Model(seed=5, dispersion=1.0)
    detector = ShiftDetector()
    shares = {name: s for name, s in USUAL.items() if name != MISSES + "vlan_depth"}
    model.shares = shares
    for _ in range(600):
        assert detector.update(model.reading(load=0.001, samples=10)) is None
    assert not detector.learning
    new = {"tags": (0.5, 0.5, 0.0)}
    assert 10 <= looks_until(detector, model, 60, new, load=0.001, samples=10) <= 60


def test_nothing_follows_from_what_nobody_saw() -> None:
    detector = learned(Model(seed=6))
    for status in (ReadingStatus.FEW, ReadingStatus.ASIDE):
        for _ in range(50):
            assert detector.update(Reading(at_ns=0, status=status)) is None


def test_a_slower_variant_is_told_by_its_ratio_to_generic() -> None:
    """The host makes both slower by half: no shift. The live variant alone: a shift."""
    model = Model(seed=8)
    detector = learned(model, 30)
    model.live_ns, model.generic_ns = 80, 200
    for _ in range(100):
        assert detector.update(model.reading()) is None
    model.live_ns = 160
    assert 3 <= looks_until(detector, model, 8) <= 8


def test_a_neighbour_that_slows_generic_down_more_is_no_shift() -> None:
    model = Model(seed=12, host=0.02)
    detector = learned(model, 30)
    for busy in (True, False, True):
        model.live_ns, model.generic_ns = (72, 236) if busy else (55, 135)
        for _ in range(40):
            assert detector.update(model.reading()) is None


def test_a_neighbour_within_a_look_is_no_shift() -> None:
    """Generic looks as usual and the ratio goes from 0.30 to 0.41 and back."""
    model = Model(seed=13, host=0.02, live_ns=41)
    detector = learned(model, 30)
    for live_ns in (55, 41, 55):
        model.live_ns = live_ns
        for _ in range(60):
            assert detector.update(model.reading()) is None


def test_a_faster_variant_is_no_shift() -> None:
    model = Model(seed=14)
    detector = learned(model, 30)
    model.live_ns /= 3
    for _ in range(60):
        assert detector.update(model.reading()) is None


def test_a_reference_is_missing() -> None:
    model = Model(seed=9)

    def alone() -> Reading:
        reading = model.reading()
        object.__setattr__(reading, "reference_times", np.zeros_like(reading.times))
        return reading

    detector = ShiftDetector()
    for _ in range(400):
        assert detector.update(alone()) is None
    model.live_ns *= 2
    found = [detector.update(alone()) for _ in range(10)]
    shift = next(s for s in found if s is not None)
    assert shift.group == "time" and "ns (CUSUM" in shift.reason


def test_a_known_baseline_needs_no_learning() -> None:
    model = Model(seed=10)
    baseline = sum((model.reading().signature for _ in range(8)), start=model.reading().signature)
    detector = ShiftDetector()
    detector.reset(baseline)
    assert detector.update(model.reading()) is None
    assert detector.update(model.reading({"family": (0.0, 0.0, 0.3, 0.7)})) is not None


@pytest.mark.parametrize("looks", [0, 1, 3, 5, 8])
@pytest.mark.parametrize("dispersion", [1.0, 3.0])
def test_a_shift_soon_after_another(dispersion: float, looks: int) -> None:
    """The second one comes while the baseline of the first would be learned."""
    for seed in range(5):
        shares = {**USUAL, "family": (0.0, 0.0, 0.25, 0.75)}
        model = Model(seed=seed, dispersion=dispersion, shares=shares)
        detector = learned(model, 60)
        detector.reset(model.reading().signature)
        for _ in range(looks):
            assert detector.update(model.reading()) is None
        assert looks_until(detector, model, 6, {"family": (0.0, 0.0, 0.02, 0.98)}) <= 6


def test_a_shift_to_burstier_traffic_is_told_once_at_most() -> None:
    """What noise was usual is forgotten when it soon tells another shift."""
    told = []
    for seed in range(10):
        model = Model(seed=seed, dispersion=1.0)
        detector = learned(model, 60)
        model.dispersion = 10.0
        detector.reset(model.reading().signature)
        told.append(0)
        for _ in range(200):
            if detector.update(model.reading()) is not None:
                told[-1] += 1
                detector.reset(model.reading().signature)
    assert sum(told) <= 20, told


def test_a_shift_while_it_learns() -> None:
    model, detector = Model(seed=11), ShiftDetector()
    for _ in range(3):
        assert detector.update(model.reading()) is None
    assert detector.update(model.reading({"family": (0.0, 0.0, 0.0, 1.0)})) is not None


def test_ignored_groups_may_move() -> None:
    model = Model(seed=12)
    detector = ShiftDetector(ShiftSettings(ignored=frozenset({"kept", "time"})))
    for number in range(60):
        kept = (0.0, 1.0) if number > 30 else USUAL["kept"]
        model.live_ns = 100 if number > 30 else 55
        assert detector.update(model.reading({"kept": kept})) is None


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="noise_limit"):
        ShiftSettings(noise_limit=0)
    assert LOOK_NS == 125_000_000
