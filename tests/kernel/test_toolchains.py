# SPDX-License-Identifier: GPL-2.0-only
"""Both toolchains give the same behaviour; objects are kept by content; refusals are one line."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from iridescent_xdp.builder import Builder, make_toolchain
from iridescent_xdp.errors import MissingFeatureError, ToolchainError
from iridescent_xdp.functions.base import Function, function_for
from iridescent_xdp.kernel.program import patch
from iridescent_xdp.preflight import Preflight
from iridescent_xdp.template import bpf_directory, read_template
from iridescent_xdp.toolchain import llvm
from iridescent_xdp.toolchain.base import MAP_FD_BASE, Role
from iridescent_xdp.toolchain.cache import CachedToolchain
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import TABLES, corners, filter_function, generic_of

TEMPLATES = sorted(bpf_directory().glob("*.bpf.c"))
SMALL = """
#include "iridescent.h"
SPEC_RANGE(tuning, size, 1, 1, 9, "a size");

static __always_inline int small(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return data + size * 10 > end ? XDP_DROP : XDP_PASS;
}
SPEC_PROGRAM(small)
"""


CALLING = SMALL.replace("data + size * 10 > end", "too_short(data, end)").replace(
    "static __always_inline int small",
    """static int too_short(void *at, void *end)
{
	return at + size * 10 > end;
}

static __always_inline int small""",
)


@pytest.mark.needs(toolchain="bcc")
@pytest.mark.needs(toolchain="llvm")
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name.split(".")[0])
def test_bcc_does_as_llvm(path: Path) -> None:
    function = function_for(read_template(path), TABLES if "filter" in path.name else None)
    generic, packets = generic_of(function), function.corpus((), seed=1)
    with closing(Preflight(Builder("llvm"), function, generic, packets)) as preflight:
        bcc = Builder("bcc")
        both = [v for v in corners(function, generic, seed=1) if not bcc.infeasible(function, v)]
        for variant in [generic, *both[:5]]:
            insns = bcc.variant(function, variant, Role.STEADY)
            preflight.check(insns, f"bcc_{variant.key}")


def small(folder: Path, text: str = SMALL) -> Function:
    (folder / "small.bpf.c").write_text(text)
    read_template.cache_clear()
    return Function(read_template(folder / "small.bpf.c"))


def build(builder: Builder, function: Function, **points: int) -> bytes:
    variant = Variant.generic(function.template.points).with_values(**points)
    return builder.variant(function, variant, Role.STEADY)


def cached(builder: Builder, folder: Path) -> CachedToolchain:
    """The builder's toolchain behind a cache of its own."""
    assert isinstance(builder.toolchain, CachedToolchain)
    return CachedToolchain(builder.toolchain._inner, folder / "cache")


@pytest.fixture
def keeping(builder: Builder, tmp_path: Path) -> Builder:
    made = object.__new__(Builder)
    made.toolchain = cached(builder, tmp_path)
    return made


def figures(builder: Builder) -> tuple[int, int]:
    assert isinstance(builder.toolchain, CachedToolchain)
    return builder.toolchain.hits, builder.toolchain.misses


def test_an_object_is_built_once(keeping: Builder, tmp_path: Path) -> None:
    function = small(tmp_path)
    first = build(keeping, function)
    assert build(keeping, function) == first
    assert figures(keeping) == (1, 1)
    assert build(keeping, function, size=2) != first
    assert figures(keeping) == (1, 2)


def test_a_changed_source_or_header_is_built_again(keeping: Builder, tmp_path: Path) -> None:
    first = build(keeping, small(tmp_path))
    changed = build(keeping, small(tmp_path, SMALL.replace("* 10", "* 12")))
    assert changed != first and figures(keeping) == (0, 2)
    (tmp_path / "beside.h").write_text("#define UNUSED 1\n")
    assert build(keeping, small(tmp_path)) == first
    assert figures(keeping) == (0, 3), "a new header beside the template may change it"


@pytest.mark.parametrize("damage", [b"", b"\0", b"\xff" * 100], ids=["empty", "short", "other"])
def test_a_damaged_entry_is_built_again(keeping: Builder, tmp_path: Path, damage: bytes) -> None:
    function = small(tmp_path)
    first = build(keeping, function)
    (entry,) = (p for p in (tmp_path / "cache" / "objects").rglob("*") if p.is_file())
    whole = entry.read_bytes()
    for content in (damage, whole[:-8], whole[:40] + b"\x01" + whole[41:]):
        entry.write_bytes(content)
        assert build(keeping, function) == first
    assert figures(keeping) == (0, 4)
    assert build(keeping, function) == first
    assert figures(keeping) == (1, 4)


def test_a_cache_that_cannot_be_written_is_no_error(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    made = object.__new__(Builder)
    made.toolchain = cached(builder, tmp_path)
    assert build(made, small(tmp_path))


def test_compiled_rules_are_part_of_the_digest(keeping: Builder) -> None:
    """Another rule list is another object, though the template and the points are the same."""
    one = filter_function()
    other = type(one)(one.template, type(TABLES)(rules=TABLES.rules[1:]))
    variant = generic_of(one).with_values(rule_layout=2)
    assert keeping.variant(one, variant, Role.STEADY) != keeping.variant(
        other, variant, Role.STEADY
    )
    assert figures(keeping) == (0, 2)


def test_objects_carry_no_descriptors(keeping: Builder) -> None:
    """An object is the same on every host; maps get their descriptors when it is loaded."""
    function = filter_function()
    insns = keeping.variant(function, generic_of(function), Role.ARM)
    seen: set[int] = set()

    def note(number: int) -> int:
        seen.add(number - MAP_FD_BASE)
        return 0

    patch(insns, map_fd=note, numbers={0: 7})
    indices = {spec.index for spec in function.template.maps}
    assert seen <= indices
    names = {spec.name for spec in function.template.maps if spec.index in seen}
    assert {"rules4", "rules6", "counters", "allow4", "deny6", "arm_stats"} <= names


def test_what_does_not_compile_is_one_line(builder: Builder, tmp_path: Path) -> None:
    function = small(tmp_path)  # the reader sees a sound one; then somebody edits the file
    (tmp_path / "small.bpf.c").write_text(SMALL.replace("size * 10", "length * 10"))
    with pytest.raises(ToolchainError) as caught:
        build(builder, function)
    message = str(caught.value)
    assert message.startswith(f"{'bcc' if builder.toolchain.name == 'bcc' else 'clang'} refuses")
    assert "small.bpf.c" in message and "undeclared identifier 'length'" in message
    assert "\n" not in message


@pytest.mark.needs(toolchain="llvm")
def test_a_function_that_nobody_said_to_inline_is_inlined(tmp_path: Path) -> None:
    calling = small(tmp_path, CALLING)
    assert build(Builder("llvm", cached=False), calling, size=3)


@pytest.mark.needs(toolchain="llvm")
def test_loops_get_the_second_half_of_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    """There they are unrolled: the loop over the rules in the map."""
    function, builder = filter_function(TABLES), Builder("llvm", cached=False)
    narrowed = generic_of(function).with_values(vlan_depth=0)
    unrolled = builder.variant(function, narrowed, Role.STEADY)
    monkeypatch.setattr(llvm, "LOOP_MARK", "no loop has this")
    assert len(builder.variant(function, narrowed, Role.STEADY)) < len(unrolled)
    generic = builder.variant(function, generic_of(function), Role.STEADY)
    monkeypatch.undo()
    assert builder.variant(function, generic_of(function), Role.STEADY) == generic


def test_auto_takes_bcc_where_there_is_no_clang(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise MissingFeatureError("no clang", cure="apt-get install clang")

    monkeypatch.setattr(llvm, "find_clang", none)
    assert make_toolchain("auto").name == "bcc"
    with pytest.raises(MissingFeatureError, match="no clang"):
        make_toolchain("llvm")


def test_auto_prefers_llvm() -> None:
    assert make_toolchain("auto").name == "llvm"
