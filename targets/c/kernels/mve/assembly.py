"""Inline assembly as text of C.

The hot loops are assembly because they use every register: eight sums in the even registers, which
is where ``VMLADAVA`` can add to, ``lr`` among them, and pointers in the odd ones. A compiler that
keeps one register for itself spills in the innermost loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Registers that a block changes without bringing them back.
CLOBBERS = (
    *("r0", "r1", "r2", "r3", "r12", "lr", "cc", "memory"),
    *(f"d{i}" for i in range(8)),
)
SAVE = ("push {r4-r11, lr}", "vpush {d8-d15}")
RESTORE = ("vpop {d8-d15}", "pop {r4-r11, lr}")


def assembly(lines: Iterable[str], operands: str, indent: str = "    ") -> str:
    """An ``asm`` statement; lines may end in a comment behind ``//``.

    Args:
        lines: Instructions and labels.
        operands: What stands behind the text: outputs, inputs, clobbers.
        indent: In front of each line.
    """
    rows = []
    for line in lines:
        code, _, comment = line.partition("//")
        code = code.strip()
        space = "" if code.endswith(":") else "  "
        quoted = f'{indent}    "{space}{code}\\n"' if code else f"{indent}   "
        rows.append(f"{quoted} /* {comment.strip()} */" if comment else quoted)
    text = "\n".join(rows)
    return f"{indent}__asm volatile(\n{text}\n{indent}    {operands});"


def clobbers(names: Sequence[str] = CLOBBERS) -> str:
    """Clobbered registers as C writes them."""
    return ", ".join(f'"{name}"' for name in names)
