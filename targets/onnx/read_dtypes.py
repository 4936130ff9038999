"""One float type: models in float16, bfloat16 or float64 become float32.

Calibration and quantization need about 24 bits of mantissa and nothing more. Every float16 and
bfloat16 number is a float32 number; of float64 weights the last 29 bits are dropped, far below
the step of any integer type. Inputs and outputs become float32 as well.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from intaglio.errors import InputError
from intaglio.passes.marks import NARROWED_KEY

_OTHER_FLOATS: dict[int, str] = {
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.BFLOAT16: "bfloat16",
    onnx.TensorProto.DOUBLE: "float64",
}


def to_float32(model: onnx.ModelProto) -> None:
    """Turns every float tensor of the model into float32, in place.

    The former types are noted in the model's metadata.

    Raises:
        InputError: A weight is too large for float32.
    """
    found: set[str] = set()
    graph = model.graph
    for value in [*graph.input, *graph.output, *graph.value_info]:
        kind = value.type.tensor_type
        if kind.elem_type in _OTHER_FLOATS:
            found.add(_OTHER_FLOATS[kind.elem_type])
            kind.elem_type = onnx.TensorProto.FLOAT
    for tensor in graph.initializer:
        _narrow(tensor, found)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _narrow(attribute.t, found)
            if attribute.name in ("to", "dtype", "output_dtype") and attribute.i in _OTHER_FLOATS:
                attribute.i = onnx.TensorProto.FLOAT
    if found:
        entry = model.metadata_props.add()
        entry.key, entry.value = NARROWED_KEY, ", ".join(sorted(found))


def _narrow(tensor: onnx.TensorProto, found: set[str]) -> None:
    if tensor.data_type not in _OTHER_FLOATS:
        return
    found.add(_OTHER_FLOATS[tensor.data_type])
    wide = np.asarray(numpy_helper.to_array(tensor))
    with np.errstate(over="ignore"):
        array = wide.astype(np.float32)
    if np.isinf(array).any() and not np.isinf(wide.astype(np.float64)).any():
        raise InputError(
            f"initializer '{tensor.name}' holds numbers too large for float32",
            remedy="rescale the model before converting it",
        )
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
