"""A small integer graph with trained layers, as lowering leaves it, and a judge of its steps."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from intaglio.passes.annotations import set_quantization
from intaglio.passes.dialect.functions import add_functions
from intaglio.passes.train.build_forward import LOGITS, BuildForward, read_specification
from intaglio.transforms.forward_gradient.loss import cross_entropy, squared_error
from intaglio.transforms.forward_gradient.specification import (
    METADATA_KEY,
    Parameter,
    StepSpecification,
)
from intaglio.transforms.scales import TensorQuantization

FEATURES, HIDDEN, MIDDLE, CLASSES = 12, 8, 6, 4

TEXT = """
<ir_version: 10, opset_import: ["" : 21, "intaglio" : 1]>
small (int8[N, 12] x) => (int8[N, 4] y)
{
  zp_x = Constant <value = int8 {-3}> ()
  zp_h = Constant <value = int8 {-128}> ()
  zero = Constant <value = int32 {0}> ()
  low = Constant <value = int32 {-128}> ()
  high = Constant <value = int32 {127}> ()
  m = Constant <value = int32 {1518500250}> ()
  s0 = Constant <value = int8 {38}> ()
  s1 = Constant <value = int8 {44}> ()
  s2 = Constant <value = int8 {45}> ()
  acc0 = MatMulInteger (x, w0, zp_x)
  h = intaglio.RescaleDouble <to = 3> (acc0, m, s0, low, low, high)
  products1 = intaglio.MatMulInteger8By16 (h, fc1_weight, zp_h)
  bias1 = Cast <to = 7> (fc1_bias)
  acc1 = Add (products1, bias1)
  h1 = intaglio.RescaleDouble <to = 3> (acc1, m, s1, zero, low, high)
  zp_h1 = Constant <value = int8 {0}> ()
  products2 = intaglio.MatMulInteger8By16 (h1, fc2_weight, zp_h1)
  acc2 = Add (products2, b2)
  y = intaglio.RescaleDouble <to = 3> (acc2, m, s2, zero, low, high)
}
"""

SHAPES = {
    "fc1_weight": ((HIDDEN, MIDDLE), "int16"),
    "fc1_bias": ((MIDDLE,), "int32"),
    "fc2_weight": ((MIDDLE, CLASSES), "int16"),
}
SCALES = {"fc1_weight": 2e-5, "fc1_bias": 8e-7, "fc2_weight": 3e-5}
EPSILON = {"fc1_weight": 250, "fc1_bias": 9000, "fc2_weight": 300}


def initial_weights(seed=0):
    generator = np.random.default_rng(seed)
    return {
        name: generator.integers(-12000, 12000, shape).astype(dtype)
        for name, (shape, dtype) in SHAPES.items()
    }


def specification(names=tuple(SHAPES), **options):
    """A step of some of the tensors; options of a parameter start with ``p_``."""
    own = {key[2:]: options.pop(key) for key in list(options) if key.startswith("p_")}
    parameters = []
    for number, name in enumerate(names):
        shape, dtype = SHAPES[name]
        rail = 32767 if dtype == "int16" else 2**31 - 1
        values = {
            "epsilon": EPSILON[name],
            "multiplier": 20000,
            "shift": 14,
            "radius": EPSILON[name] // 2,
            **own,
        }
        limit = rail - 4 * (values["epsilon"] + values["radius"])
        parameters.append(
            Parameter(name, shape, dtype, SCALES[name], limit=limit, number=number, **values)
        )
    return StepSpecification(tuple(parameters), **options)


def integer_graph(spec, weights=None):
    """The integer graph, its metadata holding ``spec``."""
    proto = onnx.parser.parse_model(TEXT)
    generator = np.random.default_rng(5)
    arrays = {
        **initial_weights(),
        **(weights or {}),
        "w0": generator.integers(-127, 128, (FEATURES, HIDDEN)).astype(np.int8),
        "b2": generator.integers(-9000, 9000, CLASSES).astype(np.int64),
    }
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in arrays.items())
    model = ir.from_proto(proto)
    values = {v.name: v for v in [*model.graph.inputs, *model.graph.initializers.values()]}
    values |= {v.name: v for node in model.graph for v in node.outputs}
    # Notes as lowering leaves them.
    for name, scale, zero_point, dtype in (
        ("x", 0.05, -3, "int8"),
        ("h", 0.04, -128, "int8"),
        ("h1", 0.05, 0, "int8"),
        ("y", 0.1, 0, "int8"),
        ("fc1_weight", SCALES["fc1_weight"], 0, "int16"),
        ("fc2_weight", SCALES["fc2_weight"], 0, "int16"),
    ):
        set_quantization(values[name], TensorQuantization(dtype, (scale,), (zero_point,)))
    for value in values.values():
        if value.name in ("h", "h1", "y"):
            value.type = ir.TensorType(ir.DataType.INT8)
        elif value.name in ("acc1", "acc2"):
            value.type = ir.TensorType(ir.DataType.INT64)
    _constants_to_initializers(model)
    model.metadata_props[METADATA_KEY] = spec.to_json()
    add_functions(model)
    return model


def forward_form(spec):
    model = integer_graph(spec)
    BuildForward()(model)
    return model


def _constants_to_initializers(model):
    graph = model.graph
    for node in [node for node in graph if node.op_type == "Constant"]:
        tensor = node.attributes["value"].as_tensor()
        old = node.outputs[0]
        value = ir.Value(
            name=old.name,
            const_value=tensor,
            shape=tensor.shape,
            type=ir.TensorType(tensor.dtype),
        )
        old.replace_all_uses_with(value)
        graph.remove(node, safe=True)
        graph.register_initializer(value)


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def batch(seed, size=16):
    generator = np.random.default_rng(seed)
    x = generator.integers(-128, 128, (size, FEATURES)).astype(np.int8)
    return x, generator.integers(0, CLASSES, size)


class Judge:
    """Losses at given weights: the forward form in onnxruntime, the loss in numpy."""

    def __init__(self, forward):
        self._session = session(forward)
        self._specification = read_specification(forward)

    def loss(self, x, target):
        """A function of the weights."""
        spec = self._specification

        def found(weights):
            feeds = {"x": x, **{p.name: weights[p.name] for p in spec.parameters}}
            (logits,) = self._session.run([LOGITS], feeds)
            if spec.loss == "cross-entropy":
                return cross_entropy(logits, target, spec.loss_bits)
            return squared_error(logits, target)

        return found
