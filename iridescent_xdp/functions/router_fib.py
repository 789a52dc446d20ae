# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's routes as a router's routes: kernel messages in, changes out. Pure.

A prefix is forwarded only where that is what the kernel would do with every packet to it; whatever
is not sure goes to the kernel's stack (kind "local"). docs/router-mirror.md tells the rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from iridescent_xdp.functions.router_kernel import Kernel
from iridescent_xdp.functions.router_messages import (
    BLACKHOLE,
    TABLE_LOCAL,
    UNICAST,
    Entry,
    Key,
    Leg,
    Link,
    Message,
)
from iridescent_xdp.functions.router_routes import BITS, Fact, Touched, key_range
from iridescent_xdp.functions.router_tables import (
    DeleteRoute,
    RouterTables,
    SetRoute,
)
from iridescent_xdp.functions.router_verdicts import (
    DROPPED,
    SELECTED,
    SEVERAL,
    SHADED,
    TO_KERNEL,
    MirrorRules,
    Room,
    Verdict,
    is_martian,
    network,
    route,
)

Change = SetRoute | DeleteRoute
ENOUGH_ROOM = 0.9  # of the limit: only then is a table that was too large mirrored again


class Fib:
    """Messages are told with ``take`` or ``start_over``; ``changes`` brings out what is new.

    The changes of one call lead from one state of the kernel to a later one; each prefix is in it
    at most once, in the order in which prefixes were last changed.
    """

    def __init__(self, rules: MirrorRules | None = None) -> None:
        self.rules = rules or MirrorRules()
        self.kernel = Kernel()
        self._published: dict[Key, Verdict] = {}
        self._dirty: dict[Key, None] = {}
        self._dependents: dict[Fact, set[Key]] = defaultdict(set)
        self._facts: dict[Key, tuple[Fact, ...]] = {}
        self._room = Room(self.rules)
        self._crowded: dict[Key, None] = {}
        self._unsure: dict[Key, str] = {}
        self._unsure_by: dict[str, dict[Key, None]] = {}
        self._too_many = False

    @property
    def doubt(self) -> str:
        """Why the whole state should be read again, "" when there is no need."""
        return self.kernel.doubt

    def take(self, message: Message) -> None:
        """Follow one message of the kernel."""
        self._touch(self.kernel.take(message))

    def start_over(self, messages: Iterable[Message]) -> None:
        """The whole state, read anew: what differs from before comes out as changes."""
        before, self.kernel = self.kernel, Kernel()
        for message in messages:
            self.kernel.take(message)
        self._touch(self.kernel.differences(before))

    def tables(self) -> RouterTables:
        """The routes as of the last ``changes``."""
        routes = tuple(route(*item) for item in self._published.items())
        return RouterTables(routes=routes, left=tuple(self.left_to_kernel()))

    def left_to_kernel(self) -> list[str]:
        """What the kernel forwards and these routes leave to it, and why; for people.

        When it is empty, a look-up in the kernel's tables never leads to a next hop that it has
        here unless the routes of here lead there, too.
        """
        told = [
            f"IPv{version} has policy rules of its own: all its packets go to the kernel"
            for version in BITS
            if not self.kernel.rules_are_standard(version)
        ]
        if self._too_many:
            told.append(f"more than {self.rules.routes:,} routes: all packets go to the kernel")
        if self._crowded:
            told.append(f"{len(self._crowded):,} routes have no room for their next hop")
        for reason, keys in self._unsure_by.items():
            first = network(next(iter(keys)))
            told.append(f"{len(keys):,} prefixes {reason}, such as {first}, go to the kernel")
        return told + self.kernel.beside()

    # -- what has to be decided again --------------------------------------------------------

    def _touch(self, touched: Touched) -> None:
        for item in touched:
            if not isinstance(item, Fact):
                self._touch_prefix(item)
            elif item.what == "rules":
                self._touch_all(int(str(item.of)))
            elif item.what == "shade":
                self._touch_below(item.of)  # type: ignore[arg-type]
            else:
                for key in sorted(self._dependents.get(item, ())):
                    self._touch_prefix(key)

    def _touch_prefix(self, key: Key) -> None:
        """A prefix, and the neighbours in it, whose host routes come from it; last in order."""
        for one in (key, *self.kernel.hosts_in(key)):
            self._dirty.pop(one, None)
            self._dirty[one] = None

    def _touch_all(self, version: int) -> None:
        self._touch_below((version, 0, 0))

    def _touch_below(self, above: Key) -> None:
        first, last = key_range(above)
        for key in {**self._published, **self.kernel.table.held}:
            if key[0] == above[0] and first <= key[1] <= last:
                self._touch_prefix(key)

    # -- decisions -----------------------------------------------------------------------------

    def changes(self) -> list[Change]:
        """What changed since the last call."""
        self._check_size()
        changes: list[Change] = []
        while self._dirty:
            dirty, self._dirty = self._dirty, {}
            for key in dirty:
                self._publish(key, self._decide(key), changes)
            if self._room.freed and self._crowded:
                for key in self._crowded:
                    self._touch_prefix(key)
            self._room.freed = False
        return changes

    def _check_size(self) -> None:
        size = len(self.kernel.table.held) + len(self.kernel.neighbours)
        most = self.rules.routes * (ENOUGH_ROOM if self._too_many else 1)
        if (size > most) != self._too_many:
            self._too_many = size > most
            for version in BITS:
                self._touch_all(version)

    def _note_unsure(self, key: Key, reason: str) -> None:
        before = self._unsure.pop(key, "")
        if before:
            del self._unsure_by[before][key]
            if not self._unsure_by[before]:
                del self._unsure_by[before]
        if reason:
            self._unsure[key] = reason
            self._unsure_by.setdefault(reason, {})[key] = None

    def _publish(self, key: Key, verdict: Verdict | None, changes: list[Change]) -> None:
        if verdict is not None and verdict.unsure:
            self._note_unsure(key, "" if is_martian(key) else verdict.unsure)
            verdict = TO_KERNEL
        elif key in self._unsure:
            self._note_unsure(key, "")
        before = self._published.get(key)
        if verdict == before and key not in self._crowded:
            return
        self._crowded.pop(key, None)
        self._room.leave(before)
        if not self._room.enter(verdict):
            self._crowded[key], verdict = None, TO_KERNEL
        if verdict == before:
            return
        if verdict is None:
            del self._published[key]
            changes.append(DeleteRoute(prefix=network(key)))
        else:
            self._published[key] = verdict
            changes.append(SetRoute(route=route(key, verdict)))

    def _decide(self, key: Key) -> Verdict | None:
        facts: list[Fact] = []
        verdict = self._verdict(key, facts)
        told = tuple(facts)
        before = self._facts.pop(key, ())
        if told != before:
            for fact in before:
                self._dependents[fact].discard(key)
                if not self._dependents[fact]:
                    del self._dependents[fact]
            for fact in told:
                self._dependents[fact].add(key)
        if told:
            self._facts[key] = told
        return verdict

    def _verdict(self, key: Key, facts: list[Fact]) -> Verdict | None:
        """Where packets to ``key`` go, and what that depends on; None: there is no route."""
        if self._too_many or not self.kernel.rules_are_standard(key[0]):
            return None
        held = self.kernel.table.held.get(key)
        if held is None:
            return self._host(key, facts)
        if self.kernel.table.is_shaded(key) or not all(map(_plain, held)):
            return self._left(key, held)
        best = min(e.metric for e in held) if len(held) > 1 else held[0].metric
        first = [e for e in held if e.metric == best]
        return self._of_entry(first[0], facts) if len(first) == 1 else SEVERAL

    def _left(self, key: Key, held: list[Entry]) -> Verdict:
        """Why a prefix is left to the kernel: what is local and what is encapsulated it does not
        just forward."""
        if any(entry.table == TABLE_LOCAL for entry in held):
            return TO_KERNEL
        if self.kernel.table.is_shaded(key):
            return SHADED
        if any(entry.selector for entry in held):
            return SELECTED
        return TO_KERNEL if len(held) == 1 else SEVERAL

    def _host(self, key: Key, facts: list[Fact]) -> Verdict | None:
        """A neighbour on a link whose prefix covers it; None when another route leads there."""
        if key[2] != BITS[key[0]]:
            return None
        above = self.kernel.table.covering(key)
        verdict = self._verdict(above, facts) if above is not None else None
        if verdict is None or verdict.link is None or not verdict.direct:
            return None
        mac = self.kernel.neighbours.get((verdict.link.ifindex, key[:2]))
        return verdict._replace(mac=mac) if mac is not None else None

    def _of_entry(self, entry: Entry, facts: list[Fact]) -> Verdict:
        if entry.kind == BLACKHOLE:
            return DROPPED
        leg = self._leg(entry, facts)
        if leg is None:
            return SEVERAL if entry.kind == UNICAST else TO_KERNEL
        link = self._link(leg.ifindex, facts)
        if link is None:
            return TO_KERNEL
        host = entry.key[2] == BITS[entry.key[0]]
        via = leg.via or (entry.key[:2] if host else None)
        mtu = min(filter(None, (link.mtu, entry.mtu, link.mtu6 if entry.key[0] == 6 else 0)))
        if via is None:
            return Verdict("forward", link, None, mtu, direct=True)
        facts.append(Fact("neighbour", (link.ifindex, via)))
        return Verdict("forward", link, self.kernel.neighbours.get((link.ifindex, via)), mtu)

    def _leg(self, entry: Entry, facts: list[Fact]) -> Leg | None:
        """The only next hop of a route that forwards; None when there are several, or none."""
        if entry.kind != UNICAST:
            return None
        if entry.next_hop:
            facts.append(Fact("object", entry.next_hop))
            return self.kernel.objects.get(entry.next_hop)
        return entry.legs[0] if len(entry.legs) == 1 else None

    def _link(self, index: int, facts: list[Fact]) -> Link | None:
        """The link that a route leaves by, if packets can be sent on it."""
        facts.append(Fact("link", index))
        link = self.kernel.links.get(index)
        if link is None or not (link.running and link.ethernet and link.mtu):
            return None
        ingress = link.name == self.rules.ingress and not self.rules.hairpin
        able = self.kernel.transmit.get(index, True) or not self.rules.check_transmit
        return link if able and not ingress else None


def _plain(entry: Entry) -> bool:
    """Whether a route is for all packets to its prefix, as they are, and not for this host."""
    return not (entry.selector or entry.encapsulated or entry.table == TABLE_LOCAL)
