from __future__ import annotations

import pytest

from intaglio.errors import RecipeError
from intaglio.recipe import load_recipe
from intaglio.settings import apply_settings, parse_assignment, parse_value

LOWER = ["lower.to_integer"]


def options(recipe, name):
    return next(step.options for step in recipe.steps if step.pass_name == name)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("0.999", 0.999),
        ("true", True),
        ('"8"', "8"),
        ('["a", "b*"]', ["a", "b*"]),
        ("{a = 1}", {"a": 1}),
        ("int16", "int16"),
        ("", ""),
        ("nan", "nan"),
        ("2020-01-01", "2020-01-01"),
        ("1\nother = 2", "1\nother = 2"),
        ("/conv*", "/conv*"),
    ],
)
def test_values_are_toml_or_else_the_text_itself(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


def test_an_assignment_splits_at_the_first_equals_sign():
    assert parse_assignment("a.b.c = x=y") == ("a.b.c", "x=y")
    for text in ("a.b.c", "=3", ""):
        with pytest.raises(RecipeError, match="is not an option"):
            parse_assignment(text)


def test_full_and_short_keys_mean_the_same():
    recipe = load_recipe("int8")
    full = apply_settings(recipe, ["quantize.plan_tensors.activations=int16"])
    short = apply_settings(recipe, ["quantize.activations=int16"])
    assert full == short
    assert options(full, "quantize.plan_tensors")["activations"] == "int16"
    assert "activations" not in options(recipe, "quantize.plan_tensors")


def test_settings_may_be_a_table_of_values():
    recipe = apply_settings(load_recipe("int8"), {"quantize.sixteen_bit": ["conv1"]})
    assert options(recipe, "quantize.plan_tensors")["sixteen_bit"] == ["conv1"]


def test_steps_are_switched_by_their_full_name():
    recipe = apply_settings(
        load_recipe("int8"),
        ["calibrate.round_weights.enabled=true", "quantize.equalize_layers.enabled=false"],
    )
    enabled = {step.pass_name: step.enabled for step in recipe.steps}
    assert enabled["calibrate.round_weights"]
    assert not enabled["quantize.equalize_layers"]
    with pytest.raises(RecipeError, match="more than one pass") as caught:
        apply_settings(load_recipe("int8"), ["calibrate.enabled=true"])
    assert "calibrate.round_weights.enabled" in caught.value.remedy


def test_options_of_the_recipe_itself():
    recipe = apply_settings(
        load_recipe("int8"),
        ["bundle.samples=0", "bundle.reference=false", "data.size=[96, 96]", "profile=litert"],
    )
    assert recipe.bundle.samples == 0
    assert not recipe.bundle.reference
    assert recipe.data == {"size": [96, 96]}
    assert recipe.profile == "litert"


def test_passes_that_a_target_runs_have_options_too():
    recipe = apply_settings(load_recipe("int8"), ["lower.profile=litert"], LOWER)
    assert recipe.prepare == {"lower.to_integer": {"profile": "litert"}}
    with pytest.raises(RecipeError, match="matches nothing"):
        apply_settings(load_recipe("int8"), ["lower.profile=litert"])
    with pytest.raises(RecipeError, match="not a step of recipe int8"):
        apply_settings(load_recipe("int8"), ["lower.to_integer.profile=litert"])


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("quantize.plan_tensors.activation=int16", "quantize.plan_tensors.activations"),
        ("quantize.activation=int16", "quantize.activations"),
        ("quantise.activations=int16", "quantize"),
        ("bundle.sample=1", "bundle.samples"),
        ("data.sizes=1", "data.size"),
        ("profil=litert", "profile"),
        ("quantize.insert_qdq.depth=3", "insert_qdq"),
    ],
)
def test_a_key_that_matches_nothing_is_an_error_with_suggestions(key, remedy):
    with pytest.raises(RecipeError, match="matches nothing") as caught:
        apply_settings(load_recipe("int8"), [key])
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "quantize.per_channel=perhaps",
        "bundle.samples=many",
        "data.scale=-1",
        "calibrate.round_weights.enabled=7",
        "io=both",
    ],
)
def test_a_value_that_does_not_fit_is_an_error(text):
    with pytest.raises(RecipeError) as caught:
        apply_settings(load_recipe("int8"), [text])
    assert caught.value.remedy
