# SPDX-License-Identifier: GPL-2.0-only
"""`bench adapt`, whole runs: the controller against who knows each phase beforehand, against the
best variant that never changes, and against the generic code.

What is compared is the CPU time that the receiving thread takes for a packet, over whole phases of
the controller's run: looks, searches, swaps and all. References are measured on the same testbed,
from the same sender, by turns: before the run and after it, so that a machine that became slower
meanwhile is in the figures of both. The best of many is lucky: who is the best is chosen by one
half of the rounds, and timed by the other, both ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from iridescent_xdp.bench.adapt_bed import Bed, Played
from iridescent_xdp.bench.adapt_rivals import Rivals, Turns, play_turns
from iridescent_xdp.bench.adapt_search import SUITE, Points, Regrets, few, shortened
from iridescent_xdp.bench.adapt_shifts import note_all
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.builder import Builder
from iridescent_xdp.statistics import CONFIDENCE, Effect
from traffic.scenario import Scenario, load_scenario

EMPTY, GENERIC = "empty", "generic"
BEFORE, AFTER, AROUND = (16, 2), (16, 2), 24  # rounds of the references; in the short form
DRAWS = (2000, 100)
IN_THE_TRIE: Points = {  # and hot keys compiled in: what never changes holds those of its time
    "lookup": ("trie",),
    "hot_keys": ("0", "1", "4", "16", "64"),
}
FEW_KEYS: Points = {"hot_keys": ("0", "16"), "checksum_update": ("incremental",)}
QUICK_S = 0.7


def phases(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    """Five phases with different best variants; phases that hurt whoever specializes (not in the
    short form: the same is done there)."""
    results = _five_phases(builder, options, regrets)
    return results if options.quick else results + _adversarial(builder, options, regrets)


@dataclass(frozen=True, kw_only=True)
class _Whole:
    """Whole runs: ns per packet of each phase, of the controller and by turns of the references."""

    played: Played
    before: Sequence[Turns]
    after: Sequence[Turns]

    @property
    def controller(self) -> np.ndarray:
        """By phase."""
        return np.array(self.played.phase_ns)

    def halves(self) -> tuple[_Whole, _Whole]:
        """By every second round of the references each."""
        one, other = (
            replace(
                self,
                before=[turns.half(odd) for turns in self.before],
                after=[turns.half(odd) for turns in self.after],
            )
            for odd in (False, True)
        )
        return one, other

    def references(self, rng: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """By program and phase: its time over that of generic, of the turns after the run, times
        what generic took before and after it. ``rng`` draws the turns anew."""
        found: dict[str, list[float]] = {name: [] for name in self.after[0].ns}
        for before, after in zip(self.before, self.after, strict=True):
            once, twice = before.means(rng), after.means(rng)
            generic_ns = (once[GENERIC] + twice[GENERIC]) / 2
            for name, ns in twice.items():
                found[name].append(ns / twice[GENERIC] * generic_ns)
        return {name: np.array(values) for name, values in found.items()}


# -- five phases ---------------------------------------------------------------------------


def _five_phases(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    scenario = _shortened(load_scenario("five_phases"), options)
    points = IN_THE_TRIE | (FEW_KEYS if options.quick else {})
    case = Case(suite=SUITE, name=scenario.name)
    with (
        Bed(builder, scenario, seed=scenario.seed, threaded=True, points=points) as bed,
        Rivals(bed, scenario) as rivals,
    ):
        if not options.quick:
            rivals.find(options)
        before = play_turns(bed, rivals.programs, scenario, options.pick(*BEFORE))
        played = bed.adapt(at_end=rivals.keep_live)
        after = play_turns(bed, rivals.programs, scenario, options.pick(*AFTER))
    note_all(played.events, regrets)
    whole = _Whole(played=played, before=before, after=after)
    _tell(whole, scenario, options)
    return [
        *_shares(case, whole, options),
        case.count("rivals", "programs", len(rivals.programs) - 1, 1),
        case.count("seed", "first", scenario.seed, 1),
    ]


def _shortened(scenario: Scenario, options: Options) -> Scenario:
    """For the short form: two short phases."""
    if not options.quick:
        return scenario
    phases = tuple(replace(phase, seconds=QUICK_S) for phase in scenario.phases[:2])
    return replace(shortened(scenario, options), phases=phases)


def _shares(case: Case, whole: _Whole, options: Options) -> list[Result]:
    """The oracle's and the best fixed variant's time over the controller's; of the thread, and of
    the program alone: less what the thread takes for a packet that an empty program drops."""
    results = []
    for suffix, floor in (("", False), ("_program", True)):
        found = _drawn(whole, floor, options)
        results += [case.of(f"{name}{suffix}", effect) for name, effect in found.items()]
    return results


def _drawn(whole: _Whole, floor: bool, options: Options) -> dict[str, Effect]:
    rng, (one, other) = np.random.default_rng(0), whole.halves()
    pairs = [(_choose(a.references()), b) for a, b in ((one, other), (other, one))]

    def figures(rng: np.random.Generator | None = None) -> dict[str, float]:
        both = [_figures(b, b.references(rng), chosen, floor) for chosen, b in pairs]
        return {name: fmean(found[name] for found in both) for name in both[0]}

    value, draws = figures(), [figures(rng) for _ in range(options.pick(*DRAWS))]
    n = sum(turns.rounds for turns in whole.after)
    return {name: _effect(value[name], [draw[name] for draw in draws], n) for name in value}


def _choose(references: Mapping[str, np.ndarray]) -> tuple[list[str], str]:
    """The best program of each phase, and the one that is best over all of them."""
    real = {name: ns for name, ns in references.items() if name != EMPTY}
    names = list(real)
    table = np.array([real[name] for name in names])
    each = [names[int(row)] for row in table.argmin(axis=0)]
    return each, names[int(table.mean(axis=1).argmin())]


def _figures(
    whole: _Whole, references: Mapping[str, np.ndarray], chosen: tuple[list[str], str], floor: bool
) -> dict[str, float]:
    """Equal packets in each phase: means over the phases."""
    each, fixed = chosen
    base = references[EMPTY].mean() if floor else 0.0
    controller = whole.controller.mean() - base
    best = float(np.mean([references[name][place] for place, name in enumerate(each)])) - base
    return {
        "oracle_share": best / controller,
        "vs_fixed": (references[fixed].mean() - base) / controller,
        "vs_generic": (references[GENERIC].mean() - base) / controller,
    }


def _effect(value: float, draws: Sequence[float], n: int) -> Effect:
    tails = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    low, high = min(value, float(tails[0])), max(value, float(tails[1]))
    return Effect(value=value, low=low, high=high, n=n, unit="ratio")


def _tell(whole: _Whole, scenario: Scenario, options: Options) -> None:
    """Phase by phase, so that a miss has its reason."""
    references = whole.references()
    each, fixed = _choose(references)
    for place, phase in enumerate(scenario.phases):
        drift = whole.after[place].means()[GENERIC] / whole.before[place].means()[GENERIC]
        options.tell(
            f"adapt: {scenario.name}: {phase.name}: controller {whole.controller[place]:.1f} ns, "
            f"generic {references[GENERIC][place]:.1f} ns (after the run {drift - 1:+.1%}), best "
            f"{references[each[place]][place]:.1f} ns ({each[place]}), "
            f"empty {references[EMPTY][place]:.1f} ns"
        )
    options.tell(f"adapt: {scenario.name}: the best fixed variant is {fixed}")


# -- adversarial ---------------------------------------------------------------------------


def _adversarial(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    scenario = load_scenario("adversarial")
    case = Case(suite=SUITE, name=scenario.name)
    with (
        Bed(builder, scenario, seed=scenario.seed, threaded=True, points=few(options)) as bed,
        Rivals(bed, scenario) as rivals,
    ):
        before = play_turns(bed, rivals.programs, scenario, AROUND)
        played = bed.adapt()
        after = play_turns(bed, rivals.programs, scenario, AROUND)
    note_all(played.events, regrets)
    whole = _Whole(played=played, before=before, after=after)
    _tell(whole, scenario, options)
    results = []
    for suffix, floor in (("", False), ("_program", True)):
        results.append(case.of(f"vs_generic{suffix}", _drawn(whole, floor, options)["vs_generic"]))
    searches = sum(e["event"] == "search_begins" for e in played.events)
    return [
        *results,
        case.count("searches", "", searches, 1),
        case.count("seed", "first", scenario.seed, 1),
    ]
