"""Recipes: an ordered list of passes with their options, as data.

A recipe is a TOML file::

    name = "int8"
    description = "..."
    profile = "tflm"              # arithmetic of the integer form
    io = "integer"                # border of integer artifacts: integer or float
    targets = ["onnx-integer"]    # what is written where nobody names targets

    [[step]]
    pass = "quantize.plan_tensors"
    enabled = true
    [step.options]
    activations = "int8"

    [bundle]                      # what the bundle keeps beside the artifacts
    samples = 32

    [data]                        # how the calibration data is read
    [prepare."lower.to_integer"]  # options of passes that targets run
    [target.ethos-u]              # options of targets

``base = "int8"`` starts from another recipe (a name or a path beside the file) and ``[set]`` holds
options in the form of ``--set``. ``int8,split`` on the command line concatenates recipes.
"""

from __future__ import annotations

import importlib.resources
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from intaglio.errors import InputError, RecipeError
from intaglio.registry import pass_names, suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DEFAULT_PROFILE = "tflm"
_DEFAULT_TARGETS = ("onnx-qdq", "onnx-integer")


class Step(BaseModel):
    """One pass of a recipe.

    Attributes:
        pass_name: Dotted name of the pass (key ``pass`` in TOML).
        enabled: Whether it runs.
        options: Options of the pass, validated by its ``Config`` when the pipeline starts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    pass_name: str = Field(alias="pass")
    enabled: bool = True
    options: dict[str, Any] = Field(default_factory=dict)


class BundleOptions(BaseModel):
    """What a bundle keeps beside its artifacts.

    Attributes:
        samples: How many calibration samples are stored for ``verify``.
        reference: Whether the float model is stored, the reference of accuracy.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int = Field(default=32, ge=0, le=4096)
    reference: bool = True


class Recipe(BaseModel):
    """What to do to a model, in order.

    Attributes:
        name: Name, or names joined by commas.
        description: One sentence.
        profile: Arithmetic profile of the integer form.
        io: Border of integer artifacts: ``integer``, or ``float`` with conversion inside.
        targets: What is written where nobody names targets.
        steps: The passes, in order (key ``step`` in TOML).
        bundle: What the bundle keeps.
        data: How calibration files are read (``fitting.data_options.DataOptions``).
        prepare: Options of passes that targets run, by pass name.
        target: Options of targets, by target name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str
    description: str = ""
    profile: str = _DEFAULT_PROFILE
    io: Literal["integer", "float"] = "integer"
    targets: tuple[str, ...] = _DEFAULT_TARGETS
    steps: tuple[Step, ...] = Field(default=(), alias="step")
    bundle: BundleOptions = BundleOptions()
    data: dict[str, Any] = Field(default_factory=dict)
    prepare: dict[str, dict[str, Any]] = Field(default_factory=dict)
    target: dict[str, dict[str, Any]] = Field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns the recipe as JSON- and TOML-friendly data; :func:`parse` reads it back."""
        return self.model_dump(mode="json", by_alias=True)


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = importlib.resources.files("intaglio.recipes")
    return sorted(
        entry.name[: -len(".toml")] for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def load_recipe(text: str | Path) -> Recipe:
    """Reads one recipe, or several separated by commas and run one after the other.

    Args:
        text: Names of built-in recipes or paths of TOML files, separated by commas.

    Returns:
        The recipe.

    Raises:
        RecipeError: There is no such recipe, or it has unknown keys or passes.
        InputError: A recipe file cannot be read.
    """
    parts = [text] if isinstance(text, Path) else [part.strip() for part in text.split(",")]
    if not all(str(part) for part in parts):
        raise RecipeError(f"'{text}' names an empty recipe", remedy=_known_recipes())
    recipes = _without_bases([_load_one(str(part), Path(), ()) for part in parts])
    seen: set[str] = set()
    for recipe in recipes:
        own = {step.pass_name for step in recipe.steps}
        if seen & own:
            raise RecipeError(
                f"the recipes {text} both run {min(seen & own)}: each is complete by itself",
                remedy="give one of them, or write a recipe file with the steps you want",
            )
        seen |= own
    return compose(recipes)


def _without_bases(recipes: Sequence[Recipe]) -> list[Recipe]:
    """The recipes, each without the steps of the one before that it begins with.

    ``int8,lut``: recipe lut begins with the steps of int8, whose options count.
    """
    found: list[Recipe] = []
    for recipe in recipes:
        begun = [step.pass_name for step in found[-1].steps] if found else []
        own = [step.pass_name for step in recipe.steps]
        if begun and len(own) > len(begun) and own[: len(begun)] == begun:
            recipe = recipe.model_copy(update={"steps": recipe.steps[len(begun) :]})
        found.append(recipe)
    return found


def compose(recipes: Iterable[Recipe]) -> Recipe:
    """Concatenates recipes: the steps of each after those of the one before.

    Raises:
        RecipeError: The recipes contradict each other in what holds for all steps.
    """
    listed = list(recipes)
    first = listed[0]
    if len(listed) == 1:
        return first
    merged: dict[str, Any] = {
        "name": ",".join(recipe.name for recipe in listed),
        "description": "; then ".join(r.description for r in listed if r.description),
        "steps": tuple(step for recipe in listed for step in recipe.steps),
    }
    for field in ("profile", "io", "targets", "bundle"):
        default = Recipe.model_fields[field].get_default(call_default_factory=True)
        chosen = [getattr(r, field) for r in listed if getattr(r, field) != default]
        if any(value != chosen[0] for value in chosen):
            raise RecipeError(
                f"recipes {merged['name']} ask for different values of '{field}'",
                remedy="write one recipe file that has both lists of steps",
            )
        merged[field] = chosen[0] if chosen else default
    for field in ("data", "prepare", "target"):
        table: dict[str, Any] = {}
        for recipe in listed:
            for key, value in getattr(recipe, field).items():
                if table.setdefault(key, value) != value:
                    raise RecipeError(
                        f"recipes {merged['name']} ask for different values of '{field}.{key}'",
                        remedy="write one recipe file that has both lists of steps",
                    )
        merged[field] = table
    return Recipe(**merged)


def parse(data: Mapping[str, Any], origin: str) -> Recipe:
    """Checks recipe data.

    Args:
        data: The TOML document, or what :meth:`Recipe.to_dict` gave.
        origin: Where it came from, for messages.

    Raises:
        RecipeError: Unknown keys, wrong types or unknown passes.
    """
    try:
        recipe = Recipe.model_validate(dict(data))
    except ValidationError as error:
        raise validation_error(error, f"recipe {origin}", _known_keys) from error
    known = pass_names()
    for step in recipe.steps:
        if step.pass_name not in known:
            raise RecipeError(
                f"recipe {origin}: there is no pass '{step.pass_name}'",
                remedy=suggest(step.pass_name, known),
            )
    return recipe


def validation_error(error: ValidationError, subject: str, known_keys: Any = None) -> RecipeError:
    """Turns pydantic's complaint into one message with a remedy.

    Args:
        error: What pydantic raised.
        subject: What was being read.
        known_keys: Gives the valid keys at a location, for suggestions; may be None.

    Returns:
        The error to raise.
    """
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    remedy: str | None = None
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        message = f"{subject}: unknown key '{location}'"
        keys = known_keys(first["loc"][:-1]) if known_keys else []
        remedy = suggest(key, keys) if keys else "it has no options"
    else:
        found = first.get("input")
        shown = f", found {found!r}" if isinstance(found, (str, int, float, bool)) else ""
        where = f"'{location}': " if location else ""
        message = f"{subject}: {where}{first['msg'].removeprefix('Value error, ')}{shown}"
        remedy = "correct the value"
        if first["type"] == "tuple_type" and isinstance(found, str):
            remedy = f'write a list: ["{found}"], for a shell within single quotes'
    others = error.error_count() - 1
    if others:
        message += f" (and {others} more)"
    return RecipeError(message, remedy=remedy)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    owner: type[BaseModel] = Recipe
    if location and location[0] == "step":
        owner = Step
    elif location and location[0] == "bundle":
        owner = BundleOptions
    return [str(field.alias or name) for name, field in owner.model_fields.items()]


def _known_recipes() -> str:
    return f"known: {', '.join(recipe_names())}, or the path of a .toml file"


def _load_one(text: str, beside: Path, loading: tuple[str, ...]) -> Recipe:
    if text in loading:
        raise RecipeError(
            f"recipe {text} is its own base", remedy="remove the circle of `base` keys"
        )
    if text.endswith(".toml") or "/" in text or "\\" in text:
        path = beside / text
        try:
            source = path.read_text(encoding="utf-8")
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"cannot read the recipe {path}: {reason}", remedy=_known_recipes()
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(
                f"the recipe {path} is not a text file", remedy="give a TOML file"
            ) from error
        folder, origin = path.parent, str(path)
    elif text in recipe_names():
        source = _built_in(text)
        folder, origin = Path(), text
    else:
        close = suggest(text, recipe_names())
        raise RecipeError(
            f"there is no recipe '{text}'", remedy=f"a recipe of your own is a .toml file; {close}"
        )
    return _from_toml(source, origin, folder, (*loading, text))


def _extend(start: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """What a recipe adds to its base: steps at the end, tables key by key, the rest replaced."""
    del start["name"], start["description"]
    merged = {**start, **data}
    if isinstance(data.get("step", []), list):
        merged["step"] = [*start["step"], *data.get("step", [])]
    for table in ("bundle", "data", "prepare", "target"):
        if isinstance(data.get(table), dict):
            merged[table] = {**start[table], **data[table]}
    return merged


def _built_in(name: str) -> str:
    folder = importlib.resources.files("intaglio.recipes")
    return folder.joinpath(f"{name}.toml").read_text(encoding="utf-8")


def _from_toml(source: str, origin: str, folder: Path, loading: tuple[str, ...]) -> Recipe:
    try:
        data = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {origin}: {error}", remedy="correct the TOML") from error
    base = data.pop("base", None)
    sets = data.pop("set", {})
    if not isinstance(sets, dict):
        raise RecipeError(f"recipe {origin}: 'set' is not a table", remedy="write [set]")
    if base is not None:
        if not isinstance(base, str):
            raise RecipeError(
                f"recipe {origin}: 'base' is not a name", remedy='write base = "int8"'
            )
        data = _extend(_load_one(base, folder, loading).to_dict(), data)
    recipe = parse({"name": Path(origin).stem, **data}, origin)
    if sets:
        # Imported here: it loads the passes, and most recipes have no [set].
        from intaglio.settings import apply_settings

        recipe = apply_settings(recipe, sets)
    return recipe
