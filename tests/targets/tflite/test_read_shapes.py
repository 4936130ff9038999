"""RESHAPE and its kin, and arithmetic on shapes, which is folded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intaglio.errors import InputError, UnsupportedError
from tests.targets.tflite.one_operator import (
    Judge,
    Step,
    T,
    check,
    constant,
    feed,
    file_of,
    one,
    options,
    read,
    run_read,
)

QUICK = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
INT8 = {"dtype": "int8", "scale": 0.05, "zero_point": -7}


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    found = Judge(tmp_path_factory.mktemp("judge"))
    yield found
    found.close()


def tensor(shape, kind):
    return T(shape, **INT8) if kind == "int8" else T(shape)


kinds = st.sampled_from(["float32", "int8"])


@QUICK
@given(st.data(), kinds, st.booleans())
def test_a_reshaped_tensor(judge, data, kind, by_options):
    before = data.draw(st.lists(st.integers(1, 4), max_size=4))
    count = math.prod(before)
    after = []
    while count > 1 and len(after) < 4:
        after.append(data.draw(st.sampled_from([d for d in range(1, count + 1) if count % d == 0])))
        count //= after[-1]
    after.append(count)
    stated = list(after)
    if data.draw(st.booleans()):
        stated[data.draw(st.integers(0, len(after) - 1))] = -1
    inputs = [tensor(before, kind)] + ([] if by_options else [constant(stated)])
    chosen = options("Reshape", newShape=stated)
    file = one("RESHAPE", inputs, [tensor(after, kind)], chosen)
    check(judge, file, integer=kind == "int8")


def test_an_old_file_means_a_scalar_by_the_shape_0(judge):
    file = one("RESHAPE", [T((1, 1))], [T(())], options("Reshape", newShape=[0]))
    assert len(check(judge, file).graph.outputs[0].shape) == 0


def test_the_shape_tensor_has_precedence_over_the_options(judge):
    chosen = options("Reshape", newShape=[1, 1, 1])
    model = check(judge, one("RESHAPE", [T((2, 3)), constant([3, 2])], [T((3, 2))], chosen))
    assert list(model.graph.outputs[0].shape) == [3, 2]


@pytest.mark.parametrize("stated", [[4, 2], [-1, 4], [-1, -1], [-2, 3]])
def test_a_shape_that_does_not_fit_is_an_error_of_the_file(stated):
    file = one("RESHAPE", [T((2, 3)), constant(stated)], [T((3, 2))], options("Reshape"))
    with pytest.raises(InputError, match="RESHAPE 't2'"):
        read(file)


def test_a_tensor_without_elements_is_reshaped(judge):
    file = one("RESHAPE", [T((0, 3)), constant([3, 0])], [T((3, 0))], options("Reshape"))
    assert run_read(read(file), [np.zeros((0, 3), np.float32)])[0].shape == (3, 0)


@QUICK
@given(st.data(), st.lists(st.sampled_from([1, 1, 2, 3]), min_size=1, max_size=5), kinds)
def test_a_squeezed_tensor(judge, data, shape, kind):
    ones = [axis for axis, dim in enumerate(shape) if dim == 1]
    axes = data.draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
    gone = axes or ones
    stated = [a - len(shape) if data.draw(st.booleans()) else a for a in axes]
    result = [d for axis, d in enumerate(shape) if axis not in gone]
    chosen = options("Squeeze", squeezeDims=stated)
    file = one("SQUEEZE", [tensor(shape, kind)], [tensor(result, kind)], chosen)
    check(judge, file, integer=kind == "int8")


@QUICK
@given(st.data(), st.lists(st.integers(1, 3), max_size=4), kinds)
def test_an_expanded_tensor(judge, data, shape, kind):
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    result = list(shape)
    result.insert(axis % (len(shape) + 1), 1)
    file = one("EXPAND_DIMS", [tensor(shape, kind), constant(axis)], [tensor(result, kind)])
    check(judge, file, integer=kind == "int8")


def test_squeezing_a_dimension_of_2_is_an_error_of_the_file():
    file = one("SQUEEZE", [T((2, 1))], [T((1,))], options("Squeeze", squeezeDims=[0]))
    with pytest.raises(InputError, match=r"removes axes \[0\] of \[2, 1\]"):
        read(file)


def flatten_by_shape(signature, kind="float32"):
    """``x.reshape(x.shape[0], -1)`` as converters write it, behind a dimension that may be open."""
    data = T((1, 4, 5, 6), signature=signature)
    if kind == "int8":
        data = T((1, 4, 5, 6), signature=signature, **INT8)
    tensors = [
        data,
        T((4,), "int32"),
        constant([0]),
        constant([1]),
        constant([1]),
        T((), "int32"),
        constant(-1),
        T((2,), "int32"),
        tensor((1, 1), kind),  # as files do, this one states the wrong shape
    ]
    steps = [
        Step("SHAPE", [0], [1], options("Shape", outType=2)),
        Step("STRIDED_SLICE", [1, 2, 3, 4], [5], options("StridedSlice", shrinkAxisMask=1)),
        Step("PACK", [5, 6], [7], options("Pack", valuesCount=2, axis=0)),
        Step("RESHAPE", [0, 7], [8]),
    ]
    return file_of(tensors, steps, [8])


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_shape_computed_from_static_sizes_is_folded(judge, kind):
    model = check(judge, flatten_by_shape(None, kind), integer=kind == "int8")
    assert [n.op_type for n in model.graph if "Quantize" not in n.op_type.replace("De", "")] in (
        ["Reshape"],
        ["DequantizeLinear", "Reshape"],
        ["Reshape", "DequantizeLinear"],
    )
    assert list(model.graph.outputs[0].shape) == [1, 120]


def test_a_reshape_by_an_open_dimension_keeps_that_dimension(judge):
    file = flatten_by_shape([-1, 4, 5, 6])
    model = read(file)
    assert [n.op_type for n in model.graph] == ["Reshape"]
    assert model.graph.node(0).inputs[1].const_value.numpy().tolist() == [0, -1]
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    np.testing.assert_array_equal(run_read(model, [x])[0], judge.run(file, [x])[0])


def test_a_bound_dimension_is_folded():
    model = read(flatten_by_shape([-1, 4, 5, 6]), {"t0": [2, 4, 5, 6]})
    assert list(model.graph.outputs[0].shape) == [2, 120]


def test_an_open_dimension_that_moves_is_computed(judge):
    tensors = [
        T((1, 4), signature=[-1, 4]),
        T((2,), "int32"),
        constant([0]),
        T((2,), "int32"),
        T((4, 1)),
    ]
    steps = [
        Step("SHAPE", [0], [1], options("Shape", outType=2)),
        Step("REVERSE_V2", [1, 2], [3], options("ReverseV2")),
        Step("RESHAPE", [0, 3], [4]),
    ]
    file = file_of(tensors, steps, [4])
    model = read(file)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(run_read(model, [x])[0], judge.run(file, [x])[0])


def test_the_shape_of_an_open_dimension_is_an_output(judge):
    file = one(
        "SHAPE", [T((1, 4), signature=[-1, 4])], [T((2,), "int32")], options("Shape", outType=2)
    )
    x = np.zeros((3, 4), np.float32)
    [found] = run_read(read(file), [x])
    assert found.dtype == np.int32
    assert found.tolist() == judge.run(file, [x])[0].tolist() == [3, 4]


def test_a_reshape_whose_shape_is_an_input_stays_one(judge):
    file = one("RESHAPE", [T((2, 3)), T((2,), "int32")], [T((1, 1))], options("Reshape"))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    check(judge, file, inputs=[x, np.array([3, 2], np.int32)])


def folded(name, inputs, outputs, chosen=None, version=1):
    """What an operator on constants is folded to; it shapes a tensor so that it is used."""
    count = len(inputs)
    tensors = [*inputs, *outputs, T((2, 3)), *(T((2, 3)) for _ in outputs)]
    made = list(range(count, count + len(outputs)))
    data = count + len(outputs)
    steps = [Step(name, range(count), made, chosen, version)]
    results = []
    for index, place in enumerate(made):
        results.append(data + 1 + index)
        steps.append(Step("RESHAPE", [data, place], [results[-1]]))
    return file_of(tensors, steps, results)


INT = T((2,), "int32")
# All of them give [3, 2].
PAIRS = [
    ("ADD", [[1, 1], [2, 1]], options("Add")),
    ("SUB", [[4, 8], [1, 6]], options("Sub")),
    ("MUL", [[1, 2], [3, 1]], options("Mul")),
    ("DIV", [[7, 5], [2, 2]], options("Div")),
    ("MAXIMUM", [[1, 2], [3, 1]], None),
    ("MINIMUM", [[3, 4], [5, 2]], None),
    ("FLOOR_DIV", [[7, 5], [2, 2]], None),
    ("FLOOR_MOD", [[-1, 6], [4, 4]], None),
]


@pytest.mark.parametrize(("name", "numbers", "chosen"), PAIRS, ids=[p[0] for p in PAIRS])
def test_arithmetic_on_known_sizes_is_folded(judge, name, numbers, chosen):
    file = folded(name, [constant(n) for n in numbers], [INT], chosen)
    model = check(judge, file)
    assert [n.op_type for n in model.graph] in (["Reshape"], ["Identity"])


@pytest.mark.parametrize(
    ("name", "inputs", "chosen"),
    [
        ("CONCATENATION", [constant([3]), constant([2])], options("Concatenation", axis=0)),
        ("GATHER", [constant([1, 2, 3]), constant([2, 1])], options("Gather")),
        ("SLICE", [constant([1, 3, 2]), constant([1]), constant([2])], options("Slice")),
        ("PACK", [constant(3), constant(2)], options("Pack", valuesCount=2)),
        ("RANGE", [constant(3), constant(1), constant(-1)], options("Range")),
        ("TRANSPOSE", [constant([2, 3]), constant([0])], options("Transpose")),
        ("CAST", [constant([3, 2], "int64")], options("Cast")),
        ("RESHAPE", [constant([[3, 2]]), constant([2])], options("Reshape")),
        ("SQUEEZE", [constant([[3, 2]])], options("Squeeze", squeezeDims=[0])),
        (
            "STRIDED_SLICE",
            [constant([2, 9, 3]), constant([-1]), constant([-4]), constant([-2])],
            options("StridedSlice"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_moves_of_known_sizes_are_folded(judge, name, inputs, chosen):
    model = check(judge, folded(name, inputs, [INT], chosen))
    assert [n.op_type for n in model.graph] in (["Reshape"], ["Identity"])


def test_parts_of_known_sizes_are_folded(judge):
    whole = constant([3, 2, 1, 6])
    model = check(
        judge, folded("SPLIT", [constant(0), whole], [INT, INT], options("Split", numSplits=2))
    )
    assert [list(v.shape) for v in model.graph.outputs] == [[3, 2], [1, 6]]


def test_the_product_of_sizes_is_folded(judge):
    tensors = [T((2, 3)), constant([3, 2]), constant([0]), T((1,), "int32"), T((6,))]
    steps = [
        Step("REDUCE_PROD", [1, 2], [3], options("Reducer", keepDims=True)),
        Step("RESHAPE", [0, 3], [4]),
    ]
    model = check(judge, file_of(tensors, steps, [4]))
    assert list(model.graph.outputs[0].shape) == [6]


def test_a_remainder_that_is_not_known_is_computed(judge):
    file = one("FLOOR_MOD", [T((4,), "int32"), constant([3, -3, 2, 5])], [T((4,), "int32")])
    check(judge, file, inputs=[np.array([-4, 4, -1, 7], np.int32)])


def test_a_division_of_sizes_by_zero_is_an_error_of_the_file():
    file = folded("FLOOR_DIV", [constant([1, 2]), constant([0, 1])], [INT])
    with pytest.raises(InputError, match="division by zero"):
        read(file)


def test_a_folded_range_that_never_ends_is_an_error_of_the_file():
    inputs = [constant(0), constant(2**31 - 1), constant(1)]
    with pytest.raises(InputError, match="too many"):
        read(folded("RANGE", inputs, [INT], options("Range")))


def test_the_rank_is_known(judge):
    tensors = [T((2, 3, 4)), T((), "int32"), constant([0]), T((1,), "int32"), T((1,), "int32")]
    file = file_of(
        tensors,
        [
            Step("RANK", [0], [1], options("Rank")),
            Step("EXPAND_DIMS", [1, 2], [3]),
            Step("ADD", [3, 3], [4], options("Add")),
        ],
        [4],
    )
    given_inputs = feed(read(file))
    assert judge.run(file, given_inputs)[0].tolist() == [6]
    assert run_read(read(file), given_inputs)[0].tolist() == [6]


def test_a_range_of_real_numbers_is_a_constant(judge):
    tensors = [constant(x, "float32") for x in (0.5, 2.0, 0.1)] + [T((15,)), T((15,)), T((15,))]
    steps = [
        Step("RANGE", [0, 1, 2], [3], options("Range")),
        Step("ADD", [3, 4], [5], options("Add")),
    ]
    check(judge, file_of(tensors, steps, [5]))


def test_an_axis_that_is_computed_is_refused():
    file = one("EXPAND_DIMS", [T((2, 3)), T((), "int32")], [T((1, 2, 3))])
    with pytest.raises(UnsupportedError, match="its axis depend"):
        read(file)
