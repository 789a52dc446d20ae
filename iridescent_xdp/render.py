# SPDX-License-Identifier: GPL-2.0-only
"""Facts as rich tables and sentences. Nothing is measured or decided here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from iridescent_xdp.commands.progress import Tally
    from iridescent_xdp.commands.search_report import SearchReport, VariantReport
    from iridescent_xdp.commands.traffic_seen import Rate
    from iridescent_xdp.doctor import Check
    from iridescent_xdp.statistics import Effect

Facts = Mapping[str, Any]
BUSIEST = 16  # counters that status shows beside the verdicts
_STYLES = {"winner": "bold green", "refused": "red"}


def _table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def interval(effect: Effect | None, unit: str = "") -> str:
    """``2.41x (2.38 to 2.44)``; a dash when nothing was measured."""
    if effect is None:
        return "-"
    return f"{effect.value:.2f}{unit} ({effect.low:.2f} to {effect.high:.2f})"


# -- a search ------------------------------------------------------------------------------


def search_view(report: SearchReport) -> list[RenderableType]:
    """The variants of a search, and how it was decided."""
    numbers = ("ns per packet", "gain in ns (99 %)", "samples", "misses", "insns")
    table = _table("variant", *numbers, "status", right=numbers)
    for row in report.variants:
        table.add_row(*_variant_cells(row), style=_STYLES.get(row.status))
    table.add_row(*_generic_cells(report))
    lines = [
        f"{report.interface}: {len(report.variants) + 1} of {report.space_size} variants met in "
        f"{report.seconds:.1f} s. The times contain two clock reads, the gains do not.",
        f"{report.interface}: {report.sentence or 'generic stays: the search was not finished'}",
        *_throughput_line(report),
    ]
    return [table, *(Text(line) for line in lines)]


def _variant_cells(row: VariantReport) -> tuple[str, ...]:
    status = f"refused: {row.reason}" if row.status == "refused" else row.status
    return (
        row.label,
        "-" if row.time_ns is None else f"{row.time_ns:.1f}",
        interval(row.gain),
        f"{row.samples:,}" if row.samples else "-",
        f"{row.miss_share:.1%}" if row.samples else "-",
        str(row.instructions or "-"),
        escape(status),
    )


def _generic_cells(report: SearchReport) -> tuple[str, ...]:
    time_ns = "-" if report.generic_ns is None else f"{report.generic_ns:.1f}"
    floor = report.noise_floor_ns
    noise = "-" if floor is None else f"0 (noise floor {floor:.2f})"
    return ("generic", time_ns, noise, "-", "-", "-", "winner" if not report.winner_key else "")


def _throughput_line(report: SearchReport) -> list[str]:
    if report.throughput_ratio is None:
        return []
    line = f"{report.interface}: throughput {interval(report.throughput_ratio, 'x')}"
    if report.kernel_time_ratio is not None:
        line += f"; the kernel's statistics say {interval(report.kernel_time_ratio, 'x')}"
        line += "" if report.kernel_time_ratio.value > 1 else ", which disagrees"
    return [line]


def progress_view(tally: Tally) -> RenderableType:
    """What a search has done so far, redrawn with each event."""
    table = _table("", "", title=f"{tally.interface}: {time.monotonic() - tally.began:.1f} s")
    table.show_header = False
    counts = f"{tally.built} built, {tally.refused} refused, {len(tally.measured)} measured"
    table.add_row("variants", f"{counts} of {tally.space_size}")
    table.add_row("packets", f"{tally.packets:,} measured")
    if tally.best_ns:
        best = f"{tally.best} {tally.best_ns:.1f} ns, generic {tally.generic_ns:.1f} ns"
        table.add_row("best", escape(best))
    table.add_row("now", escape(tally.last))
    return table


# -- watching and leaving ------------------------------------------------------------------


def rate_text(rate: Rate) -> str:
    """Packets and bits per second with their units."""
    return f"{rate.pps / 1e6:.3f} Mpps, {rate.bits_per_s / 1e6:.1f} Mbit/s"


def rates_view(rates: Mapping[str, tuple[str, Rate]]) -> RenderableType:
    """What runs where, and how much comes by."""
    table = _table("interface", "live", "traffic", right=("traffic",))
    for name, (live, rate) in rates.items():
        table.add_row(name, escape(live), rate_text(rate))
    return table


def left_view(facts: Iterable[Facts]) -> RenderableType:
    """The summary when a controller goes."""
    lines = [
        f"{f['interface']}: '{f['live']}' stays attached ({f['mode']} mode); "
        f"{f['packets']:,} packets since the start; "
        f"remove it with 'iridescent detach {f['interface']}'"
        for f in facts
    ]
    return Text("\n".join(lines))


# -- status --------------------------------------------------------------------------------


def status_view(facts: Facts) -> list[RenderableType]:
    """One interface as the kernel and the record tell it."""
    table = _table("", "", title=str(facts["key"]))
    table.show_header = False
    link, programs = facts["link"], facts["programs"]
    alive = facts["controller"]
    rows = {
        "attached": _attachment(facts),
        "phase": facts["phase"],
        "controller": f"process {alive['pid']}" if alive["alive"] else "none",
        "live": _program(programs.get("live")),
        "fallback": _program(programs.get("fallback")),
        "link holds": f"program {link['prog_id']}" if link else "-",
        "events": facts["events"] or "-",
    }
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    for note in facts["notes"]:
        table.add_row("note", escape(note), style="yellow")
    for problem in facts["problems"]:
        table.add_row("problem", escape(problem), style="red")
    misses = ", ".join(f"{name} {count:,}" for name, count in facts["guard_misses"].items())
    table.add_row("guard misses", misses or "none")
    return [table, *_counters(facts["counters"]), Text("")]


def _attachment(facts: Facts) -> str:
    if facts["stale"]:
        return f"no: {facts['stale']}"
    return f"{facts['function']} in {facts['mode']} mode, built by {facts['toolchain']}"


def _program(held: Facts | None) -> str:
    if held is None or not held["prog_id"]:
        return "-"
    key = f", key {held['key']}" if held["key"] else ""
    return f"{held['variant']} (program {held['prog_id']}{key})"


def _counters(rows: Sequence[Facts]) -> list[RenderableType]:
    if not rows:
        return []
    table = _table("counted", "packets", "bytes", right=("packets", "bytes"))
    verdicts = [row for row in rows if row["name"].startswith("verdict ")]
    others = [row for row in rows if row not in verdicts]
    busiest = sorted(others, key=lambda row: -row["packets"])[:BUSIEST]
    for row in (*verdicts, *busiest):
        table.add_row(row["name"], f"{row['packets']:,}", f"{row['bytes']:,}")
    left_out = len(others) - len(busiest)
    return [table, *([Text(f"and {left_out} more: --json lists all")] if left_out else [])]


# -- templates and variants ----------------------------------------------------------------


def template_view(facts: Facts) -> list[RenderableType]:
    """Points, tables, maps, toolchains."""
    points = _table("point", "class", "values", "default", "meaning", "declared")
    for p in facts["points"]:
        cells = (p["name"], p["class"], p["shown_domain"], p["default"], p["doc"], p["where"])
        points.add_row(*map(escape, cells))
    maps = _table("map", "type", "key", "value", "entries", "meaning", right=("key", "value"))
    for m in facts["maps"]:
        size = (f"{m['key_bytes']} B", f"{m['value_bytes']} B", str(m["entries"]))
        maps.add_row(m["name"], m["type"], *size, escape(m["doc"]))
    lines = [f"{facts['template']}: {facts['space_size']:,} variants, observed values not counted"]
    lines += [f"table {t['name']} (struct {t['key']}): {t['doc']}" for t in facts["tables"]]
    lines += [
        f"{p['name']}: only the LLVM toolchain can fold {', '.join(p['llvm_only'])}"
        for p in facts["points"]
        if p["llvm_only"]
    ]
    for name, tool in facts["toolchains"].items():
        lines.append(f"toolchain {name}: {'' if tool['ok'] else 'missing: '}{tool['detail']}")
    return [points, Text(""), maps, Text(""), *(Text(line) for line in lines)]


def effort_view(facts: Facts) -> list[RenderableType]:
    """The lines of a template that are there for specialization's sake."""
    effort = facts["effort"]
    table = _table("where", "counted as", "line")
    for line in effort["lines"]:
        table.add_row(line["where"], line["kind"], escape(line["text"]))
    sentence = (
        f"{facts['template']}: {effort['marked']} marked lines, at most {effort['wanted']} wanted; "
        f"{effort['policy']} policy, {effort['frame']} frame, {effort['read']} reads; "
        f"{effort['python']} lines of Python"
    )
    return [table, Text(""), Text(sentence, style="" if effort["within"] else "yellow")]


def explain_view(facts: Facts) -> list[RenderableType]:
    """One variant against the generic one."""
    points = _table("point", "class", "generic", "here", "meaning")
    for p in facts["points"]:
        points.add_row(*(escape(p[n]) for n in ("name", "class", "generic", "value", "doc")))
    build = facts["build"]
    code = _table("code", "generic", "here", right=("generic", "here"))
    for name in build.get("generic", {}):
        code.add_row(name.replace("_", " "), *(str(build[w][name]) for w in ("generic", "variant")))
    lines = [f"{facts['variant']} ({facts['key']}) of template {facts['template']}"]
    lines += [f"not built: {build['error']}"] if build.get("error") else []
    told = [points] if facts["points"] else []
    told += [code] if code.row_count else []
    return [Text("\n".join(lines)), *told, *_trials(facts["trials"]), Text(facts["why"])]


def _trials(rows: Sequence[Facts]) -> list[RenderableType]:
    if not rows:
        return []
    numbers = ("after", "ns per packet", "generic", "samples", "misses")
    table = _table("trial", *numbers, right=numbers)
    for number, t in enumerate(rows, start=1):
        times = (f"{t['elapsed_s']:.1f} s", f"{t['time_ns']:.1f}", f"{t['generic_ns']:.1f}")
        table.add_row(str(number), *times, f"{t['samples']:,}", f"{t['miss_share']:.1%}")
    return [table]


# -- doctor --------------------------------------------------------------------------------


def doctor_table(found: Iterable[Check]) -> RenderableType:
    """Each check, and the cure of what is missing."""
    table = _table("check", "", "found", "needed for", "cure")
    for check in found:
        word = "ok" if check.ok else "missing" if check.required else "optional"
        style = None if check.ok else "red" if check.required else "yellow"
        cells = (check.name, word, check.detail, check.needed_for, check.cure)
        table.add_row(*map(escape, cells), style=style)
    return table
