from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from intaglio.transforms.split.pareto import pareto_front

COSTS = st.integers(0, 6).map(float)


@given(st.lists(st.tuples(COSTS, COSTS), max_size=12))
def test_the_front_is_what_no_other_point_beats(points):
    def beaten(point):
        return any(
            other != point and other[0] <= point[0] and other[1] <= point[1] for other in points
        )

    assert pareto_front(points) == [not beaten(point) for point in points]
