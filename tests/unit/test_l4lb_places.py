# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of backends: kept while they are there, of another generation when they come back."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.l4lb_places import Pair, Places
from iridescent_xdp.functions.l4lb_tables import MAX_BACKENDS, ServiceId
from iridescent_xdp.template import find_template, read_template

WEB = ServiceId(address=ip_address("192.0.2.80"), port=80, protocol="tcp")
SIX = ServiceId(address=ip_address("2001:db8::80"), port=80, protocol="udp")


def pair(number: int, service: ServiceId = WEB) -> Pair:
    base = "10.0.0.0" if service is WEB else "2001:db8:1::"
    return service, type(service.address)(int(ip_address(base)) + number)


def places() -> Places:
    return Places(read_template(find_template("l4lb")))


def test_numbers_stay_while_others_come_and_go() -> None:
    held = places()
    held.arrange([pair(1), pair(2), pair(3, SIX)])
    second = held.numbers[pair(2)], held.generation(held.numbers[pair(2)])
    new, removed, again = held.arrange([pair(2), pair(3, SIX), pair(4)])
    assert (len(new), len(removed), again) == (1, 1, [])
    assert (held.numbers[pair(2)], held.generation(held.numbers[pair(2)])) == second
    assert held.pair(held.numbers[pair(3, SIX)]) == pair(3, SIX)
    assert new[0] not in removed


def test_who_comes_back_is_somebody_else() -> None:
    held = places()
    held.arrange([pair(1), pair(2)])
    was = held.numbers[pair(1)], held.generation(held.numbers[pair(1)])
    held.arrange([pair(2)])
    held.arrange([pair(1), pair(2)])
    assert (held.numbers[pair(1)], held.generation(held.numbers[pair(1)])) != was


def test_the_number_that_is_free_longest_is_used_again() -> None:
    held = places()
    held.arrange([pair(n) for n in range(MAX_BACKENDS)])
    gone = [held.numbers[pair(n)] for n in (70, 30)]
    held.arrange([pair(n) for n in range(MAX_BACKENDS) if n != 70])
    held.arrange([pair(n) for n in range(MAX_BACKENDS) if n not in (70, 30)])
    kept = [pair(n) for n in range(MAX_BACKENDS) if n not in (70, 30)]
    for number in gone:
        before = held.generation(number)
        kept.append(pair(90_000 + number))
        new, _, again = held.arrange(kept)
        assert new == again == [number]
        assert held.generation(number) == before + 1


def test_no_more_than_there_is_room_for() -> None:
    held = places()
    with pytest.raises(ConfigError, match="at most 4,096 backends"):
        held.arrange([pair(n) for n in range(MAX_BACKENDS + 1)])


def test_a_copy_is_apart() -> None:
    held = places()
    held.arrange([pair(1)])
    copied = held.copy(read_template(find_template("l4lb")))
    copied.arrange([pair(2)])
    assert held.numbers == {pair(1): 0}
    assert held.pair(0) == pair(1)
    assert not held.records[0]["removed"]
