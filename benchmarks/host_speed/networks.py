"""The networks, and the files that each runtime gets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import intaglio
import numpy as np
import onnx
from intaglio.bundle import Bundle

from benchmarks.common import existing
from benchmarks.quantization import peers

_SAMPLES = 2


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of the zoo.

    Attributes:
        title: In words.
        integer: Published int8 file; None where the float file is quantized here.
        float: Float file; the same network, but not always the same training.
        shape: Shape to bind, ``NAME=…`` without the name; empty where all is fixed.
    """

    title: str
    integer: str | None
    float: str
    shape: tuple[int, ...] = ()


NETWORKS = {
    "resnet8": Network("ResNet8 32×32", "ic_resnet8_int8.tflite", "ic_resnet8_float.onnx"),
    "kws": Network(
        "DS-CNN 49×10", "kws_ref_model_int8.tflite", "qualcomm_kws_saved_model_float.tflite"
    ),
    "vww": Network("MobileNetV1-0.25 96×96", "vww_96_int8.tflite", "vww_96_float.onnx"),
    "mobilenet": Network("MobileNetV1-0.25 224×224", None, "mobilenet_v1_0.25_224_float.tflite"),
    "fsrcnn_x4": Network("FSRCNN ×4 320×180", None, "FSRCNN_x4.onnx", (1, 180, 320, 1)),
}


@dataclasses.dataclass(frozen=True)
class Files:
    """What the runtimes get.

    Attributes:
        bundle: Has the emitted C.
        tflite: The int8 file for LiteRT: the published one, or the one emitted beside the C.
        float: Float ONNX file.
        static: The same, quantized by onnxruntime (U8S8, per channel).
    """

    bundle: Bundle
    tflite: Path
    float: Path
    static: Path


def make_files(network: Network, zoo: Path, folder: Path) -> Files:
    """Converts a network for every runtime.

    Ranges have no part in speed, so calibration is on random numbers.

    Args:
        network: The network.
        zoo: Folder of published models.
        folder: Where to write; it must not hold anything yet.

    Raises:
        MissingDataError: A file is not there.
        IntaglioError: It cannot be converted.
    """
    source = existing(zoo / network.float)
    shapes = {_input_of(source): list(network.shape)} if network.shape else None
    quick = ["calibrate.round_weights.enabled=false", "calibrate.correct_bias.enabled=false"]
    made = intaglio.convert(
        source,
        targets=["c", "tflite"],
        out=folder / "float",
        shapes=shapes,
        random_calibration=True,
        sets=quick,
    )
    reference = made.folder / made.artifact("source").path
    samples = np.random.default_rng(0).standard_normal(
        (_SAMPLES, *_shape_of(reference)[1:]), np.float32
    )
    static = peers.quantize(
        "ort-minmax-u8", reference, _input_of(reference), samples, folder / "static.onnx"
    )
    if network.integer is None:
        return Files(made, made.folder / made.artifact("tflite").path, reference, static)
    published = existing(zoo / network.integer)
    bundle = intaglio.convert(published, targets=["c"], out=folder / "integer")
    return Files(bundle, published, reference, static)


def _graph_input(path: Path) -> onnx.ValueInfoProto:
    graph = onnx.load(str(path), load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return next(value for value in graph.input if value.name not in constants)


def _input_of(path: Path) -> str:
    return str(_graph_input(path).name)


def _shape_of(path: Path) -> list[int]:
    return [d.dim_value or 1 for d in _graph_input(path).type.tensor_type.shape.dim]
