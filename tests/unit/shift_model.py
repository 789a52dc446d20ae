# SPDX-License-Identifier: GPL-2.0-only
"""Readings of modelled traffic: known shares, seeded noise, packets that come in trains."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from iridescent_xdp.adapt.reading import Histogram, Reading, ReadingStatus, no_times
from iridescent_xdp.adapt.samples import FAMILIES, FLOWS, KEPT, OPENING, SIZES, TAGS, TRANSPORTS
from iridescent_xdp.adapt.signature import MISSES, Group, Signature
from iridescent_xdp.statistics import bucket_of

LOOK_NS = 125_000_000
TEN_MINUTES = 4800  # looks
FULL_PPS = 5e6
SAMPLES = 512  # in one look, at full load and a good while below

CATEGORIES = {
    "family": FAMILIES,
    "transport": TRANSPORTS,
    "tags": TAGS,
    "opening": OPENING,
    "size": SIZES,
    "flows": FLOWS,
    "kept": KEPT,
    MISSES + "vlan_depth": ("miss", "hit"),
}
USUAL = {
    "family": (0.0, 0.01, 0.89, 0.1),
    "transport": (0.01, 0.6, 0.37, 0.02),
    "tags": (1.0, 0.0, 0.0),
    "opening": (0.95, 0.05),
    "size": (0.58, 0.0, 0.0, 0.01, 0.33, 0.08, 0.0),
    "flows": (0.09, 0.15, 0.15, 0.09, 0.52),
    "kept": (0.6, 0.4),
    MISSES + "vlan_depth": (0.004, 0.996),
}


Shares = Mapping[str, tuple[float, ...]]  # by group
NOTHING: Shares = {}


@dataclass(kw_only=True)
class Model:
    """``dispersion``: how much more than independent packets the counts vary. Times are lognormal
    around ``live_ns`` and ``generic_ns``, and what the host does in a look moves both."""

    seed: int
    dispersion: float = 3.0
    live_ns: float = 55.0
    generic_ns: float = 135.0
    host: float = 0.05
    shares: Shares = field(default_factory=lambda: dict(USUAL))
    timed: bool = True

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._at_ns = 0

    def reading(
        self, changed: Shares = NOTHING, *, load: float = 1.0, samples: int | None = None
    ) -> Reading:
        """One look at ``load`` (1 is FULL_PPS); ``changed`` are other shares, by group."""
        self._at_ns += LOOK_NS
        pps = load * FULL_PPS
        count = min(SAMPLES, int(pps * 0.003)) if samples is None else samples
        packets = int(pps * LOOK_NS / 1e9)
        groups = {}
        for name, shares in {**self.shares, **changed}.items():
            size = packets if name.startswith(MISSES) else count
            if size:
                groups[name] = self._group(CATEGORIES[name], np.array(shares), size)
        host = np.exp(self._rng.normal(0, self.host))
        return Reading(
            at_ns=self._at_ns,
            status=ReadingStatus.LOOKED,
            signature=Signature(groups=groups),
            packets=packets,
            pps=pps,
            times=self._times(self.live_ns * host, count // 2),
            reference_times=self._times(self.generic_ns * host, count // 2),
        )

    def _group(self, names: tuple[str, ...], shares: np.ndarray, size: int) -> Group:
        """Dirichlet-multinomial counts: their variance is ``dispersion`` times a multinomial's."""
        if self.dispersion > 1 and size > self.dispersion:
            strength = (size - self.dispersion) / (self.dispersion - 1)
            some = shares > 0
            drawn = np.zeros_like(shares)
            drawn[some] = self._rng.dirichlet(strength * shares[some])
            shares = drawn
        counts = self._rng.multinomial(size, shares)
        return Group(names=names, counts=tuple(int(c) for c in counts))

    def _times(self, mean_ns: float, count: int) -> Histogram:
        times = no_times()
        if self.timed and count:
            drawn = mean_ns * np.exp(self._rng.normal(0, 0.2, size=count))
            np.add.at(times, [bucket_of(int(ns)) for ns in drawn], 1)
        return times


def false_alarms(runs: int, dispersion: float) -> list[str]:
    """Reasons of the shifts told in ``runs`` times ten minutes of steady traffic, whose load
    changes every five seconds between full and a twentieth."""
    from iridescent_xdp.adapt.shift import ShiftDetector

    told: list[str] = []
    for seed in range(runs):
        model, detector = Model(seed=seed, dispersion=dispersion), ShiftDetector()
        loads, load = np.random.default_rng(seed), 1.0
        for number in range(TEN_MINUTES):
            if number % 40 == 0:
                load = float(loads.choice([1.0, 0.8, 0.5, 0.2, 0.05]))
            shift = detector.update(model.reading(load=load))
            if shift is not None:
                told.append(shift.reason)
                detector.reset()
    return told


if __name__ == "__main__":  # python -m tests.unit.shift_model 25
    for dispersion in (1.0, 3.0, 10.0):
        count = int(sys.argv[1])
        reasons = false_alarms(count, dispersion)
        print(f"dispersion {dispersion}: {len(reasons)} in {count * TEN_MINUTES} looks", *reasons)
