# SPDX-License-Identifier: GPL-2.0-only
"""Representations: found in files, told when wrong, and as right as the table they stand for."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from random import Random

import llvmlite.binding as llvm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.decision.ir_table import IrTable, KeyReader, ir_table
from iridescent_xdp.decision.nodes import Field, Node, Result, evaluate
from iridescent_xdp.errors import ConfigError, ToolchainError
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.filter_layouts import PACKET_KEY_LAYOUT
from iridescent_xdp.functions.filter_sets import set_entries
from iridescent_xdp.representations import Representation, Table
from iridescent_xdp.representations.bits import Bits
from iridescent_xdp.representations.nested_ifs import MOST_WORDS, NestedIfs
from iridescent_xdp.representations.registry import (
    FOLDER_VARIABLE,
    build,
    chosen,
    everything,
    llvm_only,
    only_llvm,
)
from iridescent_xdp.template import Template, find_template, read_template
from iridescent_xdp.toolchain.llvm import checked_ir
from iridescent_xdp.variant import Variant
from tests.unit.filter_cases import NETWORKS4, NETWORKS6, near, words

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
ALLOWED, DENIED, NEITHER = 2050, 2053, 0xFFFF_FFFF
SETS = st.lists(st.sampled_from([ip_network(n) for n in (*NETWORKS4, *NETWORKS6)]), unique=True)


def table(entries: Sequence[tuple[Network, int]]) -> Table:
    return Table(function="sets_compiled", layout=PACKET_KEY_LAYOUT, entries=tuple(entries))


def decided(allow: Sequence[Network], deny: Sequence[Network], source: Address) -> int:
    """What the filter's documentation says: the allow set first."""
    if any(source in network for network in allow):
        return ALLOWED
    return DENIED if any(source in network for network in deny) else NEITHER


def key_of(source: Address) -> dict[Field, int]:
    values = {Field("source", i): word for i, word in enumerate(words(source))}
    return values | {Field("family"): source.version}


@given(SETS, SETS, st.randoms(use_true_random=False))
def test_nested_ifs_decide_as_the_sets(
    allow: list[Network], deny: list[Network], rng: Random
) -> None:
    entries = set_entries(allow, deny, allowed=ALLOWED, denied=DENIED)
    node = NestedIfs().build(table(entries))
    for network in [*allow, *deny, None]:
        for version in (4, 6):
            source = near(rng, network, version)
            assert evaluate(node, key_of(source)) == decided(allow, deny, source), source


@contextmanager
def running(code: IrTable) -> Iterator[Callable[[Address], int]]:
    """The IR on this machine; the graphs that it asks say 77."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple().create_target_machine()
    lines = [s for s in code.text.splitlines() if not s.startswith(("target ", "declare "))]
    asked = [f'define i32 @"{name}"(ptr %key) {{ ret i32 77 }}' for name in code.graphs]
    module = llvm.parse_assembly("\n".join([*lines, *asked]))
    with llvm.create_mcjit_compiler(module, target) as engine:
        engine.finalize_object()
        kind = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_char_p)
        function = kind(engine.get_function_address(code.function))

        def ask(source: Address) -> int:
            key = b"".join(word.to_bytes(4, "little") for word in words(source)) + bytes(20)
            return int(function(key + bytes([source.version, 0, 0, 0])))

        yield ask


@pytest.mark.parametrize("count", [1, 7, 8, 40, 64])
def test_bits_turn_away_only_what_no_prefix_holds(count: int) -> None:
    rng = Random(count)
    deny = {
        IPv4Network((rng.getrandbits(32) >> 32 - n << 32 - n, n))
        for n in (rng.choice((9, 16, 24, 32)) for _ in range(count))
    }
    code = Bits().build(table([(network, DENIED) for network in deny]))
    turned = 0
    with running(code) as ask:
        for network in deny:
            for _ in range(20):
                assert ask(near(rng, network, 4)) in (77, NEITHER)
                low, high = int(network[0]), int(network[-1])
                assert ask(IPv4Address(rng.randint(low, high))) == 77, "it is in a prefix"
        for _ in range(2_000):
            turned += ask(IPv4Address(rng.getrandbits(32))) == NEITHER
        assert ask(ip_address("2001:db8::1")) == 77, "IPv6 is for the graph"
    assert turned > 0.6 * 2_000 * (1 - sum(n.num_addresses for n in deny) / 2**32)


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        (["10.0.0.0/7"], "shorter than 8 bits"),
        (["2001:db8::/32"], "no IPv4 prefix"),
        ([f"10.0.{n}.0/24" for n in range(65)], "more than 64 prefixes .* got 65"),
        (["10.0.0.0/8", "2001:db8::/32"], None),
    ],
)
def test_bits_say_what_they_do_not_take(networks: list[str], told: str | None) -> None:
    prefixes: list[Network] = [ip_network(n) for n in networks]
    reason = Bits().infeasible(table([(prefix, DENIED) for prefix in prefixes]))
    assert (reason is None) == (told is None)
    if told is not None and reason is not None:
        assert re.search(told, reason)


def test_nested_ifs_of_too_many_words_stay_in_the_map() -> None:
    base = int(IPv6Address("2001:db8::"))
    entries = [(IPv6Network((base + n, 128)), DENIED) for n in range(MOST_WORDS // 4)]
    assert NestedIfs().infeasible(table(entries)) is None
    more: list[tuple[Network, int]] = [*entries, (IPv4Network("10.0.0.0/8"), DENIED)]
    assert "got 8,001: jumps would be too long" in (NestedIfs().infeasible(table(more)) or "")


FILTER = read_template(find_template("filter"))
MINIMAL = """
from iridescent_xdp.representations import Representation, Result, Table

class Made(Representation):
    name = "NAME"
    points = frozenset({"filter.set_layout"})

    def build(self, table):
        return Result(0xFFFFFFFF)

REPRESENTATION = Made()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of representations of one's own."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    read_template.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    read_template.cache_clear()


def put(folder: Path, text: str = MINIMAL, name: str = "mine") -> None:
    (folder / f"{name}.py").write_text(text.replace("NAME", name))


def reread() -> Template:
    read_template.cache_clear()
    return read_template(find_template("filter"))


def test_points_have_the_values_of_all_files(folder: Path) -> None:
    own = ("trie", "hash", "bits", "ifs")
    assert FILTER.point("set_layout").labels == own
    put(folder)
    point = reread().point("set_layout")
    assert point.labels == (*own, "mine")
    assert point.domain == (0, 1, 2, 3, 4)
    made = chosen(reread(), "set_layout", 4)
    assert made is not None and made.name == "mine"
    assert chosen(reread(), "set_layout", 1) is None
    assert reread().point("rule_layout").labels == FILTER.point("rule_layout").labels


def test_what_only_llvm_can_fold_is_told() -> None:
    assert llvm_only(FILTER, "set_layout") == ("bits",)
    assert llvm_only(FILTER, "vlan_depth") == ()
    generic = Variant.generic(FILTER.points)
    assert only_llvm(FILTER, generic.with_values(set_layout=3)) is None
    told = only_llvm(FILTER, generic.with_values(set_layout=2))
    assert told == "set_layout=bits is written in LLVM IR, which only the LLVM toolchain can fold"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no representation"),
        ("REPRESENTATION = 7", "is no representation"),
        ("import nothing_of_this_name", "does not load: ModuleNotFoundError"),
        ("def (", "does not load: SyntaxError"),
        (MINIMAL.replace('"NAME"', '"Bad Name"'), "identifier in lower case, got 'Bad Name'"),
        (MINIMAL.replace('"filter.set_layout"', '"filter"'), r"template\.point, got \['filter'\]"),
        (MINIMAL.replace('"NAME"', '"ifs"'), "used once, got 'ifs'"),
        (MINIMAL.replace('"NAME"', '"hash"'), "'set_layout' has a value twice"),
    ],
)
def test_a_wrong_file_is_told(folder: Path, text: str, told: str) -> None:
    put(folder, text)
    with pytest.raises(ConfigError, match=told):
        reread()


def test_a_folder_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder / "gone"))
    with pytest.raises(ConfigError, match="names no folder"):
        everything()


class _Made(Representation):
    name = "made"
    points = frozenset({"filter.set_layout"})

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make

    def build(self, table: Table) -> Node:
        return self._make()  # type: ignore[return-value]


def ir(write: Callable[[KeyReader], object]) -> IrTable:
    return ir_table("f", PACKET_KEY_LAYOUT, write)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: 1 / 0, "fails: ZeroDivisionError"),
        (lambda: "text", "gives a str, neither a graph nor IR"),
        (lambda: Result(-1), "fails: ConfigError"),
        (lambda: ir(lambda key: key.field(Field("absent"))), "has no field absent"),
        (lambda: ir(lambda key: key.field(Field("family"))), "gives IR .say llvm_only = True"),
    ],
)
def test_what_a_representation_does_wrong_is_told(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ToolchainError, match=told):
        build(_Made(make), table([]))


GOOD = ir(lambda key: key.field(Field("source_port")))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("ret i32", "ret i64"), "is not valid: "),
        (('@"f"', '@"g"'), "does not define a function of that name"),
        (("define", "@t = constant i32 1\ndefine"), "has a global variable 't'"),
        (("define", "declare i32 @other()\ndefine"), "calls 'other', which nobody defines"),
    ],
)
def test_ir_that_cannot_be_linked_in_is_told(change: tuple[str, str], told: str) -> None:
    assert checked_ir(GOOD).get_function("f")
    assert change[0] in GOOD.text
    with pytest.raises(ToolchainError, match=told):
        checked_ir(replace(GOOD, text=GOOD.text.replace(*change, 1)))


def test_sets_in_the_code_are_in_the_digest_and_count_as_tables_in_the_code() -> None:
    digests = set()
    for deny in ("10.0.0.0/8", "10.0.0.0/9"):
        function = function_for(FILTER, FilterTables(deny=(ip_network(deny),)))
        generic = Variant.generic(FILTER.points, function.policy())
        assert not function.compiled_from_tables(generic)
        assert function.compile_tables(generic).digest == ""
        for layout in (2, 3):
            variant = generic.with_values(set_layout=layout)
            assert function.infeasible(variant) is None
            assert function.compiled_from_tables(variant)
            digests.add(function.compile_tables(variant).digest)
    assert len(digests) == 4
