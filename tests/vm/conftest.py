# SPDX-License-Identifier: GPL-2.0-only
"""The suite of the virtual machine: skipped, with the reason, everywhere else.

It is no part of the ordinary run (``testpaths`` in pyproject.toml). ``VM_BOOT`` chooses: a test
with the mark ``boot(2)`` runs after the reboot, all others before it. ``smoke`` marks the shortest
proof.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from iridescent_xdp.runtime import RUN, forget
from iridescent_xdp.state import PINS
from tests.vm.load import Traffic
from tests.vm.rig import ROOT, Rig
from tests.vm.sites import Site

HERE = ROOT / "tests" / "vm"
TIMEOUT_S = 900  # an emulated processor is shared with whatever else the host does
REASON = "IRIDESCENT_VM is not 1: this suite runs in a virtual machine, make vm-test starts one"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "boot(number): the boot of the machine that it belongs to")
    config.addinivalue_line("markers", "smoke: one function, for a run of a few minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.path.is_relative_to(HERE)]
    if os.environ.get("IRIDESCENT_VM") != "1":
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=REASON))
        return
    for item in ours:
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))
    boot = int(os.environ.get("VM_BOOT", "1"))
    others = [item for item in ours if boot_of(item) != boot]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def boot_of(item: pytest.Item) -> int:
    mark = item.get_closest_marker("boot")
    return int(mark.args[0]) if mark else 1


@pytest.fixture(scope="session")
def rig() -> Rig:
    return Rig.from_environment()


@pytest.fixture
def site(rig: Rig, tmp_path: Path) -> Iterator[Site]:
    """The interface under test with nothing on it, before and afterwards."""
    clean(rig)
    yield Site(rig, tmp_path)
    clean(rig)
    assert rig.xdp() == ("none", 0)


@pytest.fixture
def traffic(rig: Rig) -> Traffic:
    """Load from the other end of the wire."""
    return Traffic(rig)


def clean(rig: Rig) -> None:
    """A link without pins goes, and the program with it."""
    shutil.rmtree(RUN / rig.key, ignore_errors=True)
    if (PINS / rig.key).is_dir():
        for pin in (PINS / rig.key).iterdir():
            pin.unlink()
        (PINS / rig.key).rmdir()
    forget(rig.key)
