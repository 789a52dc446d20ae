# SPDX-License-Identifier: GPL-2.0-only
"""A search on the NIC to its end, under pktgen's load; and what the winner gains, as a ratio.

Times inside a virtual machine mean little, inside an emulated processor nothing: only the ratio of
two programs that took turns is told, and it is told where it comes from. An emulator makes other
instructions dear than a processor does, so the winner need not be that of real hardware.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest

from iridescent_xdp import campaign
from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.controller import Controller
from iridescent_xdp.summary import Summary
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.live import Events, stream_of
from tests.vm.load import BURST, Traffic, frames_of
from tests.vm.rig import Rig
from tests.vm.sites import FIRST_PORT, PORTS, Site, verdicts
from traffic.generator import StreamTimer
from traffic.pktgen_plan import Kind

# on an emulated processor, on another one: the first brings a few thousand packets a second
SEARCH_S, FINAL_SAMPLES = {True: 90, False: 10}, {True: 20_000, False: campaign.FINAL_SAMPLES}
ROUNDS, REPEAT = 11, 65_536  # of how many packets each
# the winner of a search is not slower than generic; this much is forgiven to an emulated clock
FORGIVEN = 0.9
EMULATION = "emulated processor (TCG): no statement about real hardware"


def test_a_search_comes_to_its_winner(
    rig: Rig, site: Site, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "TRIAL_TIMEOUT_S", campaign.TRIAL_TIMEOUT_S * rig.slow)
    monkeypatch.setattr(campaign, "FINAL_SAMPLES", FINAL_SAMPLES[rig.emulated])
    site.write(seconds=SEARCH_S[rig.emulated])
    events = Events()
    kind = traffic.kind(count=BURST, destination_ports=(FIRST_PORT, FIRST_PORT + PORTS - 1))
    with kept(events, rig.results / "search-events.jsonl"), site.controlled(events) as controller:
        sent, summary = searched(controller, traffic, kind)
        assert sum(verdicts(controller).values()) == sent, "a packet was lost or counted twice"
        assert events.named("space") and len(events.named("decision")) == 1, events.lines
        rows = [row for row in summary.rows if row.status == "measured"]
        assert rows, f"nothing was measured: {summary.rows}, {events.lines}"
        assert not [row for row in summary.rows if row.status == "refused"]
        live = controller.live_variant
        assert live == (summary.winner or controller.plan.generic)
        ratios = times_generic_takes(rig, controller, live, kind)
    told = {
        "kernel": os.uname().release,
        "processor": EMULATION if rig.emulated else "virtual",
        "winner": live.key,
        "measured": len(rows),
        "generic_to_winner": {"median": median(ratios), "low": min(ratios), "high": max(ratios)},
        "n": len(ratios),
        "live": live_times(events),
        "packets": sent,
    }
    (rig.results / "ratio.json").write_text(json.dumps(told, indent=1))
    print(f"generic to winner: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    assert summary.winner is None or median(ratios) > FORGIVEN


@contextmanager
def kept(events: Events, path: Path) -> Iterator[None]:
    """What the search said is with the results, however it ends."""
    try:
        yield
    finally:
        path.write_text("".join(json.dumps(line) + "\n" for line in events.lines))


def searched(controller: Controller, traffic: Traffic, kind: Kind) -> tuple[int, Summary]:
    """The search beside load that goes on until it ends; and what was sent."""
    found: list[Summary] = []

    def search() -> None:
        campaign = Campaign(controller)
        try:
            found.append(campaign.run())
        finally:
            campaign.close()

    with traffic.source(kind) as source:
        worker = threading.Thread(target=search)
        worker.start()
        sent = traffic.bursts(
            source,
            1,
            lambda: sum(verdicts(controller).values()),
            enough=lambda: not worker.is_alive(),
        )
        worker.join()
    assert found, "the search failed: see the events"
    return sent, found[0]


def live_times(events: Events) -> dict[str, object]:
    """What the decision was made on: times of packets on the wire, what each candidate saves."""
    (decision,) = events.named("decision")
    return {name: decision[name] for name in ("winner", "generic_ns", "noise_floor_ns", "gains")}


def times_generic_takes(
    rig: Rig, controller: Controller, winner: Variant, kind: Kind
) -> list[float]:
    """Generic to winner, for each of ROUNDS turns on the packets of the load."""
    builder, plan = Builder("llvm"), controller.plan
    stream = stream_of(list(frames_of(rig, kind)))
    programs = {
        name: controller.state.load(
            builder.variant(plan.function, variant, Role.STEADY), plan.function.template.name
        )
        for name, variant in (("generic", plan.generic), ("winner", winner))
    }
    try:
        with StreamTimer(builder, stream, repeat=REPEAT) as timer:
            rounds = timer.rounds(programs, ROUNDS)
    finally:
        for program in programs.values():
            program.close()
    pairs = zip(rounds["generic"], rounds["winner"], strict=True)
    return [generic / winning for generic, winning in pairs]
