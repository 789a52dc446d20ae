# SPDX-License-Identifier: GPL-2.0-only
"""Debian's chromium without a display: what a page shows, says on its console, and asks for.

Nothing leaves the machine: every name and address is mapped to nothing. What chromium itself would
like to fetch (its time, its dictionaries) has no origin in its log and is told apart by that.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
_NO_ORIGIN = "not an origin"  # of a request that no page made


@dataclass(frozen=True, kw_only=True)
class Seen:
    """``pixels`` has shape (height, width, 3)."""

    dom: str
    pixels: Pixels
    console: list[str]
    requests: list[str]


def chromium() -> str:
    """Its path. Skips where it is not installed; fails on the machine that must run all tests."""
    path = shutil.which("chromium")
    if path is None:
        if os.environ.get("IRIDESCENT_REQUIRE_KERNEL") == "1":
            pytest.fail("IRIDESCENT_REQUIRE_KERNEL=1, but chromium is not there: make setup")
        pytest.skip("chromium is not installed")
    return path


def look(page: Path, folder: Path, size: tuple[int, int], *, dark: bool = False) -> Seen:
    """Open a file in a new profile below ``folder``; the picture stays there."""
    folder.mkdir(exist_ok=True)
    picture, network = folder / "page.png", folder / "network.json"
    done = subprocess.run(
        [
            chromium(),
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={network}",
            "--enable-logging=stderr",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={picture}",
            "--dump-dom",
            page.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and picture.exists(), done.stderr
    return Seen(
        dom=done.stdout,
        pixels=(imread(picture)[:, :, :3] * 255).round().astype(np.uint8),
        console=re.findall(r"CONSOLE[^\]]*\] (.*)", done.stderr),
        requests=_requests(network),
    )


def _requests(network: Path) -> list[str]:
    """What pages asked for that is not a file."""
    found = []
    for event in json.loads(network.read_text())["events"]:
        numbers = event.get("params", {})
        if numbers.get("initiator", _NO_ORIGIN) != _NO_ORIGIN:
            found.append(str(numbers["url"]))
    return [url for url in found if not url.startswith(("file:", "data:"))]


def frame(page: Path, width: int, height: int) -> Path:
    """A page that shows another one as wide as a telephone; windows are never that narrow."""
    wrapper = page.with_name(f"{page.stem}-{width}.html")
    wrapper.write_text(
        "<!DOCTYPE html><title>frame</title><body style='margin:0;background:#f0f'>"
        f"<iframe src='{page.name}' width='{width}' height='{height}' style='border:0'></iframe>"
    )
    return wrapper
