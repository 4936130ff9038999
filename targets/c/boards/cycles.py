"""A model of cycles on a Cortex-M4, from how often each instruction ran.

Instructions are not cycles: a load costs more than an addition. The model follows the timing table
of Arm's technical reference manual of the Cortex-M4 (DDI 0439, "Instruction set summary"), with
memory that answers at once:

* a load 2 cycles, or 1 behind another load or store; a store 1;
* loads and stores of N registers 1 + N;
* a branch that is taken 2 more, a call or return likewise;
* integer division 7, floating-point division and square root 14;
* everything else 1.

Which branches were taken is read from how often the next instruction ran, so one that is also
jumped to from elsewhere makes the estimate lower. It ranks code; a board is measured on a board.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from intaglio.targets.c.boards.toolchain import run_tool

_LINE = re.compile(r"^ *([0-9a-f]+):[ \t]+(\S+)[ \t]*(.*)$", re.MULTILINE)
_CONDITION = "(eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|hs|lo)"
_ALWAYS = frozenset({"b", "bl", "blx", "bx", "tbb", "tbh"})
_BRANCH = re.compile(rf"^(b{_CONDITION}|cbn?z|b|bl|blx|bx|tbb|tbh)$")
_SEVERAL = ("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop")
_PAIR = ("ldrd", "strd")

_TAKEN, _DIVISION, _FLOAT_DIVISION = 2, 7, 14


def modelled_cycles(elf: Path, executed: Mapping[int, int]) -> int:
    """Cycles of everything that was executed.

    Args:
        elf: The program.
        executed: How often each instruction ran, by address.

    Raises:
        ToolError: The program cannot be disassembled.
    """
    command = ["arm-none-eabi-objdump", "-d", "--no-show-raw-insn", elf.name]
    said = run_tool(command, elf.parent, "arm-none-eabi-objdump")
    code = [(int(place, 16), name.split(".")[0], rest) for place, name, rest in _LINE.findall(said)]
    cycles = 0
    behind_memory = False
    for (address, name, operands), following in zip(code, [*code[1:], None], strict=True):
        runs = executed.get(address, 0)
        after = executed.get(following[0], 0) if following else 0
        each, is_memory = _cost(name, operands, behind_memory)
        cycles += each * runs
        if _BRANCH.match(name):
            cycles += _TAKEN * (runs if name in _ALWAYS else max(0, runs - after))
        behind_memory = is_memory
    return cycles


def _cost(name: str, operands: str, behind_memory: bool) -> tuple[int, bool]:
    """Cycles of an instruction, without what a taken branch adds; and whether it is a transfer."""
    if name.startswith((*_SEVERAL, *_PAIR)):
        count = 2 if name.startswith(_PAIR) else _registers(operands)
        returns = name.startswith("pop") and "pc" in operands
        return 1 + count + (_TAKEN if returns else 0), True
    if name.startswith(("ldr", "vldr")):
        return (1 if behind_memory else 2), True
    if name.startswith(("str", "vstr")):
        return 1, True
    if name.startswith(("udiv", "sdiv")):
        return _DIVISION, False
    if name.startswith(("vdiv", "vsqrt")):
        return _FLOAT_DIVISION, False
    return 1, False


def _registers(operands: str) -> int:
    """How many registers a list such as ``{r4, r6-r8, lr}`` names."""
    listed = operands[operands.find("{") + 1 : operands.find("}")] if "{" in operands else ""
    count = 0
    for part in filter(None, (each.strip() for each in listed.split(","))):
        ends = re.fullmatch(r"[a-z]+(\d+)-[a-z]+(\d+)", part)
        count += int(ends[2]) - int(ends[1]) + 1 if ends else 1
    return count
