# SPDX-License-Identifier: GPL-2.0-only
"""An event log such as a watching controller leaves after a scenario, made by hand.

Three phases of 10 s with a reading every 0.1 s; a search in the first, a shift and another search
in the second, a shift and a recall in the third, and a change of tables. Numbers are simple ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.unit.search_events import event

Events = list[dict[str, Any]]
TREE, CHAIN = "rule_layout=tree", "rule_layout=chain"
SEARCH_S = 2.0
PHASES = (("night", 0.0, 0.9), ("day", 10.0, 0.2), ("night again", 20.0, 0.9))


def gain(value: float, half: float = 1.0, n: int = 40) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n, "unit": "ns"}


def arm(name: str, time_ns: float, packets: int = 10_000, **more: Any) -> dict[str, Any]:
    samples = packets // 8
    return {"variant": name, "time_ns": time_ns, "packets": packets, "samples": samples, **more}


def search(at_s: float, tree: float, chain: float, reason: str) -> Events:
    """From its beginning to the swap, SEARCH_S later; generic takes 100 ns, then 102."""
    winner, saved = (TREE, 100.0 - tree) if tree < chain else (CHAIN, 100.0 - chain)
    arms = [arm("generic", 100.0), arm("generic again", 101.0, gain=gain(-1.0, 2.0))]
    first = [
        *arms,
        arm(TREE, tree, gain=gain(100.0 - tree, 3.0)),
        arm(CHAIN, chain, gain=gain(100.0 - chain, 3.0), miss_share=0.25),
        arm("rule_layout=wide", 120.0, 5_000),
    ]
    last = [*arms, arm(TREE, tree, 40_000), arm(CHAIN, chain, 40_000)]
    gains = {TREE: gain(100.0 - tree), CHAIN: gain(100.0 - chain)}
    return [
        event(at_s, "search_begins", reason=reason),
        event(at_s + 0.3, "observed", packets=123_456, heads=17, values={}),
        event(at_s + 0.3, "space", size=6, axes={}),
        event(at_s + 0.4, "built", variant=TREE, key="aaaaaaaa", build_ms=31.0, preflight_ms=4.0,
              instructions=700),
        event(at_s + 0.4, "built", variant=CHAIN, key="bbbbbbbb", build_ms=28.0, preflight_ms=4.0,
              instructions=800),
        event(at_s + 0.5, "refused", variant="rule_layout=hash", key="cccccccc",
              reason="packet 'x' differs: verdict drop, generic says pass"),
        event(at_s + 1.0, "trial", arms=first),
        event(at_s + 1.5, "trial", arms=last),
        event(at_s + 1.6, "decision", winner=winner, generic_ns=100.0, noise_floor_ns=3.0,
              needed_ns=3.5, gains=gains, reason=f"{winner} saves {saved} ns"),
        event(at_s + 1.7, "second_observer", variant=winner, agrees=True, generic_pps=2.0e6,
              winner_pps=2.6e6, throughput_ratio={**gain(1.3, 0.1), "unit": "ratio"},
              kernel_time_ratio={**gain(1.6, 0.1), "unit": "ratio"}),
        event(at_s + 1.9, "swap", variant=winner, key="aaaaaaaa", took_us=48.75, instructions=690,
              reason=f"{winner} saves {saved} ns"),
        event(at_s + SEARCH_S, "search_ends", reason="decided"),
    ]  # fmt: skip


def readings(begin_s: float, end_s: float, live: str, time_ns: float, udp: float) -> Events:
    """Every 0.1 s, with a wave of 2 % that repeats each second."""
    found = []
    for step in range(round(begin_s * 10), round(end_s * 10)):
        wave = 1 + 0.02 * math.sin(step * 2 * math.pi / 10)
        pps = 3.0e6 * wave * (1.3 if live != "generic" else 1.0)
        found.append(
            event(
                step / 10,
                "reading",
                pps=pps,
                time_ns=time_ns * wave,
                reference_ns=100.0 * wave,
                packets=round(pps / 10),
                live=live,
                signature={"protocol": {"udp": udp, "tcp": 1 - udp}},
                share_explored=0.004,
            )
        )
    return found


def scenario() -> Events:
    """The whole log, in the order in which a controller would write it."""
    events = [event(0.05, "attached", mode="native", function="filter", toolchain="llvm",
                    reason="the generic variant goes first")]  # fmt: skip
    events += [event(begin_s, "phase", name=name) for name, begin_s, _ in PHASES]
    events += readings(0.1, 1.0, "generic", 100.0, 0.9)
    events += search(1.0, tree=50.0, chain=75.0, reason="the first traffic")
    events += readings(3.0, 10.0, TREE, 50.0, 0.9)
    events += readings(10.0, 10.2, TREE, 90.0, 0.2)
    events += [
        event(10.15, "shift", reason="protocol: udp 0.9 to 0.2", statistic=41.5, threshold=6.0,
              group="protocol", before={"udp": 0.9, "tcp": 0.1}, after={"udp": 0.2, "tcp": 0.8}),
        *search(10.2, tree=90.0, chain=40.0, reason="the traffic shifted"),
    ]  # fmt: skip
    events += readings(12.2, 15.0, CHAIN, 40.0, 0.2)
    events += changed_tables(15.0, CHAIN)
    events += readings(15.2, 20.1, CHAIN, 40.0, 0.2)
    events += [
        event(20.12, "shift", reason="protocol: udp 0.2 to 0.9", statistic=38.0, threshold=6.0,
              group="protocol"),
        event(20.20, "swap", variant=TREE, key="aaaaaaaa", took_us=51.0, reason="known traffic"),
        event(20.20, "recalled", variant=TREE, distance=0.02),
    ]  # fmt: skip
    events += readings(20.3, 30.0, TREE, 50.0, 0.9)
    events += [event(30.0, "regret", regret_pct=0.42, explored_share=0.0035)]
    return sorted(events, key=lambda e: e["elapsed_s"])


def changed_tables(at_s: float, variant: str) -> Events:
    """A rule changes: back to generic, the table, the code anew."""
    return [
        event(at_s, "retreat", variant=variant, swap_us=210.0, grace_ms=8.5, searching=False,
              reason="its tables change"),
        event(at_s + 0.02, "tables_changed", changes=3, batches=1, refused=0, seconds=0.01,
              mean_us=900.0, longest_us=900.0, live="generic",
              reason="the control plane changed them"),
        event(at_s + 0.09, "swap", variant=variant, key="bbbbbbbb", took_us=44.0,
              reason="its tables changed"),
        event(at_s + 0.09, "specialized_again", variant=variant, after_ms=72.0, build_ms=35.0,
              preflight_ms=20.0, packets=5000, reason="no change for a moment"),
    ]  # fmt: skip


def write_log(path: Path, events: Iterable[Mapping[str, Any]], tail: str = "") -> Path:
    """As EventLog writes it; ``tail`` is what a killed controller left of its last line."""
    path.write_text("".join(json.dumps(e) + "\n" for e in events) + tail, encoding="utf-8")
    return path
