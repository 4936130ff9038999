"""The codec in the graph: every code and every decoded value as numpy has them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from intaglio.errors import RecipeError
from intaglio.passes.split.cuts import set_cut
from intaglio.passes.split.insert_codec import InsertCodec
from intaglio.passes.split.marks import get_wire, read_codec, write_codec
from intaglio.transforms.split import coding
from intaglio.transforms.split.specification import CodecSpecification
from tests.passes.split import numpy_codec
from tests.passes.split.split_models import depthwise, residual, run, samples, with_codec

KINDS = (
    {},
    {"order": False},
    {"alike": True},
    {"channels": 2},
    {"patch": 2},
    {"channels": 2, "patch": 4},
    {"dynamic": True},
    {"dynamic": True, "tile": 2},
    {"dynamic": True, "tile": 3, "channels": 2, "patch": 2},
    {"filtered": True},
    {"filtered": True, "channels": 2, "patch": 2},
    {"filtered": True, "dynamic": True},
)
CUTS = (("stem",), ("joined",), ("first", "stem"), ("looked",), ("hidden",))


def check(model, specification, cut):
    wire = get_wire(model)
    found = run(model, samples(model), [*cut, *wire, *(f"{name}_decoded" for name in cut)])
    assert found["codes"].dtype == np.int8
    for definition in (coding, numpy_codec):
        features = {name: found[name] for name in cut}
        codes, ranges = definition.encode_features(specification, features)
        np.testing.assert_array_equal(found["codes"].view(np.uint8), codes)
        if specification.side_bytes:
            np.testing.assert_array_equal(found["ranges"], ranges)
        decoded = definition.decode_features(specification, codes, ranges)
        for name in cut:
            np.testing.assert_array_equal(found[f"{name}_decoded"], decoded[name])


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_codes_and_values_are_those_of_numpy(cut, kind):
    model, specification = with_codec(residual(), cut, **kind)
    check(model, specification, cut)


@pytest.mark.parametrize("seed", range(4))
def test_other_models_and_tables(seed):
    model, specification = with_codec(depthwise(seed), ("deep2",), seed=seed)
    check(model, specification, ("deep2",))


def test_means_go_up_at_halves_wherever_they_lie():
    model, specification = with_codec(residual(), ("stem",), channels=4, patch=3, alike=True)
    [feature] = specification.features
    table = tuple(range(256))
    whole = dataclasses.replace(feature.stripes[0], levels=256, encode=table)
    decode = (tuple(range(-128, 128)),) * feature.channels
    feature = dataclasses.replace(feature, stripes=(whole,), decode=decode)
    model = residual()
    set_cut(model, ["stem"])
    specification = CodecSpecification((feature,), "raw")
    write_codec(model, specification)
    InsertCodec()(model)
    check(model, specification, ("stem",))


def test_a_fixed_batch_stays():
    model, specification = with_codec(residual(batch=2), ("joined",))
    assert list(model.graph.outputs[0].shape) == [2, 4]
    check(model, specification, ("joined",))


def test_a_second_run_and_a_model_without_a_codec_stay_as_they_are():
    model, specification = with_codec(residual(), ("stem",))
    assert not InsertCodec()(model).modified
    assert read_codec(model) == specification
    bare = residual()
    result = InsertCodec()(bare)
    assert not result.modified
    assert "no cut" in result.skips[0].reason


def test_a_codec_of_another_tensor_is_refused():
    _, specification = with_codec(residual(), ("stem",))
    other = residual()
    write_codec(other, specification)
    set_cut(other, ["joined"])
    with pytest.raises(RecipeError, match="'stem' is not at the cut"):
        InsertCodec()(other)
    wrong = residual()
    set_cut(wrong, ["stem"])
    [feature] = specification.features
    feature = dataclasses.replace(feature, shape=(8, 6, 7))
    write_codec(wrong, CodecSpecification((feature,), "raw"))
    with pytest.raises(RecipeError, match="its codec for int8"):
        InsertCodec()(wrong)
