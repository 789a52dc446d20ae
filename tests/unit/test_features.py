# SPDX-License-Identifier: GPL-2.0-only
"""How a refusal becomes a finding with a cure, and what kernel tests make of it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.kernel import features, probes
from iridescent_xdp.kernel.features import Feature, Finding
from tests.kernel import conftest as kernel_conftest

Outcome = Callable[[Callable[[], str]], Finding]


def refuse(error: Exception) -> Callable[[], str]:
    """A stand-in that raises ``error``."""

    def attempt() -> str:
        raise error

    return attempt


def finding(feature: Feature, ok: bool) -> Finding:
    return Finding(feature=feature, ok=ok, detail="seen", cure="" if ok else "do this")


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outcome]:
    """What probing gives when the attempt behaves like the function that is passed."""

    def outcome_of(attempt: Callable[[], str]) -> Finding:
        table = {
            Feature.STATS: features.Probe(attempt=attempt, needed_for="x", cure="own cure"),
        }
        monkeypatch.setattr(features, "PROBES", table)
        features.forget()
        return features.probe(Feature.STATS)

    yield outcome_of
    features.forget()


@pytest.mark.parametrize(
    ("error", "root", "detail", "cure"),
    [
        (OSError(errno.ENOSYS, "no such call"), True, "no such call", "own cure"),
        (OSError(errno.EINVAL, "too old"), False, "too old", "own cure"),
        (PermissionError(errno.EPERM, "denied"), False, "denied", "run as root (sudo)"),
        (PermissionError(errno.EACCES, "denied"), False, "denied", "run as root (sudo)"),
        (PermissionError(errno.EPERM, "denied"), True, "denied", "container"),
        (ImportError("no pyroute2"), True, "no pyroute2", "make setup"),
    ],
)
def test_a_refusal_becomes_a_finding(
    outcome: Outcome,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    root: bool,
    detail: str,
    cure: str,
) -> None:
    monkeypatch.setattr(probes, "is_root", lambda: root)
    found = outcome(refuse(error))
    assert (found.ok, found.detail) == (False, detail)
    assert cure in found.cure
    with pytest.raises(MissingFeatureError, match=f"program statistics: {detail}") as caught:
        features.require(Feature.STATS)
    assert caught.value.cure == found.cure


def test_a_feature_is_tried_once_until_forgotten(outcome: Outcome) -> None:
    calls: list[int] = []

    def attempt() -> str:
        calls.append(1)
        return "seen"

    assert outcome(attempt) == Finding(feature=Feature.STATS, ok=True, detail="seen", cure="")
    assert features.has(Feature.STATS)
    features.require(Feature.STATS)
    assert len(calls) == 1
    features.forget()
    assert features.has(Feature.STATS)
    assert len(calls) == 2


# numbers of <linux/capability.h>: CAP_NET_ADMIN 12, CAP_SYS_ADMIN 21, CAP_BPF 39
@pytest.mark.parametrize(
    ("mask", "missing"),
    [
        (1 << 39 | 1 << 12, None),
        (1 << 21 | 1 << 12, None),
        (1 << 39, "CAP_NET_ADMIN not effective"),
        (1 << 12, "CAP_BPF not effective"),
        (0, "CAP_BPF and CAP_NET_ADMIN not effective"),
    ],
)
def test_privilege_is_read_from_the_capabilities(
    monkeypatch: pytest.MonkeyPatch, mask: int, missing: str | None
) -> None:
    monkeypatch.setattr(probes, "effective_capabilities", lambda: mask)
    if missing is None:
        assert probes.try_privilege()
    else:
        with pytest.raises(PermissionError, match=missing):
            probes.try_privilege()


# -- the kernel tests' own rule ------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "required", "raised"),
    [
        (Feature.BPF, "0", pytest.skip.Exception),
        (Feature.BPF, "1", pytest.fail.Exception),
        (Feature.STATS, "1", pytest.fail.Exception),
        (Feature.BTF, "1", None),
    ],
)
def test_kernel_tests_skip_or_fail_with_the_cure(
    monkeypatch: pytest.MonkeyPatch,
    lost: Feature,
    required: str,
    raised: type[BaseException] | None,
) -> None:
    monkeypatch.setenv("IRIDESCENT_REQUIRE_KERNEL", required)
    monkeypatch.setattr(kernel_conftest, "probe", lambda f: finding(f, f is not lost))
    marks = [pytest.mark.needs(Feature.STATS).mark]
    item = cast(pytest.Item, SimpleNamespace(iter_markers=lambda name: marks))
    if raised is None:
        kernel_conftest.pytest_runtest_setup(item)
        return
    with pytest.raises(raised, match="cure: do this"):
        kernel_conftest.pytest_runtest_setup(item)
