# SPDX-License-Identifier: GPL-2.0-only
"""Optuna's policy and its persistent study, in a real database named by its connection string."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from iridescent_xdp.errors import ConfigError, StateError
from iridescent_xdp.search.optuna_search import OptunaPolicy
from iridescent_xdp.search.policy import Outcome, SearchSettings, Trial
from iridescent_xdp.search.space import Space
from iridescent_xdp.search.study import MEMORY
from tests.unit.landscape_model import SPACE_24, SPACE_864, Landscape, run, space_of


def _policy(space: Space, study: str, **settings: Any) -> OptunaPolicy:
    return OptunaPolicy(space, SearchSettings(study=study, max_trials=24, **settings))


@pytest.fixture
def study(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def _rows(url: str) -> list[Any]:
    """All trials of the only study, as Optuna itself reads them."""
    import optuna

    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url).trials


def test_what_was_measured_is_in_the_study(study: str) -> None:
    policy = _policy(SPACE_24, study)
    run(policy, Landscape.random(SPACE_24, 1).measure)
    rows = _rows(study)
    kept = [o for o in policy.history if o.effect is not None]
    assert [row.value for row in rows] == [o.effect.value for o in kept if o.effect]
    for row, outcome in zip(rows, kept, strict=True):
        assert row.params == {n: v for n, v in outcome.variant.values if n != "policy"}
        assert row.user_attrs["variant"] == outcome.variant.key


def test_the_default_study_is_a_file_in_the_cache_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRIDESCENT_CACHE", str(tmp_path / "cache"))
    run(_policy(space_of(2), ""), Landscape.random(space_of(2), 1).measure)
    assert (tmp_path / "cache" / "studies.db").exists()


def test_the_next_search_measures_what_was_best_first(study: str) -> None:
    landscape = Landscape.random(SPACE_864, 3)
    first = _policy(SPACE_864, study)
    run(first, landscape.measure)
    best = sorted(first.known(), key=lambda v: -landscape.gain_ns(v))[:8]
    batch = [trial.variant for trial in _policy(SPACE_864, study, seed=9).ask()]
    assert len(batch) == 3 and set(batch) <= set(best)
    wider = space_of(3, 3, 3, 3, 3, 3, 3, 3)
    assert set(batch) == {t.variant for t in _policy(wider, study).ask()}, "same points"
    narrower = space_of(3, 2, 2, 2, 2, 3, 2, 3, restrict={"p5": (0,)})
    assert all(t.variant in narrower for t in _policy(narrower, study).ask())
    others = space_of(3, 2, 2)
    assert len(_policy(others, study).ask()) == 7, "nothing is known of other points"


def test_seeds_come_before_what_was_best(study: str) -> None:
    run(_policy(SPACE_864, study), Landscape.random(SPACE_864, 3).measure)
    seed = SPACE_864.generic.with_values(p7=2)
    batch = [t.variant for t in _policy(SPACE_864, study, seeds=[seed]).ask()]
    assert batch[0] == seed and len(batch) == 4


def _results(landscape: Landscape, batch: list[Trial], number: int) -> list[Outcome]:
    """The same for the same batch, as a log would give it."""
    again = Landscape(landscape.single, landscape.pair, seed=number)
    return again.measure(batch)


@pytest.mark.parametrize("killed_after", [0, 2])
def test_resumes_although_its_own_results_are_in_the_study(study: str, killed_after: int) -> None:
    """The killed search left its trials behind, and another host has measured meanwhile."""
    landscape = Landscape.random(SPACE_864, 3)
    run(_policy(SPACE_864, study, seed=1), landscape.measure)
    control = study.replace("study.db", "control.db")
    Path(control.removeprefix("sqlite:///")).write_bytes(
        Path(study.removeprefix("sqlite:///")).read_bytes()
    )
    batches, told = [], []
    whole = _policy(SPACE_864, control, seed=2)
    while batch := whole.ask():
        batches.append(batch)
        told.append(_results(landscape, batch, len(batches)))
        whole.tell(told[-1])

    child = os.fork()
    if not child:
        killed = _policy(SPACE_864, study, seed=2)
        for outcomes in told[:killed_after]:
            killed.ask()
            killed.tell(outcomes)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    if killed_after:
        run(_policy(SPACE_864, study, seed=3), Landscape.random(SPACE_864, 4).measure)
    before = len(_rows(study))

    policy = _policy(SPACE_864, study, seed=2)
    policy.resume(told[:killed_after])
    assert len(_rows(study)) == before, "told again, but not stored again"
    for batch, outcomes in zip(batches[killed_after:], told[killed_after:], strict=True):
        assert policy.ask() == batch
        policy.tell(outcomes)
    assert policy.ask() == [] and policy.ranking() == whole.ranking()
    assert len(_rows(study)) == before + sum(map(len, told[killed_after:]))


BAD_STUDIES = {
    "nonsense": "the study 'nonsense' fails: .*name another storage as 'study', or 'memory'",
    "nosuchdb://host/x": "the study nosuchdb://host/x fails: ",
    "postgresql+nodriver://user:secret@host/db": r"user:\*\*\*@host",
    "sqlite:////proc/no/such/study.db": "unable to open database file",
}


@pytest.mark.parametrize(("where", "message"), BAD_STUDIES.items())
def test_a_study_that_cannot_be_opened(where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _policy(SPACE_24, where)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_study_that_cannot_be_written_is_told(study: str) -> None:
    policy = _policy(SPACE_24, study)
    batch = policy.ask()
    path = Path(study.removeprefix("sqlite:///"))
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StateError, match="fails: ") as caught:
        policy.tell(Landscape.random(SPACE_24, 1).measure(batch))
    assert "\n" not in str(caught.value)


def test_is_quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(_policy(SPACE_24, MEMORY), Landscape.random(SPACE_24, 1).measure)
    assert capfd.readouterr() == ("", "")
    assert not [r for r in caplog.records if r.name.startswith("optuna")]


def test_optuna_is_imported_only_by_who_uses_it() -> None:
    code = (
        "import sys, iridescent_xdp.search, iridescent_xdp.search.registry as r\n"
        "r.policy_class('optuna', r.Path())\n"
        "print(sorted({'optuna', 'sqlalchemy', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
