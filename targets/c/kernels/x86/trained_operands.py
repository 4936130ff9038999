"""Weights that training changes, packed for registers at each call, and biases with their sum.

Filters lie side by side in a register, so pairs of weights are transposed: ``[pair][filter][2]``,
filters padded to whole registers. A run of weights (a row of the kernel) is padded to whole pairs.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from intaglio.targets.c.kernels.base import Array, Function
from intaglio.targets.c.network import TrainedConvolution

PACK = Function(
    "x86_pack_trained",
    """\
/* Weights [filters][runs][length] as pairs [runs][pairs of a run][padded][2]. */
static void x86_pack_trained(const int16_t *weights, size_t filters, size_t padded, size_t runs,
    size_t length, int16_t *packed)
{
    const size_t pairs = (length + 1) / 2;
    size_t filter, run, i;
    for (run = 0; run < runs; run++) {
        for (filter = 0; filter < filters; filter++) {
            const int16_t *from = weights + (filter * runs + run) * length;
            int16_t *to = packed + (run * pairs * padded + filter) * 2;
            for (i = 0; i + 2 <= length; i += 2) {
                memcpy(to, from + i, 2 * sizeof *to);
                to += 2 * padded;
            }
            if (i < length) {
                to[0] = from[i];
                to[1] = 0;
            }
        }
        for (i = 0; filters < padded && i < pairs; i++) {
            memset(packed + ((run * pairs + i) * padded + filters) * 2, 0,
                (padded - filters) * 2 * sizeof *packed);
        }
    }
}""",
)

_BIAS = """\
/* The sum of both parts of the bias; sums fit, and what lies behind count is not used. */
static void x86_trained_bias@suffix@(const @type@ *bias, const int32_t *trained, size_t count,
    size_t padded, @type@ *sum)
{
    size_t i;
    for (i = 0; i < count; i++) {
        sum[i] = bias[i] + trained[i];
    }
    for (; i < padded; i++) {
        sum[i] = 0;
    }
}"""


@dataclasses.dataclass(frozen=True)
class Bias:
    """The bias of a layer.

    Attributes:
        array: The part that does not change, padded.
        pointer: C expression of the whole bias.
        statements: What makes it.
        functions: What they call.
        scratch: Bytes that it takes.
    """

    array: Array
    pointer: str
    statements: list[str]
    functions: tuple[Function, ...]
    scratch: int


def bias_of(layer: TrainedConvolution, padded: int, wide: bool, at: int) -> Bias:
    """The bias as kernels read it.

    Args:
        layer: The layer.
        padded: Filters, padded to whole registers.
        wide: int64, else int32.
        at: Where scratch memory is free, a multiple of 64.
    """
    kind = np.dtype(np.int64 if wide else np.int32)
    bias: NDArray[np.int64] = np.pad(layer.bias, (0, padded - len(layer.bias)))
    array = Array("bias", bias.astype(kind))
    if len(layer.inputs) < 3:
        return Bias(array, "@bias@", [], (), 0)
    suffix, c_type = ("_wide", "int64_t") if wide else ("", "int32_t")
    text = _BIAS.replace("@suffix@", suffix).replace("@type@", c_type)
    function = Function(f"x86_trained_bias{suffix}", text)
    return Bias(
        array,
        "bias",
        [
            f"{c_type} *const bias = ({c_type} *)(void *)(scratch + {at});",
            f"{function.name}(@bias@, x2, {len(layer.bias)}, {padded}, bias);",
        ],
        (function,),
        -(-padded * kind.itemsize // 64) * 64,
    )
