"""Models cut in two for measuring: both halves as sessions, and the features of the test set.

The recipe's steps run one by one as ``intaglio convert`` runs them; what stands in front of the
codec (quantization, lowering) is done once for all codecs that are compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from intaglio.border import border_specs
from intaglio.fitting.choose_cut import ChooseCut, ChooseCutConfig
from intaglio.fitting.data import CalibrationData, open_data
from intaglio.fitting.fit_codec import FitCodec, FitCodecConfig
from intaglio.passes.annotations import get_quantization
from intaglio.passes.split.cuts import get_cut
from intaglio.passes.split.marks import read_codec
from intaglio.pipeline import run_recipe
from intaglio.recipe import Recipe, load_recipe
from intaglio.targets.reading import read_model
from intaglio.transforms.split.specification import CodecSpecification
from numpy.typing import NDArray

from benchmarks.common import open_session
from benchmarks.quantization.cases import Case, all_cases

MODELS = ("resnet8", "fashion")

#: The features behind the residual additions, front to back.
CUTS: Mapping[str, Sequence[str]] = {
    "resnet8": (
        "model/activation_2/Relu;model/add/add",
        "model/activation_4/Relu;model/add_1/add",
        "model/activation_6/Relu;model/add_2/add",
    ),
    "fashion": (),
}

NAMES = ("early", "middle", "late")

_CODEC_STEPS = ("calibrate.choose_cut", "calibrate.fit_codec", "split.insert_codec")

#: Samples to run at once where the model takes several.
_BATCH = 100


@dataclasses.dataclass
class CutModel:
    """One model at one cut.

    Attributes:
        case: Where it came from.
        cut: Which of the cuts: ``early``, ``middle`` or ``late``.
        model: The integer graph, marked with the cut.
        value: Name of the tensor that crosses.
        data: Calibration samples.
        features: That tensor for all test inputs: int8 [N, C, H, W].
        inputs: The test inputs.
        labels: Their classes.
        float_accuracy: Share of the test set that the float model gets right, in percent.
        integer_accuracy: The same of the whole integer model.
    """

    case: Case
    cut: str
    model: ir.Model
    value: str
    data: CalibrationData
    features: NDArray[np.int8]
    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]
    float_accuracy: float
    integer_accuracy: float

    def __post_init__(self) -> None:
        outputs = [str(value.name) for value in self.model.graph.outputs]
        self._tail = part(self.model, [self.value], outputs)
        self._batch = batch_of(self.model)

    def fit(self, **options: Any) -> tuple[CodecSpecification, Mapping[str, Any]]:
        """A codec for this cut, fitted to the calibration samples, and the facts about it."""
        copy = self.model.clone(deep_copy=True)
        found = FitCodec(FitCodecConfig(**options), self.data)(copy)
        specification = read_codec(copy)
        if specification is None:
            raise ValueError("no codec was fitted")
        return specification, found.facts

    def accuracy(self, features: NDArray[np.int8]) -> float:
        """Percent of the test set that the server gets right from features of all its inputs."""
        found = run(self._tail, self.value, features, self._batch)
        return 100 * float((found == self.labels).mean())


def open_cuts(name: str, shared: Path, samples: int | None = None) -> list[CutModel]:
    """A model at its three cuts.

    Args:
        name: One of :data:`MODELS`.
        shared: Folder with models and data sets.
        samples: Only the first so many of the test set; None for all.
    """
    case = all_cases(shared)[name]()
    test = case.tests()[0].head(samples)
    inputs, labels = np.asarray(test.samples, np.float32), test.labels
    if labels is None:
        raise ValueError(f"{name} has no labels")
    source = read_model(case.model)
    whole = open_session(ir.to_proto(source).SerializeToString())
    float_found = run(whole, case.input, inputs, batch_of(source))
    data = open_data({case.input: case.draw(0)}, border_specs(source.graph.inputs, {}))
    model = run_recipe(source, _front(load_recipe("split")), data=data).model
    quantization = get_quantization(model.graph.inputs[0])
    if quantization is None:
        raise ValueError("the integer graph does not say how its input is quantized")
    integers = quantization.quantize(inputs)
    values = CUTS[name] or additions(model)
    head = part(model, [case.input], list(values))
    outputs = [str(value.name) for value in model.graph.outputs]
    batch = batch_of(model)
    integer_found = run(part(model, [case.input], outputs), case.input, integers, batch)
    made = []
    for cut, value in zip(NAMES, values, strict=True):
        marked = model.clone(deep_copy=True)
        ChooseCut(ChooseCutConfig(at=value), data)(marked)
        [crossing] = get_cut(marked) or ("",)
        index = list(values).index(value)
        made.append(
            CutModel(
                case=case,
                cut=cut,
                model=marked,
                value=crossing,
                data=data,
                features=run_raw(head, case.input, integers, batch, index),
                inputs=inputs,
                labels=labels,
                float_accuracy=100 * float((float_found == labels).mean()),
                integer_accuracy=100 * float((integer_found == labels).mean()),
            )
        )
    return made


def _front(recipe: Recipe) -> Recipe:
    steps = tuple(step for step in recipe.steps if step.pass_name not in _CODEC_STEPS)
    return recipe.model_copy(update={"steps": steps})


def additions(model: ir.Model) -> list[str]:
    """Names of what the residual additions of an integer graph give."""
    return [str(n.outputs[0].name) for n in model.graph if n.op_type.startswith("AddDouble")]


def part(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """A session over the part of a graph between some of its values."""
    copy = model.clone(deep_copy=True)
    graph = ir.convenience.extract(copy.graph, list(inputs), list(outputs))
    graph.opset_imports.update(model.graph.opset_imports)
    made = ir.Model(graph, ir_version=model.ir_version, functions=list(copy.functions.values()))
    return open_session(ir.to_proto(made).SerializeToString())


def batch_of(model: ir.Model) -> int:
    """Samples to run at once."""
    shape = model.graph.inputs[0].shape
    first = None if shape is None else shape[0]
    return first if isinstance(first, int) else _BATCH


def run_raw(
    session: Any, name: str, array: NDArray[Any], batch: int, output: int = 0
) -> NDArray[Any]:
    """One output of a session for all samples."""
    parts = [
        session.run(None, {name: array[start : start + batch]})[output]
        for start in range(0, len(array), batch)
    ]
    return np.concatenate(parts)


def run(session: Any, name: str, array: NDArray[Any], batch: int) -> NDArray[np.int64]:
    """The class that a session decides for, for each sample."""
    return run_raw(session, name, array, batch).reshape(len(array), -1).argmax(axis=1)


def integer_inputs(cut: CutModel) -> NDArray[Any]:
    """The test inputs as the integer graph takes them."""
    return _quantized(cut, cut.inputs)


def _quantized(cut: CutModel, values: NDArray[np.float32]) -> NDArray[Any]:
    quantization = get_quantization(cut.model.graph.inputs[0])
    if quantization is None:
        raise ValueError("the integer graph does not say how its input is quantized")
    return quantization.quantize(values)


def pixels_of(cut: CutModel) -> NDArray[np.uint8]:
    """The test inputs as pictures [N, H, W, C] of bytes."""
    scale = 255.0 if cut.inputs.max() <= 1.0 else 1.0
    pixels = np.clip(np.rint(cut.inputs * scale), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def picture_accuracy(cut: CutModel, pixels: NDArray[np.uint8]) -> float:
    """Percent of the test set that the whole integer model gets right from pictures."""
    scale = 255.0 if cut.inputs.max() <= 1.0 else 1.0
    values = (pixels.transpose(0, 3, 1, 2) / scale).astype(np.float32)
    outputs = [str(value.name) for value in cut.model.graph.outputs]
    name = cut.case.input
    found = run(
        part(cut.model, [name], outputs), name, _quantized(cut, values), batch_of(cut.model)
    )
    return 100 * float((found == cut.labels).mean())
