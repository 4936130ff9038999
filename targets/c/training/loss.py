"""The loss of one sample in C; see transforms/forward_gradient/loss.py."""

from __future__ import annotations

import dataclasses
from string import Template

import numpy as np

from intaglio.targets.c.kernels.base import Array
from intaglio.transforms.forward_gradient.loss import (
    SQUARED_ERROR_LIMIT,
    TABLE_BITS,
    exponential_table,
    fractional_logarithm_table,
)
from intaglio.transforms.forward_gradient.specification import StepSpecification

#: A sum of so many exponentials, each below 2^16, fits 32 bits.
_NARROW_CLASSES = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """The loss in C.

    Attributes:
        function: ``loss(logits, target)`` of one sample, and ``is_known(target)``.
        arrays: Constants it reads, named ``@name@`` in the text.
        targets: Numbers of a sample's target: 1 for a label.
        meaning: What a target is, in words.
    """

    function: str
    arrays: tuple[Array, ...]
    targets: int
    meaning: str


_CROSS_ENTROPY = Template("""\
/*
 * Cross-entropy of base-2 logits with ${bits} fractional bits, in units of 2^-${bits} bit.
 * Exponentials have 15 fractional bits; those of logits below the largest one are shifted.
 */
static int64_t loss(const int32_t *logits, const int32_t *label)
{
    int32_t largest = logits[0];
    ${sum} total = 0;
    uint32_t places = 15;
    int32_t i;
    for (i = 1; i < ${classes}; i++) {
        largest = logits[i] > largest ? logits[i] : largest;
    }
    for (i = 0; i < ${classes}; i++) {
        const uint32_t depth = (uint32_t)largest - (uint32_t)logits[i];
        const uint32_t whole = ${whole};
        total += (uint32_t)@exponentials@[${fraction}] >> (whole < 31u ? whole : 31u);
    }
    while (total >> places > 1u) {
        places++;
    }
    return (int64_t)((places - 15u) << ${bits}) + @logarithms@[total >> (places - 8u) & 255u]
        + (int64_t)((uint32_t)largest - (uint32_t)logits[*label]);
}

static int is_known(const int32_t *label)
{
    return *label >= 0 && *label < ${classes};
}""")

_SQUARED_ERROR = Template("""\
/* Sum of squared differences. */
static int64_t loss(const int32_t *logits, const int32_t *target)
{
    int64_t total = 0;
    int32_t i;
    for (i = 0; i < ${classes}; i++) {
        const int64_t difference = (int64_t)logits[i] - target[i];
        total += difference * difference;
    }
    return total;
}

static int is_known(const int32_t *target)
{
    int32_t i;
    for (i = 0; i < ${classes}; i++) {
        if (target[i] < -${limit} || target[i] > ${limit}) {
            return 0;
        }
    }
    return 1;
}""")


def loss_of(specification: StepSpecification, logits: int) -> Loss:
    """The loss of a specification.

    Args:
        specification: What the step does.
        logits: Numbers that the loss reads of a sample.
    """
    if specification.loss == "mean-squared-error":
        text = _SQUARED_ERROR.substitute(classes=logits, limit=SQUARED_ERROR_LIMIT)
        meaning = f"{logits} numbers in the scale of the logits, as they lie in memory"
        return Loss(text, (), logits, meaning)
    bits = specification.loss_bits
    mask = (1 << bits) - 1
    text = _CROSS_ENTROPY.substitute(
        bits=bits,
        classes=logits,
        sum="uint32_t" if logits <= _NARROW_CLASSES else "uint64_t",
        whole=f"(depth >> {bits}) + ((depth & {mask}u) != 0u)" if bits else "depth",
        fraction=f"(0u - depth) & {mask}u" if bits else "0",
    )
    # Of the exponentials, those of multiples of 2^-bits.
    exponentials = exponential_table()[:: 1 << (TABLE_BITS - bits)]
    arrays = (
        Array("exponentials", exponentials.astype(np.uint16)),
        Array("logarithms", fractional_logarithm_table(bits).astype(np.uint16)),
    )
    return Loss(text, arrays, 1, f"a label, 0 to {logits - 1}")
