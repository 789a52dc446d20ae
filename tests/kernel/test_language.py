# SPDX-License-Identifier: GPL-2.0-only
"""What the template language promises at run time: roles, guards, statistics, maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import Function
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.observe import forget_seen, packets_watched, values_seen, watch_one_in
from iridescent_xdp.preflight import Sandbox
from iridescent_xdp.state import State
from iridescent_xdp.statistics import bucket_of
from iridescent_xdp.switchboard import FALLBACK, OBSERVER
from iridescent_xdp.template import read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import filter_function, generic_of, packets_per_slot, per_cpu_sum
from tests.kernel.live import udp

ARM, OTHER_ARM = 5, 6
SAMPLE_SHIFT = 2  # one packet in four is timed
PLAIN, TAGGED = udp("172.16.0.1", 99), udp("172.16.0.1", 99, tags=1)
DEFAULT = 1024
XDP_DROP = 1

BUCKETS = """
#include "iridescent.h"
MAP_ARRAY(result, __u32, 1, "what spec_bucket said");

static __always_inline int ask(struct xdp_md *ctx)
{
	const __u64 *ns = (void *)(long)ctx->data + 16;

	if ((void *)(ns + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	*MAP_VALUE(result) = spec_bucket(*ns);
	return XDP_PASS;
}
SPEC_PROGRAM(ask)
"""
DIALECT = """
#include "iridescent.h"
struct pair { __u32 a; __u32 b; };
struct prefix { __u32 length; __u8 address[4]; };
MAP_HASH(table, struct pair, __u64, 16, "counts per pair");
MAP_LRU_HASH(recent, __u32, __u32, 64, "last seen");
MAP_PERCPU_HASH(each, __u32, __u64, 16, "per CPU");
MAP_LPM_TRIE(routes, struct prefix, __u32, 16, "next hop");
MAP_ARRAY(plain, struct pair, 1, "an array");

static __always_inline void bump(__u64 *value)
{
	if (value)
		*value += 1;
}
#define HIT(map, key) bump(bpf_map_lookup_elem(MAP(map), key)) /* a map call inside a macro */

static __always_inline int maps(struct xdp_md *ctx)
{
	struct pair pair = { .a = 7, .b = 9 };
	struct prefix to = { .length = 32, .address = { 10, 1, 2, 3 } };
	__u32 key = 3, *hop = bpf_map_lookup_elem(MAP(routes), &to);

	HIT(table, &pair);
	HIT(each, &key);
	bpf_map_update_elem(MAP(recent), &key, &pair.b, BPF_ANY);
	MAP_VALUE(plain)->b = hop ? *hop : 0;
	return bpf_map_delete_elem(MAP(table), &key) ? XDP_PASS : XDP_DROP;
}
SPEC_PROGRAM(maps)
"""


@pytest.fixture
def sandbox(builder: Builder) -> Iterator[Sandbox]:
    """The filter that drops by default, generic code in its measured role behind the guards."""
    function = filter_function()
    with closing(Sandbox(builder, function, generic(function))) as made:
        code = builder.variant(function, generic(function), Role.FALLBACK)
        with made.state.load(code, "fallback") as fallback:
            made.state["slots"].write(FALLBACK, fallback.fd.to_bytes(4, "little"))
            yield made


def generic(function: Function) -> Variant:
    return generic_of(function, default_action=1, sample_shift=SAMPLE_SHIFT)


def load(builder: Builder, sandbox: Sandbox, role: Role, arm: int = ARM, **points: int) -> Program:
    variant = generic(sandbox.function).with_values(**points)
    return sandbox.state.load(builder.variant(sandbox.function, variant, role), "p", arm=arm)


def run(program: Program, frames: Sequence[bytes]) -> None:
    for data in frames:
        assert program.run(data).verdict == XDP_DROP


def stats(sandbox: Sandbox, member: str, arm: int = ARM) -> int:
    return per_cpu_sum(sandbox.state, "arm_stats", member, arm)


def misses(sandbox: Sandbox, point: str, arm: int = ARM) -> int:
    names = [p.name for p in sandbox.function.template.points]
    rows = sandbox.state["arm_stats"].read(arm)
    assert rows is not None
    return int(rows["misses"].sum(axis=0)[names.index(point)])


def test_an_arm_is_counted_and_sampled(builder: Builder, sandbox: Sandbox) -> None:
    with load(builder, sandbox, Role.ARM) as program:
        run(program, [PLAIN] * 31)
    assert stats(sandbox, "packets") == 31
    assert stats(sandbox, "bytes") == 31 * len(PLAIN)
    assert stats(sandbox, "histogram") == 8  # packets 0, 4, 8, .. 28
    rows = sandbox.state["arm_stats"].read(ARM)
    assert rows is not None and rows["verdicts"].sum(axis=0).tolist() == [0, 31, *[0] * 6]
    assert packets_per_slot(sandbox.state) == {DEFAULT: 31}


def test_a_missed_guard_is_counted_and_the_generic_code_decides(
    builder: Builder, sandbox: Sandbox
) -> None:
    with load(builder, sandbox, Role.ARM, vlan_depth=0) as program:
        run(program, [PLAIN, TAGGED, TAGGED, PLAIN, TAGGED] * 3)
    assert (misses(sandbox, "vlan_depth"), stats(sandbox, "misses")) == (9, 9)
    assert (stats(sandbox, "packets"), stats(sandbox, "verdicts")) == (15, 15)
    assert stats(sandbox, "histogram") == 4  # packets 0, 4, 8, 12, of which 4 and 12 missed
    assert packets_per_slot(sandbox.state) == {DEFAULT: 15}  # each once, none twice


def test_a_packet_that_comes_from_no_arm_is_in_no_arms_figures(
    builder: Builder, sandbox: Sandbox
) -> None:
    """While a search has a share of the traffic only, the rest enters the fallback directly."""
    fallback = load(builder, sandbox, Role.FALLBACK)
    with load(builder, sandbox, Role.ARM, vlan_depth=0) as program, fallback:
        run(fallback, [PLAIN] * 3)
        assert [stats(sandbox, "verdicts", arm) for arm in (0, ARM)] == [0, 0]
        run(program, [TAGGED])
        run(fallback, [PLAIN] * 7)
    assert (stats(sandbox, "verdicts"), stats(sandbox, "histogram")) == (1, 1)
    assert packets_per_slot(sandbox.state) == {DEFAULT: 11}


def test_steady_code_counts_its_misses_only(builder: Builder, sandbox: Sandbox) -> None:
    with load(builder, sandbox, Role.STEADY, OTHER_ARM, vlan_depth=0) as program:
        run(program, [PLAIN, TAGGED, TAGGED])
    assert misses(sandbox, "vlan_depth", OTHER_ARM) == 2
    assert (stats(sandbox, "packets", OTHER_ARM), stats(sandbox, "histogram", OTHER_ARM)) == (0, 0)
    assert packets_per_slot(sandbox.state) == {DEFAULT: 3}


def test_observing_notes_what_points_would_need(builder: Builder, sandbox: Sandbox) -> None:
    rare = PLAIN[:23] + bytes([132]) + PLAIN[24:]  # SCTP's number is not a small value
    with load(builder, sandbox, Role.OBSERVE) as program:
        run(program, [PLAIN, TAGGED, udp("172.16.0.1", 99, tags=2), PLAIN, rare, rare])
    wanted = {"vlan_depth": {0: 4, 1: 1, 2: 1}, "only_protocol": {17: 4, 132: 2}}
    assert values_seen(sandbox.state) == wanted | {"no_ip_options": {1: 6}, "no_fragments": {1: 6}}
    assert packets_per_slot(sandbox.state) == {DEFAULT: 6}
    forget_seen(sandbox.state)
    assert not values_seen(sandbox.state)


def test_watched_code_decides_as_generic_and_sends_one_packet_in_so_many_to_the_observer(
    builder: Builder, sandbox: Sandbox
) -> None:
    watch_one_in(sandbox.state, 2)
    with (
        load(builder, sandbox, Role.WATCHED) as watched,
        load(builder, sandbox, Role.STEADY) as steady,
        load(builder, sandbox, Role.OBSERVE) as observing,
    ):
        wanted = [steady.run(frame).verdict for frame in (PLAIN, TAGGED)]
        assert [watched.run(frame).verdict for frame in (PLAIN, TAGGED)] == wanted
        sandbox.state["slots"].write(OBSERVER, observing.fd.to_bytes(4, "little"))
        for count, watched_by_now, looked_at in ((10, 12, 2), (6, 18, 4)):  # 3 to 12, 13 to 18
            run(watched, [PLAIN] * count)
            assert packets_watched(sandbox.state) == watched_by_now
            assert values_seen(sandbox.state)["vlan_depth"] == {0: looked_at}  # 3, 4, 17, 18


def loaded(builder: Builder, folder: Path, name: str, text: str) -> tuple[State, Program]:
    path = folder / f"{name}.bpf.c"
    path.write_text(text)
    function = Function(read_template(path))
    state = State.create(function.template)
    generic_code = Variant.generic(function.template.points)
    return state, state.load(builder.variant(function, generic_code, Role.STEADY), name)


def test_time_buckets_are_those_of_the_statistics(builder: Builder, tmp_path: Path) -> None:
    edges = {(1 << power) + step for power in range(63) for step in (-1, 0, 1)}
    times = sorted({*range(0, 600, 7), *(512 + 16 * n for n in range(64)), *edges})
    state, program = loaded(builder, tmp_path, "ask", BUCKETS)
    with closing(state), program:
        for ns in times:
            assert program.run(bytes(16) + ns.to_bytes(8, "little") + bytes(40)).verdict == 2
            value = state["result"].read()
            assert value is not None
            assert int.from_bytes(value.tobytes(), "little") == bucket_of(ns), f"{ns} ns"


def test_one_dialect_for_every_kind_of_map(builder: Builder, tmp_path: Path) -> None:
    state, program = loaded(builder, tmp_path, "maps", DIALECT)
    pair, three = (7).to_bytes(4, "little") + (9).to_bytes(4, "little"), (3).to_bytes(4, "little")
    with closing(state), program:
        state["table"].write(pair, bytes(8))
        state["each"].write(three, bytes(8))
        state["routes"].write((8).to_bytes(4, "little") + bytes([10, 0, 0, 0]), three)
        assert program.run(PLAIN).verdict == 2  # there is no such pair to delete
        assert state["table"].contents() == {pair: (1).to_bytes(8, "little")}
        assert state["recent"].contents() == {three: (9).to_bytes(4, "little")}
        each = state["each"].read(three)
        assert each is not None and int(np.frombuffer(each.tobytes(), "<u8").sum()) == 1
        plain = state["plain"].read(0)
        assert plain is not None and int(plain["b"][0]) == 3
