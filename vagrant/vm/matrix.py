# SPDX-License-Identifier: GPL-2.0-only
"""The table kernel x feature x what is used instead, from what each guest found by trying."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iridescent_xdp.kernel.features import Feature
from vagrant.vm.errors import VmError

COMMAND = ".venv/bin/python -m vagrant.vm.features >/results/features.json"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A feature: its key in the guest's document, for people, and what stands in for it."""

    key: str
    title: str
    instead: str


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one guest found."""

    kernel: str
    release: str
    required: bool
    features: Mapping[str, Mapping[str, Any]]


ROWS = (
    Row(
        key="link native virtio",
        title="XDP link, native on virtio-net",
        instead="netlink; generic mode where the driver has no native one",
    ),
    Row(
        key="netlink native virtio",
        title="netlink compare-and-swap",
        instead="only where there are no XDP links",
    ),
    Row(
        key="link native e1000e",
        title="native on e1000e",
        instead='generic mode (`mode = "native-then-generic"`), and it says so',
    ),
    Row(key="link generic e1000e", title="generic on e1000e", instead="-"),
    Row(key=Feature.TEST_RUN, title="test runs (preflight)", instead="required"),
    Row(
        key=Feature.LIVE_FRAMES,
        title="live frames (generator of demo, bench)",
        instead="pktgen, pcap replay",
    ),
    Row(key="pktgen", title="pktgen", instead="live frames"),
    Row(
        key="metadata kfuncs",
        title="metadata kfuncs",
        instead="not used: clock reads inside the variant",
    ),
    Row(
        key="redirect targets",
        title="interfaces tell whether they can send what is redirected",
        instead="the router trusts its interfaces",
    ),
    Row(
        key=Feature.FIB_LOOKUP,
        title="look-ups in the kernel's routes",
        instead="the router's own tables",
    ),
    Row(key=Feature.STATS, title="program statistics (second observer)", instead="first one alone"),
    Row(key=Feature.JIT, title="JIT compiler", instead="interpreter"),
    Row(key=Feature.BTF, title="kernel type information", instead="bpftool lists less"),
    Row(
        key="kernel headers",
        title="own headers, from Debian's package",
        instead="headers of another release; without any, toolchain llvm",
    ),
    Row(key="bcc compiles", title="toolchain bcc", instead="toolchain llvm"),
    Row(key="LLVM compiles", title="toolchain llvm", instead="toolchain bcc"),
)


def read_column(kernel: str, results: Path) -> Column:
    """What the guest wrote. Raises VmError when it is no such document."""
    file = results / "features.json"
    try:
        found = json.loads(file.read_text())
        return Column(
            kernel=kernel,
            release=found["release"],
            required=found["required"],
            features=found["features"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise VmError(f"kernel {kernel} told nothing of its features ({error})") from error


def markdown(columns: Sequence[Column], rows: Sequence[Row] = ROWS) -> str:
    """The table; a feature that a guest did not look at is an error, not an empty cell."""
    titles = [f"{column.kernel} ({column.release})" for column in columns]
    lines = [["feature", *titles, "instead"], ["---"] * (len(columns) + 2)]
    lines += [[row.title, *(_cell(c, row.key) for c in columns), row.instead] for row in rows]
    required = ["yes" if column.required else "**no**" for column in columns]
    lines.append(["`doctor`: all that is required", *required, "-"])
    notes = [line for column in columns for line in _notes(column, rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([table, "", *notes] if notes else [table])


def _cell(column: Column, key: str) -> str:
    if key not in column.features:
        raise VmError(f"kernel {column.kernel} did not look at '{key}'")
    return "yes" if column.features[key]["ok"] else "no"


def _notes(column: Column, rows: Sequence[Row]) -> list[str]:
    """Why something is missing, in the kernel's own words."""
    found = [(row.title, column.features[row.key]) for row in rows]
    return [
        f"- {column.kernel}, {title}: {feature['detail']}"
        for title, feature in found
        if not feature["ok"]
    ]
