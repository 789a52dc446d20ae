# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

from iridescent_xdp.decision.nodes import U32_MAX, Field, If, InRange, Masked, Node, Result, Test, topological

OUT, SCRATCH = "$0", "$1"
END = ".Lend${:uid}"


def assembly(root: Node, operand: dict[Field, str]) -> str:
    return "\n".join(_Printer(root, operand).lines)


def _signed(v): return v - (1 << 32) if v >> 31 else v


class _Printer:
    def __init__(self, root, operand):
        self.operand = operand
        self.lines = []
        nodes = topological(root)
        edges = [x for n in nodes if isinstance(n, If) for x in (n.then, n.otherwise)]
        counts = {}
        for x in edges:
            if isinstance(x, Result): counts[x.value] = counts.get(x.value, 0) + 1
        self.default = max(counts, key=counts.get) if counts else root.value
        self.order = self._layout(root)
        self.label = {n: f".Ln{i}_${{:uid}}" for i, n in enumerate(self.order)}
        self.preds = {}
        for x in edges:
            self.preds[self.block(x)] = self.preds.get(self.block(x), 0) + 1
        self.incoming = {}
        self._print()

    def block(self, n):
        """results by value; None is the end"""
        if isinstance(n, Result):
            return None if n.value == self.default else n.value
        return n

    def _layout(self, root):
        order, placed, work = [], {None}, [self.block(root)]
        while work:
            n = work.pop()
            while n not in placed:
                placed.add(n); order.append(n)
                if not isinstance(n, If): break
                a, b = self.block(n.then), self.block(n.otherwise)
                if b in placed: n = a
                else:
                    if a not in placed: work.append(a)
                    n = b
        return order

    def _print(self):
        out = self.lines
        out.append(f"{OUT} = {_signed(self.default)}")
        jumped = set()
        chunks = []
        for i, n in enumerate(self.order):
            nxt = self.order[i + 1] if i + 1 < len(self.order) else None
            states = self.incoming.get(n, [])
            held = states[0] if len(states) == self.preds.get(n, 0) and states and all(s == states[0] for s in states) else None
            code = []
            if isinstance(n, If):
                yes, no, held = self._test(n.test, held, code)
                a, b = self.block(n.then), self.block(n.otherwise)
                if b == nxt and b is not None or (b is None and nxt is None and i + 1 == len(self.order)):
                    self._jump(code, yes, a, jumped)
                elif a == nxt and a is not None:
                    self._jump(code, no, b, jumped)
                else:
                    self._jump(code, yes, a, jumped)
                    code.append(f"goto {self._name(b)}"); jumped.add(b)
                for x in (a, b): self.incoming.setdefault(x, []).append(held)
            else:
                code.append(f"{OUT} = {_signed(n)}")
                if nxt is not None: code.append(f"goto {END}"); jumped.add(None)
            chunks.append((n, code))
        for n, code in chunks:
            if n in jumped: out.append(f"{self.label[n]}:")
            out += code
        out.append(f"{END}:")

    def _name(self, x): return END if x is None else self.label[x]

    def _jump(self, code, cond, target, jumped):
        jumped.add(target)
        code.append(f"if {cond} goto {self._name(target)}")

    def _test(self, test, held, code):
        value = self.operand[test.field]
        if isinstance(test, InRange):
            low, high = test.low, test.high
            if low == high: return self._pair(value, "==", "!=", low, held)
            if low == 0: return self._pair(value, "<=", ">", high, held)
            if high == U32_MAX: return self._pair(value, ">=", "<", low, held)
            size = high - low + 1
            if size & (size - 1) or low % size:
                want = (test.field, "-", low)
                if held != want:
                    if held and held[:2] == want[:2]:
                        code.append(f"{SCRATCH} += {_signed((held[2] - low) & U32_MAX)}")
                    else:
                        code += [f"{SCRATCH} = {value}", f"{SCRATCH} += {_signed(-low & U32_MAX)}"]
                return self._pair(SCRATCH, "<=", ">", high - low, want)
            mask, v = U32_MAX ^ (size - 1), low
        else:
            mask, v = test.mask, test.value
        want = (test.field, "&", mask)
        if held != want:
            code += [f"{SCRATCH} = {value}", f"{SCRATCH} &= {_signed(mask)}"]
        return self._pair(SCRATCH, "==", "!=", v, want)

    def _pair(self, v, yes, no, imm, held):
        imm = _signed(imm)
        return f"{v} {yes} {imm}", f"{v} {no} {imm}", held
