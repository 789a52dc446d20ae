# SPDX-License-Identifier: GPL-2.0-only
"""A controller under load with all that a search has before it concludes, and three variants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from iridescent_xdp.arms import Built
from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.conclusion import Choice, Conclusion
from iridescent_xdp.controller import Controller
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.switchboard import ENTRY, FALLBACK
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import wait_until
from tests.kernel.live import Events, operated, plan_for
from traffic.mixes import Mix
from traffic.player import Player
from traffic.scenario import load_scenario
from traffic.scenario_streams import Part
from traffic.testbed import GENERATOR_SIDE, Testbed, inside

SCENARIOS = Path(__file__).parents[2] / "traffic" / "scenarios"
SOURCES = ip_network("198.18.0.0/16")
RULES = tuple(
    Rule(
        source=SOURCES,
        protocol=17,
        destination_ports=(1000 + 13 * n, 1000 + 13 * n),
        action="drop" if n % 3 else "pass",
    )
    for n in range(40)
)
# every packet walks the whole depth of a trie, and 1 in 16 is found there
DENIED = tuple(ip_network(f"198.18.{n >> 8}.{n & 255}/32") for n in range(0, 1 << 16, 16))
TABLES = FilterTables(rules=RULES, deny=DENIED)
MIX = Mix(name="IPv4", flows=256, hits=RULES, default_share=0.0, ipv6_share=0.0, seed=3)
SAMPLES = 50_000  # about 14 windows, so that a few may be empty


@dataclass
class Ground:
    """A controller, and what a search would have made before it concludes."""

    controller: Controller
    events: Events
    campaign: Campaign
    built: list[Built] = field(default_factory=list)

    def want(self, **config: object) -> None:
        """Another objective, other constraints or limits."""
        plan = self.controller.plan
        changed = plan.config.model_copy(update=config)
        self.controller.plan = self.campaign.plan = replace(plan, config=changed)
        self.events.lines.clear()

    def trial(self, samples: int = SAMPLES) -> list[ArmResult]:
        return self.campaign.trial(self.built, samples)

    def conclusion(self, **options: Any) -> Conclusion:
        here = self.campaign
        return Conclusion(self.controller, here.workshop, here._trials, here.space, **options)

    def choose(self, results: list[ArmResult], **config: object) -> Choice:
        self.want(**config)
        return self.conclusion().choose(self.built, results)

    def decided(self, results: list[ArmResult], **config: object) -> Choice:
        """Again, while generic stays because a neighbour took the CPU in some of the turns."""
        choice = self.choose(results, **config)
        for _ in range(1):
            if choice.built is None:
                choice = self.choose(self.trial(), **config)
        return choice

    def event(self, name: str) -> dict[str, Any]:
        (line,) = self.events.named(name)
        return line

    def intact(self) -> bool:
        """Slot 0 has what is live, slot 1 the generic code."""
        board, controller = self.controller.board, self.controller
        return (board.holds(ENTRY), board.holds(FALLBACK)) == (
            controller.live.info.prog_id, controller.generic.info.prog_id,
        )  # fmt: skip


def three_variants(generic: Variant) -> list[Variant]:
    """The points folded, with the rules in a map as before; the rules compiled in as well.

    In a test run generic takes 200 ns, they 97 and 47 ns.
    """
    folded = generic.with_values(set_layout=1, vlan_depth=0, ipv6=0)
    return [folded, folded.with_values(rule_layout=2)]


@contextmanager
def ground(bed: Testbed, *, sample_shift: int = 1) -> Iterator[Ground]:
    events = Events()
    plan = plan_for(TABLES, policy={"sample_shift": sample_shift}, max_seconds=600)
    with operated(bed, Builder("llvm"), plan, events) as controller:
        campaign = Campaign(controller)
        here = Ground(controller, events, campaign)
        here.built = [campaign.workshop.build(v) for v in three_variants(plan.generic)]
        assert not any(built.refused for built in here.built), here.built
        try:
            yield here
        finally:
            campaign.close()


@contextmanager
def played(
    bed: Testbed, here: Ground, *, rate: float = 1.0, full_pps: float | None = None
) -> Iterator[Player]:
    """Packets from another process, at a share of full speed."""
    steady = load_scenario(SCENARIOS / "steady.toml")
    phase = replace(steady.phases[0], rate=rate, seconds=600, parts=(Part(share=1.0, mix=MIX),))
    stop = threading.Event()
    with inside(bed.generator):
        index = find_interface(GENERATOR_SIDE).index
        player = Player(
            here.controller.builder, replace(steady, phases=(phase,)), index, full_pps=full_pps
        )
    with player:
        player.play(stop=stop)
        wait_until(lambda: player.sent_in(0), "the first packet")
        try:
            yield player
        finally:
            stop.set()
            player.wait()
