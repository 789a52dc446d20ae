# SPDX-License-Identifier: GPL-2.0-only
"""The packet model against packets that scapy built and expectations written by hand."""

from __future__ import annotations

import pytest

from tests.unit.packet_model import classify
from tests.unit.packet_parts import RULES, Row
from tests.unit.packet_rows import TABLES

CASES = [
    pytest.param(row, id=f"{table}: {row.description}")
    for table, rows in TABLES.items()
    for row in rows
]


@pytest.mark.parametrize("row", CASES)
def test_slot_and_verdict(row: Row) -> None:
    assert classify(bytes(row.packet), RULES, **row.policy) == (row.slot, row.verdict)


def test_descriptions_tell_rows_apart() -> None:
    assert len({case.id for case in CASES}) == len(CASES) >= 60


def test_a_frame_without_an_ethernet_header_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 14 bytes, got 13"):
        classify(bytes(13), RULES)
