"""The codec of a cut as C files for a device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from intaglio.targets.c.literals import rows
from intaglio.targets.c.naming import comment_text, identifier
from intaglio.targets.c.split.tables import starts_of
from intaglio.transforms.split.specification import CODINGS, CodecSpecification, Feature

_FOLDER = Path(__file__).parent
_SHARED = ("split_codec.h", "split_codec.c")

_HEADER = """\
/* The codec of {name}: frames for session {session:#010x}. */
#ifndef {upper}_CODEC_H
#define {upper}_CODEC_H

#include "split_codec.h"

#ifdef __cplusplus
extern "C" {{
#endif

/* Codes and bytes of ranges of a sample. */
#define {upper}_CODEC_CODES {codes}u
#define {upper}_CODEC_SIDE_BYTES {side_bytes}u

/* Bytes that the frame of so many samples never exceeds. Frames are smaller as a rule, and less
 * memory will do where they are. */
#define {upper}_FRAME_BYTES(samples) ({fixed}u + {each}u * (size_t)(samples))

extern const split_codec {name}_codec;

/* Writes the frame of some samples.
 *
 * codes: what the model put out, {codes} bytes a sample. ranges: {ranges}.
 * frame: {upper}_FRAME_BYTES(samples) bytes always suffice; all of it is used while it is written.
 * Returns the bytes of the frame, or minus a split_fault: -SPLIT_CAPACITY where there was too
 * little memory. */
int32_t {name}_write_frame(const int8_t *codes, const int8_t *ranges, uint32_t samples,
                           uint8_t *frame, size_t capacity);

#ifdef __cplusplus
}}
#endif

#endif
"""

_FUNCTION = """\
int32_t {name}_write_frame(const int8_t *codes, const int8_t *ranges, uint32_t samples,
                           uint8_t *frame, size_t capacity)
{{
    /* Bytes of a frame must be a number that can be returned. */
    const size_t most = capacity < 0x7FFFFFFFu ? capacity : 0x7FFFFFFFu;
    return (int32_t)split_write_frame(&{name}_codec, SPLIT_FEATURE, (const uint8_t *)codes, ranges,
                                      samples, frame, most);
}}
"""


def codec_sources(specification: CodecSpecification, name: str) -> Mapping[str, str]:
    """The files of a device's codec.

    Args:
        specification: The codec.
        name: What the model's functions and files begin with.

    Returns:
        Text by file name: ``split_codec.h`` and ``split_codec.c``, which are the same for all
        models, and ``NAME_codec.h`` and ``NAME_codec.c``.
    """
    name = identifier(name)
    return {
        **{file: (_FOLDER / file).read_text(encoding="utf-8") for file in _SHARED},
        f"{name}_codec.h": _header(specification, name),
        f"{name}_codec.c": _source(specification, name),
    }


def table_bytes(specification: CodecSpecification) -> int:
    """Bytes of the tables in ``NAME_codec.c``: sums of frequencies, and references."""
    coded = specification.coding == "rans"
    total = 0
    for feature in specification.features:
        total += sum(starts_of(stripe).nbytes for stripe in feature.stripes) if coded else 0
        total += 4 * len(feature.references) if _refers(feature, coded) else 0
    return total


def _header(specification: CodecSpecification, name: str) -> str:
    fixed, each = _payload(specification)
    side = specification.side_bytes
    return _HEADER.format(
        name=name,
        upper=name.upper(),
        session=specification.session,
        codes=specification.codes,
        side_bytes=side,
        ranges=f"likewise, {side} bytes a sample" if side else "not read: this codec has none",
        fixed=18 + fixed,
        each=side + each,
    )


def _payload(specification: CodecSpecification) -> tuple[int, int]:
    """Bytes of the largest payload: of a frame, and of each sample."""
    if specification.coding == "rans":
        return 4 * max(feature.lanes for feature in specification.features), 2 * specification.codes
    if specification.coding == "raw":
        return 0, specification.codes
    places = [(s, f.code_plane) for f in specification.features for s in f.stripes]
    bits = [s.channels * plane[0] * plane[1] * (s.levels - 1).bit_length() for s, plane in places]
    return 0, sum(-(-count // 8) for count in bits)


def _source(specification: CodecSpecification, name: str) -> str:
    parts = [f'#include "{name}_codec.h"\n']
    coded = specification.coding == "rans"
    features = []
    for index, feature in enumerate(specification.features):
        prefix = f"{name}_codec_{index}"
        parts.append(f"/* {comment_text(feature.source or feature.name)} */\n")
        parts.append(_tables(feature, prefix, coded))
        features.append(_feature(feature, prefix, coded))
    listed = ",\n".join(features)
    parts.append(
        f"static const split_feature {name}_codec_features[{len(features)}] = {{\n{listed}\n}};\n"
    )
    lanes = max(feature.lanes for feature in specification.features)
    parts.append(
        f"const split_codec {name}_codec = {{\n"
        f"    {specification.session}u, /* session */\n"
        f"    {CODINGS.index(specification.coding)}, /* {specification.coding} */\n"
        f"    {specification.codes}, {specification.side_bytes}, /* codes, side_bytes */\n"
        f"    {lanes}, {len(features)}, /* lanes, features */\n"
        f"    {name}_codec_features, NULL, NULL\n}};\n"
    )
    parts.append(_FUNCTION.format(name=name))
    return "\n".join(parts)


def _tables(feature: Feature, prefix: str, coded: bool) -> str:
    parts, stripes = [], []
    for place, stripe in enumerate(feature.stripes):
        starts = "NULL"
        if coded:
            starts = f"{prefix}_starts_{place}"
            data = starts_of(stripe)
            parts.append(f"static const uint16_t {starts}[{data.size}] = {{\n{rows(data)}\n}};\n")
        stripes.append(f"    {{{stripe.channels}, {stripe.levels}, {starts}}}")
    if _refers(feature, coded):
        data = np.array(feature.references, np.int32)
        parts.append(
            f"static const int32_t {prefix}_references[{data.size}] = {{\n{rows(data)}\n}};\n"
        )
    parts.append(
        f"static const split_stripe {prefix}_stripes[{len(stripes)}] = {{\n"
        + ",\n".join(stripes)
        + "\n};\n"
    )
    return "\n".join(parts)


def _refers(feature: Feature, coded: bool) -> bool:
    """Whether the entropy coder looks at codes of other channels."""
    return coded and feature.caps[2] > 0 and max(feature.references) >= 0


def _feature(feature: Feature, prefix: str, coded: bool) -> str:
    """The initializer of a feature."""
    rows_, columns = feature.code_plane
    left, upper, reference = feature.caps
    references = f"{prefix}_references" if _refers(feature, coded) else "NULL"
    return (
        f"    {{{feature.code_channels}, {rows_}, {columns}, {feature.lanes}, "
        f"{{{left}, {upper}, {reference}}}, {feature.side_bytes}, {len(feature.stripes)},\n"
        f"     {prefix}_stripes, {references}}}"
    )
