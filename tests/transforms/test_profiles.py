from __future__ import annotations

import numpy as np
import pytest

from intaglio.transforms.fixed_point import Rounding
from intaglio.transforms.profiles import DEFAULT_PROFILE, KINDS, PROFILES, Profile, get_profile


def test_profiles_that_manifests_name() -> None:
    assert set(PROFILES) == {"tflm", "litert", "tosa-single"}
    assert DEFAULT_PROFILE == "tflm"
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert profile.version_read


@pytest.mark.parametrize("kind", KINDS)
def test_eight_bit_roundings(kind: str) -> None:
    litert = Rounding.REAL if kind == "fully_connected" else Rounding.DOUBLE
    assert get_profile("tflm").rounding(kind) is Rounding.DOUBLE
    assert get_profile("litert").rounding(kind, "int8") is litert
    assert get_profile("tosa-single").rounding(kind, "uint8") is Rounding.SINGLE


@pytest.mark.parametrize("kind", ["conv", "depthwise_conv", "conv_transpose"])
def test_int16_convolutions_are_wide_everywhere(kind: str) -> None:
    assert {p.rounding(kind, "int16") for p in PROFILES.values()} == {Rounding.WIDE}


def test_int16_fully_connected_is_wide_or_real() -> None:
    assert get_profile("tflm").rounding("fully_connected", "int16") is Rounding.WIDE
    assert get_profile("litert").rounding("fully_connected", "int16") is Rounding.REAL


def test_scales_are_computed_in_the_precision_of_the_runtime() -> None:
    exact = np.float64(np.float32(0.1)) * np.float64(np.float32(0.3)) / 0.5
    narrow = np.float32(0.1) * np.float32(0.3) / np.float32(0.5)
    assert exact != narrow
    factors = (np.float32(0.1), np.float32(0.3))
    assert get_profile("tflm").scale("mul", factors, 0.5) == exact
    assert get_profile("litert").scale("mul", factors, 0.5) == narrow
    assert get_profile("litert").scale("conv", factors, 0.5) == exact


def test_litert_divides_the_float32_product_of_batch_matmul_in_float64() -> None:
    factors = (np.float32(0.1), np.float32(0.3))
    product = np.float64(factors[0] * factors[1])
    assert get_profile("litert").scale("batch_matmul", factors, 0.7) == product / 0.7
    exact = np.float64(factors[0]) * np.float64(factors[1]) / 0.7
    assert get_profile("tflm").scale("batch_matmul", factors, 0.7) == exact != product / 0.7


def test_functions_have_kernels() -> None:
    assert get_profile("tflm").kernel("logistic") == "fixed_point"
    assert get_profile("litert").kernel("logistic", "uint8") == "table"
    assert get_profile("litert").kernel("logistic", "int16") == "fixed_point"
    assert get_profile("tosa-single").kernel("logistic", "int16") == "rounded"
    roundings = get_profile("tflm").roundings
    with pytest.raises(ValueError, match="names no kernel"):
        Profile("x", "", roundings, "", roundings, kernels={"logistic": "guessed"})
    with pytest.raises(ValueError, match="narrow"):
        Profile("x", "", roundings, "", roundings, narrow=frozenset({"logistic"}))


def test_unknown_names_are_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="tflm, litert, tosa-single"):
        get_profile("xnnpack")
    with pytest.raises(ValueError, match="depthwise_conv"):
        get_profile("tflm").rounding("convolution")
    with pytest.raises(ValueError, match="float16"):
        get_profile("tflm").rounding("conv", "float16")


def test_a_profile_names_every_kind_and_cannot_be_edited() -> None:
    with pytest.raises(ValueError, match="exactly"):
        Profile("x", "", {"conv": Rounding.DOUBLE}, "", {"conv": Rounding.DOUBLE})
    with pytest.raises(TypeError):
        PROFILES["tflm"].roundings["conv"] = Rounding.SINGLE  # type: ignore[index]
