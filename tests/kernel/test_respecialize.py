# SPDX-License-Identifier: GPL-2.0-only
"""After a change of tables: the same variant again, or the reason why not; also after a death."""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from ipaddress import ip_network
from typing import Any

import pytest

from iridescent_xdp import live as live_module
from iridescent_xdp import respecialize
from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import ConfigError, PreflightError
from iridescent_xdp.functions.filter_changes import (
    AddPrefix,
    RemovePrefix,
    SetPrefixes,
    SetRule,
    SetRules,
)
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.grace import by_map_of_maps, grace_period
from iridescent_xdp.kernel.maps import Map
from iridescent_xdp.live import TablesChangedError
from iridescent_xdp.preflight import Preflight
from iridescent_xdp.runtime import Record
from iridescent_xdp.switchboard import Switchboard
from tests.kernel.fixtures import wait_until
from tests.kernel.flips import (
    RULES,
    TABLES,
    counted,
    matching,
    specialize,
    specialized_again,
)
from tests.kernel.live import (
    Events,
    operated,
    plan_for,
    take,
    udp,
)
from tests.kernel.numbered import PORT, SOURCE
from tests.kernel.test_death import assert_status_knows, die_before, killed
from traffic.testbed import Testbed

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

AGAIN_S = 1.0  # no tighter on a noisy machine; the figures are printed


@pytest.fixture
def builder() -> Builder:
    return Builder("llvm")


def test_specialized_again_soon(bed: Testbed, builder: Builder) -> None:
    """After each of 20 single changes; the sandboxes are there, as after a search."""
    events = Events()
    builder = Builder("llvm", cached=False)
    with operated(bed, builder, plan_for(TABLES), events) as controller:
        specialize(controller)
        for number in range(1, 22):
            controller.change([SetRule(place=0, rule=matching(number))])
            specialized_again(controller, events, number)
            settled = events.named("specialized_again")[-1]
            assert settled["packets"] > 700  # the crafted ones at least
    lines = events.named("specialized_again")[1:]
    for name in ("after_ms", "build_ms", "preflight_ms", "load_and_swap_ms"):
        values = [line[name] for line in lines]
        print(f"{name}: median {statistics.median(values):.1f}, worst {max(values):.1f}")
    assert statistics.median(line["after_ms"] for line in lines) < AGAIN_S * 1000


def test_the_new_code_is_the_new_table(bed: Testbed, builder: Builder) -> None:
    """Longer than the generic code had room for, then a set that was empty, then back."""
    events = Events()
    longer = tuple(
        Rule(protocol=17, destination_ports=(port, port), action="drop") for port in range(500, 540)
    )
    with operated(bed, builder, plan_for(TABLES), events) as controller:
        specialize(controller)
        controller.change([SetRules(rules=longer)])
        assert controller.live_variant == controller.plan.generic
        assert counted(controller, udp(SOURCE, 539), bed, builder) == 39
        specialized_again(controller, events, 1)
        assert counted(controller, udp(SOURCE, 539), bed, builder) == 39
        controller.change([AddPrefix(name="deny", prefix=ip_network("10.77.0.0/16"))])
        assert counted(controller, udp(SOURCE, 539), bed, builder) == 1026  # SLOT_DENY_SET
        specialized_again(controller, events, 2)
        assert counted(controller, udp(SOURCE, 539), bed, builder) == 1026
        controller.change([RemovePrefix(name="deny", prefix=ip_network("10.77.0.0/16"))])
        specialized_again(controller, events, 3)
        assert counted(controller, udp(SOURCE, 539), bed, builder) == 39
        assert controller.plan.generic["deny_set"] == 0, "the set's look-up is gone again"
        controller.board.check(controller.interface)


def test_the_root_goes_when_nothing_changes(
    bed: Testbed, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And comes back for the next change."""
    monkeypatch.setattr(respecialize, "REST_S", 0.2)
    events = Events()
    with operated(bed, builder, plan_for(TABLES), events) as controller:
        specialize(controller)
        for number in (1, 2):
            assert controller.board.held is controller.live
            controller.change([SetRule(place=0, rule=matching(number))])
            specialized_again(controller, events, number)
            wait_until(lambda n=number: len(events.named("settled")) >= n, "a rest")  # type: ignore[misc]
        assert controller.board.held is controller.live
        assert counted(controller, udp(SOURCE, PORT), bed, builder) == 0
        controller.board.check(controller.interface)


def test_variants_that_read_the_maps_stay(bed: Testbed, builder: Builder) -> None:
    """Nothing of the table is in their code: no retreat, no swap."""
    events = Events()
    with operated(bed, builder, plan_for(TABLES), events) as controller:
        specialize(controller, rule_layout=0)
        variant = controller.live_variant
        controller.change([SetRule(place=0, rule=matching(1))])
        assert controller.live_variant == variant
        assert counted(controller, udp(SOURCE, PORT), bed, builder) == 1024
        wait_until(lambda: events.named("tables_changed"), "told")
        assert not events.named("retreat")


# -- what fails ----------------------------------------------------------------------------


def test_a_wrong_change_changes_nothing(bed: Testbed, builder: Builder) -> None:
    events = Events()
    with operated(bed, builder, plan_for(TABLES), events) as controller:
        specialize(controller)
        variant, tables = controller.live_variant, controller.plan.function.tables_digest()
        before = [controller.state[n].read() for n in ("rules4", "rules6")]
        wrong = [SetRule(place=0, rule=matching(1)), SetRule(place=16, rule=matching(1))]
        with pytest.raises(ConfigError, match=r"change 2 of 2: 0 <= place < 16 must hold"):
            controller.change(wrong)
        assert controller.live_variant == variant and not events.named("retreat")
        assert controller.plan.function.tables_digest() == tables
        after = [controller.state[n].read() for n in ("rules4", "rules6")]
        assert all(
            a.tobytes() == b.tobytes()
            for a, b in zip(before, after, strict=True)
            if a is not None and b is not None
        )


def test_generic_stays_when_the_proof_fails(
    bed: Testbed, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(*_: object) -> None:
        raise PreflightError("differs from generic: test")

    events = Events()
    with operated(bed, builder, plan_for(TABLES), events) as controller:
        specialize(controller)
        with monkeypatch.context() as patched:
            patched.setattr(Preflight, "check", differs)
            controller.change([SetRule(place=0, rule=matching(1))])
            wait_until(lambda: events.named("not_specialized"), "an event")
        assert "differs from generic: test" in events.named("not_specialized")[0]["reason"]
        assert controller.live_variant == controller.plan.generic
        controller.change([SetRule(place=0, rule=matching(2))])
        specialized_again(controller, events, 1)


def test_code_for_older_tables_is_never_live(
    bed: Testbed, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another change comes while the new specialization is proven; and a late swap is refused."""
    events, check, once = Events(), Preflight.check, [1]

    def changed_meanwhile(self: Preflight, insns: bytes, name: str) -> None:
        check(self, insns, name)
        if once:
            once.clear()
            controller.change([SetRule(place=0, rule=matching(2))])

    monkeypatch.setattr(Preflight, "check", changed_meanwhile)
    with operated(bed, builder, plan_for(TABLES), events) as controller:
        specialize(controller)
        version, code = controller.plan.function.version, b""
        controller.change([SetRule(place=0, rule=matching(1))])
        specialized_again(controller, events, 1)
        assert not once and len(events.named("specialized_again")) == 1
        assert counted(controller, udp(SOURCE, PORT), bed, builder) == 0
        with pytest.raises(TablesChangedError):
            controller.swap(controller.live_variant, code, reason="late", version=version)


# -- death ---------------------------------------------------------------------------------

Step = tuple[Any, str, int]
CHANGING: dict[str, Step] = {
    "slot 0": (Switchboard, "put", 1),
    "the link": (Switchboard, "through_root", 1),
    "the grace period": (live_module, "grace_period", 1),
    "the list": (Map, "write", 2),
    "its turn": (Map, "write", 3),
    "a set": (Map, "write_many", 1),
    "the record of the new code": (Record, "save", 1),
    "the new code": (Switchboard, "put", 2),
}


@pytest.mark.parametrize("step", CHANGING.values(), ids=CHANGING.keys())
def test_killed_while_tables_change(bed: Testbed, builder: Builder, step: Step) -> None:
    """Rule 0 moves from port 100 to port 1000: each packet meets the old or the new list, and the
    next controller brings the new one."""
    new = FilterTables(rules=(matching(1), *RULES[1:]), deny=(ip_network("198.51.100.0/24"),))

    def change() -> None:
        controller = take(bed, builder, plan_for(old))
        specialize(controller)
        die_before(step)
        controller.change(list(controller.plan.function.changes_to(new)))
        time.sleep(5)  # the respecialization runs meanwhile

    old = FilterTables(rules=RULES, deny=(ip_network("192.0.2.0/24"),))
    killed(change)
    assert_status_knows(bed)
    with closing(take(bed, builder, plan_for(new))) as controller:
        assert controller.adopted
        assert counted(controller, udp(SOURCE, PORT), bed, builder) == 1024
        assert counted(controller, udp(SOURCE, PORT + 900), bed, builder) == 0
        assert counted(controller, udp("198.51.100.9", 9), bed, builder) == 1026
        specialize(controller)
        assert counted(controller, udp(SOURCE, PORT), bed, builder) == 1024
        controller.release()


# -- grace periods -------------------------------------------------------------------------


def test_a_grace_period_is_waited_for_either_way() -> None:
    assert grace_period() > 0.1
    began = time.perf_counter()
    by_map_of_maps()
    assert time.perf_counter() - began > 0.0001


def test_whole_sets_are_replaced(bed: Testbed, builder: Builder) -> None:
    tables = FilterTables(rules=RULES, deny=(ip_network("10.77.0.0/16"),))
    with operated(bed, builder, plan_for(tables)) as controller:
        assert counted(controller, udp(SOURCE, PORT), bed, builder) == 1026
        others = tuple(ip_network(f"10.{n}.0.0/16") for n in range(70, 77))
        controller.change([SetPrefixes(name="deny", prefixes=others)])
        assert counted(controller, udp(SOURCE, PORT), bed, builder) == 0
        assert counted(controller, udp("10.76.0.1", PORT), bed, builder) == 1026
