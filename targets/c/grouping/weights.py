"""int16 weights and their biases, in the order in which a layer reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from intaglio.passes.annotations import get_quantization
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.c.grouping.reader import Reader
from intaglio.targets.c.network import Tensor, Variable


def read_weights(
    reader: Reader, value: ir.Value | None, permutation: Sequence[int], shape: Sequence[int]
) -> Tensor:
    """The tensor of weights.

    Args:
        reader: The reader; what training changes is noted there as a variable.
        value: Weights in the graph's layout: constants, or what training changes.
        permutation: Axes of the graph's layout in the order of the layer's.
        shape: Sizes in the layer's layout.

    Raises:
        RefusedError: Two layers want the same weights in different orders.
    """
    found = reader.variable(value)
    if found is None:
        array = np.ascontiguousarray(reader.numbers(value).transpose(permutation))
        name = "weights" if value is None else str(value.name)
        return Tensor(name, tuple(shape), "int16", data=array.astype(np.int16).reshape(shape))
    name, dtype = str(found.name), reader.dtype(found)
    if name not in reader.variables:
        noted = get_quantization(found)
        tensor = Tensor(name, tuple(shape), dtype, 0.0 if noted is None else noted.scale[0])
        reader.variables[name] = Variable(tensor, tuple(permutation), reader.shape(found))
    known = reader.variables[name]
    if known.permutation != tuple(permutation) or known.tensor.shape != tuple(shape):
        raise RefusedError(
            f"another layer reads the trained weights '{name}' in another order",
            "give each layer weights of its own",
        )
    return known.tensor
