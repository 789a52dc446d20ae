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
    """Of ``stream`` what ``program`` counts no miss for, and what it counts as one of ``point``.

    Where the stream has nothing that misses, the preflight corpus gives it. Raises
    MeasurementError when nothing passes, or nothing misses.
    """
    index = [p.name for p in rig.function.template.points].index(point)
    missed = _missed(rig, program, stream.packets)
    passing, missing = _part(stream, missed.sum(axis=1) == 0), _part(stream, missed[:, index])
    if missing is None:
        frames = [f for _, f in rig.function.corpus((), CORPUS_SEED) if len(f) <= LONGEST_BYTES]
        breaking = np.flatnonzero(_missed(rig, program, frames)[:, index])[:MAX_FRAMES]
        if breaking.size:
            missing = _repeated(stream.name, [frames[i] for i in breaking])
    rig.reset()
    if passing is None or missing is None:
        kind = "passes" if passing is None else "misses"
        raise MeasurementError(f"no packet {kind} the guard of '{point}'")
    return passing, missing


def _missed(rig: Rig, program: Program, frames: Sequence[bytes]) -> np.ndarray:
    """For each frame (row) and point (column) whether a miss was counted."""
    rows = [_misses(rig)]
    for frame in frames:
        program.run(frame)
        rows.append(_misses(rig))
    return np.diff(np.array(rows), axis=0) > 0


def _misses(rig: Rig) -> np.ndarray:
    rows = rig.state["arm_stats"].read(STEADY_ARM)
    assert rows is not None
    return np.asarray(rows["misses"].sum(axis=0), dtype=np.int64)


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
