"""Quantized, half-precision, packed and sparse tensors: what numbers they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.errors import InputError, UnsupportedError
from intaglio.targets.tflite.flatfile import SparseDimension, Sparsity
from intaglio.targets.tflite.schema import schema
from intaglio.targets.tflite.sparse import to_dense
from tests.targets.tflite.mutations import pack, unpack
from tests.targets.tflite.one_operator import (
    Judge,
    Step,
    T,
    check,
    feed,
    file_of,
    one,
    options,
    read,
    run_read,
)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    found = Judge(tmp_path_factory.mktemp("judge"))
    yield found
    found.close()


def int8(shape, scale=0.05, zero_point=3):
    return T(shape, "int8", scale=scale, zero_point=zero_point)


def test_float_numbers_become_integers_and_back(judge):
    tensors = [T((4, 5)), int8((4, 5)), T((4, 5))]
    steps = [
        Step("QUANTIZE", [0], [1], options("Quantize")),
        Step("DEQUANTIZE", [1], [2], options("Dequantize")),
    ]
    check(judge, file_of(tensors, steps, [2]), tolerance=1e-6)


def test_integers_with_other_parameters(judge):
    data = one("QUANTIZE", [int8((4, 5))], [int8((4, 5), 0.08, -20)], options("Quantize"))
    check(judge, data, integer=True, codes_off=1)


def test_the_same_numbers_are_both_input_and_output_of_a_border(judge):
    data = one("DEQUANTIZE", [int8((4, 5))], [T((4, 5))], options("Dequantize"))
    model = check(judge, data, tolerance=1e-6)
    assert [v.name for v in (*model.graph.inputs, *model.graph.outputs)] == ["t0", "t1"]


@pytest.mark.parametrize(
    ("source", "target"), [("float32", "int32"), ("int32", "float32"), ("bool", "float32")]
)
def test_a_cast(judge, source, target):
    kinds = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
    kinds["bool"] = schema.TensorType.BOOL
    chosen = options("Cast", inDataType=kinds[source], outDataType=kinds[target])
    data = one("CAST", [T((3, 4), source)], [T((3, 4), target)], chosen)
    x = np.linspace(-3, 3, 12).reshape(3, 4).astype(source)
    check(judge, data, inputs=[x])


def test_a_cast_of_quantized_numbers_takes_the_integers(judge):
    x = T((3, 4), "uint8", scale=0.5, zero_point=128)
    data = one("CAST", [x], [T((3, 4))], options("Cast"))
    check(judge, data)


def test_half_precision_weights_are_read_as_floats(judge):
    weight = T((5, 8), "float16", np.random.default_rng(0).uniform(-1, 1, (5, 8)))
    tensors = [T((2, 8)), weight, T((5, 8)), T((2, 5))]
    steps = [
        Step("DEQUANTIZE", [1], [2], options("Dequantize"), 3),
        Step("FULLY_CONNECTED", [0, 2], [3], options("FullyConnected")),
    ]
    model = check(judge, file_of(tensors, steps, [3]), tolerance=1e-5)
    assert [node.op_type for node in model.graph] == ["Gemm"]
    assert model.metadata_props["intaglio.source_dtype"] == "float16"


def test_packed_four_bit_weights(judge):
    """Two to a byte, the first in the low half, with a sign."""
    rng = np.random.default_rng(3)
    codes = rng.integers(-7, 8, (3, 5)).astype(np.int8)
    weight = T((3, 5), "int8", codes, 0.1)
    chosen = options("FullyConnected")
    file = one("FULLY_CONNECTED", [int8((2, 5)), weight], [int8((2, 3), 0.3, 0)], chosen, 9)
    model = unpack(file)
    tensor = model.subgraphs[0].tensors[1]
    tensor.type = schema.TensorType.INT4
    flat = np.append(codes.reshape(-1), 0).astype(np.uint8) & 15
    model.buffers[tensor.buffer].data = flat[::2] | flat[1::2] << 4
    check(judge, pack(model), integer=True, codes_off=1)


def sparse_file(values, dimensions, order, block_map, shape):
    """A float layer whose weight is sparse, behind DENSIFY."""
    tensors = [T((2, shape[1])), T(shape, data=np.zeros(shape)), T(shape), T((2, shape[0]))]
    steps = [
        Step("DENSIFY", [1], [2], options("Densify")),
        Step("FULLY_CONNECTED", [0, 2], [3], options("FullyConnected")),
    ]
    model = unpack(file_of(tensors, steps, [3]))
    tensor = model.subgraphs[0].tensors[1]
    model.buffers[tensor.buffer].data = np.frombuffer(
        np.asarray(values, np.float32).tobytes(), np.uint8
    )
    tensor.sparsity = schema.SparsityParametersT()
    tensor.sparsity.traversalOrder = order
    tensor.sparsity.blockMap = block_map
    tensor.sparsity.dimMetadata = [dimension(*d) for d in dimensions]
    return pack(model)


def dimension(size, segments=None, indices=None):
    found = schema.DimensionMetadataT()
    found.denseSize = size
    if segments is not None:
        found.format = schema.DimensionType.SPARSE_CSR
        found.arraySegmentsType = found.arrayIndicesType = schema.SparseIndexVector.Uint8Vector
        found.arraySegments, found.arrayIndices = schema.Uint8VectorT(), schema.Uint8VectorT()
        found.arraySegments.values, found.arrayIndices.values = segments, indices
    return found


def test_sparse_weights_are_made_dense(judge):
    # [[1, 0, 0, 2], [0, 0, 0, 0], [0, 3, 0, 0]]: rows dense, columns compressed.
    dimensions = [(3,), (0, [0, 2, 2, 3], [0, 3, 1])]
    file = sparse_file([1, 2, 3], dimensions, [0, 1], [], (3, 4))
    model = read(file)
    [weight] = [v for v in model.graph.initializers.values() if v.shape.dims == (3, 4)]
    expected = np.zeros((3, 4), np.float32)
    expected[0, 0], expected[0, 3], expected[2, 1] = 1, 2, 3
    np.testing.assert_array_equal(weight.const_value.numpy(), expected)
    check(judge, file, tolerance=1e-6)


def test_sparse_weights_in_blocks(judge):
    # Blocks of 2 x 2 in a 4 x 4 matrix, of which the first and the last are stored.
    dimensions = [(2,), (0, [0, 1, 2], [0, 1]), (2,), (2,)]
    file = sparse_file(range(1, 9), dimensions, [0, 1, 2, 3], [0, 1], (4, 4))
    check(judge, file, tolerance=1e-5)
    [weight] = [v for v in read(file).graph.initializers.values() if v.shape.dims == (4, 4)]
    expected = np.zeros((4, 4), np.float32)
    expected[:2, :2], expected[2:, 2:] = [[1, 2], [3, 4]], [[5, 6], [7, 8]]
    np.testing.assert_array_equal(weight.const_value.numpy(), expected)


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ([(3,), (0, [0, 2, 2, 9], [0, 3, 1])], "indices"),
        ([(3,), (0, [0, 2, 2, 3], [0, 9, 1])], "indices"),
        ([(3,), (0, [0, 2, 3], [0, 3, 1])], "segments"),
        ([(5,), (0, [0, 2, 2, 3], [0, 3, 1])], "stated as 5"),
        ([(3,), (4,)], "values are stored"),
    ],
)
def test_a_sparse_tensor_that_contradicts_itself_is_damage(dimensions, message):
    with pytest.raises(InputError, match=message):
        read(sparse_file([1, 2, 3], dimensions, [0, 1], [], (3, 4)))


def test_a_sparse_tensor_does_not_unpack_to_more_than_the_file_calls_for():
    file = sparse_file([1], [(1,), (0, [0, 1], [0])], [0, 1], [], (3, 4))
    model = unpack(file)
    model.subgraphs[0].tensors[1].shape = [40000, 40000]
    with pytest.raises(InputError, match="far more than the size"):
        read(pack(model))


def test_columns_may_come_before_rows():
    columns = SparseDimension(False, 2, None, None)
    rows = SparseDimension(True, 0, np.array([0, 1, 2]), np.array([2, 0]))
    dense = to_dense(np.array([5, 6]), Sparsity((1, 0), (), (columns, rows)), (3, 2))
    np.testing.assert_array_equal(dense, [[0, 6], [0, 0], [5, 0]])


def test_a_training_range_is_read_as_a_clip_with_a_warning():
    chosen = options("FakeQuant", min=-1.0, max=1.0, numBits=8)
    model = read(one("FAKE_QUANT", [T((50,))], [T((50,))], chosen))
    assert "FAKE_QUANT 't1'" in model.metadata_props["intaglio.warnings"]
    [x] = feed(model)
    [y] = run_read(model, [x])
    # Zero is one of 256 steps of 2/255: the range moves by less than one of them.
    np.testing.assert_allclose(y, np.clip(x, -1, 1), atol=2 / 255)
    assert y.max() - y.min() == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": [0.0]}, "not a positive number"),
        ({"scale": [float("nan")]}, "not a positive number"),
        ({"zeroPoint": [200]}, "zero point outside of int8"),
        ({"scale": [0.1, 0.2], "zeroPoint": [0, 0]}, "2 scales along dimension 0"),
    ],
)
def test_impossible_quantization_is_damage(change, message):
    model = unpack(one("RELU", [int8((4, 5))], [int8((4, 5))]))
    quantization = model.subgraphs[0].tensors[0].quantization
    for name, value in change.items():
        setattr(quantization, name, value)
    with pytest.raises(InputError, match=message):
        read(pack(model))


def test_scales_along_a_dimension_that_is_not_there_are_repaired_with_a_warning():
    weight = T((3, 8), "int8", np.ones((3, 8)), np.array([0.1, 0.2, 0.3]))
    bias = T((3,), "int32", np.ones(3), np.array([0.1, 0.2, 0.3]) * 0.05)
    tensors = [int8((2, 8)), weight, bias]
    file = one("FULLY_CONNECTED", tensors, [int8((2, 3))], options("FullyConnected"), 5)
    sound = read(file)
    model = unpack(file)
    model.subgraphs[0].tensors[2].quantization.quantizedDimension = 3
    repaired = read(pack(model))
    assert "quantized_dimension of 't2'" in repaired.metadata_props["intaglio.warnings"]
    assert "intaglio.warnings" not in sound.metadata_props
    [x] = feed(sound)
    np.testing.assert_array_equal(*run_read(sound, [x]), *run_read(repaired, [x]))


def test_quantization_in_blocks_is_refused_by_name():
    model = unpack(one("RELU", [int8((4, 5))], [int8((4, 5))]))
    quantization = model.subgraphs[0].tensors[1].quantization
    quantization.detailsType = schema.QuantizationDetails.CustomQuantization
    quantization.details = schema.CustomQuantizationT()
    with pytest.raises(UnsupportedError, match="RELU version 1 't1': 't1' is quantized in blocks"):
        read(pack(model))
