"""What changes in ``verify`` where an artifact states the source's own arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import intaglio
from intaglio.errors import RecipeError, VerificationError
from intaglio.targets.base import TensorSpec
from intaglio.verification.comparison import OutputComparison
from intaglio.verification.inputs import VerifyInputs
from intaglio.verification.report import PairResult
from intaglio.verification.requirements import Requirement

DIGITS = Path(__file__).resolve().parents[3] / "sample_models" / "digits" / "digits.onnx"


def test_float_outputs_are_compared_bit_for_bit():
    spec = TensorSpec("y", (4,), "float32", "")
    values = np.array([0.25, 1.5, -3.0, 1e6], np.float32)
    same = OutputComparison(spec, spec, bitwise=True)
    same.add(values, values)
    assert same.mismatches == 0
    other = OutputComparison(spec, spec, bitwise=True)
    other.add(np.nextafter(values, np.float32(9e9)), values)
    assert other.mismatches == 4
    with pytest.raises(VerificationError):
        OutputComparison(spec, spec)


@pytest.mark.parametrize(("dtype", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127)])
def test_pictures_that_are_made_up_hold_all_levels(dtype, low, high):
    spec = TensorSpec("x", ("n", 1, "h", "w"), dtype, "NCHW")
    batches = [batch.inputs["x"] for batch in VerifyInputs([spec], {}, None).batches(4)]
    together = np.concatenate(batches)
    assert together.dtype == dtype
    assert (together.min(), together.max()) == (low, high)
    assert len(np.unique(together)) == 256


def test_exact_speaks_about_the_source_where_the_source_is_what_must_come_out():
    exact = Requirement("exact")
    pair = PairResult("onnx-qdq", "source", "exact", "source", must_be_exact=True)
    assert exact.applies_to(pair)
    assert not exact.applies_to(PairResult("onnx-qdq", "source", "exact", "float"))


def test_a_model_without_scalar_functions_says_so(tmp_path):
    with pytest.raises(RecipeError, match="function of one 8-bit integer"):
        intaglio.convert(DIGITS, recipe="tabulate", out=tmp_path / "b")
