# SPDX-License-Identifier: GPL-2.0-only
"""What cannot work is refused in one line, and the interface is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.config import ConfigFileError
from iridescent_xdp.errors import TemplateError, ToolchainError, VerifierError
from iridescent_xdp.runtime import RUN
from iridescent_xdp.state import PINS
from tests.kernel.fixtures import patched_template
from tests.kernel.live import interface_key, interface_of, plan_for, take
from traffic.testbed import Testbed

FAULTS = Path(__file__).parents[1] / "faults"
BOUNDS = "	if (start + size > at->end)\n		return NULL;\n"  # of take() in cursor.h


def assert_untouched(bed: Testbed) -> None:
    """Nothing attached, nothing pinned, nothing in /run."""
    assert interface_of(bed).xdp_prog_id == 0
    key = interface_key(bed)
    assert not (PINS / key).exists()
    assert not (RUN / key).exists()


def test_a_template_that_the_verifier_refuses(bed: Testbed, builder: Builder) -> None:
    plan = plan_for(function=str(FAULTS / "rejected.bpf.c"))
    with pytest.raises(VerifierError) as caught:
        take(bed, builder, plan)
    assert str(caught.value).startswith("the verifier refuses 'reject_")
    assert "R1 offset is outside of the packet" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "invalid access to packet" in caught.value.log and "processed" in caught.value.log
    assert_untouched(bed)


def test_a_filter_without_bounds_checks(bed: Testbed, builder: Builder, tmp_path: Path) -> None:
    """The same with a template that has tables and a companion."""
    template = patched_template(tmp_path, (BOUNDS, ""))
    with pytest.raises(VerifierError, match="the verifier refuses 'filter_"):
        take(bed, builder, plan_for(function=str(template.path)))
    assert_untouched(bed)


def test_a_template_that_does_not_compile(bed: Testbed, builder: Builder, tmp_path: Path) -> None:
    path = tmp_path / "rejected.bpf.c"
    path.write_text((FAULTS / "rejected.bpf.c").read_text())
    plan = plan_for(function=str(path))
    path.write_text(path.read_text().replace("data[12]", "nothing[12]"))
    with pytest.raises(ToolchainError, match=r"refuses .*undeclared identifier 'nothing'"):
        take(bed, builder, plan)
    assert_untouched(bed)


WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "an unknown point": (
        {"points": {"vlan_deep": (0,)}},
        ("interface.dut0.search.points.vlan_deep", "no such point", "vlan_depth"),
    ),
    "an unknown policy": (
        {"policy": {"defualt_action": "drop"}},
        ("interface.dut0.policy.defualt_action", "no such point", "default_action"),
    ),
    "a value out of range": (
        {"points": {"vlan_depth": (0, 3)}},
        ("interface.dut0.search.points.vlan_depth", "takes 0, 1, 2, got 3"),
    ),
    "a policy out of range": (
        {"policy": {"sample_shift": 13}},
        ("interface.dut0.policy.sample_shift", "takes 0..12, got 13"),
    ),
    "a label that is misspelt": (
        {"points": {"rule_layout": ("chian",)}},
        ("interface.dut0.search.points.rule_layout", "got 'chian'", "did you mean 'chain'?"),
    ),
    "a truth value for a number": (
        {"policy": {"verify_ip_checksum": 1}},
        ("interface.dut0.policy.verify_ip_checksum", "takes false, true, got 1"),
    ),
    "a policy that is to be searched": (
        {"points": {"default_action": ("pass", "drop")}},
        ("interface.dut0.search.points.default_action", "policy point", "[policy]"),
    ),
    "a searched point as policy": (
        {"policy": {"vlan_depth": 0}},
        ("interface.dut0.policy.vlan_depth", "narrowing point", "[search.points]"),
    ),
}


@pytest.mark.parametrize(("wish", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wish_that_the_template_cannot_fulfil(
    wish: dict[str, Any], says: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigFileError) as caught:
        plan_for(**wish)
    (problem,) = caught.value.problems
    for part in says:
        assert part in problem
    assert "\n" not in problem and "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigFileError) as caught:
        plan_for(points={"vlan_depth": (3,), "nothing": (1,)}, policy={"fragments": "keep"})
    assert len(caught.value.problems) == 3


def test_an_unknown_function() -> None:
    with pytest.raises(TemplateError, match="no template 'fliter'"):
        plan_for(function="fliter")
