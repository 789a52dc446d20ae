# SPDX-License-Identifier: GPL-2.0-only
"""Deliberately broken filters: the shipped template with texts replaced, so that none can rot.

In each the generic variant is sound, and the variant that ``points`` names is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iridescent_xdp.functions.base import Compiled, Function
from iridescent_xdp.functions.filter import FilterFunction
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import TABLES, patched_template
from tests.unit.packet_model import Decision, classify, parse

TREE = 2  # LAYOUT_TREE
Changes = tuple[tuple[str, str], ...]
Tell = Callable[[bytes], bool]
VERDICT = "verdict (drop|pass), generic says (pass|drop)"
STATE = "state packets and bytes of "


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is broken, where it shows, and what the report has to say."""

    points: Mapping[str, int]
    says: str  # a regular expression for what differed
    shows: Tell  # whether a packet can show it
    changes: Changes = ()
    tables: Callable[[tuple[Rule, ...]], tuple[Rule, ...]] | None = field(default=None)

    def function(self, folder: Path) -> Function:
        """The broken filter."""
        template = read_template(find_template("filter"))
        if self.changes:
            template = patched_template(folder, *self.changes)
        made = Tampered(template, TABLES)
        made.tamper = self.tables
        return made


class Tampered(FilterFunction):
    """Compiles other rules than those in its maps."""

    tamper: Callable[[tuple[Rule, ...]], tuple[Rule, ...]] | None = None

    def compile_tables(self, variant: Variant) -> Compiled:
        """The decision code of the rules that were tampered with, under the right ids."""
        if self.tamper is None:
            return super().compile_tables(variant)
        other = FilterTables(rules=self.tamper(self.tables.rules))
        return FilterFunction(self.template, other).compile_tables(variant)


def swapped(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Two rules that can match the same packet in the wrong order."""
    return (rules[2], rules[1], rules[0], *rules[3:])


def without_the_last(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """A table from before the last rule was added."""
    return rules[:-1]


def with_other_ports(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """A table from before a rule's ports were changed from 53..59 to 53..60."""
    return (rules[0], Rule(protocol=17, destination_ports=(53, 59), action="drop"), *rules[2:])


def tagged(data: bytes) -> bool:
    """A VLAN tag behind the addresses."""
    return data[12:14] in (b"\x81\x00", b"\x88\xa8")


def with_options(data: bytes) -> bool:
    """An IPv4 header that is not 20 bytes long, or of another version."""
    while tagged(data):
        data = data[:12] + data[16:]
    return data[12:14] == b"\x08\x00" and data[14] != 0x45


def later_fragment(data: bytes) -> bool:
    """Not the first part of a datagram."""
    return parse(data, "pass", False).later_fragment


def decided_otherwise(other: Callable[[tuple[Rule, ...]], tuple[Rule, ...]]) -> Tell:
    """Packets that a tampered table decides about in another way."""
    return lambda data: decision(data) != decision(data, other(TABLES.rules))


def in_slot(slot: int) -> Tell:
    """Packets that are counted there."""
    return lambda data: decision(data)[0] == slot


def decision(data: bytes, rules: tuple[Rule, ...] = TABLES.rules) -> Decision:
    """What the model says."""
    return classify(data, rules, allow=TABLES.allow, deny=TABLES.deny)


LAST_TAG = "\t\t*type = net16(tag->type);\n\t}\n"
COUNT = "\treturn count_decision(decision, bytes, batch_sizes(counter_batch));\n"
FLUSH = "\t\tadd_hits(all, all->pending_decision, all->pending_packets, all->pending_bytes);\n"
MISS = "\t\treturn spec_miss(ctx, decision);\n"
OPTIONS_GUARD = (
    "missed = SPEC_ASSUMED(no_ip_options, ip->version_ihl == 0x45,\n"
    '\t\t\t      "IPv4 headers have no options");\n'
    "\tif (missed)\n\t\treturn missed;\n\toptions",
    'SPEC_ASSUME(no_ip_options, "IPv4 headers have no options");\n\t(void)missed;\n\toptions',
)
OPTIONS = ("|| !take(at, options))", "|| (!no_ip_options && !take(at, options)))")
FRAGMENT_GUARD = (
    "__u32 missed = SPEC_ASSUMED(no_fragments, !later,",
    'SPEC_ASSUME(no_fragments, "no packet is a later fragment");\n'
    "\t__u32 missed = SPEC_ASSUMED(nothing_at_all, true,",
)
REWRITE = """	if (rule_layout == LAYOUT_TREE) {
		struct ethernet_header *eth = (void *)(long)ctx->data;

		if ((void *)(eth + 1) <= at.end)
			eth->source[5] ^= 1;
	}
"""
COUNTED_FIRST = """	{
		count_decision(DECIDE(SLOT_NOT_IP, false), bytes, 1);
		return spec_miss(ctx, decision);
	}
"""
SKIPPED = """	if (SPEC_NARROWED(rule_layout) && decision >> 1 == 1)
		return decision & 1 ? XDP_DROP : XDP_PASS;
"""
SHIFTED = "\tif (SPEC_NARROWED(vlan_depth) && tags)\n\t\tat->at += 2;\n"
PORTS = ("return later ? PARSED :", "return later && !no_fragments ? PARSED :")

FAULTS = {
    "wrong offset after VLAN": Fault(
        changes=((LAST_TAG, LAST_TAG + SHIFTED),),
        points={"vlan_depth": 1},
        shows=tagged,
        says=f"{VERDICT}|{STATE}",
    ),
    "missed guard, options": Fault(
        changes=(OPTIONS_GUARD, OPTIONS),
        points={"no_ip_options": 1},
        shows=with_options,
        says=f"{VERDICT}|{STATE}",
    ),
    "missed guard, fragments": Fault(
        changes=(FRAGMENT_GUARD, PORTS),
        points={"no_fragments": 1},
        shows=later_fragment,
        says=f"{VERDICT}|{STATE}",
    ),
    "wrong rule order in the tree": Fault(
        tables=swapped,
        points={"rule_layout": TREE},
        shows=decided_otherwise(swapped),
        says=f"{VERDICT}|{STATE}",
    ),
    "stale table, a rule is missing": Fault(
        tables=without_the_last,
        points={"rule_layout": TREE},
        shows=decided_otherwise(without_the_last),
        says="verdict pass, generic says drop",
    ),
    "stale table, a rule was changed": Fault(
        tables=with_other_ports,
        points={"rule_layout": TREE},
        shows=decided_otherwise(with_other_ports),
        says="verdict pass, generic says drop",
    ),
    "a slot that is not counted": Fault(
        changes=((COUNT, SKIPPED + COUNT),),
        points={"rule_layout": TREE},
        shows=in_slot(1),
        says=f"{STATE}(slot 1|verdict drop) is",
    ),
    "a batch that is forgotten": Fault(
        changes=((FLUSH, ""),),
        points={"counter_batch": 1},
        shows=lambda _: True,
        says=STATE,
    ),
    "counted before the guard": Fault(
        changes=((MISS, COUNTED_FIRST),),
        points={"vlan_depth": 0},
        shows=tagged,
        says=STATE,
    ),
    "an address hash with a wrong multiplier": Fault(
        changes=(("0x9e3779b1u", "0x9e3779b3u"),),
        points={"set_layout": 1},
        shows=lambda data: decision(data)[0] in (1025, 1026),
        says=f"{VERDICT}|{STATE}",
    ),
    "a byte is changed": Fault(
        changes=((COUNT, REWRITE + COUNT),),
        points={"rule_layout": TREE},
        shows=lambda _: True,
        says="byte 11 out is 0x00, generic has 0x01",
    ),
}
