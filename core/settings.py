"""Options by name: ``--set pass.option=value`` applied to a recipe, and passes built from it.

A key is one of

- the full name, ``quantize.plan_tensors.activations=int16``;
- the group's name where one pass of the group has the option, ``quantize.activations=int16``;
- a table of the recipe itself, ``bundle.samples=0`` or ``data.size=[96, 96]``;
- an option of a target, ``ethos-u.accelerator=ethos-u55-256``;
- a top-level option, ``profile=litert`` or ``io=float``.

Passes are those of the recipe's steps and those that the requested targets run; targets are the
requested ones. A key that matches nothing is an error: no option is ever ignored.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from intaglio.errors import RecipeError
from intaglio.recipe import BundleOptions, Recipe, parse, validation_error
from intaglio.registry import load_pass, load_target, pass_names, suggest, target_names

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from intaglio.passes.base import PassConfig
    from intaglio.targets.base import TargetConfig

_TOP_LEVEL = ("profile", "io")


def parse_value(text: str) -> Any:
    """Reads a value as TOML, or as the string it is where it is no TOML.

    ``true``, ``8``, ``0.999``, ``["a", "b"]`` and ``"8"`` are what they look like in TOML;
    ``int16``, dates and ``nan`` stay strings.
    """
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    value = document["value"]
    plain = isinstance(value, (bool, int, float, str, list, dict))
    if len(document) != 1 or not plain or (isinstance(value, float) and not math.isfinite(value)):
        return text
    return value


def parse_assignment(text: str) -> tuple[str, Any]:
    """Splits ``key=value`` and reads the value.

    Raises:
        RecipeError: There is no key or no ``=``.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"'{text}' is not an option", remedy="write --set pass.option=value")
    return key.strip(), parse_value(value.strip())


def apply_settings(
    recipe: Recipe,
    settings: Mapping[str, Any] | Sequence[str],
    target_passes: Iterable[str] = (),
    targets: Iterable[str] = (),
) -> Recipe:
    """A recipe with options set.

    Args:
        recipe: Where to start.
        settings: Key to value, or ``key=value`` texts.
        target_passes: Names of the passes that the requested targets run.
        targets: Names of the requested targets.

    Returns:
        A new recipe.

    Raises:
        RecipeError: A key matches nothing or more than one pass, or a value is not valid.
    """
    pairs = (
        list(settings.items())
        if isinstance(settings, Mapping)
        else [parse_assignment(text) for text in settings]
    )
    if not pairs:
        return recipe
    data = recipe.to_dict()
    prepared = list(dict.fromkeys(target_passes))
    requested = set(targets)
    for key, value in pairs:
        _set_one(data, key, value, prepared, requested)
    changed = parse(data, recipe.name)
    check_options(changed, prepared)
    return changed


def check_options(recipe: Recipe, target_passes: Iterable[str] = ()) -> None:
    """Checks the options of every pass and target of a recipe before anything runs.

    Args:
        recipe: The recipe.
        target_passes: Names of the passes that the requested targets run.

    Raises:
        RecipeError: An unknown option or a value that is not valid, with suggestions.
    """
    for step in recipe.steps:
        build_config(step.pass_name, step.options)
    for name in {*recipe.prepare, *target_passes}:
        build_config(name, recipe.prepare.get(name, {}))
    for name, options in recipe.target.items():
        build_target_config(name, options)
    if recipe.data:
        data_options(recipe)


def build_config(pass_name: str, options: Mapping[str, Any]) -> PassConfig:
    """The typed options of a pass.

    Raises:
        RecipeError: There is no such pass or option, or a value is not valid.
    """
    model = load_pass(pass_name).Config
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        names = list(model.model_fields)
        raise validation_error(error, f"options of {pass_name}", lambda _: names) from error


def build_target_config(name: str, options: Mapping[str, Any]) -> TargetConfig:
    """The typed options of a target.

    Raises:
        RecipeError: There is no such target or option, or a value is not valid.
    """
    model = load_target(name).Config
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        names = list(model.model_fields)
        raise validation_error(error, f"options of target {name}", lambda _: names) from error


def data_options(recipe: Recipe) -> Any:
    """The typed options of reading calibration data (``fitting.data_options.DataOptions``).

    Raises:
        RecipeError: There is no such option, or a value is not valid.
    """
    from intaglio.fitting.data_options import DataOptions

    try:
        return DataOptions.model_validate(recipe.data)
    except ValidationError as error:
        names = list(DataOptions.model_fields)
        raise validation_error(error, "options of data", lambda _: names) from error


def _set_one(
    data: dict[str, Any], key: str, value: Any, prepared: Sequence[str], targets: Container[str]
) -> None:
    head, _, rest = key.partition(".")
    if key in _TOP_LEVEL:
        data[key] = value
    elif head in ("bundle", "data") and rest:
        known = _table_options(head)
        if rest not in known:
            raise _unknown(key, [f"{head}.{name}" for name in known])
        data[head][rest] = value
    elif rest and head in target_names():
        if head not in targets:
            raise RecipeError(
                f"option '{key}': target {head} is not requested",
                remedy=f"add --target {head}; a recipe file has a table [target.{head}] for it",
            )
        known = list(load_target(head).Config.model_fields)
        if rest.partition(".")[0] not in known:
            if not known:
                raise RecipeError(f"option '{key}': target {head} has no options")
            raise _unknown(key, [f"{head}.{name}" for name in known])
        _put(data["target"].setdefault(head, {}), head, rest, value)
    else:
        name, option = _resolve(data, key, prepared)
        _store(data, name, option, value, prepared)


def _table_options(table: str) -> list[str]:
    if table == "bundle":
        return list(BundleOptions.model_fields)
    from intaglio.fitting.data_options import DataOptions

    return list(DataOptions.model_fields)


def _resolve(data: dict[str, Any], key: str, prepared: Sequence[str]) -> tuple[str, str]:
    """The pass and the option (possibly dotted: a key of a table option) that ``key`` means."""
    steps = [step["pass"] for step in data["step"]]
    names = list(dict.fromkeys([*steps, *prepared]))
    for name in sorted(names, key=len, reverse=True):
        if key.startswith(name + "."):
            option = key[len(name) + 1 :]
            known = _options(name, name in steps)
            if option.partition(".")[0] in known:
                return name, option
            raise _unknown(key, [f"{name}.{each}" for each in known])
    for name in pass_names():
        if key.startswith(name + "."):
            raise RecipeError(
                f"option '{key}': {name} is not a step of recipe {data['name']}, nor does a "
                "requested target run it",
                remedy="add the step in a recipe file of your own (base, [[step]])",
            )
    group, _, option = key.partition(".")
    members = [name for name in names if name.startswith(group + ".")]
    if not members:
        every = {f"{n.partition('.')[0]}.{each}" for n in names for each in _options(n, False)}
        raise _unknown(key, [*names, *every, "bundle", "data", *_TOP_LEVEL])
    # ``enabled`` belongs to every step: only the full name says whose it is.
    options = {name: _options(name, False) for name in members}
    first = option.partition(".")[0]
    owners = [name for name in members if first in options[name]]
    if len(owners) == 1:
        return owners[0], option
    if owners or first == "enabled":
        raise RecipeError(
            f"option '{key}' could mean more than one pass",
            remedy="write " + " or ".join(f"{name}.{option}" for name in owners or members),
        )
    short = [f"{group}.{each}" for name in members for each in options[name]]
    raise _unknown(key, [each for each in short if short.count(each) == 1])


def _options(name: str, has_switch: bool) -> list[str]:
    fields = list(load_pass(name).Config.model_fields)
    return [*fields, "enabled"] if has_switch else fields


def _store(
    data: dict[str, Any], name: str, option: str, value: Any, prepared: Sequence[str]
) -> None:
    steps = [step for step in data["step"] if step["pass"] == name]
    if option == "enabled" and steps:
        for step in steps:
            step["enabled"] = value
        return
    tables = [step["options"] for step in steps]
    if name in prepared:
        tables.append(data["prepare"].setdefault(name, {}))
    for table in tables:
        _put(table, name, option, value)


def _put(table: dict[str, Any], name: str, option: str, value: Any) -> None:
    """Sets a possibly dotted option in a table of options."""
    *path, last = option.split(".")
    inner = table
    for part in path:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise RecipeError(
                f"option '{name}.{option}': '{part}' is not a table",
                remedy=f"set {name}.{path[0]} as a whole",
            )
    inner[last] = value


def _unknown(key: str, known: Iterable[str]) -> RecipeError:
    listed = list(known)
    remedy = suggest(key, listed) if listed else "`intaglio list passes` shows the options"
    return RecipeError(f"option '{key}' matches nothing", remedy=remedy)
