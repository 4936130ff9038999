"""Makefile, CMakeLists.txt and README.md beside the emitted C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intaglio.targets.c.header import ERRORS, argument_names, kind_of
from intaglio.targets.c.lifetimes import Layout
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.naming import cell_text
from intaglio.targets.c.network import Convolution, Network, Tensor, TrainedConvolution
from intaglio.targets.c.variants import BY_NAME


def makefile(names: Sequence[str], further: Sequence[str] = ()) -> str:
    """A Makefile that builds a static library of the models.

    Args:
        names: Prefixes of the models.
        further: Other sources without their ``.c``, each with a header of the same name.
    """
    stems = [stem for name in names for stem in (name, f"{name}_weights")] + list(further)
    objects = " ".join(f"{stem}.o" for stem in stems)
    rules = "\n".join(
        f"{name}.o: {name}.c {name}.h\n{name}_weights.o: {name}_weights.c {name}.h"
        for name in names
    )
    headers = " ".join(f"{stem}.h" for stem in (*names, *further))
    rules += "".join(f"\n{stem}.o: {stem}.c {headers}" for stem in further)
    return f"""\
# For another processor: make CC=arm-none-eabi-gcc AR=arm-none-eabi-ar CFLAGS="-O2 -mcpu=cortex-m4"
CFLAGS ?= -O3 -march=native
CFLAGS += -std=c99

lib{names[0]}.a: {objects}
\t$(AR) rcs $@ $^

{rules}

clean:
\trm -f lib{names[0]}.a {objects}

.PHONY: clean
"""


def cmake_lists(names: Sequence[str], further: Sequence[str] = ()) -> str:
    """A CMakeLists.txt that builds a static library of the models.

    Args:
        names: Prefixes of the models.
        further: Other sources without their ``.c``.
    """
    files = "\n".join(f"  {name}.c\n  {name}_weights.c" for name in names)
    files += "".join(f"\n  {stem}.c" for stem in further)
    return f"""\
cmake_minimum_required(VERSION 3.10)
project({names[0]} C)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

add_library({names[0]} STATIC
{files})
target_include_directories({names[0]} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
set_target_properties({names[0]} PROPERTIES C_STANDARD 99)
"""


def readme(
    network: Network, layouts: Mapping[str, Layout], constant_bytes: Mapping[str, int]
) -> str:
    """What a person with a firmware project needs to know, with the model's own numbers.

    Args:
        network: The model.
        layouts: Code and memory by variant.
        constant_bytes: Bytes of constants by variant.
    """
    name, upper = network.name, network.name.upper()
    rows = "\n".join(
        f"| {BY_NAME[key].title} | {layout.plan.bytes:,} | {layout.plan.bound:,} | "
        f"{constant_bytes[key]:,} |"
        for key, layout in layouts.items()
    )
    peak = next(iter(layouts.values())).live_peak
    kinds = (Convolution, TrainedConvolution)
    macs = sum(layer.macs for layer in network.layers if isinstance(layer, kinds))
    floats = ": no floating point" if kind_of(network) == "an integer model" else ""
    codes = "\n".join(f"| `{upper}_{key}` | {value} | {words} |" for key, value, words in ERRORS)
    return f"""\
# {name}

{len(network.layers)} layers, {macs:,} multiplications in convolutions; arithmetic profile
`{network.profile}`. Three files belong into your project: `{name}.c`, `{name}.h` and
`{name}_weights.c`. They need `<stdint.h>`, `<stddef.h>` and `<string.h>`, no heap and no start-up
call. The code is {kind_of(network)}{floats}.

```c
#include "{name}.h"

{_example(network)}
```

Build a static library here with `make` or CMake, or compile the two `.c` files with your own
project. The kernels for the processor are chosen by what the compiler is told of it (`-mcpu`,
`-march`); `-D{upper}_PORTABLE` takes plain C everywhere.

| processor | arena, bytes | lower bound of its plan | constants, bytes |
|---|---|---|---|
{rows}

Arena: working memory. Inputs and outputs lie in your own memory and are not counted. All tensors
that live at once take {peak:,} bytes at the peak, none sharing memory and without scratch memory.
{_slower(layouts)}

| tensor | type | shape | scale | zero point |
|---|---|---|---|---|
{_tensors(network)}

| result | value | meaning |
|---|---|---|
{codes}

Define `{upper}_TAP(index, output, bytes)` before `{name}.c` is compiled to see the output of each
layer.
"""


def _slower(layouts: Mapping[str, Layout]) -> str:
    """Which layers could be faster with more memory."""
    lines = [
        f"- {BY_NAME[key].title}: {', '.join(f'`{cell_text(name)}`' for name in layout.slower)}"
        for key, layout in layouts.items()
        if layout.slower
    ]
    if not lines:
        return ""
    listed = "\n".join(lines)
    return (
        "\nLayers with a kernel that needs less memory than the fastest one, which `--set "
        f"c.memory=fast` takes:\n\n{listed}\n"
    )


def _example(network: Network) -> str:
    inputs, outputs = argument_names(network)
    upper = network.name.upper()
    lines = [f"static uint8_t arena[{upper}_ARENA_BYTES] __attribute__((aligned(16)));"]
    call = []
    for tensors, names in ((network.inputs, inputs), (network.outputs, outputs)):
        for tensor, name in zip(tensors, names, strict=True):
            lines.append(f"static {c_type(tensor.dtype)} {name}[{upper}_{name.upper()}_COUNT];")
            call.append(f"{name}, sizeof {name}")
    call.append("arena, sizeof arena")
    lines += ["", f"int code = {network.name}_run({', '.join(call)});"]
    return "\n".join(lines)


def _tensors(network: Network) -> str:
    return "\n".join(
        f"| {word} `{cell_text(tensor.name)}` | {tensor.dtype} | "
        f"{'x'.join(map(str, tensor.shape))} | {_scale(tensor)} |"
        for word, tensors in (("input", network.inputs), ("output", network.outputs))
        for tensor in tensors
    )


def _scale(tensor: Tensor) -> str:
    return f"{tensor.scale!r} | {tensor.zero_point}" if tensor.scale else " | "
