# SPDX-License-Identifier: GPL-2.0-only
"""What the commands share: the checks beforehand, one guest per kernel, what is told afterwards."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import click

from vagrant.vm.guest_run import PID_FILE, Job, Outcome, run
from vagrant.vm.host import (
    RUN_BYTES,
    RUN_TOOLS,
    cache_folder,
    require_memory,
    require_root,
    require_space,
    require_tools,
)
from vagrant.vm.image import ensure_image
from vagrant.vm.kernels import Kernel

PYTEST = (
    ".venv/bin/python -m pytest tests/vm -v -p no:cacheprovider "
    "--junit-xml=/results/junit-boot$VM_BOOT.xml"
)
SMOKE = f"{PYTEST} -m smoke"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of the machine, from the command line."""

    cpus: int
    memory_mib: int
    accel: str
    timeout_s: float
    rebuild: bool


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Tests of all boots, as pytest's reports count them."""

    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def check_host(settings: Settings) -> Path:
    """The cache folder, when this machine can run a guest. Raises MissingFeatureError."""
    require_root()
    require_tools(RUN_TOOLS)
    require_memory(settings.memory_mib)
    cache = cache_folder()
    require_space(cache, RUN_BYTES, "a guest")
    return cache


def boot(kernel: Kernel, command: str, name: str, settings: Settings, show: bool = True) -> Outcome:
    """Build the image if need be, run one command in a guest, tell how it went."""
    cache = check_host(settings)
    image = ensure_image(kernel, cache, settings.rebuild)
    click.echo(f"vm: Linux {image.release}, {settings.cpus} CPUs", err=True)
    job = Job(
        command=command,
        kernel_name=kernel.name,
        timeout_s=settings.timeout_s,
        cpus=settings.cpus,
        memory_mib=settings.memory_mib,
        show=show,
    )
    outcome = run(
        image, job, free_folder(cache / "runs", f"{name}-{image.release}"), settings.accel
    )
    _tell(outcome)
    return outcome


def free_folder(runs: Path, name: str) -> Path:
    """A folder for a run: that of the last one of this name, unless its guest still runs."""
    for number in itertools.count(1):
        folder = runs / (name if number == 1 else f"{name}.{number}")
        try:
            pid = int((folder / PID_FILE).read_text())
        except (FileNotFoundError, ValueError):
            return folder
        if not Path(f"/proc/{pid}").exists():  # the runner was killed, and its guest with it
            return folder
    raise AssertionError("unreachable")


def tally(results: Path) -> Tally:
    """Add up the reports of all boots; nothing when there are none."""
    passed = failed = skipped = 0
    for file in sorted(results.glob("junit-boot*.xml")):
        for suite in ElementTree.parse(file).getroot().iter("testsuite"):
            bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            left = int(suite.get("skipped", 0))
            passed += int(suite.get("tests", 0)) - bad - left
            failed, skipped = failed + bad, skipped + left
    return Tally(passed=passed, failed=failed, skipped=skipped)


def captures(folder: Path) -> Sequence[Path]:
    """Recordings of the cable."""
    return sorted(folder.glob("wire.pcap*"))


def _tell(outcome: Outcome) -> None:
    lost = _lost(outcome.folder)
    if lost:
        click.echo(f"vm: the cable lost packets: {lost} (a side was that far behind)", err=True)
    if outcome.exit_code == 0:
        for file in captures(outcome.folder):
            file.unlink()
        where = f"results: {outcome.results}"
    else:
        kept = [str(file) for file in captures(outcome.folder)]
        recorded = f", the cable: {' '.join(kept)}" if kept else ", no capture (tcpdump is missing)"
        where = (
            f"kept: {outcome.results}, the guest's console: {outcome.folder / 'console.log'}"
            f"{recorded}"
        )
    spent = f"after {outcome.seconds:.0f} s ({outcome.accel})"
    click.echo(f"vm: exit code {outcome.exit_code} {spent}; {where}", err=True)


def _lost(folder: Path) -> dict[str, int]:
    try:
        found = json.loads((folder / "wire.json").read_text())
    except FileNotFoundError:  # a hub loses nothing, it makes the sender wait
        return {}
    return {name: counts["lost"] for name, counts in found.items() if counts["lost"]}
