# SPDX-License-Identifier: GPL-2.0-only
"""Every bench suite in its short form: it prints its figures, however large they are."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import netns

from iridescent_xdp.bench import SUITES, xdp_filter
from iridescent_xdp.bench.handwritten import compile_handwritten
from iridescent_xdp.bench.main import run
from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.results import Options
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import MissingFeatureError, PreflightError, StateError
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import UDP
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.libbpf import ForeignObject
from iridescent_xdp.state import BPFFS, PINS
from traffic.packet_build import Flow, Shape, frame
from traffic.testbed import PREFIX

pytestmark = [
    pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE, toolchain="llvm"),
    pytest.mark.needs(toolchain="bcc"),
]

KEYS = {"suite", "case", "metric", "unit", "value", "low", "high", "n"}
# what each suite has to show, by case
FIGURES = {
    "compile": {"filter": {"speedup", "llvm_ms", "bcc_ms", "cached_ms"}},
    "swap": {"filter": {"lost", "duplicated", "swaps", "pps", "swap_us_p50", "swap_us_p99"}},
    "functions": {
        case: {
            *("generic_ns", "specialized_ns", "time_ratio", "handwritten_ratio"),
            "throughput_ratio",
        }
        for case in ("filter/high", "filter/low", "filter/none")
    },
    "peers": {
        case: {"peer_ratio", "peer_ns", "winner_ns"}
        for case in ("filter/port", "filter/16", "filter/1000")
    },
    "overhead": {"filter": {"steady_pct", "root_pct"}},
}
# figures whose worth does not depend on the machine
EXACT = {"lost": 0, "duplicated": 0, "wrong_counters": 0}
SIGNED = {"steady_pct", "root_pct"}


def left_behind() -> tuple[set[str], set[str]]:
    """Foreign pins, and namespaces of this process."""
    mine = f"{PREFIX}-{os.getpid()}-"
    namespaces = {name for name in netns.listnetns() if name.startswith(mine)}
    return {path.name for path in BPFFS.iterdir()} - {PINS.name}, namespaces


@pytest.mark.parametrize("suite", FIGURES)
def test_a_suite_prints_its_figures(
    suite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, path = left_behind(), tmp_path / "figures.json"
    assert run([suite], True, path, False) == 0
    shown = capsys.readouterr()
    rows: list[dict[str, Any]] = json.loads(path.read_text())["results"]
    for row in rows:
        assert set(row) == KEYS
        assert row["suite"] == suite
        assert math.isfinite(row["value"])
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] >= 1
        assert row["metric"] in shown.out
        if row["metric"] in EXACT:
            assert row["value"] == EXACT[row["metric"]]
        elif row["metric"] not in SIGNED:
            assert row["value"] > 0
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["case"], set()).add(row["metric"])
    assert set(found) == set(FIGURES[suite])
    for case, metrics in FIGURES[suite].items():
        assert metrics <= found[case]
    assert f"{suite}" in shown.err
    assert left_behind() == before


def test_every_suite_is_known_by_name() -> None:
    assert set(FIGURES) <= set(SUITES)
    assert all((suite.__doc__ or "").strip() for suite in SUITES.values())


@contextmanager
def rig(**policy: int) -> Iterator[Rig]:
    with Rig(Builder("llvm"), FilterTables(rules=RULES), **policy) as made:
        yield made


def test_the_handwritten_program_decides_and_counts_as_the_template() -> None:
    with rig() as made:
        code = compile_handwritten(made, default_drop=False)
        made.check({"handwritten": code}, edge_traffic("low", 0.05))


def test_a_handwritten_program_that_differs_is_refused() -> None:
    with rig(default_action=1) as made:
        code = compile_handwritten(made, default_drop=False)
        with pytest.raises(PreflightError, match="handwritten"):
            made.check({"handwritten": code}, edge_traffic("low"))


def test_the_short_form_still_spans_narrowings_and_layouts() -> None:
    with rig() as made:
        short = made.candidates(Options(quick=True))
        whole = made.candidates(Options(quick=False))
    assert set(short) < set(whole)
    assert made.variant in short
    layouts = made.function.template.point("rule_layout").domain
    assert {v["rule_layout"] for v in short} == set(layouts)
    assert {v["vlan_depth"] for v in short} == {0, 2}
    assert {v["no_fragments"] for v in short} == {0, 1}


# -- xdp-filter ----------------------------------------------------------------------------


@pytest.fixture
def _xdp_filter() -> None:
    try:
        xdp_filter.smallest_object(xdp_filter.UDP)
    except MissingFeatureError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("_xdp_filter")
@pytest.mark.parametrize(
    ("features", "name"),
    [
        (xdp_filter.UDP | xdp_filter.DEFAULT_ALLOW, "xdpfilt_alw_udp.o"),
        (xdp_filter.TCP | xdp_filter.DEFAULT_DENY, "xdpfilt_dny_tcp.o"),
        (xdp_filter.IPV4 | xdp_filter.DEFAULT_ALLOW, "xdpfilt_alw_ip.o"),
        (xdp_filter.IPV4 | xdp_filter.UDP | xdp_filter.DEFAULT_ALLOW, "xdpfilt_alw_all.o"),
    ],
)
def test_the_smallest_sufficient_object_is_taken(features: int, name: str) -> None:
    assert xdp_filter.smallest_object(features).name == name


@pytest.mark.usefixtures("_xdp_filter")
def test_a_port_and_an_address_are_blocked_by_xdp_filter() -> None:
    before = left_behind()
    blocked = IPv4Address("203.0.113.9")
    everything = xdp_filter.UDP | xdp_filter.IPV4 | xdp_filter.DEFAULT_ALLOW
    with ForeignObject(xdp_filter.smallest_object(everything)) as peer:
        xdp_filter.block_udp_ports(peer, [1900])
        xdp_filter.block_sources(peer, [blocked])
        for source, port, verdict in (
            ("198.51.100.1", 1900, 1),
            ("198.51.100.1", 1901, 2),
            (str(blocked), 1901, 1),
            ("203.0.113.10", 1901, 2),
        ):
            flow = Flow(
                family=4,
                source=int(IPv4Address(source)),
                destination=int(IPv4Address("192.0.2.1")),
                protocol=UDP,
                source_port=4000,
                destination_port=port,
            )
            assert peer.program.run(frame(flow, Shape())).verdict == verdict, (source, port)
        with pytest.raises(StateError, match="no map 'filter_weights'"):
            peer.map_fd("filter_weights")
        assert left_behind() == before  # its maps ask to be pinned, here they are not


def test_an_object_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "nothing.o"
    path.write_bytes(b"not an object")
    with pytest.raises(StateError, match="libbpf cannot open"):
        ForeignObject(path)
