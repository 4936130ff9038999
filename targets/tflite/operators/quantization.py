"""QUANTIZE, DEQUANTIZE, CAST, FAKE_QUANT and DENSIFY."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from intaglio.targets.tflite.operators.arguments import cast, given
from intaglio.targets.tflite.scope import Operator, Reader, Scope


def read_quantize(scope: Scope, operator: Operator) -> None:
    """QuantizeLinear of a float tensor; of a quantized one with other parameters, too."""
    output = operator.outputs[0]
    if not output.is_quantized:
        raise scope.damaged(f"has the output '{output.name}' without a scale")
    scope.give(output, scope.value(given(operator, 0)))


def read_dequantize(scope: Scope, operator: Operator) -> None:
    """The real numbers of a tensor, which its ONNX value holds already.

    float16 tensors are float32 values, so of these nothing is left; constants become float
    constants.
    """
    x, output = given(operator, 0), operator.outputs[0]
    if x is None:
        raise scope.damaged("lacks an input")
    if np.dtype(x.dtype).kind != "f" and not x.is_quantized:
        raise scope.damaged(f"has the input '{x.name}' without a scale")
    array = scope.constant(x)
    if array is not None:
        scope.give_constant(output, array)
        return
    scope.give(output, scope.again(x) if scope.is_output(output) else scope.value(x))


def read_cast(scope: Scope, operator: Operator) -> None:
    """Cast of the elements as they are: a quantized tensor's integers."""
    x, output = given(operator, 0), operator.outputs[0]
    if x is None:
        raise scope.damaged("lacks an input")
    if output.is_quantized:
        scope.refuse(operator, "it makes a quantized tensor", "use QUANTIZE")
    floats = np.dtype(output.dtype).kind == "f"
    dtype = np.dtype("float32" if floats else output.dtype)
    array = scope.integers(x) if x.is_quantized else scope.constant(x)
    if array is not None and (array.size <= 1024 or floats):
        scope.give_constant(output, array.astype(dtype))
        return
    scope.give(output, cast(scope, scope.codes(x), dtype.name))


def read_fake_quant(scope: Scope, operator: Operator) -> None:
    """Clip to the range that training chose; rounding is left to this project's quantization."""
    options = operator.options
    low, high = float(options.min), float(options.max)
    if not np.isfinite([low, high]).all() or low >= high:
        raise scope.damaged(f"has the range [{low}, {high}]")
    # The range is moved a little so that zero is a code, as in TensorFlow's nudging.
    steps = 2**options.numBits - 1 - bool(options.narrowRange)
    scale = (high - low) / steps
    below = min(max(round(-low / scale), 0), steps)
    bounds = [
        np.array(-below * scale, np.float32),
        np.array((steps - below) * scale, np.float32),
    ]
    x = scope.value(given(operator, 0))
    scope.warnings.append(
        f"FAKE_QUANT '{operator.label}' is read as a clip to its range; its rounding is not applied"
    )
    scope.give(operator.outputs[0], scope.node("Clip", [x, *bounds]))


def read_densify(scope: Scope, operator: Operator) -> None:
    """A sparse constant, which was made dense when its tensor was decoded."""
    array = scope.constant(given(operator, 0))
    if array is None:
        scope.refuse(operator, "its input is no constant", "export the model with dense weights")
    scope.give_constant(operator.outputs[0], array)


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "CAST": read_cast,
        "DENSIFY": read_densify,
        "DEQUANTIZE": read_dequantize,
        "FAKE_QUANT": read_fake_quant,
        "QUANTIZE": read_quantize,
    }
)
