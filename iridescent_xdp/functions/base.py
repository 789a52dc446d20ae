# SPDX-License-Identifier: GPL-2.0-only
"""What Python knows about a function beside its template; a template alone works too.

A function with control-plane tables has a companion: a subclass of Function in a file of its
own, found by the template's name. It fills maps, compiles tables and reads counters.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.kernel.maps import Map, Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template
from iridescent_xdp.toolchain.base import Code
from iridescent_xdp.variant import Variant

ARRAYS, REFERENCES = (2, 6), (3, 14)  # map types: (per-CPU) array; program array, devmap
FRAMEWORK_MAPS = frozenset(
    {"slots", "arm_stats", "carry", "watch", "small_values", "observations", "observed_keys"}
)


class Later(Mapping[str, Code]):
    """Tables that are made when somebody looks: an object in the cache needs only their digest."""

    def __init__(self, make: Callable[[], Mapping[str, Code]]) -> None:
        self._make = make
        self._made: Mapping[str, Code] | None = None

    def _nodes(self) -> Mapping[str, Code]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, name: str) -> Code:
        return self._nodes()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes())

    def __len__(self) -> int:
        return len(self._nodes())


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """Tables as decision code, and a digest of what they are made from."""

    nodes: Mapping[str, Code] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Counter:
    """One row of what a function counted."""

    name: str
    packets: int
    bytes: int


class Function:
    """The default companion: no tables, state compared map by map.

    ``control_maps`` names the maps that hold control-plane tables: they are made anew when a
    controller takes over, all others keep their contents. One thread changes tables while others
    make programs from them: whoever does either holds ``lock``, and ``version`` counts the changes.
    """

    control_maps: frozenset[str] = frozenset()

    def __init__(self, template: Template, tables: object = None) -> None:
        self.template = template
        self.tables = tables
        self.lock = threading.RLock()
        self.version = 0

    def policy(self) -> dict[str, int]:
        """Policy values that follow from the tables, such as whether a set has entries."""
        return {}

    def map_entries(self) -> dict[str, int]:
        """Sizes of maps that follow from the tables, by map name."""
        return {}

    def inherit(self, directory: Path) -> None:
        """Learn from the maps that an earlier controller pinned in ``directory``, if there are any,
        before the tables are first needed."""

    def fill(self, state: State) -> None:
        """Write the control-plane tables into the maps."""

    def seed(self, state: State) -> None:
        """Put into a sandbox what packets made on the interface, such as flows that are hot.

        Called after ``fill`` and after each ``zero_effects``, for the generic code's sandbox and
        the variant's alike.
        """

    def apply(self, state: State, changes: Sequence[object]) -> None:
        """Change control-plane tables, all or nothing, while the generic code is live.

        ``tables``, their digest and what is compiled from them are new afterwards. Raises
        ConfigError, and nothing is changed, when one of ``changes`` is wrong.
        """
        raise ConfigError(
            f"the tables of '{self.template.name}' cannot change while it runs",
            cure="run 'iridescent run' again",
        )

    def policy_for(self, changes: Sequence[object]) -> dict[str, int]:
        """Policy values under which both the tables before and those after ``changes`` work.

        The generic code gets them first. Raises ConfigError when one of ``changes`` is wrong, so
        that nothing has to be undone.
        """
        return self.policy()

    def changes_to(self, tables: object) -> Sequence[object]:
        """The changes that make ``tables`` of the present ones. Raises ConfigError."""
        if tables == self.tables:
            return ()
        raise ConfigError(
            f"the tables of '{self.template.name}' cannot change while it runs",
            cure="run 'iridescent run' again",
        )

    def probes(self, changes: Sequence[object], seed: int) -> list[tuple[str, bytes]]:
        """Packets that meet what was changed, for the preflight of a variant that is known."""
        return self.corpus((), seed)

    def follow(
        self, apply: Callable[[Sequence[object]], None]
    ) -> AbstractContextManager[object] | None:
        """Watch where the tables come from, and ``apply`` what changes there, from any thread.

        Entered when the interface is attached, left before the controller is; None when there is
        nothing to watch. ``apply`` raises ConfigError and whatever else a change can meet.
        """
        return None

    def settle_tables(self, state: State) -> None:
        """Bring up to date what only specialized variants read, before the next one is built."""

    def tables_digest(self) -> str:
        """What the tables are, in short; equal for equal tables."""
        return ""

    def compile_tables(self, variant: Variant) -> Compiled:
        """The decision code that ``variant`` wants compiled in.

        Nodes that are made ``Later`` are thrown away if the tables change meanwhile.
        """
        return Compiled()

    def compiled_from_tables(self, variant: Variant) -> bool:
        """Whether a variant has the contents of tables in its code, and so cannot run while they
        change."""
        return bool(self.compile_tables(variant).digest)

    def ingress(self) -> int:
        """The interface by which test packets come in, for functions that ask the kernel by it.

        Its index in the network namespace of the calling thread; 0: any.
        """
        return 0

    def notes(self) -> Sequence[str]:
        """What an operator should know about the tables, such as what is left out of them."""
        return ()

    def learn_keys(self, seen: Mapping[str, Mapping[bytes, int]]) -> None:
        """Keys that packets looked up lately, by table with hot keys, and how often each."""

    def hits(self, state: State) -> Records | None:
        """What was hit how often so far, in an order of the function's own; None: not counted."""
        return None

    def learn(self, hits: Records) -> None:
        """The traffic hit this lately: tables may be compiled accordingly from now on."""

    def infeasible(self, variant: Variant) -> str | None:
        """Why a variant cannot be built for these tables; None when it can."""
        return None

    def counters(self, state: State) -> list[Counter]:
        """What the function counted since its state was made."""
        return []

    def observable(self, state: State) -> dict[str, bytes]:
        """The effect on state that must be the same for all variants, by map name."""
        return {
            f"{name}[{key.hex()}]": value
            for name, held in self._effect_maps(state)
            for key, value in held.contents().items()
        }

    def zero_effects(self, state: State) -> None:
        """Take back what test packets did to a sandbox's state."""
        for _, held in self._effect_maps(state):
            if held.spec.map_type in ARRAYS:
                for index in range(held.spec.entries):
                    held.zero(index)
            else:
                held.clear()

    def _effect_maps(self, state: State) -> list[tuple[str, Map]]:
        """The maps that packets may write to."""
        skipped = FRAMEWORK_MAPS | self.control_maps
        return [
            (name, held)
            for name, held in state.maps.items()
            if name not in skipped and held.spec.map_type not in REFERENCES
        ]

    def corpus(self, observed: Sequence[bytes], seed: int) -> list[tuple[str, bytes]]:
        """Packets on which variants are compared, as (name, frame)."""
        from traffic.corpus import corpus  # scapy is slow to import; only preflight needs it

        return [(s.name, s.data) for s in corpus((), seed=seed, observed=observed)]


def function_for(template: Template, tables: object = None) -> Function:
    """The companion of a template, or the default one."""
    module = f"iridescent_xdp.functions.{template.name}"
    if template.name.isidentifier() and find_spec(module) is not None:
        made = import_module(module).COMPANION(template, tables)
        assert isinstance(made, Function)
        return made
    return Function(template, tables)
