# SPDX-License-Identifier: GPL-2.0-only
"""The filter's tables in maps of this process, read as the generic code reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_network
from random import Random
from typing import Any, cast

import numpy as np

from iridescent_xdp.functions.base import Function, function_for
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.state import State
from iridescent_xdp.template import find_template, read_template
from tests.unit.filter_model import PacketKey, first_match

TEMPLATE = read_template(find_template("filter"))
POOL = [ip_network(f"10.{n}.0.0/16") for n in range(6)]
RULE = Rule(action="drop")


class Memory:
    """What a map holds, and who looks after each write."""

    def __init__(self, look: Callable[[str, bytes, bytes], None], name: str) -> None:
        self.value = b""
        self.entries: dict[bytes, bytes] = {}
        self._look, self._name = look, name

    def write(self, _key: object, value: Any) -> None:
        old, self.value = self.value, value if isinstance(value, bytes) else value.tobytes()
        self._look(self._name, old, self.value)

    def write_many(self, keys: Any, values: bytes) -> None:
        for key in keys:
            self.entries[key.tobytes()] = values[:1]
            self._look(self._name, b"", b"")

    def delete(self, key: bytes) -> bool:
        found = self.entries.pop(key, None) is not None
        self._look(self._name, b"", b"")
        return found

    def clear(self) -> None:
        self.entries.clear()


class Memories:
    """A state whose maps are in this process."""

    def __init__(self) -> None:
        self.look: Callable[[str, bytes, bytes], None] = lambda *_: None
        self.maps: dict[str, Memory] = {}

    def __getitem__(self, name: str) -> Memory:
        return self.maps.setdefault(name, Memory(self._looked, name))

    def _looked(self, name: str, before: bytes, after: bytes) -> None:
        self.look(name, before, after)

    def prefixes(self, name: str) -> set[str]:
        """A set's IPv4 entries, read from its trie."""
        keys = self[f"{name}4"].entries
        return {
            f"{'.'.join(map(str, key[4:8]))}/{int.from_bytes(key[:4], 'little')}" for key in keys
        }


def made(tables: FilterTables) -> tuple[Function, Memories]:
    function, memories = function_for(TEMPLATE, tables), Memories()
    function.fill(cast(State, memories))
    return function, memories


def apply(function: Function, memories: Memories, *changes: object) -> None:
    function.apply(cast(State, memories), changes)


Decision = tuple[int, bool] | None  # the rule's place and whether it drops


def scan(value: bytes, key: PacketKey) -> Decision:
    """The first row that matches, as the generic code goes through the list whose turn it is."""
    lists = np.frombuffer(value, dtype=TEMPLATE.structs[f"rule_lists{key.family}"])[0]
    table = lists["lists"][int(lists["turn"]) & 1]
    for row in table["rules"][: int(table["count"])]:
        if _row_matches(row, key):
            return int(row["rest"]["id"]), bool(row["rest"]["drop"])
    return None


def _row_matches(row: Any, key: PacketKey) -> bool:
    rest = row["rest"]
    addresses = ((key.source, "source"), (key.destination, "destination"))
    ports = ((key.source_port, "source"), (key.destination_port, "destination"))
    return not (
        any(_differs(address, row[n], row[f"{n}_mask"]) for address, n in addresses)
        or (key.protocol ^ int(rest["protocol"])) & int(rest["protocol_mask"])
        or any(not rest[f"{n}_low"] <= port <= rest[f"{n}_high"] for port, n in ports)
        or (rest["needs_ports"] and not key.has_ports)
        or (key.tcp_flags & int(rest["tcp_mask"])) != rest["tcp_value"]
    )


def _differs(address: Any, prefix: Any, mask: Any) -> bool:
    shifts = (0,) if address.version == 4 else (96, 64, 32, 0)
    words = [int(address) >> shift & 0xFFFF_FFFF for shift in shifts]
    pairs = zip(words, np.atleast_1d(prefix), np.atleast_1d(mask), strict=True)
    return any((word ^ int(p)) & int(m) for word, p, m in pairs)


def wanted(rules: Sequence[Rule], key: PacketKey) -> Decision:
    place = first_match(rules, key)
    return None if place is None else (place, rules[place].action == "drop")


def torn(old: bytes, new: bytes, rng: Random) -> Iterator[bytes]:
    """What a reader may find while ``new`` is copied over ``old``, front to back."""
    differing = np.flatnonzero(np.frombuffer(old, "u1") != np.frombuffer(new, "u1"))
    cuts = {0, len(new)} | {
        int(at) + rng.randint(0, 1) for at in differing[:: 1 + len(differing) // 6]
    }
    yield from (new[:cut] + old[cut:] for cut in cuts)
