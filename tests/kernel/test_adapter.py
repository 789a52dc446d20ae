# SPDX-License-Identifier: GPL-2.0-only
"""Two workloads by turns: a change is noticed, searched once, and recalled when it comes again."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from iridescent_xdp.adapt.adapter import Adapter
from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.commands.traffic_seen import read_traffic
from iridescent_xdp.config.model import AdaptConfig
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.limits import Limits
from iridescent_xdp.plan import Plan, make_plan
from tests.kernel.fixtures import wait_until
from tests.kernel.live import CONFIG_PATH, Events, fixed, operated, plan_for
from traffic.player import Player
from traffic.scenario import load_scenario
from traffic.testbed import GENERATOR_SIDE, Testbed, inside

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

SECONDS = {"udp 1": 7, "tcp 1": 4, "udp 2": 2.5, "tcp 2": 2.5}  # the first searches take long
SHARES = {"udp": "[0.0, 1.0, 0.0, 0.0]", "tcp": "[1.0, 0.0, 0.0, 0.0]"}
SCENARIO = """
name = "by turns"
description = "UDP and TCP by turns"
function = "filter"
[tables.filter]
rules = []
[mix]
flows = 64
""" + "".join(
    f'[[phase]]\nname = "{name}"\nseconds = {seconds}\n'
    f"[phase.mix]\nipv6_share = 0.0\nprotocol_shares = {SHARES[name[:3]]}\n"
    for name, seconds in SECONDS.items()
)
# each workload has a best variant of its own, because both narrow to one protocol
POINTS = fixed(rule_layout=("tree",), only_protocol=(6, 17))


def _plan() -> Plan:
    made = plan_for(points=POINTS)
    adapt = AdaptConfig(look_ms=10, every_ms=60)
    return make_plan(made.config.model_copy(update={"adapt": adapt}), CONFIG_PATH)


def _search(adapter: Adapter, controller: object) -> None:
    adapter.begins()
    campaign = Campaign(controller, seeds=adapter.seeds(), quick=True)  # type: ignore[arg-type]
    try:
        summary = campaign.run()
    finally:
        campaign.close()
    adapter.searched(summary)


def test_a_workload_that_comes_again_gets_its_winner_back(bed: Testbed, tmp_path: Path) -> None:
    path = tmp_path / "turns.toml"
    path.write_text(SCENARIO)
    builder, events = Builder("llvm"), Events()
    with inside(bed.generator):
        port = find_interface(GENERATOR_SIDE).index
        player = Player(builder, load_scenario(path), port, full_pps=1.5e6)
    with player, inside(bed.dut), operated(bed, builder, _plan(), events) as controller:
        adapter = Adapter(controller, Limits(controller.plan.config.limits), tmp_path / "w.db")
        with closing(adapter):
            player.play()
            wait_until(lambda: bool(player.switches), "no phase began")
            time.sleep(0.2)
            _search(adapter, controller)
            while not player.wait(0.06):
                adapter.step()
                if adapter.search_due:
                    _search(adapter, controller)
        wait_until(
            lambda: read_traffic(controller).packets >= player.sent + player.warm_up,
            "packets are missing",
        )
        assert read_traffic(controller).packets == player.sent + player.warm_up
        recalled = events.named("recalled")
        shown = [(line["event"], line.get("variant"), line.get("reason")) for line in events.lines]
        assert len(recalled) == 2, shown
        assert ["only_protocol=17" in r["variant"] for r in recalled] == [True, False], shown
        searches = events.named("space")
        assert len(searches) == 2, "one for each workload"
