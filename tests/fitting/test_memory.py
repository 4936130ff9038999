"""Peak memory does not depend on the number of samples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from intaglio.fitting.data import open_data
from intaglio.targets.base import TensorSpec
from tests.helpers import build_proto

# Runs in a process of its own: the peak of a process never goes down. VmHWM begins anew with a
# program; getrusage would count the memory of the process that started it.
PROGRAM = """
import sys
from pathlib import Path
from intaglio.targets.onnx.read import read_onnx
from intaglio.fitting.data import open_data
from intaglio.fitting.equalize_channels import EqualizeChannels
from intaglio.fitting.fit_channels import FitChannels
from intaglio.fitting.observe_ranges import ObserveRanges
from intaglio.fitting.reuse_channels import ReuseChannels
from intaglio.fitting.round_weights import RoundWeights
from intaglio.passes.quantize.plan_tensors import PlanTensors
from intaglio.targets.base import spec_of

model = read_onnx(Path(sys.argv[1]), {})
data = open_data(Path(sys.argv[2]), [spec_of(v) for v in model.graph.inputs])
for step in (
    EqualizeChannels(None, data),
    FitChannels(None, data),
    ObserveRanges(None, data),
    ReuseChannels(None, data),
    PlanTensors(),
    RoundWeights(RoundWeights.Config(samples=None), data),
):
    step(model)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(len(data), status["VmHWM"].split()[0])
"""


@pytest.fixture
def model(tmp_path):
    generator = np.random.default_rng(0)
    proto = build_proto(
        """(float[N,3,48,48] x) => (float[N,8,22,22] y) {
            c = Conv <strides = [2, 2]> (x, w1, b1)
            r = Clip(c, zero, six)
            y = Conv(r, w2, b2)
        }""",
        w1=generator.standard_normal((8, 3, 3, 3)),
        b1=generator.standard_normal(8),
        w2=generator.standard_normal((8, 8, 2, 2)),
        b2=generator.standard_normal(8),
        zero=np.float32(0),
        six=np.float32(6),
    )
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def peak(model, data):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model), str(data)],
        capture_output=True,
        text=True,
        check=True,
    )
    count, kilobytes = done.stdout.split()
    return int(count), int(kilobytes)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_ten_times_the_samples_take_the_same_memory(tmp_path, model, suffix):
    peaks = []
    for count in (200, 2000):
        x = np.random.default_rng(count).random((count, 3, 48, 48), dtype=np.float32)
        path = tmp_path / f"{count}.{suffix}"
        if suffix == "npz":
            np.savez(path, x=x)
        else:
            np.save(path, x)
        seen, kilobytes = peak(model, path)
        assert seen == count
        peaks.append(kilobytes)
        path.unlink()
    assert peaks[1] < 1.1 * peaks[0]


def test_batches_are_views_of_nothing_larger(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((100, 64), np.float32))
    data = open_data(tmp_path / "a.npz", [TensorSpec("x", ("N", 64), "float32")])
    assert all(batch["x"].nbytes == 10 * 64 * 4 for batch in data.batches(10))
