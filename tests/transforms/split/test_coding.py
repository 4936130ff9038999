"""Features to codes and back, against the definition written with loops."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.split.coding import decode_features, encode_features, feature_codes
from intaglio.transforms.split.frames import read_frame, write_frame
from intaglio.transforms.split.packing import check_levels
from intaglio.transforms.split.specification import CodecSpecification
from tests.transforms.split.random_codecs import Form, build_feature
from tests.transforms.split.strategies import codecs, features_for


@given(codecs(), st.data())
def test_what_the_device_sends_is_what_the_server_gets(specification, data):
    tensors = data.draw(features_for(specification))
    codes, ranges = encode_features(specification, tensors)
    samples = len(codes)
    assert (codes.dtype, codes.shape) == (np.uint8, (samples, specification.codes))
    assert (ranges.dtype, ranges.shape) == (np.int8, (samples, specification.side_bytes))
    assert check_levels(specification, codes)
    frame = read_frame(specification, write_frame(specification, codes, ranges), samples)
    found = decode_features(specification, frame.codes, frame.ranges)
    expected = decode_features(specification, codes, ranges)
    for feature in specification.features:
        assert found[feature.name].shape == tensors[feature.name].shape
        assert found[feature.name].dtype == np.int8
        assert np.array_equal(found[feature.name], expected[feature.name])


@given(codecs(), st.data())
def test_samples_do_not_know_of_each_other(specification, data):
    tensors = data.draw(features_for(specification))
    codes, ranges = encode_features(specification, tensors)
    restored = decode_features(specification, codes, ranges)
    for index in range(len(codes)):
        one = {name: tensor[index : index + 1] for name, tensor in tensors.items()}
        own_codes, own_ranges = encode_features(specification, one)
        assert np.array_equal(own_codes[0], codes[index])
        assert np.array_equal(own_ranges[0], ranges[index])
        own = decode_features(specification, own_codes, own_ranges)
        assert all(np.array_equal(own[n][0], restored[n][index]) for n in own)


def mean(values):
    return (2 * sum(values) + len(values)) // (2 * len(values))


@given(codecs("raw", "static"), st.data())
def test_static_tables_are_looked_up_by_wire_channel(specification, data):
    bare = [dataclasses.replace(feature, restoration=None) for feature in specification.features]
    specification = dataclasses.replace(specification, features=tuple(bare))
    tensors = data.draw(features_for(specification, 1))
    codes, ranges = encode_features(specification, tensors)
    restored = decode_features(specification, codes, ranges)
    for feature, planes in feature_codes(specification, codes):
        shape = (feature.channels, *feature.plane)
        given_ = tensors[feature.name].reshape(shape)
        found = restored[feature.name].reshape(shape)
        share, patch = feature.share_channels, feature.share_patch
        for c, y, x in np.ndindex(planes.shape[1:]):
            group = [
                int(given_[feature.order[k], i, j])
                for k in range(c * share, (c + 1) * share)
                for i in range(y * patch, min((y + 1) * patch, shape[1]))
                for j in range(x * patch, min((x + 1) * patch, shape[2]))
            ]
            stripe = feature.stripes[feature.channel_stripes[c]]
            assert planes[0, c, y, x] == stripe.encode[mean(group) + 128]
        for k, i, j in np.ndindex(shape):
            code = planes[0, k // share, i // patch, j // patch]
            assert found[feature.order[k], i, j] == feature.decode[k][code]


def test_two_features_stand_one_behind_the_other():
    generator = np.random.default_rng(0)
    forms = (Form((2, 3), (4,)), Form((3,), (7,), ranges="dynamic"))
    features = tuple(
        build_feature(generator, form, name) for form, name in zip(forms, "ab", strict=True)
    )
    specification = CodecSpecification(features, "raw").check()
    tensors = {
        "a": generator.integers(-128, 128, (2, 2, 3)).astype(np.int8),
        "b": generator.integers(-128, 128, (2, 3)).astype(np.int8),
    }
    codes, ranges = encode_features(specification, tensors)
    for index, (name, part) in enumerate({"a": slice(0, 6), "b": slice(6, 9)}.items()):
        alone = CodecSpecification((features[index],), "raw")
        assert np.array_equal(encode_features(alone, {name: tensors[name]})[0], codes[:, part])
    low, high = tensors["b"].min(axis=1), tensors["b"].max(axis=1)
    assert np.array_equal(ranges, np.stack([low, high], axis=1))


def test_a_lossless_codec_gives_the_feature_back():
    """256 levels and a table that is the identity, whatever the order."""
    form = Form((5, 4, 3), (256,))
    feature = build_feature(np.random.default_rng(3), form)
    stripe = dataclasses.replace(feature.stripes[0], encode=tuple(range(256)))
    feature = dataclasses.replace(feature, stripes=(stripe,), decode=(tuple(range(-128, 128)),) * 5)
    specification = CodecSpecification((feature,)).check()
    tensors = {"a": np.random.default_rng(4).integers(-128, 128, (3, 5, 4, 3)).astype(np.int8)}
    found = decode_features(specification, *encode_features(specification, tensors))
    assert np.array_equal(found["a"], tensors["a"])
