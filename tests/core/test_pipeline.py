from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from intaglio.errors import InputError, InternalError, RecipeError
from intaglio.fitting.data import open_data
from intaglio.passes.annotations import all_values, get_range
from intaglio.passes.base import (
    APPROXIMATE,
    EXACT,
    Change,
    Outcome,
    Pass,
    PassConfig,
    Skip,
    outcome,
)
from intaglio.pipeline import run_recipe
from intaglio.recipe import parse
from intaglio.targets.base import spec_of
from intaglio.targets.onnx.read import read_onnx


class RenameConfig(PassConfig):
    suffix: str = "_renamed"


class RenameOutputs(Pass):
    """Renames every inner tensor once."""

    name = "test.rename_outputs"
    semantics = EXACT
    Config = RenameConfig

    def call(self, model: ir.Model) -> Outcome:
        changes = []
        for node in model.graph:
            for value in node.outputs:
                if not value.is_graph_output() and not value.name.endswith(self.config.suffix):
                    before = value.name
                    value.name = before + self.config.suffix
                    changes.append(Change("rename", node.name, before, value.name))
        return outcome(model, changes, [Skip("relu", "is an output")], {"renamed": len(changes)})


class Breaks(Pass):
    name = "test.breaks"
    semantics = APPROXIMATE

    def call(self, model: ir.Model) -> Outcome:
        raise KeyError("no such thing")


class Refuses(Pass):
    name = "test.refuses"
    semantics = APPROXIMATE

    def requires(self, model: ir.Model) -> None:
        raise InputError("not this model", remedy="take another")

    def call(self, model: ir.Model) -> Outcome:
        return outcome(model, [])


class Violates(Pass):
    name = "test.violates"
    semantics = APPROXIMATE

    def ensures(self, model: ir.Model) -> None:
        raise ir.passes.PostconditionError("a float tensor is left")

    def call(self, model: ir.Model) -> Outcome:
        return outcome(model, [])


class NoEvidence(Pass):
    name = "test.no_evidence"
    semantics = EXACT

    def call(self, model: ir.Model) -> Outcome:
        return ir.passes.PassResult(model, False)


class CountSamples(Pass):
    name = "test.count_samples"
    semantics = EXACT
    needs_data = True

    def __init__(self, config=None, data=None):
        super().__init__(config)
        self.data = data
        self.progress = None

    def call(self, model: ir.Model) -> Outcome:
        for index in range(len(self.data)):
            self.progress(index + 1, len(self.data))
        return outcome(model, [], facts={"samples": len(self.data)})


class Approximate(Pass):
    name = "test.approximate"
    semantics = APPROXIMATE

    def call(self, model: ir.Model) -> Outcome:
        return outcome(model, [])


ALL = (RenameOutputs, Approximate, Breaks, Refuses, Violates, NoEvidence, CountSamples)


@pytest.fixture(autouse=True)
def passes(register):
    for kind in ALL:
        register(kind)


def recipe(*names, **options):
    steps = [
        {"pass": name, **({"options": options[name]} if name in options else {})} for name in names
    ]
    return parse({"name": "test", "step": steps}, "test")


def test_every_outcome_is_kept(small_model):
    result = run_recipe(
        read_onnx(small_model), recipe("test.rename_outputs", "test.rename_outputs")
    )
    first, second = result.records
    assert first.modified
    assert [change.before for change in first.changes] == ["h"]
    assert first.skips == (Skip("relu", "is an output"),)
    assert first.facts == {"renamed": 1}
    assert first.semantics == "exact"
    assert first.config == {"suffix": "_renamed"}
    assert not second.modified
    assert "h_renamed" in {v.name for node in result.model.graph for v in node.outputs}


def test_times_stay_out_of_the_written_record(small_model):
    record = run_recipe(read_onnx(small_model), recipe("test.rename_outputs")).records[0]
    assert record.seconds > 0
    assert "seconds" not in record.to_dict()
    assert record.to_dict()["changes"][0]["kind"] == "rename"


def test_options_reach_the_pass(small_model):
    data = {"name": "t", "step": [{"pass": "test.rename_outputs", "options": {"suffix": "_2"}}]}
    result = run_recipe(read_onnx(small_model), parse(data, "t"))
    assert result.records[0].changes[0].after == "h_2"
    wrong = {"name": "t", "step": [{"pass": "test.rename_outputs", "options": {"sufix": "_2"}}]}
    with pytest.raises(RecipeError, match="unknown key 'sufix'") as caught:
        run_recipe(read_onnx(small_model), parse(wrong, "t"))
    assert "suffix" in caught.value.remedy


def test_a_failing_pass_is_a_bug_of_ours_and_named(small_model):
    with pytest.raises(InternalError, match=r"test\.breaks failed: KeyError") as caught:
        run_recipe(read_onnx(small_model), recipe("test.breaks"))
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.exit_code == 70


def test_a_refusal_inside_a_precondition_is_what_the_user_sees(small_model):
    with pytest.raises(InputError, match="not this model") as caught:
        run_recipe(read_onnx(small_model), recipe("test.refuses"))
    assert caught.value.remedy == "take another"


def test_a_violated_postcondition_is_a_bug_of_ours(small_model):
    with pytest.raises(InternalError, match=r"test\.violates: a float tensor is left"):
        run_recipe(read_onnx(small_model), recipe("test.violates"))


def test_a_pass_without_evidence_is_a_bug_of_ours(small_model):
    with pytest.raises(InternalError, match="returned no Outcome"):
        run_recipe(read_onnx(small_model), recipe("test.no_evidence"))


def test_disabled_steps_say_so_and_need_nothing(small_model):
    data = {"name": "t", "step": [{"pass": "test.count_samples", "enabled": False}]}
    record = run_recipe(read_onnx(small_model), parse(data, "t")).records[0]
    assert not record.modified
    assert record.skips[0].reason == "switched off in the recipe"


def test_calibration_is_demanded_before_any_step_runs(small_model):
    model = read_onnx(small_model)
    with pytest.raises(RecipeError, match=r"calibration data for test\.count_samples") as caught:
        run_recipe(model, recipe("test.rename_outputs", "test.count_samples"))
    assert "--calibration" in caught.value.remedy
    assert "--random-calibration" in caught.value.remedy
    assert "h" in {v.name for node in model.graph for v in node.outputs}


def test_a_quantized_model_needs_no_calibration(small_model):
    result = run_recipe(
        read_onnx(small_model), recipe("test.count_samples"), quantized_already=True
    )
    assert "quantized already" in result.records[0].skips[0].reason


def test_data_passes_get_the_samples_and_report_progress(small_model):
    heard = []
    result = run_recipe(
        read_onnx(small_model),
        recipe("test.count_samples"),
        data=range(3),
        progress=lambda stage, done, total: heard.append((stage, done, total)),
    )
    assert result.records[0].facts == {"samples": 3}
    assert ("test.count_samples", 3, 3) in heard


def test_every_step_can_be_kept(small_model):
    kept = []
    run_recipe(
        read_onnx(small_model),
        recipe("canonicalize.fold_constants", "test.rename_outputs"),
        keep=lambda stem, model: kept.append((stem, [n.outputs[0].name for n in model.graph])),
    )
    assert kept == [
        ("01-canonicalize.fold_constants", ["h", "y"]),
        ("02-test.rename_outputs", ["h_renamed", "y"]),
    ]


def test_the_reference_is_the_model_before_the_first_step_that_changes_its_function(small_model):
    exact = run_recipe(read_onnx(small_model), recipe("test.rename_outputs"))
    result = run_recipe(read_onnx(small_model), recipe("test.approximate", "test.rename_outputs"))
    assert [n.outputs[0].name for n in exact.reference.graph] == ["h_renamed", "y"]
    assert [n.outputs[0].name for n in result.reference.graph] == ["h", "y"]
    assert [n.outputs[0].name for n in result.model.graph] == ["h_renamed", "y"]


def test_the_reference_follows_exact_steps_that_need_data_and_has_no_notes():
    folder = Path(__file__).resolve().parents[2] / "sample_models" / "fashion"
    model = read_onnx(folder / "fashion.onnx")
    before = {name: v.const_value.numpy() for name, v in model.graph.initializers.items()}
    inputs = [spec_of(value) for value in model.graph.inputs]
    data = open_data(folder / "calibration.npz", inputs)

    result = run_recipe(
        model,
        recipe(
            "calibrate.equalize_channels",
            "calibrate.observe_ranges",
            "quantize.plan_tensors",
            **{"calibrate.equalize_channels": {"strength": 1.0}},
        ),
        data=data,
    )

    after = {n: v.const_value.numpy() for n, v in result.reference.graph.initializers.items()}
    assert any((after[name] != before[name]).any() for name in before)
    assert all(
        (after[n] == v.const_value.numpy()).all() for n, v in model.graph.initializers.items()
    )
    assert not any(get_range(value) for value in all_values(result.reference))
