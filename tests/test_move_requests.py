"""The bodies of moves: what is wrong with one is told, and each is the wish that it says."""

from __future__ import annotations

import pytest

from sagakeep import limits
from sagakeep import messages as m
from sagakeep.errors import InvalidDefinition
from sagakeep.faults import Faults
from sagakeep.move_requests import (
    CompensateRequest,
    DeleteRequest,
    EditRequest,
    MoveRequest,
    RerunRequest,
    RetryRequest,
)
from sagakeep.moves import MOVES


def faults_of(request: MoveRequest) -> list[tuple[str, str]]:
    faults = Faults()
    request.check(faults)
    try:
        faults.raise_any()
    except InvalidDefinition as error:
        return [(fault.pointer, fault.detail) for fault in error.faults]
    return []


def test_a_request_that_only_says_why_is_the_wish_of_its_name() -> None:
    for kind in MOVES:
        if not any(field.is_required for field in kind.fields):
            wish = kind.request(reason="why").wish("ann", (7,))
            assert (wish.by, wish.note, wish.versions) == ("ann", "why", (7,))
            assert type(wish).__name__.lower() == kind.name


def test_a_root_is_no_wish() -> None:
    with pytest.raises(NotImplementedError):
        MoveRequest().wish("ann")


def test_all_fields_of_an_undo_are_in_the_wish() -> None:
    request = CompensateRequest(downTo="a", planId="7-x", reason="why")
    assert request.wish("ann") == m.Compensate("", "ann", "why", "a", "7-x")
    assert CompensateRequest(stepID="a").wish("") == m.Compensate("a")
    assert RerunRequest(reason="why").wish("ann") == m.Rerun("", "ann", "why")
    assert DeleteRequest(reason="why").wish("ann", (1,)) == m.Delete("ann", "why", None, (1,))


def test_a_step_and_down_to_a_step_is_one_too_many() -> None:
    ((pointer, detail),) = faults_of(CompensateRequest(stepID="a", downTo="a"))
    assert (pointer, "say the one or the other" in detail) == ("/downTo", True)


def test_a_reason_that_is_too_long_is_told_with_its_limit() -> None:
    ((pointer, detail),) = faults_of(RetryRequest(reason="x" * (limits.REASON_CHARS_MAX + 1)))
    assert (pointer, str(limits.REASON_CHARS_MAX) in detail) == ("/reason", True)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"n": {"$from": "saga.id"}}, "say the value itself"),
        ({"card": ["[redacted]"]}, "only stands for a value"),
        ("[redacted]", "only stands for a value"),
        ({"text": "a [redacted] text"}, ""),
        (None, ""),
    ],
)
def test_a_payload_by_hand_is_what_is_sent(payload: object, words: str) -> None:
    told = faults_of(EditRequest(stepID="a", payload=payload))
    assert [pointer for pointer, _ in told] == (["/payload"] if words else [])
    assert all(words in detail for _, detail in told)
