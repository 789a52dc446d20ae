# SPDX-License-Identifier: GPL-2.0-only
"""What narrowings and hot keys should gain, against packets that are counted one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.events import EventLog
from iridescent_xdp.observe import Observation
from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.search.prediction import (
    Costs,
    Prediction,
    break_even_share,
    gain_ns,
    hot_keys,
    narrowings,
    share_interval,
)


def _point(name: str, kind: PointKind, default: int, domain: tuple[int, ...]) -> Point:
    return Point(
        name=name, point_class=PointClass.NARROWING, kind=kind, default=default, domain=domain,
        doc="a test point",
    )  # fmt: skip


VLAN = _point("vlan_depth", PointKind.RANGE, 2, (0, 1, 2))
IPV6 = _point("ipv6", PointKind.BOOL, 1, (0, 1))
OPTIONS = _point("no_ip_options", PointKind.ASSUME, 0, (0, 1))
PROTOCOL = _point("only_protocol", PointKind.GENERIC, 0, (0,))
COSTS = {name: Costs(saved_ns=8.0, missed_ns=72.0) for name in ("vlan_depth", "only_protocol")}


def _predicted(
    missed: int, packets: int, saved_ns: float = 8.0, missed_ns: float = 72.0
) -> Prediction:
    return Prediction(
        point="p", value=1, packets=packets, missed=missed, saved_ns=saved_ns, missed_ns=missed_ns
    )


@pytest.mark.parametrize("missed", [0, 13, 100, 999, 1000])
def test_the_gain_is_the_mean_over_packets(missed: int) -> None:
    per_packet = [-72.0] * missed + [8.0] * (1000 - missed)
    assert _predicted(missed, 1000).gain_ns == pytest.approx(float(np.mean(per_packet)))


@pytest.mark.parametrize(("saved", "lost"), [(8, 72), (1, 1), (0, 5), (40, 3)])
def test_nothing_is_gained_at_the_break_even(saved: float, lost: float) -> None:
    share = break_even_share(saved, lost)
    assert gain_ns(share, saved, lost) == pytest.approx(0)
    assert gain_ns(share + 0.01, saved, lost) < 0 < gain_ns(share - 0.01, saved, lost)


def test_a_miss_that_costs_nothing_never_makes_it_hopeless() -> None:
    assert break_even_share(5, 0) == 1
    assert not _predicted(1000, 1000, 5, 0).hopeless


def test_hopeless_needs_more_than_a_few_packets() -> None:
    assert not _predicted(1, 4).hopeless  # a quarter missed, of four
    assert _predicted(2500, 10_000).hopeless
    assert not _predicted(1020, 10_000).hopeless  # break-even is 10 %
    assert _predicted(1100, 10_000).hopeless
    assert not _predicted(0, 0).hopeless


@pytest.mark.parametrize(("count", "total"), [(0, 50), (1, 50), (25, 50), (50, 50), (9, 10_000)])
def test_the_interval_is_wilsons(count: int, total: int) -> None:
    expected = binomtest(count, total).proportion_ci(0.99, method="wilson")
    assert share_interval(count, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_narrowings_are_predicted_from_what_was_seen() -> None:
    seen = Observation(
        packets=10_000,
        values={
            "vlan_depth": {0: 9_900, 1: 100},  # tags that packets had
            "ipv6": {0: 6_000, 1: 4_000},
            "no_ip_options": {1: 10_000},  # whether the assumption held
            "only_protocol": {17: 9_950, 6: 50},
        },
    )
    found = {
        (p.point, p.value): p
        for p in narrowings([VLAN, IPV6, OPTIONS, PROTOCOL], seen, 100.0, **COSTS)
    }
    assert set(found) == {
        ("vlan_depth", 0), ("vlan_depth", 1), ("ipv6", 0), ("no_ip_options", 1),
        ("only_protocol", 17), ("only_protocol", 6),
    }  # fmt: skip
    assert found["vlan_depth", 0].missed == 100
    assert found["vlan_depth", 0].gain_ns == pytest.approx(0.99 * 8 - 0.01 * 72)
    assert found["vlan_depth", 1].missed == found["no_ip_options", 1].missed == 0
    assert found["only_protocol", 6].missed == 9_950
    assert {key for key, p in found.items() if p.hopeless} == {("ipv6", 0), ("only_protocol", 6)}
    assert found["ipv6", 0].saved_ns == pytest.approx(10)  # guessed from the generic time
    gains = [p.gain_ns for p in narrowings([VLAN, IPV6], seen, 100.0)]
    assert gains == sorted(gains, reverse=True)


def test_what_nobody_asked_for_is_not_predicted() -> None:
    tuning = Point(
        name="batch", point_class=PointClass.TUNING, kind=PointKind.RANGE, default=0,
        domain=(0, 1), doc="a test point",
    )  # fmt: skip
    seen = Observation(packets=100, values={"batch": {0: 100}})
    assert narrowings([VLAN, tuning], seen, 100.0) == []


def test_costs_are_learnt_from_a_measured_gain() -> None:
    truth = Costs(saved_ns=12.0, missed_ns=90.0)
    gain = gain_ns(0.03, truth.saved_ns, truth.missed_ns)
    assert Costs.learnt(gain, 0.03, 90.0).saved_ns == pytest.approx(12.0)
    assert Costs.learnt(-3.0, 0.0, 90.0).saved_ns == -3
    assert _predicted(0, 1000, saved_ns=-3).hopeless
    with pytest.raises(ConfigError, match="miss_share < 1"):
        Costs.learnt(1.0, 1.0, 90.0)
    with pytest.raises(ConfigError, match="missed_ns >= 0 must hold"):
        Costs(saved_ns=1, missed_ns=-1)
    with pytest.raises(ConfigError, match="0 <= missed <= packets"):
        _predicted(2, 1)


def _chain_ns(counts: dict[bytes, int], size: int, lookup: float, compare: float) -> float:
    """Mean time per look-up, one look-up after the other."""
    hot = sorted(counts, key=lambda key: -counts[key])[:size]
    total = 0.0
    for key, count in counts.items():
        compares = hot.index(key) + 1 if key in hot else len(hot)
        total += count * (compares * compare + (0 if key in hot else lookup))
    return total / sum(counts.values())


@pytest.mark.parametrize("locality", [0.1, 1.0, 2.0])
def test_hot_keys_are_predicted_as_a_walk_over_all_look_ups_says(locality: float) -> None:
    counts = {i.to_bytes(2, "big"): int(1e6 * (i + 1) ** -locality) for i in range(300)}
    sizes = (1, 4, 16, 64, 512)
    found = {p.value: p for p in hot_keys("hot", counts, sizes, lookup_ns=60, compare_ns=0.5)}
    for size in sizes:
        saved = 60 - _chain_ns(counts, size, 60, 0.5)
        assert found[size].gain_ns == pytest.approx(saved)


def test_hot_keys_of_traffic_without_locality_are_hopeless() -> None:
    counts = {i.to_bytes(2, "big"): 100 for i in range(4000)}
    found = {p.value: p for p in hot_keys("hot", counts, (1, 16, 64))}
    assert found[16].hopeless and found[64].hopeless
    assert hot_keys("hot", {}, (4,)) == []


def test_a_prediction_goes_into_an_event_with_all_its_numbers(tmp_path: Path) -> None:
    with EventLog(tmp_path / "log") as events:
        events.tell("predicted", values=[_predicted(100, 1000)])
    (value,) = json.loads((tmp_path / "log").read_text())["values"]
    assert value == {
        "point": "p", "value": 1, "packets": 1000, "missed": 100, "saved_ns": 8.0,
        "missed_ns": 72.0, "miss_share": 0.1, "gain_ns": 0.0, "break_even": 0.1, "hopeless": False,
    }  # fmt: skip
    assert str(_predicted(0, 1000)) == (
        "p=1: +8.0 ns expected, 0.0% of 1000 packets miss, break-even at 10.0%"
    )
    assert "p=1: hopeless, 50.0%" in str(_predicted(500, 1000))
