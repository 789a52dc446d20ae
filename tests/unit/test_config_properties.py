# SPDX-License-Identifier: GPL-2.0-only
"""What holds for any operator file, and where it agrees with the C headers and the manual."""

from __future__ import annotations

import re
import socket
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP

from iridescent_xdp.config import Config, ConfigFileError, SearchConfig, read_config
from iridescent_xdp.config.model import (
    MAX_ARMS,
    AdaptConfig,
    ConstraintsConfig,
    InterfaceSettings,
    LimitsConfig,
    Section,
)
from iridescent_xdp.config.objective import KINDS
from iridescent_xdp.config.packet_fields import PROTOCOLS, TCP_FLAGS
from iridescent_xdp.config.prefixes import parse_prefix
from iridescent_xdp.config.problems import Plain, show_value
from iridescent_xdp.functions.filter_config import (
    MAX_RULES,
    MAX_SET_PREFIXES,
    TABLES,
    RuleSection,
    SetsSection,
)

ROOT = Path(__file__).resolve().parents[2]


@given(st.ip_addresses(), st.integers(0, 128))
def test_prefixes_agree_with_the_standard_library(address: Any, length: int) -> None:
    length %= address.max_prefixlen + 1
    network = ip_network(f"{address}/{length}", strict=False)
    assert parse_prefix(str(network)) == network
    assert parse_prefix(str(address)) == ip_network(address)
    if network.network_address != address:
        with pytest.raises(Plain, match=re.escape(f'write "{network}"')):
            parse_prefix(f"{address}/{length}")


@given(st.text("0123456789abf.:/% \x00é-", max_size=20))
def test_no_text_is_a_prefix_that_the_standard_library_refuses(text: str) -> None:
    try:
        network = parse_prefix(text)
    except Plain:
        return
    assert network == ip_network(text)


_PLAIN: list[type[Section]] = [AdaptConfig, ConstraintsConfig, LimitsConfig]
_KEYS = ["interface", "eth0", *InterfaceSettings.model_fields, *SearchConfig.model_fields,
         *(key for model in [*_PLAIN, *KINDS.values()] for key in model.model_fields),
         "rules", "sets", *RuleSection.model_fields, *SetsSection.model_fields, "\n"]  # fmt: skip
_LEAVES = (
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.dates()
    | st.sampled_from(["filter", "drop", "icmp", "p99", "command", "::/0", "1-2", "syn", "/", "."])
)  # fmt: skip
_DOCUMENTS = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_DOCUMENTS, _DOCUMENTS, _DOCUMENTS, _DOCUMENTS)
def test_any_document_is_a_config_or_a_list_of_single_lines(
    search: Any, rule: Any, sets: Any, other: Any
) -> None:
    filters = {"function": "filter", "search": search, "sets": sets, "rules": [rule, rule],
               "objective": rule, "limits": search, "adapt": sets, "constraints": sets}  # fmt: skip
    for document in ({"interface": {"eth0": filters, "eth1": other}}, {"interface": other}):
        try:
            assert isinstance(read_config(document, Path("x.toml")), Config)
        except ConfigFileError as error:
            assert error.problems
            assert all(problem.isprintable() for problem in error.problems)


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("iridescent_run.h", "SPEC_ARMS", MAX_ARMS + 2),  # generic, twice
        ("filter_tables.h", "MAX_RULES", MAX_RULES),
        ("filter_tables.h", "SET_ENTRIES", MAX_SET_PREFIXES),
    ],
)
def test_limits_are_those_of_the_maps(file: str, name: str, value: int) -> None:
    source = (ROOT / "bpf" / "include" / file).read_text()
    assert re.search(rf"#define {name}\s+(\d+)", source)[1] == str(value)  # type: ignore[index]


def test_points_that_follow_from_the_tables_are_policy_points_of_the_filter() -> None:
    source = (ROOT / "bpf" / "filter.bpf.c").read_text()
    for name in TABLES.derived_points:
        assert re.search(rf"^SPEC_[A-Z]+\(policy, {name},", source, re.MULTILINE), name


def test_protocols_and_flags_have_their_standard_numbers() -> None:
    assert {name: getattr(socket, f"IPPROTO_{name.upper()}") for name in PROTOCOLS} == PROTOCOLS
    # scapy calls each flag by its first letter.
    assert {name: TCP(flags=name[0].upper()).flags.value for name in TCP_FLAGS} == TCP_FLAGS


@pytest.mark.parametrize(
    "model",
    [InterfaceSettings, SearchConfig, RuleSection, SetsSection, *_PLAIN, *KINDS.values()],
)
def test_the_manual_tells_every_key_and_its_default(model: type[Section]) -> None:
    manual = (ROOT / "docs" / "operator-file.md").read_text()
    for key, field in model.model_fields.items():
        if key == "kind":
            assert f'| `"{field.default}"` |' in manual
            continue
        row = re.search(rf"^\| `{key}` \|.*\|$", manual, re.MULTILINE)
        assert row, key
        if not field.is_required() and isinstance(field.default, str | int | float):
            assert f"| `{show_value(field.default)}` |" in row[0], key
