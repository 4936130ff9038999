"""Whether a runtime will compute with the multipliers that the graph has.

A TFLite file states float32 scales, and each kernel derives its fixed-point multipliers from them.
The graph has them as constants already. Only where both agree are the bits the same, so every
emitter derives what its kernel will, and refuses the node on a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike, NDArray

from intaglio.passes.lower.builder import rounding_variant
from intaglio.passes.lower.refused import RefusedError
from intaglio.targets.tflite.emitters.scope import Scope
from intaglio.transforms.fixed_point import quantize_multiplier, split_scale
from intaglio.transforms.scales import TensorQuantization


def require_rounding(scope: Scope, node: ir.Node, kind: str, dtype: str) -> None:
    """Refuses a node that rounds otherwise than the kernel of that kind does.

    Args:
        scope: The file, whose profile says how kernels round.
        node: One of our functions that rescales.
        kind: Kind of operator, as profiles name it.
        dtype: Type of its input.

    Raises:
        RefusedError: The graph rounds otherwise.
    """
    wanted = rounding_variant("", scope.profile.rounding(kind, dtype))
    if not node.op_type.endswith(wanted):
        raise RefusedError(
            f"it rounds as {node.op_type}, TFLite's kernel as {wanted.lower()}",
            "keep its input at int8" if dtype == "int16" else "lower for profile tflm or litert",
        )


def expect_scale(
    scope: Scope,
    kind: str,
    constants: Sequence[ir.Value | None],
    factors: Sequence[ArrayLike],
    divisor: float,
) -> None:
    """Refuses a node whose multipliers are not those of ``product of factors / divisor``.

    Args:
        scope: The file, whose profile says in which precision a kernel computes that.
        kind: Kind of operator, as profiles name it.
        constants: Multiplier and shift of the node, 31 bits or (int64) all of float64.
        factors: Scales that are multiplied.
        divisor: Scale that divides.

    Raises:
        RefusedError: They differ.
    """
    real = scope.profile.scale(kind, factors, divisor)
    multiplier, shift = constants
    try:
        if scope.numbers(multiplier).dtype == np.int64:
            expect_fixed(scope, multiplier, shift, *split_scale(real))
            return
        fixed = quantize_multiplier(real)
    except ValueError as error:
        raise RefusedError(str(error)) from error
    expect_fixed(scope, multiplier, shift, fixed.multiplier, fixed.shift)


def expect_multiplier(
    scope: Scope, multiplier: ir.Value | None, shift: ir.Value | None, real: ArrayLike
) -> None:
    """Refuses a node whose multipliers are not those of the real scales ``real`` (float64).

    Raises:
        RefusedError: They differ.
    """
    fixed = quantize_multiplier(np.asarray(real, np.float64))
    expect_fixed(scope, multiplier, shift, fixed.multiplier, fixed.shift)


def expect_fixed(
    scope: Scope,
    multiplier: ir.Value | None,
    shift: ir.Value | None,
    wanted_multiplier: ArrayLike,
    wanted_shift: ArrayLike,
) -> None:
    """Refuses a node whose multipliers are not the given ones.

    Raises:
        RefusedError: They differ.
    """
    pairs = (
        (scope.numbers(multiplier), np.asarray(wanted_multiplier)),
        (scope.numbers(shift), np.asarray(wanted_shift)),
    )
    if not all(_equal(stated, wanted) for stated, wanted in pairs):
        raise RefusedError(
            "TFLite's kernel derives another multiplier from its scales than the graph has",
            "report this as a bug, or lower for another profile (--set lower.profile=...)",
        )


def _equal(stated: NDArray[Any], wanted: NDArray[Any]) -> bool:
    first, second = stated.reshape(-1).astype(np.int64), wanted.reshape(-1).astype(np.int64)
    if 1 not in (first.size, second.size) and first.size != second.size:
        return False
    return bool(np.all(first == second))


def expect_zero_point(
    scope: Scope, value: ir.Value | None, quantization: TensorQuantization
) -> None:
    """Refuses a node that reads integers with another zero point than their tensor states.

    Raises:
        RefusedError: They differ.
    """
    if value is not None and scope.number(value) != quantization.zero_point[0]:
        raise RefusedError(
            "it reads the same integers with another zero point than their tensor has",
            "give the QuantizeLinear and DequantizeLinear the same scale and zero point",
        )


def expect_equal(first: TensorQuantization, second: TensorQuantization) -> None:
    """Refuses a move between two quantizations.

    Raises:
        RefusedError: They differ.
    """
    if first != second:
        raise RefusedError(
            "it moves values between two quantizations",
            "give its input and output the same scale and zero point",
        )
