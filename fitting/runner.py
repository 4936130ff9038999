"""Running a float model on calibration data, with inner values as extra outputs.

The model runs in onnxruntime, a batch at a time; nothing is kept from one batch to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from intaglio.errors import UnsupportedError
from intaglio.fitting.data import CalibrationData
from intaglio.passes.annotations import all_values, get_quantization
from intaglio.transforms.scales import TensorQuantization

#: Inner values of one batch may take so many bytes.
BATCH_BYTES = 64 << 20
LARGEST_BATCH = 16

Tensors = dict[str, NDArray[Any]]


class Runner:
    """A model opened for running, with chosen inner values among the outputs.

    Args:
        model: The float model; it is copied, later edits do not show.
        values: Names of the values to return besides the graph outputs.
        quantized: Values to put through quantization and back wherever they are used (``values``
            and outputs show them so, too).
        weights: Initializers to replace, by name.
        outputs: Whether to return the graph outputs.

    Raises:
        UnsupportedError: onnxruntime cannot run the model.
    """

    def __init__(
        self,
        model: ir.Model,
        values: Sequence[str] = (),
        *,
        quantized: Mapping[str, TensorQuantization] | None = None,
        weights: Mapping[str, NDArray[Any]] | None = None,
        outputs: bool = True,
    ) -> None:
        proto = ir.to_proto(model)
        _replace_initializers(proto.graph, weights or {})
        _insert_fake_quantization(proto.graph, quantized or {})
        self.outputs = [output.name for output in proto.graph.output]
        inputs = {value.name for value in proto.graph.input}
        wanted = [name for name in dict.fromkeys(values) if name not in self.outputs]
        # An input cannot be an output at the same time; it is in the feed anyway.
        inner = [name for name in wanted if name not in inputs]
        self._passed = [name for name in wanted if name in inputs]
        for name in inner:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
        self._fetch = [*(self.outputs if outputs else []), *inner]
        if not outputs:
            self._fetch += [name for name in self.outputs if name in set(values)]
            _prune(proto.graph, self._fetch)
        # Inputs alone need no run, and onnxruntime refuses an empty graph.
        self._session = _open(proto) if self._fetch else None

    def run(self, feed: Mapping[str, NDArray[Any]]) -> Tensors:
        """Runs one batch.

        Args:
            feed: Array by input name.

        Returns:
            The outputs and the chosen inner values by name.
        """
        found = self._session.run(self._fetch, dict(feed)) if self._session else []
        results = dict(zip(self._fetch, found, strict=True))
        return {**results, **{name: feed[name] for name in self._passed}}

    def stream(
        self,
        data: CalibrationData,
        *,
        batch: int = LARGEST_BATCH,
        limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Tensors]:
        """Runs all batches of ``data``, one at a time.

        Args:
            data: The samples.
            batch: Samples at once, where the model leaves that open.
            limit: Use only the first so many samples.
            progress: Called after every batch with the samples done and all there are.

        Yields:
            What :meth:`run` returns; only one batch is held.
        """
        total = len(data) if limit is None else min(limit, len(data))
        done = 0
        for feed in data.batches(batch, limit):
            yield self.run(feed)
            done += data.fixed_batch or len(next(iter(feed.values())))
            if progress is not None:
                progress(min(done, total), total)


def batch_size(model: ir.Model) -> int:
    """Samples to run at once, so that all activations of a batch stay within a bound.

    Dimensions that are not known count as 1 if they come first, and as 256 elsewhere.
    """
    elements = 0
    for node in model.graph:
        for value in node.outputs:
            if value.shape is not None:
                known = [d if isinstance(d, int) else 256 for d in list(value.shape)[1:]]
                elements += math.prod(known)
    return max(1, min(LARGEST_BATCH, BATCH_BYTES // (4 * max(elements, 1))))


def float_values(model: ir.Model) -> list[ir.Value]:
    """The float32 activations: graph inputs and node outputs, in graph order."""
    graph = model.graph
    candidates: list[ir.Value] = [
        value for value in graph.inputs if value.name not in graph.initializers
    ]
    for node in graph:
        candidates.extend(output for output in node.outputs if output.name)
    return [value for value in candidates if value.dtype == ir.DataType.FLOAT]


def activation_plan(model: ir.Model) -> dict[str, TensorQuantization]:
    """The planned quantization of the activations by name."""
    return {
        str(value.name): found
        for value in all_values(model)
        if not value.is_initializer() and (found := get_quantization(value)) is not None
    }


def _open(proto: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # Graph rewrites may fuse quantize/dequantize pairs and change what is measured.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Without arena and pattern memory is given back after each batch.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        # onnxruntime's exceptions share no base class of their own.
        raise UnsupportedError(
            f"onnxruntime cannot run the model: {str(error).splitlines()[0]}",
            remedy="check it with onnx.checker, and that onnxruntime runs the original",
        ) from error


def _replace_initializers(graph: onnx.GraphProto, weights: Mapping[str, NDArray[Any]]) -> None:
    for tensor in graph.initializer:
        if tensor.name in weights:
            new = np.asarray(weights[tensor.name], np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(new, tensor.name))


def _insert_fake_quantization(
    graph: onnx.GraphProto, quantized: Mapping[str, TensorQuantization]
) -> None:
    """Puts QuantizeLinear and DequantizeLinear behind each value; its consumers see the result."""
    inputs = {value.name for value in graph.input}
    produced = {name: node for node in graph.node for name in node.output}
    rename: dict[str, str] = {}
    for name, spec in quantized.items():
        if name in inputs:
            rename[name] = name + "/fake"
            _append_pair(graph, name, rename[name], spec)
        elif name in produced:
            node = produced[name]
            node.output[list(node.output).index(name)] = name + "/float"
            _append_pair(graph, name + "/float", name, spec)
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.name.endswith("/fake_quantize"):
            continue
        for index, name in enumerate(node.input):
            if name in rename:
                node.input[index] = rename[name]
    _sort(graph)


def _prune(graph: onnx.GraphProto, wanted: Sequence[str]) -> None:
    """Leaves only the nodes that ``wanted`` depends on: onnxruntime would run them all."""
    needed = set(wanted)
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    outputs = [o for o in graph.output if o.name in set(wanted)]
    initializers = [t for t in graph.initializer if t.name in needed]
    for field, items in (
        (graph.node, kept[::-1]),
        (graph.output, outputs),
        (graph.initializer, initializers),
    ):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)


def _append_pair(
    graph: onnx.GraphProto, source: str, result: str, spec: TensorQuantization
) -> None:
    prefix = result + "/fake_quantize"
    scale = np.asarray(spec.scale if spec.per_channel else spec.scale[0], np.float32)
    zero = np.asarray(spec.zero_point if spec.per_channel else spec.zero_point[0], spec.numpy_dtype)
    graph.initializer.append(onnx.numpy_helper.from_array(scale, prefix + "/scale"))
    graph.initializer.append(onnx.numpy_helper.from_array(zero, prefix + "/zero"))
    constants = [prefix + "/scale", prefix + "/zero"]
    make = onnx.helper.make_node
    pair = [
        make("QuantizeLinear", [source, *constants], [prefix + "/q"], prefix),
        make("DequantizeLinear", [prefix + "/q", *constants], [result], prefix + "/back"),
    ]
    if spec.axis is not None:
        for node in pair:
            node.attribute.append(onnx.helper.make_attribute("axis", spec.axis))
    graph.node.extend(pair)


def _sort(graph: onnx.GraphProto) -> None:
    """Brings the nodes into an order in which every value comes before its use."""
    known = {value.name for value in graph.input} | {t.name for t in graph.initializer} | {""}
    made = {name for node in graph.node for name in node.output}
    waiting: dict[str, list[int]] = {}
    missing: list[int] = []
    nodes = list(graph.node)
    ready: list[int] = []
    for index, node in enumerate(nodes):
        needs = {name for name in node.input if name in made and name not in known}
        missing.append(len(needs))
        for name in needs:
            waiting.setdefault(name, []).append(index)
        if not needs:
            ready.append(index)
    order: list[onnx.NodeProto] = []
    while ready:
        node = nodes[ready.pop()]
        order.append(node)
        for name in node.output:
            for index in waiting.pop(name, []):
                missing[index] -= 1
                if missing[index] == 0:
                    ready.append(index)
    # Extending from the graph's own nodes after deleting them would read freed messages.
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in order]
    del graph.node[:]
    graph.node.extend(copies)
