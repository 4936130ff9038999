"""Functions that are all assembler: for inner loops that need every register.

A naked function has no code of the compiler's own, so that neither a frame pointer nor a switch of
optimisation takes a register away. It follows the calling convention by itself.
"""

from __future__ import annotations

from intaglio.targets.c.kernels.base import Function
from intaglio.targets.c.kernels.dsp.intrinsics import ASSEMBLER

NAKED = Function(
    "dsp_naked",
    """\
#if DSP_ASSEMBLER
/* A function that is all assembler, and an argument that only the assembler reads. Its alignment
   is for ADR. Without optimisation GCC would store the arguments in a frame that is not there. */
#if defined(__clang__)
#define DSP_NAKED __attribute__((naked, noinline, used, aligned(4)))
#else
#define DSP_NAKED __attribute__((naked, noinline, used, aligned(4), optimize("O1")))
#endif
#define DSP_UNUSED __attribute__((unused))
#endif""",
    (ASSEMBLER,),
)


def unused(arguments: str) -> str:
    """Arguments of a function in assembler."""
    return arguments.replace(",", " DSP_UNUSED,") + " DSP_UNUSED"


def quoted(text: str) -> str:
    """Lines of assembler as a C string."""
    return "\n".join(f'        "{line}\\n"' for line in text.splitlines())
