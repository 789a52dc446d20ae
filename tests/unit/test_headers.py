# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel headers are taken, and that merging split packages loses nothing."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

import pytest

from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.toolchain import headers
from iridescent_xdp.toolchain.headers import kernel_headers, merge_trees

SHARED = ("include/linux/kconfig.h", "include/linux/ip.h", "arch/x86/include/asm/types.h")
GENERATED = ("include/generated/autoconf.h", "arch/x86/include/generated/asm/unistd.h")


def plant(root: Path, names: tuple[str, ...], text: str = "") -> Path:
    """Files under ``root``, each holding ``text`` and its own name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}{name}")
    return root


def split_packages(sources: Path, release: str, flavour: str = "amd64") -> Path:
    """Debian's two packages of one release; returns the flavour's tree."""
    common = plant(sources / f"linux-headers-{release}-common", SHARED)
    tree = plant(sources / f"linux-headers-{release}-{flavour}", GENERATED)
    (tree / "Makefile").write_text(f"include {common}/Makefile\n")
    return tree


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /usr/src; trees are merged under ``tmp_path/prefix``."""
    monkeypatch.delenv("BCC_KERNEL_SOURCE", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setenv("IRIDESCENT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "src"
    folder.mkdir()
    return folder


def find(sources: Path) -> Path:
    """The headers among ``sources``, on a kernel of which nothing is installed."""
    return kernel_headers(modules=sources.parent / "modules", sources=sources)


def test_merging_shows_every_file_of_both_trees(tmp_path: Path) -> None:
    left = plant(tmp_path / "left", ("a", "only/left", "both/l", "both/deep/l"), "left ")
    right = plant(tmp_path / "right", ("b", "both/r", "both/deep/r", "both/l"), "right ")
    merge_trees([left, right], tmp_path / "merged")
    shown = {
        str(path.relative_to(tmp_path / "merged")): path.read_text()
        for name in ("a", "b", "only/left", "both/l", "both/r", "both/deep/l", "both/deep/r")
        for path in [tmp_path / "merged" / name]
    }
    assert shown == {
        "a": "left a",
        "b": "right b",
        "only/left": "left only/left",
        "both/l": "right both/l",
        "both/r": "right both/r",
        "both/deep/l": "left both/deep/l",
        "both/deep/r": "right both/deep/r",
    }
    assert (tmp_path / "merged/only").is_symlink()


def test_split_packages_become_one_tree(sources: Path, tmp_path: Path) -> None:
    split_packages(sources, "6.1.0-56")
    tree = find(sources)
    assert tree == tmp_path / "prefix/kernel-headers/6.1.0-56-amd64"
    assert [name for name in SHARED + GENERATED if not (tree / name).is_file()] == []
    assert [path.name for path in tree.parent.iterdir()] == [tree.name]


def test_a_merged_tree_is_made_once(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split_packages(sources, "6.1.0-56")
    tree = find(sources)
    monkeypatch.setattr(headers, "merge_trees", lambda *_: pytest.fail("merged again"))
    assert find(sources) == tree


def test_a_merge_that_fails_leaves_nothing(sources: Path, tmp_path: Path) -> None:
    shutil.rmtree(split_packages(sources, "6.1.0-56") / "arch")
    with pytest.raises(MissingFeatureError, match="arch"):
        find(sources)
    left = [*(tmp_path / "prefix/kernel-headers").iterdir(), *(tmp_path / "cache").rglob("*/*")]
    assert left == []


def test_a_tree_whose_packages_were_replaced_is_made_again(sources: Path) -> None:
    split_packages(sources, "6.1.0-56")
    tree = find(sources)
    (tree / "include/generated").unlink()
    (tree / "include/generated").symlink_to(sources / "gone")
    assert (find(sources) / "include/generated/autoconf.h").is_file()


def test_the_newest_release_is_taken_by_number(sources: Path) -> None:
    for release in ("6.1.0-9", "6.1.0-56", "5.10.0-99"):
        split_packages(sources, release)
    split_packages(sources, "6.1.0-56", "rt-amd64")
    assert find(sources).name == "6.1.0-56-amd64"


def test_the_running_kernels_headers_come_first(sources: Path, tmp_path: Path) -> None:
    split_packages(sources, "99.1.0-1")
    modules = tmp_path / "modules" / platform.release()
    modules.mkdir(parents=True)
    plant(modules / "build", SHARED + GENERATED)
    assert find(sources) == modules / "build"


def test_the_source_link_names_the_shared_part(sources: Path, tmp_path: Path) -> None:
    modules = tmp_path / "modules" / platform.release()
    modules.mkdir(parents=True)
    plant(modules / "build", GENERATED)
    plant(modules / "source", SHARED)
    tree = find(sources)
    assert tree != modules / "build"
    assert [name for name in SHARED + GENERATED if not (tree / name).is_file()] == []


def test_where_the_environment_cannot_be_written_the_cache_is_used(
    sources: Path, tmp_path: Path
) -> None:
    split_packages(sources, "6.1.0-56")
    (tmp_path / "prefix").write_text("a file, so nothing can be made under it")
    assert find(sources) == tmp_path / "cache/headers/6.1.0-56-amd64"


def test_nothing_writable_is_told(sources: Path, tmp_path: Path) -> None:
    split_packages(sources, "6.1.0-56")
    (tmp_path / "prefix").write_text("")
    (tmp_path / "cache").write_text("")
    with pytest.raises(MissingFeatureError, match=r"cannot be written.*IRIDESCENT_CACHE"):
        find(sources)


def test_no_headers_at_all_names_the_package(sources: Path) -> None:
    plant(sources / "linux-headers-6.1.0-56-common", SHARED)
    with pytest.raises(MissingFeatureError, match=r"apt-get install linux-headers-"):
        find(sources)


def test_a_chosen_tree_is_taken(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_packages(sources, "6.1.0-56")
    chosen = plant(tmp_path / "chosen", SHARED + GENERATED)
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(chosen))
    assert find(sources) == chosen


def test_an_incomplete_chosen_tree_is_refused(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_packages(sources, "6.1.0-56")
    monkeypatch.setenv("BCC_KERNEL_SOURCE", str(plant(tmp_path / "chosen", SHARED)))
    with pytest.raises(MissingFeatureError, match=r"has no include/generated/autoconf\.h"):
        find(sources)
