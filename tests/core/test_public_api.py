from __future__ import annotations

import subprocess
import sys

import pytest

import intaglio

HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "pydantic", "rich", "matplotlib")


@pytest.mark.parametrize("module", ["intaglio", "intaglio.cli.app", "intaglio.registry"])
def test_importing_is_cheap(module):
    code = f"import sys, {module}; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_every_public_name_is_there():
    for name in intaglio.__all__:
        assert getattr(intaglio, name) is not None
    assert dir(intaglio) == sorted(intaglio.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'convrt'"):
        intaglio.convrt  # noqa: B018


def test_every_error_has_an_exit_code():
    codes = {
        "RecipeError": 2,
        "InputError": 3,
        "OutputError": 3,
        "UnsupportedError": 4,
        "VerificationError": 5,
        "ToolError": 6,
        "InternalError": 70,
    }
    for name, code in codes.items():
        assert getattr(intaglio, name).exit_code == code
        assert issubclass(getattr(intaglio, name), intaglio.IntaglioError)
