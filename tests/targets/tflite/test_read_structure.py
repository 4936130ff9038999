"""Files that are damaged, or that hold what is not supported: clear messages, names in them."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from intaglio.errors import InputError, RecipeError, UnsupportedError
from intaglio.passes.provenance import source_name
from intaglio.targets.reading import read_model
from intaglio.targets.tflite.flatbuffer import MAX_TABLES
from intaglio.targets.tflite.read import read_tflite
from intaglio.targets.tflite.schema import IDENTIFIER, schema
from intaglio.targets.tflite.structure import MAX_OPERATORS
from tests.targets.tflite.mutations import pack, unpack
from tests.targets.tflite.one_operator import Step, T, feed, file_of, one, options, read, run_read


def relu(**fields):
    return one("RELU", [T((2, 3), **fields)], [T((2, 3), **fields)])


def chain(*names):
    tensors = [T((2, 3))] * (len(names) + 1)
    steps = [Step(name, [i], [i + 1]) for i, name in enumerate(names)]
    return file_of(tensors, steps, [len(names)])


def changed(data, change):
    model = unpack(data)
    change(model, model.subgraphs[0])
    return pack(model)


def test_the_format_is_told_from_the_contents(tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(relu())
    assert [node.op_type for node in read_model(file, {}).graph] == ["Relu"]


def test_a_file_that_vela_has_compiled():
    with pytest.raises(InputError, match="compiled for an Ethos-U NPU") as caught:
        read(chain("RELU", "ethos-u"))
    assert "compiled from" in caught.value.remedy


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_tflite(tmp_path / "none.tflite")


def test_another_format(tmp_path):
    file = tmp_path / "model.tflite"
    file.write_bytes(b"not a model at all")
    with pytest.raises(InputError, match="not a TFLite model"):
        read_tflite(file)


@pytest.mark.parametrize("length", [8, 12, 40, 200])
def test_a_truncated_file(length):
    with pytest.raises(InputError, match="damaged"):
        read(relu()[:length])


def test_a_vector_longer_than_the_file():
    data = bytearray(relu())
    place = data.index(struct.pack("<iii", 2, 2, 3))  # the shape [2, 3] and its length
    data[place : place + 4] = struct.pack("<I", 2**32 - 1)
    with pytest.raises(InputError, match=r"points to byte \d+"):
        read(bytes(data))


def test_tables_that_are_shared_a_million_times():
    """A vector of offsets that all lead to the same table: small on disk, huge when unpacked."""
    count = MAX_TABLES + 1
    vector_at = 64
    table_at = vector_at + 4 + 4 * count
    data = bytearray(table_at + 64)
    struct.pack_into("<I4s", data, 0, 32, IDENTIFIER)
    struct.pack_into("<HHHHHH", data, 12, 12, 8, 0, 0, 0, 4)  # vtable: slot 3 stands at 4
    struct.pack_into("<HHHH", data, 24, 8, 8, 0, 4)  # vtable: slot 1 stands at 4
    struct.pack_into("<iI", data, 32, 32 - 24, vector_at - 36)
    struct.pack_into("<I", data, vector_at, count)
    for i in range(count):
        place = vector_at + 4 + 4 * i
        struct.pack_into("<I", data, place, table_at - place)
    struct.pack_into("<i", data, table_at, table_at - 12)
    with pytest.raises(InputError, match="far more than its size"):
        read(bytes(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, g: setattr(g, "inputs", []), "has no inputs"),
        (lambda m, g: setattr(g, "outputs", []), "has no outputs"),
        (lambda m, g: setattr(g, "operators", []), "has no operators"),
        (lambda m, g: setattr(m, "subgraphs", []), "has no subgraph"),
        (lambda m, g: setattr(g, "inputs", [77]), "names tensor 77 of 3"),
        (lambda m, g: setattr(g.operators[1], "inputs", [77]), "reads tensor 77 of 3"),
        (lambda m, g: setattr(g.operators[1], "outputs", [-1]), "makes tensor -1 of 3"),
        (lambda m, g: setattr(g.operators[1], "outputs", [1]), "makes 't1', which exists already"),
        (lambda m, g: setattr(g.operators[0], "inputs", [2]), "reads 't2' before it is made"),
        (lambda m, g: g.operators.pop(0), "reads 't1', which nothing makes"),
        (lambda m, g: g.operators.pop(1), "nothing makes its output 't2'"),
        (lambda m, g: setattr(g.operators[1], "inputs", [-1, 0]), "lacks an input"),
        (lambda m, g: setattr(g.operators[0], "opcodeIndex", 9), "has the code 9 of 2"),
        (lambda m, g: setattr(g.tensors[0], "buffer", 99), "has buffer 99 of"),
        (lambda m, g: setattr(g.tensors[0], "shape", [-5, 3]), "has the shape"),
        (lambda m, g: setattr(g.tensors[0], "shape", [2**31 - 1] * 4), "more than 2"),
        (lambda m, g: setattr(g.tensors[0], "shape", [1] * 99), "has the shape"),
        (lambda m, g: setattr(g.tensors[0], "shapeSignature", [-1]), "shape signature"),
    ],
)
def test_a_graph_that_makes_no_sense(change, message):
    with pytest.raises(InputError, match=message):
        read(changed(chain("RELU", "TANH"), change))


def test_a_constant_of_the_wrong_size():
    data = one("ADD", [T((4,)), T((4,), data=np.ones(4))], [T((4,))], options("Add"))
    data = changed(data, lambda m, g: setattr(g.tensors[1], "shape", [5]))
    with pytest.raises(InputError, match=r"tensor 't1' .* has 16 bytes, its shape .* calls for 20"):
        read(data)


def test_weights_that_are_not_finite():
    data = one("ADD", [T((2,)), T((2,), data=[1, np.nan])], [T((2,))], options("Add"))
    with pytest.raises(InputError, match="not finite"):
        read(data)


def test_options_of_another_operator():
    data = one("ADD", [T((2,)), T((2,))], [T((2,))], options("Pool2D"))
    with pytest.raises(InputError, match="ADD has Pool2DOptions, not AddOptions"):
        read(data)


def test_everything_that_is_not_read_is_listed():
    with pytest.raises(UnsupportedError) as caught:
        read(chain("RELU", "SVDF", "TANH", "TFLite_Detection_PostProcess", "HASHTABLE"))
    found = [(r.node, r.operator) for r in caught.value.refusals]
    assert found == [
        ("t2", "SVDF version 1"),
        ("t4", "TFLite_Detection_PostProcess version 1"),
        ("t5", "HASHTABLE version 1"),
    ]
    assert all(refusal.remedy for refusal in caught.value.refusals)


def test_a_version_from_the_future_is_refused():
    with pytest.raises(UnsupportedError, match="RELU version 99 't1': version 3 is the newest"):
        read(file_of([T((2,)), T((2,))], [Step("RELU", [0], [1], version=99)], [1]))


def test_operators_that_no_output_needs_are_not_looked_at():
    tensors = [T((2, 3))] * 3
    steps = [Step("RELU", [0], [1]), Step("SVDF", [0], [2])]
    assert [node.op_type for node in read(file_of(tensors, steps, [1])).graph] == ["Relu"]


def test_a_model_with_a_state():
    data = changed(chain("RELU", "TANH"), lambda m, g: setattr(g.tensors[1], "isVariable", True))
    with pytest.raises(UnsupportedError, match="'t1' is a variable"):
        read(data)


def test_strings():
    data = changed(relu(), lambda m, g: setattr(g.tensors[0], "type", schema.TensorType.STRING))
    with pytest.raises(UnsupportedError, match="'t0' is of STRING"):
        read(data)


def test_other_subgraphs_that_nothing_calls_are_left_alone():
    data = changed(relu(), lambda m, g: m.subgraphs.append(schema.SubGraphT()))
    assert len(read(data).graph) == 1


def test_control_flow_is_refused_with_a_remedy():
    with pytest.raises(UnsupportedError, match=r"WHILE version 1 't1'.*unroll the loop"):
        read(chain("WHILE"))


def test_a_model_that_is_a_constant():
    tensors = [T((2,)), T((2,), data=[1, 2]), T((2,))]
    with pytest.raises(InputError, match="it is a constant"):
        read(file_of(tensors, [Step("RELU", [1], [2])], [2]))


def test_names_are_made_unique_and_the_border_keeps_its_own():
    def rename(_, graph):
        for tensor in graph.tensors:
            tensor.name = "x"

    model = read(changed(chain("RELU", "TANH"), rename))
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert [value.name for value in model.graph.outputs] == ["x_2"]
    names = [value.name for node in model.graph for value in node.outputs]
    assert len(set(names)) == len(names) == 2


def test_nodes_bear_the_name_of_the_tensor_that_their_operator_makes():
    tensors = [T((1, 4, 4, 1)), T((1, 2, 2, 1))]
    chosen = options("Pool2D", filterHeight=2, filterWidth=2, strideH=2, strideW=2, padding=1)
    model = read(one("MAX_POOL_2D", tensors[:1], tensors[1:], chosen))
    assert {source_name(node) for node in model.graph} == {"t1"}
    assert len({node.name for node in model.graph}) == len(model.graph) == 3


def test_an_input_that_is_an_output_too():
    model = read(file_of([T((2,)), T((2,))], [Step("RELU", [0], [1])], [1, 0, 1]))
    assert len({value.name for value in model.graph.outputs}) == 3
    [x] = feed(model)
    first, second, third = run_read(model, [x])
    np.testing.assert_array_equal(second, x)
    np.testing.assert_array_equal(first, third)


@pytest.mark.parametrize("shape", [None, (5, 4)])
def test_open_dimensions_are_bound_by_name(shape):
    data = one("RELU", [T((1, 4), signature=(-1, 4))], [T((1, 4), signature=(-1, 4))])
    model = read(data, {} if shape is None else {"t0": shape})
    first = model.graph.outputs[0].shape[0]
    assert first == 5 if shape else not isinstance(first, int)


def test_a_shape_that_does_not_fit_is_an_error_of_the_arguments():
    with pytest.raises(RecipeError, match="no input 'y'"):
        read(relu(), {"y": (2, 3)})
    with pytest.raises(RecipeError, match="cannot have shape 7x3"):
        read(relu(), {"t0": (7, 3)})


def test_weights_behind_the_flatbuffer():
    data = one("ADD", [T((4,)), T((4,), data=[1, 2, 3, 4])], [T((4,))], options("Add"))
    model = unpack(data)
    buffer = model.buffers[model.subgraphs[0].tensors[1].buffer]
    payload = bytes(bytearray(buffer.data))
    buffer.data = None
    buffer.offset, buffer.size = 1, len(payload)
    # The length of the flatbuffer does not change with the number that is written.
    buffer.offset = len(pack(model))
    whole = pack(model) + payload
    found = read(whole)
    [x] = feed(found)
    np.testing.assert_allclose(run_read(found, [x])[0], x + np.arange(1, 5), rtol=1e-6)
    with pytest.raises(InputError, match="points to byte"):
        read(whole[:-1])


def test_a_weight_that_every_operator_unpacks_for_itself():
    """A small file whose constants would take gigabytes as floats."""
    count = 1000
    weight = T((1000, 1000), "int8", np.ones((1000, 1000)), 0.1)
    layers = [
        Step("FULLY_CONNECTED", [i + 1 if i else 0, 1], [i + 2], options("FullyConnected"))
        for i in range(count)
    ]
    data = file_of([T((1, 1000)), weight, *[T((1, 1000))] * count], layers, [count + 1])
    with pytest.raises(InputError, match="far more than the file has"):
        read(data)


def test_more_operators_than_a_model_has():
    count = MAX_OPERATORS + 1
    data = chain(*["RELU"] * count)
    with pytest.raises(InputError, match=f"has {count} operators"):
        read(data)
