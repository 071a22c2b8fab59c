from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagakeep.actors.ramp import PULSE_S, Ramp
from sagakeep.actors.rate_limit import RateLimit

SLACK_S = 1e-6


def played(limit: RateLimit, asked_s: list[float]) -> list[float]:
    """The times at which calls begin that are asked for at these."""
    now_s, begun = 0.0, []
    for at_s in sorted(asked_s):
        now_s = max(now_s, at_s, limit.ready_at_s)
        limit.take(now_s)
        begun.append(now_s)
    return begun


def test_a_burst_and_then_one_by_one() -> None:
    begun = played(RateLimit(10.0, 3.0), [5.0] * 6)
    assert begun == pytest.approx([5.0, 5.0, 5.0, 5.1, 5.2, 5.3])


def test_what_was_not_used_is_a_burst_and_no_more() -> None:
    limit = RateLimit(10.0, 2.0)
    played(limit, [0.0, 0.0])
    assert played(limit, [1_000.0] * 3) == pytest.approx([1_000.0, 1_000.0, 1_000.1])


@given(
    st.floats(0.01, 10_000.0),
    st.integers(1, 50),
    st.lists(st.floats(0.0, 100.0), min_size=1, max_size=80),
)
def test_no_stretch_of_time_has_more_than_its_calls_and_a_burst(
    per_s: float, burst: int, asked_s: list[float]
) -> None:
    begun = played(RateLimit(per_s, float(burst)), asked_s)
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            stretch_s = begun[last] - begun[first] + SLACK_S
            assert last - first + 1 <= burst + per_s * stretch_s + 0.01


@given(st.floats(0.01, 10_000.0), st.integers(1, 50), st.integers(1, 200))
def test_whoever_always_wants_gets_all_that_is_allowed(
    per_s: float, burst: int, count: int
) -> None:
    begun = played(RateLimit(per_s, float(burst)), [0.0] * count)
    assert begun[-1] == pytest.approx(max(0, count - burst) / per_s)


# The ramp


def climbed(ramp: Ramp, began_s: float, count: int) -> list[float]:
    now_s, begun = began_s, []
    for _ in range(count):
        now_s = max(now_s, ramp.ready_at_s(now_s))
        ramp.take(now_s)
        begun.append(now_s)
    return begun


def test_a_ramp_doubles_every_interval_up_to_its_most() -> None:
    ramp = Ramp(50.0, 300.0, 2.0, began_s=10.0)
    assert [ramp.per_s(at_s) for at_s in (0.0, 10.0, 11.9, 12.0, 14.0, 16.0, 1e9)] == [
        *(50.0, 50.0, 50.0, 100.0, 200.0, 300.0, 300.0)
    ]
    assert [ramp.is_over(at_s) for at_s in (10.0, 15.9, 16.0)] == [False, False, True]


def test_a_ramp_lets_nothing_pass_before_it_begins() -> None:
    assert Ramp(50.0, 300.0, 2.0, began_s=10.0).ready_at_s(3.0) == 10.0


def test_a_ramp_that_would_begin_above_its_most_is_over() -> None:
    ramp = Ramp(50.0, 20.0, 2.0, began_s=0.0)
    assert ramp.per_s(0.0) == 20.0
    assert ramp.is_over(0.0)


def test_in_no_second_of_a_ramp_is_there_more_than_its_rate() -> None:
    begun = climbed(Ramp(50.0, 1_000.0, 2.0, began_s=0.0), 0.0, 3_000)
    for second in range(12):
        rate = min(1_000.0, 50.0 * 2.0 ** (second // 2))
        count = sum(second <= at_s < second + 1 for at_s in begun)
        assert count <= rate + rate * PULSE_S + 1
        if second + 1 < begun[-1]:
            assert count >= 0.98 * rate - 1


def test_a_failure_keeps_the_rate_for_one_more_interval() -> None:
    ramp = Ramp(50.0, 1_000.0, 2.0, began_s=0.0)
    ramp.falter(3.0)
    assert [ramp.per_s(at_s) for at_s in (3.0, 4.9, 5.0, 7.0)] == [100.0, 100.0, 200.0, 400.0]


def test_a_failure_before_it_begins_changes_nothing() -> None:
    ramp = Ramp(50.0, 1_000.0, 2.0, began_s=10.0)
    ramp.falter(3.0)
    assert (ramp.per_s(11.0), ramp.per_s(12.0)) == (50.0, 100.0)
