# SPDX-License-Identifier: GPL-2.0-only
"""What a packet mix is made of: an inert, checked description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from iridescent_xdp.errors import TrafficError
from iridescent_xdp.functions.rules import Rule
from traffic.mix_shares import Locality
from traffic.packet_build import MAX_FRAME_BYTES

MAX_PACKETS = 4096
MIN_SIZE_BYTES = 60  # a 64-byte packet on the wire, without its FCS

BreakKind = Literal["vlan", "qinq", "ipv6", "ip_options", "fragment"]
BREAK_KINDS: tuple[BreakKind, ...] = get_args(BreakKind)
MAX_BREAK_SHARE = 0.5
BREAK_PACKETS = 60  # distinct packets that carry the break share

# The simple IMIX: IP packets of 40, 576 and 1500 bytes as 7 : 4 : 1.
IMIX = ((60, 7 / 12), (590, 4 / 12), (1514, 1 / 12))

_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What a stream is made of.

    Shares are shares of the *packets*, as closely as whole flows allow: a flow keeps its
    protocol, family, tags, options and size. ``size_bytes`` is the frame without FCS, or pairs
    of (size, share); a frame whose headers need more is longer. ``fragment_share`` counts
    later fragments. ``hits`` is a whole rule list: each flow is made to match one of its rules
    first, evenly, and ``default_share`` of the flows none; a rule's protocol and family go
    before the shares here, and a later fragment can not hit a rule that asks for ports.
    ``break_share`` of the packets (at most one half) are of ``break_kinds``, in turn, whatever
    else the mix says. Raises TrafficError when a value breaks a rule.
    """

    name: str
    flows: int = 1024
    locality: Locality = "none"
    size_bytes: int | tuple[tuple[int, float], ...] = MIN_SIZE_BYTES
    protocol_shares: tuple[float, float, float, float] = (0.7, 0.3, 0.0, 0.0)  # TCP UDP ICMP other
    ipv6_share: float = 0.0
    vlan_shares: tuple[float, float, float] = (1.0, 0.0, 0.0)  # 0, 1, 2 tags
    ip_options_share: float = 0.0
    fragment_share: float = 0.0
    hits: tuple[Rule, ...] = ()
    default_share: float = 0.0
    break_share: float = 0.0
    break_kinds: tuple[BreakKind, ...] = BREAK_KINDS
    seed: int = 0

    @property
    def sizes(self) -> tuple[tuple[int, float], ...]:
        """``size_bytes`` as pairs of (size, share)."""
        return ((self.size_bytes, 1.0),) if isinstance(self.size_bytes, int) else self.size_bytes

    def __post_init__(self) -> None:
        most = MAX_PACKETS - (BREAK_PACKETS if self.break_share else 0)
        self._demand(1 <= self.flows <= most, f"1 <= flows <= {most}", f"flows={self.flows}")
        self._demand(
            self.locality in get_args(Locality),
            "locality is 'high', 'low' or 'none'",
            f"locality={self.locality!r}",
        )
        self._check_shares()
        for size, _ in self.sizes:
            self._demand(
                MIN_SIZE_BYTES <= size <= MAX_FRAME_BYTES,
                f"{MIN_SIZE_BYTES} <= size_bytes <= {MAX_FRAME_BYTES}",
                f"size_bytes={size}",
            )
        self._demand(
            bool(self.hits) or not self.default_share,
            "default_share = 0 without hits",
            f"default_share={self.default_share}",
        )
        known = bool(self.break_kinds) and set(self.break_kinds) <= set(BREAK_KINDS)
        self._demand(
            known, f"break_kinds are some of {BREAK_KINDS}", f"break_kinds={self.break_kinds}"
        )
        self._demand(self.seed >= 0, "seed >= 0", f"seed={self.seed}")

    def _check_shares(self) -> None:
        for name in ("ipv6", "ip_options", "fragment", "default", "break"):
            share = getattr(self, f"{name}_share")
            most = MAX_BREAK_SHARE if name == "break" else 1
            self._demand(
                0 <= share <= most, f"0 <= {name}_share <= {most}", f"{name}_share={share}"
            )
        groups = {
            "protocol_shares": (self.protocol_shares, 4),
            "vlan_shares": (self.vlan_shares, 3),
            "the shares of size_bytes": (tuple(share for _, share in self.sizes), len(self.sizes)),
        }
        for name, (shares, count) in groups.items():
            right = len(shares) == count and all(share >= 0 for share in shares)
            self._demand(
                right and abs(sum(shares) - 1) < _TOLERANCE,
                f"{name} are {count} numbers that are not negative and add up to 1",
                f"{name}={shares}",
            )

    def _demand(self, holds: bool, rule: str, value: str) -> None:
        if not holds:
            raise TrafficError(f"mix '{self.name}': {rule} must hold, got {value}")
