# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's routes, several to a prefix, followed message by message. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import NamedTuple

from iridescent_xdp.functions.router_messages import (
    LOCAL,
    TABLE_LOCAL,
    TABLE_MAIN,
    Entry,
    Key,
)

BITS = {4: 32, 6: 128}


class Fact(NamedTuple):
    """Something that routes depend on: a link, a neighbour, a next-hop object, rules, a shade."""

    what: str
    of: Hashable


Touched = list[Key | Fact]


def key_range(key: Key) -> tuple[int, int]:
    """First and last address of a prefix."""
    version, first, length = key
    return first, first | ((1 << (BITS[version] - length)) - 1)


class Routes:
    """The routes of the local and main tables by prefix; ``doubt`` says why they may be wrong."""

    def __init__(self) -> None:
        self.held: dict[Key, list[Entry]] = {}
        self.doubt = ""
        self._shades: dict[int, set[Key]] = {4: set(), 6: set()}
        self._lengths: dict[int, Counter[int]] = {4: Counter(), 6: Counter()}

    def differences(self, before: Routes) -> Touched:
        """Prefixes whose routes are not as they were before."""
        keys = {**before.held, **self.held}
        touched: Touched = [k for k in keys if self.held.get(k) != before.held.get(k)]
        for version in BITS:
            shades = self._shades[version] ^ before._shades[version]
            touched += [Fact("shade", key) for key in sorted(shades)]
        return touched

    def is_shaded(self, key: Key) -> bool:
        """Whether a shorter prefix of the local table is above ``key``."""
        version, number, length = key
        for _, first, above in self._shades[version]:
            below = BITS[version] - above
            if length > above and number >> below == first >> below:
                return True
        return False

    def covering(self, key: Key) -> Key | None:
        """The longest prefix with routes above ``key``."""
        version, number, length = key
        bits = BITS[version]
        for above in sorted(self._lengths[version], reverse=True):
            if above < length:
                found = version, number >> (bits - above) << (bits - above), above
                if found in self.held:
                    return found
        return None

    def take(self, entry: Entry) -> Touched:
        """Follow one message about a route."""
        touched: Touched = [entry.key]
        ways = [entry._replace(legs=(leg,)) for leg in entry.legs]
        if entry.key[0] == 4 or len(ways) < 2:
            ways = [entry]  # IPv6 adds and takes away the legs of a route one by one
        for place, way in enumerate(ways):
            if entry.gone:
                self._remove(way)
            else:
                self._add(way if place == 0 else way._replace(replace=False))
        if entry.table == TABLE_LOCAL:
            touched += self._shade(entry.key)
            if entry.gone and entry.kind == LOCAL:
                touched += self._address_gone(entry.key)
        return touched

    def _add(self, told: Entry) -> None:
        entry = told._replace(replace=False) if told.replace else told
        held = self.held.get(entry.key)
        if held is None:
            self.held[entry.key] = [entry]
            self._lengths[entry.key[0]][entry.key[2]] += 1
            return
        if told.replace:
            same = [other for other in held if _place(other) == _place(entry)]
            if len(same) > 1:
                self.doubt = "one of several equal routes was replaced"
            for other in same[: 1 if entry.key[0] == 4 else None]:
                held.remove(other)
        own = _identity(entry)
        held[:] = [other for other in held if _identity(other) != own]
        held.append(entry)

    def _remove(self, entry: Entry) -> None:
        held = self.held.get(entry.key, [])
        told = _identity(entry)
        kept = [other for other in held if _identity(other) != told]
        if len(kept) == len(held) and any(_place(other) == _place(entry) for other in held):
            self.doubt = "a route that was not known was deleted"
        self._keep(entry.key, kept)

    def _keep(self, key: Key, kept: list[Entry]) -> None:
        if kept:
            self.held[key] = kept
        elif self.held.pop(key, None) is not None:
            lengths = self._lengths[key[0]]
            lengths[key[2]] -= 1
            if not lengths[key[2]]:
                del lengths[key[2]]

    def drop(self, unwanted: Callable[[Entry], bool], why: str) -> Touched:
        """Forget what the kernel removes without a message; ``why`` is the doubt about it."""
        found: Touched = []
        for key, held in [(k, h) for k, h in self.held.items() if any(map(unwanted, h))]:
            self._keep(key, [entry for entry in held if not unwanted(entry)])
            found += [key, *self._shade(key)]
        if found:
            self.doubt = why
        return found

    def _shade(self, key: Key) -> Touched:
        """A prefix of the local table, if not a host's, goes before what is below it."""
        held = self.held.get(key, ())
        there = key[2] < BITS[key[0]] and any(entry.table == TABLE_LOCAL for entry in held)
        shades = self._shades[key[0]]
        if there == (key in shades):
            return []
        shades ^= {key}
        return [Fact("shade", key)]

    def _address_gone(self, key: Key) -> Touched:
        """IPv4 routes with a preferred source go with its address (fib_sync_down_addr)."""
        version, number, _ = key
        held = self.held.get(key, ())
        if version != 4 or any(entry.table == TABLE_LOCAL for entry in held):
            return []
        return self.drop(
            lambda e: e.source == number and e.table == TABLE_MAIN and e.key[0] == 4,
            "an address went away, and IPv4 routes with it",
        )


def _place(entry: Entry) -> tuple[int, int, bytes]:
    return entry.table, entry.metric, entry.selector


def _identity(entry: Entry) -> tuple[Hashable, ...]:
    """What tells two routes to one prefix apart; IPv4 has two that differ in the MTU only."""
    told = entry.table, entry.metric, entry.selector, entry.kind, entry.legs, entry.next_hop
    return told if entry.key[0] == 6 else (*told, entry.mtu, entry.source)
