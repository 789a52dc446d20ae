# SPDX-License-Identifier: GPL-2.0-only
"""A scenario on a testbed, as a program at the receiving end sees it: which packets, and when."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from iridescent_xdp.builder import Builder
from iridescent_xdp.cli import cli
from iridescent_xdp.errors import TrafficError
from iridescent_xdp.functions.base import Function
from iridescent_xdp.functions.l4lb_tables import DrainBackend
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.state import State
from iridescent_xdp.template import read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import wait_until
from tests.kernel.live import interface_of
from traffic.player import PhaseSwitch, Player
from traffic.scenario import Phase, Scenario, TableChange, load_scenario
from traffic.testbed import GENERATOR_SIDE, Testbed, inside

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

# counts packets by kind (IPv4 UDP, IPv4 TCP, IPv6, others), when the first and the last of them
# came by the clock that time.monotonic_ns() has too, and pauses of 100 µs and more before one
WITNESS = """
#include "iridescent.h"
struct seen { __u64 packets[4]; __u64 first_ns[4]; __u64 last_ns[4]; __u64 pauses[4]; __u64 ns; };
MAP_PERCPU_ARRAY(seen, struct seen, 1, "packets by kind, and when");
SPEC_BOOL(policy, unused, false, "a template has a point");
static __always_inline __u32 kind_of(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	if ((void *)(data + 24) > (void *)(long)ctx->data_end)
		return 3;
	if (data[12] == 0x86 && data[13] == 0xdd)
		return 2;
	return data[23] == 17 ? 0 : data[23] == 6 ? 1 : 3;
}
static __always_inline int witness(struct xdp_md *ctx)
{
	__u32 zero = 0, kind = kind_of(ctx) & 3;
	struct seen *seen = bpf_map_lookup_elem(MAP(seen), &zero);
	__u64 now = bpf_ktime_get_ns();

	if (!seen)
		return XDP_ABORTED;
	seen->packets[kind]++;
	if (!seen->first_ns[kind])
		seen->first_ns[kind] = now;
	seen->last_ns[kind] = now;
	if (now - seen->ns > 100000)
		seen->pauses[kind]++;
	seen->ns = now;
	return XDP_DROP;
}
SPEC_PROGRAM(witness)
"""
HEAD = """
name = "test"
description = "three phases that differ in protocol and rate"
function = "filter"
[tables.filter]
rules = []
[mix]
flows = 64
"""
UDP, TCP, IPV6 = (
    f'[[phase]]\nname = "{name}"\nseconds = 5\nrate = {{}}\n[phase.mix]\n{mix}\n'
    for name, mix in (
        ("udp", "ipv6_share = 0.0\nprotocol_shares = [0.0, 1.0, 0.0, 0.0]"),
        ("tcp", "ipv6_share = 0.0\nprotocol_shares = [1.0, 0.0, 0.0, 0.0]"),
        ("ipv6", "ipv6_share = 1.0"),
    )
)
SCALE = 0.1  # half a second for each phase
WITHIN, LATE_MS = 0.2, 10
ATTEMPTS = 5


class Witness:
    """The program at the receiving end."""

    def __init__(self, builder: Builder, folder: Path) -> None:
        path = folder / "witness.bpf.c"
        path.write_text(WITNESS)
        template = read_template(path)
        code = builder.variant(Function(template), Variant.generic(template.points), Role.STEADY)
        self.state = State.create(template)
        self.program = self.state.load(code, "witness")

    def __call__(self, what: str) -> list[int]:
        """One of the columns, by kind. All packets come on one CPU."""
        rows = self.state["seen"].read()
        assert rows is not None
        (row,) = [row for row in rows if row["packets"].sum()] or [rows[0]]
        return [int(value) for value in row[what]]


@contextmanager
def witnessed(bed: Testbed, builder: Builder, folder: Path) -> Iterator[Witness]:
    witness = Witness(builder, folder)
    link = Link.attach(witness.program, interface_of(bed), "native")
    try:
        yield witness
    finally:
        link.close()
        witness.program.close()
        witness.state.close()


def scenario_of(folder: Path, text: str) -> Scenario:
    path = folder / "test.toml"
    path.write_text(text)
    return load_scenario(path)


def player_for(bed: Testbed, builder: Builder, scenario: Scenario, **options: Any) -> Player:
    with inside(bed.generator):
        return Player(builder, scenario, find_interface(GENERATOR_SIDE).index, **options)


@pytest.fixture
def seen_by(bed: Testbed, tmp_path: Path) -> Iterator[Witness]:
    with inside(bed.dut), witnessed(bed, Builder("llvm"), tmp_path) as witness:
        yield witness


def test_phases_follow_each_other_exactly(bed: Testbed, seen_by: Witness, tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, HEAD + UDP.format(1) + TCP.format(0.2) + IPV6.format(0.01))
    with player_for(bed, Builder("llvm"), scenario, time_scale=SCALE / 5) as player:
        player.play()
        assert player.wait(30) and player.finished
        wait_until(lambda: sum(seen_by("packets")) >= player.sent, "all packets have come")
        udp, tcp, ipv6, others = seen_by("packets")
        assert (udp - player.warm_up, tcp, ipv6, others) == (*map(player.sent_in, range(3)), 0)
        assert player.warm_up > 0 and ipv6 > 0
        assert [switch.name for switch in player.switches] == ["udp", "tcp", "ipv6"]
        first, last = seen_by("first_ns"), seen_by("last_ns")
        for number in (1, 2):
            assert last[number - 1] < player.switches[number].at_ns < first[number]
    assert player.sent == sum((udp, tcp, ipv6)), "counts outlive the player"


def test_rates_and_times_are_kept(bed: Testbed, seen_by: Witness, tmp_path: Path) -> None:
    """Where something else takes the CPU they cannot be: then it is tried again."""
    scenario = scenario_of(tmp_path, HEAD + UDP.format(1) + TCP.format(0.2) + IPV6.format(0.01))
    missing: dict[str, str] = {}
    for attempt in range(ATTEMPTS):
        before = seen_by("pauses")
        with player_for(bed, Builder("llvm"), scenario, time_scale=SCALE) as player:
            player.play()
            assert player.wait(60) and player.finished
            assert [p.wanted_pps > 0 for p in player.played] == [False, True, True]
            wrong = dict(unlike(player))
        for kind in (1, 2):
            if seen_by("pauses")[kind] - before[kind] < 100:
                wrong[f"pauses {kind}"] = "no time between bursts"
        missing = {k: told for k, told in wrong.items() if attempt == 0 or k in missing}
        if not missing:
            return
    pytest.fail("; ".join(missing.values()))


def unlike(player: Player) -> Iterator[tuple[str, str]]:
    """Rates and times that are not as the scenario has them."""
    began_ns = player.switches[0].at_ns
    for number, (phase, share) in enumerate(zip(player.played, (1, 0.2, 0.01), strict=True)):
        wanted = share * player.full_pps
        if phase.pps != pytest.approx(wanted, rel=WITHIN):
            yield f"rate {number}", f"{phase.name}: {phase.pps:,.0f}/s, wanted {wanted:,.0f}"
        late_ms = (player.switches[number].at_ns - began_ns) / 1e6 - number * 500
        if abs(late_ms) > LATE_MS:
            yield f"time {number}", f"{phase.name} began {late_ms} ms late"


def test_a_phase_returns_and_counts_apart(bed: Testbed, seen_by: Witness, tmp_path: Path) -> None:
    scenario = scenario_of(
        tmp_path,
        HEAD + UDP.format(1) + TCP.format(1) + UDP.format(1).replace('"udp"', '"udp again"'),
    )
    with player_for(bed, Builder("llvm"), scenario, time_scale=SCALE / 5) as player:
        player.play()
        assert player.wait(30)
        wait_until(lambda: sum(seen_by("packets")) >= player.sent, "all packets have come")
        one, two, three = map(player.sent_in, range(3))
        assert min(one, two, three) > 0 and player.warm_up == 0
        assert seen_by("packets") == [one + three, two, 0, 0]


def test_callbacks_are_told_and_may_be_slow(bed: Testbed, seen_by: Witness, tmp_path: Path) -> None:
    change = "[[phase.changes]]\nat_s = {}\ndrain_backend = {{ service = 0, backend = {} }}\n"
    text = HEAD.replace("filter", "l4lb").replace("[tables.l4lb]\nrules = []\n", "")
    phases = UDP.format(0.5) + change.format(0, 1) + change.format(4, 2) + TCP.format(0.5)
    scenario = scenario_of(tmp_path, text + phases)
    told: list[object] = []
    released = threading.Event()

    def on_phase(phase: Phase, switch: PhaseSwitch) -> None:
        told.append(phase.name)
        released.wait(10)  # until the first two phases are over

    def on_change(table_change: TableChange, at_ns: int) -> None:
        (made,) = table_change.for_tables(scenario.interface_tables())
        assert isinstance(made, DrainBackend)
        told.append((at_ns - player.switches[0].at_ns) / 1e9)

    options = {"time_scale": 0.02, "full_pps": 1e6}
    with player_for(bed, Builder("llvm"), scenario, **options) as player:
        player.play(on_phase=on_phase, on_change=on_change)
        wait_until(lambda: player.sent_in(1), "the second phase is on, whoever is slow")
        released.set()
        assert player.wait(30) and player.finished
        assert told == ["udp", pytest.approx(0, abs=0.02), pytest.approx(0.08, abs=0.02), "tcp"]
        assert player.warm_up == 0 and player.full_pps == 1e6


def test_it_ends_early_when_told_to(bed: Testbed, seen_by: Witness, tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, HEAD + UDP.format(1) + TCP.format(1))
    stop = threading.Event()
    with player_for(bed, Builder("llvm"), scenario) as player:
        player.play(stop=stop)
        wait_until(lambda: player.sent, "traffic")
        assert not player.wait(0)
        stop.set()
        assert player.wait(5) and not player.finished
        sent = player.sent
        wait_until(lambda: sum(seen_by("packets")) >= sent, "all packets have come")
        assert seen_by("packets") == [sent, 0, 0, 0] and player.sent == sent
        assert player.played[0].seconds < 4
        with pytest.raises(TrafficError, match="a player plays once"):
            player.play()


def test_what_fails_is_told(bed: Testbed, seen_by: Witness, tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, HEAD + UDP.format(1))

    def on_phase(_: Phase, __: PhaseSwitch) -> None:
        raise LookupError("a caller's mistake")

    with player_for(bed, Builder("llvm"), scenario) as player:
        player.play(on_phase=on_phase)
        with pytest.raises(LookupError, match="a caller's mistake"):
            player.wait(5)
    with player_for(bed, Builder("llvm"), scenario) as player:
        player.play()
        wait_until(lambda: player.switches, "the first phase")
        os.kill(player.process_id, signal.SIGKILL)
        with pytest.raises(TrafficError, match="the sending process ended, exit code -9"):
            player.wait(5)
    with pytest.raises(TrafficError, match="time_scale > 0 must hold"):
        player_for(bed, Builder("llvm"), scenario, time_scale=0)


def test_a_scenario_is_played_from_the_command_line(
    bed: Testbed, seen_by: Witness, tmp_path: Path
) -> None:
    scenario_of(tmp_path, HEAD + UDP.format(1) + TCP.format(0.1))
    arguments = ["scenario", "play", str(tmp_path / "test.toml"), "--interface", GENERATOR_SIDE]
    with inside(bed.generator):
        result = CliRunner().invoke(cli, [*arguments, "--time-scale", "0.02", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    wait_until(lambda: sum(seen_by("packets")) >= told["sent"], "all packets have come")
    udp, tcp = (phase["sent"] for phase in told["phases"])
    assert seen_by("packets") == [udp + told["warm_up"], tcp, 0, 0]
    assert told["finished"] and [p["name"] for p in told["phases"]] == ["udp", "tcp"]
    assert "tcp: 5 s at 10%" in result.stderr
