"""Run one function of the dialect in onnxruntime, as a model of a single node."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper, numpy_helper

from intaglio.passes.dialect.functions import DOMAIN, OPSET, SPECIFICATIONS, add_functions

INT8 = np.iinfo(np.int8)
INT16 = np.iinfo(np.int16)
INT32 = np.iinfo(np.int32)


def build_model(name, inputs, output_dtype, output_rank, attributes=None, constants=()):
    """A model whose one node is the function ``name``.

    Args:
        name: of the function.
        inputs: name to array; gives the types and ranks. Every dimension is symbolic.
        output_dtype: numpy type of the output.
        output_rank: its number of axes.
        attributes: of the node.
        constants: names of inputs that are initializers with the given values.
    """
    specification = SPECIFICATIONS[name]
    assert list(inputs) == [tensor.name for tensor in specification.inputs]
    node = helper.make_node(
        name, list(inputs), [specification.output.name], domain=DOMAIN, **(attributes or {})
    )
    graph = helper.make_graph(
        [node],
        f"one_{name}",
        [
            helper.make_tensor_value_info(
                key,
                helper.np_dtype_to_tensor_dtype(value.dtype),
                [f"{key}_{axis}" for axis in range(value.ndim)],
            )
            for key, value in inputs.items()
            if key not in constants
        ],
        [
            helper.make_tensor_value_info(
                specification.output.name,
                helper.np_dtype_to_tensor_dtype(np.dtype(output_dtype)),
                [None] * output_rank,
            )
        ],
        [numpy_helper.from_array(inputs[key], key) for key in constants],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    model = ir.from_proto(proto)
    add_functions(model)
    completed = ir.to_proto(model)
    onnx.checker.check_model(completed, full_check=True)
    return completed


def make_session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@functools.lru_cache(maxsize=64)
def _dynamic_session(name, signature, output_dtype, output_rank, attributes):
    inputs = {key: np.zeros((1,) * rank, dtype) for key, dtype, rank in signature}
    return make_session(build_model(name, inputs, output_dtype, output_rank, dict(attributes)))


def run(name, inputs, output_dtype, *, rank=None, constants=(), **attributes):
    """Run ``name``; without constants the session is kept for inputs of the same types and ranks.

    Args:
        name: of the function.
        inputs: name to array, in order.
        output_dtype: numpy type of the output.
        rank: axes of the output; None for those of the first input.
        constants: names of inputs that are initializers.
        **attributes: of the node.

    Returns:
        The output array; its type is checked.
    """
    arrays = {key: np.asarray(value) for key, value in inputs.items()}
    if rank is None:
        rank = next(iter(arrays.values())).ndim
    if constants:
        model = build_model(name, arrays, output_dtype, rank, attributes, constants)
        session = make_session(model)
    else:
        signature = tuple((key, value.dtype.str, value.ndim) for key, value in arrays.items())
        frozen = tuple(
            (key, tuple(value) if isinstance(value, list | tuple) else value)
            for key, value in sorted(attributes.items())
        )
        session = _dynamic_session(name, signature, np.dtype(output_dtype).str, rank, frozen)
    fed = {key: value for key, value in arrays.items() if key not in constants}
    (result,) = session.run(None, fed)
    assert result.dtype == np.dtype(output_dtype)
    return result


def scalars(**values):
    """Scalar inputs by name: shifts int8, the rest int32, as the functions take them."""
    return {
        key: np.array(value, np.int8 if key.endswith("shift") and key != "left_shift" else np.int32)
        for key, value in values.items()
    }


def to(dtype):
    """The attribute ``to`` of a numpy type."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
