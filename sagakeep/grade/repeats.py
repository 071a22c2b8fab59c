"""Checks of repeated calls: an orchestrator repeats whatever it has no answer to, under the same key."""

from __future__ import annotations

from typing import Final

from sagakeep.grade.check import Check
from sagakeep.grade.expect import (
    Misbehaved,
    Severity,
    expect_done,
    expect_same,
    is_refused,
    need_done,
    text_of,
)
from sagakeep.grade.trial import Trial
from sagakeep.service import AttemptResult, Outcome

ROUNDS: Final = 3
CHARS_OF_NAMES_MAX: Final = 128  # of the id of a saga, and of a step


async def _repeat(trial: Trial) -> None:
    first = await trial.action()
    need_done(first, "the action")
    again = [await trial.action() for _ in range(2)]
    await trial.expect_effects((1, 0))
    for result in again:
        expect_same(result, first, "the action again", trial.if_actions_counted(Severity.MAJOR))


async def _repeat_at_once(trial: Trial) -> None:
    """More than one round: the first one has to open its connections, so its requests come one by one."""
    for number in range(1, ROUNDS + 1):
        trial.next_saga()
        results = await trial.many(trial.subject.duplicates)
        last = await trial.action()
        await trial.expect_effects((number, 0))
        expect_done(last, "the action once more", Severity.MAJOR)
        for result in results:
            _expect_one_of_many(result, last, trial)


def _expect_one_of_many(result: AttemptResult, last: AttemptResult, trial: Trial) -> None:
    """It is done with the same result, or says nothing for certain: another one was at work."""
    if is_refused(result):
        text = f"{text_of(result)}; where another is at work it is 409 with Retry-After, never a no"
        raise Misbehaved(text, Severity.MAJOR)
    if result.outcome is Outcome.DONE:
        expect_same(result, last, "one of those at once", trial.if_actions_counted(Severity.MAJOR))


async def _other_body(trial: Trial) -> None:
    first = await trial.action()
    need_done(first, "the action")
    changed = await trial.once("action", "the same key, another body", payload=_changed(trial))
    if not is_refused(changed):
        expect_same(changed, first, "another body")


async def _other_key(trial: Trial) -> None:
    need_done(await trial.action(), "the action")
    expect_done(await trial.action(2), "the same with a second key")
    await trial.expect_effects((2, 0))


async def _longest_key(trial: Trial) -> None:
    key = f"{'s' * CHARS_OF_NAMES_MAX}/{'t' * CHARS_OF_NAMES_MAX}/{trial.saga_id}/action/1"
    first = await trial.once("action", "a key of the longest ids", idempotency_key=key)
    expect_done(first, "the action")


def _changed(trial: Trial) -> object:
    payload = trial.subject.payload
    return {**payload, "changed": True} if isinstance(payload, dict) else {"changed": True}


_KEEP: Final = (
    "keep the answer beside the key, in the transaction of the work: `with barrier(...)`"
    " of sagakeep.participant, or its middleware"
)
REPEATS: Final = (
    Check(
        "repeat",
        "the same call again gets the same answer",
        Severity.CRITICAL,
        (),
        "after a lost answer or a crash the call is made again: the work would be done twice",
        _KEEP,
        _repeat,
    ),
    Check(
        "repeat-at-once",
        "many at once are one",
        Severity.CRITICAL,
        (),
        "a request that timed out may still run when the next one comes: look-up and work would overlap",
        "claim the key before the work, by an insert on which the second one fails or waits;"
        " while another is at work answer 409 with Retry-After",
        _repeat_at_once,
    ),
    Check(
        "other-body",
        "a key is not used for something else",
        Severity.MINOR,
        (),
        "two callers that share a key by mistake would never learn of it",
        "keep a digest of the body beside the key and answer 422 where it differs",
        _other_body,
    ),
    Check(
        "other-key",
        "another key is another effect",
        Severity.MAJOR,
        (),
        "an operator's retry has a new key, and two orders may be alike: the second one would not be done",
        "tell calls apart by Idempotency-Key only, not by their body",
        _other_key,
    ),
    Check(
        "longest-key",
        "the longest key works",
        Severity.MAJOR,
        (),
        "ids of sagas and steps have up to 128 characters each; a column that is too short cuts or fails",
        "give the key 512 characters",
        _longest_key,
    ),
)
