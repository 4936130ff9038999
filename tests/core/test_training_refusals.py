"""What `train` and `replay` refuse, in words and without leaving anything behind."""

from __future__ import annotations

from pathlib import Path

import pytest

import intaglio
from intaglio.bundle import Bundle
from intaglio.errors import InputError, IntaglioError, OutputError, RecipeError
from tests.core.training_runs import SHORT, Arrays, Stop, convert, mirrored_digits


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return convert(tmp_path_factory.mktemp("refused") / "digits")


@pytest.fixture(scope="module")
def mirrored() -> tuple[Arrays, Arrays]:
    return mirrored_digits()


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, bundle, mirrored) -> Bundle:
    """What five steps made."""
    out = tmp_path_factory.mktemp("adapted") / "digits"
    found = intaglio.train(bundle, mirrored[0], out, steps=5, target="onnx-integer").bundle
    assert found is not None
    return found


@pytest.fixture
def stopped(bundle, mirrored, tmp_path) -> Path:
    """An interrupted run; the folder it writes to."""
    out = tmp_path / "adapted"
    intaglio.train(bundle, mirrored[0], out, listener=Stop(7), target="onnx-integer", **SHORT)
    return out


def test_a_second_run_does_not_overwrite_an_interrupted_one(stopped, bundle, mirrored):
    with pytest.raises(RecipeError, match="interrupted run"):
        intaglio.train(bundle, mirrored[0], stopped, target="onnx-integer", **SHORT)


@pytest.mark.parametrize("change", [{"seed": 6}, {"batch": 9}, {"halve_every": 0}])
def test_resuming_with_other_options_is_refused(change, stopped, bundle, mirrored):
    with pytest.raises(RecipeError, match="told otherwise: settings"):
        intaglio.train(bundle, mirrored[0], stopped, resume=True, **{**SHORT, **change})


def test_resuming_with_other_data_is_refused(stopped, bundle, mirrored):
    with pytest.raises(RecipeError, match="told otherwise: data"):
        intaglio.train(bundle, mirrored[1], stopped, resume=True, **SHORT)


def test_resuming_with_another_bundle_is_refused(stopped, mirrored, tmp_path):
    other = convert(tmp_path / "other", "train.plan_step.probes=2")
    with pytest.raises(RecipeError, match="told otherwise: specification"):
        intaglio.train(other, mirrored[0], stopped, resume=True, **SHORT)


def test_a_damaged_run_is_named(stopped, bundle, mirrored):
    run = stopped.with_name("adapted.training")
    (run / "transcript.bin").write_bytes(b"IFGT, but not really")
    with pytest.raises(InputError, match=r"transcript\.bin is damaged"):
        intaglio.train(bundle, mirrored[0], stopped, resume=True, **SHORT)


def test_patience_needs_validation(bundle, mirrored, tmp_path):
    with pytest.raises(RecipeError, match="validation"):
        intaglio.train(bundle, mirrored[0], tmp_path / "a", patience=2)


def test_a_transcript_of_another_bundle_is_refused(adapted, tmp_path):
    other = convert(tmp_path / "other", "train.select_layers.headroom=3.0")
    with pytest.raises(InputError, match="another bundle"):
        intaglio.replay(other, adapted.folder / "transcript.bin", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", [b"", b"IFGT", b"\x00" * 300])
def test_what_is_no_transcript_is_refused(data, bundle, tmp_path):
    with pytest.raises(InputError, match="transcript"):
        intaglio.replay(bundle, data, tmp_path / "out")


def test_a_missing_transcript_is_an_input_error(bundle, tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        intaglio.replay(bundle, tmp_path / "none.bin", tmp_path / "out")


def test_a_bundle_without_a_training_step_is_refused(digits_bundle, mirrored, tmp_path):
    with pytest.raises(RecipeError) as caught:
        intaglio.train(digits_bundle, mirrored[0], tmp_path / "a")
    assert "forward-gradient" in str(caught.value.remedy)
    with pytest.raises(RecipeError):
        intaglio.replay(digits_bundle, b"IFGT", tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_an_adapted_bundle_does_not_train_again(adapted, mirrored, tmp_path):
    with pytest.raises(RecipeError):
        intaglio.train(adapted, mirrored[0], tmp_path / "a")


def test_a_batch_larger_than_the_data_is_refused(bundle, mirrored, tmp_path):
    with pytest.raises(RecipeError, match="200 samples"):
        intaglio.train(bundle, mirrored[0], tmp_path / "a", batch=201)


@pytest.mark.parametrize(
    "option", ["steps", "batch", "validate_every", "checkpoint_every", "seed", "halve_every"]
)
def test_numbers_out_of_range_are_refused(option, bundle, mirrored, tmp_path):
    with pytest.raises(RecipeError, match="--" + option.replace("_", "-")):
        intaglio.train(bundle, mirrored[0], tmp_path / "a", **{option: -1})


@pytest.mark.parametrize(
    "options",
    [
        {"target": "tflite"},
        {"target": "c"},
        {"runtime": "abacus"},
        {"batch": 201},
        {"patience": 2},
        {"transcript": "no/such/folder/t.bin"},
    ],
)
def test_what_is_refused_leaves_nothing_behind(options, bundle, mirrored, tmp_path):
    with pytest.raises(IntaglioError):
        intaglio.train(bundle, mirrored[0], tmp_path / "a", **options)
    assert not list(tmp_path.iterdir())


def test_a_transcript_without_a_folder_is_an_output_error(bundle, mirrored, tmp_path):
    nowhere = tmp_path / "missing" / "t.bin"
    with pytest.raises(OutputError, match="is no folder"):
        intaglio.train(bundle, mirrored[0], tmp_path / "a", transcript=nowhere)


def test_the_bundle_that_is_trained_is_not_replaced(bundle, adapted, mirrored):
    before = (bundle.folder / "manifest.json").read_bytes()
    with pytest.raises(RecipeError, match="trains itself"):
        intaglio.train(bundle, mirrored[0], bundle.folder, steps=1)
    with pytest.raises(RecipeError, match="trains itself"):
        intaglio.replay(bundle, adapted.folder / "transcript.bin", bundle.folder)
    assert (bundle.folder / "manifest.json").read_bytes() == before


def test_fewer_steps_than_were_made_are_refused(stopped, bundle, mirrored):
    with pytest.raises(RecipeError, match="has made 7 steps"):
        intaglio.train(bundle, mirrored[0], stopped, resume=True, **{**SHORT, "steps": 6})
