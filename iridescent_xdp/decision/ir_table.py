# SPDX-License-Identifier: GPL-2.0-only
"""A table's code written with ``llvmlite.ir``: a function ``i32 name(ptr key)``.

For what tests of fields cannot say: arithmetic, bit sets, hashes. Only the LLVM toolchain can
link it in; every constant in it is folded into the program. It must not need memory of its own:
a global table would be a ``.rodata`` section, which programs here do not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llvmlite import ir

from iridescent_xdp.decision.ir_text import BPF_DATA_LAYOUT, BPF_TRIPLE, Layout
from iridescent_xdp.decision.nodes import Decision, Field
from iridescent_xdp.errors import ConfigError

I32 = ir.IntType(32)
_FUNCTION = ir.FunctionType(I32, [ir.PointerType()])


@dataclass(frozen=True, kw_only=True, eq=False)
class IrTable:
    """A module in LLVM's text form that defines ``function``, and the decision graphs that it
    calls, by the names of their functions.
    """

    function: str
    text: str
    graphs: Mapping[str, Decision] = field(default_factory=dict)


class KeyReader:
    """What a function of a key is written with."""

    def __init__(self, builder: ir.IRBuilder, key: ir.Value, layout: Layout) -> None:
        self.builder = builder
        self._key = key
        self._layout = layout
        self._graphs: dict[str, ir.Function] = {}

    def field(self, name: Field) -> ir.Value:
        """A field of the key as an i32. Raises ConfigError when the key has no such field."""
        if name not in self._layout:
            raise ConfigError(f"the key has no field {name}")
        offset, size = self._layout[name]
        place = self.builder.gep(
            self._key, [I32(offset)], inbounds=True, source_etype=ir.IntType(8)
        )
        kind = ir.IntType(8 * size)
        value = self.builder.load(
            place, typ=kind, align=next(a for a in (4, 2, 1) if a <= size and offset % a == 0)
        )
        return value if size == 4 else self.builder.zext(value, I32)

    def decide(self, name: str) -> ir.Value:
        """The result of decision graph ``name`` for the same key, as an i32."""
        if name not in self._graphs:
            self._graphs[name] = ir.Function(self.builder.module, _FUNCTION, name)
        return self.builder.call(self._graphs[name], [self._key])


def ir_table(
    function: str,
    layout: Layout,
    write: Callable[[KeyReader], ir.Value],
    graphs: Mapping[str, Decision] | None = None,
) -> IrTable:
    """``i32 function(ptr key)`` whose body ``write`` makes; it returns the result, an i32.

    ``layout`` gives offset and size in bytes of the key's fields; ``graphs`` are decision graphs
    that the body may ask (``KeyReader.decide``).
    """
    module = ir.Module(function)
    module.triple, module.data_layout = BPF_TRIPLE, BPF_DATA_LAYOUT
    made = ir.Function(module, _FUNCTION, function)
    made.attributes.add("alwaysinline")
    builder = ir.IRBuilder(made.append_basic_block("entry"))
    builder.ret(write(KeyReader(builder, made.args[0], layout)))
    # llvmlite knows no attributes of this form; without it a switch becomes a table in .rodata
    text = str(module).replace("alwaysinline", 'alwaysinline "no-jump-tables"="true"', 1)
    return IrTable(function=function, text=text, graphs=dict(graphs or {}))
