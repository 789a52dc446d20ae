# SPDX-License-Identifier: GPL-2.0-only
"""A controller is killed while packets come: they are counted all the same, the next takes over."""

from __future__ import annotations

import signal
import time

from iridescent_xdp.runtime import Record
from iridescent_xdp.state import PINS
from tests.kernel.fixtures import wait_until
from tests.kernel.live import Events
from tests.vm.load import BURST, Traffic
from tests.vm.rig import Rig
from tests.vm.sites import FIRST_PORT, PORTS, Site, stack_packets, verdicts


def test_killed_under_load_and_taken_over(rig: Rig, site: Site, traffic: Traffic) -> None:
    path = site.write(seconds=600)
    process = site.start("run", path)
    kind = traffic.kind(count=BURST, destination_ports=(FIRST_PORT, FIRST_PORT + PORTS - 1))
    try:
        wait_until((PINS / rig.key / "link").exists, "attached", seconds=30 * rig.slow)
        before = stack_packets(rig)
        with traffic.source(kind) as source:
            source.start()
            wait_until(lambda: stack_packets(rig) > before, "traffic", seconds=10 * rig.slow)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert rig.xdp()[0] == "native"
            while source.busy:
                time.sleep(0.01)
            sent = source.wait(60)
            record = Record.load(rig.key)
            assert record is not None and not record.alive

            events = Events()
            with site.controlled(events) as controller:
                assert controller.adopted and events.named("adopted")
                assert rig.xdp()[0] == "native"

                def decided() -> int:
                    return sum(verdicts(controller).values())

                traffic.settled(sent, decided)
                sent += traffic.bursts(source, BURST, decided)
                seen = verdicts(controller)
                assert seen == {"pass": sent // 2, "drop": sent - sent // 2}
                assert stack_packets(rig) - before == seen["pass"]
    finally:
        process.kill()
        process.communicate()
