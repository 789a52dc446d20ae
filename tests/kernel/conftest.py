# SPDX-License-Identifier: GPL-2.0-only
"""Kernel tests run where they can; where not, the skip names the cure.

``IRIDESCENT_REQUIRE_KERNEL=1`` turns such a skip into a failure: for the machine that must run
them. A test that needs more than ``BASE`` says so::

    @pytest.mark.needs(Feature.LIVE_FRAMES, toolchain="bcc")
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from iridescent_xdp.builder import Builder, make_toolchain
from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.kernel.features import Feature, probe
from iridescent_xdp.runtime import RUN, forget
from iridescent_xdp.state import PINS
from tests.kernel.command_lab import Lab
from tests.kernel.live import interface_key
from traffic.testbed import DUT_SIDE, Testbed, sweep

BASE = (
    Feature.PRIVILEGE,
    Feature.SYS_ADMIN,
    Feature.BPF,
    Feature.BPFFS,
    Feature.TEST_RUN,
    Feature.NETNS,
    Feature.VETH,
)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where kernel tests are required, before any fixture runs."""
    reason = "; ".join(_lacking(item))
    if reason and os.environ.get("IRIDESCENT_REQUIRE_KERNEL") == "1":
        pytest.fail(f"IRIDESCENT_REQUIRE_KERNEL=1, but {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)


def _lacking(item: pytest.Item) -> Iterator[str]:
    """What ``item`` needs and this machine lacks, each with its cure."""
    marks = list(item.iter_markers("needs"))
    for feature in dict.fromkeys([*BASE, *(feature for mark in marks for feature in mark.args)]):
        finding = probe(feature)
        if not finding.ok:
            yield f"{feature.value}: {finding.detail}; cure: {finding.cure}"
            return  # what follows mostly follows from it
    for name in {mark.kwargs["toolchain"] for mark in marks if "toolchain" in mark.kwargs}:
        if reason := _toolchain_lacks(name):
            yield reason


@cache
def _toolchain_lacks(name: str) -> str:
    try:
        make_toolchain(name)
    except MissingFeatureError as error:
        return f"toolchain {name}: {error.message}; cure: {error.cure}"
    return ""


# -- fixtures go below this line -----------------------------------------------------------


@pytest.fixture(
    scope="session",
    params=[pytest.param(n, marks=pytest.mark.needs(toolchain=n)) for n in ("llvm", "bcc")],
)
def builder(request: pytest.FixtureRequest) -> Builder:
    """A builder with each toolchain in turn; what it built is kept in the tests' own cache."""
    return Builder(request.param)


@pytest.fixture
def bed() -> Iterator[Testbed]:
    """Two namespaces and a veth pair; gone afterwards, with whatever was pinned for them."""
    sweep()
    with Testbed() as made:
        yield made
        forget(interface_key(made))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Testbed() as bed:
        made = Lab(bed, tmp_path)
        try:
            yield made
        finally:
            for process in made.started:
                if process.poll() is None:
                    process.kill()
                process.communicate()
            made.run("detach", DUT_SIDE)
        assert not (PINS / made.key).exists()
        assert not (RUN / made.key).exists()
