# SPDX-License-Identifier: GPL-2.0-only
"""The numbers that routes lead to: one for each distinct next hop, and the map rows behind them."""

from __future__ import annotations

import errno
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.router_tables import Hop, Network, Route
from iridescent_xdp.kernel.maps import Map, Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template

MOST_BYTES = 1500  # of an IP packet in a corpus

Resolve = Callable[[Route], Hop]


class Hops:
    """Numbers stay the same while a hop is used, and a hop that comes back gets its own again, so
    that counters go on. Those of unused hops are given to others last, the one that has been unused
    longest first: a packet under way may have read it just before."""

    def __init__(self, template: Template) -> None:
        constants = template.constants
        self._special = {
            "local": constants["HOP_LOCAL"],
            "blackhole": constants["HOP_BLACKHOLE"],
        }
        first, self._most = constants["FIRST_HOP"], constants["MAX_HOPS"]
        self._free = deque(range(first, self._most))
        self._numbers: dict[Hop, int] = {}
        self._by_number: dict[int, Hop] = {}
        self._earlier: dict[Hop, int] = {}  # hops of free numbers
        self._earlier_by_number: dict[int, Hop] = {}
        self._routes: Counter[int] = Counter()  # that lead to a number
        self._ports: dict[int, int] = {}  # by ifindex
        self._free_ports = deque(range(constants["MAX_PORTS"]))
        self._leave_by: Counter[int] = Counter()  # hops over an interface
        self._table = np.zeros(1, dtype=template.structs["hops_table"])
        self._unwritten: set[int] | None = None  # interfaces; None: no hop is new

    def take(self, routes: Sequence[Route], resolve: Resolve) -> dict[Network, int]:
        """The hop of each route, which is used from now on.

        Raises ConfigError when there are too many hops or interfaces, or when one cannot be
        resolved; nothing is taken then.
        """
        hops = [resolve(route) if route.kind == "forward" else None for route in routes]
        wanted = {hop for hop in hops if hop is not None}
        fresh = [hop for hop in wanted if hop not in self._numbers]
        ports = {hop.ifindex for hop in wanted} - set(self._ports)
        self._check_room(len(fresh), len(ports))
        for ifindex in sorted(ports):
            self._ports[ifindex] = self._free_ports.popleft()
        for hop in sorted(fresh, key=lambda hop: (hop not in self._earlier, repr(hop))):
            self._add(hop, self._number_for(hop))
        if fresh:
            self._unwritten = (self._unwritten or set()) | ports
        found: dict[Network, int] = {}
        for route, to in zip(routes, hops, strict=True):
            number = self._special[route.kind] if to is None else self._numbers[to]
            found[route.prefix] = number
            self._routes[number] += 1
        return found

    def inherit(self, hops: Mapping[int, Hop]) -> None:
        """What another process had, by number. Before the first ``take``."""
        for number, hop in hops.items():
            if number in self._free and hop not in self._earlier:
                self._free.remove(number)
                self._release(number, hop)

    def _release(self, number: int, hop: Hop) -> None:
        self._free.append(number)
        self._earlier[hop], self._earlier_by_number[number] = number, hop

    def _number_for(self, hop: Hop) -> int:
        number = self._earlier.get(hop)
        if number is None:
            number = self._free.popleft()
        else:
            self._free.remove(number)
        was = self._earlier_by_number.pop(number, None)
        if was is not None:
            del self._earlier[was]
        return number

    def _add(self, hop: Hop, number: int) -> None:
        self._numbers[hop], self._by_number[number] = number, hop
        self._leave_by[hop.ifindex] += 1
        row = self._table[0]["hop"][number]
        row["macs"] = np.frombuffer((hop.mac or bytes(6)) + hop.source_mac, dtype=np.uint8)
        row["mtu"] = hop.mtu if hop.mac is not None else 0
        row["port"] = self._ports[hop.ifindex]

    def _check_room(self, hops: int, ports: int) -> None:
        if hops > len(self._free):
            have = len(self._numbers) + len(self._free)
            raise ConfigError(
                f"at most {have:,} next hops, got {len(self._numbers) + hops:,}",
                cure="lead more routes over the same next hops",
            )
        if ports > len(self._free_ports):
            raise ConfigError(
                f"at most {len(self._ports) + len(self._free_ports)} interfaces to leave by",
                cure="leave the routes over other interfaces to the kernel",
            )

    def give_back(self, numbers: Iterable[int]) -> None:
        """Routes that led there are gone."""
        for number in numbers:
            self._routes[number] -= 1
            if not self._routes[number] and number not in self._special.values():
                del self._routes[number]
                self._forget(number)

    def _forget(self, number: int) -> None:
        hop = self._by_number.pop(number)
        del self._numbers[hop]
        self._release(number, hop)
        self._leave_by[hop.ifindex] -= 1
        if not self._leave_by[hop.ifindex]:
            del self._leave_by[hop.ifindex]
            self._free_ports.append(self._ports.pop(hop.ifindex))

    def write(self, state: State) -> None:
        """All rows and all ports. Raises OSError."""
        state["hops"].write(0, self._table)
        for ifindex in self._ports:
            self._write_port(state, ifindex)

    def write_new(self, state: State) -> None:
        """What was taken since the last time. Raises OSError."""
        if self._unwritten is None:
            return
        state["hops"].write(0, self._table)
        for ifindex in self._unwritten & self._ports.keys():
            self._write_port(state, ifindex)
        self._unwritten = None

    def _write_port(self, state: State, ifindex: int) -> None:
        """An interface that is gone leaves its port empty: packets to it are lost anyway."""
        try:
            state["ports"].write(self._ports[ifindex], ifindex.to_bytes(4, "little"))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENODEV):
                raise
            state["ports"].delete(self._ports[ifindex])

    def answers(self) -> dict[bytes, bytes]:
        """Each hop by what the kernel's look-up says of it, interface and MAC address (struct
        fib_key). Hops that share them, with another MTU, are left out."""
        found: dict[bytes, list[int]] = defaultdict(list)
        for hop, number in self._numbers.items():
            if hop.mac is not None:
                found[hop.ifindex.to_bytes(4, "little") + hop.mac + bytes(2)].append(number)
        return {k: n[0].to_bytes(4, "little") for k, n in found.items() if len(n) == 1}

    def mtus(self) -> list[int]:
        """Sizes of IP packets on both sides of each MTU, as far as a frame may be that large."""
        found = {hop.mtu + more for hop in self._numbers for more in (0, 1)}
        return sorted(size for size in found if size <= MOST_BYTES)

    def name(self, number: int) -> str:
        """A hop for people, such as ``hop 02:00:00:00:00:01``."""
        hop = self._by_number.get(number) or self._earlier_by_number.get(number)
        if hop is None:
            return f"hop {number}"
        return f"hop {hop.mac.hex(':') if hop.mac else 'unknown'} of port {hop.ifindex}"


def hops_in(hops: Map, ports: Map) -> dict[int, Hop]:
    """The hops that two maps hold, by number; those whose neighbour is unknown count nothing."""
    table = hops.read()
    assert table is not None
    rows = table[0]["hop"]
    found: dict[int, Hop] = {}
    for number in np.flatnonzero(rows["mtu"]):
        row = rows[number]
        port = ports.read(int(row["port"]))
        macs = row["macs"].tobytes()
        if port is not None:
            index = int.from_bytes(port.tobytes()[:4], "little")
            hop = Hop(ifindex=index, mac=macs[:6], source_mac=macs[6:], mtu=int(row["mtu"]))
            found[int(number)] = hop
    return found


def pinned_hops(directory: Path, template: Template) -> dict[int, Hop]:
    """Those of an earlier controller; none where it left no maps, or maps of another shape."""
    maps: list[Map] = []
    try:
        for spec in (spec for spec in template.maps if spec.name in ("hops", "ports")):
            dtype = template.structs.get(spec.value_type)
            maps.append(Map.adopt(spec, directory / f"map_{spec.name}", dtype))
        hops, ports = sorted(maps, key=lambda held: held.spec.name)
        return hops_in(hops, ports)
    except OSError:
        return {}
    finally:
        for held in maps:
            held.close()


def table_rows(
    routes: Mapping[Network, int], template: Template, family: int
) -> tuple[Records, bytes]:
    """Keys and values of a family's trie."""
    chosen = [(n, hop) for n, hop in routes.items() if n.version == family]
    keys = np.zeros(len(chosen), dtype=template.structs[f"trie{family}_key"])
    size = 4 if family == 4 else 16
    raw = b"".join(n.prefixlen.to_bytes(4, "little") + n.network_address.packed for n, _ in chosen)
    if chosen:
        keys = np.frombuffer(raw, dtype=np.dtype((np.void, 4 + size))).view(keys.dtype)
    values = np.array([hop for _, hop in chosen], dtype="<u4").tobytes()
    return keys, values
