# SPDX-License-Identifier: GPL-2.0-only
"""Searches on live traffic: what is found, what is refused, and that no packet pays for it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.candidates import ENOUGH_LOOKS
from iridescent_xdp.controller import Controller
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.plan import Plan
from iridescent_xdp.statistics import ratio
from iridescent_xdp.summary import Summary
from iridescent_xdp.switchboard import ENTRY
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.faults import FAULTS
from tests.kernel.fixtures import packets_per_slot, patched_template, per_cpu_sum, wait_until
from tests.kernel.live import Events, fixed, generator, operated, plan_for, stream_of, udp
from tests.unit.filter_cases import mixed_rules
from tests.unit.packet_model import classify
from traffic.generator import Generator, StreamTimer
from traffic.mix_stream import Stream, expected_counts
from traffic.mixes import Mix, build
from traffic.testbed import Testbed

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

RULES = tuple(mixed_rules())
TABLES = FilterTables(rules=RULES)
TRAFFIC = build(Mix(name="all rules", flows=512, hits=RULES, default_share=0.2, seed=3))
SMALL = fixed(rule_layout=("map", "tree"), counter_batch=("1", "64"))
OFTEN = {"sample_shift": 1}  # every second packet is timed: trials are short
NOISE = 0.15  # of the best offline time; the generic code is 2 to 3 times slower
DEAD = (  # a point that changes nothing: its variants are the generic program once more
    "SPEC_BOOL(policy, allow_set,",
    'SPEC_BOOL(tuning, dead, false, "changes nothing");\nSPEC_BOOL(policy, allow_set,',
)


@dataclass
class Ground:
    """A controller under load."""

    controller: Controller
    events: Events
    source: Generator
    stream: Stream

    def search(self) -> Summary:
        campaign = Campaign(self.controller)
        try:
            return campaign.run()
        finally:
            campaign.close()

    def end(self) -> dict[int, int]:
        """Stop the traffic; every packet is counted once, or this fails."""
        sent = self.source.stop()
        state = self.controller.state
        wait_until(lambda: sum(packets_per_slot(state).values()) >= sent, f"{sent} packets")
        seen, wanted = packets_per_slot(state), model_counts(self.stream, sent)
        assert seen == wanted
        return seen

    def live_program(self) -> int:
        return self.controller.board.holds(ENTRY)


@contextmanager
def ground(
    bed: Testbed, builder: Builder, plan: Plan, stream: Stream = TRAFFIC
) -> Iterator[Ground]:
    events = Events()
    with (
        operated(bed, builder, plan, events) as controller,
        generator(bed, builder, stream) as source,
    ):
        source.start()
        yield Ground(controller, events, source, stream)


def model_counts(stream: Stream, sent: int) -> dict[int, int]:
    totals: dict[int, int] = {}
    for data, times in zip(stream.packets, expected_counts(stream, 0, sent), strict=True):
        slot, _ = classify(data, RULES, default_action="drop")
        totals[slot] = totals.get(slot, 0) + int(times)
    return {slot: times for slot, times in totals.items() if times}


def test_a_search_finds_the_faster_code_and_loses_nothing(bed: Testbed, builder: Builder) -> None:
    points = fixed(rule_layout=("map", "tree"))
    with ground(bed, builder, plan_for(TABLES, points=points, policy=OFTEN)) as here:
        generic_id = here.live_program()
        summary = here.search()
        assert summary.winner is not None and summary.winner["rule_layout"] == 2
        assert here.controller.live_variant == summary.winner
        assert here.live_program() != generic_id
        (swap,) = here.events.named("swap")  # as soon as it is ahead; the decision confirms it
        (decision,) = here.events.named("decision")
        assert swap["key"] == summary.winner.key and "saves" in decision["reason"]
        assert summary.space_size == 2 and len(summary.rows) == 1
        measured = here.events.named("trial")
        assert len(measured) == 2, "the policy's final is the one that decides"
        assert {arm["variant"] for arm in measured[-1]["arms"]} >= set(decision["gains"])
        kinds = [line["event"] for line in here.events.lines]
        order = ["attached", "observed", "space", "built", "trial", "swap", "decision"]
        assert [kinds.index(kind) for kind in order] == sorted(map(kinds.index, order))
        here.end()


def test_a_share_of_the_traffic_is_enough(bed: Testbed) -> None:
    """The rest meets what is live, and is in no arm's figures."""
    plan = plan_for(TABLES, points=SMALL, policy=OFTEN, share=0.3)
    with ground(bed, Builder("llvm"), plan) as here:
        summary = here.search()
        assert summary.winner is not None
        for trial in here.events.named("trial"):
            for arm in trial["arms"]:
                assert sum(arm["verdicts"]) == pytest.approx(arm["packets"], rel=0.01), arm
        here.end()


def test_all_loads_of_an_arm_get_packets_and_count_together(
    bed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a trial with three loads of each program plans, and what its rows hold."""
    plan = plan_for(TABLES, points=SMALL, policy=OFTEN)
    with ground(bed, Builder("llvm"), plan) as here, closing(Campaign(here.controller)) as campaign:
        variant = next(v for v in campaign.space if v != here.controller.plan.generic)
        built = [campaign.workshop.build(variant)]
        found = []
        for seconds in (0.0, 100.0):
            monkeypatch.setattr("iridescent_xdp.arms.COPIES_S", seconds)
            found.append(campaign.workshop.affordable(built, 3))
        assert found == [1, 3]
        results = campaign.trial(built, 5000, copies=3)
        board = here.controller.board
        schedule = board.state["schedule"].read(0)
        assert schedule is not None
        turns = Counter(int(slot) for slot in schedule[0]["slots"])
        assert len(turns) == 9 and max(turns.values()) - min(turns.values()) <= 1
        programs = {board.holds(slot) for slot in turns}
        assert len(programs) == 9, "each of them is a program of its own"
        packets = [result.packets for result in results]
        assert max(packets) < 1.3 * min(packets)
        assert all(result.samples > 0 for result in results)


@pytest.mark.parametrize("first", [0.0, 0.3])
def test_slow_traffic_is_looked_at_more_closely(
    bed: Testbed, monkeypatch: pytest.MonkeyPatch, first: float
) -> None:
    """One packet in 256 of 6,000 would be 23, and a short look may fall between two bursts."""
    monkeypatch.setattr("iridescent_xdp.candidates.LOOK_S", first)
    events, plan = Events(), plan_for(TABLES, points=SMALL, policy=OFTEN)
    with (
        operated(bed, Builder("llvm"), plan, events) as controller,
        generator(bed, controller.builder, TRAFFIC) as source,
    ):
        source.start(pps=20_000)
        Campaign(controller).close()
    (observed,) = events.named("observed")
    assert sum(observed["values"]["vlan_depth"].values()) >= ENOUGH_LOOKS


def test_generic_against_generic_is_never_swapped(bed: Testbed, tmp_path: Path) -> None:
    template = patched_template(tmp_path, DEAD)
    points = fixed(dead=(False, True))
    plan = plan_for(TABLES, function=str(template.path), points=points, policy=OFTEN)
    with ground(bed, Builder("llvm"), plan) as here:
        generic_id = here.live_program()
        for _ in range(3):
            summary = here.search()
            assert summary.space_size == 2 and summary.decision is not None
            assert (summary.winner, summary.decision.winner) == (None, None)
            assert here.live_program() == generic_id
        assert not here.events.named("swap")
        assert len(here.events.named("decision")) == 3
        here.end()


@pytest.mark.parametrize("strategy", ["racing", "exhaustive"])
def test_the_winner_is_the_best_of_all_offline(bed: Testbed, strategy: str) -> None:
    builder = Builder("llvm")
    points = fixed(vlan_depth=(0, 2), rule_layout=("map", "tree"), counter_batch=("1", "16"))
    plan = plan_for(TABLES, points=points, policy=OFTEN, strategy=strategy, seed=1)
    with ground(bed, builder, plan) as here:
        summary = here.search()
        here.end()
        offline = offline_ns(here.controller, builder)
    assert summary.winner is not None and len(offline) == summary.space_size == 8
    best = min(offline, key=lambda variant: median(offline[variant]))
    surely = {variant: ratio(times, offline[best]).low for variant, times in offline.items()}
    assert surely[summary.winner] <= 1 + NOISE, surely  # a neighbour may slow down some rounds
    assert max(surely.values()) > 1 + NOISE, "a wrong winner would be told from the best"
    assert median(offline[here.controller.plan.generic]) > median(offline[best]) * (1 + 3 * NOISE)


def offline_ns(controller: Controller, builder: Builder) -> dict[Variant, list[float]]:
    """Times per packet of every variant on the same stream, without a network, by rounds."""
    plan, programs = controller.plan, dict[str, Program]()
    variants = {variant.key: variant for variant in plan.space({})}
    for key, variant in variants.items():
        code = builder.variant(plan.function, variant, Role.STEADY)
        programs[key] = controller.state.load(code, f"off_{key}")
    with StreamTimer(builder, TRAFFIC) as timer:
        timer.patience = 2.0
        rounds = timer.rounds(programs, 11)
    for program in programs.values():
        program.close()
    return {variants[key]: times for key, times in rounds.items()}


def test_a_broken_variant_never_meets_traffic(bed: Testbed, tmp_path: Path) -> None:
    fault = FAULTS["a slot that is not counted"]
    template = patched_template(tmp_path, *fault.changes)
    points = fixed(rule_layout=("map", "tree"))
    plan = plan_for(TABLES, function=str(template.path), points=points, policy=OFTEN)
    with ground(bed, Builder("llvm"), plan) as here:
        generic_id = here.live_program()
        summary = here.search()
        (refused,) = here.events.named("refused")
        assert "differs from generic: packet '" in refused["reason"]
        assert [row.status for row in summary.rows] == ["refused"]
        assert summary.winner is None and here.live_program() == generic_id
        assert per_cpu_sum(here.controller.state, "arm_stats", "packets", 2) == 0
        here.end()


def test_a_variant_that_the_verifier_refuses(bed: Testbed) -> None:
    path = Path(__file__).parents[1] / "faults" / "trusting.bpf.c"
    plan = plan_for(FilterTables(), function=str(path))
    with ground(bed, Builder("llvm"), plan, stream_of([udp("10.0.0.1", 9)])) as here:
        summary = here.search()
        (row,) = summary.rows
        assert row.status == "refused" and row.label == "trust=true"
        assert "the verifier refuses" in row.reason and "\n" not in row.reason
        assert here.controller.live is here.controller.generic


def test_advice_changes_nothing(bed: Testbed) -> None:
    plan = plan_for(TABLES, points=fixed(rule_layout=("map", "tree")), policy=OFTEN, apply="advice")
    with ground(bed, Builder("llvm"), plan) as here:
        generic_id = here.live_program()
        summary = here.search()
        assert summary.winner is not None and here.live_program() == generic_id
        assert [line["variant"] for line in here.events.named("advice")] == [summary.winner_label]
        assert not here.events.named("swap")
        here.end()


def test_a_search_that_is_stopped_leaves_no_trace(bed: Testbed) -> None:
    calls = itertools.count()
    with ground(bed, Builder("llvm"), plan_for(TABLES, policy={"sample_shift": 12})) as here:
        generic_id = here.live_program()
        campaign = Campaign(here.controller, stop=lambda: next(calls) > 20)
        summary = campaign.run()
        campaign.close()
        assert summary.interrupted and summary.winner is None
        assert here.live_program() == generic_id
        slots = here.controller.state["slots"]
        assert [n for n in range(64) if slots.read(n) is not None] == [0, 1]
        here.end()


def test_without_traffic_the_generic_code_stays(bed: Testbed) -> None:
    events = Events()
    plan = plan_for(TABLES, points=SMALL, max_seconds=1)
    with operated(bed, Builder("llvm"), plan, events) as controller:
        campaign = Campaign(controller)
        summary = campaign.run()
        campaign.close()
        assert summary.winner is None and controller.live is controller.generic
        assert [line["reason"] for line in events.named("kept")] == ["no candidate was measured"]
        for line in events.named("trial_failed"):  # none if building took all of the time
            assert "the traffic brought 0 of" in line["reason"]
        assert not events.named("swap")
