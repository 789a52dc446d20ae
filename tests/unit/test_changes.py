# SPDX-License-Identifier: GPL-2.0-only
"""Changes of tables without a kernel: code of two tables, packets of a proof, the file again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.commands.reload import refuse_others
from iridescent_xdp.commands.session import Session
from iridescent_xdp.config import Config, InterfaceConfig
from iridescent_xdp.decision.nodes import Result
from iridescent_xdp.errors import ConfigError, ToolchainError
from iridescent_xdp.functions.base import Compiled, Function, Later
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.proof import OTHERS, crafted_frames, thinned
from iridescent_xdp.toolchain.base import Request, Role, Toolchain
from iridescent_xdp.variant import Variant
from tests.unit.filter_memory import POOL, RULE, TEMPLATE

TABLES = FilterTables(rules=(RULE,), allow=(POOL[0],), deny=(POOL[1],))


def test_another_function_says_that_it_cannot() -> None:
    function = Function(TEMPLATE, "tables")
    assert not function.changes_to("tables")
    with pytest.raises(ConfigError, match="cannot change while it runs"):
        function.changes_to("others")


# -- code and tables -----------------------------------------------------------------------


class Slow(Toolchain):
    """Looks at the nodes when the tables may have changed."""

    name, version = "slow", "0"

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile

    def compile(self, request: Request) -> bytes:
        self._meanwhile()
        return b"code" * len(request.tables)


class Tabled(Function):
    """A function that makes its nodes from a dictionary, when they are asked for."""

    def __init__(self) -> None:
        super().__init__(TEMPLATE)
        self.entries = {"rules_compiled": 1}

    def compile_tables(self, variant: Variant) -> Compiled:
        return Compiled(nodes=Later(self._nodes), digest="digest")

    def _nodes(self) -> dict[str, Result]:
        nodes = {}
        for name, value in self.entries.items():
            if self.version:
                self.entries[f"{name} too"] = 2  # as another thread would, in the middle
            nodes[name] = Result(value)
        return nodes


def built_while(change: Callable[[Tabled], None]) -> bytes:
    function = Tabled()
    builder = Builder.__new__(Builder)
    builder.toolchain = Slow(lambda: change(function))
    return builder.variant(function, Variant.generic(TEMPLATE.points), Role.STEADY)


def test_code_of_two_tables_is_not_built() -> None:
    """Nor is a dictionary that changes under the iteration an error of its own."""

    def change(function: Tabled) -> None:
        function.version += 1

    assert built_while(lambda _: None) == b"code"
    with pytest.raises(ToolchainError, match="the tables changed while they were compiled"):
        built_while(change)


def test_a_known_variant_is_proven_on_all_crafted_packets() -> None:
    crafted = [("crafted", frame) for frame in sorted(crafted_frames())]
    others = [(f"other {n}", n.to_bytes(64, "big")) for n in range(5000)]
    chosen = list(thinned([*crafted, *others]))
    assert set(crafted) <= set(chosen)
    assert OTHERS / 2 < len(set(chosen) - set(crafted)) <= OTHERS


# -- run -----------------------------------------------------------------------------------


def config(**interface: Any) -> Config:
    settings = {"name": "eth0", "function": "filter", **interface}
    return Config(path=Path("site.toml"), interfaces=(InterfaceConfig(**settings),))


def test_only_tables_may_change_in_the_file() -> None:
    before = config(tables=TABLES)
    refuse_others(before, config(tables=FilterTables()))
    for changed, name in (
        (config(policy={"default_action": "drop"}), "eth0.policy"),
        (config(mode="generic"), "eth0.mode"),
        (config(name="eth1"), "eth0, eth1"),
    ):
        with pytest.raises(ConfigError, match=f"but {name} changed too; nothing was applied"):
            refuse_others(before, changed)


def test_a_session_follows_its_function_as_long_as_it_lasts() -> None:
    told: list[str] = []

    class Followed:
        def follow(self, apply: Callable[[Sequence[object]], None]) -> Any:
            apply(["a change"])

            @contextlib.contextmanager
            def watching() -> Iterator[None]:
                told.append("watching")
                yield
                told.append("not any more")

            return watching()

    class Stub:
        plan = type("Plan", (), {"function": Followed()})()

        def change(self, changes: Sequence[object]) -> None:
            told.extend(map(str, changes))

        def close(self) -> None:
            told.append("closed")

    session = Session.__new__(Session)
    session.controller = cast(Any, Stub())
    session._following = contextlib.ExitStack()
    session._log = session.adapter = cast(Any, Stub())
    session.follow()
    session.leave()
    assert told == ["a change", "watching", "not any more", "closed", "closed", "closed"]
