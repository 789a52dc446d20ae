# SPDX-License-Identifier: GPL-2.0-only
"""A filter with its tables on maps of its own: what is measured without a controller.

The programs are the ones that a controller would leave on the interface (the steady role), with
the generic code in the fallback slot. Nothing is pinned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Self

import numpy as np
import numpy.typing as npt

from iridescent_xdp.bench.results import Options
from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import STEADY_ARM
from iridescent_xdp.errors import IridescentError, MeasurementError
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.filter import VERDICTS, count_totals
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.preflight import Preflight, Sandbox
from iridescent_xdp.search.space import Space
from iridescent_xdp.switchboard import ENTRY, load_root
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import SEQUENCE, StreamLike, StreamTimer

FINALISTS = 8
Changes = Mapping[str, bool | int | str]
NARROW: Changes = {
    "vlan_depth": 0,
    "no_ip_options": True,
    "no_extensions": True,
    "no_fragments": True,
}
CORPUS_SEED = 1

Totals = npt.NDArray[np.uint64]


class Rig:
    """See the module; owns programs and maps, a context manager."""

    def __init__(self, builder: Builder, tables: FilterTables, **policy: int) -> None:
        template = read_template(find_template("filter"))
        self.builder = builder
        self.function = function_for(template, tables)
        self.variant = Variant.generic(template.points, {**self.function.policy(), **policy})
        self._sandbox = Sandbox(builder, self.function, self.variant)
        self.state = self._sandbox.state
        self.generic = self._sandbox.generic
        self._loaded: dict[Variant, Program] = {self.variant: self.generic}
        self._root: Program | None = None

    # -- programs --------------------------------------------------------------------------

    def load(self, variant: Variant) -> Program:
        """A variant on these maps, loaded once."""
        if variant not in self._loaded:
            insns = self.builder.variant(self.function, variant, Role.STEADY)
            self._loaded[variant] = self.place(insns, f"bench_{variant.key}")
        return self._loaded[variant]

    def place(self, insns: bytes, name: str) -> Program:
        """Any instructions on these maps; the caller closes the program."""
        return self.state.load(insns, name, arm=STEADY_ARM)

    def root(self) -> Program:
        """The root program, which calls slot 0."""
        if self._root is None:
            self._root = load_root(self.builder, self.state)
        return self._root

    def enter(self, program: Program) -> None:
        """Put a program into slot 0."""
        self.state["slots"].write(ENTRY, program.fd.to_bytes(4, "little"))

    def changed(self, changes: Changes) -> Variant:
        """Generic with some points changed, values as in an operator file."""
        template = self.function.template
        return self.variant.with_values(
            **{name: template.point(name).parse(value) for name, value in changes.items()}
        )

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
        """Packets and bytes of every slot, on all CPUs, pending batches included."""
        return self._all_totals()[VERDICTS:]

    def packets(self) -> int:
        """Packets that were given a verdict."""
        return int(self._all_totals()[:VERDICTS, 0].sum())

    def _all_totals(self) -> Totals:
        rows = self.state["counters"].read()
        assert rows is not None
        return count_totals(rows)

    def reset(self) -> None:
        """All counters to zero."""
        self._sandbox.reset()

    # -- the winner ------------------------------------------------------------------------

    def learn(self, timer: StreamTimer) -> None:
        """Let compiled tables know which rules the stream hits, as a search would observe it."""
        before = self.function.hits(self.state)
        timer.raw_ns(self.generic)
        after = self.function.hits(self.state)
        if before is not None and after is not None:
            self.function.learn(after - before)

    def candidates(self, options: Options) -> list[Variant]:
        """Every combination of narrowings and layouts.

        The quick form narrows all or nothing and does not batch counters.
        """
        narrow = self.changed(NARROW)
        restrict: dict[str, tuple[int, ...]] = {}
        restrict["vlan_depth"] = (self.variant["vlan_depth"], narrow["vlan_depth"])
        if options.quick:
            restrict["counter_batch"] = (self.variant["counter_batch"],)
        points = self.function.template.points
        space = Space(points=points, generic=self.variant, restrict=restrict)
        found = [v for v in space if self.function.infeasible(v) is None]
        if options.quick:
            found = [v for v in found if len({v[name] == narrow[name] for name in NARROW}) == 1]
        return found

    def find_winner(self, timer: StreamTimer, options: Options, where: str) -> Variant:
        """The fastest variant for the timer's stream: all are measured, the best ones again.

        The figures that are reported are measured afterwards: the best of many is lucky.
        """
        self.learn(timer)
        candidates = self._buildable(self.candidates(options), options)
        options.tell(f"{where}: {len(candidates)} variants by the stream's clock")
        repeat, timer.repeat = timer.repeat, SEQUENCE
        best = self._fastest(timer, candidates, options.pick(2, 1), FINALISTS)
        best = self._fastest(timer, best, options.pick(9, 3), 1)
        timer.repeat = repeat
        options.winners[where] = self.label(best[0])
        options.tell(f"{where}: the winner is {self.label(best[0])}")
        return best[0]

    def _buildable(self, variants: Sequence[Variant], options: Options) -> list[Variant]:
        good: list[Variant] = []
        for variant in variants:
            try:
                self.load(variant)
                good.append(variant)
            except IridescentError as error:
                options.tell(f"{self.label(variant)} is left out: {error}")
        if not good:
            raise MeasurementError("no variant could be built")
        return good

    def _fastest(
        self, timer: StreamTimer, variants: Sequence[Variant], n: int, keep: int
    ) -> list[Variant]:
        times = timer.rounds({v.key: self.load(v) for v in variants}, n)
        return sorted(variants, key=lambda v: median(times[v.key]))[:keep]

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
