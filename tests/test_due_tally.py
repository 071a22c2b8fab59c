from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sagakeep.runtime.due_tally import SPAN_S, DueTally

TIMES = st.floats(0.0, 300.0) | st.floats(0.0, 30_000.0)  # of one block of spans, and of some


@given(st.lists(TIMES), st.lists(TIMES, min_size=1), st.data())
def test_it_counts_what_a_list_would_to_the_span(
    dues: list[float], looks: list[float], data: st.DataObject
) -> None:
    tally, left = DueTally(), []
    for due in dues:
        tally.add(due)
        left.append(due)
        if data.draw(st.booleans()):
            tally.take_off(left.pop(data.draw(st.integers(0, len(left) - 1))))
    for by in sorted(looks):
        assert tally.late(by) == sum(due // SPAN_S < by // SPAN_S for due in left)
    assert len(tally) == len(left)


def test_spans_that_are_over_and_empty_are_forgotten() -> None:
    tally = DueTally()
    for number in range(1_000):
        tally.add(number * SPAN_S)
        tally.take_off(number * SPAN_S)
        assert tally.late((number + 1) * SPAN_S) == 0
    assert sum(map(len, tally._blocks.values())) <= 1


def test_what_is_late_and_comes_is_late_no_more() -> None:
    tally = DueTally()
    tally.add(5.0)
    assert tally.late(10.0) == 1
    tally.add(6.0)
    assert tally.late(10.0) == 2
    assert tally.late(0.0) == 2
    tally.take_off(5.0)
    tally.take_off(6.0)
    assert tally.late(1e9) == len(tally) == 0
