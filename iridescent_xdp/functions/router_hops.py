# SPDX-License-Identifier: GPL-2.0-only
"""The numbers that routes lead to: one for each distinct next hop, and the map rows behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.router_links import Hop
from iridescent_xdp.functions.router_tables import Network, Route
from iridescent_xdp.kernel.maps import Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template

MOST_BYTES = 1500  # of an IP packet in a corpus

Resolve = Callable[[Route], Hop]


class Hops:
    """Numbers stay the same while a hop is used; those of unused hops are given anew."""

    def __init__(self, template: Template) -> None:
        constants = template.constants
        self._special = {
            "local": constants["HOP_LOCAL"],
            "blackhole": constants["HOP_BLACKHOLE"],
        }
        self._first, self._most = constants["FIRST_HOP"], constants["MAX_HOPS"]
        self._most_ports = constants["MAX_PORTS"]
        self._numbers: dict[Hop, int] = {}
        self._ports: dict[int, int] = {}  # by ifindex
        self._type = template.structs["hops_table"]

    def numbers(self, routes: Iterable[Route], resolve: Resolve) -> dict[Network, int]:
        """The hop of each route. Raises ConfigError when there are too many hops or interfaces,
        or when one cannot be resolved; nothing is taken then."""
        taken, ports = dict(self._numbers), dict(self._ports)
        try:
            return {route.prefix: self._number(route, resolve) for route in routes}
        except ConfigError:
            self._numbers, self._ports = taken, ports
            raise

    def _number(self, route: Route, resolve: Resolve) -> int:
        if route.kind != "forward":
            return self._special[route.kind]
        hop = resolve(route)
        if hop not in self._numbers:
            number = self._first + len(self._numbers)
            if number >= self._most:
                raise ConfigError(
                    f"route {route.prefix}: at most {self._most - self._first} next hops, "
                    "this is one more",
                    cure="lead more routes over the same next hop",
                )
            self._numbers[hop] = number
        if hop.ifindex not in self._ports:
            if len(self._ports) >= self._most_ports:
                raise ConfigError(
                    f"route {route.prefix}: at most {self._most_ports} interfaces to leave by",
                    cure="leave the routes over other interfaces to the kernel",
                )
            self._ports[hop.ifindex] = len(self._ports)
        return self._numbers[hop]

    def keep_only(self, used: Mapping[Network, int]) -> None:
        """Forget hops that no route leads to. Only while no program with their numbers runs."""
        live = set(used.values())
        kept = [hop for hop, number in self._numbers.items() if number in live]
        if len(kept) == len(self._numbers):
            return
        self._numbers = {hop: number for hop, number in self._numbers.items() if number in live}

    def write(self, state: State) -> None:
        """All rows and all ports."""
        table = np.zeros(1, dtype=self._type)
        rows = table[0]["hop"]
        for hop, number in self._numbers.items():
            row = rows[number]
            row["macs"] = np.frombuffer((hop.mac or bytes(6)) + hop.source_mac, dtype=np.uint8)
            row["mtu"] = hop.mtu if hop.mac is not None else 0
            row["port"] = self._ports[hop.ifindex]
        state["hops"].write(0, table)
        for ifindex, port in self._ports.items():
            state["ports"].write(port, ifindex.to_bytes(4, "little"))

    def mtus(self) -> list[int]:
        """Sizes of IP packets on both sides of each MTU, as far as a frame may be that large."""
        found = {hop.mtu + more for hop in self._numbers for more in (0, 1)}
        return sorted(size for size in found if size <= MOST_BYTES)

    def name(self, number: int) -> str:
        """A hop for people, such as ``hop 02:00:00:00:00:01``."""
        for hop, have in self._numbers.items():
            if have == number:
                return f"hop {hop.mac.hex(':') if hop.mac else 'unknown'} of port {hop.ifindex}"
        return f"hop {number}"


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
