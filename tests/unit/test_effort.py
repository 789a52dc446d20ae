# SPDX-License-Identifier: GPL-2.0-only
"""Marked lines, counted by hand here and by the command there; points declared at their guard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from iridescent_xdp.cli import cli
from iridescent_xdp.effort import MOST_MARKED, Kind, effort_of
from iridescent_xdp.errors import TemplateError
from iridescent_xdp.points import PointClass, PointKind
from iridescent_xdp.template import find_template
from iridescent_xdp.template_source import parse_template

HEADER = """
/* SPEC_GUARD(in a comment, over
 * SPEC_MISS two lines) */
#define OWN_NAME "SPEC_TABLE(in a text)"
static __always_inline int deep(__u32 depth) { return depth > 1; } /* the name of a point */
"""
# what a line counts as stands behind it
SOURCE = """
#include "iridescent.h"
#include "own.h"
SPEC_RANGE(narrowing, depth, 2, 0, 2, "tags"); // MARKED
SPEC_ENUM(tuning, layout, KEPT_TREE, "a long text", // MARKED
	KEPT_MAP, KEPT_TREE);
SPEC_BOOL(policy, strict, false, "SPEC_GUARD in a text"); // POLICY
SPEC_RANGE( policy, port, 53, 1, 65535, "a port"); // POLICY
struct key { __u32 address; };
SPEC_TABLE(decide, key, "the decision"); // MARKED
SPEC_HOT(often, key, "the same for few"); // MARKED
struct own { __u32 depth; }; // READ

static __always_inline int body(struct xdp_md *ctx)
{
	struct own own = { .depth = 7 };
	struct key key = { .address = own.depth };
	__u32 found, missed = SPEC_ASSUMED(short_one, ctx->data_end - ctx->data < 9, "tiny"); // MARKED

	if (missed)
		return spec_miss(ctx, missed); // FRAME
	missed = SPEC_ONLY(only_size, ctx->data_end - ctx->data, "size"); // MARKED
	missed |= SPEC_HANDLED(odd, own.depth & 1, "odd ones are handled"); // MARKED
	if (missed & SPEC_MISS_BIT) // FRAME
		return spec_miss(ctx, missed); // FRAME
	SPEC_OBSERVE(depth, 1); if (SPEC_NARROWED(depth) && deep(own.depth)) // MARKED
		return SPEC_MISS(ctx, depth); // MARKED
	if (SPEC_FOUND_HOT(depth, often, &key, &found)) // MARKED
		return found;
	if (SPEC_UNLIKELY(layout == KEPT_TREE)) // READ
		return decide(&key); // READ
	return strict ? XDP_DROP : XDP_PASS;
}
SPEC_PROGRAM(body) // FRAME
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "own.h").write_text(HEADER)
    (tmp_path / "mine.bpf.c").write_text(SOURCE)
    return tmp_path / "mine.bpf.c"


def expected() -> dict[str, str]:
    """From the notes in the source."""
    told = {
        f"mine.bpf.c:{number}": line.rsplit("// ", 1)[1]
        for number, line in enumerate(SOURCE.splitlines(), start=1)
        if "// " in line
    }
    reads = next(n for n, line in enumerate(HEADER.splitlines(), start=1) if "deep(" in line)
    return told | {f"own.h:{reads}": "READ"}


def test_each_line_counts_as_noted(mine: Path) -> None:
    effort = effort_of(parse_template(mine))
    assert {line.where: line.kind.name for line in effort.lines} == expected()
    assert (effort.count(Kind.MARKED), effort.count(Kind.POLICY)) == (10, 2)
    assert effort.within and effort.python_lines == 0


def test_more_than_wanted_is_told(mine: Path) -> None:
    more = "".join(f'SPEC_ASSUME(assumed_{n}, "more");\n' for n in range(MOST_MARKED - 9))
    mine.write_text(SOURCE.replace("struct key {", more + "struct key {"))
    effort = effort_of(parse_template(mine))
    assert effort.count(Kind.MARKED) == MOST_MARKED + 1
    assert not effort.within


@pytest.mark.parametrize("name", ["filter", "root", "dispatcher", "observer", "generator", "empty"])
def test_no_template_has_more_marks_than_wanted(name: str) -> None:
    effort = effort_of(parse_template(find_template(name)))
    marks = [line.where for line in effort.lines if line.kind is Kind.MARKED]
    assert len(marks) <= MOST_MARKED, marks


def test_the_command_tells_the_same() -> None:
    result = CliRunner().invoke(cli, ["inspect", "filter", "--json"])
    facts = json.loads(result.stdout)["effort"]
    marked = [line for line in facts["lines"] if line["kind"] == "marked"]
    source = find_template("filter").read_text()
    declared = source.count("SPEC_ASSUMED(") + source.count("SPEC_ONLY(")
    assert facts["marked"] == len(marked) <= facts["wanted"] == MOST_MARKED
    assert all(line["text"] in source for line in marked)
    assert declared == 4
    shown = CliRunner().invoke(cli, ["inspect", "filter", "--effort"]).stdout
    assert f"filter: {len(marked)} marked lines, at most 12 wanted; 7 policy" in shown


# -- points that are declared where they are guarded ---------------------------------------


def test_points_declared_at_their_guard_are_as_others(mine: Path) -> None:
    template = parse_template(mine)
    line = next(n for n, s in enumerate(SOURCE.splitlines(), 1) if "SPEC_ASSUMED(" in s)
    point = template.point("short_one")
    assert (point.point_class, point.kind) == (PointClass.NARROWING, PointKind.ASSUME)
    assert (point.default, point.domain, point.doc) == (0, (0, 1), "tiny")
    assert point.where == f"mine.bpf.c:{line}"
    assert template.point("only_size").kind is PointKind.GENERIC
    odd = template.point("odd")
    assert (odd.kind, odd.default, odd.domain) == (PointKind.BOOL, 1, (0, 1))


def test_a_point_guarded_twice_is_declared_once(mine: Path) -> None:
    again = 'missed = SPEC_ASSUMED(short_one, 1, "again");\n\tif (missed)\n'
    mine.write_text(SOURCE.replace("if (missed)\n", again, 1))
    with pytest.raises(TemplateError, match="point 'short_one' is declared twice, first at"):
        parse_template(mine)
