# SPDX-License-Identifier: GPL-2.0-only
"""The template language as the reader sees it: right declarations, and each wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from iridescent_xdp.errors import TemplateError
from iridescent_xdp.points import PointClass, PointKind
from iridescent_xdp.template import find_template, read_template

POINTS = [  # name, class, kind, default, domain as an operator reads it
    ("sample_shift", "policy", "range", 1, "0..12"),
    ("observe_shift", "policy", "range", 9, "0..16"),
    ("key_depth", "policy", "range", 14, "6..16"),
    ("depth", "narrowing", "range", 2, "0, 1, 2"),
    ("seven", "narrowing", "bool", 1, "false, true"),
    ("no_options", "narrowing", "assume", 0, "false, true"),
    ("protocol", "narrowing", "generic", 0, "0, or observed"),
    ("layout", "tuning", "enum", 1, "map, tree"),
    ("port", "policy", "range", 53, "1..65535"),
]
SOURCE = """
#include "iridescent.h"

SPEC_RANGE(narrowing, depth, 2, 0, 2, "tags: looked behind");
SPEC_BOOL(narrowing, seven, true, "is seven");
SPEC_ASSUME(no_options, "no options");
SPEC_GENERIC(narrowing, protocol, "the one protocol");
SPEC_ENUM(tuning, layout, KEPT_TREE, "how rules are kept", KEPT_MAP, KEPT_TREE);
SPEC_RANGE(policy, port, 53, 1, 65535, "dropped port");

struct key { __u32 address[4]; __u16 port; __u8 family; };
struct hits { __u64 packets; __u32 last; };
SPEC_TABLE(decide, key, "the decision");
MAP_PERCPU_ARRAY(hits, struct hits, 7, "packets: per rule");
MAP_LPM_TRIE(denied, struct key, __u8, 1000, "denied sources");

static __always_inline int body(struct xdp_md *ctx)
{
	return depth ? XDP_PASS : XDP_DROP;
}
SPEC_PROGRAM(body)
"""

WRONG = {
    "a default outside its range": (
        'SPEC_RANGE(tuning, a, 5, 0, 3, "doc");',
        ("3: point 'a': the default must lie in the domain", "default=5", "0, 1, 2, 3"),
    ),
    "a default below its range": (
        'SPEC_RANGE(tuning, a, 0, 1, 9, "doc");',
        ("3: point 'a': the default must lie in the domain", "default=0", "1..9"),
    ),
    "a truth value that is neither": (
        'SPEC_BOOL(tuning, a, 2, "doc");',
        ("3: point 'a': the default must lie in the domain", "default=2", "false, true"),
    ),
    "low above high": (
        'SPEC_RANGE(tuning, a, 1, 3, 0, "doc");',
        ("3: point 'a': low <= high must hold", "low=3, high=0"),
    ),
    "an unknown class": (
        'SPEC_BOOL(tunning, a, true, "doc");',
        ("3: point 'a': unknown class 'tunning'", "tuning, narrowing, policy"),
    ),
    "a name twice": (
        'SPEC_BOOL(tuning, a, true, "doc");\n\nSPEC_BOOL(policy, a, true, "doc");',
        ("5: point 'a' is declared twice, first at wrong.bpf.c:3", "declared once"),
    ),
    "a name twice, of different kinds": (
        'SPEC_ENUM(tuning, a, A_X, "doc", A_X, A_Y);\nSPEC_RANGE(tuning, a, 1, 0, 9, "doc");',
        ("4: point 'a' is declared twice, first at wrong.bpf.c:3",),
    ),
    "a name that the language has": (
        'SPEC_BOOL(policy, sample_shift, true, "doc");',
        ("3: point 'sample_shift' is declared twice, first at iridescent_run.h:",),
    ),
    "no documentation": (
        'SPEC_BOOL(tuning, a, true, "");',
        ("3: point 'a': the documentation is empty",),
    ),
    "blank documentation": (
        'SPEC_ASSUME(a, "  ");',
        ("3: point 'a': the documentation is empty",),
    ),
    "an enum's default that is not declared": (
        'SPEC_ENUM(tuning, a, A_Z, "doc", A_X, A_Y);',
        ("3: use of undeclared identifier 'A_Z'",),
    ),
    "an enum's default of another enum": (
        'enum other { O_1, O_2, O_3 };\nSPEC_ENUM(tuning, a, O_3, "doc", A_X, A_Y);',
        ("4: point 'a': the default must lie in the domain", "default=2", "x, y"),
    ),
    "enumerators with gaps": (
        'SPEC_ENUM(tuning, a, A_X, "doc", A_X, A_Y = 5);',
        ("3: point 'a': enumerators count from 0",),
    ),
    "a negative value": (
        'SPEC_RANGE(tuning, a, 0, -1, 3, "doc");',
        ("3: point 'a': values are unsigned 32-bit", "-1..3"),
    ),
    "a value of more than 32 bits": (
        'SPEC_RANGE(tuning, a, 0x100000000, 0x100000000, 0x100000000, "doc");',
        ("3: point 'a': values are unsigned 32-bit", "4294967296"),
    ),
    "a range that nobody can list": (
        'SPEC_RANGE(policy, a, 0, 0, 0xffffffffu, "doc");',
        ("3: point 'a': a range has at most 65536 values", "high=4294967295", "SPEC_GENERIC"),
    ),
    "more points than misses are counted for": (
        "\n".join(f'SPEC_BOOL(tuning, a{i}, true, "doc");' for i in range(64)),
        ("64: point 'a61': a template has at most 64 points, got 67",),
    ),
    "a table without a key": (
        'SPEC_TABLE(decide, nothing, "doc");',
        ("3: table 'decide': its key 'struct nothing' must be defined",),
    ),
    "a map of no kind": (
        'SPEC_MAP(BLOOM, seen, __u32, __u32, 1, 0, "doc");',
        ("3: map 'seen': unknown kind 'BLOOM'", "LPM_TRIE"),
    ),
    "no C": ("static int broken( { }", ("3: expected parameter declarator",)),
}
ENTRY = """
static __always_inline int body(struct xdp_md *ctx)
{
	return XDP_PASS;
}
SPEC_PROGRAM(body)
"""


def written(folder: Path, text: str, name: str = "wrong.bpf.c") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_declaration_is_named(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    path = written(tmp_path, f'#include "iridescent.h"\n\n{text}\n{ENTRY}')
    with pytest.raises(TemplateError) as caught:
        read_template(path)
    message = str(caught.value)
    assert message.removeprefix(f"{tmp_path}/").startswith(f"wrong.bpf.c:{expected[0]}")
    for part in expected[1:]:
        assert part in message
    assert "\n" not in message


def test_a_template_without_an_entry_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, SOURCE.replace("SPEC_PROGRAM(body)", ""))
    with pytest.raises(TemplateError) as caught:
        read_template(path)
    assert str(caught.value) == f"{path}: it has no entry (end it with SPEC_PROGRAM(function))"


def test_points(tmp_path: Path) -> None:
    template = read_template(written(tmp_path, SOURCE, "small.bpf.c"))
    assert template.name == "small"
    seen = [
        (p.name, p.point_class.value, p.kind.value, p.default, p.show_domain())
        for p in template.points
    ]
    assert seen == POINTS
    assert template.point("depth").doc == "tags: looked behind"
    assert template.point("depth").where == "small.bpf.c:4"
    assert template.point("layout").where == "small.bpf.c:8"
    assert template.space_size == 3 * 2 * 2 * 1 * 2


def test_tables_maps_and_layouts(tmp_path: Path) -> None:
    template = read_template(written(tmp_path, SOURCE, "small.bpf.c"))
    (table,) = template.tables
    assert (table.name, table.key, table.doc) == ("decide", "key", "the decision")
    hits, denied = template.map("hits"), template.map("denied")
    # numbers of enum bpf_map_type: 6 is PERCPU_ARRAY, 11 LPM_TRIE; flag 1 is BPF_F_NO_PREALLOC
    assert (hits.map_type, hits.key_bytes, hits.value_bytes, hits.entries) == (6, 4, 16, 7)
    assert (denied.map_type, denied.key_bytes, denied.value_bytes) == (11, 20, 1)
    assert (denied.entries, denied.flags, denied.per_cpu) == (1000, 1, False)
    assert hits.per_cpu and hits.doc == "packets: per rule"
    assert len({spec.index for spec in template.maps}) == len(template.maps)
    layout = template.structs["key"]
    assert layout.itemsize == 20
    assert {name: entry[1] for name, entry in (layout.fields or {}).items()} == {
        "address": 0,
        "port": 16,
        "family": 18,
    }


def test_the_filter_says_what_the_operator_is_told() -> None:
    template = read_template(find_template("filter"))
    points = {point.name: point for point in template.points}
    wanted = {
        "vlan_depth": (PointClass.NARROWING, "0, 1, 2"),
        "ipv6": (PointClass.NARROWING, "false, true"),
        "no_ip_options": (PointClass.NARROWING, "false, true"),
        "no_fragments": (PointClass.NARROWING, "false, true"),
        "only_protocol": (PointClass.NARROWING, "0, or observed"),
        "set_layout": (PointClass.TUNING, "trie, hash, bits, ifs"),
        "counter_batch": (PointClass.TUNING, "1, 16, 64"),
        "default_action": (PointClass.POLICY, "pass, drop"),
        "fragments": (PointClass.POLICY, "match, pass, drop"),
        "verify_ip_checksum": (PointClass.POLICY, "false, true"),
        "sample_shift": (PointClass.POLICY, "0..12"),
    }
    for name, (point_class, domain) in wanted.items():
        assert (points[name].point_class, points[name].show_domain()) == (point_class, domain)
    assert points["rule_layout"].labels[:3] == ("map", "chain", "tree")
    assert points["only_protocol"].kind is PointKind.GENERIC
    assert template.constants["SLOTS"] == 1031


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    first = read_template(written(tmp_path, SOURCE, "small.bpf.c"))
    read_template.cache_clear()
    second = read_template(tmp_path / "small.bpf.c")
    assert first is not second and first == second


def test_unknown_names_are_answered_with_what_there_is(tmp_path: Path) -> None:
    template = read_template(written(tmp_path, SOURCE, "small.bpf.c"))
    with pytest.raises(TemplateError, match=r"no point 'deep'.*depth, seven"):
        template.point("deep")
    with pytest.raises(TemplateError, match="no map 'hit'"):
        template.map("hit")
    with pytest.raises(TemplateError, match=r"no template 'fliter'.*filter"):
        find_template("fliter")
    with pytest.raises(TemplateError, match=r"cannot read template .*gone\.bpf\.c"):
        read_template(tmp_path / "gone.bpf.c")
