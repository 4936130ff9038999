"""``intaglio bench``: tables, JSON, exit codes."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from intaglio.targets.c.boards import missing_packages

has_boards = pytest.mark.skipif(
    bool(missing_packages()), reason=f"needs the Debian packages {' '.join(missing_packages())}"
)


@pytest.fixture(scope="module")
def with_c(tmp_path_factory, cli, digits, digits_data):
    """A bundle with C in it."""
    out = tmp_path_factory.mktemp("bench") / "digits"
    arguments = ("--target", "onnx-integer", "--target", "c", "--calibration", digits_data)
    done = cli("convert", digits, *arguments, "--out", out, "--quiet")
    assert done.code == 0, done.err
    return out


def test_times_stand_in_a_table_with_the_machine(cli, converted):
    done = cli("bench", converted[0], "--runs", 3, env={"COLUMNS": "220"})

    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert "10th percentile [ms]" in lines[0]
    assert [line.split()[0] for line in lines[1:4]] == ["onnx-qdq", "onnx-integer", "source"]
    assert "one thread, on " in done.out


def test_json_has_every_figure(cli, converted):
    done = cli("bench", converted[0], "--runs", 3, "--threads", 2, "--json")
    data = json.loads(done.out)

    assert done.code == 0
    assert (data["threads"], data["clock"]) == (2, "wall")
    first = data["entries"][0]
    assert (first["name"], first["threads"], first["samples"]) == ("onnx-qdq", 2, 3)
    assert first["times_as_fast"] == {"onnxruntime": 1.0}


def test_what_cannot_run_is_told_with_the_reason(cli, converted, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(converted[0], broken)
    (broken / "onnx-qdq" / "model.onnx").write_bytes(b"")
    done = cli("bench", broken, "--runs", 2, env={"COLUMNS": "220"})

    assert done.code == 0
    assert "onnx-qdq not timed: onnxruntime refuses" in done.out


@has_boards
def test_a_board_gives_instructions_and_memory(cli, with_c):
    done = cli(
        "bench",
        with_c,
        "--board",
        "cortex-m4",
        "--board",
        "cortex-m55",
        "--runs",
        1,
        env={"COLUMNS": "220"},
    )

    assert done.code == 0, done.err
    rows = [line for line in done.out.splitlines() if line.startswith("c/digits.c")]
    assert [row.split()[1] for row in rows] == ["cortex-m4", "cortex-m55"]
    assert all(row.rstrip().endswith("as onnx-integer") for row in rows)
    assert "counted exactly" in done.out


@has_boards
def test_the_figures_of_a_board_come_as_json(cli, with_c):
    done = cli("bench", with_c, "--board", "cortex-m7", "--runs", 2, "--json")
    [found] = json.loads(done.out)["boards"]

    assert (found["board"], found["differing_values"]) == ("cortex-m7", 0)
    assert found["flash_bytes"] > found["code_bytes"] + found["constant_bytes"]
    assert len(found["instructions_of_each_input"]) == 2


@has_boards
def test_other_bits_on_a_board_end_with_exit_code_5(cli, with_c, monkeypatch):
    import intaglio.cli.commands as commands

    def wrong(*arguments, **options):
        return [
            dataclasses.replace(each, run=dataclasses.replace(each.run, differing=3))
            for each in right(*arguments, **options)
        ]

    right = commands.bench_boards
    monkeypatch.setattr(commands, "bench_boards", wrong)
    done = cli("bench", with_c, "--board", "cortex-m4", "--runs", 1, env={"COLUMNS": "220"})

    assert done.code == 5
    assert "3 values differ" in done.out
    assert "3 output values have other bits than in onnx-integer" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--board", "cortex-m0"), "there is no board 'cortex-m0'"),
        (("--board", "cortex-m4"), "has no C"),
        (("--board", "cortex-m4", "--threads", "2"), "--threads has no meaning on a board"),
    ],
)
def test_what_makes_no_sense_is_refused(cli, converted, arguments, said):
    done = cli("bench", converted[0], *arguments, env={"COLUMNS": "220"})

    assert done.code == 2
    assert said in done.err


def test_without_the_toolchain_the_packages_are_named(cli, with_c, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    done = cli("bench", with_c, "--board", "cortex-m4", env={"COLUMNS": "220"})

    assert done.code == 6
    assert "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm" in done.err


def test_a_folder_without_a_bundle_is_refused(cli, tmp_path):
    assert cli("bench", tmp_path).code == 3
