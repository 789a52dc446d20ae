# SPDX-License-Identifier: GPL-2.0-only
"""Winners are found again by the workload they won on, and survive whatever ends the process."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from iridescent_xdp.adapt.memory import ENOUGH_PACKETS, Context, Memory
from iridescent_xdp.adapt.signature import MISSES, Signature
from iridescent_xdp.config.model import InterfaceConfig, SearchConfig
from iridescent_xdp.errors import StateError
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.plan import Plan, make_plan
from iridescent_xdp.statistics import Effect
from iridescent_xdp.variant import Variant
from tests.unit.shift_model import NOTHING, USUAL, Model, Shares

RULES = (Rule(source=ip_network("10.1.0.0/16"), action="drop"),)
GAIN = Effect(value=40.0, low=38.0, high=42.0, n=30, unit="ns")


def plan(rules: tuple[Rule, ...] = RULES, default: str = "drop", **points: object) -> Plan:
    config = InterfaceConfig(
        name="dut0",
        function="filter",
        policy={"default_action": default},
        search=SearchConfig(points=points),  # type: ignore[arg-type]
        tables=FilterTables(rules=rules),
    )
    return make_plan(config, Path("test.toml"))


PLAN = plan()
HERE = Context.of(PLAN)


def variant(number: int) -> Variant:
    return PLAN.generic.with_values(vlan_depth=number)


def workload(seed: int = 0, shares: Shares = NOTHING, samples: int = 4000) -> Signature:
    model = Model(seed=seed, dispersion=1.0, timed=False)
    return model.reading(shares, samples=samples).signature


IPV6 = {"family": (0.0, 0.01, 0.19, 0.8)}
TAGGED = {"tags": (0.1, 0.9, 0.0)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "memory.db"


@pytest.fixture
def memory(path: Path) -> Iterator[Memory]:
    with Memory(path) as made:
        yield made


def test_the_nearest_workload_is_recalled(memory: Memory) -> None:
    assert memory.recall(workload(), HERE) is None
    memory.remember(workload(1), variant(0), GAIN, HERE)
    memory.remember(workload(2, IPV6), variant(1), None, HERE)
    memory.remember(workload(3, TAGGED), variant(2), GAIN, HERE)
    for wanted, shares in ((0, NOTHING), (1, IPV6), (2, TAGGED)):
        for seed, samples in ((10, 4000), (11, 768)):
            found = memory.recall(workload(seed, shares, samples), HERE)
            assert found is not None
            assert found.variant == variant(wanted)
            assert found.gain == (None if wanted == 1 else GAIN)
    assert memory.recall(workload(12, {**IPV6, **TAGGED}), HERE) is None
    assert memory.recall(workload(13, samples=ENOUGH_PACKETS // 2), HERE) is None


def test_what_is_live_does_not_matter(memory: Memory) -> None:
    """Misses depend on the variant, and kept flows on the traffic before."""
    memory.remember(workload(1), variant(0), GAIN, HERE)
    passing = {MISSES + "vlan_depth": (0.9, 0.1), "kept": (0.0, 1.0)}
    assert memory.recall(workload(2, passing), HERE) is not None


def test_the_same_workload_is_remembered_once(memory: Memory) -> None:
    memory.remember(workload(1), variant(0), GAIN, HERE)
    memory.remember(workload(2), variant(1), GAIN, HERE)
    assert len(memory) == 1
    found = memory.recall(workload(3), HERE)
    assert found is not None and found.variant == variant(1)
    assert memory.forget(found.number) == 1
    assert memory.recall(workload(3), HERE) is None
    memory.remember(workload(1), variant(0), GAIN, HERE)
    memory.remember(workload(1, TAGGED), variant(0), GAIN, HERE)
    assert memory.forget() == 2 and len(memory) == 0


@pytest.mark.parametrize("part", ["template", "points", "tables", "policy"])
def test_other_code_and_other_tables_know_nothing_of_it(memory: Memory, part: str) -> None:
    memory.remember(workload(1), variant(0), GAIN, HERE)
    other = dataclasses.replace(HERE, **{part: "another"})
    assert memory.recall(workload(2), other) is None
    assert memory.recall(workload(2), HERE) is not None


def test_what_a_context_is_made_of() -> None:
    assert Context.of(plan()) == HERE
    others = [
        plan((*RULES, Rule(protocol=17, action="drop"))),
        plan(default="pass"),
        plan(vlan_depth=(0, 2)),
    ]
    assert len({HERE.key, *(Context.of(other).key for other in others)}) == 4


def test_its_size_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iridescent_xdp.adapt.memory.ROWS", 20)
    with Memory(path) as memory:
        for number in range(25):
            context = dataclasses.replace(HERE, tables=str(number))
            memory.remember(workload(1, samples=800), variant(0), GAIN, context)
        assert len(memory) == 20
        for number, known in ((4, False), (5, True), (24, True)):
            context = dataclasses.replace(HERE, tables=str(number))
            assert (memory.recall(workload(1, samples=800), context) is not None) == known


KILLED = """
import sys
from pathlib import Path
from tests.unit.test_memory import GAIN, HERE, Memory, dataclasses, variant, workload
memory, told = Memory(Path(sys.argv[1])), workload(1)
for number in range(100_000):
    context = dataclasses.replace(HERE, tables=str(number))
    memory.remember(told, variant(number % 3), GAIN, context)
    print(number, flush=True)
"""


def test_what_was_remembered_survives_a_kill(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(25):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    told: list[str] = []
    with Memory(path, tell=lambda event, **_: told.append(event)) as memory:
        assert not told
        for number in range(last + 1):
            context = dataclasses.replace(HERE, tables=str(number))
            found = memory.recall(workload(2), context)
            assert found is not None and found.variant == variant(number % 3)


@pytest.mark.parametrize("damage", ["text", "cut", "middle", "schema"])
def test_a_damaged_file_is_set_aside(path: Path, damage: str) -> None:
    with Memory(path) as memory:
        for number in range(30):
            context = dataclasses.replace(HERE, tables=str(number))
            memory.remember(workload(1), variant(0), GAIN, context)
    whole = path.read_bytes()
    if damage == "text":
        path.write_text("this is no database, but somebody's notes. " * 50)
    elif damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "middle":
        path.write_bytes(whole[:5000] + os.urandom(9000) + whole[14000:])
    else:
        with sqlite3.connect(path) as file:
            file.execute("PRAGMA user_version = 99")
        file.close()
    bad, told = path.read_bytes(), []
    with Memory(path, tell=lambda event, **numbers: told.append((event, numbers))) as memory:
        assert len(memory) == 0
        memory.remember(workload(1), variant(2), GAIN, HERE)
        assert memory.recall(workload(2), HERE) is not None
    [(event, numbers)] = told
    assert event == "memory_damaged" and numbers["reason"]
    assert Path(numbers["kept_as"]).read_bytes() == bad


def test_two_users_of_one_file(path: Path) -> None:
    with Memory(path) as first, Memory(path) as second:
        first.remember(workload(1), variant(0), GAIN, HERE)
        second.remember(workload(1, TAGGED), variant(1), GAIN, HERE)
        assert len(first) == len(second) == 2


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot use"):
        Memory(tmp_path / "file" / "memory.db")
    assert set(USUAL) >= {"family", "tags"}
