"""Checks of undos: an undo may come twice, without its action, before it and while it runs."""

from __future__ import annotations

from typing import Final

import trio

from sagakeep.grade.check import Check
from sagakeep.grade.expect import Severity, expect_done, expect_refused, expect_same, need_done
from sagakeep.grade.trial import Trial
from sagakeep.service import AttemptResult, Outcome

ROUNDS: Final = 3  # of what depends on who comes first

_ORDERS: Final = ("UUA", "UAUA", "AUAU", "AAUUA")  # A the action, U its undo


async def _undo(trial: Trial) -> None:
    need_done(await trial.action(), "the action")
    expect_done(await trial.undo(outcome=Outcome.DONE), "its undo")
    await trial.expect_effects((1, 1))


async def _undo_again(trial: Trial) -> None:
    need_done(await trial.action(), "the action")
    first = await trial.undo()
    need_done(first, "its undo")
    again = await trial.undo()
    await trial.expect_effects((1, 1))
    expect_same(again, first, "the undo again", trial.if_undos_counted(Severity.MINOR))


async def _second_undo(trial: Trial) -> None:
    need_done(await trial.action(), "the action")
    need_done(await trial.undo(), "its undo")
    second = await trial.undo(2)
    await trial.expect_effects((1, 1))
    expect_done(second, "an undo with a second key", Severity.MAJOR)


async def _action_after_undo(trial: Trial) -> None:
    need_done(await trial.action(), "the action")
    need_done(await trial.undo(), "its undo")
    late = await trial.action()
    await trial.expect_effects((1, 1))
    expect_refused(late, "the action after its undo")


async def _empty_undo(trial: Trial) -> None:
    first = await trial.undo()
    await trial.expect_effects((0, 0))
    expect_done(first, "an undo of nothing")
    expect_done(await trial.undo(), "the same again")
    await trial.expect_effects((0, 0))


async def _late_action(trial: Trial) -> None:
    need_done(await trial.undo(), "an undo of nothing")
    late = await trial.action()
    await trial.expect_effects((0, 0))
    expect_refused(late, "the action that comes after its undo")


async def _new_action(trial: Trial) -> None:
    need_done(await trial.undo(), "an undo of nothing")
    expect_done(await trial.action(2), "the action with a new key")


async def _undo_while_running(trial: Trial) -> None:
    """Whoever wins: in the end it is undone, and stays so."""
    for number in range(1, ROUNDS + 1):
        trial.next_saga()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trial.action)
            nursery.start_soon(trial.undo)
        need_done(await trial.undo(), "the undo")
        late = await trial.action()
        await trial.expect_effects(*((count, count) for count in range(number + 1)))
        expect_refused(late, "the action after its undo")


async def _orders(trial: Trial) -> None:
    done = 0
    for order in _ORDERS:
        trial.next_saga()
        done += order.startswith("A")
        late = await _play(trial, order)
        await trial.expect_effects((done, done))
        for result in late:
            expect_refused(result, f"{order}: the action after its undo")


async def _play(trial: Trial, order: str) -> list[AttemptResult]:
    """Make the calls; return what came of the actions after the first undo."""
    late: list[AttemptResult] = []
    for at, what in enumerate(order):
        if what == "U":
            need_done(await trial.undo(), f"the undo in {order}")
        elif "U" in order[:at]:
            late.append(await trial.action())
        else:
            need_done(await trial.action(), f"the action in {order}")
    return late


_BAR: Final = (
    "when an undo finds no action under Saga-Action-Key, write that key down as barred, answer 2xx, and"
    " answer 409 to the action when it comes: the barrier of sagakeep.participant does"
)
UNDOS: Final = (
    Check(
        "undo",
        "what was done can be undone",
        Severity.MAJOR,
        ("compensation",),
        "the saga would stand still as compensation_failed",
        "find what to undo by Saga-Action-Key",
        _undo,
    ),
    Check(
        "undo-again",
        "the same undo again gets the same answer",
        Severity.CRITICAL,
        ("compensation",),
        "undos are repeated as actions are: the money would be given back twice, or the saga stand still",
        "keep the undo's answer beside its own key, as for an action",
        _undo_again,
    ),
    Check(
        "second-undo",
        "a second undo of the same action is done, and does nothing",
        Severity.CRITICAL,
        ("compensation",),
        "an operator who compensates once more sends a new key: the money would be given back twice",
        "mark the action as undone in the undo's transaction, and answer 2xx where it is",
        _second_undo,
    ),
    Check(
        "action-after-undo",
        "an action that comes again after its undo is refused",
        Severity.CRITICAL,
        ("compensation",),
        "a delayed request would do again what was undone, and nobody would undo it any more; or the"
        " saga would be told that it is done",
        "answer 409, without Retry-After, to an action that is marked as undone",
        _action_after_undo,
    ),
    Check(
        "empty-undo",
        "an undo of nothing is done",
        Severity.MAJOR,
        ("compensation",),
        "a call without an answer is undone though it may never have arrived; an error here, and the"
        " saga stands still as compensation_failed",
        _BAR,
        _empty_undo,
    ),
    Check(
        "late-action",
        "an action that comes after its undo is refused",
        Severity.CRITICAL,
        ("compensation",),
        "networks reorder: the action would be done after the saga was undone, and nobody would know",
        _BAR,
        _late_action,
    ),
    Check(
        "new-action",
        "an undo bars its own action only",
        Severity.MAJOR,
        ("compensation",),
        "an operator's retry sends the action under a new key; it would never succeed",
        "bar the key that Saga-Action-Key names, not the whole step",
        _new_action,
    ),
    Check(
        "undo-while-running",
        "an undo while the action runs leaves nothing",
        Severity.CRITICAL,
        ("compensation",),
        "after a timeout the undo overtakes the action: it would find nothing, and the action end later",
        "let the undo wait for the action's transaction, or answer 409 with Retry-After until it ended",
        _undo_while_running,
    ),
    Check(
        "orders",
        "no order of actions and undos brings an effect back",
        Severity.CRITICAL,
        ("compensation",),
        "any order can come of delays and repetitions",
        _BAR,
        _orders,
    ),
)
