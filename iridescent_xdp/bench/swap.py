# SPDX-License-Identifier: GPL-2.0-only
"""Thousands of swaps under live traffic: every packet is counted once, and in the right slot; and
how long an update of the link takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import numpy.typing as npt

from iridescent_xdp.bench.expected import DEFAULT_SLOT, expected_slot
from iridescent_xdp.bench.link_updates import link_updates
from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.results import Case, Options, Result, quantile_of
from iridescent_xdp.bench.rig import Rig, Totals
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.bench.subject import Changes
from iridescent_xdp.bench.subject_filter import NARROW
from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.switchboard import ENTRY, Switchboard, load_root
from traffic.generator import SENDERS, Generator
from traffic.mix_stream import Stream, expected_counts
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

# primes, so that no whole number of batches or rounds of the stream is sent
PACKETS, PACKETS_QUICK = 32_452_843, 3_497_861
BREAK_SHARE = 0.01  # these take the guards' way to the generic code, also while a swap happens
DRAIN_S = 2.0
PAUSE_S = 0.0003

CHANGES: tuple[Changes, ...] = (
    {"rule_layout": "tree", **NARROW},
    {"rule_layout": "tree", "counter_batch": "16"},
    {"rule_layout": "chain", **NARROW},
    {},
    {"rule_layout": "tree", **NARROW, "counter_batch": "64"},
    {"rule_layout": "tree"},
)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What happened: swaps in microseconds, packets, and where they were counted."""

    swap_us: Sequence[float]
    sent: int
    seconds: float
    counted: Totals


def swap(options: Options) -> list[Result]:
    """Packets lost or counted twice while variants are swapped at millions of packets a second."""
    stream = edge_traffic("high", BREAK_SHARE)
    with Rig(Builder("llvm"), FilterTables(rules=RULES), policy={"default_action": 1}) as rig:
        slots = _slots(rig, stream)
        programs = [rig.load(rig.changed(changes)) for changes in CHANGES]
        packets = options.pick(PACKETS, PACKETS_QUICK)
        options.tell(f"swap: {packets:,} packets, {len(programs)} variants in turn")
        run = _under_traffic(rig, stream, programs, packets)
        updates = link_updates(rig.generic, programs[0], options)
    return _results(Case(suite="swap", name="filter"), run, stream, slots) + updates


def _slots(rig: Rig, stream: Stream) -> npt.NDArray[np.int64]:
    """The slot of each distinct packet, as Python says and as the generic program says.

    Raises MeasurementError when they differ: then the figures would mean nothing.
    """
    slots = np.array([expected_slot(RULES, frame) for frame in stream.packets])
    for frame, wanted in zip(stream.packets, slots, strict=True):
        rig.reset()
        rig.generic.run(frame)
        (found,) = np.flatnonzero(rig.totals()[:, 0])
        if found != wanted:
            raise MeasurementError(
                f"generic counts {frame.hex()} in slot {found}, the rules say {wanted}"
            )
    rig.reset()
    return slots


def _under_traffic(rig: Rig, stream: Stream, programs: Sequence[Program], packets: int) -> _Run:
    sender, other = cpus()
    with ExitStack() as stack:
        testbed = stack.enter_context(Testbed())
        with inside(testbed.generator):
            port = find_interface(GENERATOR_SIDE).index
            generator = stack.enter_context(Generator(rig.builder, stream, port, cpu=sender))
        with inside(testbed.dut):
            interface = find_interface(DUT_SIDE)
            root = load_root(rig.builder, rig.state)
            board = Switchboard.attach(interface, "native", rig.state, rig.generic, root, None)
        stack.callback(board.release)
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=SENDERS))
        stack.enter_context(on_cpu(other))
        began = time.perf_counter()
        parts = [packets // SENDERS] * (SENDERS - 1)
        parts.append(packets - sum(parts))
        sending = [pool.submit(generator.send, part) for part in parts]
        swap_us = _swap_while(sending, board, programs)
        seconds = time.perf_counter() - began
        _drain(rig, packets)
        return _Run(swap_us=swap_us, sent=generator.sent, seconds=seconds, counted=rig.totals())


def _swap_while(
    sending: Sequence[Future[None]], board: Switchboard, programs: Sequence[Program]
) -> list[float]:
    """The whole way is timed: the look at what the slot holds, and the update.

    A pause between two, because each update stops the other CPUs for a moment to patch code:
    back to back there are 25,000 a second, and the packets suffer.
    """
    took: list[float] = []
    for program in cycle(programs):
        if all(future.done() for future in sending):
            break
        began = time.perf_counter_ns()
        board.put(ENTRY, program)
        took.append((time.perf_counter_ns() - began) / 1000)
        time.sleep(PAUSE_S)
    for future in sending:
        future.result()  # raises what the sender raised
    return took


def _drain(rig: Rig, packets: int) -> None:
    """The last packets may still be on their way."""
    deadline = time.monotonic() + DRAIN_S
    while rig.packets() < packets and time.monotonic() < deadline:
        time.sleep(0.01)


def _results(case: Case, run: _Run, stream: Stream, slots: npt.NDArray[np.int64]) -> list[Result]:
    difference = differences(stream, slots, run.sent, run.counted)
    packets = difference[:, 0]
    lost, twice = -packets[packets < 0].sum(), packets[packets > 0].sum()
    swaps = len(run.swap_us)
    return [
        case.count("swaps", "swaps", swaps, swaps),
        case.count("packets", "packets", run.sent, run.sent),
        case.count("pps", "1/s", run.sent / run.seconds, run.sent),
        case.count("lost", "packets", int(lost), run.sent),
        case.count("duplicated", "packets", int(twice), run.sent),
        case.count(
            "wrong_counters", "slots", int(difference.any(axis=1).sum()), len(np.unique(slots))
        ),
        case.of("swap_us_p50", quantile_of(run.swap_us, 0.5, "us")),
        case.of("swap_us_p99", quantile_of(run.swap_us, 0.99, "us")),
        case.count("swap_us_max", "us", max(run.swap_us), swaps),
        case.count("slots", "slots", len(np.unique(slots[slots != DEFAULT_SLOT])), len(slots)),
    ]


def differences(
    stream: Stream, slots: npt.NDArray[np.int64], sent: int, counted: Totals
) -> npt.NDArray[np.int64]:
    """What each slot shows more (or less) than it has to, in packets and bytes.

    How often each packet of the stream was sent follows from the order of the stream and the
    number of packets ``sent``; ``slots`` says where it has to be counted.
    """
    times = expected_counts(stream, 0, sent)
    lengths = np.array([len(frame) for frame in stream.packets])
    wanted = np.zeros(counted.shape, dtype=np.int64)
    np.add.at(wanted, slots, np.stack([times, times * lengths], axis=1))
    return counted.astype(np.int64) - wanted
