"""Whole models in C: every tensor has the bits of the integer graph, in every variant here."""

import pytest

from tests.helpers import ZOO_FLOAT
from tests.property.lowering_checks import Options
from tests.targets.c.harness import runs_here
from tests.targets.c.models import (
    PUBLISHED,
    SAMPLE_NAMES,
    assert_same_bits,
    of_file,
    of_float,
    of_sample,
)

HOST = ("portable", "avx2", "vnni")
#: Emitting and compiling all of them in every variant takes long.
SMALL = ("FSRCNN-small_x2", "mnist8_cntk")


def each_variant(case, seeds, variants=HOST):
    for variant in variants:
        if runs_here(variant):
            assert_same_bits(case, variant, seeds)


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_a_sample_model_computes_the_bits_of_its_graph(name):
    each_variant(of_sample(name), range(3))


@pytest.mark.parametrize("profile", ["litert", "tosa-single"])
@pytest.mark.parametrize("name", ["digits", "spoken_digits"])
def test_a_sample_model_in_another_arithmetic(name, profile):
    each_variant(of_sample(name, profile=profile), range(3), ("portable", "vnni"))


@pytest.mark.parametrize("name", ["digits", "superres"])
def test_a_sample_model_of_16_bits(name):
    each_variant(of_sample(name, activations="int16"), range(3))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_computes_the_bits_of_its_graph(zoo, name):
    each_variant(of_file(zoo / f"{name}.tflite"), range(3))


@pytest.mark.parametrize("name", SMALL)
def test_a_zoo_model_computes_the_bits_of_its_graph(zoo, name):
    each_variant(of_float(zoo / f"{name}.onnx", Options()), range(2))


@pytest.mark.long
@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("profile", ["tflm", "litert", "tosa-single"])
@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_every_sample_model_in_every_arithmetic(name, profile, activations):
    each_variant(of_sample(name, profile=profile, activations=activations), range(10))


@pytest.mark.long
@pytest.mark.parametrize("profile", ["tflm", "litert", "tosa-single"])
@pytest.mark.parametrize("activations", ["int8", "int16"])
@pytest.mark.parametrize("name", ZOO_FLOAT)
def test_every_zoo_model_in_every_arithmetic(zoo, name, activations, profile):
    options = Options(activations=activations, profile=profile)
    each_variant(of_float(zoo / f"{name}.onnx", options), range(2))
