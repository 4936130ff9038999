"""Hypothesis strategies for codecs of a cut, and for the codes and features that they take.

Structure is drawn by hypothesis, so that it shrinks; the numbers in tables come from a seed.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from intaglio.transforms.split.specification import CODINGS, CodecSpecification, Feature
from tests.transforms.split.random_codecs import (
    CODES,
    FREQUENCIES,
    Form,
    build_feature,
    draw_codes,
    draw_features,
    draw_ranges,
)

#: Contexts times levels of a stripe at most, so that a specification stays quick to build.
_TABLE = 4096

seeds = st.integers(0, 2**32 - 1)


@st.composite
def forms(draw: st.DrawFn, ranges: str | None = None) -> Form:
    """Forms of features: 1 to 3 dimensions, at most a few hundred elements."""
    share = draw(st.integers(1, 3))
    wire = draw(st.integers(1, 6))
    plane = draw(st.lists(st.integers(1, 6), max_size=2))
    levels = draw(
        st.lists(
            st.one_of(st.integers(1, 9), st.integers(1, 256)),
            min_size=1,
            max_size=wire,
        )
    )
    kind = ranges or draw(st.sampled_from(("static", "dynamic")))
    left, upper, reference = draw(st.tuples(*[st.integers(0, 3)] * 3))
    while (left + 1) * (upper + 1) * (reference + 1) * max(levels) > _TABLE:
        left, upper, reference = max(left - 1, 0), max(upper - 1, 0), max(reference - 1, 0)
    return Form(
        shape=(wire * share, *plane),
        levels=tuple(levels),
        share_channels=share,
        share_patch=draw(st.sampled_from((1, 1, 2, 3, 7))),
        ranges=kind,
        tile=draw(st.integers(0, 4)) if kind == "dynamic" else 0,
        caps=(left, upper, reference),
        lanes=draw(st.integers(1, 8)),
        frequencies=draw(st.sampled_from(FREQUENCIES)),
        references=draw(st.booleans()),
        filtered=draw(st.booleans()),
    )


@st.composite
def features(draw: st.DrawFn, name: str = "a", ranges: str | None = None) -> Feature:
    """Consistent features, with frequencies for any coding."""
    return build_feature(np.random.default_rng(draw(seeds)), draw(forms(ranges)), name)


@st.composite
def codecs(
    draw: st.DrawFn, coding: str | None = None, ranges: str | None = None
) -> CodecSpecification:
    """Consistent specifications of one or two features.

    Args:
        draw: Given by hypothesis.
        coding: That of all; any by default.
        ranges: Those of all features; any by default.
    """
    made = [draw(features(name, ranges)) for name in ("a", "b")[: draw(st.integers(1, 2))]]
    chosen = coding or draw(st.sampled_from(CODINGS))
    hashed = draw(st.sampled_from(("", "0" * 64, "9f" * 32)))
    return CodecSpecification(tuple(made), chosen, hashed).check()


@st.composite
def codes_for(
    draw: st.DrawFn, specification: CodecSpecification, largest: int = 3
) -> NDArray[np.uint8]:
    """Codes [1 to ``largest`` samples, codes] that the specification takes."""
    generator = np.random.default_rng(draw(seeds))
    samples = draw(st.integers(1, largest))
    return draw_codes(generator, specification, samples, draw(st.sampled_from(CODES)))


@st.composite
def ranges_for(
    draw: st.DrawFn, specification: CodecSpecification, samples: int
) -> NDArray[np.int8]:
    """Dynamic ranges [samples, side_bytes] that the specification takes."""
    return draw_ranges(np.random.default_rng(draw(seeds)), specification, samples)


@st.composite
def messages(
    draw: st.DrawFn,
    coding: str | None = None,
    ranges: str | None = None,
    largest: int = 3,
) -> tuple[CodecSpecification, NDArray[np.uint8], NDArray[np.int8]]:
    """A specification, codes and dynamic ranges that go together."""
    specification = draw(codecs(coding, ranges))
    codes = draw(codes_for(specification, largest))
    return specification, codes, draw(ranges_for(specification, len(codes)))


@st.composite
def features_for(
    draw: st.DrawFn, specification: CodecSpecification, largest: int = 3
) -> dict[str, NDArray[np.int8]]:
    """int8 tensors [1 to ``largest`` samples, ...] that the specification takes."""
    generator = np.random.default_rng(draw(seeds))
    return draw_features(generator, specification, draw(st.integers(1, largest)))
