"""The page `docs/transitions.md`: the tables of the machine as tables and drawings for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sagakeep.changes import STEP_TRANSITIONS
from sagakeep.events import EVENT_NAMES, Event, SagaRetry, StepEdited, StepResolved
from sagakeep.interventions import EDIT_TRANSITIONS, RESOLVE_TRANSITIONS, RETRY_TRANSITIONS
from sagakeep.state import FINAL, HELD, SagaStatus, StepStatus
from sagakeep.transitions import FACTS, TRANSITIONS

COMMAND: Final = "pytest tests/test_transitions_document.py --rewrite"

Move = tuple[str, str, str]  # from, event, to


def transitions_page() -> str:
    """Render the page."""
    return "\n".join([*_head(), *_sagas(), *_steps()]) + "\n"


def _head() -> Iterator[str]:
    yield "# Transitions"
    yield ""
    yield "Made from the tables in `sagakeep/transitions.py`, `changes.py` and `interventions.py` by"
    yield f"`{COMMAND}`; a test fails when it is stale."
    yield "A pair that is not here is impossible: no decision produces it, and a journal that has it is refused."
    yield ""


def _sagas() -> Iterator[str]:
    moves = [
        (str(status), _name(kind), str(to))
        for status, row in TRANSITIONS.items()
        for kind, to in row.items()
    ]
    yield "## A saga"
    yield ""
    yield from _table(moves, _notes_of_sagas())
    yield ""
    yield from _drawing(moves, "created", [str(status) for status in SagaStatus if status in FINAL])
    yield ""
    facts = ", ".join(f"`{_name(kind)}`" for kind in EVENT_NAMES if kind in FACTS)
    yield f"In every status, and without leaving it: {facts}."
    yield ""


def _notes_of_sagas() -> dict[str, str]:
    final = {str(status): "final" for status in FINAL}
    return final | {str(status): "waits for an operator" for status in HELD}


def _steps() -> Iterator[str]:
    moves = [
        (str(status), _name(kind), str(to))
        for kind, row in STEP_TRANSITIONS.items()
        for status, to in row.items()
    ]
    moves += [
        (str(status), f"{_name(SagaRetry)} when {saga}", str(to))
        for saga, row in RETRY_TRANSITIONS.items()
        for status, targets in row.items()
        for to in targets
    ]
    moves += [
        (str(status), f"{_name(StepResolved)} ({resolution}) when {saga}", str(to))
        for saga, rows in RESOLVE_TRANSITIONS.items()
        for resolution, row in rows.items()
        for status, to in row.items()
    ]
    moves += [
        (str(status), f"{_name(StepEdited)} ({phase})", str(to))
        for phase, row in EDIT_TRANSITIONS.items()
        for status, targets in row.items()
        for to in targets
    ]
    moves.sort(key=lambda move: list(StepStatus).index(StepStatus(move[0])))
    yield "## A step"
    yield ""
    yield from _table(moves, {})
    yield ""
    yield from _drawing(moves, "pending", [])


def _table(moves: Iterable[Move], notes: dict[str, str]) -> Iterator[str]:
    yield "| status | event -> status |"
    yield "| --- | --- |"
    rows: dict[str, dict[str, list[str]]] = {}
    for status, name, to in moves:
        rows.setdefault(status, {}).setdefault(to, []).append(f"`{name}`")
    for status, targets in rows.items():
        note = f" ({notes[status]})" if status in notes else ""
        cells = "; ".join(f"{', '.join(names)} -> {to}" for to, names in targets.items())
        yield f"| `{status}`{note} | {cells} |"


def _drawing(moves: Iterable[Move], first: str, final: Iterable[str]) -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {first}"
    arrows: dict[tuple[str, str], list[str]] = {}
    for status, name, to in moves:
        if status != to:
            arrows.setdefault((status, to), []).append(name)
    for (status, to), names in arrows.items():
        yield f"    {status} --> {to}: {', '.join(names)}"
    for status in final:
        yield f"    {status} --> [*]"
    yield "```"


def _name(kind: type[Event]) -> str:
    return EVENT_NAMES[kind][0]
