# SPDX-License-Identifier: GPL-2.0-only
"""Traffic that a guard lets through, and traffic that all of it misses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iridescent_xdp.bench.rig import CORPUS_SEED, Rig
from iridescent_xdp.controller import STEADY_ARM
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.kernel.program import Program
from traffic.generator import MAX_FRAMES, SEQUENCE
from traffic.mix_stream import Stream

LONGEST_BYTES = 200  # of a frame that is taken from the corpus


def split(rig: Rig, program: Program, point: str, stream: Stream) -> tuple[Stream, Stream]:
    """Of ``stream`` what ``program`` does not count as a miss of ``point``, and what it does.

    Where the stream has nothing that misses, the preflight corpus gives it. Raises
    MeasurementError when nothing passes, or nothing misses.
    """
    index = [p.name for p in rig.function.template.points].index(point)
    missed = _missed(rig, program, index, stream.packets)
    passing, missing = _part(stream, ~missed), _part(stream, missed)
    if missing is None:
        frames = [f for _, f in rig.function.corpus((), CORPUS_SEED) if len(f) <= LONGEST_BYTES]
        breaking = np.flatnonzero(_missed(rig, program, index, frames))[:MAX_FRAMES]
        if breaking.size:
            missing = _repeated(stream.name, [frames[i] for i in breaking])
    rig.reset()
    if passing is None or missing is None:
        kind = "passes" if passing is None else "misses"
        raise MeasurementError(f"no packet {kind} the guard of '{point}'")
    return passing, missing


def _missed(rig: Rig, program: Program, index: int, frames: Sequence[bytes]) -> np.ndarray:
    """For each frame whether a miss was counted."""
    found = np.zeros(len(frames), dtype=bool)
    before = _misses(rig, index)
    for place, frame in enumerate(frames):
        program.run(frame)
        after = _misses(rig, index)
        found[place] = after > before
        before = after
    return found


def _misses(rig: Rig, index: int) -> int:
    rows = rig.state["arm_stats"].read(STEADY_ARM)
    assert rows is not None
    return int(rows["misses"][:, index].sum())


def _part(stream: Stream, kept: np.ndarray) -> Stream | None:
    """The stream without some of its packets, in the same order, at full length."""
    sequence = stream.sequence[kept[stream.sequence]]
    if not len(sequence):
        return None
    used, renumbered = np.unique(sequence, return_inverse=True)
    return Stream(
        name=stream.name,
        packets=tuple(stream.packets[i] for i in used),
        sequence=np.resize(renumbered, SEQUENCE).astype(np.uint32),
    )


def _repeated(name: str, frames: Sequence[bytes]) -> Stream:
    sequence = np.resize(np.arange(len(frames), dtype=np.uint32), SEQUENCE)
    np.random.default_rng(0).shuffle(sequence)
    return Stream(name=name, packets=tuple(frames), sequence=sequence)
