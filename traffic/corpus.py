# SPDX-License-Identifier: GPL-2.0-only
"""The preflight corpus: packets on which a variant must do as the generic one does.

Crafted packets (valid, malformed, rare), packets cut at every length, packets on the edges of
the rules, mutated packets, and packets seen on the live interface.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iridescent_xdp.errors import TrafficError
from iridescent_xdp.functions.rules import Rule
from traffic.corpus_crafted import crafted, stacks
from traffic.corpus_cut import mutations, truncations
from traffic.corpus_rules import for_rules
from traffic.packet_build import MAX_FRAME_BYTES, MIN_FRAME_BYTES

__all__ = ["Sample", "corpus", "crafted", "for_rules", "fuzz", "truncations"]

FUZZED = 512  # mutated packets of a corpus
OBSERVED_FUZZED = 128  # and of the packets seen on the interface


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One packet of a corpus; ``data`` is a frame without FCS, 14 to 1514 bytes."""

    name: str
    data: bytes

    def __post_init__(self) -> None:
        if not MIN_FRAME_BYTES <= len(self.data) <= MAX_FRAME_BYTES:
            raise TrafficError(
                f"sample '{self.name}' must have {MIN_FRAME_BYTES} to {MAX_FRAME_BYTES} bytes, "
                f"got {len(self.data)}"
            )


def corpus(rules: Sequence[Rule], seed: int, observed: Sequence[bytes] = ()) -> tuple[Sample, ...]:
    """The corpus for these rules, reproducible by ``seed``; no frame comes twice.

    ``observed`` are frames from the interface; those that no Ethernet frame of MTU 1500 can
    be (under 14 or over 1514 bytes) are left out.
    """
    seen = [
        (f"observed-{number}", frame)
        for number, frame in enumerate(observed)
        if MIN_FRAME_BYTES <= len(frame) <= MAX_FRAME_BYTES
    ]
    edges = tuple(for_rules(rules))
    parts: tuple[Iterable[tuple[str, bytes]], ...] = (
        crafted(),
        stacks(),
        seen,
        edges,
        truncations(stacks()),
        fuzz(FUZZED, seed, (*stacks(), *edges)),
        fuzz(OBSERVED_FUZZED if seen else 0, seed, seen),
    )
    names: dict[bytes, str] = {}
    for part in parts:
        for name, frame in part:
            names.setdefault(frame, name)
    return tuple(Sample(name=name, data=frame) for frame, name in names.items())


def fuzz(
    count: int, seed: int, packets: Sequence[tuple[str, bytes]] = ()
) -> tuple[tuple[str, bytes], ...]:
    """``count`` mutated packets, made from ``packets`` or else from one of each header stack."""
    return tuple(mutations(tuple(packets) or stacks(), count, seed))
