# SPDX-License-Identifier: GPL-2.0-only
"""The programs behind a player: a generator for each phase, and the one that calls them.

Each phase's generator counts on a map of its own, so that what was sent in a phase is known
exactly; phases with the same traffic share frames and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import Self

from iridescent_xdp.builder import Builder
from iridescent_xdp.kernel.known_programs import KnownPrograms
from iridescent_xdp.kernel.maps import Map
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.state import State
from traffic.generator import StreamLike, fill

_SHARED = ("frames", "sequence")


class PhasePrograms:
    """See the module; owns maps and programs, a context manager.

    Number ``len(streams)`` is one more generator, of the first stream: what it sends is counted
    apart from every phase.
    """

    def __init__(self, builder: Builder, streams: Sequence[StreamLike], ifindex: int) -> None:
        self._template, self._insns = builder.helper("generator", delivery=0)
        player, code = builder.helper("player")
        self.frame = max((packet for s in streams for packet in s.packets), key=len)
        self._filled: dict[int, dict[str, Map]] = {}
        self._positions: list[Map] = []
        self.programs: list[Program] = []
        with ExitStack() as stack:
            self._state = State.create(player, self._template)
            stack.callback(self._state.close)
            self._state["port"].write(0, ifindex.to_bytes(4, "little"))
            self.player = stack.enter_context(self._state.load(code, "player"))
            known = stack.enter_context(closing(KnownPrograms()))
            known.add(self.player)  # else each live run has the dispatcher written anew, twice
            for stream in (*streams, streams[0]):
                self._add(stream, stack)
            self._stack = stack.pop_all()

    def _add(self, stream: StreamLike, stack: ExitStack) -> None:
        """One more generator program, with a count of its own."""
        specs = {spec.name: spec for spec in self._template.maps}

        def own(name: str) -> Map:
            spec = specs[name]
            made = Map.create(spec, self._template.structs.get(spec.value_type))
            stack.callback(made.close)
            return made

        if id(stream) not in self._filled:
            maps = {name: own(name) for name in _SHARED}
            fill(self._template, maps, stream)
            self._filled[id(stream)] = maps
        self._positions.append(own("position"))
        maps = {**self._state.maps, **self._filled[id(stream)], "position": self._positions[-1]}
        program = State(self._template, maps).load(self._insns, "generator")
        self.programs.append(stack.enter_context(program))

    @property
    def slot(self) -> int:
        """Descriptor of the program array whose only entry is the phase that is on."""
        return self._state["phase"].fd

    def made(self, number: int) -> int:
        """Packets that a generator has made so far, on all CPUs."""
        rows = self._positions[number].read()
        return int(rows["made"].sum()) if rows is not None else 0

    def close(self) -> None:
        """Give everything back."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
