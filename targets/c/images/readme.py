"""README.md beside the C of a table network."""

from __future__ import annotations

from intaglio.targets.c.images.writing import ImageSources
from intaglio.targets.c.variants import BY_NAME


def readme(name: str, sources: ImageSources) -> str:
    """What a person with a project needs to know, with the network's own numbers.

    Args:
        name: Prefix of files and functions.
        sources: What was written.
    """
    upper, structure = name.upper(), sources.structure
    rows = "\n".join(
        f"| {BY_NAME[key].title} | {scratch:,} | {sources.constant_bytes[key]:,} |"
        for key, scratch in sources.scratch_bytes.items()
    )
    return f"""\
# {name}

A network of look-up tables that makes a plane of bytes from a plane of bytes. A cell of
{structure.stride} × {structure.stride} pixels becomes {structure.upscale} × {structure.upscale} \
pixels of the result; that takes {structure.lookups:,} look-ups
and {structure.multiplications:,} multiplications. Tables and weights: \
{structure.table_bytes:,} bytes.

Three files belong into your project: `{name}.c`, `{name}.h` and `{name}_weights.c`. They need
`<stdint.h>`, `<stddef.h>` and `<string.h>`, no heap, no start-up call and no floating point.

```c
#include "{name}.h"

void *scratch = malloc({name}_scratch_bytes(width));
{name}_run(image, width, width, height, result, width * {upper}_UPSCALE / {upper}_STRIDE, scratch);
```

Of a color picture run the planes one after the other, or the luma alone. Rows may lie further apart
than they are wide. `{name}_run_band` makes some rows of the result only: threads that share a
picture take a band and a scratch memory each.

Build a static library here with `make` or CMake, or compile the two `.c` files with your own
project. The kernels for the processor are chosen by what the compiler is told of it (`-mcpu`,
`-march`); `-D{upper}_PORTABLE` takes plain C everywhere.

| processor | scratch memory at most, bytes | constants, bytes |
|---|---|---|
{rows}

Scratch memory does not depend on the height, and narrow images need less.
"""
