"""Target ``onnx-integer``: integers alone, the golden reference of every exact artifact.

Standard integer operators and functions of the domain ``intaglio``, whose bodies are standard
integer operators too: onnxruntime inlines and runs them, nothing needs to be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from intaglio.errors import Refusal
from intaglio.passes.lower.integer_only import find_float_tensors
from intaglio.passes.operators import BINARY, MOVES, UNARY
from intaglio.targets.base import Artifact, Capability, Measurement, Prepared, Session, Target
from intaglio.targets.onnx.files import measure_model, write_models
from intaglio.targets.onnx.session import OnnxSession
from intaglio.targets.onnx.stepper import OnnxStepper
from intaglio.targets.training import Stepper

_BOTH = ("int8", "int16")
_TFLITE = "TFLite reference kernels"
_ROUNDED = "float64, rounded once"
#: Element-wise operators that TFLite computes with a formula of their own where they stand alone.
_OWN_KERNELS = {
    "Clip": f"{_TFLITE}: RELU_N1_TO_1, RELU6",
    "HardSwish": f"{_TFLITE}: HARD_SWISH",
    "LeakyRelu": f"{_TFLITE}: LEAKY_RELU",
    "Relu": f"{_TFLITE}: RELU",
}


class OnnxInteger(Target):
    """The integer dialect as a file."""

    name = "onnx-integer"
    prepare = ("lower.shift_unsigned", "lower.to_integer")
    form = "integer"
    exact = True
    trains = True
    step_passes = ("train.build_step",)

    def capabilities(self) -> Sequence[Capability]:
        """The operators of the quantized form that have an integer definition."""
        rows = [
            Capability("Conv", _BOTH, "constant weights", f"{_TFLITE}: CONV_2D, DEPTHWISE_CONV_2D"),
            Capability(
                "ConvTranspose", _BOTH, "2-D, constant weights", f"{_TFLITE}: TRANSPOSE_CONV"
            ),
            Capability(
                "Gemm", _BOTH, "alpha = beta = 1, constant weights", f"{_TFLITE}: FULLY_CONNECTED"
            ),
            Capability(
                "MatMul",
                _BOTH,
                "",
                f"{_TFLITE}: FULLY_CONNECTED, BATCH_MATMUL",
            ),
            Capability("Add, Sub", _BOTH, "", f"{_TFLITE}: ADD, SUB"),
            Capability("Mul", _BOTH, "", f"{_TFLITE}: MUL"),
            Capability(
                "GlobalAveragePool, ReduceMean",
                _BOTH,
                "static reduced dimensions",
                f"{_TFLITE}: MEAN",
            ),
            Capability("AveragePool", _BOTH, "padding not counted", f"{_TFLITE}: AVERAGE_POOL_2D"),
            Capability("PRelu", _BOTH, "constant slopes", f"{_TFLITE}: PRELU"),
            Capability("Softmax", _BOTH, "", f"{_TFLITE}: SOFTMAX"),
            Capability("ReduceSum", _BOTH, "static reduced dimensions", f"{_TFLITE}: SUM"),
            Capability(
                "Max, Min, ReduceMax, ReduceMin, GlobalMaxPool",
                _BOTH,
                "",
                f"{_TFLITE}: MAXIMUM, MINIMUM, REDUCE_MAX, REDUCE_MIN, MAX_POOL_2D",
            ),
            Capability(
                "Resize",
                _BOTH,
                "nearest, or linear over H and W",
                f"{_TFLITE}: RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR",
            ),
        ]
        kept = sorted(MOVES - {"AveragePool", "Resize", "Identity"})
        rows += [Capability(op, _BOTH, "moves values", "ONNX, on integers") for op in kept]
        rows += [
            Capability(op, _BOTH, "one tensor input: a table", _OWN_KERNELS.get(op, _ROUNDED))
            for op in sorted(UNARY)
        ]
        rows += [
            Capability(
                op, _BOTH, "with a scalar constant: part of a table", "float64, rounded once"
            )
            for op in sorted(BINARY)
        ]
        return rows

    def check(self, prepared: Prepared) -> list[Refusal]:
        """Refuses a model in which a float tensor is left."""
        border = any(
            spec.dtype == "float32" for specs in prepared.inputs.values() for spec in specs
        )
        return [
            Refusal(tensor, maker, "a float tensor in an integer model", "report this as a bug")
            for model in prepared.models.values()
            for tensor, maker in find_float_tensors(model, border=border)
        ]

    def emit(self, prepared: Prepared, out: Path) -> list[Artifact]:
        """Writes ``onnx-integer/<role>.onnx``."""
        return write_models(prepared, out, self.name, prepared.profile)

    def open(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Session:
        """Opens the file in onnxruntime."""
        self.check_runtime(artifact, runtime)
        return OnnxSession(folder / artifact.path)

    def open_stepper(self, artifact: Artifact, folder: Path, runtime: str | None = None) -> Stepper:
        """Opens training step and inference in onnxruntime, with shared weights."""
        self.check_runtime(artifact, runtime)
        return OnnxStepper.open(artifact, folder)

    def measure(self, artifact: Artifact, folder: Path) -> list[Measurement]:
        """Bytes and latency."""
        return measure_model(artifact, folder)
