"""``intaglio train`` and ``intaglio replay`` as users run them: killed, stopped, told nonsense."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from intaglio.transforms.forward_gradient.transcript import HEADER_BYTES

DIGITS = Path(__file__).parents[2] / "sample_models" / "digits"
PROGRAM = "from intaglio.cli.app import main; main()"
STEPS = 1200

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")


@pytest.fixture(scope="module")
def place(tmp_path_factory, process):
    """A folder with a training bundle and samples of a camera that exposes longer."""
    folder = tmp_path_factory.mktemp("train")
    done = process(
        "convert", DIGITS / "digits.onnx", "--recipe", "forward-gradient",
        "--target", "onnx-integer", "--calibration", DIGITS / "calibration.npz",
        "--out", "digits", cwd=folder,
    )  # fmt: skip
    assert done.code == 0, done.err
    with np.load(DIGITS / "test.npz") as stored:
        x, labels = np.clip(stored["image"] + np.float32(0.4), 0, 1), stored["labels"]
    np.savez(folder / "train.npz", image=x[:300], labels=labels[:300])
    np.savez(folder / "others.npz", image=x[300:], labels=labels[300:])
    return folder


def arguments(out, steps=STEPS):
    return [
        "train", "digits", "--data", "train.npz", "--validate", "others.npz", "--steps", str(steps),
        "--halve-every", "500", "--checkpoint-every", "150", "--validate-every", "200",
        "--target", "onnx-integer", "--out", out, "--json",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(place, cli):
    """What an uninterrupted run says."""
    done = cli(*arguments("whole"), cwd=place)
    assert done.code == 0, done.err
    return json.loads(done.out)


def hear_interrupts():
    """For the child: a shell that runs the tests in the background makes it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def stop_after(place, out, steps, number, resume):
    """Sends a signal as soon as the transcript holds so many steps; the exit code and stderr."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments(out), *(["--resume"] if resume else [])],
        cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    transcript = place / f"{out}.training" / "transcript.bin"
    # One probe a step: four steps a byte behind the header.
    size, deadline = HEADER_BYTES + steps // 4, time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline:
        if transcript.exists() and transcript.stat().st_size > size:
            break
        time.sleep(0.0005)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    return child.returncode, err


@posix
def test_a_killed_run_goes_on_to_the_same_weights(place, whole, cli):
    for index, steps in enumerate((3, 210, 640)):
        code, _ = stop_after(place, "killed", steps, signal.SIGKILL, resume=index > 0)
        assert code == -signal.SIGKILL
        assert not (place / "killed").exists()
    done = cli(*arguments("killed"), "--resume", cwd=place)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    for key in ("digest", "steps", "steps_done", "halvings", "validations", "loss", "ties"):
        assert found[key] == whole[key], key
    names = ("transcript.bin", "onnx-integer/model.onnx", "manifest.json")
    for name in names:
        assert (place / "killed" / name).read_bytes() == (place / "whole" / name).read_bytes(), name
    assert not (place / "killed.training").exists()


@posix
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_stopped_run_says_how_to_go_on(place, whole, cli, number, code):
    out = f"stopped{int(number)}"
    found, err = stop_after(place, out, 100, number, resume=False)
    assert found == code
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert f"of {STEPS:,} steps; go on with the same command and --resume" in err
    again = cli(*arguments(out), cwd=place)
    assert again.code == 2
    assert "--resume" in again.err
    done = cli(*arguments(out), "--resume", cwd=place)
    assert done.code == 0, done.err
    assert json.loads(done.out)["digest"] == whole["digest"]


@posix
def test_two_runs_do_not_share_a_folder(place, cli):
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments("shared", 1_000_000)],
        cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (place / "shared.training" / "transcript.bin").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        done = cli(*arguments("shared", 1_000_000), "--resume", cwd=place)
    finally:
        child.kill()
        child.wait()
    assert done.code == 2
    assert "another process" in done.err


def test_a_replay_says_the_same_weights(place, whole, cli):
    done = cli("replay", "digits", "whole/transcript.bin", "--out", "replayed", "--json", cwd=place)
    assert done.code == 0, done.err
    assert json.loads(done.out)["weights"] == whole["digest"]
    model = "onnx-integer/model.onnx"
    assert (place / "replayed" / model).read_bytes() == (place / "whole" / model).read_bytes()


def test_a_flipped_sign_in_a_transcript_is_noticed(place, whole, cli):
    data = bytearray((place / "whole" / "transcript.bin").read_bytes())
    data[HEADER_BYTES] ^= 0b11
    (place / "flipped.bin").write_bytes(data)
    done = cli("replay", "digits", "flipped.bin", "--out", "flipped", cwd=place)
    assert done.code == 3
    assert "damaged" in done.err
    assert not (place / "flipped").exists()


def test_people_get_a_table_and_the_next_command(place, cli):
    done = cli("train", "digits", "--data", "train.npz", "--steps", "20", "--out", "t",
               "--transcript", "t.bin", cwd=place)  # fmt: skip
    assert done.code == 0, done.err
    for text in ("steps", "forwards", "ties", "digest", "next: intaglio verify t"):
        assert text in done.out
    assert (place / "t.bin").read_bytes() == (place / "t" / "transcript.bin").read_bytes()
    done = cli("train", "digits", "--data", "train.npz", "--steps", "20", "--out", "q", "--quiet",
               cwd=place)  # fmt: skip
    assert (done.code, done.out, done.err) == (0, "", "")


def test_the_default_folder_is_beside_the_bundle(place, cli):
    done = cli("train", "digits", "--data", "train.npz", "--steps", "2", cwd=place)
    assert done.code == 0, done.err
    assert (place / "digits-adapted" / "manifest.json").is_file()
    done = cli("verify", "digits-adapted", cwd=place)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (("--data", "none.npz"), 3, "cannot read none.npz"),
        (("--data", "wrong.npz"), 3, "label 2 of training data wrong.npz is 10"),
        (("--data", "damaged.npz"), 3, "cannot read damaged.npz"),
        (("--data", "one.npy"), 3, "holds one array without labels"),
        (("--batch", "301"), 2, "a batch has 301"),
        (("--steps", "0"), 2, "--steps is 0"),
        (("--patience", "3"), 2, "--patience needs validation data"),
        (("--runtime", "quantum"), 2, "quantum"),
        (("--target", "tflite"), 2, "tflite"),
        (("--out", "train.npz"), 2, "is a file"),
        (("--out", "."), 2, "other things in it"),
        (("--validate", "wrong.npz"), 3, "validation data wrong.npz"),
        (("--transcript", "none/t.bin"), 3, "none/t.bin"),
    ],
)
def test_nonsense_is_refused_in_words(place, cli, changes, code, words):
    np.savez(place / "wrong.npz", image=np.zeros((3, 1, 8, 8), np.float32), labels=[1, 2, 10])
    (place / "damaged.npz").write_bytes((place / "train.npz").read_bytes()[:5000])
    np.save(place / "one.npy", np.zeros((3, 1, 8, 8), np.float32))
    options = {"--data": "train.npz", "--out": "never", "--steps": "2"}
    options.update([changes])
    done = cli("train", "digits", *[text for pair in options.items() for text in pair], cwd=place)
    assert done.code == code, done.err
    assert words in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert not (place / "never").exists()


def test_other_bundles_are_refused(place, cli, converted):
    done = cli("train", converted[0], "--data", "train.npz", "--out", "never", cwd=place)
    assert done.code == 2
    assert "forward-gradient" in done.err
    done = cli("train", "whole", "--data", "train.npz", "--out", "never", cwd=place)
    assert done.code == 2
    done = cli("replay", "digits", "train.npz", "--out", "never", cwd=place)
    assert done.code == 3
    assert "no transcript" in done.err
