"""Compiling TOSA files, and what an NPU lacks of them."""

from __future__ import annotations

import pytest

from intaglio.errors import InputError, ToolError
from intaglio.targets.ethos_u.compiler import compile_tosa
from intaglio.targets.ethos_u.files import read_operators
from intaglio.targets.ethos_u.lacking import lacking, refusal_of
from intaglio.targets.ethos_u.options import Accelerator, EthosUConfig
from tests.targets.tosa.small_file import MATMUL, NOT, write_small_file

NODES = {"block/rescaled": "conv", "y": "activation"}


def test_every_operator_is_on_the_npu_and_belongs_to_a_layer(vela):
    made = compile_tosa(write_small_file(), EthosUConfig(via="tosa"), nodes=NODES)
    assert [(op.name, op.custom) for op in read_operators(made.data)] == [("ethos-u", True)]
    report = made.report.to_dict()
    assert [
        (row["index"], row["operator"], row["tensor"], row["node"]) for row in report["operators"]
    ] == [(0, "RESCALE", "block/rescaled", "conv"), (1, "TABLE", "y", "activation")]
    assert (report["npu_operators"], report["cpu_operators"]) == (2, 0)
    assert report["via"] == "tosa"
    assert report["compared"] is None
    cycles = [row["cycles"] for row in report["operators"]]
    assert sum(cycles) == report["cycles"]["total"] > 0


@pytest.mark.parametrize("accelerator", Accelerator.__args__)
def test_every_accelerator_compiles(vela, accelerator):
    made = compile_tosa(write_small_file(), EthosUConfig(accelerator=accelerator))
    figures = made.report.figures()
    assert figures["accelerator"].lower().replace("_", "-") == accelerator
    assert figures["cycles"]["total"] > 0


def test_the_same_file_gives_the_same_bytes_and_report(vela):
    first, second = (compile_tosa(write_small_file(), EthosUConfig()) for _ in range(2))
    assert first.data == second.data
    assert first.report == second.report


def test_what_an_npu_lacks_is_refused_by_its_node(vela):
    data, config = write_small_file(operator=NOT), EthosUConfig()
    with pytest.raises(ToolError, match="could not run on NPU") as caught:
        compile_tosa(data, config, nodes=NODES)
    refusal = refusal_of(caught.value, data, config, NODES)
    caught.value.log.unlink()
    assert (refusal.node, refusal.operator) == ("activation", "BITWISE_NOT")
    assert refusal.reason == "ethos-u55-128 cannot run the BITWISE_NOT that makes 'y'"
    assert "ethos-u.via=tflite" in refusal.remedy
    # Another NPU has it.
    compile_tosa(data, EthosUConfig(accelerator="ethos-u85-256"))


@pytest.mark.parametrize("accelerator", Accelerator.__args__)
def test_what_a_family_lacks_is_known_without_vela(accelerator):
    config = EthosUConfig(accelerator=accelerator)
    assert lacking(write_small_file(), config, NODES) == []
    found = lacking(write_small_file(operator=NOT), config, NODES)
    if "u85" in accelerator:
        assert found == []
    else:
        assert [(each.node, each.operator) for each in found] == [("activation", "BITWISE_NOT")]


def test_other_failures_stay_errors_of_the_tool(vela):
    data, config = write_small_file(operator=MATMUL), EthosUConfig()
    with pytest.raises(ToolError, match="Vela") as caught:
        compile_tosa(data, config)
    assert refusal_of(caught.value, data, config, NODES) is None
    assert caught.value.exit_code == 6
    caught.value.log.unlink()


def test_what_is_no_tosa_file_is_not_given_to_vela(fake_vela):
    fake_vela("echo 'Error: it was' >&2; exit 1")
    with pytest.raises(InputError, match="is no TOSA file"):
        compile_tosa(b"TOSA", EthosUConfig())


def test_an_old_vela_reads_no_tosa(fake_vela):
    fake_vela("exit 1", version="4.5.0")
    with pytest.raises(ToolError, match=r"Vela 4\.5\.0 is too old: 5\.0"):
        compile_tosa(write_small_file(), EthosUConfig())


def test_a_crash_while_looking_for_the_operator_is_not_hidden(fake_vela, tmp_path):
    mark = tmp_path / "second"
    fake_vela(
        f"if [ -f {mark} ]; then kill -SEGV $$; fi; touch {mark}\n"
        "echo 'RuntimeError: Non-passthrough operation (Not) could not run on NPU'; exit 1"
    )
    data, config = write_small_file(operator=NOT), EthosUConfig()
    with pytest.raises(ToolError, match="exit code 1") as caught:
        compile_tosa(data, config)
    with pytest.raises(ToolError, match="SIGSEGV") as crash:
        refusal_of(caught.value, data, config, NODES)
    crash.value.log.unlink()
    caught.value.log.unlink()
