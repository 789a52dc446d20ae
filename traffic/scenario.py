# SPDX-License-Identifier: GPL-2.0-only
"""Scenarios: traffic that changes, as phases in a TOML file (docs/scenarios.md).

A scenario knows nothing about the program that meets it, so the same file is played against the
generic code, a fixed variant, and a controller.
"""

from __future__ import annotations

from pathlib import Path

from iridescent_xdp.config.document import read_document
from iridescent_xdp.config.problems import Problems, nearest, quote
from iridescent_xdp.errors import ConfigError
from traffic.scenario_changes import TableChange
from traffic.scenario_model import Phase, Scenario
from traffic.scenario_reader import read_scenario

__all__ = ["SCENARIOS", "Phase", "Scenario", "TableChange", "load_scenario", "scenario_names"]

SCENARIOS = Path(__file__).resolve().parent / "scenarios"
_SUFFIX = ".toml"


def scenario_names() -> list[str]:
    """The scenarios that come with the project."""
    return sorted(file.stem for file in SCENARIOS.glob(f"*{_SUFFIX}"))


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Read and check a scenario: one of ``scenario_names()``, or the path of a .toml file.

    Raises ConfigFileError, which lists everything that is wrong, and ConfigError for a name that
    there is not.
    """
    path = Path(name_or_path)
    if path.suffix != _SUFFIX:
        names = scenario_names()
        if str(name_or_path) not in names:
            near = nearest(str(name_or_path), names)
            raise ConfigError(
                f"there is no scenario {quote(str(name_or_path))}",
                cure=f"did you mean '{near}'?"
                if near
                else f"there are {', '.join(names)}, and paths that end with {_SUFFIX}",
            )
        path = SCENARIOS / f"{name_or_path}{_SUFFIX}"
    problems = Problems(path)
    document = read_document(problems)
    problems.raise_if_any()
    return read_scenario(document, problems)
