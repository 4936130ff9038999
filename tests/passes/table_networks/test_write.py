"""onnxruntime gives every pixel of the definition, whatever the size of the image."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.passes.lower.integer_only import find_float_tensors
from intaglio.passes.marks import is_integer
from intaglio.passes.table_networks.write import network_model
from tests.passes.table_networks.running import Runner
from tests.transforms.table_networks.random_networks import centred, reference

CENTRED = {
    "superres x1": {"upscale": 1},
    "superres x2": {"upscale": 2, "mixings": 3, "channels": 24},
    "superres x3": {"upscale": 3, "mixings": 0},
    "superres x4": {"upscale": 4, "kernel": 5},
    "denoise": {"upscale": 2, "stride": 2, "kernel": 4},
    "wide denoise": {"upscale": 2, "stride": 2, "kernel": 6, "shared": True},
    "half": {"upscale": 1, "stride": 2, "kernel": 2},
    "three halves": {"upscale": 3, "stride": 2, "kernel": 2},
    "shifts": {"upscale": 4, "single": True, "shared": True},
}
REFERENCE = {
    "one stage": {},
    "two stages": {"stages": 2, "upscale": 3},
    "no scales": {"scales": False, "upscale": 2},
    "one branch": {"lower": False, "stages": 3, "upscale": 1},
}
SIZES = st.tuples(st.integers(1, 3), st.integers(2, 13), st.integers(2, 13))


@functools.cache
def runner(kind, name):
    if kind == "centred":
        return Runner(centred(len(name), **CENTRED[name]))
    return Runner(reference(len(name), **REFERENCE[name]))


def planes(seed, size):
    random = np.random.default_rng(seed)
    # Flat parts and edges as well as noise.
    kinds = [random.integers(0, 256, size), np.full(size, random.integers(0, 256))]
    kinds.append(np.where(random.integers(0, 2, size) > 0, 255, 0))
    return kinds[seed % 3].astype(np.uint8)


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(CENTRED)), seed=st.integers(0, 2**16), size=SIZES)
def test_a_centred_network_in_onnxruntime(name, seed, size):
    runner("centred", name).check(planes(seed, size))


@settings(max_examples=15, deadline=None)
@given(name=st.sampled_from(sorted(REFERENCE)), seed=st.integers(0, 2**16), size=SIZES)
def test_a_reference_network_in_onnxruntime(name, seed, size):
    runner("reference", name).check(planes(seed, size))


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 1, 7), (1, 6, 1), (1, 1, 2)])
def test_images_of_single_pixels_rows_and_columns(size):
    for name in ("superres x4", "denoise", "wide denoise", "three halves"):
        runner("centred", name).check(planes(3, size))
    for name in REFERENCE:
        runner("reference", name).check(planes(3, size))


@pytest.mark.parametrize(("stem_shift", "out_shift", "head_shift"), [(0, 0, 0), (24, 24, 14)])
def test_the_smallest_and_largest_shifts(stem_shift, out_shift, head_shift):
    network = dataclasses.replace(
        centred(4),
        stem_bias=np.where(np.arange(32) % 2, 2**24 - 1, 1 - 2**24).astype(np.int32),
        stem_shift=stem_shift,
        out_shift=out_shift,
        head_shift=head_shift,
    )
    mixing = network.mixings[0]
    window = dataclasses.replace(mixing.window, shift=0 if stem_shift == 0 else 14)
    mixing = dataclasses.replace(mixing, window=window, shift=window.shift)
    network = dataclasses.replace(network, mixings=(mixing,))
    Runner(network).check(planes(0, (1, 9, 11)))


def test_the_model_says_what_it_is():
    network = centred(1, shared=True)
    model = network_model(network, "small", "superres x4")
    assert model.graph.name == "small"
    assert is_integer(model)
    assert not find_float_tensors(model)
    told = model.metadata_props
    assert told["intaglio.table_bytes"] == str(network.storage_bytes)
    assert told["intaglio.lookups"] == str(network.lookups)
    assert told["intaglio.multiplications"] == str(network.multiplications)
    assert told["intaglio.task"] == "superres x4"
    tables = [n for n in model.graph.initializers if n.endswith("tables")]
    assert sorted(tables) == ["head_tables", "mixing1_tables"]


def test_a_reference_model_stores_each_table_once():
    network = reference(1, stages=2)
    model = network_model(network, "tiny")
    stored = sum(v.const_value.nbytes for v in model.graph.initializers.values())
    assert stored == network.storage_bytes
    assert not find_float_tensors(model)
    assert "intaglio.task" not in model.metadata_props
