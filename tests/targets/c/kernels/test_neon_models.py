"""Whole models on emulated AArch64: every tensor has the bits of the integer graph."""

import numpy as np
import pytest

from tests.property.lowering_checks import run
from tests.targets.c.kernels.neon_programs import VARIANTS, needs_tools, program
from tests.targets.c.models import of_file, of_sample
from tests.targets.tflite.emission import random_feeds

pytestmark = needs_tools

FILES = ("ic_resnet8_int8", "kws_ref_model_int8", "vww_96_int8")


def assert_same_bits(case, variant, seeds):
    names = [layer.output.name for layer in case.network.layers]
    graph = case.model.graph
    known = [str(v.name) for node in graph for v in node.outputs]
    emulated = program(case.network, variant, inner=names)
    feeds = [random_feeds(case.model, seed) for seed in seeds]
    shaped = [{t.name: f[t.name].reshape(t.shape) for t in case.network.inputs} for f in feeds]
    for given, (outputs, inner) in zip(feeds, emulated.run(shaped), strict=True):
        wanted = run(case.model, given, known)
        found = {**inner, **outputs}
        both = sorted(set(found) & set(wanted))
        assert len(both) >= 0.6 * len(names)
        assert set(outputs) <= set(both)
        for name in both:
            expected = wanted[name].reshape(found[name].shape)
            np.testing.assert_array_equal(found[name], expected, err_msg=name, strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("profile", ["tflm", "litert", "tosa-single"])
def test_a_sample_model(variant, profile):
    assert_same_bits(of_sample("digits", profile=profile), variant, range(3))


def test_a_sample_model_of_16_bits():
    assert_same_bits(of_sample("digits", activations="int16"), "dotprod", range(2))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FILES)
def test_a_published_model(zoo, name, variant):
    assert_same_bits(of_file(zoo / f"{name}.tflite"), variant, range(2))


def test_fewer_instructions_than_plain_c(zoo):
    network = of_file(zoo / "kws_ref_model_int8.tflite").network
    feeds = {t.name: np.zeros(t.shape, t.dtype) for t in network.inputs}
    plain, neon, dotprod = (
        program(network, variant).count_instructions(feeds)
        for variant in ("portable", "neon", "dotprod")
    )
    assert neon * 8 < plain
    assert dotprod * 3 < neon * 2
