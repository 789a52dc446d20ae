# SPDX-License-Identifier: GPL-2.0-only
"""The filter's tables as its maps have them, and how they change while packets look at them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from iridescent_xdp.functions.rules import TCP, Network, Rule
from iridescent_xdp.kernel.grace import grace_period
from iridescent_xdp.kernel.maps import Map, Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template

FAMILIES = (4, 6)


class RuleLists:
    """The rules in ``rules4`` and ``rules6``: two lists each, of which packets look at one.

    A packet is decided by the old list or by the new one, whole. Where rules keep their conditions
    and only say pass instead of drop, the list in use is changed, one byte for each rule. Else the
    other list is written and gets its turn; before it can be written again, packets that still look
    at it must be through: a grace period, if none has passed since the last turn.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        self._values: dict[int, Records] = {}
        self._rules: tuple[Rule, ...] = ()
        self._waited = True  # nobody looks at the lists whose turn it is not

    def fill(self, state: State, rules: tuple[Rule, ...]) -> None:
        """Write the lists into maps that nobody looks at yet."""
        if not self._values or rules != self._rules:
            self._values = {f: self._made(rules, f) for f in FAMILIES}
            self._rules = rules
        self._write(state)

    def change(self, state: State, rules: tuple[Rule, ...]) -> None:
        """Make ``rules`` the ones that packets meet from now on."""
        if not self._values:
            self.fill(state, self._rules)
        lists = {f: self._next(rules, f) for f in FAMILIES}
        lists = {f: new for f, new in lists.items() if new.tobytes() != self._current(f).tobytes()}
        if all(_same_conditions(self._current(f), new) for f, new in lists.items()):
            for family, new in lists.items():
                value = self._values[family][0]
                value["lists"][int(value["turn"])] = new
            self._write(state, lists)
        else:
            self._take_turns(state, lists)
        self._rules = rules

    def _take_turns(self, state: State, lists: dict[int, Any]) -> None:
        self.wait()
        for family, new in lists.items():
            value = self._values[family][0]
            value["lists"][1 - int(value["turn"])] = new
        self._write(state, lists)
        for family in lists:
            value = self._values[family][0]
            value["turn"] = 1 - int(value["turn"])
        self._write(state, lists)
        self._waited = False

    def wait(self) -> None:
        """Until no packet looks at a list whose turn is over."""
        if not self._waited:
            grace_period()
            self._waited = True

    def _write(self, state: State, families: Iterable[int] = FAMILIES) -> None:
        for family in families:
            state[f"rules{family}"].write(0, self._values[family])

    def _current(self, family: int) -> Any:
        value = self._values[family][0]
        return value["lists"][int(value["turn"])]

    def _next(self, rules: tuple[Rule, ...], family: int) -> Any:
        """The list of one family; made of the present one where few rules differ."""
        if len(rules) != len(self._rules):
            return self._made(rules, family)[0]["lists"][0]
        changed = [i for i, (a, b) in enumerate(zip(rules, self._rules, strict=True)) if a is not b]
        if any(rules[i].family != self._rules[i].family for i in changed):
            return self._made(rules, family)[0]["lists"][0]
        new = self._current(family).copy()
        places = new["rules"]["rest"]["id"][: int(new["count"])]
        for place in changed:
            if rules[place].family in (None, family):
                at = int(np.searchsorted(places, place))
                new["rules"][at : at + 1] = 0
                _fill_row(new["rules"][at], rules[place], place, family)
        return new

    def _made(self, rules: Sequence[Rule], family: int) -> Records:
        value = np.zeros(1, dtype=self._template.structs[f"rule_lists{family}"])
        table = value[0]["lists"][0]
        chosen = [(i, r) for i, r in enumerate(rules) if r.family in (None, family)]
        table["count"] = len(chosen)
        for row, (number, rule) in zip(table["rules"], chosen, strict=False):
            _fill_row(row, rule, number, family)
        return value


def _same_conditions(old: Any, new: Any) -> bool:
    """Whether two lists differ in nothing but what rules say of the packets that they match."""
    masked = new.copy()
    masked["rules"]["rest"]["drop"] = old["rules"]["rest"]["drop"]
    return bool(masked.tobytes() == old.tobytes())


def _words(network: Network) -> tuple[list[int], list[int]]:
    """Address and mask as four host-order words; IPv4 in the first."""
    size = 32 if network.version == 4 else 128
    pack = [int(network.network_address) << (128 - size), int(network.netmask) << (128 - size)]
    address, mask = ([(value >> (96 - 32 * i)) & 0xFFFF_FFFF for i in range(4)] for value in pack)
    return address, mask


def _fill_row(row: Any, rule: Rule, number: int, family: int) -> None:
    for side in ("source", "destination"):
        network = getattr(rule, side)
        if network is not None:
            address, mask = _words(network)
            row[side], row[f"{side}_mask"] = (
                (address[0], mask[0]) if family == 4 else (address, mask)
            )
    _fill_rest(row["rest"], rule, number)


def _fill_rest(rest: Any, rule: Rule, number: int) -> None:
    flags = rule.tcp_flags
    protocol = TCP if flags is not None else rule.protocol
    for side in ("source", "destination"):
        low, high = getattr(rule, f"{side}_ports") or (0, 0xFFFF)
        rest[f"{side}_low"], rest[f"{side}_high"] = low, high
    rest["protocol"], rest["protocol_mask"] = (protocol, 0xFF) if protocol is not None else (0, 0)
    rest["needs_ports"] = any((rule.source_ports, rule.destination_ports, flags is not None))
    rest["tcp_mask"], rest["tcp_value"] = flags or (0, 0)
    rest["drop"] = rule.action == "drop"
    rest["id"] = number


# -- sets ----------------------------------------------------------------------------------


def fill_set(state: State, name: str, networks: Sequence[Network]) -> None:
    """Write a set into its tries, in place of what they hold."""
    for family in FAMILIES:
        state[f"{name}{family}"].clear()
    add_prefixes(state, name, networks)


def add_prefixes(state: State, name: str, networks: Sequence[Network]) -> None:
    """Add to a set; all at once for each family. Raises OSError, and nothing is added then."""
    done: list[Network] = []
    for family in FAMILIES:
        chosen = [n for n in networks if n.version == family]
        try:
            _write_trie(state[f"{name}{family}"], chosen)
        except OSError:
            remove_prefixes(state, name, (*done, *chosen))
            raise
        done += chosen


def remove_prefixes(state: State, name: str, networks: Sequence[Network]) -> None:
    """Take prefixes out of a set; those that are not in it are passed over."""
    for network in networks:
        state[f"{name}{network.version}"].delete(_trie_key(network))


def _trie_key(network: Network) -> bytes:
    return network.prefixlen.to_bytes(4, "little") + network.network_address.packed


def _write_trie(held: Map, networks: Sequence[Network]) -> None:
    if not networks:
        return
    size = networks[0].max_prefixlen // 8
    keys = np.zeros(len(networks), dtype=[("length", "<u4"), ("address", f"V{size}")])
    keys["length"] = [n.prefixlen for n in networks]
    packed = b"".join(n.network_address.packed for n in networks)
    keys["address"] = np.frombuffer(packed, dtype=f"V{size}")
    held.write_many(keys, b"\x01" * len(networks))
