"""A hand-made bundle: a float layer, its QDQ form and its integer form, all written in ONNX.

The float model is ``y = x W^T`` with ``W`` [3, 4]. Scales are powers of two, so that the integer
model can rescale by an integer division: ``floor((acc + 8) / 16)``, rounding half up, where the
QDQ form rounds half to even. The two differ by one step where the accumulator is 8 modulo 16 and
the quotient is even.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from intaglio.bundle import Bundle, load
from intaglio.bundle_files import file_sha256, write_json, write_samples
from intaglio.transforms.scales import TensorQuantization

INPUT = TensorQuantization("int8", (1 / 16,), (-3,))
OUTPUT = TensorQuantization("int8", (1 / 8,), (5,))
WEIGHT_SCALE = 1 / 8
WEIGHT = np.array([[3, -5, 7, 1], [-2, 4, 6, -8], [9, -1, 2, 5]], np.int8)

Shape = list[Any]


def float_model(batch: int | str = "N") -> onnx.ModelProto:
    weight = (WEIGHT * WEIGHT_SCALE).astype(np.float32)
    nodes = [_node("Gemm", ["x", "w"], ["y"], "fc", transB=1)]
    return _model(nodes, {"w": weight}, "x", "y", TensorProto.FLOAT, batch)


def qdq_model(batch: int | str = "N") -> onnx.ModelProto:
    arrays = {
        "x_scale": np.float32(INPUT.scale[0]),
        "x_zero": np.int8(INPUT.zero_point[0]),
        "w_scale": np.float32(WEIGHT_SCALE),
        "w_zero": np.int8(0),
        "w_codes": WEIGHT,
        "y_scale": np.float32(OUTPUT.scale[0]),
        "y_zero": np.int8(OUTPUT.zero_point[0]),
    }
    nodes = [
        _node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"], "fc"),
        _node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_dq"], "fc"),
        _node("DequantizeLinear", ["w_codes", "w_scale", "w_zero"], ["w"], "fc"),
        _node("Gemm", ["x_dq", "w"], ["y_float"], "fc", transB=1),
        _node("QuantizeLinear", ["y_float", "y_scale", "y_zero"], ["y_q"], "fc"),
        _node("DequantizeLinear", ["y_q", "y_scale", "y_zero"], ["y"], "fc"),
    ]
    model = _model(nodes, arrays, "x", "y", TensorProto.FLOAT, batch)
    _note(model, "x_dq", TensorProto.FLOAT, [batch, 4], {"intaglio.value": "x"})
    _note(model, "y", TensorProto.FLOAT, [batch, 3], {"intaglio.value": "y"})
    return model


def integer_model(batch: int | str = "N", weight: NDArray[np.int8] = WEIGHT) -> onnx.ModelProto:
    arrays = {
        "w_codes": np.ascontiguousarray(weight.T),
        "x_zero": np.int8(INPUT.zero_point[0]),
        # Adding a multiple of 16 first makes the truncating division a floor.
        "half": np.int32(8 + (1 << 20)),
        "sixteen": np.int32(16),
        "back": np.int32((1 << 16) - OUTPUT.zero_point[0]),
        "low": np.int32(-128),
        "high": np.int32(127),
    }
    nodes = [
        _node("MatMulInteger", ["x", "w_codes", "x_zero"], ["acc"], "fc"),
        _node("Add", ["acc", "half"], ["acc_half"], "fc"),
        _node("Div", ["acc_half", "sixteen"], ["quotient"], "fc"),
        _node("Sub", ["quotient", "back"], ["level"], "fc"),
        _node("Clip", ["level", "low", "high"], ["clipped"], "fc"),
        _node("Cast", ["clipped"], ["y"], "fc", to=TensorProto.INT8),
    ]
    model = _model(nodes, arrays, "x", "y", TensorProto.INT8, batch)
    for name, width, quantization in (("x", 4, INPUT), ("y", 3, OUTPUT)):
        notes = {
            "intaglio.value": name,
            "intaglio.quantization": json.dumps(quantization.to_dict()),
        }
        _note(model, name, TensorProto.INT8, [batch, width], notes)
    return model


def expected_outputs(x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """What each model gives, computed with numpy alone; integers for the two quantized ones."""
    codes = np.clip(np.rint(x.astype(np.float64) * 16) - 3, -128, 127).astype(np.int64)
    acc = (codes + 3) @ WEIGHT.T.astype(np.int64)
    half_up = np.clip((acc + 8) // 16 + 5, -128, 127)
    half_even = np.clip(np.rint(acc / 16) + 5, -128, 127).astype(np.int64)
    return {
        "source": x.astype(np.float64) @ (WEIGHT.T * WEIGHT_SCALE),
        "onnx-integer": half_up,
        "onnx-qdq": half_even,
    }


def write_bundle(
    folder: Path,
    *,
    batch: int | str = "N",
    samples: NDArray[np.float32] | None = None,
    extra: dict[str, onnx.ModelProto] | None = None,
    leave_out: tuple[str, ...] = (),
    calibration: str = "data",
) -> Bundle:
    """Writes a bundle.

    Args:
        folder: Where.
        batch: First dimension of all models.
        samples: Stored samples.
        extra: Further artifacts by folder name: integer models that state the same arithmetic,
            opened like any ONNX file.
        leave_out: Targets to leave out.
        calibration: ``data`` or ``random``.
    """
    folder.mkdir(parents=True)
    artifacts = []
    models = {
        "onnx-qdq": (qdq_model(batch), "onnx-qdq", "model", "float", None),
        "onnx-integer": (integer_model(batch), "onnx-integer", "model", "tflm", (INPUT, OUTPUT)),
        "source": (float_model(batch), "source", "reference", "float", None),
    }
    for name, model in (extra or {}).items():
        models[name] = (model, "onnx-qdq", "model", "tflm", (INPUT, OUTPUT))
    for name, (model, target, role, arithmetic, border) in models.items():
        if name in leave_out:
            continue
        path = folder / name / "model.onnx"
        path.parent.mkdir()
        onnx.save(model, path)
        artifacts.append(
            {
                "role": role,
                "target": target,
                "path": f"{name}/model.onnx",
                "arithmetic": arithmetic,
                "sha256": file_sha256(path),
                "bytes": path.stat().st_size,
                "inputs": [_spec("x", [batch, 4], border and border[0])],
                "outputs": [_spec("y", [batch, 3], border and border[1])],
            }
        )
    if samples is not None:
        write_samples(folder / "samples.npz", {"x": samples})
    recipe = {"name": "hand-made", "description": "", "step": [], "data": {}, "bundle": {}}
    common = {
        "schema": 1,
        "source": {"path": "small.onnx", "sha256": "0" * 64, "bytes": 600},
        "recipe": recipe,
        "profile": "tflm",
        "calibration": {"kind": calibration, "path": "c.npz", "samples": 7},
    }
    write_json(folder / "report.json", {**common, "steps": [_step()]})
    write_json(folder / "plan.json", {"schema": 1, "marks": {}, "tensors": _plan()})
    write_json(
        folder / "manifest.json",
        {
            **common,
            "intaglio": "0.0.0",
            "form": "quantized",
            "artifacts": artifacts,
            "files": {},
            "facts": {},
        },
    )
    return load(folder)


def edit_manifest(bundle: Bundle, edit: Any) -> Bundle:
    """Changes the manifest on disk with ``edit(manifest)`` and opens the bundle again."""
    path = bundle.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    write_json(path, manifest)
    return load(bundle.folder)


def some_inputs(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Inputs within the range of the quantized input."""
    drawn = np.random.default_rng(seed).uniform(-3.0, 3.0, (count, 4))
    return drawn.astype(np.float32)


def _step() -> dict[str, Any]:
    return {
        "name": "quantize.plan_tensors",
        "phase": "recipe",
        "semantics": "approximate",
        "config": {"activations": "int8"},
        "modified": True,
        "changes": [
            {"kind": "plan", "node": "fc", "before": "float32", "after": "int8", "why": "asked"}
        ],
        "skips": [{"node": "other", "reason": "it has no weight"}],
        "facts": {"activations": 2},
    }


def _plan() -> dict[str, Any]:
    weight = TensorQuantization("int8", (WEIGHT_SCALE,) * 3, (0, 0, 0), 0)
    notes = {"x": (INPUT, [-7.8, 8.1]), "y": (OUTPUT, [-16.0, 15.0]), "w": (weight, None)}
    return {
        name: {"quantization": quantization.to_dict(), "range": limits}
        for name, (quantization, limits) in notes.items()
    }


def _spec(name: str, shape: Shape, quantization: TensorQuantization | None) -> dict[str, Any]:
    return {
        "name": name,
        "shape": shape,
        "dtype": quantization.dtype if quantization else "float32",
        "layout": "",
        "scale": quantization.scale[0] if quantization else None,
        "zero_point": quantization.zero_point[0] if quantization else None,
    }


def _node(kind: str, inputs: list[str], outputs: list[str], source: str, **attributes: Any) -> Any:
    node = helper.make_node(kind, inputs, outputs, f"{kind}_{outputs[0]}", **attributes)
    node.metadata_props.add(key="intaglio.sources", value=json.dumps([source]))
    return node


def _note(
    model: onnx.ModelProto, name: str, dtype: int, shape: Shape, notes: dict[str, str]
) -> None:
    graph = model.graph
    border = {value.name: value for value in (*graph.input, *graph.output)}
    info = border.get(name)
    if info is None:
        info = graph.value_info.add()
        info.CopyFrom(helper.make_tensor_value_info(name, dtype, shape))
    for key, value in notes.items():
        info.metadata_props.add(key=key, value=value)


def _model(
    nodes: list[Any], arrays: dict[str, Any], x: str, y: str, dtype: int, batch: int | str
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(x, dtype, [batch, 4])],
        [helper.make_tensor_value_info(y, dtype, [batch, 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return model
