# SPDX-License-Identifier: GPL-2.0-only
"""Which number each backend of each service has. Flows point to numbers, so they are kept.

The map ``identities`` holds them over restarts. A backend that comes back gets a new number, or
an old number with a new generation; connections of another generation do not count.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.l4lb_flows import address_of, words_of
from iridescent_xdp.functions.l4lb_tables import (
    MAX_BACKENDS,
    PROTOCOL_NUMBERS,
    Address,
    L4lbTables,
    ServiceId,
)
from iridescent_xdp.kernel.maps import Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template

Pair = tuple[ServiceId, Address]
LAST_GENERATION = 0xFFFF


def pairs_of(tables: L4lbTables) -> list[Pair]:
    """Every backend of every service."""
    return [(s.id, b.address) for s in tables.services for b in s.backends]


class Places:
    """Numbers of backends; ``records`` are what ``identities`` should hold."""

    def __init__(self, template: Template) -> None:
        self.records: Records = np.zeros(MAX_BACKENDS, dtype=template.structs["identity"])
        self.numbers: dict[Pair, int] = {}
        self.used = 0  # numbers that were ever given away, from 0
        self._clock = 0

    def copy(self, template: Template) -> Places:
        """The same numbers, to change."""
        made = Places(template)
        made.records, made.numbers = self.records.copy(), dict(self.numbers)
        made.used, made._clock = self.used, self._clock
        return made

    def adopt(self, state: State) -> bool:
        """Take over what ``identities`` holds; False when it is empty."""
        held = state["identities"]
        for number in range(MAX_BACKENDS):
            row = held.read(number)
            if row is None or not row[0]["service"]["family"]:
                break
            if not number:
                self.numbers.clear()
                self.used = self._clock = 0
            self.records[number] = row[0]
            self.used = number + 1
            self._clock = max(self._clock, int(row[0]["removed_at"]))
            if not row[0]["removed"]:
                self.numbers[self.pair(number)] = number
        return bool(self.used) and len(self.numbers) <= self.used

    def pair(self, number: int) -> Pair:
        """Whose number it is, or was last."""
        row = self.records[number]
        key = row["service"]
        protocols = {value: name for name, value in PROTOCOL_NUMBERS.items()}
        version = int(key["family"])
        service = ServiceId(
            address=address_of(key["destination"], version),
            port=int(key["port"]),
            protocol=protocols[int(key["protocol"])],
        )
        return service, address_of(row["address"], version)

    def generation(self, number: int) -> int:
        """The generation that connections of this number need."""
        return int(self.records[number]["generation"])

    def arrange(self, wanted: Iterable[Pair]) -> tuple[list[int], list[int], list[int]]:
        """Numbers for exactly these backends: (new, removed, of the new those used before)."""
        pairs = dict.fromkeys(wanted)
        gone = [pair for pair in self.numbers if pair not in pairs]
        removed = [self._remove(pair) for pair in gone]
        before = self.used
        new = [self._add(pair) for pair in pairs if pair not in self.numbers]
        return new, removed, [number for number in new if number < before]

    def _remove(self, pair: Pair) -> int:
        number = self.numbers.pop(pair)
        self._clock += 1
        self.records[number]["removed"], self.records[number]["removed_at"] = 1, self._clock
        return number

    def _add(self, pair: Pair) -> int:
        number = self._unused()
        service, address = pair
        row = self.records[number]
        generation = int(row["generation"]) % LAST_GENERATION + 1
        key = row["service"]
        key["destination"], key["port"] = words_of(service.address), service.port
        key["family"] = service.address.version
        key["protocol"] = PROTOCOL_NUMBERS[service.protocol]
        row["address"], row["generation"] = words_of(address), generation
        row["removed"] = row["removed_at"] = 0
        self.numbers[pair] = number
        return number

    def _unused(self) -> int:
        if self.used < MAX_BACKENDS:
            self.used += 1
            return self.used - 1
        removed = np.flatnonzero(self.records["removed"])
        if not removed.size:
            raise ConfigError(f"at most {MAX_BACKENDS:,} backends of all services")
        return int(removed[self.records["removed_at"][removed].argmin()])
