"""Builds the integer graph beside the quantized one, value by value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from intaglio.passes.annotations import get_quantization, set_quantization, set_source_value
from intaglio.passes.dialect.functions import DOMAIN, SPECIFICATIONS
from intaglio.passes.lower.refused import RefusedError
from intaglio.passes.provenance import inherit_sources
from intaglio.transforms.fixed_point import (
    MAXIMUM_SHIFT,
    MINIMUM_SHIFT,
    MINIMUM_WIDE_SHIFT,
    Rounding,
    quantize_multiplier,
    split_scale,
)
from intaglio.transforms.profiles import Profile
from intaglio.transforms.scales import TensorQuantization

_SUFFIX = {
    Rounding.DOUBLE: "Double",
    Rounding.SINGLE: "Single",
    Rounding.WIDE: "Wide",
    Rounding.REAL: "Real",
}


@dataclasses.dataclass(frozen=True)
class Quantized:
    """An integer value of the new graph and what its integers mean."""

    value: ir.Value
    quantization: TensorQuantization

    @property
    def dtype(self) -> str:
        """Numpy name of the element type."""
        return self.quantization.dtype

    @property
    def scale(self) -> float:
        """Scale of a per-tensor quantization."""
        return self.quantization.scale[0]

    @property
    def zero_point(self) -> int:
        """Zero point of a per-tensor quantization."""
        return self.quantization.zero_point[0]


class Builder:
    """Collects the nodes and initializers of the integer graph.

    Args:
        profile: The arithmetic whose roundings are used.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self._taken: set[str] = set()
        self._promised: set[str] = set()
        self._constants: dict[Any, ir.Value] = {}
        self._current: Sequence[ir.Node] = ()

    def begin(self, sources: Sequence[ir.Node]) -> None:
        """Says which nodes of the quantized graph the next nodes come from."""
        self._current = sources

    def promise(self, name: str, *, exactly: bool = False) -> str:
        """Takes a name for a value to come; the next :meth:`reserve` of it gets just that name.

        Args:
            name: The wish.
            exactly: The name is the border's own: it stays as it is.

        Returns:
            The name to ask for.
        """
        chosen = name if exactly else self.reserve(name)
        self._taken.add(chosen)
        self._promised.add(chosen)
        return chosen

    def reserve(self, name: str) -> str:
        """Returns ``name``, or ``name_2`` and so on where it is taken, and takes it."""
        if name in self._promised:
            self._promised.remove(name)
            return name
        chosen, number = name, 2
        while chosen in self._taken:
            chosen, number = f"{name}_{number}", number + 1
        self._taken.add(chosen)
        return chosen

    def constant(
        self,
        array: Any,
        dtype: str,
        name: str,
        quantization: TensorQuantization | None = None,
    ) -> ir.Value:
        """An initializer; equal scalars and small vectors are shared.

        Args:
            array: The numbers.
            dtype: numpy name of the element type.
            name: Name to take if none is there yet.
            quantization: What the integers mean, noted on the value; None where they are no reals.

        Returns:
            The initializer's value.
        """
        data = _contiguous(array, dtype)
        key = (data.tobytes(), dtype, data.shape, quantization) if data.size <= 16 else None
        if key is not None and key in self._constants:
            return self._constants[key]
        if data.size == 1 and quantization is None:
            number = str(data.reshape(-1)[0]).replace("-", "minus_")
            name = f"{dtype}_{number}" + ("" if data.ndim == 0 else "_" + "x".join("1" * data.ndim))
        value = self._initializer(data, name, quantization)
        if key is not None:
            self._constants[key] = value
        return value

    def parameter(
        self, array: Any, dtype: str, name: str, quantization: TensorQuantization
    ) -> ir.Value:
        """An initializer that training changes: nobody shares it, its promised name is kept.

        Args:
            array: The numbers.
            dtype: numpy name of the element type.
            name: Its name, promised before.
            quantization: What the integers mean.
        """
        return self._initializer(_contiguous(array, dtype), name, quantization)

    def _initializer(
        self, data: NDArray[Any], name: str, quantization: TensorQuantization | None
    ) -> ir.Value:
        name = self.reserve(name)
        tensor = ir.tensor(data, name=name)
        value = ir.Value(
            name=name,
            shape=ir.Shape(data.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.initializers[name] = value
        if quantization is not None:
            set_quantization(value, quantization)
        return value

    def op(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        dtype: str,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        shape: ir.Shape | None = None,
        outputs: int = 1,
    ) -> list[ir.Value]:
        """Adds a node.

        Args:
            operator: Standard operator, or one of our functions.
            inputs: Its inputs.
            dtype: numpy name of the outputs' element type.
            name: Name of the first output and of the node.
            attributes: Attributes, or ``ir.Attr`` values to copy.
            shape: Shape of the outputs, where known.
            outputs: Number of outputs.

        Returns:
            The outputs.
        """
        domain = "" if operator in _STANDARD else DOMAIN
        stated = dict(attributes or {})
        if domain:
            # Spelled out: not every tool that inlines functions fills in defaults.
            for known in SPECIFICATIONS[operator].attributes:
                if known.default is not None:
                    stated.setdefault(known.name, known.default)
        attrs = []
        for key, value in stated.items():
            attrs.append(
                value
                if isinstance(value, ir.Attr)
                else ir.convenience.convert_attribute(key, value)
            )
        node_name = self.reserve(name)
        node = ir.Node(
            domain, operator, list(inputs), attrs, num_outputs=outputs, name=f"{node_name}"
        )
        for index, value in enumerate(node.outputs):
            value.name = node_name if index == 0 else self.reserve(f"{node_name}_{index}")
            value.type = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
            value.shape = shape
        inherit_sources([node], self._current)
        self.nodes.append(node)
        return list(node.outputs)

    def note(self, value: ir.Value, quantization: TensorQuantization, source: str) -> Quantized:
        """Notes what ``value`` means and which float tensor it stands for."""
        set_quantization(value, quantization)
        set_source_value(value, source)
        return Quantized(value, quantization)

    def multiplier(
        self, scale: Any, name: str, shape: Sequence[int] = (), smallest_shift: int = MINIMUM_SHIFT
    ) -> tuple[ir.Value, ir.Value]:
        """Constants of the fixed-point form of real ``scale`` (float64, broadcast ``shape``)."""
        try:
            fixed = quantize_multiplier(np.asarray(scale, np.float64))
            if fixed.shift.min(initial=MAXIMUM_SHIFT) < smallest_shift:
                limit = 31 - smallest_shift
                raise ValueError(f"scale {np.max(scale):g} is not below 2^{limit}")
        except ValueError as error:
            raise RefusedError(*_too_small(error)) from error
        return (
            self.constant(fixed.multiplier.reshape(tuple(shape)), "int32", f"{name}_multiplier"),
            self.constant(fixed.shift.reshape(tuple(shape)), "int8", f"{name}_shift"),
        )

    def mantissa(self, scale: Any, name: str, shape: Sequence[int]) -> tuple[ir.Value, ir.Value]:
        """Constants of real ``scale`` for RescaleReal: all bits of float64, and their shift."""
        try:
            mantissa, shift = split_scale(np.asarray(scale, np.float64))
        except ValueError as error:
            raise RefusedError(*_too_small(error)) from error
        return (
            self.constant(mantissa.reshape(tuple(shape)), "int64", f"{name}_mantissa"),
            self.constant(shift.reshape(tuple(shape)), "int8", f"{name}_shift"),
        )

    def int32(self, number: int) -> ir.Value:
        """A shared int32 scalar."""
        return self.constant(number, "int32", f"int32_{number}")

    def limits(
        self, output: TensorQuantization, clamp: tuple[float, float]
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Zero point, minimum and maximum of an output whose real values are clamped."""
        low, high = output.clamp_levels(*clamp)
        return self.int32(output.zero_point[0]), self.int32(low), self.int32(high)

    def rescale(
        self,
        accumulator: ir.Value,
        scale: Any,
        rounding: Rounding,
        output: TensorQuantization,
        clamp: tuple[float, float],
        name: str,
        *,
        shape: ir.Shape | None = None,
        channel_shape: Sequence[int] = (),
    ) -> ir.Value:
        """Adds ``clip(accumulator * scale + zero point)`` in the given rounding.

        Args:
            accumulator: int32 or int64.
            scale: Real scale, a number or one per channel.
            rounding: How to round.
            output: Quantization of the result.
            clamp: Real bounds (a fused Relu or Clip), infinite where there are none.
            name: Name of the result.
            shape: Its shape.
            channel_shape: Shape to give per-channel constants, such as ``[C, 1, 1]``.

        Returns:
            The result, of the output's dtype.
        """
        if rounding is Rounding.REAL:
            multiplier, shift = self.mantissa(scale, name, channel_shape)
        else:
            smallest = MINIMUM_WIDE_SHIFT if rounding is Rounding.WIDE else MINIMUM_SHIFT
            multiplier, shift = self.multiplier(scale, name, channel_shape, smallest)
        [result] = self.op(
            rounding_variant("Rescale", rounding),
            [accumulator, multiplier, shift, *self.limits(output, clamp)],
            output.dtype,
            name,
            {"to": onnx_type(output.dtype)},
            shape,
        )
        set_quantization(result, output)
        return result

    def requantize(
        self,
        source: Quantized,
        output: TensorQuantization,
        name: str,
        *,
        clamp: tuple[float, float] = (float("-inf"), float("inf")),
        shape: ir.Shape | None = None,
        kind: str = "requantize",
    ) -> ir.Value:
        """Writes ``source`` in another quantization (TFLite's QUANTIZE, or RELU)."""
        if get_quantization(source.value) is None:
            set_quantization(source.value, source.quantization)
        difference = self.centered(source, name)
        rounding = self.profile.rounding(kind, source.dtype)
        scale = self.profile.scale(kind, (source.scale,), output.scale[0])
        return self.rescale(difference, scale, rounding, output, clamp, name, shape=shape)

    def centered(self, source: Quantized, name: str) -> ir.Value:
        """``q - zero point`` in int32."""
        [wide] = self.op(
            "Cast", [source.value], "int32", f"{name}_int32", {"to": onnx_type("int32")}
        )
        if source.zero_point == 0:
            return wide
        zero_point = self.int32(source.zero_point)
        [difference] = self.op("Sub", [wide, zero_point], "int32", f"{name}_centered")
        return difference

    def int16(self, source: Quantized, name: str) -> Quantized:
        """``source`` as int16, which holds every int8 number exactly (in steps of 1/128)."""
        if source.dtype == "int16":
            return source
        target = TensorQuantization("int16", (source.scale / 128.0,), (0,))
        shape = source.value.shape
        return Quantized(self.requantize(source, target, f"{name}_int16", shape=shape), target)


def _too_small(error: ValueError) -> tuple[str, str]:
    return (
        f"its output range is far too small for its inputs ({error})",
        "calibrate with data that the layer answers to, or remove the dead layer",
    )


def _contiguous(array: Any, dtype: str) -> NDArray[Any]:
    flat = np.ascontiguousarray(np.asarray(array, dtype=dtype))
    return np.asarray(flat.reshape(np.shape(array)))


def onnx_type(dtype: str) -> int:
    """ONNX element type number of a numpy dtype name."""
    return int(ir.DataType.from_numpy(np.dtype(dtype)))


def rounding_variant(operator: str, rounding: Rounding) -> str:
    """Name of the function of the dialect that does ``operator`` with ``rounding``."""
    return operator + _SUFFIX[rounding]


_STANDARD = frozenset(
    {
        "Add",
        "Cast",
        "Concat",
        "ConvInteger",
        "DepthToSpace",
        "DequantizeLinear",
        "Div",
        "Expand",
        "Flatten",
        "Gather",
        "MatMulInteger",
        "Max",
        "MaxPool",
        "Mul",
        "Pad",
        "QuantizeLinear",
        "Reshape",
        "Resize",
        "Shape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Sub",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
