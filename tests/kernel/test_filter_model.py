# SPDX-License-Identifier: GPL-2.0-only
"""The filter against the packet model: what becomes of each packet, and where it is counted.

The model (tests/unit/packet_model.py) shares nothing with the template. Packets for which it
says the same are run together, then the counters must tell of exactly these packets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import Function
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.preflight import Sandbox
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import Counted, corners, counted, filter_function, generic_of
from tests.kernel.packets import SCENES, expected
from tests.unit.packet_model import Decision

VERDICT = {"drop": 1, "pass": 2}  # XDP_DROP, XDP_PASS
MOST_CORNERS = 5


@contextmanager
def scene(builder: Builder, name: str) -> Iterator[tuple[Sandbox, Function, Variant]]:
    function = filter_function(SCENES[name].tables)
    points = {point.name: point for point in function.template.points}
    policy = {key: points[key].parse(value) for key, value in SCENES[name].policy.items()}
    generic = generic_of(function, **policy)
    with closing(Sandbox(builder, function, generic)) as sandbox:
        yield sandbox, function, generic


def difference(sandbox: Sandbox, program: Program, groups: dict[Decision, list[bytes]]) -> str:
    """The first packet that is not decided or counted as the model says; "" if all are."""
    runner = program.runner()
    for (slot, verdict), frames in groups.items():
        sandbox.reset()
        for data in frames:
            found = runner.run(data)
            if found.verdict != VERDICT[verdict] or found.data != data:
                return f"verdict {found.verdict}, model: {verdict} in slot {slot}: {data.hex()}"
        told, wanted = counted(sandbox.state), wanted_counts(slot, verdict, frames)
        if told != wanted:
            return f"{told}, model: {wanted}: {culprit(sandbox, program, slot, verdict, frames)}"
    return ""


def wanted_counts(slot: int, verdict: str, frames: Sequence[bytes]) -> Counted:
    hits = (len(frames), sum(map(len, frames)))
    return Counted({verdict: hits}, {slot: hits})


def culprit(
    sandbox: Sandbox, program: Program, slot: int, verdict: str, frames: Sequence[bytes]
) -> str:
    for data in frames:
        sandbox.reset()
        program.run(data)
        if counted(sandbox.state) != wanted_counts(slot, verdict, [data]):
            return data.hex()
    return "all of them together only"


@pytest.mark.parametrize("name", SCENES)
def test_generic_and_specialized_programs_do_as_the_model(builder: Builder, name: str) -> None:
    groups = expected(name)
    with scene(builder, name) as (sandbox, function, generic):
        assert difference(sandbox, sandbox.generic, groups) == ""
        for variant in corners(function, generic)[:MOST_CORNERS]:
            if builder.infeasible(function, variant) is not None:
                continue
            insns = builder.variant(function, variant, Role.STEADY)
            with sandbox.state.load(insns, f"v_{variant.key}") as program:
                told = difference(sandbox, program, groups)
            label = variant.label(function.template.points, generic)
            assert told == "", f"{label}: {told}"


def test_the_scenes_ask_enough() -> None:
    decisions = {name: expected(name) for name in SCENES}
    packets = sum(len(frames) for groups in decisions.values() for frames in groups.values())
    assert packets >= 10_000
    slots = {slot for groups in decisions.values() for slot, _ in groups}
    assert slots >= set(range(1024, 1031))  # every slot that is not a rule
    for name in ("random", "mixed", "checksums"):
        hit = {slot for slot, _ in decisions[name] if slot < 1024}
        assert len(hit) >= 15, f"{name}: only rules {sorted(hit)} decide about a packet"
    for slot in (1025, 1026):
        assert len(decisions["wide sets"][(slot, "pass" if slot == 1025 else "drop")]) >= 100
        assert len(decisions["exact sets"][(slot, "pass" if slot == 1025 else "drop")]) >= 100


def test_hash_layout_is_tried_with_exact_sets_only() -> None:
    tried = {}
    trie, exact, *compiled = range(len(filter_function().template.point("set_layout").domain))
    for name in ("wide sets", "exact sets"):
        function = filter_function(SCENES[name].tables)
        chosen = corners(function, generic_of(function))[:MOST_CORNERS]
        tried[name] = {variant["set_layout"] for variant in chosen}
    assert tried["wide sets"] <= {trie, *compiled} and compiled
    assert tried["exact sets"] <= {trie, exact, *compiled}
    assert exact in tried["exact sets"]
