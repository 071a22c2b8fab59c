"""A claim: a call was looked up, and is either answered or the caller's to work on; and how that ends.

`make_claim` and `settle` are each to be in one transaction. The barrier has both, and the work between them, in
the same one. The middleware has no transaction with the work, so it commits each: what it leaves between them is
`begun`, and whoever comes then is told that somebody is at work, or that nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple, assert_never

from sagakeep.participant.answer import (
    BUSY,
    IN_DOUBT,
    NOT_DONE,
    NOTHING_TO_UNDO,
    OTHER_BODY,
    TOO_LATE,
    Answer,
    Meaning,
    known,
)
from sagakeep.participant.call import SagaCall
from sagakeep.participant.rules import (
    Row,
    Ruling,
    State,
    rule_again,
    rule_probe,
    rule_second_undo,
    rule_undo,
)
from sagakeep.participant.table import CallTable

TRIES_MAX: Final = 10  # each is lost to somebody whose transaction was committed meanwhile

_ANSWERS: Final = {
    Ruling.EMPTY: NOTHING_TO_UNDO,
    Ruling.TOO_LATE: TOO_LATE,
    Ruling.BUSY: BUSY,
    Ruling.IN_DOUBT: IN_DOUBT,
    Ruling.OTHER_BODY: OTHER_BODY,
    Ruling.NOT_DONE: NOT_DONE,
}


class Asker(NamedTuple):
    """Who asks: the name of the request, the time, and how it tells whether another is still at work."""

    claim: str
    now_utc_s: float
    is_at_work: Callable[[Row], bool]


class Claim(NamedTuple):
    """What a call came to. Without an `answer` the work is to be done, and `row` is its own.

    Of an undo: `action` is what was there of its action, `undone` what was put in its place.
    """

    ruling: Ruling
    row: Row
    answer: Answer | None = None
    action: Row | None = None
    undone: Row | None = None


def digest_of(call: SagaCall, body: bytes) -> str:
    """Name what is asked for; a key is not to be used again for something else."""
    return sha256(call.phase.encode() + b"\0" + body).hexdigest()


def make_claim(table: CallTable, call: SagaCall, digest: str, asker: Asker) -> Claim:
    """Look a call up and begin it, or answer it. To be in a transaction."""
    row = Row(call.key, State.BEGUN, asker.claim, "", digest, None, asker.now_utc_s)
    if call.phase == "probe":
        return _claim_probe(table, row, asker)
    for _ in range(TRIES_MAX):
        if table.insert(row):
            is_undo = call.phase == "compensation"
            return _claim_undo(table, call, row, asker) if is_undo else Claim(Ruling.WORK, row)
        found = table.find(call.key)
        if found is not None:
            ruling = rule_again(found, digest, asker.is_at_work(found))
            return _answered(ruling, row, found.answer)
    return _answered(Ruling.BUSY, row)


def settle(table: CallTable, claim: Claim, answer: Answer | None, now_utc_s: float) -> Answer:
    """End what a claim has begun, and return what is to be answered. To be in a transaction.

    None: nothing was done, and the answer is the caller's own matter.
    """
    meaning = answer.meaning if answer is not None else Meaning.NOT_YET
    row = claim.row._replace(answer=answer, at_utc_s=now_utc_s)
    match meaning:
        case Meaning.DONE:
            is_ours = table.replace(claim.row, row._replace(state=State.DONE))
        case Meaning.REFUSED:
            is_ours = table.replace(claim.row, row._replace(state=State.REFUSED))
        case Meaning.UNKNOWN:
            is_ours = table.replace(claim.row, row._replace(state=State.DOUBT, answer=None))
        case Meaning.NOT_YET:
            is_ours = table.delete(claim.row)
        case _:
            assert_never(meaning)
    if meaning in (Meaning.REFUSED, Meaning.NOT_YET):
        _put_back(table, claim)
    return answer if is_ours and answer is not None else IN_DOUBT


def _claim_undo(table: CallTable, call: SagaCall, row: Row, asker: Asker) -> Claim:
    """Rule by the action; from now on it is undone or barred, whatever it was."""
    for _ in range(TRIES_MAX):
        ruling, action = _rule_undo(table, call, asker)
        state = State.UNDONE if ruling is Ruling.WORK else State.BARRED
        if ruling is Ruling.WORK or action is None:
            old = action or Row(call.action_key, State.BARRED)
            undone = old._replace(state=state, undone_by=call.key, at_utc_s=asker.now_utc_s)
            if not (table.insert(undone) if action is None else table.replace(action, undone)):
                continue
            if ruling is Ruling.WORK:
                return Claim(ruling, row, None, action, undone)
        if ruling is Ruling.EMPTY:
            table.replace(row, row._replace(state=State.DONE, answer=NOTHING_TO_UNDO))
        else:
            table.delete(row)
        return _answered(ruling, row)
    table.delete(row)
    return _answered(Ruling.BUSY, row)


def _rule_undo(table: CallTable, call: SagaCall, asker: Asker) -> tuple[Ruling, Row | None]:
    action = table.find(call.action_key)
    if action is not None and action.state is State.UNDONE:
        earlier = table.find(action.undone_by)
        is_at_work = earlier is not None and asker.is_at_work(earlier)
        return rule_second_undo(earlier, is_at_work), action
    is_at_work = action is not None and asker.is_at_work(action)
    return rule_undo(action, call, is_at_work), action


def _claim_probe(table: CallTable, row: Row, asker: Asker) -> Claim:
    """Answer; an action that is not there is barred, for it may still be on its way."""
    bar = Row(row.key, State.BARRED, undone_by="a probe", at_utc_s=asker.now_utc_s)
    for _ in range(TRIES_MAX):
        if table.insert(bar):
            return _answered(Ruling.NOT_DONE, row)
        action = table.find(row.key)
        if action is not None:
            ruling = rule_probe(action, asker.is_at_work(action))
            return _answered(ruling, row, action.answer)
    return _answered(Ruling.BUSY, row)


def _answered(ruling: Ruling, row: Row, kept: Answer | None = None) -> Claim:
    match ruling:
        case Ruling.REPEAT:
            return Claim(ruling, row, kept)
        case Ruling.KNOWN:
            return Claim(ruling, row, known(kept))
        case _:
            return Claim(ruling, row, _ANSWERS[ruling])


def _put_back(table: CallTable, claim: Claim) -> None:
    """The undo was not done: what it was to undo is there as before; what was not there stays barred."""
    if claim.undone is not None:
        before = claim.action or claim.undone._replace(state=State.BARRED)
        table.replace(claim.undone, before)
