"""The code of a training step: layers, loss, perturbation, update, and three functions for users.

::

    for each probe:
        move the weights by +delta; add up the losses of the samples
        move them by -2 delta; add up the losses again
        move them by +delta, which gives back every number exactly
    update the weights by the signs of the differences

Nothing of a perturbation is stored: the hash of an index gives it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from intaglio.targets.c.arrays import ArrayStore
from intaglio.targets.c.guards import Guards
from intaglio.targets.c.layer_functions import LayerFunctions
from intaglio.targets.c.program import preamble
from intaglio.targets.c.training.entry import run_function, step_functions
from intaglio.targets.c.training.loops import move_loop, rounding_function, update_loop
from intaglio.targets.c.training.loss import Loss
from intaglio.targets.c.training.parameters import Parameters
from intaglio.targets.c.training.passes import Passes
from intaglio.targets.c.training.randomness import HASH, displacing, drawing
from intaglio.targets.c.training.schedule import Schedule
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import StepRounding


def training_program(
    schedule: Schedule,
    parameters: Parameters,
    loss: Loss,
    guards: Guards,
    store: ArrayStore,
    attributes: str,
) -> str:
    """Text of ``<name>.c``; fills the store."""
    network = schedule.network
    writer = LayerFunctions(network, schedule.layouts, guards, store)
    layers = [writer.layer(step) for step in range(len(network.layers))]
    variants = list(schedule.layouts)
    table = parameters.table(store, variants)
    losses = _with_arrays(loss, store, variants)
    passes = Passes(schedule, parameters, writer)
    parts = [
        f"/* {network.name}: {len(network.layers)} layers and a training step. "
        f"See {network.name}.h. */",
        *preamble(network, guards, store, attributes),
        writer.shared(),
        writer.offsets(),
        *layers,
        losses,
        *_perturbations(parameters, table),
        *passes.functions(),
        run_function(network, parameters, writer),
        *step_functions(network, parameters),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _with_arrays(loss: Loss, store: ArrayStore, variants: list[str]) -> str:
    names: Mapping[str, str] = {}
    for variant in variants:
        names = store.add("loss", loss.arrays, variant)
    return re.sub(r"@(\w+)@", lambda match: names[match.group(1)], loss.function)


def _perturbations(parameters: Parameters, table: str) -> list[str]:
    """Functions that move and update the weights."""
    specification = parameters.specification
    law, rounding, probes = specification.law, specification.rounding, specification.probes
    kinds = parameters.kinds
    summed = probes > 1 or law is Law.BINOMIAL or rounding is StepRounding.STOCHASTIC
    moving = parameters.moving_kinds
    return [
        HASH,
        drawing(law) if summed else "",
        *(displacing(law, dtype) for dtype in sorted({dtype for dtype, _ in moving})),
        rounding_function(rounding),
        parameters.struct(),
        table,
        *(move_loop(law, dtype, kind) for dtype, kind in moving),
        *(update_loop(law, rounding, probes, dtype, kind) for dtype, kind in kinds.values()),
    ]
