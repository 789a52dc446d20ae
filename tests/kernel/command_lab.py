# SPDX-License-Identifier: GPL-2.0-only
"""A testbed in which commands run as processes of their own, as an operator starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.runtime import RUN
from iridescent_xdp.state import PINS
from iridescent_xdp.template import find_template, read_template
from traffic.generator import Generator
from traffic.mixes import Mix, build
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20.0
RULES = 16
QUICK = {"rule_layout": '["map", "tree"]'}


def tried(points: Mapping[str, str]) -> dict[str, str]:
    """``points`` as given, every other one fixed to its default, as TOML spells them."""
    searched = [p for p in read_template(find_template("filter")).points if p.searched]
    shown = {p.name: p.show(p.default) for p in searched}
    fixed = {p.name: f'"{shown[p.name]}"' if p.labels else shown[p.name] for p in searched}
    return fixed | dict(points)


@dataclass
class Lab:
    """A testbed, and the commands run in the namespace of the device under test."""

    bed: Testbed
    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{DUT_SIDE}@{os.stat(f'/run/netns/{self.bed.dut}').st_ino}"

    def start(self, *words: object, ns: str = "", before: tuple[str, ...] = ()) -> Any:
        command = [
            *("nsenter", f"--net=/run/netns/{ns or self.bed.dut}", *before),
            *(sys.executable, "-m", "iridescent_xdp.cli", *map(str, words)),
        ]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *words: object, **where: Any) -> tuple[int, str, str]:
        return finish(self.start(*words, **where))

    def facts(self, *words: object) -> Any:
        code, out, err = self.run(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    def status(self) -> Any:
        """What status says of the interface; None when nothing of ours is there."""
        found = self.facts("status", DUT_SIDE)["interfaces"]
        return found[0] if found else None

    def config(
        self,
        *,
        toolchain: str = "llvm",
        mode: str = "native-then-generic",
        points: Mapping[str, str] = QUICK,
        sample_shift: int = 1,
        seconds: int = 15,
    ) -> Path:
        """An operator file for RULES rules, in the lab's folder."""
        at = f"interface.{DUT_SIDE}"
        lines = [
            f'[{at}]\nfunction = "filter"\ntoolchain = "{toolchain}"\nmode = "{mode}"',
            f'[{at}.policy]\ndefault_action = "drop"\nsample_shift = {sample_shift}',
            f"[{at}.search]\nmax_seconds = {seconds}\n[{at}.search.points]",
            *(f"{name} = {value}" for name, value in tried(points).items()),
        ]
        for port in range(100, 100 + RULES):
            rule = f'protocol = "udp"\ndestination_port = {port}\naction = "drop"'
            lines.append(f"[[{at}.rules]]\n{rule}")
        path = self.folder / "site.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def xdp_program(self) -> int:
        with inside(self.bed.dut):
            return find_interface(DUT_SIDE).xdp_prog_id

    def assert_untouched(self, xdp_program: int = 0) -> None:
        """The interface is as it was and nothing is pinned or left in /run."""
        assert self.xdp_program() == xdp_program
        assert not (PINS / self.key).exists()
        assert not (RUN / self.key / "record.json").exists()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S + 10)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def until(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Poll; fails with what the process said when it ends before, or after PATIENCE_S."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := condition():
            return found
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("it did not come to that in time")


def has_event(path: Path, kind: str) -> bool:
    return path.exists() and f'"event": "{kind}"' in path.read_text()


@contextmanager
def traffic(lab: Lab) -> Iterator[Generator]:
    """Packets into the device under test, counted exactly."""
    stream = build(Mix(name="lab", flows=64, protocol_shares=(0, 1, 0, 0)))
    with inside(lab.bed.generator):
        generator = Generator(Builder(), stream, find_interface(GENERATOR_SIDE).index)
    with generator:
        generator.start()
        yield generator


def verdicts(status: Any) -> int:
    return sum(c["packets"] for c in status["counters"] if c["name"].startswith("verdict"))
