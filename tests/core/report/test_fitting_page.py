"""The page of a fitted network: it stands alone, escapes names, and has what a run came to."""

from __future__ import annotations

import re

import pytest

from intaglio.report.fitting import fitting_report

FACTS = {
    "task": "superres x4",
    "settings": {
        "preset": "medium",
        "steps": 2000,
        "seed": 1,
        "threads": 2,
        "task": {"name": "x4", "side": 4, "stride": 1, "sigma": 0.0},
        "structure": {"kind": "centred", "channels": 24},
        "recipe": {"rate": 0.6, "batches": [8, 16]},
    },
    "steps": 2000,
    "seconds": 3725.0,
    "pictures": {"learned": 40, "held_out": 3, "bad": [["<x>.png", "damaged"]]},
    "psnr": 27.35,
    "baseline": 26.28,
    "teacher": None,
    "compared_pixels": 123456,
    "digest": "ab" * 32,
    "warnings": ["<script>alert(1)</script>"],
    "network": {
        "bytes": 63000,
        "table_bytes": 61440,
        "lookups": 3840,
        "cell": 16,
        "parts": [
            {
                "name": "stem",
                "bytes": 520,
                "table_bytes": 0,
                "lookups": 0,
                "multiplications": 360,
            }
        ],
        "storage": None,
    },
    "journal": [
        {"step": 1000, "loss": 400.0, "crops": 8000, "seconds": 1.0, "rate": 0.6, "psnr": 27.1},
        {"step": 1500, "loss": 300.0, "crops": 12000, "seconds": 1.5, "rate": 0.3},
        {"step": 2000, "loss": 200.0, "crops": 16000, "seconds": 2.0, "rate": 0.1, "psnr": 27.35},
    ],
}
SAMPLE = {
    "name": "a<b.png",
    "before": 26.0,
    "after": 27.0,
    "width": 120,
    "height": 80,
    "input": "data:image/png;base64,AAAA",
    "simple": "data:image/png;base64,BBBB",
    "restored": "data:image/png;base64,CCCC",
    "clean": "data:image/png;base64,DDDD",
}


def test_the_page_has_score_curves_and_samples():
    page = fitting_report(FACTS, [SAMPLE])
    assert "27.35 dB" in page
    assert "bicubic: 26.28 dB" in page
    assert page.count("<polyline") == 2
    for text in "ABCD":
        assert f"base64,{4 * text}" in page
    assert "this network, 27.00 dB" in page
    assert "61.5 KiB" in page
    assert "1 h 2 min" in page
    assert "240" in page  # 3840 look-ups for 16 pixels


def test_numbers_are_for_people():
    pictures = {**FACTS["pictures"], "held_out": 1}
    recipe = {**FACTS["settings"]["recipe"], "shares": [1 / 3, 2 / 3]}
    settings = {**FACTS["settings"], "recipe": recipe}
    page = fitting_report({**FACTS, "pictures": pictures, "settings": settings}, [])
    assert "on 1 picture held out" in page
    assert "0.333333, 0.666667" in page
    assert "intaglio convert model.onnx --recipe lut" in page


def test_names_are_escaped_and_nothing_is_loaded():
    page = fitting_report(FACTS, [SAMPLE])
    assert "<script" not in page
    assert "a&lt;b.png" in page
    assert "&lt;x&gt;.png" in page
    assert not re.search(r"""(src|href)=["']?(?!data:)[a-z/]""", page)
    assert "default-src 'none'" in page


def test_denoising_shows_the_noisy_picture_only_once():
    settings = {**FACTS["settings"], "task": {**FACTS["settings"]["task"], "sigma": 25.0}}
    page = fitting_report({**FACTS, "settings": settings, "task": "denoise 25"}, [SAMPLE])
    assert "noisy, 26.00 dB" in page
    assert "BBBB" not in page


@pytest.mark.parametrize("journal", [[], FACTS["journal"][:1]])
def test_short_runs_have_no_curve(journal):
    page = fitting_report({**FACTS, "journal": journal, "psnr": None, "baseline": None}, [])
    assert "<polyline" not in page
    assert "Samples" not in page


def test_storage_of_the_reference_structure():
    storage = {
        "full_rows": 44608,
        "reachable_rows": 37776,
        "one_branch": 167936,
        "sampled_window": 1336336,
        "sms": 7.957,
        "ddm_full": 3.765,
        "ddm": 4.446,
    }
    teacher = {"name": "t.onnx", "psnr": 30.0}
    network = {**FACTS["network"], "storage": storage}
    page = fitting_report({**FACTS, "network": network, "teacher": teacher}, [])
    for text in ("7.96×", "4.45×", "3.77×", "t.onnx, 30.00 dB"):
        assert text in page
