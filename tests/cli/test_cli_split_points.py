"""``intaglio inspect --split-points``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "sample_models"
FASHION = SAMPLES / "fashion" / "fashion.onnx"
CALIBRATION = SAMPLES / "fashion" / "calibration.npz"


def test_the_table_names_cuts_and_marks_the_best(cli):
    arguments = ["inspect", FASHION, "--split-points", "--bandwidth", "10Mbit/s"]
    done = cli(*arguments, env={"COLUMNS": "220"})
    assert done.code == 0
    lines = done.out.splitlines()
    [best] = [line for line in lines if " best" in line]
    assert best.startswith("pool.out") or best.startswith("stem_relu.out")
    name = best.split()[0]
    assert f"least time: --split-at '{name}'" in done.out
    assert "as int8 at 10 Mbit/s, device 1 and server 100 Gop/s" in done.out
    assert "encoded" not in "".join(lines[:2])
    assert "--calibration DATA" in done.out
    # Both tensors of a pair, one below the other, each with its shape.
    row = next(i for i, line in enumerate(lines) if line.startswith("stage2.relu1.out"))
    assert lines[row + 2].startswith("stage2.shortcut.out")
    assert lines[row + 3].startswith("N×32×14×14")


def test_with_data_and_a_plot_everything_is_in_the_json(cli, tmp_path):
    plot = tmp_path / "cuts.svg"
    arguments = ["inspect", FASHION, "--split-points", "-c", CALIBRATION, "--plot", plot]
    done = cli(*arguments, "--device-gops", "0.5", "--server-gops", "20", "--json")
    assert done.code == 0
    data = json.loads(done.out)
    assert data["link"] == {"bandwidth": 1e6, "device_gops": 0.5, "server_gops": 20.0}
    assert data["samples"] == 32
    assert data["plot"] == str(plot)
    assert plot.read_text(encoding="utf-8").count("<svg") == 1
    assert sum(point["best"] for point in data["points"]) == 1
    assert all(point["encoded_bytes"] > 0 for point in data["points"])
    shown = cli(*arguments, env={"COLUMNS": "220"})
    assert "encoded" in "".join(shown.out.splitlines()[:2])
    assert "bytes estimated on 32 samples" in shown.out
    assert f"drawn in {plot}" in shown.out


def test_a_model_without_a_cut_is_said_to_have_none(cli, tmp_path):
    import onnx_ir as ir

    from tests.helpers import build

    ir.save(build("(float[1,4] x) => (float[1,4] y) { y = Exp(x) }"), tmp_path / "one.onnx")
    done = cli("inspect", tmp_path / "one.onnx", "--split-points")
    assert done.code == 0
    assert "no tensor, and no two of them, lie on every way" in done.out
    assert "least time" not in done.out


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--calibration", CALIBRATION),
        ("--bandwidth", "1Mbps"),
        ("--device-gops", "1"),
        ("--server-gops", "1"),
        ("--plot", "cuts.svg"),
    ],
)
def test_options_of_cuts_are_refused_without_split_points(cli, option, value):
    done = cli("inspect", FASHION, option, value)
    assert done.code == 2
    assert f"{option} has no meaning without --split-points" in done.err
    assert f"leave {option} out, or add --split-points" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--bandwidth", "fast"], 2, "'fast' is not a bandwidth"),
        (["--device-gops", "0"], 2, "give --device-gops a number above 0"),
        (["--server-gops", "-2"], 2, "give --server-gops a number above 0"),
        (["--plot", "cuts.pdf"], 2, "neither an .svg nor a .png"),
        (["--plot", "none/cuts.svg"], 3, "cannot write"),
        (["--calibration", "none.npz"], 3, "there is no calibration data at none.npz"),
        (["--shape", "image=1,2"], 2, "has 4 dimensions"),
    ],
)
def test_bad_values_are_refused_with_a_remedy(cli, tmp_path, arguments, code, message):
    done = cli("inspect", FASHION, "--split-points", *arguments, cwd=tmp_path)
    assert done.code == code
    assert message in done.err
    assert "remedy:" in done.err
    assert not done.out
    assert not list(tmp_path.iterdir())


def test_a_bundle_is_refused(cli, converted):
    done = cli("inspect", converted[0], "--split-points")
    assert done.code == 2
    assert "this is a bundle" in done.err
