"""What the report tells of a training step: where weights lie, and how it goes through a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from intaglio.targets.base import TensorSpec
from intaglio.targets.c.records import record
from intaglio.targets.c.training.packing import Packed, from_record, to_record, total_bytes
from intaglio.targets.c.training.sources import TrainingSources


@dataclasses.dataclass(frozen=True)
class TrainingRecord:
    """What a host needs to call the emitted step.

    Attributes:
        packed: Where the weights lie.
        inputs: The data inputs of one sample, as the C functions take them.
        outputs: The outputs of an inference likewise.
        logits: What the loss reads of a sample.
    """

    packed: tuple[Packed, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    logits: TensorSpec


def training_record(
    written: TrainingSources,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    logits: TensorSpec,
) -> dict[str, Any]:
    """JSON-friendly data: the record of the network, and what is of training alone.

    Args:
        written: The sources.
        inputs: The data inputs of one sample, as the C functions take them.
        outputs: The outputs of an inference likewise.
        logits: What the loss reads.
    """
    schedule, packed = written.schedule, written.parameters.packed
    data = record(schedule.network, written.layouts, written.constant_bytes)
    data["training"] = {
        "mode": schedule.mode,
        "frozen_layers": schedule.frozen,
        "layers_run_once": schedule.prefix,
        "layers_probed": schedule.probed,
        "weights_bytes": total_bytes(packed),
        "parameters": [to_record(place) for place in packed],
        "arena": {
            name: {
                "inference_bytes": schedule.inference[name],
                "step_bytes": layout.plan.bytes,
                "ratio": layout.plan.bytes / max(1, schedule.inference[name]),
            }
            for name, layout in schedule.layouts.items()
        },
        "inputs": [spec.to_dict() for spec in inputs],
        "outputs": [spec.to_dict() for spec in outputs],
        "logits": logits.to_dict(),
    }
    return data


def read_training_record(data: Mapping[str, Any]) -> TrainingRecord:
    """Reads what :func:`training_record` wrote.

    Raises:
        KeyError: It is damaged.
        TypeError: Likewise.
    """
    training = data["training"]
    return TrainingRecord(
        packed=tuple(from_record(entry) for entry in training["parameters"]),
        inputs=tuple(TensorSpec.from_dict(entry) for entry in training["inputs"]),
        outputs=tuple(TensorSpec.from_dict(entry) for entry in training["outputs"]),
        logits=TensorSpec.from_dict(training["logits"]),
    )
