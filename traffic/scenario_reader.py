# SPDX-License-Identifier: GPL-2.0-only
"""From the tables of a scenario file to a Scenario; every mistake in it is told at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from iridescent_xdp.config.check import KeyHints, checked, table
from iridescent_xdp.config.points import read_policy
from iridescent_xdp.config.problems import KeyPath, Problems, show_path, show_value
from iridescent_xdp.errors import ConfigError, TrafficError
from iridescent_xdp.functions.rules import Rule
from traffic.mix_spec import Mix
from traffic.scenario_changes import TableChange, read_change, tables_after
from traffic.scenario_model import Phase, Scenario
from traffic.scenario_spec import (
    BASES,
    MAX_PHASES,
    ExtraSection,
    FunctionName,
    MixSection,
    PhaseSection,
    ScenarioSection,
)
from traffic.scenario_streams import Part, check_room
from traffic.scenario_tables import TableSource, fitting, read_tables

Keys = Mapping[str, Any]
_TABLES = ("tables", "policy", "mix", "phase")
_PHASE_TABLES = ("mix", "extra", "changes")
_NOT_OF_MIX = ("first", "tcp", "share", "hot")
_SEE = "see docs/scenarios.md"


def read_scenario(document: dict[str, Any], problems: Problems) -> Scenario:
    """Check a scenario that is already parsed. Raises ConfigFileError, which lists everything
    that is wrong."""
    shared = {key: value for key, value in document.items() if key not in _TABLES}
    advice = {key: "it belongs in [[phase]]" for key in PhaseSection.model_fields if key != "name"}
    advice |= dict.fromkeys(MixSection.model_fields, "it belongs in [mix] or [phase.mix]")
    hints = KeyHints(known=_TABLES, advice=advice)
    section = checked(ScenarioSection, shared, (), problems, hints)
    problems.raise_if_any()  # without its function nothing else can be read
    assert section is not None
    reader = _Reader(section, read_tables(document.get("tables", {}), section.function, problems))
    reader.problems = problems
    policy = read_policy(document.get("policy", {}), ("policy",), problems, searched={}, derived=())
    base = reader.mix(document.get("mix", {}), ("mix",), BASES[section.function])
    phases = reader.phases(document.get("phase", []), base)
    problems.raise_if_any()
    _check_changes(reader.source, section.rounds, phases, problems)
    problems.raise_if_any()
    return Scenario(
        name=section.name,
        description=section.description,
        path=problems.file,
        function=section.function,
        seed=section.seed,
        policy=policy,
        source=reader.source,
        phases=_rounds(phases, section.rounds),
    )


def _rounds(phases: list[Phase], rounds: int) -> tuple[Phase, ...]:
    """All rounds; names say which from the second on."""
    return tuple(
        replace(phase, name=f"{phase.name} ({number})") if number > 1 else phase
        for number in range(1, rounds + 1)
        for phase in phases
    )


def _check_changes(
    source: TableSource, rounds: int, phases: list[Phase], problems: Problems
) -> None:
    """Whether each change fits the tables that those before it have made."""
    if not any(phase.changes for phase in phases):
        return
    tables = source.tables()
    for phase in phases * rounds:
        for change in phase.changes:
            try:
                tables = tables_after(tables, [change])
            except ConfigError as error:
                what = f"{change.what} at {change.at_s} s of '{phase.name}': {error.message}"
                problems.add(("phase",), what, error.cure or _SEE)
                return


class _Reader:
    """What the phases of one file have in common."""

    problems: Problems

    def __init__(self, section: ScenarioSection, source: TableSource) -> None:
        self.section = section
        self.source = source
        self.function: FunctionName = section.function
        self._hits: dict[tuple[int | None, str], tuple[Rule, ...]] = {}

    def phases(self, raw: object, base: Keys) -> list[Phase]:
        """All phases of one round; those with a mistake are left out."""
        at: KeyPath = ("phase",)
        if not isinstance(raw, list) or not raw:
            what = "is missing" if raw == [] else f"must be a list of tables, got {show_value(raw)}"
            self.problems.add(at, what, 'add [[phase]] with name = "all" and seconds = 10')
            return []
        found: list[Phase] = []
        names: dict[str, int] = {}
        for place, item in enumerate(raw):
            made = self._phase(item, (*at, place), base)
            found += made
            for name in {phase.name.rpartition(" hot ")[0] or phase.name for phase in made}:
                if names.setdefault(name, place) != place:
                    what = f"is the name of phase[{names[name]}] too, got {show_value(name)}"
                    self.problems.add((*at, place, "name"), what, "give each phase its own name")
        if len(found) * self.section.rounds > MAX_PHASES:
            what = f"at most {MAX_PHASES} phases in all rounds, got "
            what += str(len(found) * self.section.rounds)
            self.problems.add(at, what, "use fewer rounds, or shorter lists in `hot`")
        return found

    def _phase(self, raw: object, at: KeyPath, base: Keys) -> list[Phase]:
        """One phase for each hot set."""
        keys = table(raw, at, self.problems)
        if keys is None:
            return []
        shared = {key: value for key, value in keys.items() if key not in _PHASE_TABLES}
        advice = dict.fromkeys(MixSection.model_fields, "it belongs in [phase.mix]")
        hints = KeyHints(known=_PHASE_TABLES, advice=advice)
        section = checked(PhaseSection, shared, at, self.problems, hints)
        mix = self.mix(keys.get("mix", {}), (*at, "mix"), base)
        extras = self._extras(keys.get("extra", []), (*at, "extra"), base)
        seconds = section.seconds if section else None
        changes = self._changes(keys.get("changes", []), (*at, "changes"), seconds)
        if section is None:
            return []
        before = len(self.problems.lines)
        phases: list[Phase] = []
        for hot in section.hot:
            parts = self._parts(mix, extras, hot, at)
            if len(self.problems.lines) > before:
                return []
            name = section.name if len(section.hot) == 1 else f"{section.name} hot {hot}"
            phases.append(
                Phase(
                    name=name,
                    seconds=float(section.seconds),
                    rate=float(section.rate),
                    hot=hot,
                    parts=parts,
                    changes=tuple(changes),
                )
            )
        return phases

    # -- traffic ---------------------------------------------------------------------------

    def mix(self, raw: object, at: KeyPath, base: Keys) -> dict[str, Any]:
        """The keys of ``base`` and, before them, those of ``raw``."""
        keys = table(raw, at, self.problems)
        made = checked(MixSection, keys, at, self.problems) if keys is not None else None
        return {**base, **(made.model_dump(exclude_unset=True) if made else {})}

    def _extras(self, raw: object, at: KeyPath, base: Keys) -> list[dict[str, Any]]:
        if not isinstance(raw, list):
            what = f"must be a list of tables, got {show_value(raw)}"
            self.problems.add(at, what, f"write it with two brackets: [[{show_path(at)}]]")
            return []
        found: list[dict[str, Any]] = []
        for place, item in enumerate(raw):
            keys = table(item, (*at, place), self.problems)
            if keys is None:
                continue
            made = checked(ExtraSection, keys, (*at, place), self.problems)
            if made is not None:
                found.append({**base, **made.model_dump(exclude_unset=True)})
        if sum(extra["share"] for extra in found) >= 1:
            what = "leaves nothing for the phase's mix: the shares add up to 1 or more"
            self.problems.add(at, what, "use smaller shares")
        return found

    def _parts(
        self, mix: Keys, extras: list[dict[str, Any]], hot: int, at: KeyPath
    ) -> tuple[Part, ...]:
        rest = 1 - sum(extra["share"] for extra in extras)
        made = [(rest, self._mix(mix, hot, 0, (*at, "mix")))]
        for place, extra in enumerate(extras):
            own = extra.get("hot", hot)
            made.append((extra["share"], self._mix(extra, own, place + 1, (*at, "extra", place))))
        parts = tuple(Part(share=share, mix=mix) for share, mix in made if mix is not None)
        try:
            check_room(parts)
        except TrafficError as error:
            self.problems.add(at, error.message, error.cure)
        return parts

    def _mix(self, keys: Keys, hot: int, part: int, at: KeyPath) -> Mix | None:
        """``keys`` as a Mix that meets the tables; ``hot`` and ``part`` choose its flows."""
        own = MixSection.model_validate({}).model_dump() | dict(keys)
        first, tcp = own["first"], own["tcp"]
        if self.function == "filter" and tcp == "syn":
            what = 'must be "established" for the filter: its rules say which TCP flags they want'
            self.problems.add((*at, "tcp"), what, "remove it")
            return None
        if first is not None and first > self.source.size():
            what = f"the tables have {self.source.size()} entries, got {first}"
            self.problems.add((*at, "first"), what, "use fewer, or remove it")
            return None
        if (first, tcp) not in self._hits:
            self._hits[first, tcp] = self.source.hits(first, tcp)
        hits = self._hits[first, tcp]
        if self.function == "filter":
            hits = fitting(hits, own["protocol_shares"], own["ipv6_share"])
        if not hits:
            own["default_share"] = 0.0
            if tcp == "syn" and self.source.size():
                what = 'must be "established": none of these services is TCP'
                self.problems.add((*at, "tcp"), what, "use a greater `first`")
        values = {key: value for key, value in own.items() if key not in _NOT_OF_MIX}
        seed = (self.section.seed * 10_000 + hot) * 16 + part
        try:
            return Mix(**values, name=self.section.name, hits=hits, seed=seed)
        except TrafficError as error:
            self.problems.add(at, error.message.partition(": ")[2] or error.message, _SEE)
        return None

    # -- changes ---------------------------------------------------------------------------

    def _changes(self, raw: object, at: KeyPath, seconds: float | None) -> list[TableChange]:
        if not isinstance(raw, list):
            what = f"must be a list of tables, got {show_value(raw)}"
            self.problems.add(at, what, f"write it with two brackets: [[{show_path(at)}]]")
            return []
        tables = self.source.tables() if raw else None
        found: list[TableChange] = []
        for place, item in enumerate(raw):
            assert tables is not None
            made = read_change(item, (*at, place), self.function, tables, self.problems)
            if made is None:
                continue
            found.append(made)
            if seconds is not None and made.at_s > seconds:
                what = f"is after the phase, which takes {seconds} s, got {made.at_s}"
                self.problems.add((*at, place, "at_s"), what, f"use at most {seconds}")
        return sorted(found, key=lambda change: change.at_s)
