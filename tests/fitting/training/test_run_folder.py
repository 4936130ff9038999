"""The folder of a run: what a kill leaves in it, and what is not its own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.errors import InputError, OutputError, RecipeError
from intaglio.fitting.training.journal import Journal
from intaglio.fitting.training.run_folder import RunFolder, fingerprint, new_transcript
from intaglio.transforms.forward_gradient.transcript import (
    HEADER_BYTES,
    Transcript,
    decode,
    encode,
)
from tests.fitting.training.numpy_stepper import small_training


def empty(probes):
    return Transcript("00" * 32, "11" * 32, 3, probes, (), np.zeros((0, probes), np.int8))


@settings(max_examples=60)
@given(st.data())
def test_a_journal_is_a_transcript_after_every_step(tmp_path_factory, data):
    probes = data.draw(st.integers(1, 9))
    rows = st.lists(st.sampled_from([-1, 0, 1]), min_size=probes, max_size=probes)
    steps = data.draw(st.lists(rows, max_size=20))
    path = tmp_path_factory.mktemp("journal") / "transcript.bin"
    journal = Journal(path, empty(probes))
    halvings = []
    for index, signs in enumerate(steps):
        if data.draw(st.booleans()):
            # Closed and opened again in between: what was written stays.
            journal.close()
            journal = Journal(path, Journal.read(path))
        if data.draw(st.integers(0, 3)) == 0:
            journal.halve(index)
            halvings.append(index)
        journal.add(tuple(signs))
        found = Journal.read(path)
        assert found.signs.tolist() == steps[: index + 1]
        assert found.halvings == tuple(halvings)
        assert path.read_bytes() == encode(found)
    journal.close()


@given(st.integers(1, 9), st.integers(1, 12))
def test_a_write_torn_between_its_bytes_loses_that_step_only(tmp_path_factory, probes, steps):
    path = tmp_path_factory.mktemp("torn") / "transcript.bin"
    journal = Journal(path, empty(probes))
    for _ in range(steps - 1):
        journal.add((1,) * probes)
    before = path.read_bytes()
    journal.add((-1,) * probes)
    journal.close()
    after = path.read_bytes()
    for cut in range(len(before), len(after)):
        # The bytes of the write arrive in order; the first may share a byte with the step before.
        found = decode(after[: max(cut, HEADER_BYTES)])
        assert found.steps in (steps - 1, steps)
        assert (found.signs[: steps - 1] == 1).all()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_names_the_transcript(tmp_path):
    journal = Journal(tmp_path / "transcript.bin", empty(3))
    journal.add((1, 0, -1))
    journal.close()
    with Path("/dev/full").open("r+b", buffering=0) as journal._file:
        for call in (lambda: journal.add((1, 1, 1)), lambda: journal.halve(1)):
            with pytest.raises(OutputError, match=r"transcript\.bin: No space left"):
                call()
    assert Journal.read(tmp_path / "transcript.bin").steps == 1
    with pytest.raises(OutputError, match=r"transcript\.bin: "):
        Journal(tmp_path / "nowhere" / "transcript.bin", empty(3))


def test_only_one_process_has_a_folder(tmp_path):
    if os.name == "nt":
        pytest.skip("needs the locks of POSIX systems")
    first = RunFolder(tmp_path / "run")
    with pytest.raises(RecipeError, match="another process"):
        RunFolder(tmp_path / "run")
    first.close()
    RunFolder(tmp_path / "run").close()


@pytest.mark.parametrize("name", ["notes.txt", "weights.bin", "weights-best.bin", "folder"])
def test_files_of_others_are_left_alone(tmp_path, name):
    place = tmp_path / "run"
    place.mkdir()
    if name == "folder":
        (place / name).mkdir()
    else:
        (place / name).write_text("mine")
    (place / "losses.bin").write_bytes(b"1234")
    folder = RunFolder(place)
    with pytest.raises(RecipeError, match=name):
        folder.begin({})
    folder.close()
    assert (place / name).exists()
    assert (place / "losses.bin").exists()


def test_what_a_killed_run_left_makes_way_for_a_new_one(tmp_path):
    left = [
        *("run.json", "run.json.new", "transcript.bin", "transcript.new", "losses.bin"),
        *("validation.json.new", "weights-000000500.bin", "weights-000000500.bin.new"),
    ]
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).write_bytes(b"old")
    folder = RunFolder(tmp_path / "run")
    folder.begin({"a": 1})
    assert folder.told() == {"a": 1}
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "lock"}
    folder.remove()
    assert not (tmp_path / "run").exists()


def test_the_newest_whole_weights_count(tmp_path):
    training = small_training()
    folder = RunFolder(tmp_path / "run")
    assert folder.saved(training, 10)[0] == 0
    for step in (5, 10, 15):
        weights = {name: array + step for name, array in training.weights.items()}
        folder.save(training, weights, step)
    assert sorted(p.name for p in folder.path.glob("weights*")) == [
        "weights-000000010.bin",
        "weights-000000015.bin",
    ]
    assert folder.saved(training, 99)[0] == 15
    step, weights = folder.saved(training, 14)
    assert step == 10
    np.testing.assert_array_equal(weights["w"], training.weights["w"] + 10)
    newest = folder.path / "weights-000000015.bin"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert folder.saved(training, 99)[0] == 10
    folder.close()


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_run_is_named(tmp_path, text):
    folder = RunFolder(tmp_path / "run")
    (folder.path / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json is damaged") as caught:
        folder.told()
    assert "from the beginning" in caught.value.remedy
    (folder.path / "transcript.bin").write_text(text)
    with pytest.raises(InputError, match=r"transcript\.bin is damaged"):
        folder.transcript()
    folder.close()


def test_losses_that_were_lost_are_not_a_number(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.open_losses(np.array([1, 2], np.float32)) as log:
        log.write(np.float32(3).tobytes() + b"\0\0")
    found = folder.losses(5)
    assert found[:3].tolist() == [1, 2, 3]
    assert np.isnan(found[3:]).all()
    assert folder.losses(2).tolist() == [1, 2]
    folder.close()


def test_damaged_validations_are_done_again(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.validations() == []
    folder.save_validations([{"step": 1}])
    assert folder.validations() == [{"step": 1}]
    (folder.path / "validation.json").write_text("[{")
    assert folder.validations() == []
    folder.close()


def test_fingerprints_see_values_shapes_and_types():
    x = np.arange(6, dtype=np.int8)
    found = [x, x.reshape(2, 3), x.astype(np.int16), x + np.int8(1)]
    assert len({fingerprint(array) for array in found}) == 4
    assert fingerprint(x) == fingerprint(x.copy())
    assert fingerprint(x, x) != fingerprint(x)


def test_a_new_transcript_belongs_to_its_bundle():
    training = small_training(probes=3)
    found = new_transcript(training, "ab" * 32, 9)
    assert (found.probes, found.first_seed, found.steps) == (3, 9, 0)
    assert decode(encode(found)).specification == found.specification
