"""Arithmetic profiles: which rounding a runtime uses for which kind of operator.

"int8 inference" is not one arithmetic. Runtimes agree on the quantization scheme and differ in how
they round, and one runtime may round differently from operator to operator. A profile is that
table, as data, with the version of the runtime that it was read from; tests compare it with the
runtime that is installed. An integer graph states the profile it was lowered for, and is exact on
every runtime of that profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from intaglio.transforms.fixed_point import Rounding

#: Kinds of operators whose kernels rescale.
KINDS: tuple[str, ...] = (
    "conv",
    "depthwise_conv",
    "conv_transpose",
    "fully_connected",
    "batch_matmul",
    "add",
    "mul",
    "mean",
    "sum",
    "requantize",
    "relu",
    "prelu",
    "leaky_relu",
    "abs",
    "softmax",
)

#: Functions that runtimes compute each in their own way, and the ways there are; the first is what
#: a profile means that names none:
#:
#: * ``rounded``: the real function, rounded once for each 8-bit input or each end of a segment;
#: * ``table``: the same in float32, step by step, as TensorFlow Lite fills its tables;
#: * ``fixed_point``: gemmlowp's integer function for 8 bits, an interpolated sigmoid for 16;
#: * ``exp_minus_one``: ``exp(x) - 1`` in float32;
#: * ``float64_tables``, ``float32_tables``: precision of the tables of the 16-bit softmax.
FUNCTION_KERNELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "logistic": ("rounded", "table", "fixed_point"),
        "tanh": ("rounded", "table", "fixed_point"),
        "elu": ("rounded", "table", "exp_minus_one"),
        "gelu": ("rounded", "table"),
        "exp": ("rounded", "table"),
        "log": ("rounded", "table"),
        "softmax": ("float64_tables", "float32_tables"),
    }
)

DEFAULT_PROFILE = "tflm"


@dataclass(frozen=True)
class Profile:
    """The arithmetic of one family of runtimes.

    Attributes:
        name: as users and manifests write it.
        description: one sentence for lists and reports.
        roundings: kind of operator to rounding, for 8-bit activations.
        version_read: the runtime and version that the table was read from.
        int16_roundings: the same for int16 activations with int8 weights and int64 bias.
        narrow: kinds whose real scale the runtime computes in float32, the others in float64.
        narrow_product: kinds whose factors it multiplies in float32 and divides in float64.
        kernels: how it computes the functions of :data:`FUNCTION_KERNELS` of 8-bit tensors.
        int16_kernels: the same for 16-bit tensors.
    """

    name: str
    description: str
    roundings: Mapping[str, Rounding]
    version_read: str
    int16_roundings: Mapping[str, Rounding]
    narrow: frozenset[str] = frozenset()
    narrow_product: frozenset[str] = frozenset()
    kernels: Mapping[str, str] = field(default_factory=dict)
    int16_kernels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.narrow | self.narrow_product <= set(KINDS):
            raise ValueError(f"narrow of profile {self.name!r} must be some of {KINDS}")
        for which in ("kernels", "int16_kernels"):
            chosen = dict(getattr(self, which))
            if any(kernel not in FUNCTION_KERNELS.get(name, ()) for name, kernel in chosen.items()):
                raise ValueError(f"{which} of profile {self.name!r}: {chosen} names no kernel")
            object.__setattr__(self, which, MappingProxyType(chosen))
        for which in ("roundings", "int16_roundings"):
            table = dict(getattr(self, which))
            if set(table) != set(KINDS):
                raise ValueError(f"{which} of profile {self.name!r} must name exactly {KINDS}")
            object.__setattr__(self, which, MappingProxyType(table))

    def rounding(self, kind: str, activation_dtype: str = "int8") -> Rounding:
        """The rounding of one kind of operator.

        Args:
            kind: one of :data:`KINDS`.
            activation_dtype: ``int8``, ``uint8`` or ``int16``.

        Returns:
            The rounding its kernel uses.

        Raises:
            ValueError: no such kind or activation type.
        """
        if activation_dtype in ("int8", "uint8"):
            table = self.roundings
        elif activation_dtype == "int16":
            table = self.int16_roundings
        else:
            raise ValueError(f"no arithmetic for {activation_dtype!r} activations")
        if kind not in table:
            raise ValueError(f"unknown operator kind {kind!r}; known: {', '.join(KINDS)}")
        return table[kind]

    def scale(
        self, kind: str, factors: Sequence[ArrayLike], divisor: ArrayLike
    ) -> NDArray[np.float64]:
        """The real scale of a rescale, in the precision in which the runtime computes it.

        Args:
            kind: one of :data:`KINDS`.
            factors: float32 scales that are multiplied, from the left; they broadcast.
            divisor: float32 scale of the output.

        Returns:
            ``product of factors / divisor``: float64, exact to that precision.
        """
        dtype = np.float32 if kind in self.narrow | self.narrow_product else np.float64
        with np.errstate(over="ignore", under="ignore"):
            product = np.asarray(factors[0], dtype)
            for factor in factors[1:]:
                product = product * np.asarray(factor, dtype)
            if kind in self.narrow_product:
                product, dtype = product.astype(np.float64), np.float64
            return np.asarray(product / np.asarray(divisor, dtype)).astype(np.float64)

    def kernel(self, function: str, activation_dtype: str = "int8") -> str:
        """How a function of :data:`FUNCTION_KERNELS` is computed.

        Args:
            function: its name there.
            activation_dtype: ``int8``, ``uint8`` or ``int16``.

        Returns:
            The kernel's name; the first of them where the profile names none.
        """
        table = self.int16_kernels if activation_dtype == "int16" else self.kernels
        return table.get(function, FUNCTION_KERNELS[function][0])


def _table(default: Rounding, **exceptions: Rounding) -> dict[str, Rounding]:
    return {kind: exceptions.get(kind, default) for kind in KINDS}


# The 64-bit overload of MultiplyByQuantizedMultiplier is used by everything that sums in int64.
_TFLITE_INT16 = {
    "conv": Rounding.WIDE,
    "depthwise_conv": Rounding.WIDE,
    "conv_transpose": Rounding.WIDE,
    "batch_matmul": Rounding.WIDE,
}

_INT16_KERNELS = {"logistic": "fixed_point", "tanh": "fixed_point"}
_LITERT_TABLES = dict.fromkeys(("gelu", "exp", "log"), "table")

#: Profile name to profile.
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                name="tflm",
                description="TensorFlow Lite Micro, TOSA with double rounding, and our C",
                roundings=_table(Rounding.DOUBLE),
                version_read="TensorFlow Lite Micro reference kernels, default build of 2026-10-23",
                int16_roundings=_table(
                    Rounding.DOUBLE, **_TFLITE_INT16, fully_connected=Rounding.WIDE
                ),
                kernels={"logistic": "fixed_point", "tanh": "fixed_point", "elu": "exp_minus_one"},
                int16_kernels={**_INT16_KERNELS, "softmax": "float32_tables"},
            ),
            Profile(
                name="litert",
                description="reference kernels of LiteRT (OpResolverType.BUILTIN_REF)",
                roundings=_table(Rounding.DOUBLE, fully_connected=Rounding.REAL),
                version_read="LiteRT 2.3.0",
                int16_roundings=_table(
                    Rounding.DOUBLE, **_TFLITE_INT16, fully_connected=Rounding.REAL
                ),
                narrow=frozenset({"mul", "relu", "prelu", "leaky_relu", "abs"}),
                narrow_product=frozenset({"batch_matmul"}),
                kernels={"logistic": "table", "tanh": "table", "elu": "table", **_LITERT_TABLES},
                int16_kernels={**_INT16_KERNELS, **_LITERT_TABLES},
            ),
            Profile(
                name="tosa-single",
                description="TOSA with single rounding, and TensorFlow Lite Micro built so",
                roundings=_table(Rounding.SINGLE),
                version_read="TOSA 1.0 specification, RESCALE with SINGLE_ROUND",
                # Accumulators of int16 inputs are 48 bits wide in TOSA, and RESCALE takes those
                # with a 16-bit multiplier only.
                int16_roundings=_table(
                    Rounding.SINGLE,
                    conv=Rounding.WIDE,
                    depthwise_conv=Rounding.WIDE,
                    conv_transpose=Rounding.WIDE,
                    fully_connected=Rounding.WIDE,
                    batch_matmul=Rounding.WIDE,
                ),
            ),
        )
    }
)


def get_profile(name: str) -> Profile:
    """Look a profile up by name.

    Args:
        name: a key of :data:`PROFILES`.

    Returns:
        The profile.

    Raises:
        ValueError: there is none of that name; the message lists those there are.
    """
    if name not in PROFILES:
        raise ValueError(f"unknown arithmetic profile {name!r}; known: {', '.join(PROFILES)}")
    return PROFILES[name]
