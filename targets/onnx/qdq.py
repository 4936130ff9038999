"""Target ``onnx-qdq``: QuantizeLinear/DequantizeLinear around float operators.

The fast form for onnxruntime, which fuses the pairs into its QLinear kernels. Its arithmetic is
``float``: within about one LSB of the integer form, operator by operator.

It also holds what recipe ``tabulate`` makes: the source's own float operators around tables. That
arithmetic is called ``source``, since every output must be the source's, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from intaglio.errors import Refusal
from intaglio.targets.base import (
    SOURCE_ARITHMETIC,
    TABLES,
    Artifact,
    Capability,
    Measurement,
    Prepared,
    Session,
    Target,
)
from intaglio.targets.onnx.files import measure_model, write_models
from intaglio.targets.onnx.session import OnnxSession

_SOURCE = "ONNX operator specification, opset 21"


class OnnxQdq(Target):
    """Plain ONNX in the quantized form."""

    name = "onnx-qdq"
    form = "quantized"
    exact = False

    def capabilities(self) -> Sequence[Capability]:
        """Any standard operator: it stays in float between the pairs."""
        dtypes = ("int8", "uint8", "int16", "int32")
        return [
            Capability("QuantizeLinear", dtypes, "per tensor or per channel", _SOURCE),
            Capability("DequantizeLinear", dtypes, "per tensor or per channel", _SOURCE),
            Capability("any standard operator", ("float32",), "between the pairs", _SOURCE),
            Capability("AdditiveLut", ("int8", "uint8"), "recipe tabulate", "its function body"),
        ]

    def check(self, prepared: Prepared) -> list[Refusal]:
        """Refuses the integer form, which has no QuantizeLinear to emit."""
        if prepared.form in (self.form, TABLES):
            return []
        return [
            Refusal(
                "(model)",
                "recipe",
                "the recipe ends in the integer form, which onnx-qdq cannot express",
                "use --target onnx-integer",
            )
        ]

    def emit(self, prepared: Prepared, out: Path) -> list[Artifact]:
        """Writes ``onnx-qdq/<role>.onnx``."""
        arithmetic = SOURCE_ARITHMETIC if prepared.form == TABLES else "float"
        return write_models(prepared, out, self.name, arithmetic)

    def open(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Session:
        """Opens the file in onnxruntime."""
        self.check_runtime(artifact, runtime)
        return OnnxSession(folder / artifact.path)

    def measure(self, artifact: Artifact, folder: Path) -> list[Measurement]:
        """Bytes and latency."""
        return measure_model(artifact, folder)
