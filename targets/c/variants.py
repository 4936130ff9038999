"""Processors that kernels are written for, and how the C compiler tells them apart."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Variant:
    """One kind of processor.

    Attributes:
        name: Stable name, as in ``--set c.variants``.
        condition: Preprocessor condition that selects it.
        header: Intrinsics header that its code includes; empty where it needs none.
        base: The variant whose kernels it uses where it has none of its own; None for portable.
        title: In words.
        flags: What makes gcc and clang compile for it on a machine of its kind.
        roomy: Its programs have stacks of megabytes: scratch memory may lie there.
    """

    name: str
    condition: str
    header: str
    base: str | None
    title: str
    flags: tuple[str, ...] = ()
    roomy: bool = False


#: Most specialised first: the first whose condition holds is compiled.
VARIANTS: tuple[Variant, ...] = (
    Variant(
        "vnni",
        "defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)"
        " && defined(__AVX512VBMI__)",
        "immintrin.h",
        "avx2",
        "x86 with AVX-512 VNNI",
        (
            "-mavx2",
            "-mavx512f",
            "-mavx512bw",
            "-mavx512vl",
            "-mavx512dq",
            "-mavx512vnni",
            "-mavx512vbmi",
        ),
        roomy=True,
    ),
    Variant(
        "avx2",
        "defined(__AVX2__)",
        "immintrin.h",
        "portable",
        "x86 with AVX2",
        ("-mavx2",),
        roomy=True,
    ),
    Variant(
        "mve",
        "defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)",
        "arm_mve.h",
        "dsp",
        "Cortex-M with Helium (MVE)",
    ),
    Variant(
        "dotprod",
        "defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)",
        "arm_neon.h",
        "neon",
        "AArch64 with dot product",
        ("-march=armv8.2-a+dotprod",),
        roomy=True,
    ),
    Variant(
        "neon",
        "defined(__aarch64__) && defined(__ARM_NEON)",
        "arm_neon.h",
        "portable",
        "AArch64 with NEON",
        roomy=True,
    ),
    Variant(
        "dsp",
        "defined(__ARM_FEATURE_DSP) && defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'",
        "arm_acle.h",
        "portable",
        "Cortex-M with the DSP extension",
    ),
    Variant("portable", "1", "", None, "any C99 compiler"),
)

BY_NAME = {variant.name: variant for variant in VARIANTS}


def lineage(name: str) -> tuple[str, ...]:
    """``name`` and the variants whose kernels it falls back to, in order."""
    found = [name]
    while (base := BY_NAME[found[-1]].base) is not None:
        found.append(base)
    return tuple(found)
