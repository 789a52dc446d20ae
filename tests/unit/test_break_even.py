# SPDX-License-Identifier: GPL-2.0-only
"""How many packets may miss a point of a variant that won, before it is given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from iridescent_xdp.config import InterfaceConfig
from iridescent_xdp.misses import DROP_SHARE, MOST_SHARE, Won, break_evens
from iridescent_xdp.plan import Plan, make_plan


def _plan(function: str) -> Plan:
    return make_plan(InterfaceConfig(name="eth0", function=function), Path("test.toml"))


def test_hot_flows_that_gain_much_may_miss_often() -> None:
    """Four compares cost 2.8 ns; what 111 ns at 45 % misses saves is worth them at nearly any."""
    plan = _plan("l4lb")
    point = plan.template.point("hot_flows")
    variant = plan.generic.with_values(hot_flows=point.parse("4"))
    found = break_evens(plan, variant, Won(gain_ns=111, generic_ns=400, miss_share=0.45))
    assert found == {"hot_flows": MOST_SHARE}
    many = plan.generic.with_values(hot_flows=point.parse("64"))
    few_ns = break_evens(plan, many, Won(gain_ns=10, generic_ns=400, miss_share=0.2))
    assert DROP_SHARE <= few_ns["hot_flows"] < 0.6


@pytest.mark.parametrize(
    ("gain_ns", "generic_ns", "miss_share", "limit"),
    [
        (60, 80, 0.0, 0.75),  # a miss costs at most the 20 ns that the variant takes
        (60, 80, 0.1, 62 / 0.9 / (62 / 0.9 + 20)),
        (10, 80, 0.0, DROP_SHARE),  # 1 in 8, but a miss may cost less
        (60, 0, 0.0, None),  # from the memory: what a miss costs is not known
        (-1, 80, 0.0, None),
    ],
)
def test_a_guard_is_worth_what_it_gains(
    gain_ns: float, generic_ns: float, miss_share: float, limit: float | None
) -> None:
    plan = _plan("filter")
    variant = plan.generic.with_values(vlan_depth=0, counter_batch=16)
    won = Won(gain_ns=gain_ns, generic_ns=generic_ns, miss_share=miss_share)
    found = break_evens(plan, variant, won)
    assert set(found) == ({"vlan_depth"} if limit is not None else set())
    if limit is not None:
        assert found["vlan_depth"] == pytest.approx(limit)
