# SPDX-License-Identifier: GPL-2.0-only
"""A function with its tables on maps of its own: what is measured without a controller.

The programs are the ones that a controller would leave on the interface (the steady role), with
the generic code in the fallback slot. Nothing is pinned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt

from iridescent_xdp.bench.subject import Changes, Subject
from iridescent_xdp.bench.subject_filter import FilterSubject
from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import STEADY_ARM
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.filter import VERDICTS, count_totals
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.observe import Observation, forget_seen, keys_seen, values_seen
from iridescent_xdp.preflight import Preflight, Sandbox
from iridescent_xdp.switchboard import ENTRY, load_root
from iridescent_xdp.template import Template, find_template, read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamLike, StreamTimer

CORPUS_SEED = 1
NO_POLICY: Mapping[str, int] = {}

Totals = npt.NDArray[np.uint64]


class Rig:
    """See the module; owns programs and maps, a context manager.

    ``subject`` is a function, or the tables of a filter; ``tables`` go before the subject's own,
    ``template`` before the one that is shipped. ``policy`` holds values of policy points.
    """

    def __init__(
        self,
        builder: Builder,
        subject: Subject | FilterTables,
        tables: object = None,
        *,
        template: Template | None = None,
        policy: Mapping[str, int] = NO_POLICY,
    ) -> None:
        if not isinstance(subject, Subject):
            subject = FilterSubject(subject)
        template = template or read_template(find_template(subject.name))
        self.builder = builder
        self.subject = subject
        self.function = function_for(template, subject.tables() if tables is None else tables)
        self.variant = Variant.generic(template.points, {**self.function.policy(), **policy})
        self._sandbox = Sandbox(builder, self.function, self.variant)
        self.state = self._sandbox.state
        self.generic = self._sandbox.generic
        self._loaded: dict[Variant, Program] = {self.variant: self.generic}
        self._root: Program | None = None
        self.seen = Observation()

    # -- programs --------------------------------------------------------------------------

    def load(self, variant: Variant) -> Program:
        """A variant on these maps, loaded once."""
        if variant not in self._loaded:
            insns = self.builder.variant(self.function, variant, Role.STEADY)
            self._loaded[variant] = self.place(insns, f"bench_{variant.key}")
        return self._loaded[variant]

    def place(self, insns: bytes, name: str, arm: int = STEADY_ARM) -> Program:
        """Any instructions on these maps; the caller closes the program."""
        return self.state.load(insns, name, arm=arm)

    def root(self) -> Program:
        """The root program, which calls slot 0."""
        if self._root is None:
            self._root = load_root(self.builder, self.state)
        return self._root

    def enter(self, program: Program, slot: int = ENTRY) -> None:
        """Put a program into slot 0, or into another."""
        self.state["slots"].write(slot, program.fd.to_bytes(4, "little"))

    def changed(self, changes: Changes) -> Variant:
        """Generic with some points changed, values as in an operator file."""
        return self.variant.with_values(**self.parsed(changes))

    def parsed(self, changes: Changes) -> Mapping[str, int]:
        """Values as in an operator file, as numbers."""
        template = self.function.template
        return {name: template.point(name).parse(value) for name, value in changes.items()}

    def label(self, variant: Variant) -> str:
        """What differs from generic."""
        return variant.label(self.function.template.points, self.variant)

    def check(self, programs: dict[str, bytes], stream: StreamLike) -> None:
        """Each program does as the generic one on a corpus and on the stream's packets.

        Verdicts, bytes out and every counter are compared. Raises PreflightError.
        """
        packets = self.function.corpus((), CORPUS_SEED)
        packets += [(f"stream {i}", frame) for i, frame in enumerate(stream.packets)]
        preflight = Preflight(self.builder, self.function, self.variant, packets)
        try:
            for name, insns in programs.items():
                preflight.check(insns, name)
        finally:
            preflight.close()

    # -- counters --------------------------------------------------------------------------

    def totals(self) -> Totals:
        """Of a filter: packets and bytes of every slot on all CPUs, pending batches included."""
        rows = self.state["counters"].read()
        assert rows is not None
        return count_totals(rows)[VERDICTS:]

    def packets(self) -> int:
        """Packets that were given a verdict."""
        return self.subject.packets(self.function, self.state)

    def reset(self) -> None:
        """All counters to zero."""
        self._sandbox.reset()

    # -- what a search would observe -------------------------------------------------------

    def learn(self, timer: StreamTimer) -> None:
        """Let compiled tables know what the stream hits and looks up, as before a search."""
        before = self.function.hits(self.state)
        timer.raw_ns(self.generic)
        after = self.function.hits(self.state)
        if before is not None and after is not None:
            self.function.learn(after - before)
        forget_seen(self.state)
        code = self.builder.variant(self.function, self.variant, Role.OBSERVE)
        with self.place(code, "bench_observe") as observing:
            timer.raw_ns(observing)
        self.seen = Observation(values=values_seen(self.state), keys=keys_seen(self.state))
        self.function.learn_keys(self.seen.keys)
        self.function.settle_tables(self.state)  # hot keys may be kept in a map, too

    def close(self) -> None:
        """Give everything back."""
        for program in self._loaded.values():
            if program is not self.generic:
                program.close()
        if self._root is not None:
            self._root.close()
        self._sandbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
