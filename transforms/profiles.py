"""Arithmetic profiles: which rounding a runtime uses for which kind of operator.

"int8 inference" is not one arithmetic. Runtimes agree on the quantization scheme and differ in how
they round, and one runtime may round differently from operator to operator. A profile is that
table, as data, with the version of the runtime that it was read from; tests compare it with the
runtime that is installed. An integer graph states the profile it was lowered for, and is exact on
every runtime of that profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from intaglio.transforms.fixed_point import Rounding

#: Kinds of operators whose kernels rescale.
KINDS: tuple[str, ...] = (
    "conv",
    "depthwise_conv",
    "conv_transpose",
    "fully_connected",
    "add",
    "mul",
    "mean",
    "requantize",
    "prelu",
    "leaky_relu",
    "softmax",
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
    """

    name: str
    description: str
    roundings: Mapping[str, Rounding]
    version_read: str
    int16_roundings: Mapping[str, Rounding]

    def __post_init__(self) -> None:
        for field in ("roundings", "int16_roundings"):
            table = dict(getattr(self, field))
            if set(table) != set(KINDS):
                raise ValueError(f"{field} of profile {self.name!r} must name exactly {KINDS}")
            object.__setattr__(self, field, MappingProxyType(table))

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


def _table(default: Rounding, **exceptions: Rounding) -> dict[str, Rounding]:
    return {kind: exceptions.get(kind, default) for kind in KINDS}


# The 64-bit overload of MultiplyByQuantizedMultiplier is used by the convolutions only; a fully
# connected layer narrows its int64 accumulator and rounds once.
_TFLITE_INT16 = _table(
    Rounding.DOUBLE,
    conv=Rounding.WIDE,
    depthwise_conv=Rounding.WIDE,
    conv_transpose=Rounding.WIDE,
    fully_connected=Rounding.SINGLE,
)

#: Profile name to profile.
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                name="tflm",
                description="TensorFlow Lite Micro, TOSA with double rounding, and our C",
                roundings=_table(Rounding.DOUBLE),
                version_read="TensorFlow Lite Micro reference kernels, default build",
                int16_roundings=_TFLITE_INT16,
            ),
            Profile(
                name="litert",
                description="reference kernels of LiteRT (OpResolverType.BUILTIN_REF)",
                roundings=_table(Rounding.DOUBLE, fully_connected=Rounding.SINGLE),
                version_read="LiteRT 2.3",
                int16_roundings=_TFLITE_INT16,
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
