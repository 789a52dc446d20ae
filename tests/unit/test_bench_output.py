# SPDX-License-Identifier: GPL-2.0-only
"""What a bench prints and writes, its fixed rules, and its own idea of where packets belong."""

from __future__ import annotations

import json
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iridescent_xdp.bench import main
from iridescent_xdp.bench.environment import environment
from iridescent_xdp.bench.expected import expected_slot
from iridescent_xdp.bench.mixes import LOCALITIES, edge_traffic
from iridescent_xdp.bench.results import Case, Options, Result, need_of, quantile_of, show
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.bench.swap import BREAK_SHARE, differences
from iridescent_xdp.errors import ConfigError, MeasurementError, MissingFeatureError
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.statistics import Effect
from tests.unit.packet_model import classify
from traffic.mix_stream import Stream
from traffic.packet_build import SCTP_PROTOCOL, Flow, Shape, frame

CASE = Case(suite="swap", name="filter")
RESULT_KEYS = ["suite", "case", "metric", "unit", "value", "low", "high", "n"]
FACTS = {
    *("date", "quick", "kernel", "cpu", "cores", "load_average", "python", "llvm", "clang", "bcc"),
    *("jit", "mitigations", "winners"),
}


def good(options: Options) -> list[Result]:
    """Two figures."""
    options.tell("good: working")
    options.winners["good/filter"] = "rule_layout=tree"
    times = CASE.of("time_ns", Effect(value=2.5, low=2.0, high=3.0, n=9, unit="ns"))
    return [times, CASE.count("lost", "packets", 7, 100)]


def bad(options: Options) -> list[Result]:
    """Fails."""
    raise MissingFeatureError("no such thing", cure="get it")


def refused(options: Options) -> list[Result]:
    """The kernel says no."""
    raise OSError(1, "creating a map: Operation not permitted")


@pytest.fixture(autouse=True)
def _suites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "SUITES", {"good": good, "bad": bad, "refused": refused})


def test_the_document_has_exactly_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    assert main.run(["good"], True, path, False) == 0
    document: dict[str, Any] = json.loads(path.read_text())
    assert list(document) == ["environment", "results"]
    assert set(document["environment"]) == FACTS
    assert document["environment"]["quick"] is True
    assert document["environment"]["winners"] == {"good/filter": "rule_layout=tree"}
    assert [list(row) for row in document["results"]] == [RESULT_KEYS] * 2
    assert list(document["results"][0].values()) == [
        *("swap", "filter", "time_ns", "ns", 2.5, 2.0, 3.0, 9),
    ]
    assert document["results"][1]["value"] == 7


def test_the_table_has_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["good"], True, None, False) == 0
    out, err = capsys.readouterr()
    (times,) = (line for line in out.splitlines() if "time_ns" in line)
    (lost,) = (line for line in out.splitlines() if "lost" in line)
    assert "2.50 ns" in times
    assert "2 .. 3" in times
    assert "<= 0 MISSED" in lost
    assert err == "good: working\n"


def test_json_on_stdout_is_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["good"], False, None, True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["environment"]["quick"] is False
    assert len(document["results"]) == 2


@pytest.mark.parametrize(
    ("failing", "code", "told"),
    [
        ("bad", MissingFeatureError.exit_code, "error: bench bad: no such thing (get it)"),
        ("refused", MissingFeatureError.exit_code, "error: bench refused: not permitted"),
    ],
)
def test_a_failing_suite_does_not_take_the_others_along(
    failing: str, code: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    assert main.run([failing, "good"], True, path, False) == code
    assert told in capsys.readouterr().err
    assert len(json.loads(path.read_text())["results"]) == 2


@pytest.mark.parametrize(
    ("suites", "path", "told"),
    [
        (["good", "speed"], None, "no suite 'speed' (there are good, bad, refused)"),
        (["good"], Path("/nowhere/figures.json"), "cannot write /nowhere/figures.json"),
        (["good"], Path("/"), "cannot write /"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    suites: list[str], path: Path | None, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        main.run(suites, True, path, False)
    assert told in str(caught.value)
    assert capsys.readouterr() == ("", "")


def test_the_environment_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise MissingFeatureError("no clang")

    monkeypatch.setattr("iridescent_xdp.bench.environment._clang", missing)
    facts = environment(quick=False)
    assert facts["clang"] == "missing"
    assert facts["cores"]
    json.dumps(facts)


# -- figures -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "low", "high"),
    [(1, 1, 1), (5, 1, 5), (8, 1, 8), (10, 1, 10), (15, 3, 13), (25, 6, 20), (41, 12, 30)],
)
def test_a_median_lies_between_order_statistics(n: int, low: int, high: int) -> None:
    def below(rank: int) -> float:  # chance that fewer than `rank` of n lie below the median
        return sum(comb(n, k) for k in range(rank)) / float(2**n)

    assert low == 1 or below(low) <= 0.005
    assert below(low + 1) > 0.005
    values = [float(value) for value in range(1, n + 1)]
    effect = quantile_of(values[::-1], 0.5, "ns")
    assert (effect.low, effect.value, effect.high) == (low, (n + 1) / 2, high)
    assert (effect.n, effect.unit) == (n, "ns")


def test_a_high_quantile_has_its_own_interval() -> None:
    values = [float(value) for value in range(1, 10_001)]
    effect = quantile_of(values, 0.99, "us")
    spread = 2.576 * (10_000 * 0.99 * 0.01) ** 0.5  # the binomial's normal approximation
    assert effect.value == pytest.approx(9_900, abs=1)
    assert effect.low == pytest.approx(9_900 - spread, abs=2)
    assert effect.high == pytest.approx(9_900 + spread, abs=2)


def test_a_quantile_of_nothing_is_an_error() -> None:
    with pytest.raises(MeasurementError, match="nothing was measured"):
        quantile_of([], 0.5, "ns")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0, "0"), (7, "7"), (10_000, "10,000"), (3e6, "3,000,000"), (1234.5, "1,234")),
        *((0.98765, "0.988"), (1.05, "1.05"), (42.26, "42.3"), (-0.5, "-0.500"), (150.4, "150")),
    ],
)
def test_numbers_are_shown_with_three_digits(value: float, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize(
    ("suite", "case", "metric", "enough", "short"),
    [
        ("compile", "filter", "speedup", 10, 9.99),
        ("compile", "filter", "llvm_ms", 40, 40.1),
        ("compile", "filter", "cached_ms", 5, 5.1),
        ("swap", "filter", "swaps", 10_000, 9_999),
        ("swap", "filter", "pps", 3e6, 2.99e6),
        ("swap", "filter", "lost", 0, 1),
        ("swap", "filter", "duplicated", 0, 1),
        ("swap", "filter", "wrong_counters", 0, 1),
        ("swap", "filter", "swap_us_p99", 1_000, 1_001),
        ("functions", "filter/high", "time_ratio", 3, 2.99),
        ("functions", "filter/low", "time_ratio", 2.3, 2.29),
        ("functions", "filter/none", "time_ratio", 2.3, 2.29),
        ("functions", "filter/none", "throughput_ratio", 1.5, 1.49),
        ("functions", "filter/high", "handwritten_ratio", 1.05, 1.06),
        ("functions", "filter/high", "throughput_ratio", 1.8, 1.79),
        ("functions", "router/high", "throughput_ratio", 1.94, 1.93),
        ("functions", "router/low", "throughput_ratio", 1.77, 1.76),
        ("functions", "router/none", "throughput_ratio", 1.1, 1.09),
        ("functions", "l4lb/high", "throughput_ratio", 1.8, 1.79),
        ("functions", "l4lb/low", "throughput_ratio", 1.21, 1.2),
        ("functions", "l4lb/none", "throughput_ratio", 1.11, 1.1),
        ("functions", "l4lb/none", "throughput_ratio_inline", 1, 0.99),
        ("functions", "router/high", "time_ratio", 2.3, 2.29),
        ("functions", "l4lb/high", "time_ratio", 2.3, 2.29),
        ("functions", "router/none", "time_ratio", 1, 0.99),
        ("functions", "router/high", "lookup_ratio_ifs", 6, 5.9),
        ("functions", "router/high", "lookup_ratio_hot", 10, 9.9),
        ("compile", "router", "llvm_ms", 60, 60.1),
        ("compile", "l4lb", "llvm_ms", 60, 60.1),
        ("guards", "router/ipv6", "pass_ns", 1, 1.1),
        ("guards", "router/ipv6", "miss_ns", 30, 30.1),
        ("guards", "l4lb", "instrumentation_pct", 2, 2.1),
        ("peers", "filter/1000", "peer_ratio", 1, 0.99),
        ("peers", "router/fib", "peer_ratio", 1, 0.99),
        ("overhead", "filter", "steady_pct", 2, 2.01),
    ],
)
def test_what_is_needed(suite: str, case: str, metric: str, enough: float, short: float) -> None:
    need = need_of(Case(suite=suite, name=case).count(metric, "", enough, 1))
    assert need is not None
    assert need.holds(enough)
    assert not need.holds(short)


def test_most_figures_only_inform() -> None:
    assert need_of(CASE.count("swap_us_max", "us", 1e9, 1)) is None
    assert need_of(Case(suite="guards", name="filter").count("timing_pct", "%", 50, 1)) is None


# -- rules and packets ---------------------------------------------------------------------


def test_the_rules_are_mixed_as_announced() -> None:
    assert len(RULES) == 64
    assert sum(rule.family == 6 for rule in RULES) >= 8
    assert sum(bool(rule.source or rule.destination) for rule in RULES) >= 20
    assert sum(bool(rule.source_ports or rule.destination_ports) for rule in RULES) >= 20


@pytest.mark.parametrize("locality", LOCALITIES)
def test_one_packet_in_five_matches_and_every_rule_is_hit(locality: Any) -> None:
    stream = edge_traffic(locality)
    slots = np.array([classify(frame_, RULES)[0] for frame_ in stream.packets])
    sent = np.bincount(slots[stream.sequence], minlength=1025)
    assert sent[1024] / sent.sum() == pytest.approx(0.8, abs=0.02)
    assert np.all(sent[: len(RULES)] > 0)


def test_the_slots_are_those_of_the_packet_model() -> None:
    stream = edge_traffic("high", BREAK_SHARE)
    for packet in stream.packets:
        assert expected_slot(RULES, packet) == classify(packet, RULES)[0], packet.hex()


def test_a_packet_that_the_suites_do_not_send_is_an_error() -> None:
    flow = Flow(family=4, source=1, destination=2, protocol=SCTP_PROTOCOL)
    arp = b"\x02" * 12 + b"\x08\x06" + bytes(46)
    for packet in (frame(flow, Shape()), arp):
        with pytest.raises(MeasurementError, match="no suite sends"):
            expected_slot((Rule(action="drop"),), packet)


def test_lost_and_duplicated_packets_are_found() -> None:
    stream = Stream(
        name="three",
        packets=(bytes(60), bytes(70), bytes(80)),
        sequence=np.array([0, 1, 2, 1], dtype=np.uint32),
    )
    slots = np.array([4, 1, 1])
    # 6 sends: 0 1 2 1 0 1
    counted = np.zeros((8, 2), dtype=np.uint64)
    counted[4] = (2, 120)
    counted[1] = (4, 3 * 70 + 80)
    assert not differences(stream, slots, 6, counted).any()
    counted[4] -= np.array([1, 60], dtype=np.uint64)
    counted[1, 0] += np.uint64(2)
    counted[7] = (1, 0)
    wrong = differences(stream, slots, 6, counted)
    assert wrong[4].tolist() == [-1, -60]
    assert wrong[1].tolist() == [2, 0]
    assert wrong[7].tolist() == [1, 0]
    assert np.count_nonzero(wrong.any(axis=1)) == 3
