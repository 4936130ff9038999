"""The frame's definition in plain Python integers, apart from all code under test."""

import zlib

import numpy as np

LOWEST = 1 << 16


def write_frame(specification, codes, ranges, kind=0):
    payload = {"raw": raw, "packed": packed, "rans": rans}[specification.coding](
        specification, codes
    )
    coding = ["raw", "packed", "rans"].index(specification.coding)
    head = b"IF" + bytes([1, kind | coding << 4])
    head += specification.session.to_bytes(4, "little") + len(codes).to_bytes(2, "little")
    head += len(payload).to_bytes(4, "little")
    data = head + ranges.tobytes() + payload
    return data + zlib.crc32(data).to_bytes(4, "little")


def raw(specification, codes):
    return codes.tobytes()


def packed(specification, codes):
    out = b""
    for row in codes.tolist():
        at = 0
        for feature in specification.features:
            for stripe in feature.stripes:
                count = stripe.channels * feature.codes // feature.code_channels
                bits = (stripe.levels - 1).bit_length()
                whole = sum(code << bits * i for i, code in enumerate(row[at : at + count]))
                out += whole.to_bytes((count * bits + 7) // 8, "little")
                at += count
    return out


def rans(specification, codes):
    steps = []
    for row in codes:
        at = 0
        for feature in specification.features:
            shape = (feature.code_channels, *feature.code_plane)
            steps += steps_of(feature, row[at : at + feature.codes].astype(int).reshape(shape))
            at += feature.codes
    states = [LOWEST] * max(feature.lanes for feature in specification.features)
    words = []
    for lane, frequency, start in reversed(steps):
        if states[lane] >= frequency << 20:
            words.append(states[lane] & 0xFFFF)
            states[lane] >>= 16
        quotient, rest = divmod(states[lane], frequency)
        states[lane] = quotient * 4096 + start + rest
    return b"".join(state.to_bytes(4, "little") for state in states) + b"".join(
        word.to_bytes(2, "little") for word in reversed(words)
    )


def steps_of(feature, planes):
    """Lane, frequency and start of each code, in the order of decoding."""
    channels, rows, columns = planes.shape
    a, b, r = feature.caps
    for first in range(0, channels, feature.lanes):
        for row, column in np.ndindex(rows, columns):
            for channel in range(first, min(channels, first + feature.lanes)):
                left = planes[channel, row, column - 1] if column else 0
                upper = planes[channel, row - 1, column] if row else 0
                other = feature.references[channel]
                reference = planes[other, row, column] if other >= 0 else 0
                context = (min(left, a) * (b + 1) + min(upper, b)) * (r + 1) + min(reference, r)
                stripe = feature.stripes[feature.channel_stripes[channel]]
                frequencies = stripe.frequencies[context]
                code = planes[channel, row, column]
                yield channel - first, frequencies[code], sum(frequencies[:code])
