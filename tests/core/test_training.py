"""`train` and `replay` on bundles: every way to the same weights gives the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import intaglio
from intaglio.adapted import ADAPTED
from intaglio.bundle import Bundle
from intaglio.errors import InputError
from intaglio.training_files import load_training, open_stepper
from intaglio.transforms.forward_gradient.randomness import counter_hash, hash_seed
from intaglio.transforms.forward_gradient.step import digest, update
from intaglio.transforms.forward_gradient.transcript import HEADER_BYTES, decode, encode
from intaglio.verification.verify import verify_bundle
from tests.core.training_runs import (
    DIGITS,
    SHORT,
    Arrays,
    Stop,
    codes,
    convert,
    mirrored_digits,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    """The sample model with two probes of the last layer, for both targets that train."""
    out = tmp_path_factory.mktemp("train") / "digits"
    settings = (
        "train.plan_step.probes=2",
        "train.plan_step.learning_rate=0.04",
        "train.plan_step.epsilon=0.02",
    )
    return convert(out, *settings, targets=("onnx-integer", "c"))


@pytest.fixture(scope="module")
def mirrored() -> tuple[Arrays, Arrays]:
    return mirrored_digits()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, bundle, mirrored) -> intaglio.TrainingReport:
    """The short run, on onnxruntime."""
    out = tmp_path_factory.mktemp("whole") / "adapted"
    train, held = mirrored
    return intaglio.train(bundle, train, out, validate=held, target="onnx-integer", **SHORT)


#: Where a transcript has the digest of its last weights.
END = slice(HEADER_BYTES - 32, HEADER_BYTES)


def weights_of(bundle: Bundle) -> str:
    return str(bundle.manifest[ADAPTED]["digest"])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_adapted_bundle_is_verified_and_better(uninterrupted, bundle, mirrored):
    adapted = uninterrupted.bundle
    assert adapted is not None
    assert verify_bundle(adapted, samples=16).ok
    held = mirrored[1]

    def right(some: Bundle, role: str) -> float:
        session = some.session("onnx-integer", role=role)
        scores = session.run({"image": codes(held["image"], bundle)})["logits"]
        return float((scores.argmax(axis=1) == held["labels"]).mean())

    points = uninterrupted.facts["validations"]
    assert [point["step"] for point in points] == [0, 50, 100, 150, 200]
    best = max(point["accuracy"] for point in points)
    assert best > points[0]["accuracy"]
    assert right(adapted, "model") == pytest.approx(best)
    assert right(bundle, "infer") == pytest.approx(points[0]["accuracy"])


def test_the_facts_add_up(uninterrupted, bundle):
    facts, training = uninterrupted.facts, load_training(bundle)
    assert facts["steps_done"] == 200
    assert facts["stopped"] == "steps"
    assert facts["forwards_per_step"] == 4
    assert facts["forwards"] == 200 * 8 * 4
    assert facts["halvings"] == [step for step in (80, 160) if step < facts["steps"]]
    assert facts["parameters"] == sum(p.size for p in training.specification.parameters)
    assert 0 < facts["moved"] <= 1
    assert facts["digest"] == weights_of(uninterrupted.bundle)
    assert not uninterrupted.run.exists()
    assert not uninterrupted.interrupted


def test_the_transcript_replays_to_the_same_bundle(uninterrupted, bundle, tmp_path):
    adapted = uninterrupted.bundle
    path = adapted.folder / "transcript.bin"
    replayed = intaglio.replay(bundle, path, tmp_path / "replayed")
    assert replayed.manifest[ADAPTED]["weights"] == uninterrupted.facts["digest"]
    assert replayed.manifest[ADAPTED]["replayed"]
    one, other = contents(adapted.folder), contents(replayed.folder)
    one.pop("verify.json", None)
    assert one.keys() == other.keys()
    differing = {name for name in one if one[name] != other[name]}
    # These three tell how the weights came about; every artifact is the same.
    assert differing <= {"manifest.json", "report.html", "report.json"}
    assert verify_bundle(replayed, samples=16).ok


def test_the_transcript_is_what_numpy_needs(uninterrupted, bundle):
    training = load_training(bundle)
    found = decode((uninterrupted.bundle.folder / "transcript.bin").read_bytes())
    assert found.first_seed == SHORT["seed"]
    weights: Any = training.weights
    for step in range(found.steps):
        seed = training.specification.step_seed(found.first_seed, step)
        shift = found.step_shift(step)
        weights = update(training.specification, weights, seed, tuple(found.signs[step]), shift)
    assert digest(training.specification, weights) == uninterrupted.facts["digest"]


def test_c_trains_to_the_same_bits(uninterrupted, bundle, mirrored, tmp_path):
    train, held = mirrored
    out = tmp_path / "c"
    report = intaglio.train(bundle, train, out, validate=held, target="c", **SHORT)
    assert report.facts["runtime"].startswith("c")
    assert report.facts["digest"] == uninterrupted.facts["digest"]
    found, wanted = report.facts["validations"], uninterrupted.facts["validations"]
    assert [p["accuracy"] for p in found] == [p["accuracy"] for p in wanted]
    transcripts = [
        (r.bundle.folder / "transcript.bin").read_bytes() for r in (report, uninterrupted)
    ]
    assert transcripts[0] == transcripts[1]


@pytest.mark.parametrize("stops", [(1,), (48, 97), (50, 80, 130, 199), (200,)])
def test_a_resumed_run_is_an_uninterrupted_one(stops, uninterrupted, bundle, mirrored, tmp_path):
    train, held = mirrored
    out = tmp_path / "adapted"
    options = {**SHORT, "validate": held, "target": "onnx-integer"}
    resume = False
    for stop in stops:
        report = intaglio.train(bundle, train, out, listener=Stop(stop), resume=resume, **options)
        assert report.interrupted
        assert report.facts["stopped"] == "interrupt"
        assert report.facts["steps_done"] == stop
        assert not out.exists()
        resume = True
    report = intaglio.train(bundle, train, out, resume=True, **options)
    assert report.facts["digest"] == uninterrupted.facts["digest"]
    assert report.facts["validations"] == uninterrupted.facts["validations"]
    assert report.facts["loss"] == uninterrupted.facts["loss"]
    names = ("transcript.bin", "manifest.json", "onnx-integer/model.onnx")
    for name in names:
        one, other = (r.bundle.folder / name for r in (report, uninterrupted))
        assert one.read_bytes() == other.read_bytes(), name
    assert not report.run.exists()


def test_a_run_resumes_on_another_runtime(uninterrupted, bundle, mirrored, tmp_path):
    train, held = mirrored
    out = tmp_path / "adapted"
    options = {**SHORT, "validate": held}
    intaglio.train(bundle, train, out, target="onnx-integer", listener=Stop(90), **options)
    report = intaglio.train(bundle, train, out, target="c", resume=True, **options)
    assert report.facts["digest"] == uninterrupted.facts["digest"]


def test_more_steps_may_be_asked_for(bundle, mirrored, tmp_path):
    stopped = tmp_path / "adapted"
    first = {**SHORT, "target": "onnx-integer"}
    intaglio.train(bundle, mirrored[0], stopped, listener=Stop(7), **first)
    longer = {**SHORT, "steps": 240, "target": "onnx-integer"}
    resumed = intaglio.train(bundle, mirrored[0], stopped, resume=True, **longer)
    whole = intaglio.train(bundle, mirrored[0], tmp_path / "whole", **longer)
    assert resumed.facts["digest"] == whole.facts["digest"]


def test_without_validation_the_last_weights_are_kept(bundle, mirrored, tmp_path):
    options = {**SHORT, "steps": 9}
    report = intaglio.train(bundle, mirrored[0], tmp_path / "a", target="onnx-integer", **options)
    assert report.facts["steps"] == 9
    assert report.facts["validations"] == []


def test_the_order_and_the_seeds_are_those_of_the_documentation(bundle, mirrored, tmp_path):
    """Three steps by hand: the samples of a permutation, seeds counted on by two probes."""
    options = {**SHORT, "steps": 3}
    report = intaglio.train(bundle, mirrored[0], tmp_path / "a", target="onnx-integer", **options)
    stepper = open_stepper(bundle, "onnx-integer")
    training = load_training(bundle)
    stepper.set_weights(training.weights)
    x = codes(mirrored[0]["image"], bundle)
    seed = hash_seed(hash_seed(5 ^ 0x6F726472))
    order = np.argsort(counter_hash(np.arange(200), seed), kind="stable")
    for step in range(3):
        chosen = order[8 * step : 8 * step + 8]
        stepper.step(x[chosen], mirrored[0]["labels"][chosen], 5 + 2 * step)
    assert digest(training.specification, stepper.weights()) == report.facts["digest"]


def test_patience_ends_a_run_that_gets_no_better(bundle, mirrored, tmp_path):
    # Labels by chance: nothing is to be learnt, and the first weights are the best.
    train, _ = mirrored
    rng = np.random.default_rng(0)
    noise = {**train, "labels": rng.permutation(train["labels"])}
    test = np.load(DIGITS / "test.npz")
    known = {"image": test["image"][200:], "labels": test["labels"][200:]}
    report = intaglio.train(
        bundle, noise, tmp_path / "a", validate=known, steps=4000, batch=8, validate_every=10,
        patience=3, target="onnx-integer",
    )  # fmt: skip
    points = report.facts["validations"]
    assert report.facts["stopped"] == "patience"
    assert report.facts["steps_done"] == points[-1]["step"] < 4000
    best = max(points, key=lambda p: (p["accuracy"], -p["loss"]))
    assert report.facts["steps"] == best["step"]
    assert len(points) - 1 - points.index(best) == 3


def test_a_transcript_of_some_steps_replays_those(uninterrupted, bundle, tmp_path):
    data = (uninterrupted.bundle.folder / "transcript.bin").read_bytes()
    first = intaglio.replay(bundle, encode(decode(data).first(6)), tmp_path / "first")
    assert first.manifest[ADAPTED]["steps"] == 6
    # As the journal of a killed run: no end, and a last step that is torn in the middle.
    unfinished = bytearray(data)
    unfinished[END] = bytes(32)
    torn = bytes(unfinished[: HEADER_BYTES + 3]) + bytes([unfinished[HEADER_BYTES + 3] & 3])
    replayed = intaglio.replay(bundle, torn, tmp_path / "torn")
    assert replayed.manifest[ADAPTED]["steps"] == 6
    assert replayed.manifest[ADAPTED]["weights"] == first.manifest[ADAPTED]["weights"]
    assert replayed.manifest[ADAPTED]["weights"] != uninterrupted.facts["digest"]


@pytest.mark.parametrize("damage", ["cut", "sign"])
def test_a_finished_transcript_that_is_damaged_is_refused(damage, uninterrupted, bundle, tmp_path):
    data = bytearray((uninterrupted.bundle.folder / "transcript.bin").read_bytes())
    assert bytes(data[END]).hex() == uninterrupted.facts["digest"]
    if damage == "cut":
        del data[-5:]
    else:
        # The other sign: 1 and 2 change places.
        data[HEADER_BYTES + 2] ^= 3
    with pytest.raises(InputError, match="it is damaged"):
        intaglio.replay(bundle, bytes(data), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sensible_run_warns_about_nothing(uninterrupted):
    assert uninterrupted.warnings == ()
