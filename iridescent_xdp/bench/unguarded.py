# SPDX-License-Identifier: GPL-2.0-only
"""A template without the guards of some points: what specialized code would be if nobody checked.

Only measured, on packets that fit: with others it does whatever the optimizer likes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iridescent_xdp.template import Template, read_template

_SOURCE = """/* SPDX-License-Identifier: GPL-2.0-only */
#include "iridescent.h"
static __always_inline __u32 never_missed(void)
{{
	__builtin_unreachable();
}}
#undef SPEC_MISSED
#define SPEC_MISSED(name) \\
	(({removed}) ? never_missed() : (SPEC_MISS_BIT | SPEC_INDEX(name)))
#include "{path}"
"""


@contextmanager
def unguarded(template: Template, *points: str) -> Iterator[Template]:
    """The same template, but a missed guard of one of ``points`` is undefined behaviour.

    Of its points, maps and tables nothing changes, so the companion of the function serves it.
    """
    names = [p.name for p in template.points]
    removed = " || ".join(f"SPEC_INDEX(name) == {names.index(point)}" for point in points)
    with tempfile.TemporaryDirectory(prefix="iridescent-bench-") as folder:
        path = Path(folder) / template.path.name
        path.write_text(_SOURCE.format(removed=removed, path=template.path.resolve()))
        yield read_template(path)
