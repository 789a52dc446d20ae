# SPDX-License-Identifier: GPL-2.0-only
"""Points as value objects: what they take, how they show it, what they refuse."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.errors import ConfigError, TemplateError
from iridescent_xdp.points import U32_MAX, Point, PointClass, PointKind


def point(kind: PointKind, default: int, domain: tuple[int, ...], *labels: str) -> Point:
    return Point(
        name="p",
        point_class=PointClass.TUNING,
        kind=kind,
        default=default,
        domain=domain,
        doc="what it does",
        labels=labels,
        where="x.bpf.c:7",
    )


FLAG = point(PointKind.BOOL, 1, (0, 1))
ASSUMED = point(PointKind.ASSUME, 0, (0, 1))
DEPTH = point(PointKind.RANGE, 2, (0, 1, 2))
PORT = point(PointKind.RANGE, 53, tuple(range(1, 65_536)))
SEEN = point(PointKind.GENERIC, 0, (0,))
LAYOUT = point(PointKind.ENUM, 0, (0, 1, 2), "map", "chain", "tree")
BATCH = point(PointKind.ENUM, 0, (0, 1, 2), "1", "16", "64")  # labels that are numbers

TAKEN = [
    (FLAG, True, 1),
    (FLAG, "false", 0),
    (FLAG, "True", 1),
    (ASSUMED, True, 1),
    (DEPTH, 0, 0),
    (DEPTH, "2", 2),
    (PORT, 65_535, 65_535),
    (SEEN, 17, 17),
    (SEEN, U32_MAX, U32_MAX),
    (LAYOUT, "tree", 2),
    (BATCH, 16, 1),
    (BATCH, "64", 2),
]
REFUSED = [
    (FLAG, 1, "false, true"),  # a number is no truth value
    (FLAG, "yes", "false, true"),
    (DEPTH, 3, "0, 1, 2"),
    (DEPTH, -1, "0, 1, 2"),
    (DEPTH, True, "0, 1, 2"),
    (DEPTH, 1.0, "0, 1, 2"),
    (PORT, 0, "1..65535"),
    (SEEN, U32_MAX + 1, "0, or observed"),
    (SEEN, -1, "0, or observed"),
    (LAYOUT, 2, "map, chain, tree"),
    (LAYOUT, "Tree", "map, chain, tree"),
    (BATCH, 2, "1, 16, 64"),
    (BATCH, True, "1, 16, 64"),
]


@pytest.mark.parametrize(("which", "given_value", "number"), TAKEN)
def test_taken(which: Point, given_value: object, number: int) -> None:
    assert which.parse(given_value) == number


@pytest.mark.parametrize(("which", "given_value", "domain"), REFUSED)
def test_refused(which: Point, given_value: object, domain: str) -> None:
    with pytest.raises(ConfigError) as caught:
        which.parse(given_value)
    assert str(caught.value).startswith(f"point 'p' takes {domain}, got {given_value!r}")


def test_a_misspelt_label_is_corrected() -> None:
    with pytest.raises(ConfigError, match="did you mean 'chain'"):
        LAYOUT.parse("chian")


@given(st.sampled_from([FLAG, ASSUMED, DEPTH, PORT, LAYOUT, BATCH]), st.data())
def test_what_is_shown_can_be_written(which: Point, data: st.DataObject) -> None:
    value = data.draw(st.sampled_from(which.domain))
    assert which.parse(which.show(value)) == value


def test_only_policy_is_not_searched() -> None:
    searched = {
        point_class: Point(
            name="p",
            point_class=point_class,
            kind=PointKind.BOOL,
            default=0,
            domain=(0, 1),
            doc="d",
        ).searched
        for point_class in PointClass
    }
    assert searched == {
        PointClass.TUNING: True,
        PointClass.NARROWING: True,
        PointClass.POLICY: False,
    }


@pytest.mark.parametrize(
    ("kind", "default", "domain", "rule"),
    [
        (PointKind.RANGE, 5, (0, 1), r"default must lie in the domain, got default=5"),
        (PointKind.RANGE, 0, (), "the domain is empty"),
        (PointKind.RANGE, -1, (-1, 0), "values are unsigned 32-bit"),
        (PointKind.RANGE, 0, (0, U32_MAX + 1), "values are unsigned 32-bit"),
    ],
)
def test_a_declaration_that_breaks_a_rule(
    kind: PointKind, default: int, domain: tuple[int, ...], rule: str
) -> None:
    with pytest.raises(TemplateError, match=rf"^x\.bpf\.c:7: point 'p': .*{rule}"):
        point(kind, default, domain)


def test_a_point_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        FLAG.default = 0  # type: ignore[misc]
