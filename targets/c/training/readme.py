"""What a person with a firmware project needs to know of a training step."""

from __future__ import annotations

from intaglio.targets.c.header import argument_names
from intaglio.targets.c.literals import c_type
from intaglio.targets.c.naming import cell_text
from intaglio.targets.c.training.header import TRAINING_ERRORS
from intaglio.targets.c.training.loss import loss_of
from intaglio.targets.c.training.packing import total_bytes
from intaglio.targets.c.training.schedule import Schedule
from intaglio.targets.c.training.sources import TrainingSources
from intaglio.targets.c.variants import BY_NAME


def _layers(schedule: Schedule) -> str:
    """Which layers run once a sample."""
    count = schedule.prefix + schedule.probed
    text = f"Of its {count} layers, {schedule.frozen} depend on no trained weight"
    if schedule.prefix or not schedule.frozen:
        return f"{text}."
    return (
        f"{text}; they run for\nevery loss nevertheless, since the memory of an inference has no "
        "room for their results. Convert\nwith `--set c.memory=fast` to keep them."
    )


def training_readme(written: TrainingSources) -> str:
    """Text on a training step, with the model's own numbers."""
    schedule, parameters = written.schedule, written.parameters
    network, specification = schedule.network, parameters.specification
    name, upper = network.name, network.name.upper()
    arenas = "\n".join(
        f"| {BY_NAME[key].title} | {schedule.inference[key]:,} | {layout.plan.bytes:,} | "
        f"{written.constant_bytes[key]:,} |"
        for key, layout in written.layouts.items()
    )
    weights = "\n".join(
        f"| `{cell_text(place.name)}` | `{place.member}` | {place.dtype} | "
        f"{'x'.join(str(place.shape[axis]) for axis in place.permutation)} | {place.offset} |"
        for place in parameters.packed
    )
    codes = "\n".join(f"| `{upper}_{key}` | {value} | {words} |" for key, value, words in
                      TRAINING_ERRORS)  # fmt: skip
    loss = loss_of(specification, schedule.logits.size)
    inputs, outputs = argument_names(network)
    batch = ", ".join(f"{one}, sizeof {one}" for one in inputs)
    made = ", ".join(f"{one}, sizeof {one}" for one in outputs)
    declared = "\n".join(
        f"static {c_type(tensor.dtype)} {one}[{upper}_{one.upper()}_COUNT];"
        for tensor, one in zip(
            (*network.inputs, *network.outputs), (*inputs, *outputs), strict=True
        )
    )
    return f"""\
# {name}

Inference and training of the same model, in place on weights in RAM. The files `{name}.c`,
`{name}.h` and `{name}_weights.c` need none of the model's other files. No floating point, no heap,
no state: what a step does follows from the weights, the batch and the seed, bit for bit on every
processor.

```c
#include "{name}.h"

static struct {name}_weights weights __attribute__((aligned(16)));
static uint8_t arena[{upper}_ARENA_BYTES] __attribute__((aligned(16)));
{declared}
static int32_t targets[{upper}_TARGETS];
int64_t plus[{upper}_PROBES], minus[{upper}_PROBES];
int8_t signs[{upper}_PROBES];

weights = {name}_initial_weights;
int code = {name}_step({batch}, targets, 1, &weights, seed, 0,
    plus, minus, signs, arena, sizeof arena);
seed += {upper}_SEEDS;
code = {name}_run({batch}, &weights, {made}, arena, sizeof arena);
```

A step takes a batch of one sample or more, one behind the other. A sample's target:
{loss.meaning}. `{name}_replay` changes weights as a step did whose signs are known: seeds and signs
of all steps are enough to bring another device to the same weights.

The step goes through its batch {schedule.mode}. {_layers(schedule)}

| processor | arena of an inference, bytes | of inference and step | constants, bytes |
|---|---|---|---|
{arenas}

Weights that are trained: {total_bytes(parameters.packed):,} bytes.

| weights | member | type | in memory | offset |
|---|---|---|---|---|
{weights}

| result | value | meaning |
|---|---|---|
{codes}
"""
