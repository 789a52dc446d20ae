# SPDX-License-Identifier: GPL-2.0-only
"""What is missing is told, each with a cure; the kernel and the compilers are stand-ins here."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from iridescent_xdp import doctor
from iridescent_xdp.doctor import Check
from iridescent_xdp.errors import ToolchainError
from iridescent_xdp.kernel import features
from iridescent_xdp.kernel.features import Feature, Finding
from iridescent_xdp.toolchain import llvm

MISSING_CODE = 5
ROOT = Path(__file__).resolve().parents[2]


def refuse(error: Exception) -> Callable[..., str]:
    """A stand-in that raises ``error``."""

    def attempt(*_: object) -> str:
        raise error

    return attempt


def finding(feature: Feature, ok: bool) -> Finding:
    return Finding(feature=feature, ok=ok, detail="seen", cure="" if ok else "do this")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that has every kernel feature and both toolchains."""
    monkeypatch.setattr(doctor, "probe", lambda feature: finding(feature, True))
    monkeypatch.setattr(doctor, "_compiles", lambda name: f"{name} works")
    return monkeypatch


@pytest.fixture
def clangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty PATH folder for stand-in compilers."""
    monkeypatch.setenv("PATH", str(tmp_path))
    llvm.find_clang.cache_clear()
    llvm.clang_version.cache_clear()
    yield tmp_path
    llvm.find_clang.cache_clear()
    llvm.clang_version.cache_clear()


def look(name: str) -> Check:
    """The check called ``name``."""
    (found,) = [check for check in doctor.checks() if check.name == name]
    return found


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


# -- the list ------------------------------------------------------------------------------


def test_every_failed_check_has_a_cure_and_no_other(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(doctor, "probe", lambda feature: finding(feature, feature != Feature.NETNS))
    machine.setattr(doctor, "_compiles", refuse(ToolchainError("no")))
    found = doctor.checks()
    assert {check.name for check in found if not check.ok} >= {"network namespaces", "a toolchain"}
    assert [check.name for check in found if bool(check.cure) is check.ok] == []
    assert [check.name for check in found if not check.needed_for or not check.detail] == []
    assert len({check.name for check in found}) == len(found)


def test_every_feature_is_listed(machine: pytest.MonkeyPatch) -> None:
    assert {feature.value for feature in Feature} <= {check.name for check in doctor.checks()}


def test_json_holds_the_members(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(doctor, "probe", lambda feature: finding(feature, False))
    told = json.loads(json.dumps(look("veth pairs").to_json()))
    needed_for = features.PROBES[Feature.VETH].needed_for
    assert told == {
        "name": "veth pairs",
        "ok": False,
        "needed_for": needed_for,
        "detail": "seen",
        "cure": "do this",
        "required": False,
    }


@pytest.mark.parametrize(
    ("lost", "code"),
    [
        (Feature.PRIVILEGE, MISSING_CODE),
        (Feature.BPF, MISSING_CODE),
        (Feature.BPFFS, MISSING_CODE),
        (Feature.LPM_TRIE, MISSING_CODE),
        (Feature.BTF, 0),
        (Feature.LIVE_FRAMES, 0),
        (Feature.XDP_LINK, 0),
        (None, 0),
    ],
)
def test_the_exit_code_is_for_what_is_required(
    machine: pytest.MonkeyPatch, lost: Feature | None, code: int
) -> None:
    machine.setattr(doctor, "probe", lambda feature: finding(feature, feature is not lost))
    machine.setattr(doctor, "_dependencies", lambda: "all")
    assert doctor.exit_code(doctor.checks()) == code


# -- toolchains ----------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["bcc", "llvm"])
def test_one_toolchain_is_enough(machine: pytest.MonkeyPatch, broken: str) -> None:
    def compiles(name: str) -> str:
        if name == broken:
            raise ToolchainError(f"{name} is broken")
        return "fine"

    machine.setattr(doctor, "_compiles", compiles)
    names = {"bcc": "bcc compiles", "llvm": "LLVM compiles"}
    assert not look(names[broken]).ok
    assert look(names[broken]).detail == f"{broken} is broken"
    assert look("a toolchain").ok


def test_without_any_toolchain_something_required_is_missing(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(doctor, "_compiles", refuse(RuntimeError("crashed inside")))
    assert look("bcc compiles").detail == "crashed inside"
    check = look("a toolchain")
    assert (check.ok, check.required) == (False, True)
    assert doctor.exit_code([check]) == MISSING_CODE


def test_another_package_called_bcc_is_told(machine: pytest.MonkeyPatch) -> None:
    other = ModuleType("bcc")
    other.__file__ = "/somewhere/bcc.py"
    machine.setitem(sys.modules, "bcc", other)
    check = look("bcc module")
    assert not check.ok
    assert check.detail.startswith("/somewhere/bcc.py is another package")
    assert "pip uninstall bcc" in check.cure


def test_no_bcc_names_the_package(machine: pytest.MonkeyPatch) -> None:
    machine.setitem(sys.modules, "bcc", None)
    assert look("bcc module").cure.startswith("apt-get install python3-bpfcc")


@pytest.mark.parametrize(
    ("name", "line", "ok"),
    [
        ("clang-19", "Debian clang version 19.1.7 (3~deb12u1)", True),
        ("clang-16", "clang version 16.0.6", True),
        ("clang", "Debian clang version 14.0.6", False),
        ("clang", "Apple something", False),
    ],
)
def test_clang_is_new_enough_or_not(
    machine: pytest.MonkeyPatch, clangs: Path, name: str, line: str, ok: bool
) -> None:
    script(clangs / name, f"echo '{line}'")
    check = look("clang")
    assert check.ok is ok
    assert line in check.detail
    assert check.cure == ("" if ok else "apt-get install clang-19")


def test_no_clang_and_a_broken_clang(machine: pytest.MonkeyPatch, clangs: Path) -> None:
    assert look("clang").cure == "apt-get install clang-19"
    script(clangs / "clang-19", "exit 3")
    check = look("clang")
    assert not check.ok
    assert "does not run" in check.detail


def test_trying_to_compile_leaves_the_cache_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for kept in ("/kept", None):
        monkeypatch.setenv("IRIDESCENT_CACHE", kept or "")
        if kept is None:
            monkeypatch.delenv("IRIDESCENT_CACHE")
        with doctor._fresh_cache():
            inside = os.environ["IRIDESCENT_CACHE"]
            assert inside != kept
            assert Path(inside).is_dir()
        assert os.environ.get("IRIDESCENT_CACHE") == kept
        assert not Path(inside).exists()


# -- everything else -----------------------------------------------------------------------


def test_the_dependencies_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[=<>~! ]", line)[0] for line in project["dependencies"]]
    assert sorted(doctor.DISTRIBUTIONS) == sorted(names)


def test_a_missing_dependency_is_named(machine: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "scapy":
            raise metadata.PackageNotFoundError(name)
        return "1"

    machine.setattr(metadata, "version", version)
    check = look("Python dependencies")
    assert (check.ok, check.required) == (False, True)
    assert check.detail == "not installed: scapy"
    assert check.cure == "make setup"


def test_a_cache_that_cannot_be_written(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    machine.setenv("IRIDESCENT_CACHE", str(tmp_path / "file" / "cache"))
    check = look("object cache")
    assert not check.ok
    assert "IRIDESCENT_CACHE" in check.cure
    machine.setenv("IRIDESCENT_CACHE", str(tmp_path / "new"))
    assert look("object cache").ok
    assert list((tmp_path / "new").iterdir()) == []


def test_peer_objects_complete_or_not(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setattr(doctor, "PEER_FOLDERS", (f"{tmp_path}/*/bpf",))
    assert "apt-get install" in look("xdp-filter objects").cure
    folder = tmp_path / "lib" / "bpf"
    folder.mkdir(parents=True)
    for name in doctor.PEER_OBJECTS:
        (folder / name).touch()
    assert look("xdp-filter objects").ok
    (folder / "xdpfilt_dny_ip.o").unlink()
    check = look("xdp-filter objects")
    assert check.detail == "xdp-filter objects not found: xdpfilt_dny_ip.o"
