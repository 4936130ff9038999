"""The specification as data: there and back, and what is none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from intaglio.transforms.forward_gradient.randomness import Law
from intaglio.transforms.forward_gradient.specification import (
    Mask,
    StepRounding,
    StepSpecification,
)
from tests.transforms.forward_gradient.small_step import small_specification


@pytest.mark.parametrize(
    "mask", [None, Mask("hash", 5, 1 << 31), Mask.of_bits(np.eye(6, 3, dtype=bool))]
)
def test_there_and_back(mask):
    specification = small_specification(
        3, Law.BINOMIAL, StepRounding.STOCHASTIC, sharpness=True, mask=mask
    )
    assert StepSpecification.from_json(specification.to_json()) == specification


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "{", '{"parameters": [{}]}', "3"])
def test_what_is_no_specification_is_a_value_error(text):
    with pytest.raises(ValueError):
        StepSpecification.from_json(text)


@pytest.mark.parametrize("key", ["law", "rounding", "parameters"])
def test_what_misses_something_is_a_value_error(key):
    data = json.loads(small_specification().to_json())
    del data[key]
    with pytest.raises(ValueError):
        StepSpecification.from_json(json.dumps(data))
    data = json.loads(small_specification().to_json())
    data[key] = "other"
    with pytest.raises(ValueError):
        StepSpecification.from_json(json.dumps(data))


def test_the_step_in_lsb():
    parameter = small_specification(multiplier=3, shift=5).parameters[0]
    assert parameter.step == 3.0
    assert parameter.size == 18
