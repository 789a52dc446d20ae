# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's routing state is, followed message by message. Pure.

Some of what the kernel does it does not tell: when a link goes down, or an address goes away, IPv4
routes are removed without a message (fib_table_flush of net/ipv4/fib_trie.c), and next-hop objects
too (nexthop_flush_dev of net/ipv4/nexthop.c). Those are worked out here, and ``doubt`` then asks
for a look at the whole state.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

from iridescent_xdp.functions.router_messages import (
    LOCAL,
    TABLE_LOCAL,
    TABLE_MAIN,
    Address,
    Entry,
    Key,
    Leg,
    Link,
    Message,
    Mtu6,
    Neighbour,
    NextHopObject,
    Rule,
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


class Kernel:
    """Routes, links, neighbours, next-hop objects and rules; ``doubt`` says why they may be wrong,
    "" while they are not."""

    def __init__(self) -> None:
        self.routes: dict[Key, list[Entry]] = {}
        self.links: dict[int, Link] = {}
        self.neighbours: dict[tuple[int, Address], bytes] = {}
        self.objects: dict[int, Leg | None] = {}
        self.shades: dict[int, set[Key]] = {4: set(), 6: set()}
        self.doubt = ""
        self._rules: set[tuple[int, int, bytes, bool]] = set()
        self._lengths: dict[int, Counter[int]] = {4: Counter(), 6: Counter()}
        self._at: dict[Address, set[int]] = defaultdict(set)
        self._addresses: dict[int, list[int]] = {4: [], 6: []}
        self._take: dict[type, Callable[..., Touched]] = {
            Entry: self._take_entry,
            Link: self._take_link,
            Mtu6: self._take_mtu6,
            Neighbour: self._take_neighbour,
            NextHopObject: self._take_object,
            Rule: self._take_rule,
        }

    def take(self, message: Message) -> Touched:
        """Follow one message; what it touched, in order."""
        return self._take[type(message)](message)

    # -- asked -----------------------------------------------------------------------------

    def rules_are_standard(self, version: int) -> bool:
        """Whether all packets of a family are routed by the local and the main table."""
        own = [rule for rule in self._rules if rule[0] == version]
        there = {rule[1] for rule in own}
        return not own or (all(rule[3] for rule in own) and {0, 32766} <= there)

    def is_shaded(self, key: Key) -> bool:
        """Whether a shorter prefix of the local table is above ``key``."""
        version, number, length = key
        bits = BITS[version]
        return any(
            length > above and number >> (bits - above) == first >> (bits - above)
            for _, first, above in self.shades[version]
        )

    def covering(self, key: Key) -> Key | None:
        """The longest prefix with routes above ``key``."""
        version, number, length = key
        bits = BITS[version]
        for above in sorted(self._lengths[version], reverse=True):
            if above < length:
                found = version, number >> (bits - above) << (bits - above), above
                if found in self.routes:
                    return found
        return None

    def hosts_in(self, key: Key) -> Iterator[Key]:
        """The neighbours in a prefix that is not a host's, as host prefixes."""
        version, _, length = key
        numbers = self._addresses[version]
        if length == BITS[version] or not numbers:
            return
        first, last = key_range(key)
        for place in range(bisect_left(numbers, first), len(numbers)):
            if numbers[place] > last:
                return
            yield version, numbers[place], BITS[version]

    # -- routes ----------------------------------------------------------------------------

    def _take_entry(self, entry: Entry) -> Touched:
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

    def _add(self, entry: Entry) -> None:
        held = self.routes.get(entry.key)
        if held is None:
            self.routes[entry.key] = [entry]
            self._lengths[entry.key[0]][entry.key[2]] += 1
            return
        if entry.replace:
            same = [other for other in held if _place(other) == _place(entry)]
            if len(same) > 1:
                self.doubt = "one of several equal routes was replaced"
            for other in same[: 1 if entry.key[0] == 4 else None]:
                held.remove(other)
        told = _identity(entry)
        held[:] = [other for other in held if _identity(other) != told]
        held.append(entry)

    def _remove(self, entry: Entry) -> None:
        held = self.routes.get(entry.key, [])
        told = _identity(entry)
        kept = [other for other in held if _identity(other) != told]
        if len(kept) == len(held) and any(_place(other) == _place(entry) for other in held):
            self.doubt = "a route that was not known was deleted"
        self._keep(entry.key, kept)

    def _keep(self, key: Key, kept: list[Entry]) -> None:
        if kept:
            self.routes[key] = kept
        elif self.routes.pop(key, None) is not None:
            lengths = self._lengths[key[0]]
            lengths[key[2]] -= 1
            if not lengths[key[2]]:
                del lengths[key[2]]

    def _drop(self, unwanted: Callable[[Entry], bool]) -> Touched:
        """Routes that the kernel removes without a word."""
        found: Touched = []
        for key, held in [(k, h) for k, h in self.routes.items() if any(map(unwanted, h))]:
            self._keep(key, [entry for entry in held if not unwanted(entry)])
            found += [key, *self._shade(key)]
        return found

    def _shade(self, key: Key) -> Touched:
        """A prefix of the local table, if not a host's, goes before what is below it."""
        held = self.routes.get(key, ())
        there = key[2] < BITS[key[0]] and any(entry.table == TABLE_LOCAL for entry in held)
        shades = self.shades[key[0]]
        if there == (key in shades):
            return []
        shades ^= {key}
        return [Fact("shade", key)]

    def _address_gone(self, key: Key) -> Touched:
        """IPv4 routes with a preferred source go with its address (fib_sync_down_addr)."""
        version, number, _ = key
        held = self.routes.get(key, ())
        if version != 4 or any(entry.table == TABLE_LOCAL for entry in held):
            return []
        dropped = self._drop(
            lambda entry: entry.source == number and entry.table == TABLE_MAIN and entry.key[0] == 4
        )
        if dropped:
            self.doubt = "an address went away, and IPv4 routes with it"
        return dropped

    # -- links, neighbours, next-hop objects, rules ------------------------------------------

    def _take_link(self, link: Link) -> Touched:
        before = self.links.pop(link.ifindex, None)
        if not link.gone:
            self.links[link.ifindex] = link
            if before is not None and not link.mtu6:
                self.links[link.ifindex] = link._replace(mtu6=before.mtu6)
        touched: Touched = []
        if before is not None and before != self.links.get(link.ifindex):
            if link.gone or (before.admin_up and not link.admin_up):
                touched += self._link_down(link)
            if before.running and not link.running:
                touched += self._objects_gone(link.ifindex)
            touched.append(Fact("link", link.ifindex))
        elif before is None:
            touched.append(Fact("link", link.ifindex))
        return touched

    def _link_down(self, link: Link) -> Touched:
        """IPv4 addresses stay local while their link is down; all else goes (fib_sync_down_dev)."""
        index, gone = link.ifindex, link.gone
        dropped = self._drop(
            lambda entry: (
                len(entry.legs) == 1
                and entry.legs[0].ifindex == index
                and (gone or (entry.key[0] == 4 and entry.kind != LOCAL))
            )
        )
        for key in [key for key in self.neighbours if gone and key[0] == index]:
            dropped += self._take_neighbour(Neighbour(*key, None))
        if dropped:
            self.doubt = f"{link.name or index} went down, and IPv4 routes with it"
        return dropped

    def _objects_gone(self, index: int) -> Touched:
        lost = [i for i, leg in self.objects.items() if leg is not None and leg.ifindex == index]
        touched: Touched = []
        for number in lost:
            touched += self._take_object(NextHopObject(number, None, gone=True))
        return touched

    def _take_mtu6(self, told: Mtu6) -> Touched:
        link = self.links.get(told.ifindex)
        if link is None or not told.mtu or link.mtu6 == told.mtu:
            return []
        self.links[told.ifindex] = link._replace(mtu6=told.mtu)
        return [Fact("link", told.ifindex)]

    def _take_neighbour(self, told: Neighbour) -> Touched:
        key = told.ifindex, told.address
        if self.neighbours.get(key) == told.mac:
            return []
        version, number = told.address
        numbers, there = self._addresses[version], self._at[told.address]
        if not there:
            insort(numbers, number)
        if told.mac is not None:
            self.neighbours[key] = told.mac
            there.add(told.ifindex)
        else:
            del self.neighbours[key]
            there.discard(told.ifindex)
        if not there:
            del numbers[bisect_left(numbers, number)], self._at[told.address]
        return [Fact("neighbour", key), (version, number, BITS[version])]

    def _take_object(self, told: NextHopObject) -> Touched:
        touched: Touched = [Fact("object", told.id)]
        if not told.gone:
            self.objects[told.id] = told.leg
            return touched
        self.objects.pop(told.id, None)
        dropped = self._drop(lambda entry: entry.next_hop == told.id)
        if dropped:
            self.doubt = f"next-hop object {told.id} went away, and routes with it"
        return touched + dropped

    def _take_rule(self, rule: Rule) -> Touched:
        told = rule.version, rule.priority, rule.raw, rule.standard
        if not rule.gone:
            self._rules.add(told)
        elif told in self._rules:
            self._rules.remove(told)
        elif any(other[:2] == told[:2] for other in self._rules):
            self.doubt = "a policy rule that was not known was deleted"
        return [Fact("rules", rule.version)]


def _place(entry: Entry) -> tuple[int, int, bytes]:
    return entry.table, entry.metric, entry.selector


def _identity(entry: Entry) -> tuple[Hashable, ...]:
    """What tells two routes to one prefix apart; IPv4 has two that differ in the MTU only."""
    told = entry.table, entry.metric, entry.selector, entry.kind, entry.legs, entry.next_hop
    return told if entry.key[0] == 6 else (*told, entry.mtu, entry.source)
