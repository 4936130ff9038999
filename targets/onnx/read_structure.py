"""Structure checks on the raw message: what is damaged, and what is not supported.

They run before any library walks the graph, in time linear in its size, so that a hostile file
can neither loop nor blow up memory. Order matters: first what makes the file no model (a cycle,
a tensor that nobody produces), then what the model has that intaglio does not take.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from intaglio.errors import InputError, Refusal, UnsupportedError

STANDARD_DOMAINS = ("", "ai.onnx")
MAX_NODES = 1_000_000

_CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
_SEQUENCES = frozenset(
    {
        "ConcatFromSequence",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SequenceMap",
        "SplitToSequence",
    }
)
_STRINGS = frozenset(
    {"RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"}
)


def label(node: onnx.NodeProto) -> str:
    """The name to show for a node: its own, else that of its first output."""
    return node.name or next((name for name in node.output if name), "?")


def drop_initializer_inputs(graph: onnx.GraphProto) -> None:
    """Removes graph inputs that only declare an initializer, as files before IR 4 had to."""
    initialized = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in initialized]
    del graph.input[:]
    graph.input.extend(kept)


def check_text(model: onnx.ModelProto, path: str) -> None:
    """Checks that every name is text; the protobuf runtime hands damaged ones over as bytes.

    Raises:
        InputError: A name is not UTF-8.
    """
    graph = model.graph
    names: list[object] = [graph.name, *(entry.domain for entry in model.opset_import)]
    for value in [*graph.input, *graph.output]:
        names.append(value.name)
        names += [dim.dim_param for dim in value.type.tensor_type.shape.dim]
    names += [tensor.name for tensor in graph.initializer]
    for node in _all_nodes(model):
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
    for entry in model.metadata_props:
        names += [entry.key, entry.value]
    try:
        sound = all(isinstance(name, str) and name.encode() is not None for name in names)
    except UnicodeError:
        sound = False
    if not sound:
        raise InputError(
            f"{path} holds names that are not text", remedy="the file is damaged; export it again"
        )


def check_border(graph: onnx.GraphProto, path: str) -> None:
    """Checks that there is something to compute, from something.

    Raises:
        InputError: No nodes, no outputs or no inputs.
    """
    if not graph.node:
        raise InputError(f"{path} has no operators", remedy="export the trained model again")
    if not graph.output:
        raise InputError(f"{path} has no outputs", remedy="export it with its outputs declared")
    if not graph.input:
        raise InputError(
            f"{path} has no inputs: it is a constant",
            remedy="export it without folding the input away",
        )


def check_not_constant(graph: onnx.GraphProto, path: str) -> None:
    """Checks that the outputs of a sorted graph depend on its inputs.

    Raises:
        InputError: None of them does.
    """
    live = {value.name for value in graph.input}
    for node in graph.node:
        if any(name in live for name in _reads(node)):
            live.update(name for name in node.output if name)
    if not any(value.name in live for value in graph.output):
        raise InputError(
            f"no output of {path} depends on its inputs: it is a constant",
            remedy="export it without folding the input away",
        )


def sort_nodes(graph: onnx.GraphProto, path: str) -> None:
    """Puts the nodes into topological order (Kahn), keeping the file's order where it can.

    Raises:
        InputError: A cycle (named by its nodes), a tensor made twice, or one made by nobody.
    """
    made_by: dict[str, int] = {}
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if not name:
                continue
            if name in made_by or name in known:
                raise InputError(
                    f"{path}: tensor '{name}' is made twice", remedy="the file is damaged"
                )
            made_by[name] = index
    waiting: list[int] = []
    users: dict[int, list[int]] = {}
    for index, node in enumerate(graph.node):
        producers = set()
        for name in _reads(node):
            if name in made_by:
                producers.add(made_by[name])
            elif name not in known and name in node.input:
                raise InputError(
                    f"{path}: '{label(node)}' reads '{name}', which nothing produces",
                    remedy="the file is damaged or was cut out of a larger model",
                )
        waiting.append(len(producers))
        for producer in producers:
            users.setdefault(producer, []).append(index)
    for value in graph.output:
        if value.name not in made_by and value.name not in known:
            raise InputError(
                f"{path}: output '{value.name}' is produced by nothing",
                remedy="the file is damaged",
            )
    order = _kahn(waiting, users)
    if len(order) < len(graph.node):
        stuck = [label(graph.node[i]) for i in _cycle(graph, made_by, set(order))]
        raise InputError(
            f"{path} has a cycle: {' -> '.join(stuck[:8])}",
            remedy="a feed-forward graph is needed; unroll recurrent connections on export",
        )
    if order != list(range(len(order))):
        nodes = [graph.node[i] for i in order]
        copies = [onnx.NodeProto() for _ in nodes]
        for copy, node in zip(copies, nodes, strict=True):
            copy.CopyFrom(node)
        del graph.node[:]
        graph.node.extend(copies)


def _reads(node: onnx.NodeProto) -> Iterable[str]:
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs] if attribute.type in (5, 10) else ():
            for inner in graph.node:
                yield from _reads(inner)


def _kahn(waiting: list[int], users: dict[int, list[int]]) -> list[int]:
    """Topological order that prefers low indices: a heap of what is ready."""
    import heapq

    ready = [index for index, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users.get(index, ()):
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, user)
    return order


def _cycle(graph: onnx.GraphProto, made_by: dict[str, int], done: set[int]) -> list[int]:
    """Follows unfinished producers until one repeats; gives that loop in data order."""
    current = next(i for i in range(len(graph.node)) if i not in done)
    seen: dict[int, int] = {}
    walk: list[int] = []
    while current not in seen:
        seen[current] = len(walk)
        walk.append(current)
        current = next(
            made_by[name]
            for name in _reads(graph.node[current])
            if name in made_by and made_by[name] not in done
        )
    loop = walk[seen[current] :]
    return [*reversed(loop), loop[-1]]


def refuse_unsupported(model: onnx.ModelProto) -> None:
    """Collects everything in the model that intaglio does not take.

    Raises:
        UnsupportedError: With one refusal for each node or tensor.
    """
    refusals: list[Refusal] = []
    local = {(function.domain, function.name) for function in model.functions}
    for node in _all_nodes(model):
        reason = _refusal_reason(node, local)
        if reason is not None:
            refusals.append(Refusal(label(node), node.op_type, *reason))
    for value in [*model.graph.input, *model.graph.output]:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            refusals.append(
                Refusal(
                    value.name,
                    "input or output",
                    f"is a {(kind or 'value without type').replace('_type', '')}, not a tensor",
                    "export the model with tensors at its border",
                )
            )
        elif value.type.tensor_type.elem_type == onnx.TensorProto.STRING:
            refusals.append(
                Refusal(value.name, "input or output", "holds strings", "feed numbers instead")
            )
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.STRING:
            refusals.append(Refusal(tensor.name, "initializer", "holds strings"))
    for sparse in model.graph.sparse_initializer:
        refusals.append(
            Refusal(sparse.values.name, "initializer", "is sparse", "store it as a dense tensor")
        )
    if refusals:
        count = len(refusals)
        raise UnsupportedError(
            f"the model has {count} thing{'s' if count > 1 else ''} that cannot be converted",
            refusals,
        )


def _all_nodes(model: onnx.ModelProto) -> Iterable[onnx.NodeProto]:
    yield from model.graph.node
    for function in model.functions:
        yield from function.node


def _refusal_reason(node: onnx.NodeProto, local: set[tuple[str, str]]) -> tuple[str, str] | None:
    if (node.domain, node.op_type) in local:
        return None
    if node.domain not in STANDARD_DOMAINS:
        if node.domain == "com.microsoft" and node.op_type in (
            "QuantizeLinear",
            "DequantizeLinear",
        ):
            return (
                "is onnxruntime's own form of a standard operator",
                "write it again with opset 21, where the standard one takes 16 bits too",
            )
        return (
            f"is of the custom domain '{node.domain}'",
            "export with standard ONNX operators, or bring its body as a model-local function",
        )
    if node.op_type in _CONTROL_FLOW:
        return (
            "is control flow",
            "export with fixed shapes and without data-dependent branches, "
            "or simplify the model first",
        )
    if node.op_type in _SEQUENCES:
        return "works on sequences or optionals", "export the model with tensors only"
    if node.op_type in _STRINGS:
        return "works on strings", "do text processing outside of the model"
    return None


def check_functions(model: onnx.ModelProto, path: str) -> None:
    """Bounds what inlining the model-local functions would expand to.

    Raises:
        InputError: A function calls itself, or the expansion exceeds a million nodes.
    """
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    for root in functions:
        stack: list[tuple[tuple[str, str], bool]] = [(root, False)]
        open_calls: set[tuple[str, str]] = set()
        while stack:
            key, leaving = stack.pop()
            if leaving:
                open_calls.discard(key)
                sizes[key] = sum(sizes.get((n.domain, n.op_type), 1) for n in functions[key].node)
                continue
            if key in sizes:
                continue
            if key in open_calls:
                raise InputError(
                    f"{path}: function '{key[1]}' calls itself",
                    remedy="recursion cannot be expanded; export without it",
                )
            open_calls.add(key)
            stack.append((key, True))
            for node in functions[key].node:
                call = (node.domain, node.op_type)
                if call in functions and call not in sizes:
                    if call in open_calls:
                        raise InputError(
                            f"{path}: function '{call[1]}' calls itself",
                            remedy="recursion cannot be expanded; export without it",
                        )
                    stack.append((call, False))
    total = sum(sizes.get((n.domain, n.op_type), 1) for n in model.graph.node)
    if total > MAX_NODES:
        raise InputError(
            f"{path} expands to {total} operators, more than the {MAX_NODES} that are read",
            remedy="export without nested functions",
        )
