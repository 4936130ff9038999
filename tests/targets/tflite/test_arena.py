"""The arena of TFLite Micro and latency, measured."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from intaglio.errors import InputError
from intaglio.targets.base import Measurement
from intaglio.targets.tflite import arena
from intaglio.targets.tflite.arena import latency, measure_arena
from intaglio.targets.tflite.runtimes import installed_runtimes
from intaglio.targets.tflite.sessions import TfliteSession
from tests.targets.tflite import small_files

needs_micro = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="needs tflite_micro"
)


@pytest.fixture
def dense(tmp_path):
    path = tmp_path / "dense.tflite"
    path.write_bytes(small_files.dense_file(weight=np.ones((500, 700), np.int8)))
    return path


@needs_micro
def test_the_report_adds_up(dense):
    found = measure_arena(dense)
    assert found.used_bytes == found.head_bytes + found.tail_bytes
    # Activations: input and output at once.
    assert found.head_bytes >= 700 + 500
    assert sum(found.allocations.values()) <= found.tail_bytes
    assert {"TfLiteEvalTensor data", "NodeAndRegistration struct"} <= set(found.allocations)


@needs_micro
def test_the_smallest_arena_works_and_the_next_smaller_one_does_not(dense):
    found = measure_arena(dense)
    assert found.minimum_bytes >= found.used_bytes
    with TfliteSession(dense, "tflm") as session:
        sample = [session.sample()["x"][None]]
        for size, fits in ((found.minimum_bytes, True), (found.minimum_bytes - 16, False)):
            reply, outputs = session.child.call("try_arena", sample, size=size)
            assert reply["fits"] is fits
            assert bool(outputs) is fits
        # Neither failure nor success has harmed the child.
        assert session.run(session.sample()).outputs["y"].shape == (1, 500)


@needs_micro
def test_measurements_say_how_they_were_got(dense):
    found = measure_arena(dense)
    rows = {row.name: row for row in found.measurements()}
    assert rows["arena_used_bytes"].value == found.used_bytes
    assert rows["arena_minimum_bytes"].value == found.minimum_bytes
    assert all(row.unit == "bytes" and "TFLite Micro" in row.how for row in rows.values())
    assert "bisection" in rows["arena_minimum_bytes"].how


@needs_micro
def test_measuring_twice_gives_the_same(dense):
    assert measure_arena(dense) == measure_arena(dense)


@needs_micro
def test_a_try_that_crashes_counts_as_too_small(dense, monkeypatch):
    """The search goes on in a new child where TFLite Micro dies of a small arena."""
    expected = measure_arena(dense).minimum_bytes
    killed = []
    works = arena._works

    def dying(session, sample, due, size):
        if size < expected and len(killed) < 3:
            killed.append(size)
            process = session.child._process
            process.kill()
            process.wait()
        return works(session, sample, due, size)

    monkeypatch.setattr(arena, "_works", dying)
    assert measure_arena(dense).minimum_bytes == expected
    assert len(killed) == 3


@needs_micro
def test_a_file_that_tflite_micro_refuses_has_no_arena(tmp_path):
    path = tmp_path / "bad.tflite"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError):
        measure_arena(path)


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_latency_is_a_median_in_milliseconds(dense, runtime):
    found = latency(dense, runtime, runs=20, seconds=1.0)
    assert isinstance(found, Measurement)
    assert found.unit == "ms"
    assert 0 < found.value < 1000
    assert "median of 20 runs" in found.how
    assert runtime in found.how


@pytest.mark.parametrize("runtime", installed_runtimes())
def test_latency_ends_when_its_time_is_up(dense, runtime):
    found = latency(dense, runtime, runs=10**9, seconds=0.05)
    assert "median of" in found.how
    assert "1000000000" not in found.how


# Bytes that TFLite Micro reports on a 64-bit host; on a 32-bit device the structures are smaller.
ZOO = {
    "hello_world_int8": (1504, 1936),
    "ic_resnet8_int8": (55984, 55984),
    "kws_ref_model_int8": (24272, 24272),
    "vww_96_int8": (103680, 103680),
    "person_detect": (85264, 85264),
}


@needs_micro
def test_arenas_of_the_zoo_stay_near_what_was_measured(zoo):
    for name, (used, smallest) in ZOO.items():
        found = measure_arena(zoo / f"{name}.tflite")
        # Structures grow and shrink from one release of the wheel to the next.
        assert found.used_bytes == pytest.approx(used, rel=0.05), name
        assert found.minimum_bytes == pytest.approx(smallest, rel=0.05), name
        assert found.minimum_bytes >= found.used_bytes, name
