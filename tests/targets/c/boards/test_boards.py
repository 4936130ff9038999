"""A small hand-written model on the emulated boards: its bits, and figures that are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from intaglio.errors import InternalError, RecipeError, ToolError
from intaglio.targets.c.boards import (
    BOARDS,
    BuildOptions,
    get_board,
    measure,
    missing_packages,
    require_toolchain,
)
from intaglio.targets.c.boards.measuring import differing_values

from .conftest import OUTPUTS, expected

pytestmark = pytest.mark.usefixtures("toolchain")

M4 = BOARDS["cortex-m4"]


def _run(folder, samples, board=M4, *flags, **options):
    return measure(
        board,
        folder,
        "toy",
        [[x] for x in samples],
        OUTPUTS,
        expected=[expected(x) for x in samples],
        options=BuildOptions(flags=flags),
        **options,
    )


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_outputs_of_every_sample_are_those_of_numpy(board, toy, samples):
    run = _run(toy, samples, board)

    assert run.differing == 0
    assert [a.shape for a in run.outputs[0]] == [(10,), (2, 5)]
    for found, x in zip(run.outputs, samples, strict=True):
        for have, want in zip(found, expected(x), strict=True):
            np.testing.assert_array_equal(have, want)
            assert have.dtype == want.dtype


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_executed_instructions_are_counted_exactly(board, toy, samples):
    one, two = (_run(toy, samples, board, f"-DTOY_LOOPS={n}") for n in (10_001, 30_001))

    # 20,000 more turns of three instructions, in every inference.
    assert [b - a for a, b in zip(one.instructions, two.instructions, strict=True)] == [60_000] * 3
    assert one.resolution == 1


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_the_timer_says_the_same_to_its_resolution(board, toy, samples):
    exact = _run(toy, samples, board, layers=True)
    timed = _run(toy, samples, board, exact=False, layers=True)

    assert timed.resolution == float(board.instructions_per_tick)
    assert timed.differing == 0
    for one, other in zip(exact.instructions, timed.instructions, strict=True):
        assert abs(one - other) <= 2 * timed.resolution
    for one, other in zip(exact.layers, timed.layers, strict=True):
        assert one.index == other.index
        assert abs(one.instructions - other.instructions) <= 3 * timed.resolution


def test_the_same_figures_come_every_time(toy, samples):
    one, two = (_run(toy, samples, layers=True) for _ in range(2))

    assert one.instructions == two.instructions
    assert one.layers == two.layers
    assert one.functions == two.functions
    assert one.cycles == two.cycles


def test_layers_and_functions_add_up_to_the_whole(toy, samples):
    run = _run(toy, samples, layers=True)

    assert [layer.index for layer in run.layers] == [0, 1]
    assert run.layers[1].instructions > 5 * run.layers[0].instructions
    assert abs(sum(layer.instructions for layer in run.layers) - run.mean_instructions) < 100
    assert abs(sum(run.functions.values()) - run.mean_instructions) < 30
    assert next(iter(run.functions)) in ("toy_run", "dense")


def test_cycles_of_a_known_loop_follow_the_table(toy, samples):
    one, two = (_run(toy, samples, M4, f"-DTOY_LOOPS={n}") for n in (1001, 2001))

    # nop 1, subs 1, bne 1 and 2 more where it is taken.
    assert two.cycles - one.cycles == 5 * 1000


def test_cycles_are_modelled_for_the_cortex_m4_alone(toy, samples):
    assert _run(toy, samples, BOARDS["cortex-m7"]).cycles is None


def test_stack_grows_with_what_the_function_takes(toy, samples):
    one, two = (_run(toy, samples, M4, f"-DTOY_STACK={n}") for n in (1000, 3000))

    assert two.stack_bytes - one.stack_bytes == 2000
    assert 1000 < one.stack_bytes < 1200


def test_sizes_are_those_of_the_model(toy, samples):
    run = _run(toy, samples)

    assert run.weight_bytes == 10
    assert run.arena_bytes == 128
    assert 100 < run.code_bytes < 500
    assert run.image.text > run.code_bytes + run.weight_bytes


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("-DTOY_FAULT", "fault"),
        ("-DTOY_REFUSE", "returned 3"),
        ("-DTOY_OVERFLOW", "beyond its arena"),
        ("-DTOY_STACK=40000", "stack"),
    ],
)
@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_what_a_model_must_not_do_is_told(board, flag, said, toy, samples):
    with pytest.raises(ToolError, match=said):
        _run(toy, samples, board, flag)


def test_what_does_not_compile_is_told_with_the_compilers_words(toy, samples):
    with pytest.raises(ToolError, match="expected"):
        _run(toy, samples, M4, "-DTOY_LOOPS=)")


def test_an_image_that_is_too_large_is_told_so(toy, samples, tmp_path):
    for name in ("toy.c", "toy_weights.c"):
        (tmp_path / name).write_text((toy / name).read_text())
    (tmp_path / "toy.h").write_text((toy / "toy.h").read_text().replace("128\n", "5000000\n"))

    with pytest.raises(ToolError, match="too large for the board"):
        _run(tmp_path, samples)


def test_values_that_differ_are_counted(toy, samples):
    wrong = [expected(x) for x in samples]
    wrong[1][0][3] += 1
    wrong[2][1][0, 0] += 1
    run = _run(toy, samples)

    assert differing_values(run.outputs, wrong) == 2


def test_expected_outputs_of_another_type_are_refused(toy, samples):
    run = _run(toy, samples)

    with pytest.raises(InternalError, match="other sizes or types"):
        differing_values(run.outputs, [[a.astype(np.int32) for a in expected(x)] for x in samples])


def test_newlib_nano_is_an_option(toy, samples):
    run = measure(
        M4, toy, "toy", [[samples[0]]], OUTPUTS, options=BuildOptions(nano=True)
    )  # nothing expected

    assert run.differing is None
    assert run.options.nano


def test_a_plugin_that_does_not_load_leaves_the_timer(toy, samples, monkeypatch):
    def broken(folder):
        path = folder / "counter.so"
        path.write_text("no library")
        return path

    monkeypatch.setattr("intaglio.targets.c.boards.measuring.build_plugin", broken)
    run = _run(toy, samples)

    assert run.resolution == 40
    assert run.differing == 0


def test_no_compiler_for_this_machine_leaves_the_timer(toy, samples, monkeypatch):
    monkeypatch.setattr("intaglio.targets.c.boards.emulator.find_compiler", lambda: None)

    assert _run(toy, samples).resolution == 40


def test_boards_are_found_by_name():
    assert get_board("cortex-m55").variant == "mve"
    with pytest.raises(RecipeError, match="no board 'cortex-m33'"):
        get_board("cortex-m33")


@dataclasses.dataclass
class _Missing:
    programs: tuple[str, ...]

    def __call__(self, name, *_):
        return None if name in self.programs else f"/usr/bin/{name}"


@pytest.mark.parametrize(
    ("program", "packages"),
    [
        ("arm-none-eabi-gcc", ["gcc-arm-none-eabi", "libnewlib-arm-none-eabi"]),
        ("qemu-system-arm", ["qemu-system-arm"]),
    ],
)
def test_missing_programs_are_named_by_their_packages(program, packages, monkeypatch):
    monkeypatch.setattr("shutil.which", _Missing((program,)))

    assert missing_packages() == packages
    with pytest.raises(ToolError, match="apt-get install " + " ".join(packages)):
        require_toolchain()
