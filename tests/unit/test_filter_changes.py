# SPDX-License-Identifier: GPL-2.0-only
"""Changes of the filter's tables: what is refused, and what packets can see between writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from random import Random
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions import filter_maps
from iridescent_xdp.functions.filter_changes import (
    AddPrefix,
    RemovePrefix,
    SetPrefixes,
    SetRule,
    SetRules,
    changes_between,
)
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Network, Rule
from iridescent_xdp.state import State
from tests.unit.filter_cases import near_key, random_rules
from tests.unit.filter_memory import POOL, RULE, TEMPLATE, apply, made, scan, torn, wanted
from tests.unit.filter_model import Address


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grace periods that were waited for."""
    seen: list[int] = []
    monkeypatch.setattr(filter_maps, "grace_period", lambda: seen.append(1))
    return seen


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["action", "rule", "list"]))
def test_a_packet_meets_the_old_list_or_the_new_one(seed: int, kind: str) -> None:
    """Whatever part of a write it finds done."""
    rng = Random(seed)
    rules = tuple(random_rules(rng.randint(1, 8), seed))
    function, memories = made(FilterTables(rules=rules, comments=("",) * len(rules)))
    for number in range(3):
        new, change = _changed(rng, rules, kind, seed + number)
        keys = [near_key(rng, (*rules, *new)) for _ in range(12)]
        allowed = [{wanted(rules, key), wanted(new, key)} for key in keys]

        def look(
            name: str, before: bytes, after: bytes, keys: Any = keys, ok: Any = allowed
        ) -> None:
            for value in torn(before, after, rng):
                for key, either in zip(keys, ok, strict=True):
                    if name == f"rules{key.family}":
                        assert scan(value, key) in either

        memories.look = look
        apply(function, memories, change)
        rules = new
        for key in keys:
            assert scan(memories[f"rules{key.family}"].value, key) == wanted(rules, key)


def _changed(
    rng: Random, rules: tuple[Rule, ...], kind: str, seed: int
) -> tuple[tuple[Rule, ...], object]:
    if kind == "list":
        new = tuple(random_rules(rng.randint(0, 8), seed + 1))
        return new, SetRules(rules=new)
    place = rng.randrange(len(rules))
    (rule,) = random_rules(1, seed + 1)
    if kind == "action":
        action = "pass" if rules[place].action == "drop" else "drop"
        rule = replace(rules[place], action=action)  # type: ignore[arg-type]
    return (*rules[:place], rule, *rules[place + 1 :]), SetRule(place=place, rule=rule)


def test_a_list_is_left_alone_while_somebody_may_look_at_it(waits: list[int]) -> None:
    """The first turn needs no waiting; the next one writes what packets looked at before."""
    rules = tuple(Rule(protocol=17, destination_ports=(n, n), action="drop") for n in range(4))
    function, memories = made(FilterTables(rules=rules))

    def moved(port: int) -> object:
        return SetRule(
            place=0, rule=Rule(protocol=17, destination_ports=(port, port), action="drop")
        )

    apply(function, memories, moved(10))
    assert not waits
    apply(function, memories, moved(11))
    assert len(waits) == 1
    dropped = Rule(protocol=17, destination_ports=(11, 11), action="pass")
    apply(function, memories, SetRule(place=0, rule=dropped))
    assert len(waits) == 1, "an action changes in place"
    function.settle_tables(cast(State, memories))
    assert len(waits) == 2
    apply(function, memories, moved(12))
    assert len(waits) == 2, "nobody has looked at the other list since"


NESTED = [*POOL[:3], *(ip_network(f"10.{n}.7.0/24") for n in range(3))]
SOURCES = [n.network_address + 1 for n in NESTED]


def decided(allow: set[str], deny: set[str], rules: Sequence[Rule], source: Address) -> str:
    """The filter's words: an allowed source passes, a denied one is dropped, then the rules."""
    if any(source in ip_network(prefix) for prefix in allow):
        return "allowed"
    denied = any(source in ip_network(prefix) for prefix in deny)
    return "denied" if denied else f"rules {len(rules)}"


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False))
def test_sets_and_rules_change_together(rng: Random) -> None:
    """Between any two writes each source is decided as before the batch or as after it."""
    old, new = (_some_tables(rng) for _ in range(2))
    function, memories = made(old)
    rules = [old.rules]
    sides = [
        {
            source: decided({*map(str, t.allow)}, {*map(str, t.deny)}, t.rules, source)
            for source in SOURCES
        }
        for t in (old, new)
    ]

    def look(name: str, _before: bytes, after: bytes) -> None:
        if name == "rules4":
            lists = np.frombuffer(after, dtype=TEMPLATE.structs["rule_lists4"])[0]
            rules[0] = (RULE,) * int(lists["lists"][int(lists["turn"])]["count"])
        for source in SOURCES:
            now = decided(memories.prefixes("allow"), memories.prefixes("deny"), rules[0], source)
            assert now in {side[source] for side in sides}

    memories.look = look
    apply(function, memories, *changes_between(old, new))
    assert memories.prefixes("allow") == {*map(str, new.allow)}
    assert memories.prefixes("deny") == {*map(str, new.deny)}
    tables = function.tables
    assert isinstance(tables, FilterTables)
    assert ({*tables.allow}, {*tables.deny}, tables.rules) == ({*new.allow}, {*new.deny}, new.rules)


def _some_tables(rng: Random) -> FilterTables:
    allow: list[Network] = []
    deny: list[Network] = []
    for network in NESTED:
        rng.choice((allow, deny, [], [])).append(network)
    rules = tuple(Rule(protocol=n, action="drop") for n in range(rng.randint(0, 3)))
    return FilterTables(
        rules=rules, comments=("",) * len(rules), allow=tuple(allow), deny=tuple(deny)
    )


# -- what is refused -----------------------------------------------------------------------

TABLES = FilterTables(rules=(RULE,), allow=(POOL[0],), deny=(POOL[1],))
REFUSED: dict[str, tuple[object, str]] = {
    "no such place": (SetRule(place=1, rule=RULE), "0 <= place < 1 must hold, got place=1"),
    "too many rules": (SetRules(rules=(RULE,) * 1025), "at most 1,024 rules, got 1,025"),
    "comments": (SetRules(rules=(RULE,), comments=("a", "b")), "got 2 for 1"),
    "there already": (AddPrefix(name="allow", prefix=POOL[0]), "is in set 'allow' already"),
    "not there": (RemovePrefix(name="allow", prefix=POOL[2]), "is not in set 'allow'"),
    "in both": (AddPrefix(name="deny", prefix=POOL[0]), "would be in both sets"),
    "twice": (SetPrefixes(name="deny", prefixes=(POOL[3], POOL[3])), "has some twice"),
    "no such set": (AddPrefix(name="grey", prefix=POOL[0]), "called 'allow' or 'deny'"),  # type: ignore[arg-type]
    "something else": ("a rule", "is not a change of the filter's tables"),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_change_leaves_everything(change: object, reason: str) -> None:
    """Also what stands right in the same batch."""
    function, memories = made(TABLES)
    before = function.tables_digest()

    def touched(*_: object) -> None:
        pytest.fail("a map was written")

    memories.look = touched
    for asked in (function.policy_for, lambda c: apply(function, memories, *c)):
        with pytest.raises(ConfigError, match=reason):
            asked([AddPrefix(name="deny", prefix=POOL[5]), change])
    assert function.tables_digest() == before


def test_the_generic_code_has_room_before_and_after() -> None:
    function, memories = made(FilterTables(rules=(RULE,) * 16))
    grown = [SetRules(rules=(RULE,) * 17), AddPrefix(name="deny", prefix=POOL[0])]
    wide = {"allow_set": 0, "deny_set": 1, "rule_capacity": 32}
    assert function.policy_for(grown) == wide
    apply(function, memories, *grown)
    assert function.policy() == wide
    shrunk = [SetRules(rules=()), RemovePrefix(name="deny", prefix=POOL[0])]
    assert function.policy_for(shrunk) == wide
    apply(function, memories, *shrunk)
    assert function.policy() == {"allow_set": 0, "deny_set": 0, "rule_capacity": 16}
