"""What there is: recipes, passes and targets, described from the code itself."""

from __future__ import annotations

import inspect
from typing import Any

from intaglio.recipe import load_recipe, recipe_names
from intaglio.registry import load_pass, load_target, pass_names, target_names


def describe_recipes() -> list[dict[str, Any]]:
    """Name, description, profile and steps of every built-in recipe."""
    found = []
    for name in recipe_names():
        recipe = load_recipe(name)
        found.append(
            {
                "name": name,
                "description": recipe.description,
                "profile": recipe.profile,
                "steps": [
                    {"pass": step.pass_name, "enabled": step.enabled, "options": step.options}
                    for step in recipe.steps
                ],
            }
        )
    return found


def describe_passes() -> list[dict[str, Any]]:
    """Name, meaning, semantics and options of every pass."""
    found = []
    for name in pass_names():
        kind = load_pass(name)
        fields = kind.Config.model_fields
        found.append(
            {
                "name": name,
                "description": _first_line(kind),
                "semantics": str(kind.semantics),
                "needs_data": bool(getattr(kind, "needs_data", False)),
                "options": {
                    option: _plain(field.get_default(call_default_factory=True))
                    for option, field in fields.items()
                },
            }
        )
    return found


def describe_targets() -> list[dict[str, Any]]:
    """Name, form, preparing passes, options and operators of every target."""
    found = []
    for name in target_names():
        target = load_target(name)
        operators = sorted({row.operator for row in target.capabilities()})
        found.append(
            {
                "name": name,
                "description": _first_line(type(target)),
                "form": target.form,
                "exact": target.exact,
                "prepare": list(target.prepare),
                "options": {
                    option: _plain(field.get_default(call_default_factory=True))
                    for option, field in target.Config.model_fields.items()
                },
                "operators": operators,
            }
        )
    return found


def _first_line(kind: type) -> str:
    text = inspect.getdoc(kind) or inspect.getdoc(inspect.getmodule(kind)) or ""
    return text.partition("\n")[0]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)
