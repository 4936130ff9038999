"""Which variants this machine's processor runs."""

from __future__ import annotations

import functools
import subprocess

from intaglio.targets.c.compiler import find_compiler
from intaglio.targets.c.variants import VARIANTS, Variant


def host_variants() -> tuple[Variant, ...]:
    """The variants that a program for this machine may be compiled in, the fastest first.

    The compiler knows what its own machine has; none where there is no compiler, ``portable`` alone
    where it does not tell.

    Raises:
        ToolError: ``CC`` names a compiler that is not installed.
    """
    compiler = find_compiler()
    return () if compiler is None else _variants_of(compiler)


@functools.cache
def _variants_of(compiler: tuple[str, ...]) -> tuple[Variant, ...]:
    probe = "\n".join(f"#if {v.condition}\nhas {v.name}\n#endif" for v in VARIANTS)
    try:
        done = subprocess.run(
            [*compiler, "-march=native", "-E", "-P", "-x", "c", "-"],
            input=probe, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return (VARIANTS[-1],)
    found = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("has ")}
    return tuple(v for v in VARIANTS if v.name in found | {"portable"})
