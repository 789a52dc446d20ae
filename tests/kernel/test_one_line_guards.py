# SPDX-License-Identifier: GPL-2.0-only
"""Guards and hot keys in one line: verdicts, misses and notes, with both toolchains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.decision.nodes import Field, If, InRange, Result
from iridescent_xdp.functions.base import Compiled, Function
from iridescent_xdp.observe import keys_seen, values_seen
from iridescent_xdp.preflight import Sandbox
from iridescent_xdp.template import read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import generic_of

ARM = 3
XDP_DROP, XDP_PASS, XDP_TX = 1, 2, 3
# the first byte of a frame says what it is
SOURCE = """
#include "iridescent.h"
#include "cursor.h"

SPEC_RANGE(narrowing, depth, 2, 0, 2, "bits 0 and 1: looked at");
SPEC_RANGE(tuning, few, 0, 0, 1, "hot keys that are compared");
struct wanted { __u32 byte; };
SPEC_HOT(known, wanted, "verdict of a frequent byte");
MAP_PERCPU_ARRAY(counted, __u64, 1, "frames that got so far");

static __always_inline int count(int verdict)
{
	__u32 zero = 0;
	__u64 *all = bpf_map_lookup_elem(MAP(counted), &zero);

	if (all)
		*all += 1;
	return verdict;
}

static __always_inline int sort(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	__u8 *first = take(&at, 1);
	struct wanted key = {};
	__u32 missed, verdict;

	if (!first)
		return count(XDP_DROP);
	key.byte = *first;
	missed = SPEC_GUARD(depth, key.byte & 3, (key.byte & 3) > depth);
	if (!missed)
		missed = SPEC_ASSUMED(small, key.byte < 128, "no large ones");
	if (!missed)
		missed = SPEC_ONLY(only, key.byte & 0x70, "bits 4 to 6; 0: any");
	if (!missed)
		missed = SPEC_HANDLED(odd, key.byte & 8, "bit 3 is handled here");
	if (missed)
		return spec_miss(ctx, missed);
	if (SPEC_FOUND_HOT(few, known, &key, &verdict))
		return count(verdict);
	return count(key.byte & 8 ? XDP_DROP : XDP_PASS);
}
SPEC_PROGRAM(sort)
"""
HOT = 0x21  # a frame that the compiled keys give another verdict, so that it shows


class Sorter(Function):
    """One hot key."""

    def compile_tables(self, variant: Variant) -> Compiled:
        if not variant["few"]:
            return Compiled()
        test = InRange(Field("byte"), HOT, HOT)
        node = If(test, Result(XDP_TX), Result(0xFFFFFFFF))
        return Compiled(nodes={"known": node}, digest="one")


@pytest.fixture
def box(builder: Builder, tmp_path: Path) -> Iterator[Sandbox]:
    (tmp_path / "sort.bpf.c").write_text(SOURCE)
    function = Sorter(read_template(tmp_path / "sort.bpf.c"))
    with closing(Sandbox(builder, function, generic_of(function))) as made:
        yield made


def results(
    builder: Builder, box: Sandbox, role: Role, **points: int
) -> tuple[dict[int, int], dict[str, int]]:
    """Verdicts of all 256 frames by first byte, and the misses by point."""
    box.state["arm_stats"].zero(ARM)
    box.state["counted"].zero()
    variant = generic_of(box.function).with_values(**points)
    insns = builder.variant(box.function, variant, role)
    with box.state.load(insns, "sort", arm=ARM) as program:
        verdicts = {byte: program.run(bytes([byte, *[0] * 20])).verdict for byte in range(256)}
    rows = box.state["arm_stats"].read(ARM)
    assert rows is not None
    counts = rows["misses"].sum(axis=0)
    names = [point.name for point in box.function.template.points]
    assert counted(box) == 256, "each frame is counted once, whichever way it went"
    return verdicts, {name: int(n) for name, n in zip(names, counts, strict=False) if n}


def counted(box: Sandbox) -> int:
    values = box.state["counted"].contents()
    (raw,) = values.values()
    return sum(int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8))


BYTES = range(256)
EXPECTED = {byte: XDP_DROP if byte & 8 else XDP_PASS for byte in BYTES}


def test_the_generic_variant_misses_nothing(builder: Builder, box: Sandbox) -> None:
    assert results(builder, box, Role.STEADY) == (EXPECTED, {})


@pytest.mark.parametrize(
    ("points", "missing"),
    [
        ({"depth": 1}, {"depth": [b for b in BYTES if b & 3 > 1]}),
        ({"small": 1}, {"small": [b for b in BYTES if b >= 128]}),
        ({"only": 0x20}, {"only": [b for b in BYTES if b & 0x70 != 0x20]}),
        ({"odd": 0}, {"odd": [b for b in BYTES if b & 8]}),
        (
            {"small": 1, "odd": 0},  # the first guard that a frame breaks counts it
            {"small": [b for b in BYTES if b >= 128], "odd": [b for b in BYTES if b & 136 == 8]},
        ),
    ],
)
def test_who_breaks_an_assumption_is_counted_and_decided_as_ever(
    builder: Builder, box: Sandbox, points: dict[str, int], missing: dict[str, list[int]]
) -> None:
    verdicts, misses = results(builder, box, Role.STEADY, **points)
    assert verdicts == EXPECTED
    assert misses == {name: len(frames) for name, frames in missing.items()}


def test_hot_keys_are_asked_first_and_a_miss_goes_on(builder: Builder, box: Sandbox) -> None:
    verdicts, misses = results(builder, box, Role.STEADY, few=1)
    assert verdicts == {**EXPECTED, HOT: XDP_TX}
    assert misses == {"few": 255}


def test_what_is_noted_before_a_search(builder: Builder, box: Sandbox) -> None:
    verdicts, misses = results(builder, box, Role.OBSERVE)
    assert (verdicts, misses) == (EXPECTED, {})
    assert values_seen(box.state) == {
        "depth": dict.fromkeys(range(4), 64),
        "small": {0: 128, 1: 128},
        "only": {n << 4: 32 for n in range(8)},
        "odd": {0: 128, 1: 128},
    }
    assert keys_seen(box.state) == {"known": {bytes([b, 0, 0, 0]): 1 for b in BYTES}}
