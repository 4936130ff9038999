"""The border of a model: its inputs and outputs, and how they are quantized."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from intaglio.passes.annotations import get_quantization
from intaglio.passes.operators import is_float
from intaglio.targets.base import TensorSpec, spec_of
from intaglio.transforms.scales import TensorQuantization


def border_quantization(model: ir.Model) -> dict[str, TensorQuantization]:
    """Quantization of the inputs and outputs of a model in the quantized form.

    Args:
        model: A model with QuantizeLinear and DequantizeLinear.

    Returns:
        By name, for inputs that are only read by QuantizeLinear and outputs that come from
        DequantizeLinear; where the border itself holds integers, the other way round. What is
        quantized per channel or in different ways is left out.
    """
    found: dict[str, TensorQuantization] = {}
    for value in model.graph.inputs:
        kind = "QuantizeLinear" if is_float(value) else "DequantizeLinear"
        readers = [_parameters(node, kind) for node in value.consumers()]
        first = readers[0] if readers else None
        if value.name and first is not None and all(reader == first for reader in readers):
            found[value.name] = first
    for value in model.graph.outputs:
        producer = value.producer()
        kind = "DequantizeLinear" if is_float(value) else "QuantizeLinear"
        quantization = None if producer is None else _parameters(producer, kind)
        if value.name and quantization is not None:
            found[value.name] = quantization
    return found


def border_specs(
    values: Iterable[ir.Value], quantization: dict[str, TensorQuantization]
) -> Sequence[TensorSpec]:
    """Describes inputs or outputs; scale and zero point where they hold quantized integers.

    Args:
        values: Inputs or outputs of a prepared model.
        quantization: What :func:`border_quantization` found before.
    """
    specs = []
    for value in values:
        # An integer graph says it itself; uint8 has become int8 there.
        known = get_quantization(value) or quantization.get(str(value.name))
        same = (
            known is not None
            and value.dtype is not None
            and np.dtype(value.dtype.numpy()) == known.numpy_dtype
        )
        if known is not None and same:
            specs.append(spec_of(value, known.scale[0], known.zero_point[0]))
        else:
            specs.append(spec_of(value))
    return specs


def _parameters(node: ir.Node, kind: str) -> TensorQuantization | None:
    """The per-tensor quantization of a QuantizeLinear or DequantizeLinear node."""
    if node.op_type != kind or node.domain not in ("", "ai.onnx") or len(node.inputs) < 2:
        return None
    scale = node.inputs[1].const_value if node.inputs[1] is not None else None
    if scale is None or scale.size != 1:
        return None
    point = node.inputs[2] if len(node.inputs) > 2 else None
    if point is not None:
        if point.const_value is None:
            return None
        zero_point = point.const_value.numpy().reshape(-1)
        dtype = np.dtype(zero_point.dtype).name
    else:
        zero_point, dtype = np.zeros(1, np.uint8), "uint8"
    try:
        return TensorQuantization(
            dtype, (float(scale.numpy().reshape(-1)[0]),), (int(zero_point[0]),)
        )
    except ValueError:
        return None
