"""Gradients and optimizer steps of whole models against PyTorch in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from intaglio.passes.differentiate.build_training_graph import build_training_graph
from intaglio.passes.differentiate.config import TrainingOptions
from intaglio.passes.differentiate.interface import feedback, initial_state
from intaglio.passes.differentiate.losses import without_softmax
from intaglio.registry import PASSES, load_pass
from intaglio.targets.onnx.read import read_onnx
from tests.helpers import build, open_session, random_inputs, relative_error, run_float

torch = pytest.importorskip("torch")

from tests.passes.differentiate.torch_models import TorchModel  # noqa: E402

SAMPLES = Path(__file__).resolve().parents[3] / "sample_models"
CANONICALIZE = [name for name in PASSES if name.startswith("canonicalize.")]


def prepared(path: Path, canonical: bool) -> ir.Model:
    model = read_onnx(path, {})
    for name in CANONICALIZE if canonical else []:
        model = load_pass(name)()(model).model
    return model


def compare_gradients(
    model: ir.Model, feeds: dict[str, np.ndarray], options: TrainingOptions, tolerance: float
) -> None:
    """Loss and gradients of every parameter."""
    reference = TorchModel(model)
    names = [name for name in initial_state(model, options) if name != "step"]
    tensors = reference.train(names)
    output = model.graph.outputs[0]
    if options.output:
        output = next(value for value in model.graph.outputs if value.name == options.output)
    if options.loss == "cross-entropy":
        output = without_softmax(output)
    result = reference.logits(feeds, output).detach().numpy()
    rng = np.random.default_rng(2)
    if options.loss == "cross-entropy":
        wanted = rng.integers(0, result.shape[1], len(result))
        feeds_wanted = {"labels": wanted}
    else:
        wanted = (result + rng.standard_normal(result.shape)).astype(np.float32)
        feeds_wanted = {"target": wanted}
    loss = reference.loss(feeds, wanted, output, options.loss)
    loss.backward()
    training = build_training_graph(model, options)
    got = run_float(training, {**feeds, **feeds_wanted, **initial_state(model, options)})
    assert got["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert set(got) == {"loss", *(f"gradient.{name}" for name in names)}
    for name, tensor in zip(names, tensors, strict=True):
        want = tensor.grad.numpy()
        assert np.abs(want).max() > 0, name
        assert relative_error(got[f"gradient.{name}"], want) < tolerance, name


@pytest.mark.parametrize(("canonical", "batch"), [(False, 5), (True, 1)])
@pytest.mark.parametrize("name", ["digits", "fashion", "spoken_digits", "superres"])
def test_gradients_of_the_sample_models(name, canonical, batch):
    model = prepared(SAMPLES / name / f"{name}.onnx", canonical)
    file = np.load(SAMPLES / name / "calibration.npz")
    feeds = {key: array[:batch].astype(np.float32) for key, array in file.items()}
    if name == "superres":
        feeds = {key: array[:, :, :14, :15] for key, array in feeds.items()}
    loss = "mean-squared-error" if name == "superres" else "cross-entropy"
    options = TrainingOptions(loss=loss, optimizer="none")
    compare_gradients(model, feeds, options, 1e-3)


#: Models of the zoo, sizes of symbolic dimensions, the output that the loss is taken on.
ZOO = {
    "cifar10_pytorch_tutorial": ({}, ""),
    "ic_resnet8_float": ({}, ""),
    "mnist8_cntk": ({}, ""),
    "vww_96_float": ({}, ""),
    "ESPCN_x2": ({"unk__57": 9, "unk__58": 8}, ""),
    "FSRCNN-small_x2": ({"unk__175": 9, "unk__176": 8}, ""),
    "ultraface_RFB-320_nopost": ({}, "boxes"),
    "yunet_n_320_320": ({}, "cls_8"),
}
SLOW = ("ultraface_RFB-320_nopost", "vww_96_float", "yunet_n_320_320")
#: Also as they are written in the file; the others go through the passes first.
RAW = ("mnist8_cntk", "FSRCNN-small_x2", "ic_resnet8_float")


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        *(pytest.param(name, True, marks=[pytest.mark.long] * (name in SLOW)) for name in ZOO),
        *((name, False) for name in RAW),
    ],
)
def test_gradients_of_the_zoo(zoo, name, canonical):
    model = prepared(zoo / f"{name}.onnx", canonical)
    sizes, output = ZOO[name]
    loss = "mean-squared-error"
    if list(model.graph.outputs[0].shape)[1:] in ([10], [2]):
        loss = "cross-entropy"
    trained = ("*",) if name == "mnist8_cntk" and not canonical else ()
    options = TrainingOptions(loss=loss, optimizer="none", output=output, trained=trained)
    # In float32 a few of many Relus and pools choose another side than in float64.
    tolerance = 1e-2 if name.startswith("yunet") else 2e-3
    compare_gradients(model, random_inputs(model, 1, sizes), options, tolerance)


OPTIMIZERS = [
    ({"optimizer": "sgd", "momentum": 0.0}, 0.05),
    ({"optimizer": "sgd", "momentum": 0.9}, 0.02),
    ({"optimizer": "adam"}, 0.01),
    ({"optimizer": "adam", "betas": (0.8, 0.95), "epsilon": 1e-3}, 0.01),
]


def compare_steps(
    model: ir.Model,
    options: TrainingOptions,
    rate: float,
    batches: list[tuple[dict[str, np.ndarray], np.ndarray]],
    tolerance: float,
) -> None:
    """Loss of every step, and how far every parameter has come in the end."""
    state = start = initial_state(model, options)
    training = build_training_graph(model, options)
    session = open_session(training)
    names = [value.name for value in training.graph.outputs]
    fed = feedback(training)
    assert set(fed.values()) == set(state)
    reference = TorchModel(model)
    parameters = [value.name for value in model.graph.initializers.values()]
    tensors = reference.train(parameters)
    if options.optimizer == "sgd":
        optimizer = torch.optim.SGD(tensors, lr=rate, momentum=options.momentum)
    else:
        optimizer = torch.optim.Adam(tensors, lr=rate, betas=options.betas, eps=options.epsilon)
    for feeds, wanted in batches:
        optimizer.zero_grad()
        loss = reference.loss(feeds, wanted, model.graph.outputs[0], options.loss)
        loss.backward()
        optimizer.step()
        named = "labels" if options.loss == "cross-entropy" else "target"
        inputs = {**feeds, **state, named: wanted, "learning_rate": np.array(rate, np.float32)}
        got = dict(zip(names, session.run(names, inputs), strict=True))
        assert got["loss"] == pytest.approx(loss.item(), rel=tolerance, abs=1e-6)
        state = {fed[name]: got[name] for name in fed}
    if options.optimizer == "adam":
        assert state["step"] == len(batches)
    for name, tensor in zip(parameters, tensors, strict=True):
        want = tensor.detach().numpy()
        moved = np.abs(want - start[name]).max()
        assert moved > 0
        assert np.abs(state[name] - want).max() < tolerance * moved, name


@pytest.mark.parametrize(("options", "rate"), OPTIMIZERS)
def test_many_steps_of_a_smooth_model_are_those_of_torch(options, rate):
    rng = np.random.default_rng(4)
    model = build(
        "(float[N, 4] data) => (float[N, 3] y)"
        " { h = Gemm(data, w1, b1) a = Tanh(h) y = Gemm(a, w2, b2) }",
        **{name: rng.standard_normal(shape).astype(np.float32) for name, shape in SMOOTH.items()},
    )
    batches = [
        (
            {"data": rng.standard_normal((6, 4)).astype(np.float32)},
            rng.standard_normal((6, 3)).astype(np.float32),
        )
        for _ in range(30)
    ]
    chosen = TrainingOptions(loss="mean-squared-error", **options)
    compare_steps(model, chosen, rate, batches, 2e-4)


SMOOTH = {"w1": (4, 5), "b1": (5,), "w2": (5, 3), "b2": (3,)}


# Adam divides by the size of gradients that are zero but for rounding: only a larger epsilon
# makes it comparable behind Relus.
@pytest.mark.parametrize(("options", "rate"), [OPTIMIZERS[1], OPTIMIZERS[3]])
def test_steps_of_a_sample_model_are_those_of_torch(options, rate):
    model = read_onnx(SAMPLES / "digits" / "digits.onnx", {})
    file = np.load(SAMPLES / "digits" / "test.npz")
    images, labels = file["image"].astype(np.float32), file["labels"].astype(np.int64)
    batches = [
        ({"image": images[first : first + 16]}, labels[first : first + 16])
        for first in range(0, 96, 16)
    ]
    compare_steps(model, TrainingOptions(**options), rate, batches, 2e-3)
