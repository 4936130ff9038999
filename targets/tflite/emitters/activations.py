"""The clamp at the end of a kernel: a fused activation where TFLite has one, else operators."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from intaglio.targets.tflite.emitters.options import options
from intaglio.targets.tflite.emitters.scope import Scope
from intaglio.targets.tflite.resolver import MICRO_PROFILE
from intaglio.targets.tflite.schema import schema
from intaglio.transforms.profiles import Profile
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.tables import round_half_away

Limits = tuple[int, int]

NONE = schema.ActivationFunctionType.NONE
_INFINITY = float("inf")
#: Real bounds of the activations that kernels fuse, the plainest first.
_FUSED = {
    schema.ActivationFunctionType.NONE: (-_INFINITY, _INFINITY),
    schema.ActivationFunctionType.RELU: (0.0, _INFINITY),
    schema.ActivationFunctionType.RELU6: (0.0, 6.0),
    schema.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
}


class Relu(NamedTuple):
    """An operator that clamps, alone.

    Attributes:
        operator: Its name.
        activation: The fused activation of the same bounds.
        versions: For int8 and int16.
    """

    operator: str
    activation: int
    versions: tuple[int, int]

    def rescales(self, profile: Profile) -> bool:
        """Whether it also brings its input to another scale; TFLite Micro's RELU6 does not."""
        return self.operator == "RELU" or profile.name != MICRO_PROFILE


RELUS = (
    Relu("RELU", schema.ActivationFunctionType.RELU, (2, 3)),
    Relu("RELU6", schema.ActivationFunctionType.RELU6, (2, 3)),
    Relu("RELU_N1_TO_1", schema.ActivationFunctionType.RELU_N1_TO_1, (1, 1)),
)


def activation_limits(activation: int, quantization: TensorQuantization) -> Limits:
    """Smallest and largest integer under a fused activation.

    TFLite's CalculateActivationRangeQuantized: the bound over the scale in float32, rounded half
    away from zero.
    """
    low, high = _FUSED[activation]
    bounds = [quantization.minimum, quantization.maximum]
    for index, real in enumerate((low, high)):
        if np.isfinite(real):
            steps = round_half_away(np.float32(real) / np.float32(quantization.scale[0]))
            level = int(steps) + quantization.zero_point[0]
            bounds[index] = max(bounds[0], level) if index == 0 else min(bounds[1], level)
    return bounds[0], bounds[1]


def fused_activation(limits: Limits, quantization: TensorQuantization) -> int | None:
    """The activation that clamps to ``limits``, or None."""
    return next((code for code in _FUSED if activation_limits(code, quantization) == limits), None)


class Ending:
    """The result of a kernel with its clamp.

    Args:
        scope: The file.
        value: The result.
        limits: Smallest and largest integer; None where nothing is clamped.
        fuses: Whether the operator has a fused activation.

    Attributes:
        target: Tensor that the operator writes.
        activation: Its fused activation.
    """

    def __init__(
        self, scope: Scope, value: ir.Value, limits: Limits | None, *, fuses: bool = True
    ) -> None:
        self._scope, self._value = scope, value
        self._quantization = scope.quantization(value)
        whole = (self._quantization.minimum, self._quantization.maximum)
        self._limits = limits or whole
        fused = fused_activation(self._limits, self._quantization) if fuses else None
        self.activation: int = NONE if fused is None else fused
        self._rest = self._limits != whole and fused is None
        self.target = self._unclamped() if self._rest else scope.result(value)

    def finish(self) -> None:
        """Appends what clamps the result, where the operator does not."""
        if self._rest:
            clamp(self._scope, self.target, self._value, self._limits)

    def _unclamped(self) -> int:
        scope, value = self._scope, self._value
        name, shape = f"{value.name}_unclamped", scope.shape(value)
        return scope.intermediate(name, shape, self._quantization, self._quantization.dtype)


def clamp(scope: Scope, source: int, value: ir.Value, limits: Limits) -> None:
    """Appends MAXIMUM and MINIMUM with constants.

    Args:
        scope: The file.
        source: Tensor with the quantization of ``value``.
        value: The clamped result.
        limits: Smallest and largest integer.
    """
    meaning = scope.quantization(value)
    steps = [
        (operator, limit)
        for operator, limit, bound in (
            ("MAXIMUM", limits[0], meaning.minimum),
            ("MINIMUM", limits[1], meaning.maximum),
        )
        if limit != bound
    ]
    for position, (operator, limit) in enumerate(steps):
        bound = np.full((1,) * len(scope.shape(value)), limit, meaning.numpy_dtype)
        constant = scope.constant(f"{value.name}_{operator.lower()}", bound, meaning)
        if position == len(steps) - 1:
            target = scope.result(value)
        else:
            name = f"{value.name}_{position}"
            target = scope.intermediate(name, scope.shape(value), meaning, meaning.dtype)
        version = 4 if meaning.dtype == "int16" else 2
        inputs = [source, constant]
        scope.operator(operator, inputs, [target], options("MaximumMinimumOptions"), version)
        source = target
