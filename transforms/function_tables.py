"""What a runtime computes for one function of one tensor: the kernel that a profile names.

One place for the lowering, which writes these numbers into the graph, and for targets, which look
for the operator that computes the numbers they find.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.transforms import float32_functions as narrow
from intaglio.transforms.kernel_tables import abs_table, hard_swish_table, leaky_relu_table
from intaglio.transforms.logistic import (
    LOGISTIC_OUTPUT,
    TANH_OUTPUT,
    logistic_table,
    tanh_table,
)
from intaglio.transforms.profiles import Profile
from intaglio.transforms.scales import TensorQuantization
from intaglio.transforms.tables import RealFunction, table_int8_float32, table_int16

#: ONNX operator to its name in :data:`intaglio.transforms.profiles.FUNCTION_KERNELS`.
_FUNCTIONS = {
    "Sigmoid": "logistic",
    "Tanh": "tanh",
    "Elu": "elu",
    "Gelu": "gelu",
    "Exp": "exp",
    "Log": "log",
}


def function_table(
    operator: str,
    attributes: Mapping[str, Any],
    input_q: TensorQuantization,
    output_q: TensorQuantization,
    profile: Profile,
) -> NDArray[Any] | None:
    """The 256 results of a runtime's kernel for one int8 operator.

    Args:
        operator: ONNX name, such as ``Sigmoid`` or ``LeakyRelu``.
        attributes: of the node.
        input_q: int8, per tensor.
        output_q: int8, per tensor.
        profile: whose kernel.

    Returns:
        256 entries, indexed by ``q + 128``; None where the runtime has no kernel of its own for
        it, or only for another output scale.

    Raises:
        ValueError: the scales are beyond what the kernel holds.
    """
    if operator == "LeakyRelu":
        return leaky_relu_table(
            input_q,
            output_q,
            float(attributes.get("alpha", 0.01)),
            profile.rounding("leaky_relu"),
            "leaky_relu" in profile.narrow,
        )
    if operator == "Abs":
        return abs_table(input_q, output_q, profile.rounding("abs"), "abs" in profile.narrow)
    if operator == "HardSwish":
        return hard_swish_table(input_q, output_q)
    kernel = profile.kernel(_FUNCTIONS[operator]) if operator in _FUNCTIONS else "rounded"
    if kernel == "fixed_point":
        fixed, table = (
            (LOGISTIC_OUTPUT, logistic_table)
            if operator == "Sigmoid"
            else (TANH_OUTPUT, tanh_table)
        )
        wanted = (output_q.scale[0], output_q.zero_point[0])
        return table(input_q) if wanted == fixed else None
    function = runtime_function(operator, attributes, output_q, kernel)
    return None if function is None else table_int8_float32(function, input_q, output_q)


def function_table_int16(
    operator: str,
    attributes: Mapping[str, Any],
    input_q: TensorQuantization,
    output_q: TensorQuantization,
    profile: Profile,
) -> NDArray[np.int16] | None:
    """The 513 entries that a runtime's kernel interpolates for one int16 operator.

    Args, result and errors are those of :func:`function_table`, for int16.
    """
    if operator not in _FUNCTIONS:
        return None
    kernel = profile.kernel(_FUNCTIONS[operator], "int16")
    function = runtime_function(operator, attributes, output_q, kernel)
    return None if function is None else table_int16(function, input_q, output_q)


def runtime_function(
    operator: str, attributes: Mapping[str, Any], output_q: TensorQuantization, kernel: str
) -> RealFunction | None:
    """The real function that a runtime tabulates, with its float32 roundings.

    Args:
        operator: ONNX name.
        attributes: of the node.
        output_q: of the result: LOG of what has no logarithm is the smallest of it.
        kernel: of the profile for this function.

    Returns:
        The function, None where the kernel tabulates none.
    """
    if operator == "Elu" and float(attributes.get("alpha", 1.0)) != 1.0:
        return None
    if kernel == "exp_minus_one":
        return narrow.elu_exp_minus_one
    if kernel != "table":
        return None
    if operator == "Gelu":
        approximate = attributes.get("approximate", "none") == "tanh"
        return narrow.gelu_tanh if approximate else narrow.gelu
    if operator == "Log":
        lowest = np.float32(output_q.minimum - output_q.zero_point[0])
        return narrow.log_above(float(lowest * np.float32(output_q.scale[0])))
    return {"Sigmoid": narrow.sigmoid, "Tanh": narrow.tanh, "Elu": narrow.elu, "Exp": narrow.exp}[
        operator
    ]
