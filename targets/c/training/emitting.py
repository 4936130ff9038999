"""The training step of a bundle: its files, its report, and what is read of the graph for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.passes.annotations import get_layout
from intaglio.passes.train.build_forward import LOGITS, read_specification
from intaglio.targets.base import TensorSpec
from intaglio.targets.c.lifetimes import Memory
from intaglio.targets.c.network import Network, Tensor
from intaglio.targets.c.training.readme import training_readme
from intaglio.targets.c.training.records import training_record
from intaglio.targets.c.training.sources import write_training_sources


@dataclasses.dataclass(frozen=True)
class Emitted:
    """What becomes of a model.

    Attributes:
        files: Text of each file by name.
        record: Its report.
        readme: What a person should know.
    """

    files: Mapping[str, str]
    record: Mapping[str, Any]
    readme: str


def emit_training(
    model: ir.Model,
    network: Network,
    initial: Mapping[str, NDArray[Any]],
    variants: Collection[str],
    memory: Memory,
) -> Emitted:
    """Writes the training step of a forward form.

    Args:
        model: The forward form, channels last.
        network: Its layers.
        initial: Weights to begin with, by parameter, in ONNX layout.
        variants: Names of the processors to have kernels for.
        memory: What may be spent on scratch memory.
    """
    specification = read_specification(model)
    if specification is None or network.logits is None:
        raise InternalError(f"'{network.name}' is no forward form")
    written = write_training_sources(network, specification, initial, variants, memory)
    layouts = {str(v.name): get_layout(v) for v in (*model.graph.inputs, *model.graph.outputs)}
    specs = [
        [_spec(tensor, layouts.get(tensor.name, "")) for tensor in tensors]
        for tensors in (network.inputs, network.outputs)
    ]
    logits = _spec(network.logits, layouts.get(LOGITS, ""))
    record = training_record(written, specs[0], specs[1], logits)
    return Emitted(written.files, record, training_readme(written))


def _spec(tensor: Tensor, layout: str) -> TensorSpec:
    return TensorSpec(
        tensor.name, tensor.shape, np.dtype(tensor.dtype).name, layout if len(tensor.shape) == 4
        else "", tensor.scale or None, tensor.zero_point,
    )  # fmt: skip
