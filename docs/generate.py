"""Writes the pages that are made from the code: ``docs/reference`` and part of ``docs/errors.md``.

    python docs/generate.py            writes them
    python docs/generate.py --check    fails where a page is stale

Texts come from the docstrings and tables of the package, messages from provoking them, so a page
cannot say anything that the code does not.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from docstrings import (
    attributes,
    first_line,
    markdown,
    options_table,
    prose,
    table,
    type_words,
    without_none,
)
from provoke import provoked

from intaglio import errors
from intaglio.cli.app import app
from intaglio.fitting.data_options import DataOptions
from intaglio.passes.dialect.functions import DOMAIN, OPSET, SPECIFICATIONS, VERSION
from intaglio.recipe import BundleOptions, Recipe, Step, load_recipe, recipe_names
from intaglio.registry import PASSES, TARGETS, load_pass, load_target
from intaglio.targets.base import Artifact, TensorSpec
from intaglio.targets.tflite.readers import READERS
from intaglio.transforms.profiles import KINDS, PROFILES
from intaglio.verification.report import LayerResult, PairResult, VerifyReport

DOCS = Path(__file__).resolve().parent

_NOTE = "<!-- Written by docs/generate.py: change the code, then run it. -->"
_BEGIN = "<!-- generated: {} -->"
_END = "<!-- end of generated: {} -->"

_GROUPS = {
    "canonicalize": "The same function in fewer, simpler operators.",
    "quantize": "Decide how tensors are quantized, and write it into the graph.",
    "calibrate": "Need calibration data: they run the model on it.",
    "train": "Which layers train on the device, what a training step does, and its graph.",
    "lower": "Run by targets, after the recipe: from the quantized form to integers.",
    "tables": "Find look-up tables, put them in the place of products, and make them smaller.",
    "split": "Put the codec of a cut into the graph, and cut it in two.",
    "layout": "Run by targets that want channels last.",
}


def passes_page() -> str:
    """Every pass, grouped, with its options."""
    parts = [
        "# Passes",
        "Every step that a recipe or a target can run. `--set pass.option=value` sets an option; "
        "where one pass of a group has it, `--set group.option=value` is enough. What the "
        "semantics mean: `exact` keeps the real function of the model, `calibrated` keeps it for "
        "inputs like the calibration samples; `approximate` does not.",
    ]
    names = list(PASSES)
    parts.append("\n".join(f"- [`{n}`](#{_anchor(n)}): {first_line(load_pass(n))}" for n in names))
    for group in dict.fromkeys(name.partition(".")[0] for name in names):
        parts += [f"## {group}", _GROUPS[group]]
        for name in names:
            if name.startswith(group + "."):
                parts += _one_pass(name)
    return _page(parts)


def _one_pass(name: str) -> list[str]:
    kind = load_pass(name)
    needs_data = bool(getattr(kind, "needs_data", False))
    facts = f"Semantics: {kind.semantics}." + (" Needs calibration data." if needs_data else "")
    about = [f"### {name}", prose(kind), facts]
    if not _repeats_module(kind):
        about.insert(2, _module_prose(kind))
    if kind.Config.model_fields:
        about.append(options_table(kind.Config))
    else:
        about.append("It has no options.")
    return about


def _module_prose(kind: type) -> str:
    """What the module says: the why, and the formula with its source."""
    return prose(importlib.import_module(kind.__module__))


def _repeats_module(kind: type) -> bool:
    return _module_prose(kind).partition("\n")[0] == first_line(kind)


def targets_page() -> str:
    """Every target with its capability table, and the profiles."""
    parts = [
        "# Targets",
        "What `--target` can name. A target checks the whole model before anything is written and "
        "refuses what it cannot take, node by node.",
    ]
    for name in TARGETS:
        target = load_target(name)
        module = importlib.import_module(type(target).__module__)
        prepared = ", ".join(f"[`{p}`](passes.md#{_anchor(p)})" for p in target.prepare) or "none"
        form = "QuantizeLinear/DequantizeLinear" if target.form == "quantized" else "integers"
        exact = (
            "bit for bit, in the profile that the artifact states"
            if target.exact
            else "no: its runtime rounds in its own way"
        )
        parts += [
            f"## {name}",
            prose(module),
            f"- Form: {form}\n- Passes run for it: {prepared}\n- Exact: {exact}",
        ]
        if target.Config.model_fields:
            parts += [f"Options (`--set {name}.option=value`):", options_table(target.Config)]
        parts.append(
            table(("operators", "types", "condition", "definition"), *_capabilities(target))
        )
    profiles = [(f"`{p.name}`", p.description, p.version_read) for p in PROFILES.values()]
    roundings = [("operator", *(f"{n}, {d}" for n in PROFILES for d in ("int8", "int16")))]
    for kind in KINDS:
        cells = [
            str(profile.rounding(kind, dtype).name).lower()
            for profile in PROFILES.values()
            for dtype in ("int8", "int16")
        ]
        roundings.append((kind, *cells))
    custom = sorted(name.split(":")[1] for name in READERS if ":" in name)
    parts += [
        "## Read from TFLite files",
        "Builtin operators that [TFLite files](../tflite.md) may have, besides the custom "
        f"{', '.join(f'`{name}`' for name in custom)} of MediaPipe; the refusal of any other names "
        "its version and its tensor.",
        ", ".join(f"`{name}`" for name in sorted(READERS) if ":" not in name) + ".",
        "## Arithmetic profiles",
        "`--set profile=NAME` chooses the arithmetic of the integer form. What the roundings "
        "compute stands in [the arithmetic](../design/arithmetic.md).",
        table(("profile", "arithmetic of", "read from"), *profiles),
        "Rounding of each kind of operator, by activation type:",
        table(*roundings),
    ]
    return _page(parts)


def _capabilities(target: Any) -> list[tuple[str, ...]]:
    """Rows of a capability table; operators that differ in nothing else share one."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for row in target.capabilities():
        key = (", ".join(row.dtypes), row.constraint, row.source)
        names = [f"`{name}`" if " " not in name else name for name in row.operator.split(", ")]
        rows.setdefault(key, []).extend(names)
    return [(", ".join(names), *key) for key, names in rows.items()]


def functions_page() -> str:
    """The ONNX functions of the dialect."""
    parts = [
        "# Functions of the integer dialect",
        f"ONNX functions of the domain `{DOMAIN}`, version {VERSION}. Each body is made of "
        f"standard operators of opset {OPSET} on integers, and stands in every file that uses "
        "the function: a runtime inlines it and needs nothing else. `rescale` in a formula is the "
        "`Rescale` function of the rounding in the name.",
    ]
    for spec in SPECIFICATIONS.values():
        rows = [(f"`{t.name}`", t.dtype, t.shape, t.meaning) for t in (*spec.inputs, spec.output)]
        rows[-1] = (f"{rows[-1][0]} (result)", *rows[-1][1:])
        parts += [
            f"## {spec.name}",
            markdown(spec.description),
            f"```text\n{spec.formula}\n```",
            table(("tensor", "type", "shape", "meaning"), *rows),
        ]
        if spec.attributes:
            attrs = [
                (f"`{a.name}`", a.meaning, "" if a.default is None else f"`{a.default}`")
                for a in spec.attributes
            ]
            parts.append(table(("attribute", "meaning", "default"), *attrs))
        parts.append(f"Source: {spec.source}.")
    return _page(parts)


def cli_page() -> str:
    """Every command with its arguments and options."""
    parts = [
        "# Command line",
        f"{app.info.help} Results go to stdout; progress, warnings and errors to stderr.",
        "Every command ends with one of the [exit codes](../errors.md#exit-codes).",
    ]
    for command in app.registered_commands:
        function = command.callback
        assert function is not None
        name = command.name or function.__name__
        rows = []
        usage = [f"intaglio {name}"]
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            kind, info = _annotated(hints[parameter.name])
            required = parameter.default is inspect.Parameter.empty
            row, word = _parameter(parameter.name, kind, info, required, parameter.default)
            rows.append(row)
            if word:
                usage.append(word)
        parts += [
            f"## {name}",
            first_line(function),
            f"```text\n{' '.join([*usage, '[OPTIONS]'])}\n```",
            table(("argument", "value", "default", "meaning"), *rows),
        ]
    return _page(parts)


def _annotated(hint: Any) -> tuple[Any, Any]:
    """The type and typer's description of ``Annotated[type, description]``."""
    while get_origin(hint) is not Annotated:
        hint = next(a for a in get_args(hint) if a is not type(None))
    kind, info = get_args(hint)[:2]
    return kind, info


def _parameter(
    name: str, kind: Any, info: Any, required: bool, default: Any
) -> tuple[tuple[str, ...], str]:
    """A table row, and the word in the usage line for what must be given."""
    # With Annotated, typer keeps the first name of an option where the default would be.
    names = [info.default, *(getattr(info, "param_decls", None) or ())]
    declared = [text for text in names if isinstance(text, str) and text.startswith("-")]
    kinds = [a for a in get_args(kind) if a is not type(None)] or [kind]
    chosen = kinds[0]
    values = [member.value for member in chosen] if hasattr(chosen, "__members__") else []
    value = info.metavar or " or ".join(f"`{v}`" for v in values)
    if chosen is bool and not info.metavar:
        value = ""
    elif not value:
        value = type_words(get_args(chosen)[0] if get_origin(chosen) is list else chosen)
    shown = ", ".join(f"`{text}`" for text in declared) or f"`{info.metavar or name}`"
    default_text = "required" if required else ""
    if default not in (None, False, inspect.Parameter.empty):
        default_text = f"`{default}`"
    word = ""
    if required:
        word = f"{declared[0]} {value}" if declared else str(info.metavar or name.upper())
    return (shown, value, default_text, info.help or ""), word


def recipes_page() -> str:
    """The keys of a recipe file, the options of data, and the recipes that come with it."""
    parts = [
        "# Recipe files",
        "What may stand in a recipe. How to write and use one: [recipes](../recipes.md).",
        "## Top level",
        _fields(Recipe, {"data", "prepare", "bundle", "steps"}),
        "Two keys are read before that: `base`, a recipe to start from, and `[set]`, options in "
        "the form of `--set`.",
        "## [[step]]",
        _fields(Step, set()),
        "## [bundle]",
        options_table(BundleOptions),
        "## [data]",
        prose(DataOptions),
        options_table(DataOptions),
    ]
    for name in recipe_names():
        recipe = load_recipe(name)
        rows = [
            (
                f"[`{step.pass_name}`](passes.md#{_anchor(step.pass_name)})",
                "" if step.enabled else "off",
                ", ".join(f"`{key} = {value}`" for key, value in step.options.items()),
            )
            for step in recipe.steps
        ]
        parts += [
            f"## Recipe {name}",
            f"{recipe.description}. Profile `{recipe.profile}`, border `{recipe.io}`.",
            table(("step", "", "options that differ from the defaults"), *rows),
        ]
    return _page(parts)


def _fields(model: Any, tables: set[str]) -> str:
    texts = attributes(model)
    rows = [("key", "type", "meaning")]
    for name, field in model.model_fields.items():
        kind = "table" if name in tables - {"steps"} else type_words(field.annotation)
        kind = "array of tables" if name == "steps" else kind
        rows.append((f"`{field.alias or name}`", kind, texts[name]))
    return table(*rows)


def exit_codes() -> str:
    """The error classes, for docs/errors.md."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.IntaglioError)
        and kind is not errors.IntaglioError
    ]
    rows = [("0", "", "Done; `verify` found nothing wrong.")]
    for kind in sorted(kinds, key=lambda kind: kind.exit_code):
        text = re.sub(r" \(exit[^)]*\)", "", first_line(kind))
        rows.append((str(kind.exit_code), f"`{kind.__name__}`", text))
    rows.append(("130", "", "Interrupted with Ctrl-C; what was there before is untouched."))
    return table(("exit code", "class in `intaglio`", "meaning"), *rows)


def messages() -> str:
    """Typical errors, as they are when provoked, for docs/errors.md."""
    parts = []
    group = ""
    for case in provoked():
        if case.group != group:
            group = case.group
            parts.append(f"### {group}")
        lines = [f"{case.situation}:", "", "```text", f"{case.prefix}: {case.message}"]
        lines += [f"  - {refusal}" for refusal in case.refusals]
        if case.remedy:
            lines.append(f"remedy: {case.remedy}")
        lines += ["```", "", f"{case.kind}, exit code {case.exit_code}. {case.advice}".rstrip()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "reference/passes.md": passes_page,
    "reference/targets.md": targets_page,
    "reference/functions.md": functions_page,
    "reference/cli.md": cli_page,
    "reference/recipes.md": recipes_page,
}


def fields(owner: Any) -> Callable[[], str]:
    """The attributes of a class whose instances become JSON."""

    def rows() -> str:
        texts = {name: text for name, text in attributes(owner).items() if name != "traffic"}
        return table(
            ("key", "what it is"),
            *((f"`{name}`", without_none(text)) for name, text in texts.items()),
        )

    return rows


def example(name: str) -> Callable[[], str]:
    """The file of an example, as a block of code."""

    def block() -> str:
        path = DOCS / "examples" / name
        language = {".py": "python", ".toml": "toml"}[path.suffix]
        return f"```{language}\n{path.read_text(encoding='utf-8')}```"

    return block


SECTIONS: dict[str, dict[str, Callable[[], str]]] = {
    "bundle.md": {
        "artifact": fields(Artifact),
        "tensor": fields(TensorSpec),
        "verify": fields(VerifyReport),
        "pair": fields(PairResult),
        "layer": fields(LayerResult),
    },
    "errors.md": {"exit codes": exit_codes, "messages": messages},
    "recipes.md": {
        name: example(name) for name in ("headroom/headroom.py", "headroom/pyproject.toml")
    },
}


def render() -> dict[Path, str]:
    """The text of every page that is generated, or partly so."""
    pages = {DOCS / name: make() for name, make in PAGES.items()}
    for name, sections in SECTIONS.items():
        text = (DOCS / name).read_text(encoding="utf-8")
        for section, make in sections.items():
            text = _replace_section(text, section, make(), name)
        pages[DOCS / name] = text
    return pages


def _replace_section(text: str, section: str, content: str, page: str) -> str:
    begin, end = _BEGIN.format(section), _END.format(section)
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"docs/{page} has no section '{section}' between {begin} and {end}")
    return f"{head}{begin}\n\n{content}\n\n{end}{tail}"


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join([_NOTE, *(part for part in parts if part)]) + "\n"


def _anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def main() -> int:
    """Writes the pages, or checks them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a page is stale")
    check = parser.parse_args().check
    stale = []
    for path, text in render().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(DOCS.parent).as_posix())
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    for name in stale:
        print(f"{'stale' if check else 'written'}: {name}")
    if check and stale:
        print("run `python docs/generate.py` and commit what it writes", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
