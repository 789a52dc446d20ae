# SPDX-License-Identifier: GPL-2.0-only
"""A few IPv4 prefixes as a set of bits in the code, in front of nested ifs.

Most sources are in no set. A hash of the source's upper bits picks a bit; where it is not set the
source is in no prefix, and that takes no branch that could be predicted wrong (a Bloom filter with
one hash function; Bloom, CACM 13(7), 1970). Where it is set the nested ifs decide. The bits are
64-bit constants, so there is no memory access either. Written with ``llvmlite.ir``.
"""

from __future__ import annotations

from ipaddress import IPv4Network

from llvmlite import ir

from iridescent_xdp.representations import IrTable, KeyReader, Representation, Table, ir_table
from iridescent_xdp.representations.nested_ifs import FAMILY, NO_MATCH, WORDS, Entries, source_ifs

MOST_PREFIXES = 64
SHORTEST = 8  # bits of a prefix; shorter ones would set most of the bits
BITS_PER_PREFIX, WORD_BITS, MOST_BITS = 8, 64, 512
MULTIPLIERS = (0x9E37_79B1, 0x85EB_CA77, 0xC2B2_AE3D, 0x27D4_EB2F, 0x1656_67B1)
I32, I64 = ir.IntType(32), ir.IntType(64)


class Hash:
    """``(source >> shift) * multiplier >> 32 - log2(bits)``, with as few bits set as it can."""

    def __init__(self, networks: list[IPv4Network]) -> None:
        length = min(n.prefixlen for n in networks)
        self.shift = 32 - length
        self.bits = WORD_BITS
        while self.bits < min(BITS_PER_PREFIX * len(networks), MOST_BITS):
            self.bits *= 2
        values = {int(n.network_address) >> self.shift for n in networks}
        tried = [(self._places(values, m), m) for m in MULTIPLIERS]
        places, self.multiplier = min(tried, key=lambda t: (len(t[0]), t[1]))
        self.words = [
            sum(1 << place % WORD_BITS for place in places if place // WORD_BITS == word)
            for word in range(self.bits // WORD_BITS)
        ]

    def _places(self, values: set[int], multiplier: int) -> set[int]:
        down = 32 - (self.bits.bit_length() - 1)
        return {(value * multiplier & 0xFFFF_FFFF) >> down for value in values}

    def write(self, builder: ir.IRBuilder, source: ir.Value) -> ir.Value:
        """The bit of a source, as an i1."""
        down = 32 - (self.bits.bit_length() - 1)
        upper = builder.lshr(source, I32(self.shift)) if self.shift else source
        place = builder.lshr(builder.mul(upper, I32(self.multiplier)), I32(down))
        inside = builder.zext(builder.and_(place, I32(WORD_BITS - 1)), I64)
        row: ir.Value = I64(0)  # bit w: what word w has at this place
        for number, word in enumerate(self.words):
            bit = builder.and_(builder.lshr(I64(word), inside), I64(1))
            row = builder.or_(row, builder.shl(bit, I64(number)))
        number = builder.zext(builder.lshr(place, I32(6)), I64)
        return builder.trunc(builder.lshr(row, number), ir.IntType(1))


class Bits(Representation):
    """See the module."""

    name = "bits"
    points = frozenset({"filter.set_layout"})
    llvm_only = True

    def infeasible(self, table: Table) -> str | None:
        """Few prefixes, some of IPv4, none of them very short."""
        entries: Entries = table.entries
        four = [network for network, _ in entries if network.version == 4]
        if len(entries) > MOST_PREFIXES:
            return f"more than {MOST_PREFIXES} prefixes set too many bits, got {len(entries):,}"
        if not four:
            return "there is no IPv4 prefix in the sets"
        if min(network.prefixlen for network in four) < SHORTEST:
            return f"a prefix is shorter than {SHORTEST} bits"
        return None

    def build(self, table: Table) -> IrTable:
        """Asks the bits for IPv4, and the nested ifs where that is not enough."""
        hashed = Hash([n for n, _ in table.entries if isinstance(n, IPv4Network)])
        exact = f"{table.function}.exact"

        def write(key: KeyReader) -> ir.Value:
            builder = key.builder
            start = builder.block
            is4 = builder.icmp_unsigned("==", key.field(FAMILY), I32(4))
            bit = hashed.write(builder, key.field(WORDS[0]))
            asked = builder.or_(bit, builder.not_(is4))
            with builder.if_then(asked):
                found, searched = key.decide(exact), builder.block
            result = builder.phi(I32)
            result.add_incoming(I32(NO_MATCH), start)
            result.add_incoming(found, searched)
            return result

        return ir_table(
            table.function, table.layout, write, graphs={exact: source_ifs(table.entries)}
        )


REPRESENTATION = Bits()
