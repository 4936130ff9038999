"""The writer: equal bytes for equal calls, shared parts, alignment, and files that run."""

import numpy as np
import pytest

from intaglio.errors import InternalError
from intaglio.targets.tflite.schema import IDENTIFIER, schema
from intaglio.targets.tflite.writer import ALIGNMENT, FileBuilder

WEIGHT = np.arange(-9, 9, dtype=np.int8).reshape(3, 1, 2, 3)


def build(description="test", names=("x", "w", "b", "y")):
    builder = FileBuilder(description)
    scales = [0.1, 0.2, 0.3]
    x = builder.tensor(names[0], (1, 4, 4, 3), "int8", scale=0.5, zero_point=3)
    w = builder.tensor(names[1], WEIGHT.shape, "int8", data=WEIGHT, scale=scales)
    bias = np.arange(3, dtype=np.int32)
    b = builder.tensor(names[2], (3,), "int32", data=bias, scale=0.5 * np.array(scales))
    y = builder.tensor(names[3], (1, 4, 3, 3), "int8", scale=0.25, zero_point=-3)
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideW = options.strideH = 1
    options.dilationWFactor = options.dilationHFactor = 1
    builder.operator("CONV_2D", [x, w, b], [y], options, version=3)
    builder.inputs([x])
    builder.outputs([y])
    return builder


def read(data):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))


def test_the_same_calls_give_the_same_bytes():
    assert build().to_bytes() == build().to_bytes()


def test_to_bytes_may_be_called_twice():
    builder = build()
    assert builder.to_bytes() == builder.to_bytes()


def test_the_file_says_what_was_stated():
    data = build("a description").to_bytes()
    assert data[4:8] == IDENTIFIER
    model = read(data)
    assert (model.version, model.description) == (3, b"a description")
    [graph] = model.subgraphs
    [operator] = graph.operators
    assert model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D
    assert model.operatorCodes[operator.opcodeIndex].version == 3
    assert operator.builtinOptions.padding == schema.Padding.VALID
    weight = graph.tensors[operator.inputs[1]]
    assert weight.name == b"w"
    np.testing.assert_array_equal(weight.shape, WEIGHT.shape)
    np.testing.assert_array_equal(weight.quantization.scale, np.float32([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(weight.quantization.zeroPoint, [0, 0, 0])
    stored = model.buffers[weight.buffer].data.view(np.int8).reshape(WEIGHT.shape)
    np.testing.assert_array_equal(stored, WEIGHT)


def test_buffer_zero_is_empty_and_what_is_computed_has_it():
    model = read(build().to_bytes())
    assert model.buffers[0].data is None
    [graph] = model.subgraphs
    assert [graph.tensors[i].buffer for i in (graph.inputs[0], graph.outputs[0])] == [0, 0]


def test_constants_are_aligned():
    data = build().to_bytes()
    position = data.index(WEIGHT.tobytes())
    assert position % ALIGNMENT == 0


def test_equal_constants_are_stored_once():
    def size(first, second):
        builder = FileBuilder("")
        builder.tensor("first", (4000,), "int8", data=np.full(4000, first, np.int8))
        builder.tensor("second", (4000,), "int8", data=np.full(4000, second, np.int8))
        return len(builder.to_bytes())

    assert size(1, 1) < size(1, 2) - 3900


def test_equal_quantizations_are_stored_once():
    def size(step):
        builder = FileBuilder("")
        for index in range(10):
            scales = np.arange(1, 101) + step * index
            builder.tensor("t", (100,), "int8", scale=scales, zero_point=np.zeros(100, np.int64))
        return len(builder.to_bytes())

    assert size(0) < size(1) - 9 * 400


def test_operators_of_one_kind_and_version_share_their_code():
    builder = FileBuilder("")
    tensors = [builder.tensor(f"t{i}", (1,), "float32") for i in range(4)]
    builder.operator("RELU", tensors[:1], tensors[1:2])
    builder.operator("RELU", tensors[1:2], tensors[2:3])
    builder.operator("RELU", tensors[2:3], tensors[3:4], version=2)
    assert [c.version for c in read(builder.to_bytes()).operatorCodes] == [1, 2]


def test_new_codes_leave_room_for_old_readers():
    builder = FileBuilder("")
    tensor = builder.tensor("t", (1,), "float32")
    builder.operator("GELU", [tensor], [tensor])
    [code] = read(builder.to_bytes()).operatorCodes
    assert (code.builtinCode, code.deprecatedBuiltinCode) == (schema.BuiltinOperator.GELU, 127)


def test_a_custom_operator_keeps_its_name_and_options():
    builder = FileBuilder("")
    tensor = builder.tensor("t", (1,), "float32")
    builder.operator("MyOperator", [tensor], [tensor], custom=b"\x01\x02")
    model = read(builder.to_bytes())
    [code] = model.operatorCodes
    assert (code.builtinCode, code.customCode) == (schema.BuiltinOperator.CUSTOM, b"MyOperator")
    assert bytes(model.subgraphs[0].operators[0].customOptions) == b"\x01\x02"


def test_open_dimensions_stand_in_the_signature():
    builder = FileBuilder("")
    builder.tensor("open", (1, 4), "int8", signature=(-1, 4))
    builder.tensor("fixed", (1, 4), "int8", signature=(1, 4))
    first, second = read(builder.to_bytes()).subgraphs[0].tensors
    np.testing.assert_array_equal(first.shapeSignature, [-1, 4])
    assert second.shapeSignature is None


def test_signatures_name_inputs_and_outputs():
    builder = build()
    builder.signature("serving_default", {"image": 0}, {"scores": 3})
    [signature] = read(builder.to_bytes()).signatureDefs
    assert signature.signatureKey == b"serving_default"
    assert [(m.name, m.tensorIndex) for m in signature.inputs] == [(b"image", 0)]
    assert [(m.name, m.tensorIndex) for m in signature.outputs] == [(b"scores", 3)]


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 3), "int8"), ((6,), "int16")], ids=["shape", "type"]
)
def test_data_must_be_what_the_tensor_is(shape, dtype):
    with pytest.raises(InternalError, match="data of int8"):
        FileBuilder("").tensor("t", shape, dtype, data=np.zeros(6, np.int8))


def test_scales_and_zero_points_must_be_equally_many():
    with pytest.raises(InternalError, match="2 scales and 3 zero points"):
        FileBuilder("").tensor("t", (2,), "int8", scale=[1, 2], zero_point=[0, 0, 0])


def test_litert_runs_the_file():
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    runtime = interpreter.Interpreter(model_content=build().to_bytes())
    runtime.allocate_tensors()
    x = np.arange(48, dtype=np.int8).reshape(1, 4, 4, 3)
    runtime.set_tensor(0, x)
    runtime.invoke()
    centered = x.astype(np.int64) - 3
    windows = np.stack([centered[:, :, :-1], centered[:, :, 1:]], axis=3)
    sums = np.einsum("nhwkc,okc->nhwo", windows, WEIGHT[:, 0].astype(np.int64)) + np.arange(3)
    real = sums * 0.5 * np.array([0.1, 0.2, 0.3])
    expected = np.clip(np.round(real / 0.25) - 3, -128, 127)
    assert np.abs(runtime.get_tensor(3) - expected).max() <= 1
