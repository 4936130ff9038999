"""What an operator's lowering gets: one unit of the quantized graph, and access to its inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.lower.builder import Builder, Quantized
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.operators import constant_array, is_constant, is_float
from intaglio.transforms.scales import (
    TensorQuantization,
    activation_quantization,
    weight_quantization,
)

UNBOUNDED = (float("-inf"), float("inf"))


@dataclasses.dataclass
class Constant:
    """A constant float tensor of the quantized graph, with its integers where it has them.

    Attributes:
        real: The real values (float64).
        codes: The integers, None where the constant is a plain float tensor.
        quantization: Their meaning, None likewise.
    """

    real: NDArray[np.float64]
    codes: NDArray[Any] | None = None
    quantization: TensorQuantization | None = None


class Scope:
    """Looks up what the quantized graph's values are in the integer graph.

    Args:
        builder: Where new nodes go.
    """

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.known: dict[ir.Value, Quantized] = {}
        self._constants: dict[ir.Value, Constant] = {}
        self._copies: dict[ir.Value, ir.Value] = {}
        #: Results of operators with several outputs, which are lowered once for all.
        self.parts: dict[ir.Node, list[ir.Value]] = {}

    def give_plain(self, value: ir.Value, copy: ir.Value) -> None:
        """Says that ``copy`` is what :meth:`plain` gives for ``value``."""
        self._copies[value] = copy

    def tensor(self, value: ir.Value | None) -> Quantized:
        """The integers of a computed tensor (the output of a DequantizeLinear).

        Raises:
            RefusedError: It is not quantized.
        """
        if value is not None and value in self.known:
            return self.known[value]
        if value is not None and (constant := self.constant(value)) is not None:
            if constant.codes is None or constant.quantization is None:
                raise RefusedError(
                    f"its constant input '{value.name}' is not quantized",
                    "put QuantizeLinear/DequantizeLinear around it, or convert the float model",
                )
            require_kernel(constant.quantization)
            codes = self.builder.constant(
                constant.codes,
                constant.quantization.dtype,
                f"{value.name}_codes",
                constant.quantization,
            )
            return Quantized(codes, constant.quantization)
        name = value.name if value is not None else "(none)"
        raise RefusedError(
            f"its input '{name}' is not quantized",
            "the operator before it has no integer form, or lies outside the QuantizeLinear/"
            "DequantizeLinear pairs of the file",
        )

    def operand(self, value: ir.Value | None, dtype: str) -> Quantized:
        """Like :meth:`tensor`; a constant that a file leaves in float gets its own range.

        So does one in integers that no kernel takes, such as int32 or a scale for each channel.

        Args:
            value: The operand.
            dtype: Of the integers to write a constant in.
        """
        constant = None if value is None else self.constant(value)
        if value is None or constant is None or has_kernel(constant.quantization):
            return self.tensor(value)
        low, high = float(constant.real.min()), float(constant.real.max())
        meaning = activation_quantization(low, high, dtype)
        return self._written(value, constant, meaning)

    def slope(self, value: ir.Value | None, dtype: str) -> Quantized:
        """Like :meth:`operand`, for a factor: symmetric; int16 where int8 less a zero point is."""
        constant = None if value is None else self.constant(value)
        stated = None if constant is None else constant.quantization
        if value is None or constant is None:
            return self.tensor(value)
        if stated is not None and has_kernel(stated) and stated.zero_point[0] == 0:
            return self.tensor(value)
        if stated is not None and has_kernel(stated) and constant.codes is not None:
            centered = constant.codes.astype(np.int16) - stated.zero_point[0]
            narrow = centered.min(initial=0) >= -128 and centered.max(initial=0) <= 127
            meaning = TensorQuantization("int8" if narrow else "int16", stated.scale, (0,))
            name = f"{value.name}_centered"
            codes = self.builder.constant(centered, meaning.dtype, name, meaning)
            return Quantized(codes, meaning)
        return self._written(value, constant, weight_quantization(constant.real, None, dtype))

    def _written(
        self, value: ir.Value, constant: Constant, meaning: TensorQuantization
    ) -> Quantized:
        codes = meaning.quantize(constant.real)
        return Quantized(
            self.builder.constant(codes, meaning.dtype, f"{value.name}_codes", meaning), meaning
        )

    def constant(self, value: ir.Value | None) -> Constant | None:
        """A constant float tensor, or None where ``value`` is computed."""
        if value is None:
            return None
        if value in self._constants:
            return self._constants[value]
        found = self._read_constant(value)
        if found is not None:
            self._constants[value] = found
        return found

    def _read_constant(self, value: ir.Value) -> Constant | None:
        array = constant_array(value) if is_constant(value) else None
        if array is not None:
            # Integers, too: an exponent of Pow may be one.
            return Constant(array.astype(np.float64)) if array.dtype.kind in "fiu" else None
        producer = value.producer()
        if producer is None or producer.op_type != "DequantizeLinear":
            return None
        codes = constant_array(producer.inputs[0]) if is_constant(producer.inputs[0]) else None
        if codes is None:
            return None
        quantization = read_quantization(producer)
        return Constant(
            quantization.dequantize(codes).astype(np.float64), np.asarray(codes), quantization
        )

    def plain(self, value: ir.Value | None) -> ir.Value | None:
        """A tensor that is not a quantized real (shapes, axes, indices), copied over.

        Computed ones are copied with the operators that compute them.

        Raises:
            RefusedError: It is computed from a real tensor other than by Shape.
        """
        if value is None:
            return None
        if value in self._copies:
            return self._copies[value]
        if is_float(value):
            raise RefusedError(
                f"its parameter '{value.name}' is computed from real numbers",
                "bind the symbolic dimensions with --shape NAME=1,3,96,96",
            )
        array = constant_array(value) if is_constant(value) else None
        if array is not None:
            copy = self.builder.constant(array, array.dtype.name, str(value.name))
        else:
            producer = value.producer()
            if producer is None:
                raise RefusedError(f"its input '{value.name}' is not a quantized tensor")
            if producer.op_type == "Shape":
                inputs: list[ir.Value | None] = [self.tensor(producer.inputs[0]).value]
            else:
                inputs = [self.plain(v) for v in producer.inputs]
            node = ir.Node(
                producer.domain,
                producer.op_type,
                inputs,
                list(producer.attributes.values()),
                num_outputs=len(producer.outputs),
                name=self.builder.reserve(str(producer.name)),
            )
            node.metadata_props.update(producer.metadata_props)
            self.builder.nodes.append(node)
            for old, new in zip(producer.outputs, node.outputs, strict=True):
                new.name = self.builder.reserve(str(old.name))
                new.type, new.shape = old.type, old.shape
                self._copies[old] = new
            return self._copies[value]
        self._copies[value] = copy
        return copy


@dataclasses.dataclass
class Unit:
    """One unit: an operator between DequantizeLinear and QuantizeLinear.

    Attributes:
        node: The operator.
        index: Which of its outputs.
        clamp: Real bounds of the fused Relu or Clip.
        output: Quantization of the result.
        name: Name of the result.
        shape: Shape of the result.
        value: The float value that is quantized (after the clamp).
    """

    node: ir.Node
    index: int
    clamp: tuple[float, float]
    output: TensorQuantization
    name: str
    shape: ir.Shape | None
    value: ir.Value


Lowering = Callable[[Scope, Unit], ir.Value]


def read_quantization(node: ir.Node) -> TensorQuantization:
    """The quantization that a QuantizeLinear or DequantizeLinear states.

    Raises:
        RefusedError: Its scale or zero point is computed, or it is of a kind we do not have.
    """
    scale = constant_array(node.inputs[1])
    zero_value = node.inputs[2] if len(node.inputs) > 2 else None
    zero_point = constant_array(zero_value)
    if scale is None or (zero_value is not None and zero_point is None):
        raise RefusedError("its scale or zero point is not a constant", "use static quantization")
    if zero_point is not None:
        dtype = zero_point.dtype.name
    else:
        integers = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
        known = integers.dtype if integers is not None else None
        dtype = np.dtype(known.numpy()).name if known is not None else "uint8"
        zero_point = np.zeros(scale.shape, dtype)
    if node.attributes.get_int("block_size", 0):
        raise RefusedError("it is quantized in blocks", "use per-tensor or per-channel scales")
    axis = None if scale.size == 1 else node.attributes.get_int("axis", 1)
    try:
        return TensorQuantization(
            dtype,
            tuple(float(s) for s in scale.reshape(-1)),
            tuple(int(z) for z in zero_point.reshape(-1)),
            axis,
        )
    except ValueError as error:
        raise RefusedError(str(error)) from error


def has_kernel(quantization: TensorQuantization | None) -> bool:
    """Whether integer kernels take operands that are quantized so."""
    return (
        quantization is not None
        and quantization.dtype in ("int8", "int16")
        and not quantization.per_channel
        and (quantization.dtype == "int8" or quantization.zero_point[0] == 0)
    )


def require_kernel(quantization: TensorQuantization) -> None:
    """Refuses tensors that are quantized as no integer kernel takes them.

    Raises:
        RefusedError: They are.
    """
    if has_kernel(quantization):
        return
    if quantization.dtype == "int16" and not quantization.per_channel:
        raise RefusedError("an int16 tensor with a zero point has no kernel", "use symmetric int16")
    raise RefusedError(
        f"tensors quantized as {'per-channel ' * quantization.per_channel}{quantization.dtype} "
        "have no integer kernels",
        "use int8 or int16, per tensor",
    )


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """Python value of an attribute, or ``default``."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def static_dims(value: ir.Value | None, axes: Sequence[int], reason: str) -> list[int]:
    """Sizes of some axes of ``value``.

    Args:
        value: The tensor.
        axes: Which axes.
        reason: What needs them, for the message.

    Raises:
        RefusedError: One is symbolic or unknown.
    """
    shape = value.shape if value is not None else None
    sizes = [] if shape is None else [d for a in axes if isinstance(d := shape[a], int)]
    if len(sizes) != len(axes):
        raise RefusedError(
            f"{reason} needs static sizes, '{value.name if value else ''}' is {shape}",
            "bind the symbolic dimensions with --shape NAME=1,3,96,96",
        )
    return sizes
