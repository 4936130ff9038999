"""Vector words of x86: what the intrinsics of one register size are called.

The generators write one text for all of them. ``VNNI`` is AVX-512 with ``vpdpbusd`` (unsigned times
signed bytes, four products added to a 32-bit lane), ``VNNI_HALF`` the same in 256-bit registers for
tensors of few channels, ``AVX2`` multiplies 16-bit words in pairs.
"""

from __future__ import annotations

import dataclasses

from intaglio.targets.c.kernels.base import Function


@dataclasses.dataclass(frozen=True)
class Isa:
    """One register size of one instruction set.

    Attributes:
        name: Prefix of its C functions.
        lanes: 32-bit lanes of a register.
    """

    name: str
    lanes: int

    @property
    def bits(self) -> int:
        """Size of a register in bits."""
        return 32 * self.lanes

    @property
    def type(self) -> str:
        """C type of a register."""
        return f"__m{self.bits}i"

    @property
    def prefix(self) -> str:
        """Beginning of its intrinsics' names."""
        return "_mm512" if self.bits == 512 else "_mm256"

    @property
    def masks(self) -> bool:
        """Whether loads and stores can be masked byte by byte."""
        return self.name != "avx2"

    def op(self, name: str, *arguments: str) -> str:
        """A call of an intrinsic: ``op("add_epi32", "a", "b")``."""
        return f"{self.prefix}_{name}({', '.join(arguments)})"

    @property
    def load(self) -> Function:
        """``T <name>_load(const void *)``, from any address."""
        return Function(
            f"{self.name}_load",
            f"static inline {self.type} {self.name}_load(const void *from)\n{{\n"
            f"    return {self.prefix}_loadu_si{self.bits}((const {self.type} *)from);\n}}",
        )

    @property
    def store(self) -> Function:
        """``void <name>_store(void *, T)``, to any address."""
        return Function(
            f"{self.name}_store",
            f"static inline void {self.name}_store(void *to, {self.type} value)\n{{\n"
            f"    {self.prefix}_storeu_si{self.bits}(({self.type} *)to, value);\n}}",
        )


VNNI = Isa("vnni", 16)
VNNI_HALF = Isa("vnni_half", 8)
AVX2 = Isa("avx2", 8)

#: Four bytes, or two words, as they lie in memory.
WORD = Function(
    "x86_word",
    """\
/* Four bytes from any address. */
static inline int32_t x86_word(const void *from)
{
    int32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}""",
)
