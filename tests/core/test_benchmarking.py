"""``bench``: taking turns, what is compared with what, and what cannot run."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import intaglio
from intaglio.benchmarking import Entry, _compared, bench_bundle, machine_name
from intaglio.benchmarking_boards import _reordered, bench_boards, expected_outputs
from intaglio.errors import InputError, RecipeError, ToolError
from intaglio.targets.base import TensorSpec
from intaglio.targets.c.boards import missing_packages
from intaglio.timing import Contestant, Sample, Timing, time_in_turns
from intaglio.timing_contestants import (
    LibraryContestant,
    LitertContestant,
    OnnxContestant,
    random_inputs,
)
from tests.core.small_bundle import write_bundle

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"

has_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler"
)
has_boards = pytest.mark.skipif(
    bool(missing_packages()), reason=f"needs the Debian packages {' '.join(missing_packages())}"
)


class Fake(Contestant):
    """Claims to take a given time, and remembers its batches."""

    how = "made up"

    def __init__(self, seconds, log, name="", fails_at=None):
        self.seconds, self.log, self.name, self.fails_at = seconds, log, name, fails_at

    def batch(self, count):
        self.log.append((self.name, count))
        if self.fails_at is not None and len(self.log) >= self.fails_at:
            raise ToolError("gone", command=("x",))
        return Sample(self.seconds, self.seconds / 2)


def test_contestants_take_turns_in_rounds():
    log = []
    fakes = {name: Fake(1e-3, log, name) for name in "ab"}
    found = time_in_turns(fakes, samples=20, seconds=1e9)

    # Four to warm up, then ten rounds of two each.
    assert [name for name, _ in log[:8]] == list("aaaabbbb")
    assert [name for name, _ in log[8:]] == list("aabb") * 10
    assert all(len(found[name].samples) == 20 for name in "ab")


# The contestant's processor works half of the time.
@pytest.mark.parametrize(("seconds", "batch"), [(1e-6, 2000), (1e-4, 20), (2e-3, 1), (0.0, 10_000)])
def test_batches_fill_about_a_millisecond(seconds, batch):
    log = []
    found = time_in_turns({"a": Fake(seconds, log)}, samples=3, seconds=1e9)

    assert found["a"].batch == batch
    assert log[-3:] == [("", batch)] * 3


def test_slow_contestants_give_fewer_samples_but_at_least_one():
    class Slow(Fake):
        def batch(self, count):
            import time

            time.sleep(0.01)
            return super().batch(count)

    found = time_in_turns({"a": Slow(1e-2, [])}, samples=1000, seconds=0.1)

    assert 1 <= len(found["a"].samples) < 60


def test_one_that_fails_leaves_the_others():
    log = []
    found = time_in_turns(
        {"a": Fake(1e-3, [], fails_at=7), "b": Fake(1e-3, log)}, samples=10, seconds=1e9
    )

    assert isinstance(found["a"], ToolError)
    assert len(found["b"].samples) == 10


def test_percentiles_are_those_of_the_chosen_clock():
    timing = Timing(tuple(Sample(float(i), i / 10) for i in range(101)), 1)

    assert timing.seconds("wall", 10) == 10
    assert timing.seconds("processor", 50) == pytest.approx(5)


def test_speeds_are_compared_with_the_first_baseline_that_was_timed():
    entries = [
        Entry("source", "s", p10_ms=8.0),
        Entry("c@vnni", "c", p10_ms=1.0),
        Entry("original@litert", "o", p10_ms=2.0),
        Entry("ethos-u", "e", reason="no"),
    ]
    found = {entry.name: entry.times_as_fast for entry in _compared(entries)}

    assert found["c@vnni"] == {"onnxruntime": 8.0, "LiteRT XNNPACK": 2.0}
    assert found["source"]["LiteRT XNNPACK"] == 0.25
    assert found["ethos-u"] == {}
    with_qdq = _compared([*entries, Entry("onnx-qdq", "q", p10_ms=4.0)])
    assert with_qdq[1].times_as_fast["onnxruntime"] == 4.0


def test_a_bundle_of_onnx_files_is_timed(tmp_path):
    found = bench_bundle(write_bundle(tmp_path / "b"), runs=5, seconds=1)

    assert [entry.name for entry in found.entries] == ["onnx-qdq", "onnx-integer", "source"]
    for entry in found.entries:
        assert entry.reason is None
        assert 0 < entry.p10_ms <= entry.median_ms < 100
        assert entry.samples == 5
        assert entry.batch > 1
    assert found.entries[0].times_as_fast == {"onnxruntime": 1.0}
    assert found.clock == "processor"
    assert found.machine == machine_name() != ""
    assert found.to_dict()["entries"][2]["name"] == "source"


def test_with_several_threads_the_wall_clock_counts(tmp_path):
    found = bench_bundle(write_bundle(tmp_path / "b"), threads=2, runs=2, seconds=1)

    assert found.clock == "wall"
    assert {entry.threads for entry in found.entries} == {2}


def test_a_damaged_artifact_is_listed_with_the_reason(tmp_path):
    bundle = write_bundle(tmp_path / "b")
    (bundle.folder / "onnx-qdq" / "model.onnx").write_bytes(b"no model")
    found = bench_bundle(bundle, runs=2, seconds=1)

    assert "onnxruntime refuses model.onnx" in found.entries[0].reason
    assert found.entries[0].median_ms is None
    # The float model stands for onnxruntime then.
    assert found.entries[2].times_as_fast == {"onnxruntime": 1.0}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The sample model with every artifact that this machine can run."""
    out = tmp_path_factory.mktemp("bench") / "digits"
    return intaglio.convert(
        DIGITS / "digits.onnx",
        targets=["onnx-qdq", "onnx-integer", "tflite", "c"],
        calibration=DIGITS / "calibration.npz",
        out=out,
    )


@has_compiler
def test_every_artifact_of_a_bundle_is_timed_in_every_runtime(digits):
    found = bench_bundle(digits, runs=5, seconds=1)
    names = [entry.name for entry in found.entries]

    assert {"onnx-qdq", "onnx-integer", "tflite@litert", "tflite@litert-builtin"} <= set(names)
    assert "c@portable" in names
    assert all(entry.reason is None for entry in found.entries), found.entries
    for entry in found.entries:
        assert set(entry.times_as_fast) == {"onnxruntime", "LiteRT XNNPACK", "LiteRT built-in"}


def test_without_a_compiler_the_c_is_listed_with_the_reason(digits, monkeypatch):
    monkeypatch.setattr("intaglio.targets.c.target.host_variants", lambda: ())
    only = dataclasses.replace(digits.artifact("c"))
    monkeypatch.setattr(digits, "artifacts", (only,))

    [entry] = bench_bundle(digits, runs=2, seconds=1).entries
    assert (entry.name, entry.reason) == ("c", "there is no C compiler here")


def test_an_artifact_for_a_device_is_listed_with_the_reason(tmp_path, monkeypatch):
    bundle = write_bundle(tmp_path / "b")
    monkeypatch.setattr("intaglio.targets.onnx.qdq.OnnxQdq.runtimes", lambda *_: ())
    monkeypatch.setattr("intaglio.targets.onnx.qdq.OnnxQdq.name", "some-npu")

    found = bench_bundle(bundle, runs=2, seconds=1)
    assert found.entries[0].reason == "nothing here runs it: it is for a device"


def test_the_child_tells_what_litert_says(tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"nothing")

    with pytest.raises(InputError, match=r"LiteRT refuses bad\.tflite"):
        LitertContestant(bad, "xnnpack", 1)


def test_a_child_that_dies_is_an_error(digits):
    contestant = LitertContestant(digits.folder / digits.artifact("tflite").path, "builtin", 1)
    contestant._process.kill()
    contestant._process.wait()

    with pytest.raises(ToolError, match="crashed or hung"):
        contestant.batch(1)
    contestant.close()


def test_onnxruntime_gets_its_inputs_by_name(tmp_path):
    bundle = write_bundle(tmp_path / "b")
    path = bundle.folder / "source" / "model.onnx"

    with pytest.raises(InputError, match="onnxruntime refuses"):
        OnnxContestant(path, {"other": np.zeros((1, 4), np.float32)}, 1)


@has_compiler
def test_the_c_loop_and_the_wall_agree(digits):
    from intaglio.targets.c.session import CSession

    artifact = digits.artifact("c")
    library = CSession(artifact, digits.folder, "portable").library
    contestant = LibraryContestant(library, random_inputs(artifact.inputs))
    samples = [contestant.batch(2000) for _ in range(5)]

    assert min(s.wall for s in samples) > 0.5 * min(s.processor for s in samples)
    # A clock that counts in other units is found out; a busy machine is not.
    assert min(s.wall for s in samples) < 50 * min(s.processor for s in samples)


def test_random_inputs_fit_the_specs_and_repeat():
    specs = [
        TensorSpec("a", ("N", 3, "W"), "int8"),
        TensorSpec("b", (2,), "float32"),
        TensorSpec("c", (1, 4), "int16"),
    ]
    one, two, other = random_inputs(specs), random_inputs(specs), random_inputs(specs, 1)

    assert [(x.shape, x.dtype.name) for x in one.values()] == [
        ((1, 3, 32), "int8"),
        ((2,), "float32"),
        ((1, 4), "int16"),
    ]
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["a"], other["a"])


def test_a_bundle_without_c_has_nothing_for_a_board(tmp_path):
    with pytest.raises(RecipeError, match="has no C"):
        bench_boards(write_bundle(tmp_path / "b"), ["cortex-m4"])
    with pytest.raises(RecipeError, match="no board 'cortex-m0'"):
        bench_boards(write_bundle(tmp_path / "c"), ["cortex-m0"])


def test_expected_outputs_are_in_the_layout_of_the_c(digits):
    """The integer graph has its channels first, the C last; digits has one, so the spec tells."""
    artifact = digits.artifact("c")
    other = digits.artifact("onnx-integer")
    sample = random_inputs(artifact.inputs, 3)
    [[found]] = expected_outputs(digits, artifact, [sample])
    [spec] = artifact.inputs
    fed = sample[spec.name]
    if (spec.layout, other.inputs[0].layout) == ("NHWC", "NCHW"):
        fed = np.ascontiguousarray(fed.transpose(0, 3, 1, 2))
    want = digits.session("onnx-integer").run({spec.name: fed})[artifact.outputs[0].name]

    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    ("has", "wants", "axes"),
    [
        ("NHWC", "NCHW", (0, 3, 1, 2)),
        ("NCHW", "NHWC", (0, 2, 3, 1)),
        ("NHWC", "NHWC", (0, 1, 2, 3)),
        ("", "NCHW", (0, 1, 2, 3)),
    ],
)
def test_channels_are_moved_where_layouts_differ(has, wants, axes):
    array = np.arange(120).reshape(2, 3, 4, 5)
    specs = [TensorSpec("x", (), "int8", layout) for layout in (has, wants)]

    np.testing.assert_array_equal(_reordered(array, *specs), array.transpose(axes))


def test_without_an_integer_graph_nothing_is_expected(digits, monkeypatch):
    artifact = digits.artifact("c")
    monkeypatch.setattr(digits, "artifacts", (artifact,))

    assert expected_outputs(digits, artifact, [random_inputs(artifact.inputs)]) is None


@has_boards
def test_the_c_of_a_bundle_runs_on_a_board_with_the_bits_of_the_integer_graph(digits):
    told = []
    [found] = bench_boards(digits, ["cortex-m4"], runs=2, progress=lambda *what: told.append(what))
    data = found.to_dict()

    assert data["differing_values"] == 0
    assert data["compared_with"] == "onnx-integer"
    assert len(data["instructions_of_each_input"]) == 2
    assert 10_000 < data["instructions"] < 10_000_000
    assert data["modelled_cycles"] > data["instructions"] * 0.8
    total = sum(layer["instructions"] for layer in data["layers"])
    assert total == pytest.approx(data["instructions"], rel=0.05)
    assert told[-1] == ("boards", 1, 1)
