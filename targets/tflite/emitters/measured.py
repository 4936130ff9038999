"""Shapes and constants of a graph, read off one run of it.

A TFLite file states every shape. The integer graph may leave some open, or compute them from others
(a Reshape to the shape of another tensor). With the inputs bound, one run on zeros gives them all,
and the values of everything that depends on shapes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from intaglio.errors import InternalError
from intaglio.passes.lower.refused import RefusedError


class Measured:
    """Static shapes and folded constants of a model whose first dimension, if open, is 1.

    Args:
        model: A graph that onnxruntime runs.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._batch = {
            str(dim.value)
            for value in model.graph.inputs
            if value.shape is not None and len(value.shape)
            for dim in [value.shape[0]]
            if not isinstance(dim, int) and dim.value is not None
        }
        self._run: dict[str, NDArray[Any]] | None = None
        self._depends: dict[ir.Value, bool] = {}

    def check(self) -> None:
        """Refuses a model with an input whose size is open elsewhere than in the first dimension.

        Raises:
            RefusedError: There is one.
        """
        for value in self._model.graph.inputs:
            if value.shape is None or any(not isinstance(d, int) for d in value.shape[1:]):
                raise RefusedError(
                    f"input '{value.name}' has the open shape {value.shape}, and a TFLite file "
                    "states every size",
                    "bind the symbolic dimensions with --shape NAME=1,3,96,96",
                )

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """The static shape of a value."""
        known = self._known(value)
        return tuple(self._found(value).shape) if known is None else known

    def constant(self, value: ir.Value | None) -> NDArray[Any] | None:
        """The numbers of an initializer, or of what is computed from shapes; None for data."""
        if value is None:
            return None
        if value.const_value is not None and value.producer() is None:
            return np.asarray(value.const_value.numpy())
        return None if self._is_data(value) else self._found(value)

    def _known(self, value: ir.Value) -> tuple[int, ...] | None:
        if value.shape is None:
            return None
        sizes: list[int] = []
        for dim in value.shape:
            if isinstance(dim, int):
                sizes.append(dim)
            elif str(dim.value) in self._batch:
                sizes.append(1)
            else:
                return None
        return tuple(sizes)

    def _is_data(self, value: ir.Value) -> bool:
        """Whether ``value`` depends on the numbers of an input, not only on its shape."""
        if value not in self._depends:
            node = value.producer()
            if node is None:
                self._depends[value] = value.is_graph_input()
            elif node.op_type == "Shape":
                self._depends[value] = False
            else:
                self._depends[value] = any(v is not None and self._is_data(v) for v in node.inputs)
        return self._depends[value]

    def _found(self, value: ir.Value) -> NDArray[Any]:
        if self._run is None:
            self._run = _run(self._model, {v: self._bound(v) for v in self._model.graph.inputs})
        if value.name not in self._run:
            raise InternalError(f"'{value.name}' has no shape")
        return self._run[str(value.name)]

    def _bound(self, value: ir.Value) -> tuple[int, ...]:
        return tuple(d if isinstance(d, int) else 1 for d in value.shape or ())


def _run(model: ir.Model, shapes: dict[ir.Value, Sequence[int]]) -> dict[str, NDArray[Any]]:
    proto = ir.to_proto(model)
    present = {output.name for output in proto.graph.output}
    names = [name for node in proto.graph.node for name in node.output if name]
    proto.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names if n not in present)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {
        str(value.name): np.zeros(shape, value.dtype.numpy() if value.dtype else np.int8)
        for value, shape in shapes.items()
    }
    found = dict(zip(names, session.run(names, feeds), strict=True))
    return {**feeds, **found}
