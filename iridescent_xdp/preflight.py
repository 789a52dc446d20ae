# SPDX-License-Identifier: GPL-2.0-only
"""Before a variant meets traffic: does it do what the generic one does, on every packet?

Two sandboxes with maps of their own hold the generic code and the variant. Each packet of the
corpus runs through both; verdict and bytes must be equal, and so must the effect on the state,
compared every 64 packets. Packets that break the variant's assumptions take the guard's way in
the sandbox as they would on the interface.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import PreflightError
from iridescent_xdp.functions.base import Function
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.kernel.testrun import TestRun, TestRunner
from iridescent_xdp.state import State
from iridescent_xdp.switchboard import FALLBACK
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant

VERDICTS = ("aborted", "drop", "pass", "tx", "redirect")
Packet = tuple[str, bytes]
CHUNK = 64  # packets between two comparisons of the state


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first packet on which a variant differs, and how."""

    packet: str
    frame: bytes
    what: str

    def __str__(self) -> str:
        return f"packet '{self.packet}' ({len(self.frame)} bytes, {self.frame.hex()}): {self.what}"


class Sandbox:
    """A function's state, not pinned, with generic code behind the guards."""

    def __init__(self, builder: Builder, function: Function, generic: Variant) -> None:
        self.function = function
        with function.lock:
            entries = function.map_entries()
        self.state = State.create(function.template, entries=entries)
        try:
            with function.lock:
                function.fill(self.state)
                function.seed(self.state)
            code = builder.variant(function, generic, Role.STEADY)
            self.generic = self.state.load(code, "sandbox_generic")
        except OSError:
            self.state.close()
            raise
        self.state["slots"].write(FALLBACK, self.generic.fd.to_bytes(4, "little"))

    def effects(self) -> dict[str, bytes]:
        """What packets have done to the state so far."""
        return self.function.observable(self.state)

    def reset(self) -> None:
        """Forget what packets did."""
        self.function.zero_effects(self.state)
        self.function.seed(self.state)

    def close(self) -> None:
        """Give everything back."""
        self.generic.close()
        self.state.close()


@dataclass(frozen=True, kw_only=True)
class _Course:
    """Packets, and what the generic code makes of them."""

    chunks: list[tuple[Packet, ...]]
    runs: list[TestRun]
    effects: list[dict[str, bytes]]  # after each chunk


class Preflight:
    """Compares variants of one function with its generic variant; keeps the generic results.

    Code that was proven once, on the same tables, meets only packets that it did not meet then.
    """

    def __init__(
        self, builder: Builder, function: Function, generic: Variant, packets: Sequence[Packet]
    ) -> None:
        self.generic = generic
        self._reference = Sandbox(builder, function, generic)
        self._trial = Sandbox(builder, function, generic)
        self._cpu = max(os.sched_getaffinity(0))
        self._proven: dict[bytes, frozenset[bytes]] = {}
        self._courses: dict[frozenset[bytes], _Course] = {}
        self.expect(packets)

    @property
    def states(self) -> tuple[State, State]:
        """The sandboxes' maps, which have to follow when tables change; then ``forget``."""
        return self._reference.state, self._trial.state

    def expect(self, packets: Sequence[Packet]) -> None:
        """Compare on ``packets`` from now on; the generic code meets them when they are needed."""
        self.packets = tuple(packets)
        self._courses.clear()

    def forget(self) -> None:
        """The tables are others now: nothing is proven any more."""
        self._proven.clear()
        self._courses.clear()

    def prepare(self) -> None:
        """The generic code meets the packets now, not when the first variant is checked."""
        with on_cpu(self._cpu):
            self._course(frozenset())

    def _course(self, known: frozenset[bytes]) -> _Course:
        """All packets but those that are ``known``."""
        if known not in self._courses:
            packets = [packet for packet in self.packets if packet[1] not in known]
            chunks = [tuple(packets[i : i + CHUNK]) for i in range(0, len(packets), CHUNK)]
            made = _Course(chunks=chunks, runs=[], effects=[])
            self._reference.reset()
            runner = self._runner(self._reference.generic)
            for chunk in chunks:
                made.runs.extend(runner.run(frame) for _, frame in chunk)
                made.effects.append(self._reference.effects())
            self._courses[known] = made
        return self._courses[known]

    def _runner(self, program: Program) -> TestRunner:
        return program.runner(self._reference.function.ingress())

    def check(self, insns: bytes, name: str) -> None:
        """Run a variant on the whole corpus.

        Raises PreflightError that shows the first differing packet down to the byte, and
        VerifierError when the kernel refuses the program.
        """
        digest = hashlib.sha256(insns).digest()
        known = self._proven.get(digest, frozenset())
        program = self._trial.state.load_kept(insns, name)
        with on_cpu(self._cpu):
            difference = self._compare(program, self._course(known))
        if difference is not None:
            raise PreflightError(f"{name} differs from generic: {difference}")
        self._proven[digest] = known | {frame for _, frame in self.packets}

    def _compare(self, program: Program, course: _Course) -> Difference | None:
        self._trial.reset()
        runner, expected = self._runner(program), iter(course.runs)
        for number, chunk in enumerate(course.chunks):
            told = [_difference(next(expected), runner.run(frame)) for _, frame in chunk]
            if any(told) or self._trial.effects() != course.effects[number]:
                return self._first(program, course, number)
        return None

    def _first(self, program: Program, course: _Course, number: int) -> Difference:
        """Something differs in chunk ``number``: find the packet that does it, one by one."""
        self._reference.reset()
        self._trial.reset()
        generic, trial = self._runner(self._reference.generic), self._runner(program)
        start, packets = number * CHUNK, [p for c in course.chunks[: number + 1] for p in c]
        for index, (name, frame) in enumerate(packets):
            what = _difference(generic.run(frame), trial.run(frame))
            if index < start:
                continue
            what = what or _effect(self._reference.effects(), self._trial.effects())
            if what:
                return Difference(packet=name, frame=frame, what=what)
        name, frame = packets[-1]
        return Difference(packet=name, frame=frame, what="it differs, but not every time")

    def close(self) -> None:
        """Give both sandboxes back."""
        self._reference.close()
        self._trial.close()


@contextlib.contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """Keep this thread on one CPU, so that per-CPU state can be compared value by value."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _difference(expected: TestRun, found: TestRun) -> str:
    if expected.verdict != found.verdict:
        names = [_verdict(run.verdict) for run in (expected, found)]
        return f"verdict {names[1]}, generic says {names[0]}"
    if expected.data == found.data:
        return ""
    if len(expected.data) != len(found.data):
        return f"{len(found.data)} bytes out, generic has {len(expected.data)}"
    at = next(i for i, (a, b) in enumerate(zip(expected.data, found.data, strict=True)) if a != b)
    return f"byte {at} out is 0x{found.data[at]:02x}, generic has 0x{expected.data[at]:02x}"


def _verdict(value: int) -> str:
    return VERDICTS[value] if value < len(VERDICTS) else str(value)


def _effect(expected: dict[str, bytes], found: dict[str, bytes]) -> str:
    for key in sorted({*expected, *found}):
        a, b = expected.get(key, b""), found.get(key, b"")
        if a != b:
            return f"state {key} is {b.hex() or 'empty'}, generic has {a.hex() or 'empty'}"
    return ""
