# SPDX-License-Identifier: GPL-2.0-only
"""What is wanted, as an operator file says it: objective, constraints, limits, strategy."""

from __future__ import annotations

from pathlib import Path

import pytest

from iridescent_xdp.config import (
    AdaptConfig,
    ConstraintsConfig,
    LimitsConfig,
    SearchConfig,
    load_config,
)
from iridescent_xdp.config.objective import (
    CommandConfig,
    P99Config,
    PrometheusConfig,
    VerdictCostConfig,
)
from tests.unit.test_config import HEAD, ROOT, load_one


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The path of an operator file in a folder of its own."""
    return tmp_path / "site.toml"


def test_the_example_of_an_objective_is_read_as_written() -> None:
    (interface,) = load_config(ROOT / "examples" / "objective.toml").interfaces
    assert interface.objective == PrometheusConfig(
        url="http://localhost:9090",
        query="histogram_quantile(0.99, sum by (le) (rate(request_seconds_bucket[30s])))",
        direction="lower", unit="s", settle_s=45, timeout_s=5.0, repetitions=12,
    )  # fmt: skip
    assert interface.constraints == ConstraintsConfig(p99_ns=400, instructions=20_000)
    assert interface.limits == LimitsConfig(
        swaps_per_minute=2, quiet_hours=("22:30-06:00",), max_regret_pct=2
    )
    assert interface.adapt == AdaptConfig(max_searches_per_hour=1)


def test_a_study_may_be_in_memory(site: Path) -> None:
    found = load_one(site, f'{HEAD}search.strategy = "optuna"\nsearch.study = "memory"\n')
    assert found.search.study == "memory"


def test_a_command_and_a_policy_are_found_beside_the_file(site: Path) -> None:
    for name in ("measure", "own.py"):
        (site.parent / name).touch(mode=0o755)
    interface = load_one(
        site,
        f'{HEAD}search.strategy = "own.py"\nsearch.study = "mysql://db/x"\nsearch.max_trials = 9\n'
        '[interface.eth0.objective]\nkind = "command"\ncommand = ["./measure", "./x"]\n'
        'direction = "higher"\nunit = "1/s"\n',
    )
    folder = site.parent.resolve()
    assert interface.objective == CommandConfig(
        command=(str(folder / "measure"), "./x"), direction="higher", unit="1/s",
        timeout_s=5.0, settle_s=0.2, repetitions=12,
    )  # fmt: skip
    assert interface.search == SearchConfig(
        strategy=str(folder / "own.py"), study="mysql://db/x", max_trials=9
    )
    by_name = load_one(
        site,
        f'{HEAD}[interface.eth0.objective]\nkind = "command"\ncommand = ["sh"]\n'
        'direction = "lower"\nunit = "us"\n',
    )
    assert isinstance(by_name.objective, CommandConfig)
    assert Path(by_name.objective.command[0]).is_absolute()


def test_an_objective_is_a_name_or_a_table(site: Path) -> None:
    for text in ('objective = "p99"\n', '[interface.eth0.objective]\nkind = "p99"\n'):
        assert load_one(site, f"{HEAD}{text}").objective == P99Config()
    cost = load_one(site, f"{HEAD}objective = {{kind = 'verdict_cost', weights = {{drop = 2}}}}\n")
    assert cost.objective == VerdictCostConfig(weights={"drop": 2.0})
