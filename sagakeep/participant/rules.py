"""What a call means after what came before it: the table that makes any order of calls safe.

    what comes    what is there                          ruling
    an action     nothing                                WORK
                  done, or refused                       REPEAT     the same answer again
                  the same key, another body or phase    OTHER_BODY
                  undone, or barred                      TOO_LATE   its undo or a probe was first
                  begun, and somebody is at work         BUSY       ask again
                  begun, and nobody is at work; doubt    IN_DOUBT   whoever began it did not end it
    an undo       its own key                            as for an action
                  the action: done, or in doubt          WORK       and the action is undone from now on
                  the action: somebody is at work        BUSY
                  no action                              EMPTY      nothing to undo; the action is barred
                  refused, undone, barred                EMPTY
                  undone by an undo that has not ended   BUSY, or IN_DOUBT
    a probe       done                                   KNOWN      and its answer
                  no action                              NOT_DONE   the action is barred, so it stays true
                  refused, undone, barred                NOT_DONE
                  somebody is at work                    BUSY
                  in doubt                               IN_DOUBT

An orchestrator that saw the action succeed says so with its undo. Where nothing but a bar is there all the same,
our row has expired: the undo is WORK, for an undo that is taken as empty would keep the money.

A row is gone again when nothing was done: its transaction was rolled back, or the answer was "not yet". In the
transaction of the work itself nobody else ever sees a call that is begun: they wait for its end.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from sagakeep.participant.answer import Answer
from sagakeep.participant.call import SagaCall


class State(StrEnum):
    """What a row says of its call."""

    BEGUN = "begun"
    DOUBT = "doubt"
    DONE = "done"
    REFUSED = "refused"
    UNDONE = "undone"
    BARRED = "barred"


class Ruling(StrEnum):
    """What is to be done with a call."""

    WORK = "work"
    REPEAT = "repeat"
    EMPTY = "empty"
    TOO_LATE = "too_late"
    BUSY = "busy"
    IN_DOUBT = "in_doubt"
    OTHER_BODY = "other_body"
    KNOWN = "known"
    NOT_DONE = "not_done"


class Row(NamedTuple):
    """What is kept of a call.

    `claim` names the request that began it; `undone_by` the key of what undid or barred an action; `digest`
    is of phase and body, "" for a call that never came; `at_utc_s` is when it was last changed.
    """

    key: str
    state: State
    claim: str = ""
    undone_by: str = ""
    digest: str = ""
    answer: Answer | None = None
    at_utc_s: float = 0.0


def rule_again(row: Row, digest: str, is_at_work: bool) -> Ruling:
    """Rule on a call whose own key is there."""
    match row.state:
        case State.UNDONE | State.BARRED:
            return Ruling.TOO_LATE
        case _ if row.digest != digest:
            return Ruling.OTHER_BODY
        case State.DONE | State.REFUSED:
            return Ruling.REPEAT
        case State.BEGUN if is_at_work:
            return Ruling.BUSY
        case State.BEGUN | State.DOUBT:
            return Ruling.IN_DOUBT


def rule_undo(action: Row | None, undo: SagaCall, is_at_work: bool) -> Ruling:
    """Rule on an undo that has not come before by the action that it is about."""
    if action is None or action.state is State.BARRED:
        return Ruling.WORK if undo.is_known_done else Ruling.EMPTY
    match action.state:
        case State.BEGUN if is_at_work:
            return Ruling.BUSY
        case State.DONE | State.DOUBT | State.BEGUN:
            return Ruling.WORK
        case State.UNDONE | State.REFUSED:
            return Ruling.EMPTY


def rule_second_undo(earlier: Row | None, is_at_work: bool) -> Ruling:
    """Rule on an undo of what another undo has undone: it is empty, if that one has ended."""
    if earlier is None or earlier.state not in (State.BEGUN, State.DOUBT):
        return Ruling.EMPTY
    return Ruling.BUSY if is_at_work and earlier.state is State.BEGUN else Ruling.IN_DOUBT


def rule_probe(action: Row | None, is_at_work: bool) -> Ruling:
    """Rule on a question about an action."""
    if action is None:
        return Ruling.NOT_DONE
    match action.state:
        case State.DONE:
            return Ruling.KNOWN
        case State.BEGUN if is_at_work:
            return Ruling.BUSY
        case State.BEGUN | State.DOUBT:
            return Ruling.IN_DOUBT
        case State.REFUSED | State.UNDONE | State.BARRED:
            return Ruling.NOT_DONE
