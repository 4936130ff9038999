"""The specification as data: JSON, its hash, and every inconsistent field."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given

from intaglio.transforms.split.specification import CodecSpecification
from tests.transforms.split.random_codecs import Form, build_feature, draw_restoration
from tests.transforms.split.strategies import codecs

SESSIONS = 2**32


@given(codecs())
def test_json_brings_it_back(specification):
    text = specification.to_json()
    again = CodecSpecification.from_json(text)
    assert again == specification
    assert again.to_json() == text
    assert again.session == specification.session
    assert 0 <= again.session < SESSIONS
    assert hash(again) == hash(specification)


@given(codecs())
def test_sizes_add_up(specification):
    for feature in specification.features:
        stripes = sum(stripe.channels for stripe in feature.stripes)
        assert feature.codes == stripes * feature.code_plane[0] * feature.code_plane[1]
        assert feature.elements == np.prod(feature.shape)
        assert len(feature.channel_stripes) == feature.code_channels
        if feature.ranges == "static":
            assert feature.side_bytes == 0
        assert feature.codes <= feature.elements
    assert specification.codes == sum(f.codes for f in specification.features)
    assert specification.side_bytes == sum(f.side_bytes for f in specification.features)


def static():
    form = Form((4, 3, 5), (3, 5), caps=(1, 1, 1), lanes=2)
    feature = build_feature(np.random.default_rng(0), form)
    return dataclasses.replace(feature, references=(-1, -1, 0, 1))


def dynamic():
    form = Form((4, 3, 5), (3, 5), ranges="dynamic", tile=2, lanes=2)
    return build_feature(np.random.default_rng(0), form)


def with_stripe(feature, **changes):
    first, *others = feature.stripes
    return dataclasses.replace(feature, stripes=(dataclasses.replace(first, **changes), *others))


CHANGES = {
    "name": lambda f: dataclasses.replace(f, name="y"),
    "source": lambda f: dataclasses.replace(f, source="y"),
    "shape": lambda f: dataclasses.replace(f, shape=(4, 5, 3)),
    "scale": lambda f: dataclasses.replace(f, scale=f.scale * 1.5),
    "zero_point": lambda f: dataclasses.replace(f, zero_point=f.zero_point ^ 1),
    "order": lambda f: dataclasses.replace(f, order=f.order[::-1]),
    "stripes": lambda f: dataclasses.replace(f, stripes=f.stripes[::-1]),
    "decode": lambda f: dataclasses.replace(
        f, decode=((f.decode[0][0] ^ 1, *f.decode[0][1:]), *f.decode[1:])
    ),
    "ranges": lambda f: dataclasses.replace(f, ranges="dynamic"),
    "tile": lambda f: dataclasses.replace(f, tile=2),
    "share_channels": lambda f: dataclasses.replace(f, share_channels=2),
    "share_patch": lambda f: dataclasses.replace(f, share_patch=2),
    "caps": lambda f: dataclasses.replace(f, caps=(1, 1, 0)),
    "references": lambda f: dataclasses.replace(f, references=(-1, -1, 0, 0)),
    "lanes": lambda f: dataclasses.replace(f, lanes=1),
    "restoration": lambda f: dataclasses.replace(
        f, restoration=draw_restoration(np.random.default_rng(0), f.channels)
    ),
    "channels": lambda f: with_stripe(f, channels=f.stripes[0].channels + 1),
    "levels": lambda f: with_stripe(f, levels=4),
    "encode": lambda f: with_stripe(
        f, encode=(f.stripes[0].encode[0] ^ 1, *f.stripes[0].encode[1:])
    ),
    "frequencies": lambda f: with_stripe(
        f, frequencies=(f.stripes[0].frequencies[0][::-1], *f.stripes[0].frequencies[1:])
    ),
}


def test_every_field_is_changed_here():
    fields = {field.name for field in dataclasses.fields(static())}
    fields |= {field.name for field in dataclasses.fields(static().stripes[0])}
    assert set(CHANGES) == fields


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_the_session_changes_with_every_field(field):
    feature = static()
    changed = CHANGES[field](feature)
    assert changed != feature
    sessions = {CodecSpecification((f,)).session for f in (feature, changed)}
    assert len(sessions) == 2


def test_the_session_changes_with_the_model_the_coding_and_the_features():
    feature = static()
    second = dataclasses.replace(feature, name="b")
    made = [
        CodecSpecification((feature,)),
        CodecSpecification((feature,), model_hash="00"),
        CodecSpecification((feature,), "packed"),
        CodecSpecification((feature, second)),
        CodecSpecification((second, feature)),
    ]
    assert len({specification.session for specification in made}) == 5


WRONG = {
    "shape": [
        lambda f: dataclasses.replace(f, shape=()),
        lambda f: dataclasses.replace(f, shape=(4, 3, 5, 1)),
        lambda f: dataclasses.replace(f, shape=(4, 0, 5)),
        lambda f: dataclasses.replace(f, shape=(4, -3, 5)),
    ],
    "order": [
        lambda f: dataclasses.replace(f, order=(0, 1, 2)),
        lambda f: dataclasses.replace(f, order=(0, 1, 2, 2)),
        lambda f: dataclasses.replace(f, order=(1, 2, 3, 4)),
        lambda f: dataclasses.replace(f, order=(0, 1, 2, 3, 4)),
    ],
    "ranges": [lambda f: dataclasses.replace(f, ranges="other")],
    "tile or share_patch": [
        lambda f: dataclasses.replace(f, tile=-1),
        lambda f: dataclasses.replace(f, share_patch=0),
    ],
    "tiles without dynamic ranges": [lambda f: dataclasses.replace(f, tile=2)],
    "share_channels": [
        lambda f: dataclasses.replace(f, share_channels=0),
        lambda f: dataclasses.replace(f, share_channels=3),
    ],
    "stripes do not add up": [
        lambda f: dataclasses.replace(f, stripes=f.stripes[:1]),
        lambda f: dataclasses.replace(f, stripes=()),
        lambda f: with_stripe(f, channels=0),
        lambda f: with_stripe(f, channels=9),
        lambda f: dataclasses.replace(f, share_channels=2),
    ],
    "lanes": [
        lambda f: dataclasses.replace(f, lanes=0),
        lambda f: dataclasses.replace(f, lanes=65),
    ],
    "caps": [
        lambda f: dataclasses.replace(f, caps=(-1, 0, 0)),
        lambda f: dataclasses.replace(f, caps=(0, 256, 0)),
    ],
    "levels": [
        lambda f: with_stripe(f, levels=0),
        lambda f: with_stripe(f, levels=257),
    ],
    "encode": [
        lambda f: with_stripe(f, encode=()),
        lambda f: with_stripe(f, encode=(0,) * 255),
        lambda f: with_stripe(f, encode=(3,) * 256),
        lambda f: with_stripe(f, encode=(-1,) * 256),
    ],
    "decode": [
        lambda f: dataclasses.replace(f, decode=()),
        lambda f: dataclasses.replace(f, decode=f.decode[::-1]),
        lambda f: dataclasses.replace(f, decode=f.decode[:3]),
        lambda f: dataclasses.replace(f, decode=((128, 0, 0), *f.decode[1:])),
        lambda f: dataclasses.replace(f, decode=((-129, 0, 0), *f.decode[1:])),
    ],
    "references": [lambda f: dataclasses.replace(f, references=())],
    "no earlier group": [
        lambda f: dataclasses.replace(f, references=(-1, -1, 0, 2)),
        lambda f: dataclasses.replace(f, references=(-1, 0, 0, 0)),
        lambda f: dataclasses.replace(f, references=(-1, -1, 0, -2)),
        lambda f: dataclasses.replace(f, references=(-1, -1, 3, 0)),
    ],
    "frequencies": [
        lambda f: with_stripe(f, frequencies=()),
        lambda f: with_stripe(f, frequencies=f.stripes[0].frequencies[:-1]),
        lambda f: with_stripe(f, frequencies=((4096,),) * 8),
        lambda f: with_stripe(f, frequencies=((4096, 0, 0),) * 8),
        lambda f: with_stripe(f, frequencies=((4000, 90, 5),) * 8),
        lambda f: with_stripe(f, frequencies=((4097, -2, 1),) * 8),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("message", "change"),
    [(message, change) for message, changes in WRONG.items() for change in changes],
)
def test_an_inconsistent_field_is_refused_by_name(message, change):
    feature = static()
    CodecSpecification((feature,)).check()
    wrong = CodecSpecification((change(feature),))
    with pytest.raises(ValueError, match=f"a: .*{message}"):
        wrong.check()
    with pytest.raises(ValueError, match=f"a: .*{message}"):
        CodecSpecification.from_json(wrong.to_json())


def test_a_second_feature_is_checked_too():
    second = dataclasses.replace(static(), name="b", lanes=0)
    with pytest.raises(ValueError, match="b: lanes"):
        CodecSpecification((static(), second)).check()


def test_dynamic_ranges_need_no_tables():
    found = CodecSpecification((dynamic(),)).check()
    assert found.side_bytes == 2 * 2 * 2 * 3


@pytest.mark.parametrize("coding", ["raw", "packed"])
def test_other_codings_need_no_frequencies(coding):
    bare = dataclasses.replace(with_stripe(static(), frequencies=()), references=())
    assert CodecSpecification((bare,), coding).check().coding == coding
    with pytest.raises(ValueError, match="frequencies"):
        CodecSpecification((bare,), "rans").check()


def test_nothing_and_an_unknown_coding_are_refused():
    with pytest.raises(ValueError, match="no feature"):
        CodecSpecification(()).check()
    with pytest.raises(ValueError, match="coding is 'zip'"):
        CodecSpecification((static(),), "zip").check()


def without(path):
    def change(data):
        *parents, last = path
        for key in parents:
            data = data[key]
        del data[last]

    return change


@pytest.mark.parametrize(
    "change",
    [
        without(["version"]),
        without(["features"]),
        without(["features", 0, "name"]),
        without(["features", 0, "shape"]),
        without(["features", 0, "stripes", 0, "levels"]),
        lambda data: data.update(version=2),
        lambda data: data.update(more=1),
        lambda data: data["features"][0].update(more=1),
        lambda data: data["features"][0].update(shape=None),
        lambda data: data["features"][0].update(shape="abc"),
        lambda data: data["features"][0].update(caps=[1]),
        lambda data: data["features"][0].update(lanes="two"),
        lambda data: data.update(features=7),
        lambda data: data.update(features=[7]),
    ],
)
def test_json_that_is_none_is_refused(change):
    data = json.loads(CodecSpecification((static(),)).to_json())
    change(data)
    with pytest.raises(ValueError, match=r"specification|version|a: |unpack"):
        CodecSpecification.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '"x"', "{}"])
def test_text_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"codec specification|version"):
        CodecSpecification.from_json(text)
