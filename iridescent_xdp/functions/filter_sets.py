# SPDX-License-Identifier: GPL-2.0-only
"""The filter's address sets as one table of prefixes, for what compiles them into the program."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, IPv6Network

from iridescent_xdp.functions.rules import Network

Entry = tuple[Network, int]


def set_entries(
    allow: Collection[Network], deny: Collection[Network], *, allowed: int, denied: int
) -> tuple[Entry, ...]:
    """Prefixes and decisions; the longest prefix that holds a source decides.

    A source in both sets is allowed: a denied prefix inside an allowed one is left out.
    """
    inside = _Covered(allow)
    return (
        *((network, allowed) for network in allow),
        *((network, denied) for network in deny if network not in inside),
    )


class _Covered:
    """Whether some network of a set holds all of another one."""

    def __init__(self, networks: Collection[Network]) -> None:
        self._known = set(networks)
        self._lengths: Sequence[tuple[int, int]] = sorted(
            {(network.version, network.prefixlen) for network in networks}
        )

    def __contains__(self, network: Network) -> bool:
        size = network.max_prefixlen
        made = IPv4Network if network.version == 4 else IPv6Network
        address = int(network.network_address)
        return any(
            made((address >> (size - length) << (size - length), length)) in self._known
            for version, length in self._lengths
            if version == network.version and length <= network.prefixlen
        )
