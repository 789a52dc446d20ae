# SPDX-License-Identifier: GPL-2.0-only
"""The command line where it needs no kernel: shapes, exit codes, one line for each mistake."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from iridescent_xdp import errors
from iridescent_xdp.cli import COMMANDS, EXIT_CODES, cli
from iridescent_xdp.commands import detach
from iridescent_xdp.commands import doctor as doctor_command
from iridescent_xdp.kernel import features, probes
from iridescent_xdp.toolchain import llvm

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "commands.md").read_text()


def run(*words: object, **more: Any) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], **more)


def error_lines(result: Result) -> list[str]:
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()


@pytest.fixture
def unprivileged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(probes, "effective_capabilities", lambda: 0)
    features.forget()
    yield
    features.forget()


# -- the group -----------------------------------------------------------------------------


def test_help_names_every_command_and_exit_code() -> None:
    text = run("--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", text, re.MULTILINE), name
    for code in (0, 1, *_codes(), 130):
        assert re.search(rf"^ *{code}  \w", text, re.MULTILINE), code


def _codes() -> set[int]:
    leaves = errors.IridescentError.__subclasses__()
    assert len(leaves) >= 10
    return {leaf.exit_code for leaf in leaves if leaf.__module__.startswith("iridescent_xdp")}


def test_document_has_the_same_exit_codes_and_commands() -> None:
    told = dict(re.findall(r"^ *(\d+)  (.+)$", EXIT_CODES, re.MULTILINE))
    written = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", DOCUMENT, re.MULTILINE))
    assert written == told
    for name in COMMANDS:
        assert f"## `iridescent {name}" in DOCUMENT


@pytest.mark.parametrize("name", [*COMMANDS, "traffic send", "traffic pktgen", "traffic replay"])
def test_each_option_is_documented(name: str) -> None:
    command: click.Command | None = cli
    for word in name.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
    assert run(*name.split(), "--help").exit_code == 0
    section = DOCUMENT.split(f"## `iridescent {name}", 1)[1].split("\n## ", 1)[0]
    assert isinstance(command, click.Group) or "--json" in section
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert f"`{parameter.opts[-1]}" in section, parameter.opts


@pytest.mark.parametrize(
    "words",
    [
        ["fly"],
        ["run"],
        ["inspect"],
        ["run", "a", "b"],
        ["status", "--loud"],
        ["demo", "--seconds", "0"],
    ],
)
def test_wrong_command_lines_are_usage_errors(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert "Error:" in result.stderr and "Usage:" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            errors.ConfigError("x must be y, got z", cure="write y"),
            2,
            "x must be y, got z (write y)",
        ),
        (errors.VerifierError("refused", log="a long log\n" * 99), 3, "refused"),
        (errors.TrafficError("cannot send"), 7, "cannot send"),
        (PermissionError(errno.EPERM, "creating map"), 5, "not permitted: creating map (run as"),
        (PermissionError(errno.EACCES, "denied", "/sys/fs/bpf/iridescent"), 5, "run as root"),
        (PermissionError(errno.EACCES, "denied", "/home/else/file"), 1, "/home/else/file: denied"),
        (OSError(errno.ENOSPC, "disk full", "out.json"), 1, "out.json: disk full"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(doctor_command, "checks", fail)
    result = run("doctor")
    assert result.exit_code == code
    (line,) = error_lines(result)
    assert words in line
    monkeypatch.setenv("IRIDESCENT_DEBUG", "1")
    assert "Traceback" in run("doctor").stderr


# -- inspect -------------------------------------------------------------------------------


def test_inspect_tells_what_the_source_declares() -> None:
    result = run("inspect", "filter", "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    source = (ROOT / "bpf" / "filter.bpf.c").read_text()
    declared = re.findall(
        r"^SPEC_(BOOL|RANGE|ENUM|GENERIC|ASSUME)\((?:(\w+), )?(\w+)", source, re.M
    )
    classes = {name: class_ or "narrowing" for _, class_, name in declared}
    points = {point["name"]: point for point in facts["points"]}
    assert {n: points[n]["class"] for n in classes} == classes
    layouts = source.split("rule_layout, LAYOUT_MAP,", 1)[1].split(");", 1)[0]
    names = [name.lower() for name in re.findall(r"LAYOUT_(\w+)", layouts)]
    assert points["rule_layout"]["domain"] == names
    assert points["rule_layout"]["default"] == "map"
    line = next(n for n, s in enumerate(source.splitlines(), 1) if "rule_layout," in s)
    assert points["rule_layout"]["where"] == f"filter.bpf.c:{line}"
    searched = [p for p in facts["points"] if p["class"] != "policy"]
    assert facts["space_size"] == prod(len(p["domain"]) for p in searched)
    maps = {m["name"]: m for m in facts["maps"]}
    assert (maps["deny4"]["type"], maps["deny4"]["entries"]) == ("lpm_trie", 100_000)
    assert [t["name"] for t in facts["tables"]] == ["rules_compiled", "sets_compiled"]


def test_inspect_as_a_table_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    llvm.find_clang.cache_clear()
    result = run("inspect", "filter")
    llvm.find_clang.cache_clear()
    assert result.exit_code == 0
    for word in ("vlan_depth", "narrowing", "map, chain", "VLAN tags", "lpm_trie"):
        assert word in result.stdout
    assert "toolchain llvm: missing: no clang" in result.stdout


def test_inspect_an_unknown_template() -> None:
    result = run("inspect", "bridge")
    assert result.exit_code == 3
    (line,) = error_lines(result)
    assert "no template 'bridge'" in line and "filter" in line


def test_inspect_a_wrong_declaration_names_file_line_and_rule(tmp_path: Path) -> None:
    path = tmp_path / "twice.bpf.c"
    path.write_text(
        '#include "iridescent.h"\nSPEC_BOOL(tuning, fast, true, "one");\n'
        'SPEC_RANGE(tuning, slow, 9, 0, 3, "two");\n'
        "static __always_inline int twice(struct xdp_md *ctx)\n"
        "{\n\treturn fast ? XDP_DROP : slow;\n}\nSPEC_PROGRAM(twice)\n"
    )
    result = run("inspect", path)
    assert result.exit_code == 3
    (line,) = error_lines(result)
    assert "twice.bpf.c:3" in line and "'slow'" in line and "default=9" in line


# -- run, status, detach -------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "site.toml"
        path.write_text(text)
        return path

    return write


def test_each_mistake_has_its_line(file: Callable[[str], Path]) -> None:
    text = '[interface.nowhere0]\nfunction = "filter"\nmode = "nativ"\nspeed = 3\n'
    result = run("run", file(f'{text}[[interface.nowhere0.rules]]\naction = "reject"\n'))
    assert result.exit_code == 2
    lines = error_lines(result)
    assert len(lines) == 3
    for line, key in zip(sorted(lines), ("mode", "rules[0].action", "speed"), strict=True):
        assert line.startswith("error: ") and f"interface.nowhere0.{key}" in line


def test_points_of_all_interfaces_are_checked_before_anything_is_touched(
    file: Callable[[str], Path],
) -> None:
    text = (
        '[interface.nowhere0]\nfunction = "filter"\n'
        "[interface.nowhere0.policy]\ncolour = 1\n"
        '[interface.nowhere1]\nfunction = "filter"\n'
        "[interface.nowhere1.search.points]\nvlan_depth = 9\n"
    )
    result = run("run", file(text))
    assert result.exit_code == 2
    first, second = error_lines(result)
    assert "interface.nowhere0.policy.colour" in first
    assert "interface.nowhere1.search.points.vlan_depth" in second and "got 9" in second


def test_missing_operator_file(tmp_path: Path) -> None:
    result = run("run", tmp_path / "nowhere.toml")
    assert result.exit_code == 2
    (line,) = error_lines(result)
    assert "nowhere.toml" in line


@pytest.mark.usefixtures("unprivileged")
def test_without_privileges_there_is_one_clear_line(file: Callable[[str], Path]) -> None:
    # no interface has this name: were the check missing, nothing real would be touched
    config = file('[interface.nowhere0]\nfunction = "filter"\n')
    for words in (["run", config, "--once"], ["status"], ["detach", "nowhere0"]):
        result = run(*words)
        assert result.exit_code == 5
        (line,) = error_lines(result)
        assert "CAP_BPF and CAP_NET_ADMIN" in line


@pytest.mark.parametrize("words", [["detach"], ["detach", "nowhere0", "--all"]])
def test_detach_wants_one_interface_or_all(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detach, "known_keys", list)
    result = run(*words)
    assert result.exit_code == 2
    assert error_lines(result) == [
        "error: name an interface, or give --all (see 'iridescent status')"
    ]
