"""The NPU section of the report, on what Vela says about a small file."""

from __future__ import annotations

import json

import pytest

from intaglio.bundle_files import file_sha256, write_json
from intaglio.errors import InputError, ToolError
from intaglio.report.html import render_report
from intaglio.report.npu import npu_sections
from intaglio.targets.ethos_u.compiler import compile_tflite
from intaglio.targets.ethos_u.options import EthosUConfig
from intaglio.targets.ethos_u.vela import find_vela
from tests.core.small_bundle import edit_manifest, write_bundle
from tests.targets.ethos_u.small_file import write_small_file

REPORT = "ethos-u/model_report.json"


@pytest.fixture(scope="module")
def report():
    try:
        find_vela()
    except ToolError as error:
        pytest.skip(str(error))
    names = ("x", "block/add <1>", "block/mystery", "y")
    return compile_tflite(write_small_file(names), EthosUConfig()).report.to_dict()


@pytest.fixture
def bundle(report, tmp_path):
    """A bundle to which an artifact for an NPU was added."""
    found = write_bundle(tmp_path / "bundle")
    folder = found.folder / "ethos-u"
    folder.mkdir()
    (folder / "model_vela.tflite").write_bytes(b"compiled")
    write_json(found.folder / REPORT, report)

    def add(manifest):
        golden = next(a for a in manifest["artifacts"] if a["target"] == "onnx-integer")
        path = "ethos-u/model_vela.tflite"
        digest = file_sha256(found.folder / path)
        added = {"target": "ethos-u", "path": path, "sha256": digest, "bytes": 8}
        manifest["artifacts"].append({**golden, **added})

    return edit_manifest(found, add)


def test_operators_cycles_and_reasons_are_shown(bundle, report):
    html = render_report(bundle.folder)
    assert '<section id="npu">' in html
    assert "2 of 3" in html
    assert "what the CPU takes is not known" in html
    assert f"{report['cycles']['total']:,}".replace(",", "\u202f") in html
    assert report["operators"][1]["reason"] in html
    assert "block/add &lt;1&gt;" in html
    assert "block/add <1>" not in html
    assert "Ethos_U55_128" in html


def test_the_page_is_the_same_for_the_same_bundle(bundle):
    assert render_report(bundle.folder) == render_report(bundle.folder)


def test_the_chart_has_a_bar_for_what_costs_something_or_falls_back(bundle, report):
    (section,) = npu_sections(bundle.folder, bundle.manifest["artifacts"])
    chart = str(section["chart"])
    assert chart.count("<rect") == 3
    assert chart.count('class="poor"') == 1
    shares = [row["share"] for row in section["operators"]]
    assert shares == ["50 %", "–", "50 %"]


def test_operators_of_one_layer_share_a_bar(bundle, report):
    first, middle, last = report["operators"]
    rows = [{**first, "node": "conv <a>"}, {**last, "node": "conv <a>"}, {**middle, "node": "odd"}]
    write_json(bundle.folder / REPORT, {**report, "operators": rows})
    (section,) = npu_sections(bundle.folder, bundle.manifest["artifacts"])
    chart = str(section["chart"])
    assert chart.count("<rect") == 2
    assert "conv &lt;a&gt; (ADD, ADD): " in chart
    assert f"{report['cycles']['total']:,} (100 %)".replace(",", "\u202f") in chart
    html = render_report(bundle.folder)
    assert "Where the cycles go" in html
    assert "compiled via TFLite" in html
    assert " beside " not in html


def test_both_paths_are_compared(bundle, report):
    other = {**report, "via": "tosa", "file_bytes": 16}
    other["cycles"] = {**report["cycles"], "total": report["cycles"]["total"] * 2}
    other["memory_bytes"] = {**report["memory_bytes"], "sram": report["memory_bytes"]["sram"] + 1}
    write_json(bundle.folder / REPORT, {**report, "compared": other})
    (section,) = npu_sections(bundle.folder, bundle.manifest["artifacts"])
    compared = section["compared"]
    assert compared["names"] == ["TFLite", "TOSA"]
    rows = {row["title"]: row for row in compared["rows"]}
    assert rows["Cycles an inference"]["change"] == "\u221250.0 %"
    assert rows["Compiled file"]["values"] == ["8 B", "16 B"]
    assert rows["Operators on the CPU"]["values"] == ["1", "1"]
    assert rows["Inferences a second"]["change"] == "same"
    assert "DRAM" not in rows
    html = render_report(bundle.folder)
    assert "TFLite beside TOSA" in html
    assert "\u221250.0 %" in html


def test_a_path_that_is_closed_is_said_with_the_reason(bundle, report):
    refused = {"via": "tosa", "refused": ["Mystery 'm': no <such> operator"]}
    write_json(bundle.folder / REPORT, {**report, "compared": refused})
    html = render_report(bundle.folder)
    assert "no &lt;such&gt; operator" in html


def test_a_bundle_without_such_an_artifact_has_no_such_section(tmp_path):
    found = write_bundle(tmp_path / "bundle")
    assert npu_sections(found.folder, found.manifest["artifacts"]) == []
    assert 'href="#npu"' not in render_report(found.folder)


def test_a_report_that_is_missing_or_of_another_kind_is_an_input_error(bundle):
    (bundle.folder / REPORT).write_text(json.dumps({"schema": 1}))
    with pytest.raises(InputError, match="convert the model again"):
        render_report(bundle.folder)
    (bundle.folder / REPORT).unlink()
    with pytest.raises(InputError, match="cannot be read"):
        render_report(bundle.folder)
