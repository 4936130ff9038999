"""The minimum of a sum of pairwise costs of yes-or-no choices, by maximum flow (Dinic).

A cost ``a(x) + b(x, y)`` is a cut when ``b(0,0) + b(1,1) <= b(0,1) + b(1,0)``: agreeing never costs
more than differing. Where that does not hold, the pair's cost is taken as if it did with equality
and the result is a proposal only, whose true cost the caller computes.
(Kolmogorov and Zabih, What energy functions can be minimized via graph cuts, 2004.)
"""

from __future__ import annotations

from collections import deque

Cost = int


class PairwiseCosts:
    """Costs of choices, minimized by :meth:`solve`."""

    def __init__(self) -> None:
        self._unary: list[Cost] = []
        self._edges: dict[tuple[int, int], Cost] = {}

    def variable(self) -> int:
        """A new choice."""
        self._unary.append(0)
        return len(self._unary) - 1

    def add_single(self, x: int, zero: Cost, one: Cost) -> None:
        """Adds a cost for ``x`` being 0 and for being 1."""
        self._unary[x] += one - zero

    def add_pair(self, x: int, y: int, costs: tuple[Cost, Cost, Cost, Cost]) -> None:
        """Adds costs of ``(x, y)`` being 00, 01, 10 and 11."""
        c00, c01, c10, c11 = costs
        if x == y:
            self.add_single(x, c00, c11)
            return
        self.add_single(x, c00, c10)
        self.add_single(y, c10, c11)
        # What is left is paid when x is 0 and y is 1.
        together = max(0, c01 + c10 - c00 - c11)
        self._edges[y, x] = self._edges.get((y, x), 0) + together

    def solve(self) -> list[bool]:
        """For each variable whether it is 1 in a cheapest choice; 0 where both are as cheap."""
        count = len(self._unary)
        source, sink = count, count + 1
        flow = _Flow(count + 2)
        for x, cost in enumerate(self._unary):
            if cost < 0:
                flow.connect(source, x, -cost)
            elif cost > 0:
                flow.connect(x, sink, cost)
        for (x, y), cost in self._edges.items():
            if cost:
                flow.connect(x, y, cost)
        reached = flow.cut(source, sink)
        return [reached[x] for x in range(count)]


class _Flow:
    """A network and its maximum flow."""

    def __init__(self, count: int) -> None:
        self.first: list[list[int]] = [[] for _ in range(count)]
        self.target: list[int] = []
        self.room: list[int] = []
        self.level: list[int] = []

    def connect(self, start: int, end: int, room: int) -> None:
        for tail, head, capacity in ((start, end, room), (end, start, 0)):
            self.first[tail].append(len(self.target))
            self.target.append(head)
            self.room.append(capacity)

    def cut(self, source: int, sink: int) -> list[bool]:
        """Which vertices are on the source's side of the minimum cut nearest to the source."""
        while self._rank(source, sink):
            places = [0] * len(self.first)
            while self._augment(source, sink, places):
                pass
        return [level >= 0 for level in self.level]

    def _rank(self, source: int, sink: int) -> bool:
        self.level = [-1] * len(self.first)
        self.level[source] = 0
        queue = deque([source])
        while queue:
            vertex = queue.popleft()
            for edge in self.first[vertex]:
                head = self.target[edge]
                if self.room[edge] and self.level[head] < 0:
                    self.level[head] = self.level[vertex] + 1
                    queue.append(head)
        return self.level[sink] >= 0

    def _augment(self, source: int, sink: int, places: list[int]) -> bool:
        """Pushes flow along one path of rising levels."""
        path: list[int] = []
        vertex = source
        while vertex != sink:
            if places[vertex] == len(self.first[vertex]):
                if not path:
                    return False
                vertex = self.target[path.pop() ^ 1]
                places[vertex] += 1
                continue
            edge = self.first[vertex][places[vertex]]
            head = self.target[edge]
            if self.room[edge] and self.level[head] == self.level[vertex] + 1:
                path.append(edge)
                vertex = head
            else:
                places[vertex] += 1
        amount = min(self.room[edge] for edge in path)
        for edge in path:
            self.room[edge] -= amount
            self.room[edge ^ 1] += amount
        return True
