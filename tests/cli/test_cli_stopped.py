"""A conversion that is stopped: by Ctrl-C, by the system, or by a full disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import typer

from intaglio.cli.output import Output

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX systems")

PROGRAM = "from intaglio.cli.app import main; main()"


@pytest.fixture
def place(tmp_path, converted):
    shutil.copytree(converted[0], tmp_path / "out")
    return tmp_path


def hashes(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def hear_interrupts():
    """For the child: a shell that runs the tests in the background makes it ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def litter(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_a_signal_while_calibrating(place, digits, number, code):
    images = np.random.default_rng(0).random((60_000, 1, 8, 8), np.float32)
    np.save(place / "many.npy", images)
    before = hashes(place / "out")
    # The progress listener tells when calibration has begun: no guessing of times.
    program = (
        "import sys, intaglio.cli.commands as commands\n"
        "from contextlib import contextmanager\n"
        "@contextmanager\n"
        "def tell(output):\n"
        "    yield lambda stage, done, total: print(stage, file=sys.stderr, flush=True)\n"
        "commands.bars = tell\n" + PROGRAM
    )
    process = subprocess.Popen(
        [
            sys.executable, "-c", program, "convert", str(digits),
            "--calibration", "many.npy", "--out", "out",
        ],
        cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    heard = []
    for line in process.stderr:
        heard.append(line.strip())
        if heard.count("calibrate.observe_ranges") == 3:
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    assert heard.count("calibrate.observe_ranges") == 3
    assert process.returncode == code
    assert "Traceback" not in out + err
    assert hashes(place / "out") == before
    assert litter(place) == []


def test_a_signal_while_writing(place, digits, digits_data):
    """Stops as soon as the temporary folder appears, again and again, at different moments."""
    before = hashes(place / "out")
    interrupted = 0
    for attempt in range(4):
        process = subprocess.Popen(
            [
                sys.executable, "-c", PROGRAM, "convert", str(digits),
                "--calibration", str(digits_data), "--out", "out", "--set", "bundle.samples=7",
            ],
            cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            preexec_fn=hear_interrupts,
        )  # fmt: skip
        while process.poll() is None and not litter(place):
            time.sleep(0.0005)
        time.sleep(0.004 * attempt)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert litter(place) == []
        assert "Traceback" not in err
        if process.returncode == 130:
            interrupted += 1
            assert hashes(place / "out") == before
        else:
            # It was quicker than the signal: then the bundle is the new one, and whole.
            assert process.returncode in (0, -signal.SIGINT)
            before = hashes(place / "out")
    assert interrupted > 0


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_what_a_signal_leaves_half_made_says_nothing(number):
    program = f"""
import os, signal
from intaglio.cli import app
class Half:
    def __del__(self):
        raise AttributeError("half made")
def stop(prog_name):
    half = Half()
    os.kill(os.getpid(), signal.{number})
app.app = stop
try:
    app.main()
except (KeyboardInterrupt, SystemExit):
    print("stopped")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("stopped\n", "")


def test_files_that_may_not_grow(place, digits, digits_data):
    """A limit on the size of a file: the write itself fails, as on a full disk."""
    before = hashes(place / "out")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n" + PROGRAM
    done = subprocess.run(
        [
            sys.executable, "-c", limited, "convert", str(digits),
            "--calibration", str(digits_data), "--out", "out",
        ],
        cwd=place, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "cannot write" in done.stderr
    assert "free some space" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert hashes(place / "out") == before
    assert litter(place) == []


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    test = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]
    return subprocess.run(test, capture_output=True).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="mounting is not permitted here")
def test_a_disk_that_is_full(place, digits, digits_data):
    """A real full disk: a file system of 192 KB that the earlier bundle nearly fills."""
    disk = place / "disk"
    disk.mkdir()
    needed = sum(path.stat().st_size + 8192 for path in (place / "out").rglob("*"))
    script = (
        f'mount -t tmpfs -o size={needed} tmpfs "{disk}" && cp -r "{place}/out" "{disk}/out" && '
        f'"{sys.executable}" -c "{PROGRAM}" convert "{digits}" --calibration "{digits_data}" '
        f'--out "{disk}/out"; echo "code $?"; diff -r "{place}/out" "{disk}/out" && echo same; '
        f'ls -A "{disk}"'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split("\n")[:3] == ["code 3", "same", "out"], done.stdout + done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert Path(disk).exists()


def stopped_import():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error


def test_an_interrupt_that_a_library_turned_into_an_error(capsys):
    """An import that Ctrl-C stops may end in an ImportError: that is no bug of ours."""
    with pytest.raises(typer.Exit) as left, Output():
        stopped_import()
    assert left.value.exit_code == 130
    assert "interrupted" in capsys.readouterr().err
