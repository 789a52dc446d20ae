# SPDX-License-Identifier: GPL-2.0-only
"""Preflight refuses broken variants, and shows the first packet that they treat differently."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import PreflightError
from iridescent_xdp.preflight import Packet, Preflight
from iridescent_xdp.toolchain.base import Role
from tests.kernel.faults import FAULTS
from tests.kernel.fixtures import filter_function, generic_of

REPORT = re.compile(
    r"^broken differs from generic: packet '(.+)' \((\d+) bytes, ([0-9a-f]+)\): (.+)$"
)


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_variant_is_refused(builder: Builder, tmp_path: Path, name: str) -> None:
    fault = FAULTS[name]
    function = fault.function(tmp_path)
    generic = generic_of(function)
    packets = function.corpus((), seed=1)
    insns = builder.variant(function, generic.with_values(**fault.points), Role.ARM)
    with closing(Preflight(builder, function, generic, packets)) as preflight:
        preflight.check(builder.variant(function, generic, Role.ARM), "sound")
        with pytest.raises(PreflightError) as caught:
            preflight.check(insns, "broken")
    report = REPORT.match(str(caught.value))
    assert report, caught.value
    packet, size, frame, what = report.groups()
    assert fault.shows(bytes.fromhex(frame)), packet
    assert re.search(f"^({fault.says})", what), what
    assert (packet, bytes.fromhex(frame)) in packets
    assert int(size) == len(frame) // 2

    index = packets.index((packet, bytes.fromhex(frame)))
    assert not refused(builder, name, tmp_path, packets[:index], insns), "an earlier packet differs"
    assert refused(builder, name, tmp_path, packets[: index + 1], insns)


def refused(builder: Builder, name: str, folder: Path, packets: list[Packet], insns: bytes) -> bool:
    function = FAULTS[name].function(folder)
    with closing(Preflight(builder, function, generic_of(function), packets)) as preflight:
        try:
            preflight.check(insns, "broken")
        except PreflightError:
            return True
    return False


def test_the_shipped_filter_is_refused_nowhere(builder: Builder) -> None:
    """The same variants, without the faults."""
    function = filter_function()
    generic = generic_of(function)
    with closing(Preflight(builder, function, generic, function.corpus((), seed=1))) as preflight:
        for points in {tuple(fault.points.items()) for fault in FAULTS.values()}:
            variant = generic.with_values(**dict(points))
            preflight.check(builder.variant(function, variant, Role.ARM), "sound")


def test_a_packet_seen_on_the_interface_is_tried_too(builder: Builder) -> None:
    """A stale rule about addresses that only the live traffic has."""
    fault = FAULTS["stale table, a rule is missing"]
    function = fault.function(Path())
    generic = generic_of(function)
    seen = next(f for n, f in function.corpus((), seed=1) if n.startswith("rule-5/hit"))
    packets = filter_function().corpus([seen], seed=2)
    assert ("observed-0", seen) in packets
    insns = builder.variant(function, generic.with_values(**fault.points), Role.ARM)
    with (
        closing(Preflight(builder, function, generic, [("observed-0", seen)])) as preflight,
        pytest.raises(PreflightError, match="packet 'observed-0'"),
    ):
        preflight.check(insns, "broken")
