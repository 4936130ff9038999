"""Small networks with trained weights, made by hand, and the loss that their formulas give."""

import dataclasses

import numpy as np

from intaglio.targets.c.library import Port
from intaglio.targets.c.network import (
    Block,
    Convolution,
    Move,
    Network,
    Rescale,
    Tensor,
    TrainedConvolution,
    Variable,
    Window,
)
from intaglio.targets.c.training.library import TrainingLibrary
from intaglio.targets.c.training.packing import pack_weights, unpack_weights
from intaglio.targets.c.training.sources import write_training_sources
from intaglio.transforms.fixed_point import Rounding
from intaglio.transforms.forward_gradient.loss import cross_entropy, squared_error
from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import (
    Mask,
    Parameter,
    StepRounding,
    StepSpecification,
)
from intaglio.transforms.forward_gradient.step import train_step, update
from tests.targets.c.harness import FLAGS, STRICT
from tests.targets.c.reference import reference

CLASSES = 7
#: Filters of the two convolutions.
FIRST, SECOND = 5, 6
INT8 = (-128, 127)


def rescale(shift, zero_point=0, limits=INT8, rounding=Rounding.DOUBLE):
    return Rescale(rounding, np.array([1_500_000_000]), np.array([shift]), zero_point, *limits)


@dataclasses.dataclass
class Model:
    """A network, its step, and the weights it begins with in ONNX layout."""

    network: Network
    specification: StepSpecification
    initial: dict

    def parts(self, x):
        """Channels of images by the inputs of the network."""
        sizes = np.cumsum([tensor.shape[-1] for tensor in self.network.inputs])
        return [np.ascontiguousarray(part) for part in np.split(x, sizes[:-1], axis=-1)]

    def forward(self, x, weights):
        """Every tensor of one sample."""
        known = {t.name: part for t, part in zip(self.network.inputs, self.parts(x), strict=True)}
        for variable in self.network.variables:
            array = weights[variable.tensor.name].transpose(variable.permutation)
            known[variable.tensor.name] = array.reshape(variable.tensor.shape)
        for layer in self.network.layers:
            arrays = [known[t.name] if t.data is None else np.asarray(t.data) for t in layer.inputs]
            known[layer.output.name] = reference(layer, arrays)
        return known

    def loss(self, batch, targets):
        """The loss of a batch as a function of the weights."""
        name = self.network.logits.name

        def found(weights):
            logits = np.stack([self.forward(x, weights)[name].reshape(-1) for x in batch])
            if self.specification.loss == "mean-squared-error":
                return squared_error(logits, targets)
            return cross_entropy(logits, targets, self.specification.loss_bits)

        return found

    def trained(self, batch, targets, steps, seed=11, step_shift=0):
        """Weights and results after some steps of the definition."""
        weights, results = dict(self.initial), []
        loss = self.loss(batch, targets)
        for step in range(steps):
            at = self.specification.step_seed(seed, step)
            weights, result = train_step(self.specification, weights, at, loss, step_shift)
            results.append(result)
        return weights, results

    def replayed(self, signs, seed=11, step_shift=0):
        """Weights after steps whose signs are known."""
        weights = dict(self.initial)
        for step, found in enumerate(signs):
            at = self.specification.step_seed(seed, step)
            weights = update(self.specification, weights, at, found, step_shift)
        return weights

    def batch(self, count, seed=0):
        """Random samples and targets."""
        rng = np.random.default_rng(seed)
        rows, columns = self.network.inputs[0].shape[1:3]
        x = rng.integers(-128, 127, (count, rows, columns, 3), np.int8)
        if self.specification.loss == "mean-squared-error":
            return x, rng.integers(-(1 << 20), 1 << 20, (count, CLASSES), np.int32)
        return x, rng.integers(0, CLASSES, count)


def make(trains="all", seed=0, size=6, mask="", bias=False, spread=8000, split=False, **options):
    """A model: convolution, depthwise convolution, 3x3 convolution, fully connected layer.

    Args:
        trains: ``all``, or ``head`` for the last layer alone.
        seed: Of the weights.
        size: Rows and columns of the image.
        mask: ``hash``, ``bits``, ``none`` (a threshold of 0), or empty.
        bias: Whether the head has a trained bias.
        spread: Largest weight to begin with.
        split: Whether the image comes in two inputs, of one channel and of two.
        options: Further fields of the specification.
    """
    rng = np.random.default_rng(seed)
    image = Tensor("x", (1, size, size, 3), "int8", 0.1, -5)
    first = Tensor("first", (1, size, size, FIRST), "int8", 0.1, 3)
    deep = Tensor("deep", (1, size, size, FIRST), "int8", 0.1, -7)
    second = Tensor("second", (1, size - 2, size - 2, SECOND), "int8", 0.1, 0)
    logits = Tensor("step_logits", (1, CLASSES), "int32")
    output = Tensor("y", (1, CLASSES), "int8", 0.1, 1)
    depth = (size - 2) ** 2 * SECOND
    shapes = {
        "conv.weight": (SECOND, FIRST, 3, 3),
        "deep.weight": (FIRST, 1, 3, 3),
        "fc.weight": (depth, CLASSES),
    }
    initial = {
        name: rng.integers(-spread, spread, shape).astype(np.int16)
        for name, shape in shapes.items()
    }
    laid = {
        "conv.weight": ((0, 2, 3, 1), (SECOND, 3, 3, FIRST)),
        "deep.weight": ((0, 2, 3, 1), (FIRST, 3, 3, 1)),
        "fc.weight": ((1, 0), (CLASSES, 1, 1, depth)),
    }
    chosen = ["fc.weight"] if trains == "head" else ["deep.weight", "conv.weight", "fc.weight"]
    tensors, variables = {}, []
    for name, (permutation, shape) in laid.items():
        array = initial[name].transpose(permutation).reshape(shape)
        held = name in chosen
        tensors[name] = Tensor(name, shape, "int16", 1e-4, data=None if held else array)
    variables = [Variable(tensors[name], laid[name][0], shapes[name]) for name in chosen]
    read = [tensors["fc.weight"]]
    if bias:
        initial["fc.bias"] = rng.integers(-(10**6), 10**6, CLASSES).astype(np.int32)
        read.append(Tensor("fc.bias", (CLASSES,), "int32", 1e-5))
        variables.append(Variable(read[1], (0,), (CLASSES,)))
        chosen = [*chosen, "fc.bias"]
    window = Window((1, 1, depth), (1, 1, CLASSES), (1, 1))
    fixed = rng.integers(-1000, 1000, CLASSES)
    wide = depth * 32767 * 255 + 1000 >= 1 << 31 or bias

    def dense(name, made, stage):
        return TrainedConvolution(
            name, (second, *read), made, ("fc",), window, fixed, stage, 1, 32767, wide
        )

    # Sums of this size need the wide rounding, and shifts that it takes.
    by = Rounding.WIDE if wide else Rounding.DOUBLE
    limits = (-(1 << 31), (1 << 31) - 1)
    if options.get("loss") == "mean-squared-error":
        limits = (-(1 << 24), 1 << 24)
    layers = (
        Convolution(
            "first", (image,), first, ("a",), Window((size, size, 3), (size, size, FIRST), (1, 1)),
            rng.integers(-127, 127, (FIRST, 1, 1, 3), np.int8), np.zeros(FIRST, np.int64),
            rescale(38, 3),
        ),
        TrainedConvolution(
            "deep", (first, tensors["deep.weight"]), deep, ("b",),
            Window((size, size, FIRST), (size, size, FIRST), (3, 3), pads=(1, 1)),
            np.zeros(FIRST, np.int64), rescale(45, -7), FIRST, 32767, False,
        ),
        TrainedConvolution(
            "second", (deep, tensors["conv.weight"]), second, ("c",),
            Window((size, size, FIRST), (size - 2, size - 2, SECOND), (3, 3)),
            np.zeros(SECOND, np.int64), rescale(45), 1, 32767, False,
        ),
        dense("y", output, rescale(45, 1, rounding=by)),
        dense("step_logits", logits, rescale(41, 0, limits, by)),
    )  # fmt: skip
    inputs = (image,)
    if split:
        inputs, join = joined(image)
        layers = (join, *layers)
    network = Network("model", inputs, (output,), layers, "tflm", {}, tuple(variables), logits)
    parameters = tuple(
        parameter(name, initial[name], number, mask, options) for number, name in enumerate(chosen)
    )
    specification = StepSpecification(parameters, **options)
    return Model(network, specification, {name: initial[name] for name in chosen})


def joined(image):
    """Two inputs, and the layer that makes an image of them."""
    _, rows, columns, _ = image.shape
    left, right = (
        dataclasses.replace(image, name=name, shape=(1, rows, columns, channels))
        for name, channels in (("left", 1), ("right", 2))
    )
    blocks = (
        Block(0, (rows * columns, 1), (1, 1), 0, (3, 1), 0),
        Block(1, (rows * columns, 2), (2, 1), 0, (3, 1), 1),
    )
    return (left, right), Move("join", (left, right), image, (), blocks)


def parameter(name, array, number, mask, options):
    """A parameter whose numbers stay where their type holds them."""
    rng = np.random.default_rng(number)
    z = Law(options.get("law", Law.RADEMACHER)).largest // 32
    epsilon = 40_000 if array.dtype == np.int32 else 300 + number
    radius = 150 if options.get("sharpness") else 0
    held = {
        "": None,
        "hash": Mask("hash", 5, 1 << 31),
        "bits": Mask.of_bits(rng.random(array.shape) < 0.3),
        "none": Mask("hash", 5, 0),
    }[mask]
    top = np.iinfo(array.dtype).max - 2 * z * (epsilon + radius)
    return Parameter(
        name, array.shape, array.dtype.name, 1e-4, epsilon, 25_000, 13 + number % 3, int(top),
        number, radius, held,
    )  # fmt: skip


class Trainer:
    """The emitted step of a model, compiled for a variant of this machine."""

    def __init__(
        self, model, folder, variant="portable", *, flags=("-O2",), compiler=None, memory="balanced"
    ):
        self.model = model
        self.written = write_training_sources(
            model.network, model.specification, model.initial, {variant}, memory
        )
        for name, text in self.written.files.items():
            (folder / name).write_text(text)
        forced = ("-DMODEL_PORTABLE",) if variant == "portable" else ()
        ports = [
            [Port(t.name, t.shape, t.dtype) for t in tensors]
            for tensors in (model.network.inputs, model.network.outputs)
        ]
        self.library = TrainingLibrary(
            folder, "model", *ports, model.specification.probes, folder,
            flags=(*STRICT, *FLAGS[variant], *forced, *flags), compiler=compiler,
        )  # fmt: skip

    @property
    def packed(self):
        return self.written.parameters.packed

    def weights(self):
        """Numbers in ONNX layout."""
        return unpack_weights(self.packed, self.library.weights())

    def reset(self, weights=None):
        """Takes over weights; the initial ones if left out."""
        self.library.set_weights(pack_weights(self.packed, weights or self.model.initial))

    def train(self, batch, targets, steps, seed=11, step_shift=0):
        """Results of some steps."""
        x, t = self.model.parts(batch), np.ascontiguousarray(targets, np.int32)
        at = [self.model.specification.step_seed(seed, step) for step in range(steps)]
        return [self.library.step(x, t, len(batch), one, step_shift) for one in at]


ROUNDINGS = tuple(StepRounding)
LAWS = tuple(Law)
