"""A small ``.tosa`` file: a RESCALE and a TABLE, int8 in and out, one sample of 4x4x3.

Written slot by slot, so that the tests of the session depend on no emitter; what it computes is
told by :func:`compute`.
"""

from __future__ import annotations

import flatbuffers
import numpy as np

SHAPE = (1, 4, 4, 3)
NAMES = ("x", "block/rescaled", "y")

ZERO_IN, ZERO_OUT, MULTIPLIER, SHIFT = 7, -3, 1_500_000_001, 30
TABLE = (np.arange(256) * 37 % 256 - 128).astype(np.int8)

_TABLE, _RESCALE, _CONST = (31, 31), (66, 66), (67, 67)  # operator, and its attribute
_BOOL, _INT8, _INT32 = 1, 3, 5
_SINGLE_ROUND = 1


def compute(x):
    """The rescaled codes and the output.

    (v - zero_in) * multiplier / 2^shift, rounded half up, plus zero_out, saturated; then a look-up.
    """
    product = (x.astype(np.int64) - ZERO_IN) * MULTIPLIER + (1 << (SHIFT - 1))
    rescaled = np.clip((product >> SHIFT) + ZERO_OUT, -128, 127).astype(np.int8)
    return rescaled, TABLE[rescaled.astype(int) + 128]


#: Operators that may stand in the place of the TABLE, with what they take beside the codes.
NOT = ((33, 33), ())
MATMUL = ((7, 7), ("table",))
LOOK_UP = (_TABLE, ("table",))


def write_small_file(operator=LOOK_UP, names=NAMES, outputs=("y",)):
    """The file's bytes, perhaps with another second operator, names or outputs."""
    constants = {
        "multiplier": (_INT32, np.array([MULTIPLIER], np.int32)),
        "shift": (_INT8, np.array([SHIFT], np.int8)),
        "zero_in": (_INT8, np.array([ZERO_IN], np.int8)),
        "zero_out": (_INT8, np.array([ZERO_OUT], np.int8)),
        "table": (_INT8, TABLE),
    }
    builder = flatbuffers.Builder(4096)
    tensors = [_tensor(builder, name, SHAPE, _INT8) for name in names]
    tensors += [_tensor(builder, n, a.shape, t, a) for n, (t, a) in constants.items()]
    operators = [_operator(builder, _CONST, (), (name,)) for name in constants]
    fixed = ("multiplier", "shift", "zero_in", "zero_out")
    operators.append(_operator(builder, _RESCALE, (names[0], *fixed), (names[1],)))
    kind, beside = operator
    operators.append(_operator(builder, kind, (names[1], *beside), (names[2],)))
    lists = [_offsets(builder, operators), _offsets(builder, tensors)]
    lists += [_names(builder, (names[0],)), _names(builder, outputs)]
    # The reference model crashes on a region or a block without a name.
    name = builder.CreateString("main")
    block = _table(builder, 6, {0: name, **dict(enumerate(lists, start=1))})
    region = _table(builder, 2, {0: name, 1: _offsets(builder, [block])})
    regions = _offsets(builder, [region])
    builder.StartObject(4)
    for slot, value in enumerate((1, 0, 0)):
        builder.PrependInt32Slot(slot, value, -1)
    builder.PrependBoolSlot(3, False, True)
    version = builder.EndObject()
    builder.Finish(_table(builder, 2, {0: version, 1: regions}), b"TOSA")
    return bytes(builder.Output())


def _tensor(builder, name, shape, dtype, values=None):
    data = None
    if values is not None:
        raw = values.tobytes()
        builder.StartVector(1, len(raw), 8)
        builder.head -= len(raw)
        builder.Bytes[builder.head : builder.head + len(raw)] = raw
        data = builder.EndVector()
    text = builder.CreateString(name)
    builder.StartVector(4, len(shape), 4)
    for size in reversed(shape):
        builder.PrependInt32(size)
    sizes = builder.EndVector()
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    builder.PrependUOffsetTRelativeSlot(1, sizes, 0)
    builder.PrependUint32Slot(2, dtype, 0)
    if data is not None:
        builder.PrependUOffsetTRelativeSlot(3, data, 0)
    return builder.EndObject()


def _operator(builder, kind, inputs, outputs):
    builder.StartObject(5)
    if kind == _RESCALE:
        builder.PrependBoolSlot(0, True, False)
        builder.PrependUint32Slot(1, _SINGLE_ROUND, 0)
    attribute = builder.EndObject()
    taken, made = _names(builder, inputs), _names(builder, outputs)
    builder.StartObject(6)
    builder.PrependUint32Slot(0, kind[0], 0)
    builder.PrependUint8Slot(1, kind[1], 0)
    for slot, offset in ((2, attribute), (3, taken), (4, made)):
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return builder.EndObject()


def _table(builder, slots, offsets):
    builder.StartObject(slots)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return builder.EndObject()


def _names(builder, names):
    return _offsets(builder, [builder.CreateString(name) for name in names])


def _offsets(builder, offsets):
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
