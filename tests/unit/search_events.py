# SPDX-License-Identifier: GPL-2.0-only
"""Events and reports in the shape that a search writes them, made by hand."""

from __future__ import annotations

from typing import Any

from iridescent_xdp.commands.search_report import SearchReport, VariantReport
from iridescent_xdp.statistics import Effect

GENERIC, TWIN = "generic", "generic again"


def event(elapsed_s: float, kind: str, **numbers: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00+0000",
        "elapsed_s": elapsed_s,
        "event": kind,
        "interface": "eth0",
        **numbers,
    }


def trial(elapsed_s: float, **times_ns: float) -> dict[str, Any]:
    """Names are point values: ``tree=60.0`` stands for the variant rule_layout=tree."""
    named = {GENERIC: times_ns.pop("generic"), TWIN: times_ns.pop("twin")}
    named |= {f"rule_layout={name}": value for name, value in times_ns.items()}
    arms = [
        {
            "variant": name,
            "time_ns": value,
            "samples": 1000,
            "packets": 8000,
            "bytes": 480_000,
            "verdicts": [0, 8000],
            "miss_share": 0.0,
        }
        for name, value in named.items()
    ]
    return event(elapsed_s, "trial", arms=arms)


def swap(elapsed_s: float, name: str) -> dict[str, Any]:
    return event(elapsed_s, "swap", variant=f"rule_layout={name}", took_us=48.75, key="0" * 8)


SEARCH = [
    event(0.1, "attached", mode="native", reason="the generic variant goes first"),
    event(0.5, "observed", packets=123_456, heads=17, values={}),
    event(0.5, "space", size=4, axes={}),
    event(1.0, "built", variant="rule_layout=chain", instructions=800),
    event(1.2, "refused", variant="rule_layout=hash", reason="verdict drop, generic says pass"),
    trial(2.0, generic=110.0, twin=111.0, chain=80.0, tree=60.0, wide=140.0),
    trial(3.5, generic=112.0, twin=111.5, chain=79.0, tree=61.0, list=95.0),
    event(
        3.6,
        "decision",
        winner="rule_layout=tree",
        gains={"rule_layout=tree": {"value": 51.0, "low": 50.0, "high": 52.0}},
        reason="rule_layout=tree saves 51 ns",
    ),
    swap(4.0, "tree"),
]


def effect(value: float, half: float = 1.0, unit: str = "ns") -> Effect:
    return Effect(value=value, low=value - half, high=value + half, n=40, unit=unit)


def variant(key: str, label: str, status: str = "measured", **more: Any) -> VariantReport:
    return VariantReport(key=key, label=label, values={"rule_layout": 1}, status=status, **more)


REPORT = SearchReport(
    interface="eth0",
    function="filter",
    template="filter",
    toolchain="llvm",
    config="/nowhere/site.toml",
    events="",
    sentence="rule_layout=tree saves 51.00 ns of 112.0 ns per packet",
    generic_key="99999999",
    generic_ns=112.0,
    needed_ns=1.12,
    noise_floor_ns=0.5,
    gains={"rule_layout=tree": effect(51.0), "rule_layout=chain": effect(33.0)},
    winner="rule_layout=tree",
    winner_key="aaaaaaaa",
    applied=True,
    throughput_ratio=effect(1.2, 0.1, "ratio"),
    kernel_time_ratio=effect(1.5, 0.1, "ratio"),
    space_size=6,
    trials=9,
    seconds=12.5,
    finished="2026-01-01T00:00:12+0000",
    variants=(
        variant("aaaaaaaa", "rule_layout=tree", "winner", gain=effect(51.0), samples=9000),
        variant("bbbbbbbb", "rule_layout=chain", gain=effect(33.0), samples=9000),
        variant("cccccccc", "rule_layout=list", gain=effect(17.0), samples=1000),
        variant("dddddddd", "rule_layout=wide", gain=effect(-30.0), samples=1000, miss_share=0.25),
        variant("eeeeeeee", "rule_layout=hash", "refused", reason="packet 'x' differs"),
        variant("ffffffff", "rule_layout=late", "built"),
    ),
)
