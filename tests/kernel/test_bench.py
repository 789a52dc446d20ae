# SPDX-License-Identifier: GPL-2.0-only
"""Every bench suite in its short form: it prints its figures, however large they are."""

from __future__ import annotations

import json
import math
import os
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import netns

from iridescent_xdp.bench import SUITES, xdp_filter
from iridescent_xdp.bench.main import run
from iridescent_xdp.errors import (
    MissingFeatureError,
    StateError,
)
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
FUNCTIONS = ("filter", "router", "l4lb")
# what each suite has to show, by case; the quick form of "functions" has high locality only
FIGURES: dict[str, dict[str, set[str]]] = {
    "compile": {
        **{name: {"speedup", "llvm_ms", "bcc_ms", "cached_ms"} for name in FUNCTIONS},
        **{f"{name}/100": {"total_ms", "decision_ms", "verifier_ms"} for name in FUNCTIONS},
    },
    "swap": {
        "filter": {"lost", "duplicated", "swaps", "pps", "swap_us_p50", "swap_us_p99"},
        "link": {"new_us_p50", "new_us_p99", "known_us_p50", "known_us_p99"},
    },
    "functions": {
        f"{name}/high": {
            *("generic_ns", "specialized_ns", "time_ratio", "handwritten_ratio"),
            *("throughput_ratio", "throughput_ratio_inline"),
            *("generic_p50_ns", "generic_p99_ns", "specialized_p50_ns", "specialized_p99_ns"),
            *(("lookup_ratio_ifs", "lookup_ratio_hot") if name == "router" else ()),
        }
        for name in FUNCTIONS
    },
    "peers": {
        case: {"peer_ratio", "peer_ns", "winner_ns"}
        for case in ("filter/port", "filter/16", "filter/1000", "router/fib")
    },
    "guards": {
        "filter": {"instrumentation_pct", "timing_pct"},
        "router": {"instrumentation_pct", "timing_pct"},
        "l4lb": {"instrumentation_pct", "timing_pct"},
        "filter/no_extensions": {"pass_ns", "miss_ns", "break_even_miss_rate"},
        "router/hot_keys": {"miss_ns", "break_even_miss_rate"},
        "l4lb/hot_flows": {"miss_ns", "break_even_miss_rate"},
    },
    "overhead": {
        "filter": {"steady_pct", "root_pct"},
        "sensing": {"sensing_pct", "look_ms", "stood_ms", "samples"},
    },
}
# the quick form of "adapt" has fewer seeds and phases, searches in little, and leaves out two cases
FIGURES["adapt"] = {
    "seven candidates": {"converge_s", "converge_cold_s", "measure_s", "seed"},
    "24 variants": {"right_of_30", "lag_ns", "noise_ns", "seed"},
    "generic against itself": {"false_swaps", "gain_max_ns", "seed"},
    "13,824 variants": {"large_space_hits", "lag_ratio", "trials_max", "seed"},
    "five_phases": {"oracle_share", "vs_fixed", "vs_fixed_program", "seed"},
    "vlan_appears": {"detect_ms_p50", "detect_ms_p99", "seed"},
    "all changes": {"detect_ms_p50", "detect_ms_p99", "unseen"},
    "steady": {"false_alarms", "seconds", "looks", "seed"},
    "all searches": {"regret_pct", "regret_pct_p50", "regret_pct_max"},
}
# figures whose worth does not depend on the machine
EXACT = {"lost": 0, "duplicated": 0, "wrong_counters": 0}
# figures that may be 0, some of them because that is good
COUNTED = {
    *("seed", "right_of_30", "large_space_hits", "recalled", "searches"),
    *("undecided", "false_swaps", "false_alarms", "unseen", "lag_ns", "lag_max_ns"),
    *("during_search",),
    *("regret_pct", "regret_pct_p50", "regret_pct_max"),
}
# and differences, which noise can turn around
SIGNED = {
    *("gain_max_ns",),
    *("steady_pct", "root_pct", "sensing_pct", "instrumentation_pct", "timing_pct"),
    *("root_ns", "past_sensor_ns", "sampled_ns"),
    *("pass_ns", "miss_ns", "gain_ns", "break_even_miss_rate"),
}


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
        elif row["metric"] in COUNTED:
            assert row["value"] >= 0
        elif row["metric"] not in SIGNED:
            assert row["value"] > 0, row
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
