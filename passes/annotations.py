"""Notes on values: calibrated ranges and planned quantization, kept in the graph itself.

Steps of a recipe talk to each other through these notes only, so every intermediate model is
complete: it can be saved (``--keep-steps``), looked at in a viewer, and continued from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import onnx_ir as ir

from intaglio.transforms.scales import TensorQuantization

RANGE_KEY = "intaglio.range"
EXTREMES_KEY = "intaglio.extremes"
QUANTIZATION_KEY = "intaglio.quantization"
PRECISION_KEY = "intaglio.precision"
#: See :mod:`intaglio.passes.quantize.weight_grid`.
GRID_KEY = "intaglio.grid"
VALUE_KEY = "intaglio.value"
LAYOUT_KEY = "intaglio.layout"


def set_range(value: ir.Value, low: float, high: float) -> None:
    """Notes the calibrated range ``[low, high]`` (real units) of ``value``."""
    value.metadata_props[RANGE_KEY] = json.dumps([float(low), float(high)])


def get_range(value: ir.Value) -> tuple[float, float] | None:
    """The calibrated range of ``value``, or None."""
    text = value.metadata_props.get(RANGE_KEY)
    if text is None:
        return None
    low, high = json.loads(text)
    return float(low), float(high)


def set_extremes(value: ir.Value, low: float, high: float) -> None:
    """Notes the smallest and largest value seen in calibration, of which the range may be less."""
    value.metadata_props[EXTREMES_KEY] = json.dumps([float(low), float(high)])


def get_extremes(value: ir.Value) -> tuple[float, float] | None:
    """The smallest and largest value seen in calibration, or None."""
    text = value.metadata_props.get(EXTREMES_KEY)
    if text is None:
        return None
    low, high = json.loads(text)
    return float(low), float(high)


def set_quantization(value: ir.Value, quantization: TensorQuantization) -> None:
    """Notes how ``value`` is to be quantized."""
    value.metadata_props[QUANTIZATION_KEY] = json.dumps(quantization.to_dict())


def get_quantization(value: ir.Value) -> TensorQuantization | None:
    """The planned quantization of ``value``, or None."""
    text = value.metadata_props.get(QUANTIZATION_KEY)
    return None if text is None else TensorQuantization.from_dict(json.loads(text))


def set_precision(value: ir.Value, dtype: str) -> None:
    """Notes that ``value`` is to be quantized as ``dtype`` (``int8`` or ``int16``)."""
    value.metadata_props[PRECISION_KEY] = dtype


def get_precision(value: ir.Value) -> str | None:
    """The dtype chosen for ``value``, or None where nobody chose."""
    return value.metadata_props.get(PRECISION_KEY)


def set_source_value(value: ir.Value, name: str) -> None:
    """Notes that ``value`` stands for the float tensor ``name`` of the canonical model."""
    value.metadata_props[VALUE_KEY] = name


def get_source_value(value: ir.Value) -> str | None:
    """Name of the float tensor that ``value`` stands for, or None."""
    return value.metadata_props.get(VALUE_KEY)


def set_layout(value: ir.Value, layout: str) -> None:
    """Notes the order of the dimensions of a four-dimensional input or output: ``NHWC``."""
    value.metadata_props[LAYOUT_KEY] = layout


def get_layout(value: ir.Value) -> str:
    """``NCHW`` or ``NHWC`` for a tensor of four dimensions, else nothing."""
    if value.shape is None or len(value.shape) != 4:
        return ""
    return value.metadata_props.get(LAYOUT_KEY, "NCHW")


def copy_layout(source: ir.Value, value: ir.Value) -> None:
    """Gives ``value`` the order of dimensions that ``source`` has."""
    if LAYOUT_KEY in source.metadata_props:
        value.metadata_props[LAYOUT_KEY] = source.metadata_props[LAYOUT_KEY]


def all_values(model: ir.Model) -> Iterator[ir.Value]:
    """Graph inputs, initializers and node outputs, each once, in graph order."""
    seen: set[int] = set()
    graph = model.graph
    candidates: list[ir.Value] = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        candidates.extend(node.outputs)
    for value in candidates:
        if id(value) not in seen:
            seen.add(id(value))
            yield value


def clear_annotations(model: ir.Model) -> None:
    """Removes every note from the values of ``model``."""
    for value in all_values(model):
        for key in (RANGE_KEY, EXTREMES_KEY, QUANTIZATION_KEY, PRECISION_KEY, GRID_KEY):
            value.metadata_props.pop(key, None)
