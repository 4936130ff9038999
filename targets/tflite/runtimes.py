"""Which runtimes for TFLite files are installed, and what each computes.

``arithmetic`` is a profile where the runtime computes that profile's integers bit for bit, and
``float`` where it multiplies by float scales. Only equal profiles must agree in every bit.

``tflite-2.14`` is no profile of ours: the reference kernels of tflite-runtime 2.14 compute what
profile ``tflm`` says, but derive the multiplier of FULLY_CONNECTED from the float32 product of the
two scales (TFLite Micro: float64). Of 8,192,000 measured outputs of a ten-layer perceptron 14
differed, by 1 LSB; no inner tensor of six int8 models did.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from types import MappingProxyType


@dataclasses.dataclass(frozen=True)
class TfliteRuntime:
    """A runtime for TFLite files.

    Attributes:
        name: As in ``--runtime``.
        module: The package that must be importable.
        arithmetic: A profile, ``tflite-2.14``, or ``float``.
        install: How to get it.
    """

    name: str
    module: str
    arithmetic: str
    install: str


_RUNTIMES = MappingProxyType(
    {
        runtime.name: runtime
        for runtime in (
            TfliteRuntime("tflm", "tflite_micro", "tflm", "pip install 'intaglio[tflm]'"),
            TfliteRuntime(
                "litert-reference", "ai_edge_litert", "litert", "pip install ai-edge-litert"
            ),
            TfliteRuntime(
                "tflite-runtime",
                "tflite_runtime",
                "tflite-2.14",
                "pip install tflite-runtime 'numpy<2' (Python 3.11 at most)",
            ),
            TfliteRuntime("litert", "ai_edge_litert", "float", "pip install ai-edge-litert"),
        )
    }
)


def known_runtimes() -> tuple[TfliteRuntime, ...]:
    """Every runtime that intaglio can drive, installed or not."""
    return tuple(_RUNTIMES.values())


def installed_runtimes() -> tuple[str, ...]:
    """Names of the runtimes installed here; imports none of them."""
    return tuple(name for name, found in _RUNTIMES.items() if _is_installed(found.module))


def runtimes_for(profile: str) -> list[tuple[str, str]]:
    """The runtimes installed here for files of a profile, the one to prefer first.

    Args:
        profile: Arithmetic profile of the file (``tflm``, ``litert``), or ``float``.

    Returns:
        Pairs of the runtime's name and the arithmetic it computes on integer models: exact ones
        of the profile come first, then those of other profiles, then ``float``.
    """
    pairs = [(name, _RUNTIMES[name].arithmetic) for name in installed_runtimes()]
    return sorted(pairs, key=lambda pair: (pair[1] != profile, pair[1] == "float"))


def get_runtime(name: str) -> TfliteRuntime | None:
    """The runtime of this name, None where there is none."""
    return _RUNTIMES.get(name)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
