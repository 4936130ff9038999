"""Damaged TFLite files: real ones with bytes flipped, or with fields changed where they stand."""

from __future__ import annotations

import copy
import random
from typing import Any

import flatbuffers

from intaglio.targets.tflite.schema import IDENTIFIER, schema

#: Numbers that break things.
ODD_NUMBERS = (-(2**31), -129, -2, -1, 0, 1, 2, 3, 5, 127, 255, 65536, 2**24, 2**31 - 1)


def unpack(data: bytes) -> Any:
    """The object form of a file."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def pack(model: Any) -> bytes:
    """The file of an object form."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def mutate_bytes(data: bytes, random_source: random.Random) -> bytes:
    """Cuts, overwrites or repeats a few bytes."""
    found = bytearray(data)
    for _ in range(random_source.choice((1, 1, 2, 8))):
        # The structure stands at both ends, weights in between.
        edge = random_source.random() < 0.7
        reach = min(len(found), 4096) if edge else len(found)
        place = random_source.randrange(reach)
        if edge and random_source.random() < 0.5:
            place = len(found) - 1 - place
        kind = random_source.random()
        if kind < 0.4:
            found[place] = random_source.randrange(256)
        elif kind < 0.8:
            number = random_source.choice(ODD_NUMBERS)
            found[place : place + 4] = number.to_bytes(4, "little", signed=True)
        elif kind < 0.9:
            del found[place:]
        else:
            found[place:place] = found[place : place + random_source.randrange(1, 64)]
        if not found:
            found = bytearray(b"\0")
    return bytes(found)


def mutate_structure(model: Any, random_source: random.Random) -> bytes | None:
    """Changes fields of the object form and packs it; None where that cannot be packed."""
    changed = copy.deepcopy(model)
    for _ in range(random_source.choice((1, 1, 1, 2, 4))):
        _change_one(changed, random_source)
    try:
        return pack(changed)
    except Exception:  # the packer itself refuses some values: not a file then
        return None


def _change_one(model: Any, random_source: random.Random) -> None:
    graph = model.subgraphs[0] if model.subgraphs else None
    if graph is None or not graph.tensors or not graph.operators:
        return
    tensor = random_source.choice(graph.tensors)
    operator = random_source.choice(graph.operators)
    number = random_source.choice(ODD_NUMBERS)
    index = random_source.randrange(-2, len(graph.tensors) + 2)
    kind = random_source.randrange(14)
    if kind == 0 and tensor.shape is not None and len(tensor.shape):
        shape = [int(d) for d in tensor.shape]
        shape[random_source.randrange(len(shape))] = number
        tensor.shape = shape
    elif kind == 1:
        tensor.shape = [*_numbers(tensor.shape), number]
    elif kind == 2:
        tensor.type = random_source.randrange(20)
    elif kind == 3:
        tensor.buffer = random_source.randrange(len(model.buffers) + 1)
    elif kind == 4 and tensor.quantization is not None:
        tensor.quantization.scale = random_source.choice(
            ([], [0.0], [-1.0], [float("nan")], [1e-40])
        )
    elif kind == 5 and tensor.quantization is not None:
        tensor.quantization.zeroPoint = [number]
        tensor.quantization.quantizedDimension = random_source.choice(ODD_NUMBERS)
    elif kind == 6 and operator.inputs is not None and len(operator.inputs):
        inputs = [int(i) for i in operator.inputs]
        inputs[random_source.randrange(len(inputs))] = index
        operator.inputs = inputs
    elif kind == 7:
        operator.inputs = _numbers(operator.inputs)[: random_source.randrange(3)]
    elif kind == 8:
        operator.outputs = [index]
    elif kind == 9:
        operator.builtinOptions = None
    elif kind == 10 and operator.builtinOptions is not None:
        fields = [
            k for k, v in vars(operator.builtinOptions).items() if isinstance(v, (int, float))
        ]
        if fields:
            value = random_source.randrange(256) if random_source.random() < 0.5 else number
            setattr(operator.builtinOptions, random_source.choice(fields), value)
    elif kind == 11:
        code = random_source.choice(model.operatorCodes)
        code.builtinCode = random_source.randrange(210)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    elif kind == 12:
        buffer = random_source.choice(model.buffers)
        if buffer.data is not None:
            buffer.data = bytes(buffer.data)[: random_source.randrange(1 + len(buffer.data))]
    else:
        graph.inputs = [index] if random_source.random() < 0.5 else graph.inputs
        graph.outputs = [random_source.randrange(-2, len(graph.tensors) + 2)]


def _numbers(vector: Any) -> list[int]:
    return [] if vector is None else [int(number) for number in vector]
