# SPDX-License-Identifier: GPL-2.0-only
"""For all tests: an object cache of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_object_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither find what a user built nor leave anything there."""
    kept = os.environ.get("IRIDESCENT_CACHE")
    os.environ["IRIDESCENT_CACHE"] = str(tmp_path_factory.mktemp("object-cache"))
    yield
    del os.environ["IRIDESCENT_CACHE"]
    if kept is not None:
        os.environ["IRIDESCENT_CACHE"] = kept


# -- fixtures that several folders share go below this line --------------------------------
