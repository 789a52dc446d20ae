# SPDX-License-Identifier: GPL-2.0-only
"""The persistent study behind Optuna's policy: an embedded database, or one that hosts share.

Each measured trial is one row of an Optuna study (any tool that reads those, such as
optuna-dashboard, shows it). A study belongs to a set of searched points; values are stored as plain
integers, because the values that a search may try differ from search to search.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from iridescent_xdp.errors import ConfigError, IridescentError, StateError
from iridescent_xdp.points import U32_MAX
from iridescent_xdp.search.space import Space
from iridescent_xdp.search.trial import Outcome
from iridescent_xdp.toolchain.cache import cache_directory
from iridescent_xdp.variant import Variant

if TYPE_CHECKING:
    import optuna

MEMORY = "memory"  # no persistent study
FILE = "studies.db"  # in the cache directory
_SEARCH = "search"  # the trial attribute that names the search a trial belongs to
_CURE = "name another storage as 'study', or 'memory' to keep nothing"


def quiet_optuna() -> None:
    """Its progress messages are not the controller's."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def search_id(seed: int, first_batch: Sequence[Outcome]) -> str:
    """Names a search by the first results it got: measured times do not come twice."""
    told = sorted((o.variant.key, repr(o.effect and o.effect.value)) for o in first_batch)
    return hashlib.sha256(f"{seed} {told}".encode()).hexdigest()[:16]


class Archive:
    """Trials of all searches over the same points. Raises ConfigError when it cannot be opened."""

    def __init__(self, space: Space, where: str = "") -> None:
        self._space = space
        self._names = tuple(point.name for point in space.points if point.searched)
        self._written: dict[str, int] = {}  # trials by search
        digest = hashlib.sha256(",".join(self._names).encode()).hexdigest()[:12]
        quiet_optuna()
        with _told_as(ConfigError, where):
            self._study = self._open(where or _embedded(), f"iridescent-{digest}")

    @staticmethod
    def _open(url: str, name: str) -> optuna.Study:
        import optuna

        storage = optuna.storages.RDBStorage(url)
        return optuna.create_study(
            study_name=name, storage=storage, direction="maximize", load_if_exists=True
        )

    def best(self, count: int, *, without: str = "") -> list[Variant]:
        """The best ``count`` variants of this space that earlier searches measured.

        ``without`` is a search that does not count, nor does what was stored after its first trial:
        so a search that is resumed sees what it saw when it began.
        """
        with _told_as(StateError, ""):
            trials = self._study.get_trials(deepcopy=False)
        own = [trial.number for trial in trials if trial.user_attrs.get(_SEARCH) == without]
        if without and own:
            self._written[without] = len(own)
            trials = [trial for trial in trials if trial.number < min(own)]
        gains: dict[Variant, float] = {}
        for trial in trials:
            if trial.value is not None and set(trial.params) == set(self._names):
                gains[self._space.generic.with_values(**trial.params)] = trial.value  # the latest
        fitting = [variant for variant in gains if variant in self._space and gains[variant] > 0]
        return sorted(fitting, key=lambda variant: -gains[variant])[:count]

    def append(self, search: str, outcomes: Sequence[Outcome]) -> None:
        """Store what was measured; raises StateError when the storage does not take it."""
        import optuna

        whole = optuna.distributions.IntDistribution(0, U32_MAX)
        for outcome in outcomes:
            if outcome.effect is None:
                continue
            if self._written.get(search, 0) > 0:  # told again while it is resumed
                self._written[search] -= 1
                continue
            trial = optuna.trial.create_trial(
                params={name: outcome.variant[name] for name in self._names},
                distributions=dict.fromkeys(self._names, whole),
                value=outcome.effect.value,
                user_attrs={_SEARCH: search, "variant": outcome.variant.key},
            )
            with _told_as(StateError, ""):
                self._study.add_trial(trial)


def _embedded() -> str:
    path = cache_directory() / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


@contextmanager
def _told_as(kind: type[IridescentError], where: str) -> Iterator[None]:
    """A storage's own errors become ours, in one line and without a password."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, ImportError, OSError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise kind(f"the study {_shown(where)} fails: {reason}", cure=_CURE) from error


def _shown(where: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(where or _embedded()).render_as_string(hide_password=True)
    except ArgumentError:
        return f"'{where}'"
