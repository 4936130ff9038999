"""``weights.bin`` and ``training.json``."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from intaglio.errors import InputError
from intaglio.targets.base import TensorSpec
from intaglio.targets.training_files import (
    TRAINING,
    WEIGHTS,
    Training,
    read_training,
    weights_bytes,
    weights_from_bytes,
    write_training,
)
from intaglio.transforms.forward_gradient.specification import Mask
from intaglio.transforms.forward_gradient.step import digest
from tests.passes.train.small_integer import SHAPES, initial_weights, specification


def training():
    spec = specification(probes=2, logit_scale=0.125)
    mask = Mask.of_bits(
        np.arange(spec.parameters[0].size).reshape(SHAPES["fc1_weight"][0]) % 3 == 0
    )
    first = dataclasses.replace(spec.parameters[0], mask=mask)
    return Training(
        dataclasses.replace(spec, parameters=(first, *spec.parameters[1:])),
        initial_weights(),
        (TensorSpec("x", ("N", 12), "int8", "", 0.5, -3),),
        (TensorSpec("y", ("N", 4), "int8", "", 0.25, 7),),
        TensorSpec("labels", ("N",), "int64"),
    )


def test_what_is_written_is_read_back(tmp_path):
    write_training(tmp_path, training())
    found = read_training(tmp_path)
    assert dataclasses.replace(found, weights={}) == dataclasses.replace(training(), weights={})
    assert digest(found.specification, found.weights) == digest(
        found.specification, initial_weights()
    )


def test_the_weights_are_little_endian_one_behind_the_other(tmp_path):
    write_training(tmp_path, training())
    data = (tmp_path / WEIGHTS).read_bytes()
    arrays = [initial_weights()[name] for name in SHAPES]
    assert len(data) == sum(array.nbytes for array in arrays)
    np.testing.assert_array_equal(
        np.frombuffer(data[: arrays[0].nbytes], "<i2"), arrays[0].reshape(-1)
    )


def test_equal_trainings_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_training(tmp_path / name, training())
    for file in (WEIGHTS, TRAINING):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_weights_of_another_size_are_refused():
    spec = training().specification
    data = weights_bytes(spec, initial_weights())
    with pytest.raises(InputError, match="bytes"):
        weights_from_bytes(spec, data[:-1])


def test_weights_beyond_a_limit_are_refused():
    spec, weights = training().specification, initial_weights()
    weights["fc2_weight"][0, 0] = -32768
    with pytest.raises(InputError, match="reach 32768"):
        weights_from_bytes(spec, weights_bytes(spec, weights))


@pytest.mark.parametrize("text", ["", "{}", '{"specification": {"parameters": 3}}'])
def test_a_damaged_file_is_named(tmp_path, text):
    write_training(tmp_path, training())
    (tmp_path / TRAINING).write_text(text)
    with pytest.raises(InputError, match=TRAINING):
        read_training(tmp_path)


def test_a_folder_without_training_says_so(tmp_path):
    with pytest.raises(InputError, match="no training step"):
        read_training(tmp_path)
