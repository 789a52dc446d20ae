# SPDX-License-Identifier: GPL-2.0-only
"""Two workloads by turns: a change is noticed, searched once, and recalled when it comes again.

Each workload is sent until an event says that the controller has done its part.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from iridescent_xdp.adapt.adapter import Adapter
from iridescent_xdp.adapt.recall import make_live
from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.commands.traffic_seen import read_traffic
from iridescent_xdp.config.model import AdaptConfig
from iridescent_xdp.controller import Controller
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.limits import Limits
from iridescent_xdp.plan import Plan, make_plan
from iridescent_xdp.summary import Summary
from tests.kernel.fixtures import wait_until
from tests.kernel.live import CONFIG_PATH, Events, fixed, generator, operated, plan_for
from traffic.mixes import build
from traffic.player import Player
from traffic.scenario import load_scenario
from traffic.testbed import GENERATOR_SIDE, Testbed, inside

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

LONG_S = 60  # a phase ends when its event came
SHARES = {"udp": "[0.0, 1.0, 0.0, 0.0]", "tcp": "[1.0, 0.0, 0.0, 0.0]"}
SCENARIO = """
name = "one of two"
description = "UDP or TCP only"
function = "filter"
[tables.filter]
rules = []
[mix]
flows = 64
"""
# each workload has a best variant of its own, because both narrow to one protocol
POINTS = fixed(rule_layout=("tree",), only_protocol=(6, 17))


def _plan(points: dict[str, tuple[object, ...]]) -> Plan:
    made = plan_for(points=points)
    adapt = AdaptConfig(look_ms=10, every_ms=60)
    return make_plan(made.config.model_copy(update={"adapt": adapt}), CONFIG_PATH)


def _player(bed: Testbed, builder: Builder, folder: Path, protocol: str) -> Player:
    path = folder / f"{protocol}.toml"
    phase = f'[[phase]]\nname = "{protocol}"\nseconds = {LONG_S}\n'
    mix = f"[phase.mix]\nipv6_share = 0.0\nprotocol_shares = {SHARES[protocol]}\n"
    path.write_text(SCENARIO + phase + mix)
    with inside(bed.generator):
        port = find_interface(GENERATOR_SIDE).index
        return Player(builder, load_scenario(path), port, full_pps=1.5e6)


@contextmanager
def _sending(player: Player) -> Iterator[None]:
    enough = threading.Event()
    player.play(stop=enough)
    wait_until(lambda: bool(player.switches), "no phase began")
    try:
        yield
    finally:
        enough.set()
        player.wait()


def _search(adapter: Adapter, controller: Controller, *, quick: bool = True) -> Summary:
    adapter.begins()
    campaign = Campaign(controller, seeds=adapter.seeds(), watch=adapter.search_watch, quick=quick)
    try:
        summary = campaign.run()
    finally:
        campaign.close()
    adapter.searched(summary)
    return summary


def _adapt(adapter: Adapter, controller: Controller, until: Callable[[], bool]) -> None:
    """As `iridescent run` does, until ``until`` says that it is enough."""
    deadline = time.monotonic() + LONG_S
    while not until() and time.monotonic() < deadline:
        adapter.step()
        if adapter.search_due:
            _search(adapter, controller)
        time.sleep(0.06)


def test_a_workload_that_comes_again_gets_its_winner_back(bed: Testbed, tmp_path: Path) -> None:
    builder, events = Builder("llvm"), Events()
    turns = [("udp", "remembered"), ("tcp", "remembered"), ("udp", "recalled"), ("tcp", "recalled")]
    with ExitStack() as stack:
        players = [stack.enter_context(_player(bed, builder, tmp_path, p)) for p, _ in turns]
        stack.enter_context(inside(bed.dut))
        controller = stack.enter_context(operated(bed, builder, _plan(POINTS), events))
        adapter = Adapter(controller, Limits(controller.plan.config.limits), tmp_path / "w.db")
        stack.enter_context(closing(adapter))
        for player, (_, wanted) in zip(players, turns, strict=True):
            before = len(events.named(wanted))
            with _sending(player):
                if not events.named("space"):
                    _search(adapter, controller)
                _adapt(adapter, controller, lambda: len(events.named(wanted)) > before)  # noqa: B023
        sent = sum(player.sent for player in players)
        wait_until(lambda: read_traffic(controller).packets >= sent, "packets are missing")
        assert read_traffic(controller).packets == sent
        assert not adapter.search_due
    recalled = events.named("recalled")
    shown = [(line["event"], line.get("variant"), line.get("reason")) for line in events.lines]
    assert len(recalled) == 2, shown
    assert ["only_protocol=17" in r["variant"] for r in recalled] == [True, False], shown
    assert len(events.named("space")) == 2, "one search for each workload"
    assert len(events.named("retreat")) == 1, "recalled without a detour by generic"


def test_a_search_ends_when_its_traffic_changes(bed: Testbed, tmp_path: Path) -> None:
    builder, events = Builder("llvm"), Events()
    with ExitStack() as stack:
        udp, tcp = (stack.enter_context(_player(bed, builder, tmp_path, p)) for p in ("udp", "tcp"))
        stack.enter_context(inside(bed.dut))
        controller = stack.enter_context(operated(bed, builder, _plan({}), events))
        adapter = Adapter(controller, Limits(controller.plan.config.limits), tmp_path / "w.db")
        stack.enter_context(closing(adapter))
        over = threading.Event()

        def change() -> None:
            with _sending(udp):
                wait_until(lambda: len(events.named("trial")) > 1, "no trials", seconds=LONG_S)
            with _sending(tcp):
                over.wait(LONG_S)

        thread = threading.Thread(target=change)
        thread.start()
        wait_until(lambda: bool(udp.switches), "no phase began")
        summary = _search(adapter, controller, quick=False)
        ended_ns = time.monotonic_ns()
        over.set()
        thread.join()
        sent = udp.sent + tcp.sent
        wait_until(lambda: read_traffic(controller).packets >= sent, "packets are missing")
        assert read_traffic(controller).packets == sent
    assert summary.moved and not summary.interrupted
    (shift,) = events.named("shift")
    assert shift["group"] == "transport"
    assert adapter.search_due
    assert ended_ns - tcp.switches[0].at_ns < 3e9


def test_hot_flows_are_learnt_anew(bed: Testbed) -> None:
    """The sandboxes are kept from one recall to the next, and other flows are hot in each."""
    builder, scenario = Builder("llvm"), load_scenario("syn_flood")
    (part,) = scenario.phases[0].parts
    plan = plan_for(scenario.interface_tables(), function="l4lb")  # type: ignore[arg-type]
    with operated(bed, builder, plan) as controller:
        variant = plan.generic.with_values(hot_flows=2)
        learnt = []
        for seed in (1, 2, 1):
            stream = build(replace(part.mix, seed=seed))
            with generator(bed, builder, stream) as source, inside(bed.dut):
                source.start()
                make_live(controller, variant, reason="a test")
                source.stop()
            learnt.append(plan.function.compile_tables(variant).digest)
        assert learnt[0] != learnt[1]
        assert controller.live_variant == variant
