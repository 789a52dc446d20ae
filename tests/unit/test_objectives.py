# SPDX-License-Identifier: GPL-2.0-only
"""Objectives compare as they say they do, and one rule decides for all of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from iridescent_xdp.config.model import ConstraintsConfig
from iridescent_xdp.config.objective import KINDS, VERDICTS, VerdictCostConfig
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.objectives import SharedObjective, TurnObjective, make_objective
from iridescent_xdp.objectives.base import median_interval
from iridescent_xdp.objectives.constraints import Footprint, broken
from iridescent_xdp.objectives.judge import Contender, Judgement, judge
from iridescent_xdp.objectives.throughput import Throughput
from iridescent_xdp.objectives.time_per_packet import TimePerPacket
from iridescent_xdp.objectives.verdict_cost import VerdictCost
from iridescent_xdp.statistics import Candidate, Effect, decide
from tests.unit.window_model import Counts, constant, simulated

DROP, PASS = 1, 2  # enum xdp_action, <linux/bpf.h>
NEEDED = {
    "verdict_cost": {"weights": {"drop": 0.5}},
    "command": {"command": ("true",), "direction": "lower", "unit": "us"},
    "prometheus": {"url": "http://localhost", "query": "up", "direction": "higher", "unit": "1"},
}


def result(
    windows: Counts,
    verdict_samples: NDArray[np.int64] | None = None,
    verdict_ns: NDArray[np.int64] | None = None,
) -> ArmResult:
    """An arm of a trial of which only the times matter."""
    none = np.zeros((len(windows), 8), dtype=np.int64)
    return ArmResult(
        name="arm",
        packets=int(windows.sum()),
        bytes=0,
        verdicts=np.zeros(8, dtype=np.uint64),
        misses=np.zeros(32, dtype=np.uint64),
        windows=windows,
        verdict_samples=none if verdict_samples is None else verdict_samples,
        verdict_ns=none if verdict_ns is None else verdict_ns,
    )


def judged(objective: SharedObjective, arms: list[ArmResult]) -> Judgement:
    """Generic, generic again, and candidates "a", "b", … that deviate ever less."""
    contenders = [
        Contender(name=chr(ord("a") + i), deviations=9 - i, measured=arm)
        for i, arm in enumerate(arms[2:])
    ]
    return judge(objective, arms[0], arms[1], contenders)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_makes_an_objective_of_its_name(kind: str) -> None:
    objective = make_objective(KINDS[kind].model_validate(NEEDED.get(kind, {})))
    assert objective.name == kind
    assert objective.direction in ("lower", "higher") and objective.unit
    shared = kind in ("time_per_packet", "p99", "verdict_cost")
    assert isinstance(objective, SharedObjective if shared else TurnObjective)


@pytest.mark.parametrize("seed", range(8))
def test_time_per_packet_is_decided_as_always(seed: int) -> None:
    gains = [0.0, 0.0, *np.random.default_rng(seed).uniform(-3, 6, 3)]
    arms = simulated(np.random.default_rng(seed), gains)
    old = decide(
        arms[0], arms[1],
        [Candidate(name=n, windows=w, deviations=9 - i)
         for i, (n, w) in enumerate(zip("abc", arms[2:], strict=True))],
    )  # fmt: skip
    new = judged(TimePerPacket(), [result(windows) for windows in arms])
    assert (new.winner, new.gains, new.generic) == (old.winner, old.gains, old.generic_ns)
    assert (new.noise_floor, new.needed) == (old.noise_floor_ns, old.needed_ns)
    assert new.reason.startswith("generic stays" if new.winner is None else f"{new.winner} saves ")


# -- verdict_cost ------------------------------------------------------------------------------


def by_verdict(pass_ns: int, drop_ns: int, rng: np.random.Generator) -> ArmResult:
    """12 windows in which one packet of four passes."""
    samples, ns = np.zeros((12, 8), dtype=np.int64), np.zeros((12, 8), dtype=np.int64)
    samples[:, PASS], samples[:, DROP] = 500, 1500
    ns[:, PASS] = 500 * pass_ns + rng.integers(-200, 200, 12)
    ns[:, DROP] = 1500 * drop_ns + rng.integers(-200, 200, 12)
    return result(constant(60), samples, ns)


@pytest.mark.parametrize(
    ("weights", "winner"),
    [({"pass": 1.0, "drop": 0.1}, "a"), ({"pass": 0.1, "drop": 1.0}, "b"), ({"pass": 1.0}, "b")],
)
def test_the_weights_decide_which_packets_are_to_be_fast(
    weights: dict[str, float], winner: str
) -> None:
    """ "a" is 30 ns faster where packets pass, "b" 20 ns where they are dropped."""
    rng = np.random.default_rng(2)
    objective = VerdictCost(VerdictCostConfig(weights=weights))
    arms = [by_verdict(*ns, rng) for ns in ((90, 80), (90, 80), (60, 80), (90, 60))]
    found = judged(objective, arms)
    w = {"drop": 1.0, "pass": 1.0, **weights}
    assert found.winner == winner
    assert found.generic == pytest.approx(w["pass"] * 0.25 * 90 + w["drop"] * 0.75 * 80, rel=0.01)
    assert found.gains["a"].value == pytest.approx(w["pass"] * 0.25 * 30, abs=0.5)
    assert found.gains["b"].value == pytest.approx(w["drop"] * 0.75 * 20, abs=0.5)


def test_the_verdicts_are_those_of_the_kernel() -> None:
    """enum xdp_action, <linux/bpf.h>; XDP_ABORTED is 0."""
    assert VERDICTS == ("aborted", "drop", "pass", "tx", "redirect")
    samples, ns = np.zeros((9, 8), dtype=np.int64), np.zeros((9, 8), dtype=np.int64)
    samples[:, 4], ns[:, 4] = 10, 500
    cost = VerdictCost(VerdictCostConfig(weights={"redirect": 3.0}))
    assert cost.value(result(constant(60), samples, ns)) == pytest.approx(150)


def test_windows_without_samples_are_left_out_of_a_cost() -> None:
    rng, cost = np.random.default_rng(1), VerdictCost(VerdictCostConfig(weights={"drop": 1.0}))
    generic, arm = by_verdict(90, 80, rng), by_verdict(70, 60, rng)
    arm.verdict_samples[3], arm.verdict_ns[3] = 0, 0
    assert cost.gain(arm, generic).n == 11
    arm.verdict_samples[:] = 0
    with pytest.raises(MeasurementError, match="a cost of no samples"):
        cost.value(arm)
    with pytest.raises(MeasurementError, match="a cost of no samples"):
        cost.gain(arm, generic)


# -- by turns ----------------------------------------------------------------------------------


def turns(level: float, rng: np.random.Generator, n: int = 12) -> NDArray[np.float64]:
    return level * rng.normal(1, 0.01, n)


def test_more_packets_per_second_are_better() -> None:
    rng = np.random.default_rng(4)
    generic, twin, more, less = (turns(level, rng) for level in (5e6, 5e6, 6e6, 4e6))
    contenders = [
        Contender(name=name, deviations=1, measured=measured)
        for name, measured in (("more", more), ("less", less))
    ]
    found = judge(Throughput(), generic, twin, contenders)
    assert found.winner == "more" and "adds" in found.reason and found.unit == "packets/s"
    assert found.gains["more"].value == pytest.approx(1e6, rel=0.1)
    assert found.gains["less"].value == pytest.approx(-1e6, rel=0.1)


def test_few_turns_are_not_enough_to_swap() -> None:
    rng = np.random.default_rng(4)
    few = [turns(level, rng, 8) for level in (5e6, 5e6, 9e6)]
    fast = Contender(name="x", deviations=1, measured=few[2])
    found = judge(Throughput(), few[0], few[1], [fast])
    assert found.winner is None and "9 measurements are needed" in found.reason


@pytest.mark.parametrize("n", [8, 9, 11, 12, 15, 40])
def test_the_interval_of_turns_covers_the_median_whatever_the_distribution(n: int) -> None:
    """A tail that has no mean: tan of a uniform number, whose median is 0."""
    rng = np.random.default_rng(n)
    missed = 0
    for _ in range(1000):
        effect = median_interval(np.tan(np.pi * (rng.random(n) - 0.5)), "us")
        missed += not effect.low <= 0 <= effect.high
    assert missed <= 20  # 10 are expected at most; more than 20 in 1 of 1,000 such tests


def test_one_turn_of_twelve_that_was_disturbed_decides_nothing() -> None:
    rng = np.random.default_rng(4)
    generic, twin, more = (turns(level, rng) for level in (5e6, 5e6, 6e6))
    generic[3], more[7] = 0, 0
    contender = Contender(name="more", deviations=1, measured=more)
    assert judge(Throughput(), generic, twin, [contender]).winner == "more"


def test_without_packets_there_is_no_throughput() -> None:
    with pytest.raises(MeasurementError, match="no packet came in 9 of 9 turns"):
        judge(Throughput(), np.zeros(9), np.zeros(9), [])


def test_turns_that_differ_in_number_cannot_be_compared() -> None:
    with pytest.raises(MeasurementError, match="equally many turns, 2 or more"):
        Throughput().gain(np.ones(9), np.ones(8))


def test_a_gain_below_three_percent_is_not_worth_a_swap() -> None:
    """An exact number, such as a counter: no noise at all, and still."""
    level = np.full(9, 100.0)
    for more, winner in ((102.9, None), (103.1, "x")):
        contender = Contender(name="x", deviations=1, measured=np.full(9, more))
        found = judge(Throughput(), level, level, [contender])
        assert (found.noise_floor, found.needed) == (0, 3) and found.winner == winner


def test_a_tie_is_won_by_the_fewest_deviations_in_any_unit() -> None:
    rng = np.random.default_rng(8)
    generic, twin, much, little = (turns(level, rng) for level in (5e6, 5e6, 6e6, 5.99e6))
    contenders = [
        Contender(name="much", deviations=5, measured=much),
        Contender(name="little", deviations=1, measured=little),
    ]
    found = judge(Throughput(), generic, twin, contenders)
    assert found.winner == "little" and "ties with much" in found.reason


def test_nobody_to_choose_from() -> None:
    found = judge(Throughput(), np.ones(9), np.ones(9), [])
    assert found.winner is None and found.reason.startswith("generic stays: there is no candidate")


def test_the_numbers_of_an_event_are_complete() -> None:
    effect = Effect(value=1.0, low=0.5, high=1.5, n=9, unit="us")
    made = Judgement(
        objective="command", unit="us", winner="x", generic=9.0, noise_floor=0.2, needed=0.3,
        gains={"x": effect}, values={"x": 8.0}, reason="r",
    )  # fmt: skip
    assert made.numbers() == {
        "objective": "command", "unit": "us", "generic": 9.0, "noise_floor": 0.2, "needed": 0.3,
        "values": {"x": 8.0}, "objective_gains": {"x": effect},
    }  # fmt: skip


# -- constraints -------------------------------------------------------------------------------


def test_a_constraint_is_kept_up_to_its_very_value() -> None:
    at_most = ConstraintsConfig(p99_ns=250, instructions=4096, memory_bytes=1 << 20)
    exact = Footprint(p99_ns=250.0, instructions=4096, memory_bytes=1 << 20)
    assert broken(at_most, exact) == []
    over = Footprint(p99_ns=250.5, instructions=4097, memory_bytes=(1 << 20) + 1)
    assert broken(at_most, over) == [
        "p99_ns is at most 250.0 ns, got 250.5",
        "instructions is at most 4,096 instructions, got 4,097",
        "memory_bytes is at most 1,048,576 bytes, got 1,048,577",
    ]
    assert broken(ConstraintsConfig(), over) == []
    assert len(broken(ConstraintsConfig(instructions=1), over)) == 1
