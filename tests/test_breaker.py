from __future__ import annotations

import pytest

from sagakeep.actors.breaker import NEVER_S, Breaker, BreakerState, Sign, sign_of
from sagakeep.service import AttemptResult, Outcome

FAILED, BUSY, ANSWERED = Sign.FAILED, Sign.BUSY, Sign.ANSWERED


def learn(breaker: Breaker, *signs: Sign, at_s: float = 0.0) -> None:
    """Tell of attempts of as many sagas."""
    for number, sign in enumerate(signs):
        breaker.learn(sign, f"saga {number}", at_s, is_probe=False)


def tripped(at_s: float = 100.0) -> Breaker:
    breaker = Breaker(3, 5.0, 0.0)
    learn(breaker, FAILED, FAILED, FAILED, at_s=at_s)
    assert breaker.state is BreakerState.OPEN
    return breaker


@pytest.mark.parametrize(
    ("result", "sign"),
    [
        (AttemptResult(Outcome.DONE), ANSWERED),
        (AttemptResult(Outcome.NOT_DONE, permanent=True), ANSWERED),
        (AttemptResult(Outcome.NOT_DONE), ANSWERED),  # a 429, say, that names no time
        (AttemptResult(Outcome.NOT_DONE, retry_after_s=3.0), BUSY),
        (AttemptResult(Outcome.NOT_DONE, retry_after_s=0.0), BUSY),
        (AttemptResult(Outcome.NOT_DONE, permanent=True, retry_after_s=3.0), ANSWERED),
        (AttemptResult(Outcome.NOT_DONE, is_unreachable=True), FAILED),
        (AttemptResult(Outcome.UNKNOWN), FAILED),
        (AttemptResult(Outcome.UNKNOWN, retry_after_s=3.0), FAILED),
    ],
)
def test_every_result_is_a_sign(result: AttemptResult, sign: Sign) -> None:
    assert sign_of(result) is sign


def test_it_opens_at_the_bound_and_not_one_failure_before() -> None:
    breaker = Breaker(3, 5.0, 0.0)
    learn(breaker, FAILED, FAILED)
    assert (breaker.state, breaker.failures, breaker.ready_at_s) == (BreakerState.CLOSED, 2, 0.0)
    learn(breaker, FAILED, at_s=7.0)
    assert (breaker.state, breaker.since_s, breaker.ready_at_s) == (BreakerState.OPEN, 7.0, 12.0)


@pytest.mark.parametrize("good", [ANSWERED, BUSY])
def test_a_service_that_is_there_begins_the_count_anew(good: Sign) -> None:
    breaker = Breaker(3, 5.0, 0.0)
    learn(breaker, FAILED, FAILED, good, FAILED, FAILED)
    assert breaker.state is BreakerState.CLOSED


def test_one_saga_alone_opens_nothing() -> None:
    breaker = Breaker(3, 5.0, 0.0)
    for _ in range(50):
        breaker.learn(FAILED, "poison", 0.0, is_probe=False)
    assert breaker.state is BreakerState.CLOSED
    breaker.learn(FAILED, "another", 0.0, is_probe=False)
    assert breaker.state is BreakerState.OPEN


def test_without_a_bound_it_never_opens() -> None:
    breaker = Breaker(0, 5.0, 0.0)
    learn(breaker, *[FAILED] * 1_000)
    assert breaker.state is BreakerState.CLOSED


def test_a_probe_is_alone_and_its_answer_closes() -> None:
    breaker = tripped()
    assert breaker.begin(105.0)
    assert (breaker.state, breaker.ready_at_s) == (BreakerState.HALF_OPEN, NEVER_S)
    breaker.learn(ANSWERED, "saga", 106.0, is_probe=True)
    assert (breaker.state, breaker.since_s, breaker.failures) == (BreakerState.CLOSED, 106.0, 0)
    assert not breaker.begin(106.0)


def test_a_probe_that_fails_opens_for_as_long_again() -> None:
    breaker = tripped()
    breaker.begin(105.0)
    breaker.learn(FAILED, "saga", 135.0, is_probe=True)
    assert (breaker.state, breaker.ready_at_s) == (BreakerState.OPEN, 140.0)


def test_a_probe_that_is_asked_to_come_later_has_met_somebody() -> None:
    breaker = tripped()
    breaker.begin(105.0)
    breaker.learn(BUSY, "saga", 106.0, is_probe=True)
    assert breaker.state is BreakerState.CLOSED


def test_answers_to_older_attempts_bring_the_probe_forward_and_close_nothing() -> None:
    breaker = tripped()
    learn(breaker, FAILED, BUSY, at_s=101.0)
    assert (breaker.state, breaker.ready_at_s) == (BreakerState.OPEN, 105.0)
    learn(breaker, ANSWERED, at_s=102.0)
    assert (breaker.state, breaker.ready_at_s) == (BreakerState.OPEN, 102.0)
    breaker.begin(102.0)
    learn(breaker, ANSWERED, FAILED, at_s=103.0)
    assert breaker.state is BreakerState.HALF_OPEN


def test_after_it_has_closed_it_counts_from_none() -> None:
    breaker = tripped()
    breaker.begin(105.0)
    breaker.learn(ANSWERED, "saga", 106.0, is_probe=True)
    learn(breaker, FAILED, FAILED, at_s=107.0)
    assert breaker.state is BreakerState.CLOSED
