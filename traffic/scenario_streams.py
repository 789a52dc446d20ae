# SPDX-License-Identifier: GPL-2.0-only
"""A phase's stream: one mix, or several side by side in given shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from iridescent_xdp.errors import TrafficError
from traffic.mix_shares import apportion
from traffic.mix_spec import BREAK_PACKETS, MAX_PACKETS
from traffic.mix_stream import Stream
from traffic.mixes import SEQUENCE_LENGTH, Mix, build


@dataclass(frozen=True, kw_only=True)
class Part:
    """``share`` of a phase's packets are of ``mix``."""

    share: float
    mix: Mix

    @property
    def packets(self) -> int:
        """How many different packets it may have."""
        return self.mix.flows + (BREAK_PACKETS if self.mix.break_share else 0)


def check_room(parts: tuple[Part, ...]) -> None:
    """Raises TrafficError when the parts have more packets than a generator has room for."""
    packets = sum(part.packets for part in parts)
    if packets > MAX_PACKETS:
        raise TrafficError(
            f"flows of the mix and of all extra traffic, and {BREAK_PACKETS} packets for each "
            f"break_share, must be at most {MAX_PACKETS:,} together, got {packets:,}",
            cure="use fewer flows",
        )


@lru_cache(maxsize=64)
def stream_of(parts: tuple[Part, ...]) -> Stream:
    """The stream, the same object for equal parts; the order is random by the first mix's seed.

    Raises TrafficError when a mix cannot hit what it is meant to.
    """
    if len(parts) == 1:
        return build(parts[0].mix)
    check_room(parts)
    counts = apportion(np.array([part.share for part in parts]), SEQUENCE_LENGTH)
    packets: list[bytes] = []
    order: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for part, count in zip(parts, counts.tolist(), strict=True):
        stream = build(part.mix)
        # a part of an order that is random has the same shares, but for flows that are rare
        used, renumbered = np.unique(stream.sequence[:count], return_inverse=True)
        order.append(renumbered + len(packets))
        packets += [stream.packets[index] for index in used]
    sequence = np.concatenate(order).astype(np.uint32)
    np.random.default_rng(parts[0].mix.seed).shuffle(sequence)
    return Stream(name=parts[0].mix.name, packets=tuple(packets), sequence=sequence)
