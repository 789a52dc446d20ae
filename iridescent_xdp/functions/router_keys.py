# SPDX-License-Identifier: GPL-2.0-only
"""Addresses as compiled code sees them: 32-bit words in host order, the most significant first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network

import numpy as np

from iridescent_xdp.decision.nodes import Field
from iridescent_xdp.functions.router_tables import Network

_WORD_BITS, _WORD_MASK = 32, 0xFFFF_FFFF


def number_of(raw: bytes) -> int:
    """An address as a number, from a sampled key."""
    words = np.frombuffer(raw, dtype="<u4")
    return sum(int(word) << _WORD_BITS * (len(words) - 1 - i) for i, word in enumerate(words))


def key_of(address: int, fields: Sequence[Field]) -> dict[Field, int]:
    """The words of an address, by the field that holds them."""
    last = len(fields) - 1
    return {f: address >> _WORD_BITS * (last - i) & _WORD_MASK for i, f in enumerate(fields)}


def network_of(family: int, address: int) -> Network:
    """The prefix that holds one address only."""
    return IPv4Network((address, 32)) if family == 4 else IPv6Network((address, 128))


def look_up(routes: Mapping[Network, int], single: Network, default: int) -> int:
    """Longest prefix match, as the trie does it."""
    for length in range(single.max_prefixlen, -1, -1):
        found = routes.get(single.supernet(new_prefix=length))
        if found is not None:
            return found
    return default
