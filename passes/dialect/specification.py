"""The description of one ONNX function: its signature as data and its body as ONNX text.

The signature is written once, here: the function's header, its documentation and the tables of the
manual come from the same fields.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx.parser

DOMAIN = "intaglio"
VERSION = 1
#: Opset of ONNX that the bodies are written in.
OPSET = 21


@dataclass(frozen=True)
class Tensor:
    """One input or output of a function.

    Attributes:
        name: as the body uses it.
        dtype: the integer types it may have, such as ``int8 or int16``.
        shape: in words or brackets; names stand for sizes.
        meaning: what it holds.
    """

    name: str
    dtype: str
    shape: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {self.shape}: {self.meaning}"


@dataclass(frozen=True)
class Attribute:
    """One attribute of a function.

    Attributes:
        name: as the node has it.
        meaning: what it says.
        default: an integer or several; None where the caller must give it, or may leave it out
            with the meaning that the standard operator in the body gives to that.
    """

    name: str
    meaning: str
    default: int | tuple[int, ...] | None = None

    def declaration(self) -> str:
        """The attribute as it stands in the header of an ONNX text function."""
        if self.default is None:
            return self.name
        if isinstance(self.default, int):
            return f"{self.name}: int = {self.default}"
        return f"{self.name}: ints = [{', '.join(map(str, self.default))}]"

    def __str__(self) -> str:
        suffix = "" if self.default is None else f" (default {self.default})"
        return f"{self.name}: {self.meaning}{suffix}"


@dataclass(frozen=True)
class FunctionSpecification:
    """One function of the dialect.

    Attributes:
        name: operator type of its nodes.
        description: one or two sentences for documentation and viewers.
        formula: what it computes.
        source: the kernel or rule that the formula was read from.
        inputs: in order; all are required.
        attributes: in order.
        output: the only result.
        body: nodes in ONNX textual syntax.
    """

    name: str
    description: str
    formula: str
    source: str
    inputs: tuple[Tensor, ...]
    output: Tensor
    body: str
    attributes: tuple[Attribute, ...] = ()

    def documentation(self) -> str:
        """Description, formula, signature and source in plain text."""
        lines = [self.description, "", self.formula, "", "Inputs:"]
        lines += [f"  {tensor}" for tensor in self.inputs]
        if self.attributes:
            lines += ["Attributes:", *(f"  {attribute}" for attribute in self.attributes)]
        lines += ["Output:", f"  {self.output}", f"Source: {self.source}"]
        return "\n".join(lines)

    def text(self) -> str:
        """The whole function in ONNX textual syntax."""
        imports = f'"" : {OPSET}'
        if f"{DOMAIN}." in self.body:
            imports += f', "{DOMAIN}" : {VERSION}'
        declared = ", ".join(attribute.declaration() for attribute in self.attributes)
        attributes = f" <{declared}>" if declared else ""
        arguments = ", ".join(tensor.name for tensor in self.inputs)
        return (
            f'<domain: "{DOMAIN}", opset_import: [{imports}]>\n'
            f"{self.name}{attributes} ({arguments}) => ({self.output.name})\n"
            f"{{{self.body}}}"
        )

    def to_proto(self) -> onnx.FunctionProto:
        """The function as ONNX has it, documentation included.

        Nodes have the names of their outputs, so that viewers and messages of runtimes name them.
        """
        proto = onnx.parser.parse_function(self.text())
        for node in proto.node:
            node.name = node.output[0]
        proto.doc_string = self.documentation()
        return proto
