"""Chooses layouts: proposals that follow the data, and the best mix of each with what is there.

A proposal starts at one tensor, in the layout that one of its neighbors has or needs, and goes
through every operator that can follow. Taking part of it may be cheaper than all or nothing: which
part is a minimum cut, with the tensors between as edges that cost what a transpose of them would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from intaglio.passes.layout.layouts import Layout, normalize, through
from intaglio.passes.layout.minimum_cut import PairwiseCosts
from intaglio.passes.layout.problem import Net, Problem, Unit, conversion_cost, seen_through
from intaglio.passes.layout.rules import Assignment

#: Rounds over all proposals; each lowers the cost, and few graphs need a third.
_ROUNDS = 8

Proposal = Mapping[Unit, Assignment]


def choose(problem: Problem) -> None:
    """Lowers the cost of ``problem`` until no proposal does any more."""
    for _ in range(_ROUNDS):
        if not _one_round(problem):
            return


def _one_round(problem: Problem) -> bool:
    covered: set[tuple[Net, Layout | None]] = set()
    improved = False
    for net in problem.nets:
        for layout in _seeds(net):
            if (net, layout) in covered:
                continue
            proposal = _propose(net, layout, covered)
            if proposal and _fuse(problem, proposal):
                improved = True
    return improved


def _seeds(net: Net) -> list[Layout | None]:
    """Layouts that ``net`` is stored, needed or seen in."""
    found = {net.stored(): None}
    for reader in net.readers:
        found[net.needed(reader)] = None
    for _, view in net.views:
        found[normalize(through(None, view), net.dims)] = None
    return list(found)


def _propose(
    start: Net, layout: Layout | None, covered: set[tuple[Net, Layout | None]]
) -> dict[Unit, Assignment]:
    """Follows ``layout`` from one tensor to everything that can be in step with it."""
    proposal: dict[Unit, Assignment] = {}
    reached: dict[Net, Layout | None] = {start: layout}
    queue = deque([start])

    def reach(net: Net, wanted: Layout | None) -> None:
        if net not in reached:
            reached[net] = normalize(wanted, net.dims)
            queue.append(net)

    def take(unit: Unit, assignment: Assignment | None) -> None:
        if assignment is None:
            return
        proposal[unit] = assignment
        for index, (net, view) in unit.reads.items():
            if net.source is not None:
                reach(net, through(assignment.inputs[index], view))
        for index, net in unit.makes.items():
            reach(net, assignment.outputs[index])

    while queue:
        net = queue.popleft()
        wanted = reached[net]
        covered.add((net, wanted))
        if net.source is not None and net.source[0] not in proposal:
            unit, index = net.source
            take(unit, unit.by_output(index, wanted))
        for unit, index, view in net.readers:
            if unit not in proposal:
                take(unit, unit.by_input(index, seen_through(wanted, view)))
    return {unit: a for unit, a in proposal.items() if not _same(unit, a, unit.chosen)}


def _same(unit: Unit, first: Assignment, second: Assignment) -> bool:
    """Whether two assignments store and need the same arrays."""
    return all(net.stored(first) == net.stored(second) for net in unit.makes.values()) and all(
        net.needed((unit, index, view), first) == net.needed((unit, index, view), second)
        for index, (net, view) in unit.reads.items()
    )


def _fuse(problem: Problem, proposal: Proposal) -> bool:
    """Takes the part of ``proposal`` that lowers the cost most; returns whether any did."""
    nets = problem.variable_nets(iter(proposal))
    before = sum(net.cost() for net in nets)
    costs = PairwiseCosts()
    variables = {unit: costs.variable() for unit in proposal}
    for net in nets:
        _add_net(costs, variables, proposal, net)
    picked = costs.solve()
    for part in (
        [unit for unit in proposal if picked[variables[unit]]],
        list(proposal),
    ):
        old = {unit: unit.chosen for unit in part}
        for unit in part:
            unit.chosen = proposal[unit]
        if sum(net.cost() for net in nets) < before:
            return True
        for unit, assignment in old.items():
            unit.chosen = assignment
    return False


def _add_net(
    costs: PairwiseCosts, variables: Mapping[Unit, int], proposal: Proposal, net: Net
) -> None:
    """Adds what the readers of ``net`` cost, once for each layout that some of them need."""
    if net.source is None:
        return
    source = net.source[0]
    old = net.stored()
    new = net.stored(proposal[source]) if source in proposal else old
    always: dict[Layout | None, None] = {}
    if_kept: dict[Layout | None, list[int]] = {}
    if_taken: dict[Layout | None, list[int]] = {}
    for reader in net.readers:
        unit = reader[0]
        first = net.needed(reader)
        second = net.needed(reader, proposal[unit]) if unit in proposal else first
        if first == second:
            always[first] = None
        else:
            if_kept.setdefault(first, []).append(variables[unit])
            if_taken.setdefault(second, []).append(variables[unit])
    for need in dict.fromkeys([*always, *if_kept, *if_taken]):
        kept, taken = (
            net.weight * conversion_cost(stored, need, net.dims) for stored in (old, new)
        )
        if need in always:
            if source in variables:
                costs.add_single(variables[source], kept, taken)
            continue
        if need in if_kept:
            _add_any(costs, variables.get(source), if_kept[need], 0, kept, taken)
        if need in if_taken:
            _add_any(costs, variables.get(source), if_taken[need], 1, kept, taken)


def _add_any(
    costs: PairwiseCosts,
    source: int | None,
    readers: Iterable[int],
    state: int,
    kept: int,
    taken: int,
) -> None:
    """Adds a cost that is paid once if any of ``readers`` is in ``state``.

    It is ``kept`` while the source is 0 and ``taken`` when it is 1.
    """
    listed = list(readers)
    if len(listed) == 1:
        some = listed[0]
    else:
        # A choice that is in the state as soon as one of them is.
        some = costs.variable()
        barrier = max(kept, taken) + 1
        for reader in listed:
            pair = (0, 0, barrier, 0) if state == 1 else (0, barrier, 0, 0)
            costs.add_pair(reader, some, pair)
    if source is None:
        costs.add_single(some, *((0, kept) if state == 1 else (kept, 0)))
        return
    pair = (0, kept, 0, taken) if state == 1 else (kept, 0, taken, 0)
    costs.add_pair(source, some, pair)
