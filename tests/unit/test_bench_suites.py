# SPDX-License-Identifier: GPL-2.0-only
"""Which suites there are; and that one is imported only when it is asked for."""

from __future__ import annotations

import subprocess
import sys

from iridescent_xdp.bench import SUITES

_ASK_FOR_ONE = """
import sys
from iridescent_xdp.bench import SUITES
assert not [name for name in sys.modules if name.startswith("iridescent_xdp.bench.")]
SUITES["cache"]
assert "iridescent_xdp.bench.verdict_cache" in sys.modules
assert "iridescent_xdp.bench.adapt" not in sys.modules
"""


def test_asking_for_a_suite_imports_no_other() -> None:
    subprocess.run([sys.executable, "-c", _ASK_FOR_ONE], check=True)


def test_suites_are_found_by_name() -> None:
    assert len(SUITES) == len(list(SUITES)) and "adapt" in SUITES
    assert "template" not in SUITES and SUITES.get("speed") is None
    assert all(callable(suite) for suite in SUITES.values())
