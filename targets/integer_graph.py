"""An integer graph as emitters read it: static shapes, folded constants, meanings of integers.

A target that is not ONNX states every shape. The integer graph may leave some open, or compute them
from others (a Reshape to the shape of another tensor). With the inputs bound, one run on zeros
gives them all, and the values of everything that depends on shapes alone.
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
from intaglio.passes.annotations import get_quantization
from intaglio.passes.dialect.specification import DOMAIN
from intaglio.passes.layout.problem import is_inside
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.operators import sole_consumer
from intaglio.transforms.scales import TensorQuantization

_FLAT_ONLY = "only two-dimensional spatial operators have kernels here"


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
                    f"input '{value.name}' has the open shape {value.shape}, and what is emitted "
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


class IntegerGraph:
    """One channels-last integer graph, being read by an emitter.

    Args:
        model: Integer form, channels last (``layout.to_channels_last``).

    Attributes:
        measured: Its shapes and constants.
    """

    def __init__(self, model: ir.Model) -> None:
        self.measured = Measured(model)
        self._claimed: set[ir.Node] = set()

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """The static shape of a value."""
        return self.measured.shape(value)

    def dtype(self, value: ir.Value) -> str:
        """Numpy name of a value's element type."""
        if value.dtype is None:
            raise InternalError(f"'{value.name}' has no type")
        return str(np.dtype(value.dtype.numpy()).name)

    def array(self, value: ir.Value | None) -> NDArray[Any] | None:
        """The numbers of a constant, None where the value is computed from data."""
        return self.measured.constant(value)

    def numbers(self, value: ir.Value | None) -> NDArray[Any]:
        """The numbers of what must be a constant.

        Raises:
            RefusedError: It is computed from data.
        """
        found = self.array(value)
        if found is None:
            name = "(none)" if value is None else value.name
            raise RefusedError(f"its parameter '{name}' is computed from data")
        return found

    def number(self, value: ir.Value | None) -> int:
        """The one number of a constant."""
        return int(self.numbers(value).reshape(-1)[0])

    def quantization(self, value: ir.Value) -> TensorQuantization:
        """What the integers of a value mean; moved values mean what they did before.

        Raises:
            InternalError: Lowering left no note.
        """
        current: ir.Value | None = value
        while current is not None:
            found = get_quantization(current)
            if found is not None:
                return found
            node = current.producer()
            current = None if node is None or node.domain == DOMAIN else node.inputs[0]
        raise InternalError(f"no quantization is noted for '{value.name}'")

    def claim(self, node: ir.Node) -> None:
        """Says that ``node`` is part of an operator that is being emitted."""
        self._claimed.add(node)

    def is_claimed(self, node: ir.Node) -> bool:
        """Whether ``node`` is part of an operator."""
        return node in self._claimed

    def is_parameter(self, node: ir.Node) -> bool:
        """Whether ``node`` computes a shape or the like, which is a constant in what is emitted."""
        return all(self.array(value) is not None for value in node.outputs)

    def outside(self, value: ir.Value | None) -> ir.Value:
        """What a spatial node reads, in front of the Transpose that belongs to it.

        Raises:
            RefusedError: There is no such Transpose: the operator is not four-dimensional.
        """
        node = None if value is None else value.producer()
        if node is None or not is_inside(node):
            raise RefusedError(
                _FLAT_ONLY, "lift one-dimensional ones to two (canonicalize.normalize_operators)"
            )
        self.claim(node)
        return required(node.inputs[0])

    def behind(self, value: ir.Value) -> ir.Value:
        """The result of a spatial node, behind the Transpose that belongs to it.

        Raises:
            RefusedError: There is no such Transpose: the operator is not four-dimensional.
        """
        node = sole_consumer(self.narrowed(value))
        if node is None or not is_inside(node):
            raise RefusedError(_FLAT_ONLY)
        self.claim(node)
        return self.narrowed(node.outputs[0])

    def narrowed(self, value: ir.Value) -> ir.Value:
        """The result of a move, behind a Cast from int32.

        Moves without an int16 kernel in onnxruntime run on int32; other runtimes' take int16.
        """
        node = sole_consumer(value)
        wide = self.dtype(value) == "int32"
        if not wide or node is None or node.op_type != "Cast":
            return value
        self.claim(node)
        return node.outputs[0]


def required(value: ir.Value | None) -> ir.Value:
    """An input that must be there.

    Raises:
        InternalError: It is left out.
    """
    if value is None:
        raise InternalError("an operand is missing")
    return value
