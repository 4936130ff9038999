"""Finding the tensors of an integer graph that a user means by name.

A name may be that of a tensor of the integer graph, of the float tensor that it stands for, or of a
node of the source, whose last 8-bit result it is then. Names may hold commas; two of them are
joined by one.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence

import onnx_ir as ir

from intaglio.errors import RecipeError
from intaglio.passes.annotations import get_source_value
from intaglio.passes.provenance import sources
from intaglio.passes.split.cut_flow import Flow, trace
from intaglio.passes.split.cuts import divide

_LISTS = "`intaglio inspect MODEL --split-points` lists where it can be cut"


def find_named_cut(graph: ir.Graph, text: str) -> tuple[str, ...]:
    """The cut that ``text`` names.

    Args:
        graph: An integer graph.
        text: One name, or two joined by a comma.

    Returns:
        Names of the tensors of ``graph`` that cross, in its order.

    Raises:
        RecipeError: Nothing has such a name, or data goes around what has it.
    """
    flow = trace(graph)
    meanings = _meanings(flow)
    parts = _parts(text, meanings)
    if parts is None:
        if text in {value.name for value in graph.outputs}:
            raise RecipeError(
                f"{text!r} is an output of the model, which a cut would leave on the device",
                remedy=_LISTS,
            )
        raise _unknown(text, meanings)
    # A name may stand for the same tensor at several scales: take those that are a cut.
    refusal: RecipeError | None = None
    for choice in itertools.product(*(meanings[part] for part in parts)):
        numbers = sorted(set(choice))
        names = tuple(str(flow.values[number].name) for number in numbers)
        try:
            divide(graph, names)
        except RecipeError as error:
            refusal = refusal or error
            continue
        return names
    assert refusal is not None
    raise RecipeError(
        f"the model cannot be cut at {text!r}: {refusal.message}",
        remedy=_LISTS,
    ) from refusal


def _meanings(flow: Flow) -> dict[str, list[int]]:
    """The tensors that may cross, by each name; the likeliest first."""
    tensors: dict[str, list[int]] = {}
    for number, value in enumerate(flow.values):
        if flow.cuttable[number]:
            for name in dict.fromkeys((value.name, get_source_value(value))):
                if name:
                    tensors.setdefault(name, []).append(number)
    nodes: dict[str, list[int]] = {}
    for node, made in zip(flow.nodes, flow.makes, strict=True):
        for name in sources(node):
            nodes.setdefault(name, []).extend(n for n in made if flow.cuttable[n])
    for name, numbers in nodes.items():
        known = tensors.setdefault(name, [])
        known.extend(n for n in reversed(numbers) if n not in known)
    return {name: numbers for name, numbers in tensors.items() if numbers}


def _parts(text: str, known: dict[str, list[int]]) -> tuple[str, ...] | None:
    """The names that ``text`` is made of, None where there are no such."""
    if text in known:
        return (text,)
    pieces = text.split(",")
    for count in range(1, len(pieces)):
        first, second = ",".join(pieces[:count]).strip(), ",".join(pieces[count:]).strip()
        if first in known and second in known:
            return first, second
    return None


def _unknown(text: str, known: Sequence[str] | dict[str, list[int]]) -> RecipeError:
    names = list(known)
    missing = [stripped for part in text.split(",") if (stripped := part.strip())]
    missing = [part for part in missing if part not in known] if len(missing) == 2 else [text]
    close = list(
        dict.fromkeys(c for part in missing for c in difflib.get_close_matches(part, names, n=3))
    )
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    shown = " and ".join(f"'{part}'" for part in missing)
    return RecipeError(
        f"there is no 8-bit tensor and no node called {shown} to cut at", remedy=meant + _LISTS
    )
