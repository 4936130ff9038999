"""Where a graph can be cut in two, what that costs, and the cut that a model is marked with.

A cut is a set of tensors through which all data goes from the inputs of a graph to its outputs.
The *device* runs what these tensors depend on, the *server* runs the rest. One tensor is enough
where the graph is narrow; a skip connection that has an operator of its own makes it two. A skip
that is nothing but the tensor itself does not: what the branch makes of it, the server can make.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence

import onnx_ir as ir

from intaglio.errors import RecipeError
from intaglio.passes.split.cut_costs import Costs, elements
from intaglio.passes.split.cut_flow import IDLE, Flow, read_values, trace
from intaglio.passes.split.cut_search import both_work, pairs, separators

#: Metadata of a model: names of the tensors that cross, a JSON list.
CUT_KEY = "intaglio.cut"

_LOOK = "see `intaglio inspect MODEL --split-points`"
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class Cut:
    """One place to cut a graph.

    Attributes:
        values: Names of the tensors that cross, in graph order.
        shapes: Their shapes.
        elements: Of all of them, of one sample.
        device_macs: Multiply-accumulates of one sample in front of the cut.
        server_macs: The same behind it.
        device_peak_bytes: Most activations alive at once in front of it, at one byte an element,
            in graph order.
    """

    values: tuple[str, ...]
    shapes: tuple[tuple[int | str, ...], ...]
    elements: int
    device_macs: int
    server_macs: int
    device_peak_bytes: int


def find_cuts(graph: ir.Graph, largest: int = 2) -> list[Cut]:
    """The cuts of a float graph or of one of integers.

    Only 8-bit tensors cross, in a float graph those that quantization would make such; both sides
    have something to do; no tensor of a cut can be left out. Of tensors with the same bytes (in
    front of a Reshape, and behind it) the first stands for all. Where branches are long, pairs
    that others beat are left out (:mod:`intaglio.passes.split.cut_search`).

    Args:
        graph: The graph, its nodes in an order that can be run.
        largest: Most tensors that may cross: 1 or 2.

    Returns:
        The cuts, by what the device has to do.

    Raises:
        UnsupportedError: Dimensions other than the batch are not known.
        ValueError: ``largest`` is neither 1 nor 2.
    """
    if largest not in (1, 2):
        raise ValueError(f"largest is {largest}, not 1 or 2")
    flow = trace(graph)
    alone = separators(flow)
    found: list[tuple[int, ...]] = [
        (value,) for value in alone if flow.cuttable[value] and both_work(flow, (value,))
    ]
    if largest == 2:
        sizes = [
            elements(value) if cuttable else 0
            for value, cuttable in zip(flow.values, flow.cuttable, strict=True)
        ]
        found += pairs(flow, alone, sizes)
    if not found:
        return []
    costs = Costs(graph, flow)
    cuts = [(_cut(flow, costs, cut), cut) for cut in _first_of_same(flow, found)]
    return [cut for cut, _ in sorted(cuts, key=lambda each: (each[0].device_macs, each[1]))]


def divide(graph: ir.Graph, values: Sequence[str]) -> tuple[list[ir.Node], list[ir.Node]]:
    """The two halves of a graph.

    Args:
        graph: The graph, its nodes in an order that can be run.
        values: Names of the tensors that cross.

    Returns:
        The nodes of the device and those of the server, in graph order. Nodes that depend on no
        input are listed wherever they are needed; what no output depends on is left out.

    Raises:
        RecipeError: There is no such tensor, or data goes around these.
    """
    flow = trace(graph)
    numbers = _numbers(graph, flow, values)
    device = flow.before(numbers)
    crossing = flow.crossing(device)
    _require_complete(flow, numbers, crossing)
    if not device & flow.work:
        raise RecipeError(f"nothing is computed in front of {_listed(values)}", remedy=_LOOK)
    inside = (1 << len(flow.nodes)) - 1
    if not inside & ~device & flow.work:
        raise RecipeError(f"nothing is computed behind {_listed(values)}", remedy=_LOOK)
    front = {node for i, node in enumerate(flow.nodes) if device >> i & 1}
    behind = set(flow.nodes) - front
    return (
        _with_constants(graph, front, [flow.values[n] for n in numbers]),
        _with_constants(graph, behind, graph.outputs),
    )


def set_cut(model: ir.Model, values: Sequence[str]) -> None:
    """Marks ``model`` with the names of the tensors that cross."""
    model.metadata_props[CUT_KEY] = json.dumps(list(values))


def get_cut(model: ir.Model) -> tuple[str, ...] | None:
    """Names of the tensors that cross, or None where no cut is chosen."""
    text = model.metadata_props.get(CUT_KEY)
    return None if text is None else tuple(json.loads(text))


def _cut(flow: Flow, costs: Costs, numbers: tuple[int, ...]) -> Cut:
    values = [flow.values[number] for number in numbers]
    device = flow.before(numbers)
    macs = costs.device_macs(device)
    return Cut(
        values=tuple(str(value.name) for value in values),
        shapes=tuple(_shape(value) for value in values),
        elements=sum(elements(value) for value in values),
        device_macs=macs,
        server_macs=costs.total_macs - macs,
        device_peak_bytes=costs.device_peak(device, numbers),
    )


def _shape(value: ir.Value) -> tuple[int | str, ...]:
    dims = value.shape if value.shape is not None else ()
    return tuple(dim if isinstance(dim, int) else str(dim.value or "?") for dim in dims)


def _first_of_same(flow: Flow, cuts: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """One cut of those between which there are only operators that do no work."""
    kept: dict[tuple[int, ...], tuple[int, ...]] = {}
    for cut in sorted(cuts):
        kept.setdefault(tuple(sorted(_origin(flow, number) for number in cut)), cut)
    return list(kept.values())


def _origin(flow: Flow, number: int) -> int:
    """The value that ``number`` is but another form of."""
    while (maker := flow.maker[number]) >= 0:
        node = flow.nodes[maker]
        if node.op_type not in IDLE or len(flow.reads[maker]) != 1:
            break
        number = flow.reads[maker][0]
    return number


def _numbers(graph: ir.Graph, flow: Flow, names: Sequence[str]) -> tuple[int, ...]:
    by_name = {value.name: number for value, number in flow.number.items()}
    known = {v.name for v in (*graph.inputs, *graph.initializers.values())}
    known.update(v.name for node in graph for v in node.outputs)
    if not names:
        raise RecipeError("a cut needs a tensor", remedy=_LOOK)
    for name in names:
        if name in by_name:
            continue
        what = "does not lie between inputs and outputs" if name in known else "is not there"
        raise RecipeError(f"tensor '{name}' {what}", remedy=_LOOK)
    return tuple(sorted({by_name[name] for name in names}))


def _require_complete(flow: Flow, numbers: tuple[int, ...], crossing: Sequence[int]) -> None:
    """Refuses values that are not exactly what crosses behind them."""
    names = [str(flow.values[number].name) for number in numbers]
    others = [str(flow.values[v].name) for v in crossing if v not in numbers]
    if others:
        raise RecipeError(f"{_listed(others)} would cross beside {_listed(names)}", remedy=_LOOK)
    idle = [str(flow.values[number].name) for number in numbers if number not in crossing]
    if idle:
        rest = [name for name in names if name not in idle]
        raise RecipeError(
            f"nothing behind the cut reads {_listed(idle)}",
            remedy=f"cut at {_listed(rest)} alone" if rest else _LOOK,
        )


def _listed(names: Sequence[str]) -> str:
    shown = [f"'{name}'" for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        shown.append(f"{len(names) - _SHOWN} more")
    return " and ".join(shown) if len(shown) < 3 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _with_constants(
    graph: ir.Graph, nodes: set[ir.Node], results: Iterable[ir.Value]
) -> list[ir.Node]:
    """``nodes`` and those that make their constants, in graph order."""
    found = set(nodes)
    inputs = set(graph.inputs)
    depends: set[ir.Value] = set(inputs)
    constant: set[ir.Node] = set()
    for node in graph:
        if any(v in depends for v in read_values(node)):
            depends.update(node.outputs)
        else:
            constant.add(node)
    waiting = [v for node in nodes for v in read_values(node)] + list(results)
    while waiting:
        maker = waiting.pop().producer()
        if maker is not None and maker in constant and maker not in found:
            found.add(maker)
            waiting.extend(read_values(maker))
    return [node for node in graph if node in found]
