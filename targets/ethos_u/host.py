"""What is left to the host where the NPU cannot compute it: the Softmax at the end of a model.

Its exponentials are looked up in a table of int32, by GATHER, which Ethos-U55 and U65 lack. For a
TOSA file there is no CPU beside the NPU, so the file ends in front of it, and gives the logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from intaglio.passes.annotations import get_quantization
from intaglio.targets.base import TensorSpec, spec_of, static_specs
from intaglio.targets.ethos_u.options import SMALLER, EthosUConfig

_SOFTMAX = "SoftmaxInteger"


def without_softmax(model: ir.Model, config: EthosUConfig) -> tuple[ir.Model, dict[str, str]]:
    """The model up to the logits where the NPU lacks what a Softmax needs.

    Args:
        model: Integer form, channels last; not changed.
        config: The NPU.

    Returns:
        The model itself or a copy of its part, and the logits that stand for an output, by name.
    """
    ends = {
        str(value.name): str(node.inputs[0].name)
        for value in model.graph.outputs
        if (node := value.producer()) is not None
        and node.op_type == _SOFTMAX
        and node.inputs[0] is not None
        and not node.inputs[0].is_graph_input()
    }
    lacks = config.softmax == "host" or config.accelerator.startswith(SMALLER)
    if not lacks or not ends:
        return model, {}
    copy = model.clone(deep_copy=True)
    graph = copy.graph
    outputs = dict.fromkeys(graph.outputs)
    graph.outputs.clear()
    kept: dict[ir.Value, None] = {}
    left: list[ir.Node] = []
    for value in outputs:
        node = value.producer()
        if str(value.name) not in ends or node is None or node.inputs[0] is None:
            kept[value] = None
            continue
        # Logits that are an output already stay one.
        kept[node.inputs[0]] = None
        if not value.uses():
            left.append(node)
    graph.outputs.extend(kept)
    for node in left:
        graph.remove(node)
    return copy, ends


def described(
    specs: Sequence[TensorSpec], model: ir.Model, ends: dict[str, str]
) -> tuple[TensorSpec, ...]:
    """The outputs of an artifact that ends in logits.

    Args:
        specs: Those of the whole model.
        model: What :func:`without_softmax` gave.
        ends: Likewise.
    """
    values = {str(value.name): value for value in model.graph.outputs}
    found: dict[str, TensorSpec] = {}
    for spec in specs:
        logits = values.get(ends.get(spec.name, ""))
        if logits is None:
            found.setdefault(spec.name, spec)
            continue
        meaning = get_quantization(logits)
        scale, zero_point = (
            (None, None) if meaning is None else (meaning.scale[0], meaning.zero_point[0])
        )
        found.setdefault(str(logits.name), spec_of(logits, scale, zero_point))
    return static_specs(list(found.values()))
