# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's routing state is, followed message by message. Pure.

Some of what the kernel does it does not tell: when a link goes down, or an address goes away, IPv4
routes are removed without a message (fib_table_flush of net/ipv4/fib_trie.c), and next-hop objects
too (nexthop_flush_dev of net/ipv4/nexthop.c). Those are worked out here, and ``doubt`` then asks
for a look at the whole state.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TypeVar

from iridescent_xdp.functions.router_messages import (
    LOCAL,
    TABLE_DEFAULT,
    Address,
    Entry,
    Key,
    Leg,
    Link,
    Message,
    Mtu6,
    Neighbour,
    NextHopObject,
    OwnAddress,
    Rule,
    Transmit,
)
from iridescent_xdp.functions.router_routes import BITS, Fact, Routes, Touched, key_range

T = TypeVar("T", bound=Hashable)
_USUAL = frozenset({0, 32766, 32767})  # priorities of the rules that every system starts with


class Kernel:
    """Routes, links, neighbours, next-hop objects and rules; ``doubt`` says why they may be wrong,
    "" while they are not."""

    def __init__(self) -> None:
        self.table = Routes()
        self.links: dict[int, Link] = {}
        self.neighbours: dict[tuple[int, Address], bytes] = {}
        self.objects: dict[int, Leg | None] = {}
        self.transmit: dict[int, bool] = {}
        self._doubt = ""
        self._last: set[Hashable] = set()  # routes of IPv4's default table
        self._silent: dict[tuple[int, Address], bytes] = {}  # neighbours in state noarp
        self._own: dict[int, set[bytes]] = defaultdict(set)  # IPv4 addresses by interface
        self._rules: set[tuple[int, int, bytes, bool]] = set()
        self._standard: dict[int, bool] = {}
        self._at: dict[Address, set[int]] = defaultdict(set)
        self._addresses: dict[int, list[int]] = {4: [], 6: []}
        self._take: dict[type, Callable[..., Touched]] = {
            Entry: self._take_entry,
            Link: self._take_link,
            Mtu6: self._take_mtu6,
            OwnAddress: self._take_own,
            Transmit: self._take_transmit,
            Neighbour: self._take_neighbour,
            NextHopObject: self._take_object,
            Rule: self._take_rule,
        }

    def take(self, message: Message) -> Touched:
        """Follow one message; what it touched, in order."""
        return self._take[type(message)](message)

    @property
    def doubt(self) -> str:
        """Why the state may be wrong."""
        return self._doubt or self.table.doubt

    def differences(self, before: Kernel) -> Touched:
        """What is not as it was before, or was not there, or is not there any more."""
        touched: Touched = self.table.differences(before.table)
        touched += [Fact("link", index) for index in _unlike(self.links, before.links)]
        touched += [Fact("object", number) for number in _unlike(self.objects, before.objects)]
        touched += [Fact("link", index) for index in _unlike(self.transmit, before.transmit)]
        for key in _unlike(self.neighbours, before.neighbours):
            version, number = key[1]
            touched += [Fact("neighbour", key), (version, number, BITS[version])]
        changed = {rule[0] for rule in self._rules ^ before._rules}
        return touched + [Fact("rules", version) for version in changed]

    # -- asked -----------------------------------------------------------------------------

    def rules_are_standard(self, version: int) -> bool:
        """Whether all packets of a family are routed by the local and the main table."""
        if version not in self._standard:
            self._standard[version] = self._look_at_rules(version)
        return self._standard[version]

    def _look_at_rules(self, version: int) -> bool:
        own = [rule for rule in self._rules if rule[0] == version]
        there = {rule[1] for rule in own}
        return not own or (all(rule[3] for rule in own) and {0, 32766} <= there)

    def beside(self) -> list[str]:
        """What the kernel routes by beside that which is followed here, for people."""
        told = ["there are VRFs, whose tables are not mirrored"] if self._has_vrfs() else []
        if self._last:
            told.append("IPv4 has routes in table 253 (default), which is not mirrored")
        there = {(key[0], mac) for key, mac in self.neighbours.items()} if self._silent else set()
        shared = [mac for key, mac in self._silent.items() if (key[0], mac) in there]
        if shared:
            told.append(f"a neighbour in state noarp has the address {shared[0].hex(':')}, too")
        return told

    def _has_vrfs(self) -> bool:
        return any(standard and priority not in _USUAL for _, priority, _, standard in self._rules)

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

    # -- links, neighbours, next-hop objects, rules ------------------------------------------

    def _take_entry(self, entry: Entry) -> Touched:
        if entry.table != TABLE_DEFAULT:
            return self.table.take(entry)
        change = self._last.discard if entry.gone else self._last.add
        change((entry.key, entry.metric, entry.selector))
        return []

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
        why = f"{link.name or index} went down, and IPv4 routes with it"
        dropped = self.table.drop(
            lambda e: self._leaves_by(e, index) and (gone or (e.key[0] == 4 and e.kind != LOCAL)),
            why,
        )
        if gone:
            self._own.pop(index, None)
            self.transmit.pop(index, None)
            for key in [k for k in (*self.neighbours, *self._silent) if k[0] == index]:
                dropped += self._take_neighbour(Neighbour(*key, None))
        return dropped

    def _take_own(self, told: OwnAddress) -> Touched:
        """IPv4 ends on an interface with its last address (fib_disable_ip)."""
        own, index = self._own[told.ifindex], told.ifindex
        if not told.gone:
            own.add(told.address)
            return []
        own.discard(told.address)
        if own:
            return []
        return self.table.drop(
            lambda e: e.key[0] == 4 and self._leaves_by(e, index),
            "an interface lost its last address, and IPv4 routes with it",
        )

    def _leaves_by(self, entry: Entry, index: int) -> bool:
        """Whether a route has no link left to leave by when ``index`` is down."""
        links = {leg.ifindex for leg in entry.legs}
        others = (self.links.get(other) for other in links - {index})
        return index in links and not any(link and link.admin_up for link in others)

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

    def _take_transmit(self, told: Transmit) -> Touched:
        self.transmit[told.ifindex] = told.able
        return [Fact("link", told.ifindex)]

    def _take_neighbour(self, told: Neighbour) -> Touched:
        key = told.ifindex, told.address
        self._silent.pop(key, None)
        if told.silent is not None:
            self._silent[key] = told.silent
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
        why = f"next-hop object {told.id} went away, and routes with it"
        return touched + self.table.drop(lambda entry: entry.next_hop == told.id, why)

    def _take_rule(self, rule: Rule) -> Touched:
        told = rule.version, rule.priority, rule.raw, rule.standard
        if not rule.gone:
            self._rules.add(told)
        elif told in self._rules:
            self._rules.remove(told)
        elif any(other[:2] == told[:2] for other in self._rules):
            self._doubt = "a policy rule that was not known was deleted"
        self._standard.clear()
        return [Fact("rules", rule.version)]


def _unlike(now: Mapping[T, object], before: Mapping[T, object]) -> list[T]:
    """The keys of two mappings that have not the same value in both."""
    return [key for key in {**before, **now} if now.get(key, _unlike) != before.get(key, _unlike)]
