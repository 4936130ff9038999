"""What is read from Vela's files, on what Vela really wrote."""

from __future__ import annotations

import subprocess

import pytest

from intaglio.errors import ToolError
from intaglio.targets.ethos_u.compiled import measurements
from intaglio.targets.ethos_u.compiler import compile_tflite
from intaglio.targets.ethos_u.files import read_operators
from intaglio.targets.ethos_u.options import Accelerator, EthosUConfig
from intaglio.targets.ethos_u.reports import read_costs, read_reasons, read_summary
from tests.targets.ethos_u.small_file import NAMES, UNKNOWN, write_small_file

OUTPUTS = [(name,) for name in NAMES[1:]]


@pytest.fixture(scope="module")
def compiled(vela):
    return compile_tflite(write_small_file(), EthosUConfig())


@pytest.fixture(scope="module")
def legacy(vela, tmp_path_factory):
    """Output of the core in Python, that of Vela 4 for Ethos-U55; newer ones may lack it."""
    folder = tmp_path_factory.mktemp("legacy")
    (folder / "model.tflite").write_bytes(write_small_file())
    command = [str(vela), "--debug-force-legacy-core", "--accelerator-config", "ethos-u55-128"]
    command += ["--verbose-performance", "--show-cpu-operations", "--enable-debug-db"]
    command += ["--output-dir", str(folder), str(folder / "model.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip("this Vela has no core in Python")
    return folder, done.stdout


def figures(report):
    return {each.name: each.value for each in measurements(report)}


def test_the_operators_of_a_file_are_read_in_order():
    found = read_operators(write_small_file())
    assert [(op.name, op.outputs[0]) for op in found] == [
        ("ADD", NAMES[1]),
        (UNKNOWN, NAMES[2]),
        ("ADD", NAMES[3]),
    ]
    assert [op.custom for op in found] == [False, True, False]


@pytest.mark.parametrize("data", [b"", b"TFL3", b"\xff" * 64])
def test_what_is_no_file_is_an_error_of_the_tool(data):
    with pytest.raises(ToolError, match="cannot be read"):
        read_operators(data)


def test_operators_are_placed_with_the_reason_in_names_of_the_source(compiled):
    first, middle, last = compiled.report.operators
    assert [each.on for each in (first, middle, last)] == ["NPU", "CPU", "NPU"]
    assert [each.tensor for each in (first, middle, last)] == list(NAMES[1:])
    assert middle.operator == UNKNOWN
    assert "Unsupported" in middle.reason
    assert middle.cycles is None
    assert first.reason == last.reason == ""
    report = compiled.report.to_dict()
    assert (report["npu_operators"], report["cpu_operators"]) == (2, 1)


def test_cycles_of_the_operators_add_up_to_those_of_the_network(compiled):
    report = compiled.report.to_dict()
    cycles = [each["cycles"] for each in report["operators"] if each["on"] == "NPU"]
    assert min(cycles) > 0
    assert sum(cycles) == report["cycles"]["total"]


def test_figures_are_those_that_vela_states(compiled):
    report = compiled.report.to_dict()
    found = figures(report)
    assert found["cycles"] == report["cycles"]["total"] > 0
    assert found["inferences_per_second"] == pytest.approx(report["clock_hz"] / found["cycles"])
    # An int8 tensor of 1x8x8x16 lies in SRAM at least once.
    assert found["sram_bytes"] >= 1024
    assert (found["npu_operators"], found["cpu_operators"]) == (2, 1)
    assert report["accelerator"] == "Ethos_U55_128"


def test_the_same_file_gives_the_same_bytes_and_report(vela, compiled):
    again = compile_tflite(write_small_file(), EthosUConfig())
    assert again.data == compiled.data
    assert again.report == compiled.report


def test_without_unknown_operators_nothing_is_left_to_the_cpu(vela):
    made = compile_tflite(write_small_file(unknown=False), EthosUConfig())
    assert [each.on for each in made.report.operators] == ["NPU"] * 3
    assert [(op.name, op.custom) for op in read_operators(made.data)] == [("ethos-u", True)]


def test_with_nothing_for_the_npu_there_is_no_rate(vela):
    names = ("x", "a", "b", "y")
    data = write_small_file(names).replace(b"Mystery", b"ethos-x")
    made = compile_tflite(data, EthosUConfig())
    assert [each.operator for each in made.report.operators] == ["ADD", "ethos-x", "ADD"]
    assert made.report.operators[1].on == "CPU"


@pytest.mark.parametrize("accelerator", Accelerator.__args__)
def test_every_accelerator_compiles(vela, accelerator):
    made = compile_tflite(write_small_file(), EthosUConfig(accelerator=accelerator))
    report = made.report.to_dict()
    assert report["accelerator"].lower().replace("_", "-") == accelerator
    assert report["options"]["accelerator"] == accelerator
    cycles = [each["cycles"] for each in report["operators"] if each["on"] == "NPU"]
    assert sum(cycles) == report["cycles"]["total"] > 0


def test_options_reach_vela(vela):
    config = EthosUConfig(
        system_config="Ethos_U55_Deep_Embedded",
        memory_mode="Sram_Only",
        optimise="Size",
        arena_cache_size=65536,
    )
    summary = compile_tflite(write_small_file(), config).report.summary
    assert summary.system_config == "Ethos_U55_Deep_Embedded"
    assert summary.memory_mode == "Sram_Only"
    assert summary.clock_hz == 200e6


def test_names_that_break_the_debug_database_still_get_their_cycles(vela):
    names = ("x", "a]]>b", "c\"d',e", "y")
    made = compile_tflite(write_small_file(names), EthosUConfig())
    first, middle, last = made.report.operators
    assert (first.tensor, middle.tensor) == names[1:3]
    assert middle.reason.startswith("Unsupported")
    assert first.cycles + last.cycles == made.report.summary.cycles["total"] > 0


def test_the_reports_of_the_core_in_python_are_read_too(legacy):
    folder, log = legacy
    costs = read_costs(folder, "model", OUTPUTS)
    assert set(costs) == {0, 2}
    total = read_summary(folder, "model").cycles["total"]
    assert sum(cost.cycles for cost in costs.values()) == pytest.approx(total, abs=2)
    assert list(read_reasons(log)) == [NAMES[2]]


def test_a_summary_that_is_missing_or_cut_off_is_an_error_of_the_tool(tmp_path):
    with pytest.raises(ToolError, match="summary cannot be read"):
        read_summary(tmp_path, "model")
    (tmp_path / "model_summary_any.csv").write_text("cycles_total,cycles_npu\n1\n")
    with pytest.raises(ToolError, match="summary cannot be read"):
        read_summary(tmp_path, "model")


def test_reports_without_costs_are_no_error(tmp_path):
    assert read_costs(tmp_path, "model", OUTPUTS) == {}
    assert read_reasons("nothing to say\n") == {}
