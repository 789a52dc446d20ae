# SPDX-License-Identifier: GPL-2.0-only
"""Signatures: shares with their counts, distances in units of noise, JSON there and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from iridescent_xdp.adapt import samples
from iridescent_xdp.adapt.signature import (
    MISSES,
    Group,
    Signature,
    chi_squares,
    distance,
    hellinger,
    normal_scores,
)
from iridescent_xdp.errors import ConfigError

NAMES = ("a", "b", "c", "d")


def group(*counts: int) -> Group:
    return Group(names=NAMES[: len(counts)], counts=counts)


def signature(**groups: Group) -> Signature:
    return Signature(groups=groups)


def test_shares_and_their_count() -> None:
    made = group(30, 10, 0)
    assert made.total == 40
    assert made.shares == {"a": 0.75, "b": 0.25, "c": 0.0}
    assert group(0, 0).shares == {"a": 0.0, "b": 0.0}
    assert (made + group(0, 0, 10)).counts == (30, 10, 10)


@pytest.mark.parametrize(
    ("names", "counts", "told"),
    [
        (("a",), (1,), "two categories"),
        (("a", "b"), (1,), "2 names and 1 counts"),
        (("a", "b"), (1, -1), "counts >= 0"),
    ],
)
def test_a_group_validates_itself(
    names: tuple[str, ...], counts: tuple[int, ...], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        Group(names=names, counts=counts)
    with pytest.raises(ConfigError, match="other categories"):
        group(1, 2) + group(1, 2, 3)


def apart(a: Group, b: Group) -> tuple[float, float]:
    """The Hellinger distance, and the normal score of the difference."""
    p, q = a.array(), b.array()[np.newaxis]
    return float(hellinger(p, q)[0]), float(normal_scores(*chi_squares(p, q))[0])


def test_distance_of_known_shares() -> None:
    same, score = apart(group(500, 500), group(50, 50))
    assert same == pytest.approx(0, abs=1e-7) and score < 0
    assert apart(group(100, 0), group(0, 100))[0] == pytest.approx(1)
    far, score = apart(group(900, 100), group(640, 360))
    affinity = np.sqrt(0.9 * 0.64) + np.sqrt(0.1 * 0.36)  # the Bhattacharyya coefficient
    assert far == pytest.approx(np.sqrt(1 - affinity))
    assert score > 10
    found = distance(signature(a=group(900, 100)), signature(a=group(640, 360)))
    assert found is not None
    assert found.hellinger**2 == pytest.approx(far**2 - 1 / (8 * 500))  # less what is noise


@pytest.mark.parametrize("shares", [(0.6, 0.38, 0.02), (0.97, 0.01, 0.01, 0.01)])
def test_noise_is_what_sampling_makes(shares: tuple[float, ...]) -> None:
    """Two samples of the same traffic: their scores are a normal deviate's."""
    rng = np.random.default_rng(1)
    scores = [
        apart(
            group(*map(int, rng.multinomial(800, shares))),
            group(*map(int, rng.multinomial(6000, shares))),
        )[1]
        for _ in range(4000)
    ]
    assert np.mean(scores) == pytest.approx(0, abs=0.1)
    assert np.std(scores) == pytest.approx(1, abs=0.1)
    assert np.mean(np.array(scores) > 3) < 0.006  # 0.00135 of a normal deviate


@pytest.mark.parametrize("degrees", [1, 3, 6])
@pytest.mark.parametrize("z", [0.0, 3.0, 6.0])
def test_normal_score_of_chi_square(degrees: int, z: float) -> None:
    value = np.array([stats.chi2.isf(stats.norm.sf(z), degrees)])
    assert (
        z - 0.6 < normal_scores(value, np.array([degrees]))[0] < z + 0.1
    )  # the tails are told too small


def test_the_worst_group_counts() -> None:
    a = signature(family=group(900, 100), size=group(500, 500))
    b = signature(family=group(880, 120), size=group(900, 100))
    found = distance(a, b)
    assert found is not None and found.group == "size" and found.noise_units > 6
    assert not found.within(0.05, 4)
    only = distance(a, b, groups=("family",))
    assert only is not None and only.group == "family" and only.within(0.05, 4)
    assert distance(a, signature(other=group(1, 1))) is None
    assert distance(a, signature(family=group(0, 0))) is None


def test_groups_of_another_meaning_are_far_apart() -> None:
    other = Group(names=("x", "y"), counts=(9, 1))
    found = distance(signature(family=group(9, 1)), signature(family=other))
    assert found is not None and found.hellinger == 1.0


def test_sum_and_workload() -> None:
    first = signature(family=group(1, 2), kept=group(3, 4))
    second = Signature(groups={"family": group(10, 20), MISSES + "vlan_depth": group(1, 99)})
    both = first + second
    assert both.packets == 33
    assert both.groups["family"].counts == (11, 22)
    assert set(both.groups) == {"family", "kept", MISSES + "vlan_depth"}
    assert set(both.workload().groups) == {"family"}


@given(
    st.dictionaries(
        st.text(min_size=1),
        st.lists(st.integers(0, 2**40), min_size=2, max_size=4).map(lambda c: group(*c)),
    )
)
def test_json_there_and_back(groups: dict[str, Group]) -> None:
    made = Signature(groups=groups)
    assert Signature.from_json(json.dumps(made.to_json())) == made


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9, "groups": {}}', '{"format": 1}'])
def test_what_is_no_signature(text: str) -> None:
    with pytest.raises(ConfigError):
        Signature.from_json(text)
    with pytest.raises(ConfigError):
        Signature.from_json('{"format": 1, "groups": {"a": {"x": 1, "y": "many"}}}')


SAMPLE = np.dtype([("flow", "<u4"), ("bytes", "<u2"), ("kind", "u1"), ("marks", "u1")])


def test_headers_are_counted() -> None:
    rows = np.zeros(4, dtype=SAMPLE)
    rows["bytes"] = 60, 65, 1514, 9000
    rows["kind"] = 2 << 2 | 1, 15 << 4 | 2 << 2 | 2, 3 << 2 | 3, 7 << 4 | 1 << 2
    rows["marks"] = 1 << 7, 1, 3 << 4 | 2, 0
    found = {name: g.counts for name, g in samples.header_groups(rows).items()}
    assert found["family"] == (0, 1, 2, 1)
    assert found["transport"] == (1, 1, 1, 1)
    assert (found["targets"][0], found["targets"][7], found["targets"][15]) == (2, 1, 1)
    assert found["tags"] == (2, 1, 1)
    assert found["oddity"] == (3, 0, 0, 1, 0)
    assert found["opening"] == (3, 1)
    assert found["size"] == (1, 1, 0, 0, 0, 1, 1)


def zipf(rng: np.random.Generator, flows: int, count: int, first: int = 0) -> samples.Flows:
    weights = 1 / np.arange(1, flows + 1)
    drawn = rng.choice(flows, size=count, p=weights / weights.sum())
    return (drawn + first).astype(np.uint32)


def test_concentration_does_not_depend_on_the_size_of_a_look() -> None:
    rng = np.random.default_rng(2)
    small, large = (
        sum(
            (samples.concentration(zipf(rng, 1000, size)) for _ in range(looks)),
            start=Group(names=samples.FLOWS, counts=(0,) * 5),
        )
        for size, looks in ((512, 240), (8192, 8))
    )
    for name, share in large.shares.items():
        assert small.shares[name] == pytest.approx(share, abs=0.015)


def test_a_flood_of_new_flows_shows() -> None:
    rng = np.random.default_rng(3)
    flood = samples.concentration(rng.integers(2**32, size=2000, dtype=np.uint32))
    assert flood.shares["new"] > 0.99
    few = samples.concentration(rng.integers(8, size=2000, dtype=np.uint32))
    assert few.shares["new"] == 0.0 and few.shares["first"] + few.shares["to 8th"] == 1.0


def test_a_hot_set_that_moves_shows_once() -> None:
    rng = np.random.default_rng(4)
    view = samples.FlowView()
    assert "kept" not in view.groups(zipf(rng, 200, 800))
    steady = [view.groups(zipf(rng, 200, 800))["kept"].shares["kept"] for _ in range(5)]
    moved = [view.groups(zipf(rng, 200, 800, 1000))["kept"].shares["kept"] for _ in range(3)]
    assert min(steady) > 0.7
    assert moved[0] == 0.0 and min(moved[1:]) > 0.7
    view.reset()
    assert "kept" not in view.groups(zipf(rng, 200, 800))


def test_small_looks_are_put_together() -> None:
    rng = np.random.default_rng(5)
    view = samples.FlowView()
    found = [view.groups(zipf(rng, 200, 100)) for _ in range(4)]
    assert [bool(f) for f in found] == [False] * 3 + [True]
    assert found[-1]["flows"].total == 400 - samples.CHOOSERS
