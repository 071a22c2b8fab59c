"""An explanation: what happened to a saga, why, what it waits for, and what can be done about it now.

    (state, records, now, live facts) -> Explanation        a frozen value; `explanation_view` shows it

What an undo and an operator's move would do is asked of the machine (`undo_plan`, `moves`); nothing in here
knows the rules a second time. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sagakeep.events import Record
from sagakeep.moves import Move, moves_of
from sagakeep.standing import next_attempt_at_utc_s
from sagakeep.state import SagaState
from sagakeep.story import Sentence, story_of
from sagakeep.undo_plan import UndoPlan, undo_plan
from sagakeep.waits import LiveFacts, Wait, waits_of


class Explanation(msgspec.Struct, frozen=True):
    """`untold` counts the events before the story begins; `waits` is empty for a final saga, its first is what
    will move the saga next."""

    state: SagaState
    at_utc_s: float
    story: tuple[Sentence, ...]
    untold: int
    waits: tuple[Wait, ...]
    next_attempt_at_utc_s: float
    undo: UndoPlan
    moves: tuple[Move, ...]


def explain(
    state: SagaState, records: Sequence[Record], facts: LiveFacts, now_utc_s: float
) -> Explanation:
    """Explain a saga; `records` are its last ones, in order."""
    return Explanation(
        state,
        now_utc_s,
        tuple(story_of(records, state.definition)),
        records[0].sequence - 1 if records else state.sequence,
        tuple(waits_of(state, facts, now_utc_s)),
        next_attempt_at_utc_s(state),
        undo_plan(state, now_utc_s),
        tuple(moves_of(state, now_utc_s)),
    )
