# SPDX-License-Identifier: GPL-2.0-only
"""In the second boot: only the operator file was kept, and it is enough."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from iridescent_xdp.runtime import RUN
from iridescent_xdp.state import PINS
from tests.vm.load import BURST, Traffic
from tests.vm.rig import Rig
from tests.vm.sites import FIRST_PORT, PORTS, Site, stack_packets, verdicts
from tests.vm.test_boot import KEPT

pytestmark = pytest.mark.boot(2)


def test_nothing_else_was_kept(rig: Rig) -> None:
    assert rig.xdp() == ("none", 0)
    assert not (PINS / rig.key).exists() and not (RUN / rig.key).exists()


def test_the_service_attaches_again(rig: Rig, site: Site, traffic: Traffic) -> None:
    """As a service would start it; then it counts, from zero."""
    site.path = Path(shutil.copy(KEPT / "site.toml", site.folder))
    told = site.facts("run", site.path, "--once")
    assert told["exit_code"] == 0 and rig.xdp()[0] == "native"
    kind = traffic.kind(count=BURST, destination_ports=(FIRST_PORT, FIRST_PORT + PORTS - 1))
    before = stack_packets(rig)
    with site.controlled() as controller, traffic.source(kind) as source:
        assert controller.adopted

        def decided() -> int:
            return sum(verdicts(controller).values())

        assert decided() == 0
        sent = traffic.bursts(source, BURST, decided)
        assert verdicts(controller) == {"pass": sent // 2, "drop": sent - sent // 2}
        assert stack_packets(rig) - before == sent // 2
