# SPDX-License-Identifier: GPL-2.0-only
"""Has the workload shifted? Sequential tests on the groups of a signature and on time per packet.

*Groups*: the packets of the last 1, 2, 4 to 32 batches against those of a baseline
(signature.chi_squares, in units of noise; a window-limited likelihood-ratio test, Lai 1995). A
batch is a look, or several while packets are few. Packets of real traffic are not independent, so
the noise is not taken for granted: how much more than independent packets the baseline's batches
differ from each other (the dispersion) is estimated and divides the statistic. A shift has to be
both beyond noise and worth noticing, which are two limits.

*Time per packet*: a one-sided CUSUM (Page 1954) on the logarithm of the live variant's time over
that of the generic code, which is measured beside it, so that clock speed, neighbours and cold
caches cancel out. Where there is no such reference, on the time itself, compared only with looks
under a like load.

No statistic knows the rate of packets: a change of the load alone is no shift.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from iridescent_xdp.adapt.pace import Pace
from iridescent_xdp.adapt.reading import Reading, ReadingStatus
from iridescent_xdp.adapt.signature import Signature
from iridescent_xdp.adapt.track import Track, UsualNoise
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.events import EventLog


@dataclass(frozen=True, kw_only=True)
class ShiftSettings:
    """When a shift is told. Defaults: see the false alarms in docs/adaptation.md."""

    noise_limit: float = 5.5  # a group has to move by so many standard deviations of noise
    least_change: float = 0.015  # and one of its categories by so much of all packets
    least_slowdown: float = 0.4  # of the live variant, relative to generic
    batch: int = 200  # packets in a group's batch, at least
    learning: int = 10  # batches in a baseline
    ignored: frozenset[str] = field(default_factory=frozenset)  # groups that may move

    def __post_init__(self) -> None:
        for name, low, high in (
            ("noise_limit", 1.0, 100.0),
            ("least_change", 0.0, 1.0),
            ("least_slowdown", 0.01, 10.0),
            ("batch", 30, 1_000_000),
            ("learning", 2, 1000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{low} <= {name} <= {high} must hold, got {value}")


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A change of the workload: what moved, from what to what, and by how much more than noise.

    ``group`` is the one that moved most of those in ``moved``; its ``statistic`` exceeded
    ``threshold``. ``signature`` is of the packets of the look that showed it.
    """

    at_ns: int  # of the reading that showed it
    group: str
    before: dict[str, float]
    after: dict[str, float]
    statistic: float
    threshold: float
    reason: str
    signature: Signature
    moved: tuple[str, ...] = ()


def tell_shift(events: EventLog, shift: Shift) -> None:
    """Write it down."""
    events.tell(
        "shift",
        group=shift.group,
        before=shift.before,
        after=shift.after,
        statistic=shift.statistic,
        threshold=shift.threshold,
        reason=shift.reason,
    )


class ShiftDetector:
    """Told every reading; says once when the workload is not the baseline's any more.

    Without a baseline of its own the first readings are it. ``usual`` is shared by detectors that
    follow the same traffic in turn.
    """

    def __init__(
        self, settings: ShiftSettings | None = None, usual: UsualNoise | None = None
    ) -> None:
        self.settings = settings or ShiftSettings()
        self.usual = usual or UsualNoise()
        self._tracks: dict[str, Track] = {}
        self.reset()

    def reset(self, baseline: Signature | None = None) -> None:
        """Begin anew: after a search, or a shift. ``baseline`` is what the workload was then."""
        self.usual.learn(self._tracks.values())
        self._tracks = {}
        self._baseline = baseline.workload() if baseline is not None else Signature()
        self._pace = Pace(self.settings.least_slowdown)
        self._told = False

    @property
    def learning(self) -> bool:
        """Whether any group still gathers its baseline."""
        return not self._tracks or any(track.learning for track in self._tracks.values())

    def update(self, reading: Reading) -> Shift | None:
        """The shift that this reading shows; one only until the next ``reset``."""
        if reading.status is not ReadingStatus.LOOKED or self._told:
            return None
        moved = [
            found
            for name, group in reading.signature.groups.items()
            if name not in self.settings.ignored
            and (found := self._track(name).add(group)) is not None
        ]
        if (slower := self._pace.add(reading)) is not None and "time" not in self.settings.ignored:
            moved.append(slower)
        if not moved:
            return None
        self._told = True
        worst = max(moved, key=lambda m: m.statistic / m.threshold)
        return Shift(
            at_ns=reading.at_ns,
            group=worst.group,
            before=worst.before,
            after=worst.after,
            statistic=worst.statistic,
            threshold=worst.threshold,
            reason="; ".join(m.reason for m in moved),
            signature=reading.signature,
            moved=tuple(m.group for m in moved),
        )

    def _track(self, name: str) -> Track:
        if name not in self._tracks:
            settings = self.settings
            self._tracks[name] = Track(
                name,
                noise_limit=settings.noise_limit,
                least_change=settings.least_change,
                batch=settings.batch,
                learning=settings.learning,
                baseline=self._baseline.groups.get(name),
                usual=self.usual.of(name),
            )
        return self._tracks[name]
