"""The header of a model: its function, its sizes, and what its integers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intaglio.targets.c.guards import Guards
from intaglio.targets.c.lifetimes import Layout
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.naming import Names, comment_text, identifier
from intaglio.targets.c.network import Network, Tensor
from intaglio.targets.c.variants import BY_NAME

#: Results of the function.
ERRORS = (
    ("OK", 0, "the outputs are written"),
    ("ERROR_NULL", 1, "a pointer is NULL"),
    ("ERROR_SIZE", 2, "an input or output has another size than stated"),
    ("ERROR_ARENA", 3, "the arena is too small; compile caller and model for one processor"),
    ("ERROR_ALIGNMENT", 4, "the arena does not begin at a multiple of 16"),
)


def argument_names(network: Network) -> tuple[list[str], list[str]]:
    """Names of the function's inputs and outputs; plainly ``input`` and ``output`` if alone."""
    names = Names()
    for taken in ("arena", "arena_bytes"):
        names.take(taken)
    found = []
    for tensors, word in ((network.inputs, "input"), (network.outputs, "output")):
        alone = len(tensors) == 1
        wishes = [word if alone else f"{word}_{identifier(t.name)}" for t in tensors]
        found.append([names.take(wish, "_bytes") for wish in wishes])
    return found[0], found[1]


def prototype(network: Network) -> str:
    """Declaration of the function, without a semicolon."""
    inputs, outputs = argument_names(network)
    arguments = []
    for constant, tensors, names in (
        ("const ", network.inputs, inputs),
        ("", network.outputs, outputs),
    ):
        for tensor, name in zip(tensors, names, strict=True):
            kind = c_type(tensor.dtype)
            arguments += [f"{constant}{kind} *{name}", f"size_t {name}_bytes"]
    arguments += ["void *arena", "size_t arena_bytes"]
    joined = ", ".join(arguments)
    if len(joined) > 70:
        joined = "\n    " + ",\n    ".join(
            ", ".join(arguments[i : i + 2]) for i in range(0, len(arguments), 2)
        )
    return f"int {network.name}_run({joined})"


def kind_of(network: Network) -> str:
    """What the code computes with, in words."""
    if any(tensor.dtype == "float32" for tensor in (*network.inputs, *network.outputs)):
        return "an integer model between float inputs and outputs"
    return "an integer model"


def header(network: Network, layouts: Mapping[str, Layout], guards: Guards) -> str:
    """Text of ``<name>.h``."""
    upper = network.name.upper()
    inputs, outputs = argument_names(network)
    described = [
        *described_tensors(upper, "INPUT", network.inputs, inputs),
        *described_tensors(upper, "OUTPUT", network.outputs, outputs),
    ]
    sizes = guards.choose([(name, arena_size(upper, name, layouts)) for name in layouts])
    codes = "\n".join(
        f"#define {upper}_{name} {value} /* {meaning} */" for name, value, meaning in ERRORS
    )
    return f"""\
/* {network.name}: {kind_of(network)}. Arithmetic profile: {network.profile}. */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* The processor that is compiled for; define {upper}_PORTABLE to use plain C everywhere. */
{guards.ladder()}

/* Bytes of working memory. */
{sizes}

{chr(10).join(described)}

/* Results of {network.name}_run. */
{codes}

/*
 * Runs one inference. Inputs, outputs and the arena must not overlap; the arena may be used for
 * other things between two calls, and two calls at once need an arena each.
 */
{prototype(network)};

#ifdef __cplusplus
}}
#endif

#endif
"""


def arena_size(upper: str, variant: str, layouts: Mapping[str, Layout]) -> str:
    """Definition of the arena's size on a variant.

    A library is often built for one x86 or AArch64 processor and its caller for another: they have
    memory enough to agree on the largest arena.
    """
    own = max(16, layouts[variant].plan.bytes)
    most = max(
        own,
        *(layout.plan.bytes for name, layout in layouts.items() if BY_NAME[name].roomy),
        layouts["portable"].plan.bytes,
    )
    alone = f"#define {upper}_ARENA_BYTES {own}"
    common = f"#define {upper}_ARENA_BYTES {most}"
    if BY_NAME[variant].roomy or alone == common:
        return common
    if variant == "portable":
        return f"#if defined(__x86_64__) || defined(__aarch64__)\n{common}\n#else\n{alone}\n#endif"
    return alone


def described_tensors(
    upper: str, word: str, tensors: Sequence[Tensor], names: Sequence[str]
) -> list[str]:
    """Sizes and quantization of inputs or outputs, as macros."""
    lines = []
    for tensor, name in zip(tensors, names, strict=True):
        macro = f"{upper}_{name.upper()}"
        shape = " x ".join(map(str, tensor.shape)) or "scalar"
        lines.append(f"/* {word.lower()} '{comment_text(tensor.name)}': {tensor.dtype} {shape} */")
        lines.append(f"#define {macro}_COUNT {tensor.size}")
        lines.append(f"#define {macro}_BYTES {tensor.bytes}")
        if tensor.scale:
            lines.append(f"#define {macro}_SCALE {float(tensor.scale)!r}")
            lines.append(f"#define {macro}_ZERO_POINT ({tensor.zero_point})")
    return lines
