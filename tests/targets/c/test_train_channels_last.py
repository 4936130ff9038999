"""A model whose images have the channels last already: C takes the batches as they are."""

import numpy as np

import intaglio
from intaglio.training_files import load_training, open_stepper
from intaglio.transforms.forward_gradient.step import digest


def test_batches_of_a_tflite_model_are_not_turned(tmp_path, zoo):
    rng = np.random.default_rng(0)
    images = rng.random((16, 28, 28, 1)).astype(np.float32)
    bundle = intaglio.convert(
        zoo / "emlearn_mnist_cnn_fp32.tflite",
        "forward-gradient",
        ["onnx-integer", "c"],
        {"ftr0_input": images},
        tmp_path / "b",
    )
    specification = load_training(bundle).specification
    golden, found = open_stepper(bundle, "onnx-integer"), open_stepper(bundle, "c")
    for seed in range(5):
        x = rng.integers(-128, 128, (4, 28, 28, 1)).astype(np.int8)
        labels = rng.integers(0, 10, 4)
        assert found.step(x, labels, seed) == golden.step(x, labels, seed)
        assert digest(specification, found.weights()) == digest(specification, golden.weights())
        np.testing.assert_array_equal(found.predict(x), golden.predict(x))
