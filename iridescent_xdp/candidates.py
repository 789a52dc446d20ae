# SPDX-License-Identifier: GPL-2.0-only
"""Before a search: look at the traffic, and say which values of which points are worth a try."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from iridescent_xdp.controller import Controller
from iridescent_xdp.observe import Lookers, Observation, observe
from iridescent_xdp.plan import Plan
from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.search.prediction import Prediction, hot_keys, narrowings
from iridescent_xdp.search.space import Space
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant

LOOK_S, LOOK_FOR_KEYS_S = 0.05, 0.3  # keys need more packets until the hot ones stand out
ENOUGH_LOOKS, WANTED_LOOKS = 250, 4000  # packets that were looked at
USUAL_NS = 100.0  # of generic code that was never timed; only predicted gains depend on it


def look_and_learn(controller: Controller) -> Observation:
    """Observe for a moment; the function learns what was hit and which keys are hot."""
    function = controller.plan.function
    before = function.hits(controller.state)
    seen = _look(controller)
    after = function.hits(controller.state)
    if before is not None and after is not None:
        function.learn(after - before)
    function.learn_keys(seen.keys)
    controller.changes.unsettled = True  # hot keys may be kept in a map, too
    controller.changes.settle()
    controller.events.tell(
        "observed", packets=seen.packets, heads=len(seen.heads), values=seen.values
    )
    return seen


def _look(controller: Controller) -> Observation:
    """One packet in 2^observe_shift is looked at; when that was too few, more of the next ones,
    and for longer: packets come in bursts, and a short look may fall between two."""
    plan = controller.plan
    shift = plan.generic["observe_shift"]
    seconds = LOOK_FOR_KEYS_S if any(t.hot for t in plan.template.tables) else LOOK_S
    lookers = _lookers(controller)
    while True:
        seen = observe(controller.board, lookers, controller.held_by, shift=shift, seconds=seconds)
        if not shift or seen.packets >> shift >= ENOUGH_LOOKS:
            return seen
        shift = max(0, min(shift - 1, (seen.packets // WANTED_LOOKS).bit_length() - 1))
        seconds = LOOK_FOR_KEYS_S


def _lookers(controller: Controller) -> Lookers:
    plan, builder, programs = controller.plan, controller.builder, controller.arm_programs
    template, observer = builder.helper("observer")
    watched, observing = (
        builder.variant(plan.function, plan.generic, role) for role in (Role.WATCHED, Role.OBSERVE)
    )
    return Lookers(
        watched=programs.load(watched, "watched"),
        observer=programs.load(observer, "observer", template=template),
        observing=programs.load(observing, "observing"),
    )


def predict(plan: Plan, seen: Observation, generic_ns: float = USUAL_NS) -> list[Prediction]:
    """What narrowings and numbers of hot keys should gain, best first of each point."""
    found = narrowings(plan.template.points, seen, generic_ns)
    point = _hot_point(plan.template.points)
    if point is not None:
        counts: Counter[bytes] = Counter()
        for keys in seen.keys.values():
            counts.update(keys)
        labels = [point.show(value) for value in point.domain]
        sizes = sorted(int(label) for label in labels if label.isdigit() and int(label))
        if counts and sizes:
            found += hot_keys(point.name, counts, sizes)
    return found


def _hot_point(points: Sequence[Point]) -> Point | None:
    """The point that says how many keys are compared, by its name."""
    return next((p for p in points if re.match(r"hot_", p.name)), None)


def space_of(controller: Controller, seen: Observation, predicted: Sequence[Prediction]) -> Space:
    """The operator's space without narrowings that are hopeless by what was observed, and without
    what the tables rule out."""
    plan = controller.plan
    observed = {
        p.name: seen.candidates(p)
        for p in plan.template.points
        if p.kind is PointKind.GENERIC and p.searched
    }
    whole = plan.space(observed)
    narrowing = {p.name for p in plan.template.points if p.point_class is PointClass.NARROWING}
    hopeless = {(p.point, p.value) for p in predicted if p.hopeless and p.point in narrowing}
    restrict = dict(plan.restrict)
    for name, axis in whole.axes.items():
        kept = _possible(plan, name, tuple(v for v in axis if (name, v) not in hopeless))
        if kept and kept != axis:
            restrict[name] = kept
    space = Space(
        points=plan.template.points, generic=plan.generic, restrict=restrict, observed=observed
    )
    controller.events.tell("space", size=space.size, axes=dict(space.axes))
    return space


def _possible(plan: Plan, name: str, values: tuple[int, ...]) -> tuple[int, ...]:
    """Without those that the tables rule out by themselves."""
    why, generic = plan.function.infeasible, plan.generic
    with plan.function.lock:
        return tuple(v for v in values if why(generic.with_values(**{name: v})) is None)


def most_specialized(
    plan: Plan, space: Space, predicted: Sequence[Prediction] = ()
) -> Sequence[Variant]:
    """The corner in which every narrowing is as narrow as the traffic allows, with as many hot keys
    as should gain most."""
    narrow: dict[str, int] = {}
    hot = _hot_point(plan.template.points)
    sizes = [p for p in predicted if hot is not None and p.point == hot.name and not p.hopeless]
    if hot is not None and sizes:
        narrow[hot.name] = hot.parse(str(max(sizes, key=lambda p: p.gain_ns).value))
    for point in plan.template.points:
        axis = [v for v in space.axes[point.name] if v != point.default]
        if point.point_class is PointClass.NARROWING and axis:
            narrow[point.name] = axis[0]
    return [plan.generic.with_values(**narrow)] if narrow else []
