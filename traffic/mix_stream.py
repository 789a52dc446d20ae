# SPDX-License-Identifier: GPL-2.0-only
"""A stream: distinct frames and the order in which they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from iridescent_xdp.errors import TrafficError


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """Frames, and a sequence of indices into them that a sender repeats without end.

    ``sequence`` is uint32 and read-only. Raises TrafficError when either is empty or an index
    points past the last packet.
    """

    name: str
    packets: tuple[bytes, ...]
    sequence: npt.NDArray[np.uint32]

    def __post_init__(self) -> None:
        if not self.packets or not len(self.sequence):
            raise TrafficError(
                f"stream '{self.name}' must have packets and a sequence, "
                f"got {len(self.packets)} packets and {len(self.sequence)} positions"
            )
        if int(self.sequence.max()) >= len(self.packets):
            raise TrafficError(
                f"stream '{self.name}' has {len(self.packets)} packets, "
                f"its sequence asks for packet {int(self.sequence.max())}"
            )
        self.sequence.flags.writeable = False

    def frames(self, first: int = 0, count: int | None = None) -> Iterator[bytes]:
        """The frames of ``count`` sends from position ``first``; by default one round."""
        length = len(self.sequence)
        for position in range(first, first + (length if count is None else count)):
            yield self.packets[int(self.sequence[position % length])]


def expected_counts(stream: Stream, first: int, count: int) -> npt.NDArray[np.int64]:
    """How often each packet is sent by ``count`` sends from position ``first``, exactly.

    Position ``first + len(sequence)`` is position ``first`` again. The sum is ``count``.
    Raises TrafficError for a negative argument.
    """
    if first < 0 or count < 0:
        raise TrafficError(f"first >= 0 and count >= 0 must hold, got first={first}, count={count}")
    length, size = len(stream.sequence), len(stream.packets)
    rounds, rest = divmod(count, length)
    start = first % length
    tail = np.concatenate((stream.sequence, stream.sequence))[start : start + rest]
    counts = rounds * np.bincount(stream.sequence, minlength=size)
    counts += np.bincount(tail, minlength=size)
    return counts.astype(np.int64)


def fitted(stream: Stream, *, packets: int = 4096, positions: int = 65_536) -> Stream:
    """A stream of exactly ``positions`` for a sender with room for ``packets`` frames.

    It repeats the beginning of ``stream``, up to the position that would need one frame more;
    the last round may be cut. A stream that fits is returned as it is.
    """
    if len(stream.packets) <= packets and len(stream.sequence) == positions:
        return stream
    head = stream.sequence[:positions]
    _, firsts = np.unique(head, return_index=True)
    if len(firsts) > packets:
        head = head[: np.sort(firsts)[packets]]
    used, renumbered = np.unique(head, return_inverse=True)
    return Stream(
        name=stream.name,
        packets=tuple(stream.packets[index] for index in used),
        sequence=np.resize(renumbered, positions).astype(np.uint32),
    )
