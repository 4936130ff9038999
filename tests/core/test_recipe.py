from __future__ import annotations

import pytest

from intaglio.errors import InputError, RecipeError
from intaglio.recipe import compose, load_recipe, parse, recipe_names
from intaglio.registry import pass_names


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_built_in_recipes_load_and_name_existing_passes():
    assert recipe_names() == [
        "forward-gradient",
        "int16x8",
        "int8",
        "lut",
        "split",
        "tabulate",
    ]
    for name in recipe_names():
        steps = [step.pass_name for step in load_recipe(name).steps]
        assert set(steps) <= set(pass_names())
        assert len(steps) == len(set(steps))


def test_int8_plans_before_it_edits():
    steps = [step.pass_name for step in load_recipe("int8").steps]
    order = [
        "canonicalize.fold_constants",
        "canonicalize.fuse_activations",
        "quantize.isolate_tensors",
        "quantize.equalize_layers",
        "calibrate.observe_ranges",
        "quantize.plan_tensors",
        "calibrate.round_weights",
        "quantize.insert_qdq",
    ]
    assert [steps.index(name) for name in order] == sorted(steps.index(name) for name in order)


def test_forward_gradient_chooses_layers_before_it_plans_and_leaves_channels_alone():
    steps = [step.pass_name for step in load_recipe("forward-gradient").steps]
    canonical = [s for s in load_recipe("int8").steps if s.pass_name.startswith("canonicalize.")]
    assert steps[: len(canonical)] == [step.pass_name for step in canonical]
    order = [
        "quantize.isolate_tensors",
        "train.select_layers",
        "calibrate.equalize_channels",
        "quantize.plan_tensors",
        "quantize.insert_qdq",
        "train.plan_step",
    ]
    assert [steps.index(name) for name in order] == sorted(steps.index(name) for name in order)
    assert not {"calibrate.fit_channels", "calibrate.reuse_channels"} & set(steps)


def test_int16x8_is_int8_with_wider_activations():
    narrow, wide = load_recipe("int8").to_dict(), load_recipe("int16x8").to_dict()
    assert [s["pass"] for s in narrow["step"]] == [s["pass"] for s in wide["step"]]
    different = [
        (a["pass"], b["options"])
        for a, b in zip(narrow["step"], wide["step"], strict=True)
        if a != b
    ]
    assert different == [("quantize.plan_tensors", {"activations": "int16"})]


def test_to_dict_is_read_back():
    recipe = load_recipe("int16x8")
    assert parse(recipe.to_dict(), "copy") == recipe


def test_unknown_recipe_suggests_a_close_one():
    with pytest.raises(RecipeError, match="no recipe 'int9'") as caught:
        load_recipe("int9")
    assert "int8" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("stepp = []", "unknown key 'stepp'", "step"),
        ('[[step]]\npass = "quantize.insert_qdq"\nenable = true', "unknown key", "enabled"),
        ('[[step]]\npass = "quantize.insert_qd"', "no pass 'quantize.insert_qd'", "insert_qdq"),
        ("[bundle]\nsample = 3", "unknown key 'bundle.sample'", "samples"),
        ("[bundle]\nsamples = -1", "bundle.samples", "correct"),
        ('io = "double"', "'io'", "correct"),
        ("step = 3", "'step'", "correct"),
        ("name = ", "recipe", "TOML"),
        ("base = 3", "'base' is not a name", "base"),
        ("set = 3", "'set' is not a table", "set"),
    ],
)
def test_wrong_recipe_files_are_refused_with_a_remedy(tmp_path, text, message, remedy):
    path = write(tmp_path / "wrong.toml", text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_a_file_names_itself_unless_it_says_otherwise(tmp_path):
    path = write(tmp_path / "mine.toml", '[[step]]\npass = "quantize.insert_qdq"')
    assert load_recipe(path).name == "mine"


def test_missing_and_binary_files_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="cannot read the recipe"):
        load_recipe(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not a text file"):
        load_recipe(binary)


def test_a_base_is_looked_for_beside_the_file_and_extended(tmp_path):
    write(tmp_path / "first.toml", '[[step]]\npass = "canonicalize.fold_constants"')
    second = write(
        tmp_path / "second.toml",
        'base = "./first.toml"\nprofile = "litert"\n[[step]]\npass = "quantize.insert_qdq"\n',
    )
    recipe = load_recipe(second)
    assert [s.pass_name for s in recipe.steps] == [
        "canonicalize.fold_constants",
        "quantize.insert_qdq",
    ]
    assert recipe.profile == "litert"


def test_a_base_gives_its_tables_but_not_its_name(tmp_path):
    write(tmp_path / "first.toml", 'description = "one"\n[bundle]\nsamples = 3\n[data]\nscale = 1')
    second = write(tmp_path / "second.toml", 'base = "./first.toml"\n[bundle]\nreference = false\n')
    recipe = load_recipe(second)
    assert (recipe.name, recipe.description) == ("second", "")
    assert (recipe.bundle.samples, recipe.bundle.reference) == (3, False)
    assert recipe.data == {"scale": 1}


def test_a_recipe_that_is_its_own_base_is_refused(tmp_path):
    write(tmp_path / "a.toml", 'base = "./b.toml"')
    write(tmp_path / "b.toml", 'base = "./a.toml"')
    with pytest.raises(RecipeError, match="its own base"):
        load_recipe(str(tmp_path / "a.toml"))


def test_set_in_a_file_speaks_like_the_command_line(tmp_path):
    path = write(tmp_path / "mine.toml", 'base = "int8"\n[set]\n"quantize.activations" = "int16"\n')
    assert load_recipe(path).steps == load_recipe("int16x8").steps


def test_composition_concatenates_steps(tmp_path):
    more = write(tmp_path / "more.toml", 'name = "more"\n[[step]]\npass = "lower.shift_unsigned"\n')
    both = load_recipe(f"int8,{more}")
    assert both.name == "int8,more"
    assert both.steps == load_recipe("int8").steps + load_recipe(more).steps


def test_two_complete_recipes_are_refused():
    with pytest.raises(RecipeError, match="complete by itself"):
        load_recipe("int8,int16x8")


def test_an_empty_part_of_a_composition_is_refused():
    with pytest.raises(RecipeError, match="empty recipe"):
        load_recipe("int8,,int16x8")


def test_contradicting_recipes_do_not_compose():
    recipe = load_recipe("int8")
    litert = recipe.model_copy(update={"profile": "litert"})
    single = recipe.model_copy(update={"profile": "tosa-single"})
    assert compose([recipe, litert]).profile == "litert"
    with pytest.raises(RecipeError, match="different values of 'profile'"):
        compose([litert, single])
    small = recipe.model_copy(update={"data": {"size": [8, 8]}})
    large = recipe.model_copy(update={"data": {"size": [16, 16]}})
    assert compose([recipe, small]).data == {"size": [8, 8]}
    with pytest.raises(RecipeError, match=r"different values of 'data\.size'"):
        compose([small, large])
