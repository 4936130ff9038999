"""Names for shell completion, from the plain tables: nothing heavy is loaded."""

from __future__ import annotations


def complete_targets(incomplete: str) -> list[str]:
    """Targets that start with what is typed."""
    from intaglio.registry import target_names

    return [name for name in target_names() if name.startswith(incomplete)]


def complete_recipes(incomplete: str) -> list[str]:
    """Recipes that start with what is typed after the last comma."""
    import importlib.resources

    done, comma, part = incomplete.rpartition(",")
    files = importlib.resources.files("intaglio.recipes").iterdir()
    names = sorted(file.name[:-5] for file in files if file.name.endswith(".toml"))
    return [f"{done}{comma}{name}" for name in names if name.startswith(part)]
