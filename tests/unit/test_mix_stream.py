# SPDX-License-Identifier: GPL-2.0-only
"""How packets are shared among flows, and exactly counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.errors import TrafficError
from traffic.mix_shares import apportion, zipf_exponent
from traffic.mix_stream import Stream, expected_counts, fitted
from traffic.mixes import Mix, build


@pytest.mark.parametrize(
    ("locality", "flows", "share"),
    [("none", 1000, 0.05), ("low", 1000, 0.60), ("high", 1000, 0.945), ("high", 4096, 0.92),
     ("high", 64, 0.95), ("none", 1, 1.0), ("high", 1, 1.0)],
)  # fmt: skip
def test_the_top_twentieth_gets_its_share(locality: Any, flows: int, share: float) -> None:
    sequence = build(Mix(name="z", flows=flows, locality=locality)).sequence
    counts = np.sort(np.bincount(sequence))[::-1]
    assert counts[: max(1, round(flows / 20))].sum() / 65_536 == pytest.approx(share, abs=0.005)
    assert counts.sum() == 65_536


def test_zipf_exponents() -> None:
    assert zipf_exponent(1000, "high") == pytest.approx(1.63, abs=0.01)
    assert zipf_exponent(4096, "high") == pytest.approx(1.47, abs=0.01)
    assert zipf_exponent(1000, "low") == pytest.approx(1.0, abs=0.01)
    assert zipf_exponent(1000, "none") == 0


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=50), st.integers(0, 5000))
def test_apportioned_counts_add_up_and_follow_the_weights(weights: list[float], more: int) -> None:
    total = len(weights) + more
    counts = apportion(np.array(weights), total)
    assert counts.sum() == total
    assert counts.min() >= 1
    order = np.argsort(weights, kind="stable")
    assert (np.diff(counts[order]) >= -1).all()


def test_largest_remainders_get_what_is_left() -> None:
    assert apportion(np.array([0.2, 0.3, 0.5]), 4).tolist() == [1, 1, 2]
    assert apportion(np.array([1.0, 1.0, 1.0]), 11).tolist() == [4, 4, 3]
    assert apportion(np.array([0.1, 0.2, 0.7]), 3).tolist() == [1, 1, 1]


@given(st.integers(0, 300), st.integers(0, 300))
def test_expected_counts_are_what_a_sender_sends(first: int, count: int) -> None:
    stream = Stream(name="s", packets=(b"a" * 14, b"b" * 14, b"c" * 14, b"d" * 14),
                    sequence=np.array([2, 0, 1, 1, 2, 1, 0], dtype=np.uint32))  # fmt: skip
    sent = Counter(stream.frames(first, count))
    assert expected_counts(stream, first, count).tolist() == [sent[p] for p in stream.packets]


def test_expected_counts_of_billions() -> None:
    stream = build(Mix(name="s", flows=16))
    counts = expected_counts(stream, 1, 65_536 * 100_000 + 3)
    assert counts.sum() == 65_536 * 100_000 + 3
    base = 100_000 * np.bincount(stream.sequence)
    assert (counts - base).tolist() == np.bincount(stream.sequence[1:4], minlength=16).tolist()
    with pytest.raises(TrafficError, match="count >= 0 must hold, got first=0, count=-1"):
        expected_counts(stream, 0, -1)


def test_a_stream_is_fitted_to_a_sender() -> None:
    stream = Stream(name="s", packets=(b"a", b"b", b"c"), sequence=np.array([2, 2, 1, 2, 0]))
    assert "".join(p.decode() for p in fitted(stream, positions=8).frames()) == "ccbcaccb"
    assert "".join(p.decode() for p in fitted(stream, positions=3).frames()) == "ccb"
    small = fitted(stream, packets=2, positions=6)
    assert "".join(p.decode() for p in small.frames()) == "ccbccc"
    assert set(small.packets) == {b"b", b"c"}
    assert small.sequence.dtype == np.uint32
    built = build(Mix(name="m", flows=4))
    assert fitted(built) is built


@pytest.mark.parametrize(
    ("sequence", "words"),
    [([], "1 packets and 0 positions"), ([0, 1], "has 1 packets, its sequence asks for packet 1")],
)
def test_a_stream_without_meaning_is_refused(sequence: list[int], words: str) -> None:
    with pytest.raises(TrafficError, match=words):
        Stream(name="s", packets=(b"a",), sequence=np.array(sequence, dtype=np.uint32))
