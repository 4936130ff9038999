"""Which variants this machine's processor runs."""

from __future__ import annotations

import functools
import subprocess

from intaglio.targets.c.compiler import find_compiler
from intaglio.targets.c.variants import VARIANTS, Variant


@functools.cache
def host_variants() -> tuple[Variant, ...]:
    """The variants that a program for this machine may be compiled in, the fastest first.

    The compiler knows what its own machine has; none where there is no compiler, ``portable`` alone
    where it does not tell.
    """
    compiler = find_compiler()
    if compiler is None:
        return ()
    probe = "\n".join(f"#if {v.condition}\nhas {v.name}\n#endif" for v in VARIANTS)
    try:
        done = subprocess.run(
            [compiler, "-march=native", "-E", "-P", "-x", "c", "-"],
            input=probe, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return (VARIANTS[-1],)
    found = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("has ")}
    return tuple(v for v in VARIANTS if v.name in found | {"portable"})
