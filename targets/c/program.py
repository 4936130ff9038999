"""The code of a model: one function a layer, and the one that calls them."""

from __future__ import annotations

from collections.abc import Mapping

from intaglio.targets.c.arrays import ArrayStore
from intaglio.targets.c.guards import Guards
from intaglio.targets.c.header import argument_names, prototype
from intaglio.targets.c.layer_functions import LayerFunctions
from intaglio.targets.c.lifetimes import Layout
from intaglio.targets.c.network import Network


def program(
    network: Network,
    layouts: Mapping[str, Layout],
    guards: Guards,
    store: ArrayStore,
    attributes: str,
) -> str:
    """Text of ``<name>.c``; fills the store."""
    writer = LayerFunctions(network, layouts, guards, store)
    layers = [writer.layer(step) for step in range(len(network.layers))]
    parts = [
        f"/* {network.name}: {len(network.layers)} layers. See {network.name}.h. */",
        *preamble(network, guards, store, attributes),
        writer.shared(),
        writer.offsets(),
        *layers,
        _run(network, writer),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def preamble(network: Network, guards: Guards, store: ArrayStore, attributes: str) -> list[str]:
    """What stands before the functions: headers, the tap, and the arrays, all of them known."""
    upper = network.name.upper()
    return [
        f'#include "{network.name}.h"\n\n#include <string.h>',
        guards.includes(),
        attributes,
        "/* Called behind each layer: its index, its output and the output's size in bytes. */\n"
        f"#ifndef {upper}_TAP\n#define {upper}_TAP(index, output, bytes)\n#endif",
        "\n".join(
            guards.wrap(stored.variants, f"extern {stored.declaration()};") for stored in store
        ),
    ]


def _run(network: Network, writer: LayerFunctions) -> str:
    """The function of the model."""
    upper = network.name.upper()
    inputs, outputs = argument_names(network)
    border = [
        *zip(network.inputs, inputs, strict=True),
        *zip(network.outputs, outputs, strict=True),
    ]
    missing = " || ".join(f"{name} == NULL" for name in [*(name for _, name in border), "arena"])
    sizes = " || ".join(f"{name}_bytes != {tensor.bytes}u" for tensor, name in border)
    pointers = writer.pointers(dict(border))
    steps = range(len(network.layers))
    inside = [
        writer.declared(step, pointers)
        for step in steps
        if network.layers[step].output not in network.outputs
    ]
    if inside or any(writer.uses_scratch):
        inside.insert(0, "    uint8_t *const memory = (uint8_t *)arena;\n")
    body = "\n".join(line for step in steps for line in writer.call(step, pointers))
    return f"""\
{prototype(network)}
{{
    if ({missing}) {{
        return {upper}_ERROR_NULL;
    }}
    if ({sizes}) {{
        return {upper}_ERROR_SIZE;
    }}
    if (arena_bytes < {upper}_ARENA_BYTES) {{
        return {upper}_ERROR_ARENA;
    }}
    if ((uintptr_t)arena % 16u != 0u) {{
        return {upper}_ERROR_ALIGNMENT;
    }}
{chr(10).join(inside)}
{body}
    return {upper}_OK;
}}"""
