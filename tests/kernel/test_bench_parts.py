# SPDX-License-Identifier: GPL-2.0-only
"""What bench suites are made of: programs written by hand, the stream's clock, guards, sinks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from iridescent_xdp.bench.handwritten import compile_handwritten
from iridescent_xdp.bench.live import Dut
from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.results import Options
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.bench.split import split
from iridescent_xdp.bench.subject import Subject
from iridescent_xdp.bench.subject_filter import FilterSubject
from iridescent_xdp.bench.subject_l4lb import L4lbSubject
from iridescent_xdp.bench.subject_router import RouterSubject
from iridescent_xdp.bench.subjects import subjects
from iridescent_xdp.bench.unguarded import unguarded
from iridescent_xdp.bench.winner import candidates, space_of
from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import MeasurementError, PreflightError
from iridescent_xdp.functions.base import Function
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import UDP
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.state import State
from iridescent_xdp.template import read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.test_bench import left_behind
from traffic.generator import SEQUENCE, StreamTimer
from traffic.mix_stream import Stream
from traffic.packet_build import Flow, Shape, frame

pytestmark = [pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE, toolchain="llvm")]


@contextmanager
def rig(**policy: int) -> Iterator[Rig]:
    with Rig(Builder("llvm"), FilterTables(rules=RULES), policy=policy) as made:
        yield made


@pytest.mark.parametrize("subject", subjects(), ids=lambda subject: subject.name)
def test_the_handwritten_program_does_and_counts_as_the_template(subject: Subject) -> None:
    with Rig(Builder("llvm"), subject) as made:
        code = compile_handwritten(made, headers=subject.headers(made.state))
        made.check({"handwritten": code}, subject.stream("low", 0.05))


def test_a_handwritten_program_that_differs_is_refused() -> None:
    with rig(default_action=1) as made:
        code = compile_handwritten(made, DEFAULT_DROP=0)
        with pytest.raises(PreflightError, match="handwritten"):
            made.check({"handwritten": code}, edge_traffic("low"))


def test_a_handwritten_router_with_one_wrong_route_is_refused() -> None:
    subject = RouterSubject(1000)
    with Rig(Builder("llvm"), subject) as made:
        (name, text), *_ = subject.headers(made.state).items()
        at = text.rindex("return 3;")
        wrong = text[:at] + "return 4;" + text[at + len("return 3;") :]
        code = compile_handwritten(made, headers={name: wrong})
        with pytest.raises(PreflightError, match="handwritten"):
            made.check({"handwritten": code}, subject.stream("none"))


def test_the_short_form_still_spans_narrowings_and_layouts() -> None:
    with rig() as made:
        short = candidates(made, space_of(made, Options(quick=True)), Options(quick=True))
        whole = candidates(made, space_of(made, Options()), Options())
    assert set(short) < set(whole)
    assert made.variant in short
    layouts = made.function.template.point("rule_layout").domain
    assert {v["rule_layout"] for v in short} == set(layouts)
    assert {v["vlan_depth"] for v in short} == {0, 2}
    assert {v["no_fragments"] for v in short} == {0, 1}


# -- the stream's clock --------------------------------------------------------------------

MOVER = """
#include "iridescent.h"
SPEC_RANGE(policy, bytes_in_front, 20, 0, 200, "how far the head is moved");
struct seen { __u64 whole; __u64 wrong; __u64 refused; };
MAP_PERCPU_ARRAY(seen, struct seen, 1, "frames as they came, and moves that were refused");
static __always_inline int mover(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct seen *seen = bpf_map_lookup_elem(MAP(seen), &zero);

	if (!seen || data + 60 > end)
		return XDP_ABORTED;
	if (*(__u32 *)data == 2 && (end - data == 60 || end - data == 90))
		seen->whole++;
	else
		seen->wrong++;
	if (bpf_xdp_adjust_head(ctx, -(int)bytes_in_front))
		seen->refused++;
	return XDP_TX;
}
SPEC_PROGRAM(mover)
"""


@pytest.mark.parametrize("moved_bytes", [0, 20, 48])
def test_a_frame_that_a_program_grew_in_front_is_put_back(moved_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "mover.bpf.c"
    path.write_text(MOVER)
    template, builder = read_template(path), Builder("llvm")
    flow = Flow(family=4, source=1, destination=2, protocol=UDP, source_port=1, destination_port=2)
    stream = Stream(
        name="two sizes",
        packets=(frame(flow, Shape()), frame(flow, Shape(size_bytes=90))),
        sequence=np.resize(np.array([0, 1, 1], dtype=np.uint32), SEQUENCE),
    )
    variant = Variant.generic(template.points, {"bytes_in_front": moved_bytes})
    code = builder.variant(Function(template), variant, Role.STEADY)
    state = State.create(template)
    with state.load(code, "mover") as program, StreamTimer(builder, stream) as timer:
        for _ in range(2):  # the second run begins with a frame as the kernel makes it
            timer.raw_ns(program)
        rows = state["seen"].read()
        assert rows is not None
        found = {name: int(rows[name].sum()) for name in ("whole", "wrong", "refused")}
    state.close()
    assert found == {"whole": 2 * SEQUENCE, "wrong": 0, "refused": 0}


TAIL_CALL = bytes.fromhex("850000000c000000")  # a call of helper 12


# -- guards --------------------------------------------------------------------------------


def test_packets_are_divided_by_what_the_guard_says() -> None:
    with rig() as made:
        narrowed = made.load(made.changed({"no_ip_options": True}))
        stream = edge_traffic("high", 0.4)
        passing, missing = split(made, narrowed, "no_ip_options", stream)
        with pytest.raises(MeasurementError, match="no packet misses the guard of 'ipv6'"):
            split(made, narrowed, "ipv6", stream)
    untagged = [p for p in missing.packets if p[12:14] == b"\x08\x00"]
    assert untagged
    assert all(p[14] == 0x47 for p in untagged)
    assert all(p[14] == 0x45 for p in passing.packets if p[12:14] == b"\x08\x00")
    assert len(passing.packets) + len(missing.packets) == len(stream.packets)
    assert len(passing.sequence) == len(missing.sequence) == SEQUENCE


def test_what_passes_one_guard_and_misses_another_is_in_neither_part() -> None:
    with rig() as made:
        narrowed = made.load(made.changed({"no_ip_options": True, "vlan_depth": 0}))
        passing, missing = split(made, narrowed, "vlan_depth", edge_traffic("high", 0.4))
    assert all(
        (p[12:14] == b"\x08\x00" and p[14] == 0x45) or p[12:14] == b"\x86\xdd"
        for p in passing.packets
    )
    assert all(p[12:14] in (b"\x81\x00", b"\x88\xa8") for p in missing.packets)


def test_without_its_guard_a_program_is_shorter_and_does_the_same_with_what_fits() -> None:
    with rig() as made, unguarded(made.function.template, "no_ip_options") as template:
        assert [p.name for p in template.points] == [p.name for p in made.function.template.points]
        guarded = made.changed({"no_ip_options": True})
        made_of = made.builder.variant(made.function, guarded, Role.STEADY)
        with Rig(made.builder, FilterSubject(), template=template) as other:
            without = made.builder.variant(other.function, guarded, Role.STEADY)
            program, reference = other.load(guarded), made.load(guarded)
            for packet in edge_traffic("low").packets[:64]:
                runs = [each.run(packet) for each in (program, reference)]
                assert runs[0].verdict == runs[1].verdict
    assert len(without) < len(made_of)


def test_without_all_its_guards_a_program_has_no_way_to_the_generic_code() -> None:
    guards = {"no_ip_options": True, "vlan_depth": 0}
    calls = []
    with rig() as made:
        for left_out in ([], ["vlan_depth"], [*guards]):
            with (
                unguarded(made.function.template, *left_out or ["ipv6"]) as template,
                Rig(made.builder, FilterSubject(), template=template) as other,
            ):
                insns = made.builder.variant(other.function, made.changed(guards), Role.STEADY)
                calls.append(TAIL_CALL in [insns[n : n + 8] for n in range(0, len(insns), 8)])
    assert calls == [True, True, False]


# -- live ----------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", [RouterSubject(100), L4lbSubject()], ids=lambda s: s.name)
def test_what_a_program_sends_on_arrives_at_the_sink(subject: Subject) -> None:
    before = left_behind()
    with Dut(Builder("llvm"), subject, subject.stream("none"), threaded=False) as dut:
        dut.attach(dut.rig.generic)
        dut.rig.reset()
        dut.generator.send(10_007)
        deadline = time.monotonic() + 5
        while dut.wiring.arrived < 10_007 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert dut.wiring.arrived == dut.rig.packets() == 10_007
    assert left_behind() == before
