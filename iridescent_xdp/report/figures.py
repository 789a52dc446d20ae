# SPDX-License-Identifier: GPL-2.0-only
"""Numbers that no event holds: what exploring cost, a phase's medians, what a shift changed.

The cost of exploring is packet-weighted. A trial in which arm *i* had ``n_i`` packets of ``t_i``
ns, and generic took ``t_g`` ns, took ``sum n_i (t_i - t_g)`` longer than generic alone would have,
of ``sum n_i t_g``. Both times contain the same two clock reads, which only makes the base larger.
Only packets that met an arm are counted: those that went past a trial are not in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from iridescent_xdp.report.kinds import Regret
from iridescent_xdp.report.model import Cost, Look, PhaseRow, Span, TrialSpan

TOLD_CHANGES = 4  # numbers of a signature that changed most
_LEAST = 1e-9


def cost_of(trials: Iterable[TrialSpan], regret: Regret | None, looks: Sequence[Look]) -> Cost:
    """Over all trials that generic took part in; the controller's own figures beside it."""
    packets, base, lost, net = 0, 0.0, 0.0, 0.0
    for trial in trials:
        packets += sum(arm.packets for arm in trial.arms)
        generic = trial.generic
        if generic is None:
            continue
        for arm in trial.arms:
            longer = arm.packets * (arm.time_ns - generic.time_ns)
            base += arm.packets * generic.time_ns
            net += longer
            lost += max(0.0, longer)
    return Cost(
        packets=packets,
        lost_pct=100 * lost / base if base else None,
        net_pct=100 * net / base if base else None,
        told_pct=regret.regret_pct if regret is not None else None,
        explored_share=_share(regret, looks),
    )


def _share(regret: Regret | None, looks: Sequence[Look]) -> float | None:
    if regret is not None and regret.explored_share is not None:
        return regret.explored_share
    told = (look.seen.share_explored for look in reversed(looks))
    return next((share for share in told if share is not None), None)


def phase_rows(
    phases: Iterable[Span], looks: Sequence[Look], lives: Sequence[Span]
) -> list[PhaseRow]:
    """Medians of the readings between the beginning and the end of each phase."""
    rows = []
    for phase in phases:
        seen = [x.seen for x in looks if phase.begin_s <= x.at_s < phase.end_s]
        rows.append(
            PhaseRow(
                name=phase.name,
                begin_s=phase.begin_s,
                end_s=phase.end_s,
                looks=len(seen),
                pps=_median(r.pps for r in seen),
                time_ns=_median(r.time_ns for r in seen),
                live=next((s.name for s in reversed(lives) if s.begin_s < phase.end_s), ""),
            )
        )
    return rows


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return median(there) if there else None


def changed(
    before: Mapping[str, object] | None, after: Mapping[str, object] | None
) -> dict[str, tuple[float, float]]:
    """The numbers of two signatures that differ most: shares by how much, others relatively."""
    first, second = _numbers(before), _numbers(after)
    pairs = {name: (first[name], second[name]) for name in first if name in second}
    differing = {n: _apart(*pair) for n, pair in pairs.items() if _apart(*pair) > _LEAST}
    ranking = sorted(differing, key=lambda name: -differing[name])
    return {name: pairs[name] for name in ranking[:TOLD_CHANGES]}


def _numbers(signature: Mapping[str, object] | None) -> dict[str, float]:
    """Nested dictionaries and lists become ``name.part``."""
    found: dict[str, float] = {}
    for name, value in (signature or {}).items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{part}": number for part, number in _numbers(value).items()}
        elif isinstance(value, list):
            found |= _numbers({f"{name}[{i}]": part for i, part in enumerate(value)})
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def _apart(a: float, b: float) -> float:
    return abs(a - b) / max(abs(a), abs(b), 1.0)
