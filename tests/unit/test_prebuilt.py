# SPDX-License-Identifier: GPL-2.0-only
"""Prebuilt templates are used for the sources they were made from, and for no others."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iridescent_xdp.builder import make_toolchain
from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.template import Template, bpf_directory, read_template
from iridescent_xdp.template_json import from_json
from iridescent_xdp.template_source import parse_template
from iridescent_xdp.toolchain import llvm, prebuilt
from iridescent_xdp.toolchain.base import Request, Role
from iridescent_xdp.variant import Variant

BITCODE, COMPILER = b"BC as if from clang", "clang 99"
SOURCE = """
#include "iridescent.h"
#include "own.h"
SPEC_RANGE(narrowing, depth, 2, 0, 2, "tags: looked behind");
SPEC_ENUM(tuning, layout, KEPT_TREE, "kept \\"so\\" or so", KEPT_MAP, KEPT_TREE);
SPEC_GENERIC(narrowing, protocol, "the one protocol");
struct inner { __u16 port; __u8 flags[3]; };
struct key { __u64 wide; struct inner inner[2]; __u8 family; };
SPEC_TABLE(decide, key, "the decision");
SPEC_HOT(often, key, "the same for few");
MAP_PERCPU_ARRAY(hits, struct key, OWN_ENTRIES, "packets");
MAP_LPM_TRIE(denied, struct inner, __u8, 1000, "denied sources");
static __always_inline int body(struct xdp_md *ctx) { return depth ? XDP_PASS : XDP_DROP; }
SPEC_PROGRAM(body)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "own.h").write_text("#define OWN_ENTRIES 7\n")
    path = tmp_path / "mine.bpf.c"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def carried(
    mine: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder of a package that carries ``mine``, on a host without clang and libclang."""
    folder = tmp_path_factory.mktemp("prebuilt")
    prebuilt.write(folder, parse_template(mine), BITCODE, COMPILER)
    monkeypatch.setattr(prebuilt, "directory", lambda: folder)
    bare(monkeypatch)
    yield folder
    read_template.cache_clear()


def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take clang and libclang away."""
    monkeypatch.setattr(llvm, "_NAMES", ())
    llvm.find_clang.cache_clear()
    monkeypatch.setitem(sys.modules, "iridescent_xdp.template_source", None)
    read_template.cache_clear()


def request(template: Template) -> Request:
    return Request(template=template, variant=Variant.generic(template.points), role=Role.STEADY)


def test_what_is_carried_is_what_was_declared(mine: Path, carried: Path) -> None:
    declared, read = parse_template(mine), read_template(mine)
    assert read == declared
    assert (read.structs, read.constants) == (declared.structs, declared.constants)
    offsets = {name: entry[1] for name, entry in (read.structs["key"].fields or {}).items()}
    assert offsets == {"wide": 0, "inner": 8, "family": 20}
    assert read.structs["key"].itemsize == 24, "padded to the alignment of __u64"
    assert read.structs["key"]["inner"].shape == (2,)
    assert read.map("hits").entries == 7
    assert prebuilt.bitcode(mine) == BITCODE
    assert llvm.template_bitcode(request(read)) == BITCODE


def test_every_template_of_the_package_survives_the_way(tmp_path: Path) -> None:
    paths = sorted(bpf_directory().glob("*.bpf.c"))
    assert len(paths) > 5
    for path in paths:
        declared = parse_template(path)
        prebuilt.write(tmp_path, declared, BITCODE, COMPILER)
        facts = json.loads((tmp_path / f"{declared.name}.json").read_text())
        read = from_json(facts["template"], path)
        assert read == declared
        assert (read.structs, read.constants) == (declared.structs, declared.constants)


@pytest.mark.parametrize("edited", ["mine.bpf.c", "own.h"])
def test_an_edited_source_is_not_the_one_that_is_carried(
    mine: Path, carried: Path, edited: str
) -> None:
    template = read_template(mine)
    file = mine.parent / edited
    file.write_text(file.read_text() + "\n")
    read_template.cache_clear()
    assert prebuilt.description(mine) is None
    assert prebuilt.bitcode(mine) is None
    for attempt in (lambda: read_template(mine), lambda: llvm.template_bitcode(request(template))):
        with pytest.raises(MissingFeatureError) as caught:
            attempt()
        assert "is not as it was when the package was built" in caught.value.message
        assert "install the package again" in caught.value.cure
    assert "apt-get install clang-19" in caught.value.cure


@pytest.mark.parametrize("damage", ["bitcode", "no bitcode", "json", "format", "list"])
def test_damaged_files_are_not_used(mine: Path, carried: Path, damage: str) -> None:
    code, described = carried / "mine.bc", carried / "mine.json"
    if damage == "bitcode":
        code.write_bytes(BITCODE[:-1])
    elif damage == "no bitcode":
        code.unlink()
    elif damage == "json":
        described.write_bytes(described.read_bytes()[:-9])
    elif damage == "format":
        described.write_text(json.dumps({**json.loads(described.read_text()), "format": 0}))
    else:
        described.write_text("[1, 2]")
    with pytest.raises(MissingFeatureError, match="does not carry mine"):
        read_template(mine)


def test_llvm_needs_no_clang_when_the_package_carries_its_templates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filter_path = bpf_directory() / "filter.bpf.c"
    prebuilt.write(tmp_path, parse_template(filter_path), BITCODE, COMPILER)
    bare(monkeypatch)
    with pytest.raises(MissingFeatureError, match="no clang"):
        make_toolchain("llvm")
    monkeypatch.setattr(prebuilt, "directory", lambda: tmp_path)
    assert make_toolchain("auto").name == make_toolchain("llvm").name == "llvm"
    assert prebuilt.inventory() == prebuilt.Inventory(fresh=("filter",), compiler=COMPILER)


def test_stale_templates_are_listed_and_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prebuilt.write(tmp_path, parse_template(bpf_directory() / "empty.bpf.c"), BITCODE, COMPILER)
    text = (tmp_path / "empty.json").read_text()
    source = json.loads(text)["source"]
    (tmp_path / "empty.json").write_text(text.replace(source, "0" * len(source)))
    bare(monkeypatch)
    monkeypatch.setattr(prebuilt, "directory", lambda: tmp_path)
    assert prebuilt.inventory() == prebuilt.Inventory(stale=("empty",), compiler=COMPILER)
    with pytest.raises(MissingFeatureError, match="no clang"):
        make_toolchain("llvm")


def test_a_source_tree_carries_nothing() -> None:
    assert prebuilt.inventory() == prebuilt.Inventory()
