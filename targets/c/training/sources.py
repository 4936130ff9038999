"""A training step as C files: the header, the code, and the constants with the initial weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.arrays import ArrayStore, definition
from intaglio.targets.c.guards import Guards
from intaglio.targets.c.lifetimes import Memory
from intaglio.targets.c.literals import rows
from intaglio.targets.c.network import Network
from intaglio.targets.c.source import ATTRIBUTES, Sources
from intaglio.targets.c.training.header import training_header
from intaglio.targets.c.training.loss import loss_of
from intaglio.targets.c.training.packing import Packed, total_bytes
from intaglio.targets.c.training.parameters import Parameters, require_known
from intaglio.targets.c.training.program import training_program
from intaglio.targets.c.training.schedule import Schedule, plan_schedule
from intaglio.targets.c.variants import VARIANTS
from intaglio.transforms.forward_gradient.specification import StepSpecification


@dataclasses.dataclass(frozen=True)
class TrainingSources(Sources):
    """What became of a training step.

    Attributes:
        schedule: Which layers run how often, and where tensors lie.
        parameters: What is trained, and where it lies.
    """

    schedule: Schedule
    parameters: Parameters


def write_training_sources(
    network: Network,
    specification: StepSpecification,
    initial: Mapping[str, NDArray[Any]],
    variants: Collection[str] | None = None,
    memory: Memory = "balanced",
) -> TrainingSources:
    """Writes a training step.

    Args:
        network: The forward form: with variables, and with what the loss reads.
        specification: What the step does.
        initial: Weights to begin with, by parameter, in ONNX layout.
        variants: Names of the processors to have kernels for; None for all. ``portable`` always is.
        memory: What may be spent on scratch memory, see :func:`.lifetimes.lay_out`.

    Returns:
        The files ``<name>.c``, ``<name>.h`` and ``<name>_weights.c``, and what they need.
    """
    require_known(specification)
    wanted = {v.name for v in VARIANTS} if variants is None else {*variants, "portable"}
    guards = Guards(network.name.upper(), wanted)
    names = [variant.name for variant in guards.variants]
    schedule = plan_schedule(network, specification, names, memory)
    parameters = Parameters.of(specification, network.variables)
    loss = loss_of(specification, schedule.logits.size)
    store = ArrayStore(network.name)
    code = training_program(schedule, parameters, loss, guards, store, ATTRIBUTES)
    head = training_header(schedule.network, schedule.layouts, guards, parameters, loss)
    parts = [
        f"/* Constants of {network.name}: initial and frozen weights, biases and tables. */",
        f'#include "{network.name}.h"',
        ATTRIBUTES,
        _initial(network.name, parameters.packed, initial),
        *(guards.wrap(stored.variants, definition(stored)) for stored in store),
    ]
    return TrainingSources(
        files={
            f"{network.name}.h": head,
            f"{network.name}.c": code,
            f"{network.name}_weights.c": "\n\n".join(parts) + "\n",
        },
        layouts=schedule.layouts,
        constant_bytes={name: store.bytes(name) + total_bytes(parameters.packed) for name in names},
        schedule=schedule,
        parameters=parameters,
    )


def _initial(name: str, packed: tuple[Packed, ...], initial: Mapping[str, NDArray[Any]]) -> str:
    """The struct of the initial weights."""
    members = []
    for place in packed:
        flat = np.frombuffer(place.pack(initial[place.name]), place.memory_type)
        members.append(f"    {{ /* {place.member} */\n{rows(flat.astype(place.dtype))}\n    }}")
    joined = ",\n".join(members)
    return f"ALIGNED const struct {name}_weights {name}_initial_weights = {{\n{joined}\n}};\n"
