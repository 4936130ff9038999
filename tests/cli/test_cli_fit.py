"""``intaglio fit`` as users run it: killed, stopped, told nonsense."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.fitting.tables.fit_pictures import write

pytest.importorskip("torch")

PROGRAM = "from intaglio.cli.app import main; main()"
STEPS = 400

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX systems")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fit")
    write(folder / "pictures", 6)
    return folder


def arguments(out, *more, steps=STEPS):
    return [
        "fit", "pictures", "--scale", "2", "--preset", "small", "--steps", str(steps), "--out", out,
        "--threads", "1", "--set", "crop=12", "--set", "margin=2", "--set", "batches=2",
        "--set", "mixings=1", "--set", "share=1",
        "--set", "checkpoint_every=20", "--set", "validations=2", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(place, cli):
    """What an uninterrupted run says."""
    done = cli(*arguments("whole", "--json"), cwd=place)
    assert done.code == 0, done.err
    return json.loads(done.out)


def hear_interrupts():
    """For the child: a shell that runs the tests in the background makes it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def stop_after(place, out, line, number, *more):
    """Sends a signal once the journal has so many lines; the exit code and stderr."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments(out, *more)],
        cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    journal = place / out / "journal.jsonl"
    deadline = time.monotonic() + 300
    while child.poll() is None and time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") >= line:
            break
        time.sleep(0.0005)
    child.send_signal(number)
    _, err = child.communicate(timeout=300)
    return child.returncode, err


@posix
def test_a_killed_run_goes_on_to_the_same_model(place, whole, cli):
    code, _ = stop_after(place, "killed", 40, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (place / "killed" / "model.onnx").exists()
    done = cli(*arguments("killed", "--resume", "--json"), cwd=place)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["digest"] == whole["digest"]
    for name in ("model.onnx", "settings.json"):
        assert (place / "killed" / name).read_bytes() == (place / "whole" / name).read_bytes(), name
    for mine, other in zip(found["journal"], whole["journal"], strict=True):
        assert {**mine, "seconds": 0} == {**other, "seconds": 0}


@posix
def test_ctrl_c_saves_and_says_how_to_go_on(place, whole, cli):
    code, err = stop_after(place, "stopped", 10, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in err
    assert f"of {STEPS} steps; go on with the same command and --resume" in err
    again = cli(*arguments("stopped"), cwd=place)
    assert again.code == 2
    assert "--resume" in again.err
    done = cli(*arguments("stopped", "--resume", "--json"), cwd=place)
    assert done.code == 0, done.err
    assert json.loads(done.out)["digest"] == whole["digest"]


def test_the_summary_is_for_people(place, whole, cli):
    done = cli(*arguments("shown", steps=4), cwd=place)
    assert done.code == 0, done.err
    for text in ("superres x2", "held out", "look-ups", "model.onnx", "report.html"):
        assert text in done.out
    quiet = cli(*arguments("quiet", "--quiet", steps=4), cwd=place)
    assert quiet.code == 0
    assert quiet.out == ""


def test_json_is_all_that_is_printed(whole, place):
    assert whole["model"] == str(place / "whole" / "model.onnx")
    assert whole["network"]["lookups"] == 16 * (16 + 4)
    assert whole["psnr"] > 0


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--set", "rate"), 2, "--set"),
        (("--set", "rate=fast"), 2, "rate"),
        (("--sigma", "25"), 2, "--sigma"),
        (("--preset", "gigantic"), 2, "gigantic"),
        (("--validation", "missing"), 3, "missing"),
        (("--teacher", "missing.onnx"), 3, "missing.onnx"),
    ],
)
def test_nonsense_is_refused_with_a_remedy(place, cli, more, code, said):
    done = cli(*arguments("nonsense", *more, steps=1), cwd=place)
    assert done.code == code
    assert said in done.err
    assert "remedy:" in done.err
    assert "Traceback" not in done.err
    assert not (place / "nonsense").exists()


def test_a_missing_folder_is_an_error(place, cli):
    done = cli("fit", "nowhere", "--scale", "2", "--out", "x", "--steps", "1", cwd=place)
    assert done.code == 3
    assert "nowhere" in done.err
