from __future__ import annotations

import time

import pytest

import intaglio


def test_help_is_quick(process):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = process("--help")
        times.append(time.perf_counter() - start)
        assert done.code == 0
        for name in ("inspect", "convert", "verify", "run", "list"):
            assert name in done.out
    print(f"intaglio --help: {min(times):.2f} s")
    # Half a second on an idle machine; shared ones get twice that.
    assert min(times) < 1.0


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
