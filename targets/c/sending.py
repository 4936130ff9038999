"""One C function of a device: from the model's input to a frame in a buffer."""

from __future__ import annotations

from collections.abc import Mapping

from intaglio.targets.c.header import ERRORS, argument_names
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.network import Network
from intaglio.targets.c.split.emitting import codec_sources, table_bytes
from intaglio.transforms.split.frames import largest_frame_bytes
from intaglio.transforms.split.specification import CodecSpecification

#: What is added to a result of the model's function to tell it from a fault of the coder.
RUN_FAULT = 200

_HEADER = """\
/* From an input of {name} to a frame for session {session:#010x}. */
#ifndef {upper}_SEND_H
#define {upper}_SEND_H

#include "{name}.h"
#include "{name}_codec.h"

#ifdef __cplusplus
extern "C" {{
#endif

/* Samples of a call. */
#define {upper}_SEND_SAMPLES {samples}u

/* Bytes that a frame never exceeds. Most frames are far smaller, and less memory will do then. */
#define {upper}_SEND_FRAME_BYTES {upper}_FRAME_BYTES({upper}_SEND_SAMPLES)

/* Bytes of working memory: the model's arena, and codes{and_ranges} behind it. */
#define {upper}_SEND_ARENA_BYTES (((size_t){upper}_ARENA_BYTES + 15u) / 16u * 16u)
#define {upper}_SEND_WORK_BYTES ({upper}_SEND_ARENA_BYTES + {behind}u)

/* What {name}_run found wrong comes back as minus (this + its result). */
#define {upper}_SEND_RUN_FAULT {fault}

/*
 * Runs the model on an input and writes what goes to the server.
 *
 * work: {upper}_SEND_WORK_BYTES bytes, beginning at a multiple of 16; nothing in it has to be kept
 * from call to call. Input, frame and work must not overlap.
 * Returns the bytes of the frame, or below 0: minus a split_fault (-SPLIT_CAPACITY where the frame
 * does not fit), or minus ({upper}_SEND_RUN_FAULT + a result of {name}_run).
 */
{prototype};

#ifdef __cplusplus
}}
#endif

#endif
"""

_SOURCE = """\
/* See {name}_send.h. */
#include "{name}_send.h"

{prototype}
{{
    int8_t *codes;
    int code;
    if (work == NULL || frame == NULL) {{
        return -({upper}_SEND_RUN_FAULT + {upper}_ERROR_NULL);
    }}
    if (work_bytes < {upper}_SEND_WORK_BYTES) {{
        return -({upper}_SEND_RUN_FAULT + {upper}_ERROR_ARENA);
    }}
    codes = (int8_t *)work + {upper}_SEND_ARENA_BYTES;
    code = {name}_run({arguments}, work, {upper}_SEND_ARENA_BYTES);
    if (code != {upper}_OK) {{
        return -({upper}_SEND_RUN_FAULT + code);
    }}
    return {name}_write_frame(codes, {ranges}, {upper}_SEND_SAMPLES, frame, frame_bytes);
}}
"""


def sending_sources(network: Network, specification: CodecSpecification) -> Mapping[str, str]:
    """The files beside the model's own that a device needs to send.

    Args:
        network: The device's part of a model. Its outputs are codes and, if dynamic, ranges.
        specification: The codec.

    Returns:
        Text by file name: ``split_codec``, ``NAME_codec`` and ``NAME_send``, ``.h`` and ``.c``.
    """
    codes, *ranges = network.outputs
    words = {
        "name": network.name,
        "upper": network.name.upper(),
        "session": specification.session,
        "samples": codes.size // specification.codes,
        "and_ranges": " and ranges" if ranges else "",
        "behind": sum(tensor.bytes for tensor in network.outputs),
        "fault": RUN_FAULT,
        "prototype": _prototype(network),
        "arguments": _arguments(network),
        "ranges": f"codes + {codes.bytes}" if ranges else "NULL",
    }
    return {
        **codec_sources(specification, network.name),
        f"{network.name}_send.h": _HEADER.format(**words),
        f"{network.name}_send.c": _SOURCE.format(**words),
    }


def sending_stems(files: Mapping[str, str], name: str) -> list[str]:
    """Names without ``.c`` of those sources among a model's files that are not its own.

    Args:
        files: What was emitted for a model.
        name: The model's prefix.
    """
    own = (f"{name}.c", f"{name}_weights.c")
    return [file[: -len(".c")] for file in files if file.endswith(".c") and file not in own]


def sending_readme(network: Network, specification: CodecSpecification) -> str:
    """What the README says of them.

    Args:
        network: The device's part.
        specification: The codec.
    """
    name, upper = network.name, network.name.upper()
    inputs, _ = argument_names(network)
    declared = "\n".join(
        f"static {c_type(tensor.dtype)} {word}[{upper}_{word.upper()}_COUNT];"
        for tensor, word in zip(network.inputs, inputs, strict=True)
    )
    given = ", ".join(f"{word}, sizeof {word}" for word in inputs)
    codes = "\n".join(
        f"| -({RUN_FAULT} + {value}) | `{name}_run`: {words} |" for _, value, words in ERRORS[1:]
    )
    behind = sum(tensor.bytes for tensor in network.outputs)
    largest = largest_frame_bytes(specification, network.outputs[0].size // specification.codes)
    return f"""\
## Sending

This is the device's part of a model that is cut in two. `{name}_send` runs it and writes the frame
that the server takes ({specification.coding} coding, session `{specification.session:#010x}`). It
needs the files `{name}_send`, `{name}_codec` and `split_codec` (each `.c` and `.h`) beside those
three; `-DSPLIT_WRITER_ONLY` leaves the reader of frames out.

```c
#include "{name}_send.h"

static uint8_t work[{upper}_SEND_WORK_BYTES] __attribute__((aligned(16)));
static uint8_t frame[{upper}_SEND_FRAME_BYTES];
{declared}

int32_t bytes = {name}_send({given}, frame, sizeof frame, work, sizeof work);
```

The working memory is the model's arena and {behind:,} bytes of codes behind it. A frame never
exceeds {largest:,} bytes, and is far smaller as a rule. Constants beside those of the model:
{table_bytes(specification):,} bytes of tables.

| result | meaning |
|---|---|
| above 0 | bytes of the frame |
| -{100} | the frame does not fit into its memory |
{codes}
"""


def _prototype(network: Network) -> str:
    inputs, _ = argument_names(network)
    arguments = []
    for tensor, word in zip(network.inputs, inputs, strict=True):
        arguments += [f"const {c_type(tensor.dtype)} *{word}", f"size_t {word}_bytes"]
    arguments += ["uint8_t *frame", "size_t frame_bytes", "void *work", "size_t work_bytes"]
    joined = ",\n    ".join(", ".join(arguments[i : i + 2]) for i in range(0, len(arguments), 2))
    return f"int32_t {network.name}_send(\n    {joined})"


def _arguments(network: Network) -> str:
    """Inputs and outputs of the model's function: outputs lie one behind the other."""
    inputs, _ = argument_names(network)
    found = [text for word in inputs for text in (word, f"{word}_bytes")]
    offset = 0
    for tensor in network.outputs:
        found += [f"codes + {offset}" if offset else "codes", f"{tensor.bytes}u"]
        offset += tensor.bytes
    return ", ".join(found)
