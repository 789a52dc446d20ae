# SPDX-License-Identifier: GPL-2.0-only
"""Every policy under test: the built-in ones, and a file of one's own, of docs/policies.md."""

from __future__ import annotations

import functools
import re
import tempfile
from pathlib import Path
from typing import Any

from iridescent_xdp.search import POLICIES
from iridescent_xdp.search.policy import Policy, SearchSettings
from iridescent_xdp.search.registry import policy_class
from iridescent_xdp.search.space import Space

DOCS = Path(__file__).parents[2] / "docs" / "policies.md"
OWN = "own file"
EVERY = (*POLICIES, OWN)
ENDING = tuple(name for name in EVERY if name == OWN or not POLICIES[name].endless)
ENOUGH = 60  # trials of a policy that does not end
SLOW = {"optuna": 45}  # trials of a sampler that takes its time


def documented_policy() -> str:
    """The source that docs/policies.md shows."""
    found = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@functools.cache
def class_of(name: str) -> type[Policy]:
    """The class behind a name of EVERY."""
    if name != OWN:
        return POLICIES[name]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "random_search.py"
        path.write_text(documented_policy())
        return policy_class(path.name, Path(directory))


def make(name: str, space: Space, **settings: Any) -> Policy:
    """A policy that keeps nothing on disk and comes to an end."""
    policy = class_of(name)
    settings.setdefault("study", "memory")
    if policy.endless or name in SLOW:
        settings.setdefault("max_trials", SLOW.get(name, ENOUGH))
    return policy(space, SearchSettings(**settings))
