# SPDX-License-Identifier: GPL-2.0-only
"""A policy of one's own: one Python file, and what is said when it does not give one."""

from __future__ import annotations

from pathlib import Path

import pytest

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.search import POLICIES
from iridescent_xdp.search.policy import ProposalError
from iridescent_xdp.search.registry import policy_class
from tests.unit.landscape_model import SPACE_24, SPACE_864, Landscape, regret_ns, run
from tests.unit.policies import documented_policy

IMPORTS = "from iridescent_xdp.search.policy import Policy, Round\n"
GOOD = "class {name}(Policy):\n    def rounds(self):\n        yield from self.final()\n"


def _file(directory: Path, source: str, name: str = "mine.py") -> Path:
    path = directory / name
    path.write_text(source)
    return path


@pytest.mark.parametrize("name", POLICIES)
def test_built_in_ones_by_name(name: str, tmp_path: Path) -> None:
    assert policy_class(name, tmp_path) is POLICIES[name]


def test_the_documented_one_finds_good_variants(tmp_path: Path) -> None:
    _file(tmp_path, documented_policy(), "random_search.py")
    policy = policy_class("random_search.py", tmp_path)
    assert policy.name == "random_search"
    found = 0
    for seed in range(10):
        landscape, search = Landscape.random(SPACE_864, seed), policy(SPACE_864)
        run(search, landscape.measure)
        found += regret_ns(search, SPACE_864, landscape) <= 2
    assert found >= 7


def test_the_path_is_relative_to_the_operator_file_or_absolute(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    path = _file(tmp_path / "policies", IMPORTS + GOOD.format(name="Mine"))
    assert policy_class("policies/mine.py", tmp_path).__name__ == "Mine"
    assert policy_class(str(path), Path("/nowhere")).__name__ == "Mine"


def test_imported_and_private_classes_do_not_count(tmp_path: Path) -> None:
    source = (
        "from dataclasses import dataclass\n"
        "from iridescent_xdp.search.racing import RacingPolicy\n"
        "@dataclass\nclass Note:\n    text: str = ''\n"
        "class _Base(RacingPolicy):\n    trial_limit = 50\n"
        "class Mine(_Base):\n    name = 'my racing'\n"
    )
    _file(tmp_path, source)
    policy = policy_class("mine.py", tmp_path)
    assert (policy.__name__, policy.name, policy.trial_limit) == ("Mine", "my racing", 50)


BAD = {
    "not a policy": ("x = 1\n", r"mine\.py: no class is derived from Policy \(docs/policies\.md"),
    "imported only": (IMPORTS, r"no class is derived from Policy"),
    "two": (
        IMPORTS + GOOD.format(name="One") + GOOD.format(name="Two"),
        r"one policy is needed, there are 2: One, Two \(begin the names",
    ),
    "abstract": (
        IMPORTS + "class Mine(Policy):\n    name = 'mine'\n",
        r"class Mine lacks rounds \(docs",
    ),
    "syntax": (IMPORTS + "class Mine(Policy):\n    def f(:\n", r"mine\.py:3: invalid syntax"),
    "indentation": ("def f():\nreturn 1\n", r"mine\.py:2: expected an indented block"),
    "null byte": ("x = 1\0", r"mine\.py.*null bytes"),
    "import": ("\nimport no_such_thing\n", r"mine\.py:2: ModuleNotFoundError: .*no_such_thing"),
    "raises": ("def f():\n    return 1 / 0\nf()\n", r"mine\.py:2: ZeroDivisionError"),
}


@pytest.mark.parametrize(("source", "message"), BAD.values(), ids=BAD)
def test_a_file_that_gives_no_policy(source: str, message: str, tmp_path: Path) -> None:
    _file(tmp_path, source)
    with pytest.raises(ConfigError, match=message) as caught:
        policy_class("mine.py", tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("raceing", r"no strategy 'raceing' \(did you mean 'racing'\?\)"),
        ("zzz", r"there are bandit, exhaustive, optuna, racing, screening, or give the path"),
        ("", r"no strategy ''"),
        ("gone.py", r"cannot read the policy /.*gone\.py: No such file.*relative to the operator"),
        (".py", r"cannot read the policy"),
    ],
)
def test_a_strategy_that_does_not_exist(strategy: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        policy_class(strategy, tmp_path)


def test_a_directory_is_not_a_policy(tmp_path: Path) -> None:
    (tmp_path / "mine.py").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        policy_class("mine.py", tmp_path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    _file(tmp_path, IMPORTS + GOOD.format(name="Old"))
    old = policy_class("mine.py", tmp_path)
    _file(tmp_path, IMPORTS + GOOD.format(name="New"))
    assert (old.__name__, policy_class("mine.py", tmp_path).__name__) == ("Old", "New")


def _proposing(tmp_path: Path, value: str) -> str:
    source = f"{IMPORTS}class Mine(Policy):\n    def rounds(self):\n        while True:\n"
    _file(tmp_path, f"{source}            yield Round(variants=[{value}], samples=10)\n")
    return "mine.py"


@pytest.mark.parametrize("values", ["p0=3", "policy=0", "p1=2"])
def test_a_proposal_outside_the_space_is_an_error(values: str, tmp_path: Path) -> None:
    file = _proposing(tmp_path, f"self.space.generic.with_values({values})")
    policy = policy_class(file, tmp_path)(SPACE_24)
    with pytest.raises(ProposalError, match=r"policy 'mine' proposed \{.*\}, not in its space"):
        policy.ask()


def test_a_policy_that_only_proposes_the_generic_variant_ends(tmp_path: Path) -> None:
    file = _proposing(tmp_path, "self.space.generic")
    assert policy_class(file, tmp_path)(SPACE_24).ask() == []
