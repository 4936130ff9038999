"""All canonicalization passes in the order of the int8 recipe."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from intaglio.passes.canonicalize.editing import constant
from intaglio.passes.canonicalize.linear import is_normal_gemm
from intaglio.registry import load_pass
from intaglio.targets.onnx.read import read_onnx
from tests.helpers import (
    ZOO_FLOAT,
    assert_same_outputs,
    operators,
    random_inputs,
    run_float,
    run_pass,
)

PASSES = (
    "fold_constants",
    "remove_identities",
    "normalize_operators",
    "fold_batch_norm",
    "recompose_prelu",
    "fuse_bias",
    "fuse_pad",
    "fuse_activations",
)
FOLDER = Path(__file__).parents[3] / "sample_models"
# Table networks hold integers already: nothing is canonicalized in them.
SAMPLES = sorted(path for path in FOLDER.glob("*/*.onnx") if not path.stem.endswith("_lut"))
GONE = {"BatchNormalization", "Constant", "Identity", "Dropout", "Abs", "Shape", "MatMul"}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_models_reach_the_canonical_form(path):
    _reaches_the_canonical_form(path)


@pytest.mark.parametrize("name", ZOO_FLOAT)
def test_zoo_models_reach_the_canonical_form(zoo, name):
    _reaches_the_canonical_form(zoo / f"{name}.onnx")


def _reaches_the_canonical_form(path):
    model = read_onnx(path)
    inputs = random_inputs(model)
    want = run_float(model, inputs)
    for step in PASSES:
        run_pass(model, step)
    assert_same_outputs(run_float(model, inputs), want, 1e-5)
    assert not GONE & set(operators(model))
    for node in model.graph:
        assert "auto_pad" not in node.attributes
        if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
            assert constant(node.inputs[2]) is not None
        if node.op_type == "Gemm":
            assert is_normal_gemm(node)
    for step in PASSES:
        assert not load_pass(f"canonicalize.{step}")()(model).modified, step


@pytest.mark.parametrize("name", ["FSRCNN-small_x2", "mnist8_cntk", "ultraface_RFB-320_nopost"])
def test_same_file_gives_the_same_bytes(zoo, name):
    def canonical():
        model = read_onnx(zoo / f"{name}.onnx")
        for step in PASSES:
            load_pass(f"canonicalize.{step}")()(model)
        return ir.to_proto(model).SerializeToString(deterministic=True)

    assert canonical() == canonical()


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("mnist8_cntk", "Conv Relu MaxPool Conv Relu MaxPool Reshape Gemm"),
        (
            "cifar10_pytorch_tutorial",
            "Conv Relu Conv Relu MaxPool Conv Relu Conv Relu Reshape Gemm",
        ),
        (
            "FSRCNN-small_x2",
            "Transpose Conv PRelu Conv PRelu Conv PRelu Conv PRelu Conv DepthToSpace Transpose",
        ),
    ],
)
def test_what_is_left_of_small_models(zoo, name, nodes):
    model = read_onnx(zoo / f"{name}.onnx")
    for step in PASSES:
        load_pass(f"canonicalize.{step}")()(model)
    assert operators(model) == nodes.split()
