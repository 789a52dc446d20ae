# SPDX-License-Identifier: GPL-2.0-only
"""A representation of one's own is one file: inspected, built, preflighted, refused if wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from iridescent_xdp.builder import Builder
from iridescent_xdp.commands.inspect import command
from iridescent_xdp.errors import PreflightError, ToolchainError
from iridescent_xdp.functions.base import Function
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.preflight import Preflight
from iridescent_xdp.representations.registry import FOLDER_VARIABLE
from iridescent_xdp.state import State
from iridescent_xdp.template import read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import counted, filter_function, generic_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "representations.md"
ALLOW = (IPv4Network("10.1.2.0/24"), IPv4Network("198.51.100.7/32"))
DENY = (IPv4Network("10.0.0.0/9"), IPv4Network("203.0.113.128/25"), IPv4Network("10.1.2.8/29"))
SLOTS = {"allow": 1025, "deny": 1026}


def documented() -> str:
    """The example of the documentation."""
    found = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    read_template.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    read_template.cache_clear()


def chosen(function: Function, name: str) -> tuple[Variant, Variant]:
    """The generic variant, and the one with sets kept as ``name``."""
    generic = generic_of(function)
    point = function.template.point("set_layout")
    return generic, generic.with_values(set_layout=point.parse(name))


@pytest.mark.needs(toolchain="llvm")
def test_the_documented_file_is_all_it_takes(folder: Path) -> None:
    (folder / "branchless.py").write_text(documented())
    told = CliRunner().invoke(command, ["filter"]).output
    assert "only the LLVM toolchain can fold bits, branchless" in " ".join(told.split())
    function = filter_function(FilterTables(allow=ALLOW, deny=DENY))
    generic, variant = chosen(function, "branchless")
    builder = Builder("llvm")
    packets = function.corpus((), seed=1)
    with closing(Preflight(builder, function, generic, packets)) as preflight:
        preflight.check(builder.variant(function, variant, Role.STEADY), "branchless")
    many = filter_function(
        FilterTables(deny=tuple(ip_network(f"10.{n}.0.0/16") for n in range(17)))
    )
    with pytest.raises(ToolchainError, match=r"more than 16 prefixes .*, got 17"):
        builder.variant(many, chosen(many, "branchless")[1], Role.STEADY)


@pytest.mark.needs(toolchain="llvm")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int(network.netmask)", "int(network.netmask) << 1 & NO_MATCH"),
        ("builder.select(is4, found, I32(NO_MATCH))", "found"),
        ("sorted(table.entries, ", "sorted(reversed(table.entries[1:]), "),
    ],
    ids=["mask", "family", "entry"],
)
def test_a_wrong_one_does_not_pass_preflight(folder: Path, old: str, new: str) -> None:
    text = documented()
    assert text.count(old) == 1
    (folder / "branchless.py").write_text(text.replace(old, new))
    function = filter_function(FilterTables(allow=ALLOW, deny=(*DENY, IPv4Network("0.0.0.0/8"))))
    generic, variant = chosen(function, "branchless")
    builder = Builder("llvm")
    packets = function.corpus((), seed=1)
    insns = builder.variant(function, variant, Role.STEADY)
    with (
        closing(Preflight(builder, function, generic, packets)) as preflight,
        pytest.raises(PreflightError),
    ):
        preflight.check(insns, "wrong")


@pytest.mark.needs(toolchain="bcc")
def test_bcc_says_what_it_cannot_fold() -> None:
    function = filter_function(FilterTables(deny=DENY))
    _, variant = chosen(function, "bits")
    with pytest.raises(ToolchainError, match="set_layout=bits is written in LLVM IR, which only"):
        Builder("bcc").variant(function, variant, Role.STEADY)


@pytest.mark.needs(toolchain="bcc")
def test_bcc_does_not_start_on_what_takes_it_long() -> None:
    deny = tuple(IPv4Network((n << 9, 24)) for n in range(3_500))
    function = filter_function(FilterTables(deny=deny))
    with pytest.raises(ToolchainError, match="tests and results, with bcc at most 6,000"):
        Builder("bcc").variant(function, chosen(function, "ifs")[1], Role.STEADY)


def frame(source: IPv4Address) -> bytes:
    """UDP over IPv4, the least that the filter looks at."""
    ip = bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]) + source.packed + bytes([192, 0, 2, 1])
    return bytes(12) + b"\x08\x00" + ip + bytes([0, 9, 0, 9, 0, 8, 0, 0]) + bytes(22)


def sources(rng: Random) -> Iterator[IPv4Address]:
    """The edges of every prefix, and what lies anywhere."""
    for network in (*ALLOW, *DENY):
        low, high = int(network[0]), int(network[-1])
        for number in (low - 1, low, low + 1, high - 1, high, high + 1, rng.randint(low, high)):
            yield IPv4Address(number)
    for _ in range(2_000):
        yield IPv4Address(rng.getrandbits(32))


def verdict_of(source: IPv4Address) -> str | None:
    """By ``ipaddress``; the allow set comes first."""
    found = {"allow": ALLOW, "deny": DENY}
    return next((n for n, s in found.items() if any(source in network for network in s)), None)


@pytest.mark.parametrize("name", ["trie", "ifs", "bits"])
def test_sets_in_the_code_decide_as_ipaddress(builder: Builder, name: str) -> None:
    function = filter_function(FilterTables(allow=ALLOW, deny=DENY))
    _, variant = chosen(function, name)
    if name == "bits" and builder.toolchain.name == "bcc":
        return
    insns = builder.variant(function, variant, Role.STEADY)
    wanted: dict[int, int] = {}
    with closing(State.create(function.template)) as state:
        function.fill(state)
        with state.load(insns, f"sets_{name}") as program:
            for source in sources(Random(5)):
                found = verdict_of(source)
                assert program.run(frame(source)).verdict == (1 if found == "deny" else 2), source
                slot = SLOTS[found] if found else 1024
                wanted[slot] = wanted.get(slot, 0) + 1
        assert {s: packets for s, (packets, _) in counted(state).slots.items()} == wanted
    assert wanted[1025] > 10 and wanted[1026] > 10


@pytest.mark.needs(toolchain="llvm")
def test_what_is_too_large_for_jumps_is_told_as_such(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of the representation itself taken away, the machine code still has its own."""
    from iridescent_xdp.representations.registry import everything

    (ifs,) = (made for made in everything() if made.name == "ifs")
    no_limit: Callable[[object], None] = lambda table: None  # noqa: E731
    monkeypatch.setattr(ifs, "infeasible", no_limit)
    deny = tuple(IPv4Network((n << 9, 24)) for n in range(16_500))
    function = filter_function(FilterTables(deny=deny))
    with pytest.raises(ToolchainError, match="at most 32767 instructions, got"):
        Builder("llvm").variant(function, chosen(function, "ifs")[1], Role.STEADY)
