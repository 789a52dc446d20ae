# SPDX-License-Identifier: GPL-2.0-only
"""From sampled packets to the groups of a signature.

Packets are records as ``struct sample`` of bpf/sensor.bpf.c has them. What is said of flows has
to be comparable between looks of any size: the first CHOOSERS packets of a look choose the flows,
and the packets after those are counted. So each count is a share of packets that had no part in the
choice, and none depends on how many packets came.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.adapt.signature import Group
from iridescent_xdp.kernel.maps import Records

FAMILIES = ("other", "arp", "ipv4", "ipv6")
TRANSPORTS = ("other", "tcp", "udp", "icmp")
TAGS = ("untagged", "one tag", "two tags")
ODDITIES = ("plain", "options", "fragment", "extension", "cut")
TARGETS = tuple(f"class {number}" for number in range(16))  # destinations, by a hash
OPENING = ("other", "opens")  # a TCP connection: SYN without ACK
SIZE_LIMITS = (64, 128, 256, 512, 1024, 1514)  # bytes of the frame without FCS, at most
SIZES = (*(f"to {limit}" for limit in SIZE_LIMITS), "larger")
CHOOSERS = 192
RANKS = (1, 8, 64)  # the heaviest flow, the seven after it, the 56 after those
FLOWS = ("first", "to 8th", "to 64th", "seen", "new")
KEPT = ("kept", "other")
KEPT_FLOWS = 64

Flows = NDArray[np.uint32]


def header_groups(samples: Records) -> dict[str, Group]:
    """Groups that follow from each packet by itself."""
    kind, marks = samples["kind"], samples["marks"]
    return {
        "family": _counted(FAMILIES, kind >> 2 & 3),
        "transport": _counted(TRANSPORTS, kind & 3),
        "targets": _counted(TARGETS, kind >> 4),
        "tags": _counted(TAGS, marks & 3),
        "oddity": _counted(ODDITIES, marks >> 4 & 7),
        "opening": _counted(OPENING, marks >> 7),
        "size": _counted(SIZES, np.searchsorted(SIZE_LIMITS, samples["bytes"])),
    }


def _counted(names: tuple[str, ...], values: NDArray[np.integer]) -> Group:
    counts = np.bincount(np.minimum(values, len(names) - 1), minlength=len(names))
    return Group(names=names, counts=tuple(int(c) for c in counts))


class FlowView:
    """Concentration and churn of flows, look after look; small looks are put together."""

    def __init__(self) -> None:
        self._waiting: deque[Flows] = deque()
        self._leaders: Flows | None = None  # the heaviest flows of the looks before

    def groups(self, flows: Flows) -> dict[str, Group]:
        """Groups of one more look, hashes in the order of arrival; none while packets are few."""
        self._waiting.append(flows)
        if sum(map(len, self._waiting)) < 2 * CHOOSERS:
            return {}
        flows = np.concatenate(self._waiting)
        self._waiting.clear()
        found = {"flows": concentration(flows)}
        if self._leaders is not None:
            known = int(np.isin(flows, self._leaders).sum())
            found["kept"] = Group(names=KEPT, counts=(known, len(flows) - known))
        self._leaders = _heaviest(flows)[:KEPT_FLOWS]
        return found

    def reset(self) -> None:
        """Forget the flows that were seen."""
        self._waiting.clear()
        self._leaders = None


def concentration(flows: Flows) -> Group:
    """How the packets after the first CHOOSERS divide among flows as those ranked them."""
    chosen, counts = np.unique(flows[:CHOOSERS], return_counts=True)
    rank = np.empty(len(chosen), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(chosen))
    counted = flows[CHOOSERS:]
    place = np.minimum(np.searchsorted(chosen, counted), len(chosen) - 1)
    group = np.searchsorted(RANKS, rank[place], side="right")
    group[chosen[place] != counted] = len(FLOWS) - 1
    return _counted(FLOWS, group)


def _heaviest(flows: Flows) -> Flows:
    """Distinct flows, the most frequent first."""
    found, counts = np.unique(flows, return_counts=True)
    return found[np.argsort(-counts, kind="stable")]
