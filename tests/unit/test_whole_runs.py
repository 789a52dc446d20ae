# SPDX-License-Identifier: GPL-2.0-only
"""How a controller's run is compared with its rivals', on made-up times."""

from __future__ import annotations

import numpy as np

from iridescent_xdp.bench.adapt_bed import Played, Reading
from iridescent_xdp.bench.adapt_phases import _drawn, _Whole
from iridescent_xdp.bench.adapt_rivals import Turns
from iridescent_xdp.bench.results import Options
from traffic.scenario import load_scenario

PHASES, ROUNDS, PACKETS = 5, 16, 1_000_000
NS, NOISE_NS = 120.0, 6.0


def whole(rivals: dict[str, float], controller_ns: float, seed: int) -> _Whole:
    """Times of programs that are the same in each phase, with noise of each turn."""
    rng = np.random.default_rng(seed)

    def turns() -> list[Turns]:
        return [
            Turns(
                ns={name: [*(ns + rng.normal(0, NOISE_NS, ROUNDS))] for name, ns in rivals.items()}
            )
            for _ in range(PHASES)
        ]

    readings = [
        Reading(packets=n * PACKETS, busy_ns=round(n * PACKETS * controller_ns))
        for n in range(PHASES + 1)
    ]
    played = Played(
        scenario=load_scenario("five_phases"),
        switches=(),
        end_ns=0,
        readings=readings,
        events=(),
        looks=0,
    )
    return _Whole(played=played, before=turns(), after=turns())


def test_nobody_is_best_by_luck() -> None:
    """Twelve rivals that are equally fast are no reason why the controller should be faster."""
    rivals = {"empty": 80.0, "generic": NS, **{f"rival {n}": NS for n in range(12)}}
    shares = [
        _drawn(whole(rivals, NS, seed), False, Options(quick=True))["oracle_share"].value
        for seed in range(20)
    ]
    assert abs(np.mean(shares) - 1) < 0.004


def test_the_best_of_each_phase_is_found() -> None:
    """A rival that is a tenth faster is told from the others by half of the rounds."""
    rivals = {"empty": 80.0, "generic": NS, "fast": 0.9 * NS, "slow": 1.1 * NS}
    found = _drawn(whole(rivals, NS, 1), False, Options(quick=True))
    for name, value in {"oracle_share": 0.9, "vs_fixed": 0.9, "vs_generic": 1.0}.items():
        assert abs(found[name].value - value) < 0.03, name
        assert found[name].low <= found[name].value <= found[name].high
