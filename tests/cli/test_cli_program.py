from __future__ import annotations

import subprocess
import sys
import time

import pytest

import intaglio


def test_help_is_quick(process):
    """Half a second, of this program's own time: other programs may be busy at the same time."""
    resource = pytest.importorskip("resource")
    own, wall = [], []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = process("--help")
        wall.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        own.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.code == 0
        for name in ("inspect", "convert", "verify", "run", "list"):
            assert name in done.out
    print(f"intaglio --help: {min(wall):.2f} s, of which {min(own):.2f} s its own")
    assert min(own) < 0.5


@pytest.mark.parametrize("command", ["inspect", "convert", "verify", "run", "list"])
def test_every_command_has_help_and_the_common_flags(cli, command):
    done = cli(command, "--help", env={"COLUMNS": "200"})
    assert done.code == 0
    for flag in ("--json", "--quiet", "--debug"):
        assert flag in done.out


def test_version(process):
    done = process("--version")
    assert (done.code, done.out.strip()) == (0, f"intaglio {intaglio.__version__}")


def test_no_arguments_show_the_help(cli):
    assert "convert" in cli().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["convrt"],
        ["convert", "model.onnx"],
        ["convert", "model.onnx", "--out", "x", "--targets", "y"],
        ["list", "models"],
        ["verify", "x", "--samples", "0"],
    ],
)
def test_wrong_usage_ends_with_code_2(cli, arguments, tmp_path):
    done = cli(*arguments, cwd=tmp_path)
    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err


def test_a_terminal_without_unicode_gets_question_marks(process, digits):
    done = process("inspect", digits, env={"PYTHONIOENCODING": "ascii"})
    assert done.code == 0, done.err
    assert "N?8?8?8" in done.out


def test_a_reader_that_stops_early_is_no_error(digits, tmp_path):
    program = "from intaglio.cli.app import main; main()"
    with (tmp_path / "err").open("w") as errors:
        running = subprocess.Popen(
            [sys.executable, "-c", program, "inspect", str(digits), "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        running.stdout.close()
        running.wait(timeout=60)
    text = (tmp_path / "err").read_text(encoding="utf-8")
    assert running.returncode != 70
    assert "Traceback" not in text
    assert "bug" not in text


def test_completion_offers_names_without_loading_anything_heavy(process):
    for typed, expected in [
        ("intaglio convert m.onnx --target onnx-i", "onnx-integer"),
        ("intaglio convert m.onnx --recipe int16", "int16x8"),
        ("intaglio convert m.onnx --recipe int8,int1", "int8,int16x8"),
    ]:
        words = typed.split()
        done = process(
            env={
                "_INTAGLIO_COMPLETE": "complete_bash",
                "COMP_WORDS": typed,
                "COMP_CWORD": str(len(words) - 1),
            }
        )
        assert expected in done.out.split()
