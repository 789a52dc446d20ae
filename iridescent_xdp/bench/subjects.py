# SPDX-License-Identifier: GPL-2.0-only
"""The functions that the suites are about."""

from __future__ import annotations

from iridescent_xdp.bench.results import Options
from iridescent_xdp.bench.subject import Subject
from iridescent_xdp.bench.subject_filter import FilterSubject
from iridescent_xdp.bench.subject_l4lb import L4lbSubject
from iridescent_xdp.bench.subject_router import RouterSubject

BY_FUNCTION = ("functions", "guards", "compile")  # suites that can measure one alone


def subjects() -> tuple[Subject, ...]:
    """One of each."""
    return FilterSubject(), RouterSubject(), L4lbSubject()


def wanted(options: Options) -> list[Subject]:
    """Those that are to be measured."""
    return [subject for subject in subjects() if options.wants(subject.name)]
