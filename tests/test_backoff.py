"""When the next attempt is, to the edge of every budget."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagakeep import limits
from sagakeep.backoff import interval_s, next_attempt_at
from sagakeep.definition import RetryPolicy

NOW = 1_700_000_000.0


def at(
    policy: RetryPolicy = RetryPolicy(),  # noqa: B008 # frozen
    attempts: int = 1,
    retries_max: int | None = 3,
    first_ago_s: float = 0.0,
    draw: float = 1.0,
    retry_after_s: float | None = None,
) -> float | None:
    """The wait in seconds, None when there is no next attempt."""
    next_at = next_attempt_at(
        policy,
        attempts=attempts,
        retries_max=retries_max,
        first_at_utc_s=NOW - first_ago_s,
        now_utc_s=NOW,
        draw=draw,
        retry_after_s=retry_after_s,
    )
    return None if next_at is None else next_at - NOW


def test_the_interval_doubles_up_to_its_cap() -> None:
    assert [interval_s(RetryPolicy(), n) for n in range(9)] == [1, 1, 2, 4, 8, 16, 32, 60, 60]


def test_max_retries_counts_the_attempts_after_the_first() -> None:
    assert at(attempts=3) == 4.0
    assert at(attempts=4) is None
    assert at(attempts=1, retries_max=0) is None
    assert at(attempts=10_000, retries_max=None) == 60.0


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 0.0), (0.25, 2.0), (1.0, 8.0)])
def test_the_draw_is_between_nothing_and_the_interval(draw: float, wait_s: float) -> None:
    assert at(attempts=4, retries_max=9, draw=draw) == wait_s


@pytest.mark.parametrize(
    ("after_s", "wait_s"),
    [
        (0.5, 1.0),
        (90.0, 90.0),
        (limits.RETRY_AFTER_S_MAX, 3600.0),
        (limits.RETRY_AFTER_S_MAX + 1, 3600.0),
        (-5.0, 1.0),
        (math.nan, 1.0),
        (math.inf, 3600.0),
    ],
)
def test_retry_after_is_the_earliest_within_its_limit(after_s: float, wait_s: float) -> None:
    assert at(retry_after_s=after_s) == wait_s


def test_max_elapsed_counts_from_the_first_attempt_to_the_next() -> None:
    policy = RetryPolicy(elapsed_s_max=10.0)
    assert at(policy, first_ago_s=9.0) == 1.0
    assert at(policy, first_ago_s=9.5) is None
    assert at(policy, first_ago_s=0.0, retry_after_s=11.0) is None
    assert at(policy, first_ago_s=1e6, retries_max=None) == 1.0, "not for endless retries"


@given(
    st.floats(1e-3, limits.TIMEOUT_S_MAX),
    st.floats(1, limits.RETRY_MULTIPLIER_MAX),
    st.floats(1e-3, limits.TIMEOUT_S_MAX),
    st.integers(1, 10**9),
    st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_finite_and_below_the_cap(
    initial_s: float, multiplier: float, cap_s: float, attempts: int, draw: float
) -> None:
    policy = RetryPolicy(initial_s, multiplier, cap_s)
    wait_s = at(policy, attempts, None, draw=draw)
    assert wait_s is not None
    assert 0 <= wait_s <= cap_s + 1e-6
    assert interval_s(policy, attempts) <= interval_s(policy, attempts + 1)
